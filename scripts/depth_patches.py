"""Write patches of a photograph with their disparities, as a data set: python scripts/depth_patches.py FOLDER.

The photograph and its disparities (in pixels; near things have large ones) are scikit-image's ``stereo_motorcycle``
(Scharstein et al. 2014, Middlebury 2014). Patches of its left third are for training, those up to its middle are for
validation, and those of its right half are for testing; no pixel is in two splits.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

PATCH, STEP = 64, 32  # pixels


def main() -> None:
    """Write the patches."""
    import skimage.data

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    image, _, disparity = skimage.data.stereo_motorcycle()
    numbers = np.where(np.isfinite(disparity), disparity, np.nan).astype(np.float32)
    height, width = numbers.shape
    columns = {"train": (0, width // 3), "val": (width // 3, width // 2), "test": (width // 2, width)}
    for split, (left, right) in columns.items():
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True, exist_ok=True)
        for y in range(0, height - PATCH + 1, STEP):
            for x in range(left, right - PATCH + 1, STEP):
                part = np.s_[y : y + PATCH, x : x + PATCH]
                Image.fromarray(image[part]).save(folder / split / "images" / f"{y:03d}_{x:03d}.png")
                np.save(folder / split / "masks" / f"{y:03d}_{x:03d}.npy", numbers[part])


if __name__ == "__main__":
    main()
