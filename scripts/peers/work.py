"""The work that benchmark.py gives to each peer: fine-tune all layers on class folders, and validate each epoch.

Every peer is a module with a function ``main``, which reads a ``Work`` from a file. It imports everything at its top,
because the time of imports is not counted.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from torchvision.datasets import ImageFolder
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor

WORKERS = 2  # processes that load images
WARMUP = 0.1  # share of the steps in which the learning rate rises, before it falls along half a cosine


@dataclass(frozen=True)
class Work:
    """What to train, and how. ``folder`` has class folders below train and val."""

    folder: str
    library: str  # of the network: timm or torchvision
    name: str  # of the network in that library
    weights: str  # file with the start values of all tensors
    classes: int
    size: int  # side of the images in pixels
    batch: int
    epochs: int
    rate: float  # the highest learning rate
    decay: float  # of weights
    mean: tuple[float, ...]  # of pixels from 0 to 1
    std: tuple[float, ...]
    interpolation: str  # of the resizing: bilinear or bicubic
    result: str  # file for the validation accuracy

    def write(self, path: Path) -> Path:
        """Write the work to a file, and return its path."""
        path.write_text(json.dumps(asdict(self)))
        return path

    @classmethod
    def read(cls, path: str) -> "Work":
        """Read the work from a file."""
        return cls(**json.loads(Path(path).read_text()))

    def network(self) -> Any:
        """Return the network with its start values."""
        network = make_network(self.library, self.name, self.size, self.classes)
        network.load_state_dict(torch.load(self.weights, weights_only=True))
        return network

    def images(self, split: str) -> ImageFolder:
        """Return the images of train or val: resized, cropped in the centre and normalised, by torchvision on PIL."""
        steps = [
            Resize(self.size, InterpolationMode(self.interpolation)),
            CenterCrop(self.size),
            ToTensor(),
            Normalize(self.mean, self.std),
        ]
        return ImageFolder(f"{self.folder}/{split}", Compose(steps))

    def factor(self, step: int, steps: int) -> float:
        """Return the learning rate of a step divided by the highest one."""
        rise = int(WARMUP * steps)
        if step < rise:
            return (step + 1) / (rise + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))

    def report(self, accuracy: float) -> None:
        """Write the validation accuracy after the last epoch."""
        Path(self.result).write_text(json.dumps({"accuracy": accuracy}))


def make_network(library: str, name: str, size: int, classes: int) -> Any:
    """Return a network of timm or torchvision with random weights, for images of this size."""
    if library == "timm":
        network: Any = timm.create_model(name, num_classes=classes)
        if hasattr(network, "set_input_size"):
            network.set_input_size(img_size=(size, size))
        return network
    sized = {"image_size": size} if name.startswith("vit_") else {}
    return torchvision.models.get_model(name, weights=None, num_classes=classes, **sized)


def device() -> torch.device:
    """Return the GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@torch.no_grad()
def accuracy_of(network: Any, loader: Any) -> float:
    """Return the share of images of a loader that the network classifies correctly, in eval mode."""
    network.eval()
    right = seen = 0
    for images, targets in loader:
        outputs = network(images.to(device()))
        right += int((outputs.argmax(1) == targets.to(device())).sum())
        seen += len(targets)
    return right / seen
