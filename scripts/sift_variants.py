"""Measure what the choices of references=[sift_pyramid] change: python scripts/sift_variants.py FOLDER [SIDE].

FOLDER holds train and test folders with one folder for each class; SIDE is the side of the images, 200 by default.
"""

import sys
from typing import Any
from unittest import mock

from headstart.backbones import Preprocessing
from headstart.data import ImageFolder
from headstart.references import sift_pyramid
from headstart.tasks import Classification

VARIANTS: dict[str, dict[str, Any]] = {
    "400 words, patches of 16 and 32 pixels": {"WORDS": 400},
    "200 words": {"WORDS": 200},
    "patches of 16 pixels only": {"REDUCED": (1,)},
    "patches of 16 pixels only, 200 words": {"REDUCED": (1,), "WORDS": 200},
    "smoothed by 1.6 pixels": {"SMOOTHING": 1.6},
}


def main() -> None:
    """Print validation and test accuracy of each variant."""
    side = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    data = ImageFolder(root=sys.argv[1], image_size=side, crop_fraction=1)
    data.prepare(Preprocessing(side, (0.5,) * 3, (0.5,) * 3, "bilinear", 1.0))
    task = Classification(data.num_classes)
    for name, changed in VARIANTS.items():
        with mock.patch.multiple(sift_pyramid, **changed):
            found = sift_pyramid.sift_pyramid(data, task, seed=0)
        shown = [f"{100 * found[f'{split}/accuracy']:.1f}" for split in ("validation", "test")]
        print(f"{name}: validation {shown[0]} %, test {shown[1]} %", flush=True)


if __name__ == "__main__":
    main()
