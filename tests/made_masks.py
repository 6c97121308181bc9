"""Make small sets of images with masks, whose colours are those of their labels."""

from pathlib import Path

import numpy as np
from PIL import Image

SPLITS = {"train": 4, "val": 2, "test": 3}
COLOURS = ((0, 0, 0), (200, 0, 0), (0, 200, 0), (9, 9, 9))


def labels_of(number: int, width: int = 30, height: int = 20) -> np.ndarray:
    """Return three classes in stripes, and a corner of 3."""
    labels = np.zeros((height, width), np.uint8)
    labels[:, width // 3 :] = 1
    labels[height // 2 :, number + 5 :] = 2
    labels[:3, :3] = 3
    return labels


def save_pair(root: Path, split: str, number: int, kind: str = "L", suffix: str = "png") -> None:
    """Save an image whose colours are those of its labels, and its mask of a kind."""
    labels = labels_of(number)
    for folder in ("images", "masks"):
        (root / split / folder).mkdir(parents=True, exist_ok=True)
    image = np.array(COLOURS, np.uint8)[labels]
    image[..., 2] += np.uint8(20 * number + 3 * len(split))  # no two are the same
    Image.fromarray(image).save(root / split / "images" / f"{number}.png")
    mask = Image.fromarray(np.array(COLOURS, np.uint8)[labels] if kind == "RGB" else labels)
    if kind == "P":
        mask = Image.fromarray(labels, "P")
        mask.putpalette([value for colour in COLOURS for value in colour])
    mask.save(root / split / "masks" / f"{number}.{suffix}")


def write_masks(root: Path, kind: str = "L", suffix: str = "png") -> Path:
    for split, count in SPLITS.items():
        for number in range(count):
            save_pair(root, split, number, kind, suffix)
    return root


def write_numbers(root: Path, suffix: str = "npy") -> Path:
    """Write the same images with masks of numbers: the share of green, and none (NaN, in PNG 9) in a corner."""
    write_masks(root)
    for mask in sorted(root.rglob("masks/*.png")):
        labels = np.asarray(Image.open(mask))
        numbers = np.where(labels == 3, np.nan, 10.0 + 5.0 * labels).astype(np.float32)
        mask.unlink()
        if suffix == "npy":
            np.save(mask.with_suffix(".npy"), numbers)
        elif suffix == "tiff":
            Image.fromarray(numbers).save(mask.with_suffix(".tiff"))
        else:
            Image.fromarray(np.nan_to_num(numbers, nan=9).astype(np.uint16)).save(mask)
    return root
