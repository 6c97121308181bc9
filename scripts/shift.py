"""Copy class folders with blurred and noisy images, to test which strategies tolerate a shift of the input.

    python scripts/shift.py my_images my_shifted_images --splits test

Other splits are linked unchanged, so that a run can train on clean images and test on shifted ones.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from headstart.inputs.found import is_image
from headstart.seeds import generator


def shifted(image: Image.Image, blur: float, noise: float, rng: np.random.Generator) -> Image.Image:
    """Return the image after Gaussian blur of ``blur`` pixels and Gaussian noise of ``noise`` times the value range."""
    upright = ImageOps.exif_transpose(image)
    blurred = np.asarray(upright.convert("RGB").filter(ImageFilter.GaussianBlur(blur)), dtype=np.float64)
    noisy = blurred + 255 * noise * rng.standard_normal(blurred.shape)
    return Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))


def shift(source: Path, target: Path, splits: Sequence[str], blur: float, noise: float, seed: int, most: int) -> int:
    """Write shifted ``splits`` below ``target``, at most ``most`` images per class (0: all); return their number."""
    count = 0
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        if folder.name not in splits:
            (target / folder.name).symlink_to(folder.resolve(), target_is_directory=True)
            continue
        for name in sorted(path for path in folder.iterdir() if path.is_dir()):
            images = sorted(path for path in name.iterdir() if is_image(path))
            for path in images[: most or None]:
                relative = path.relative_to(source)
                rng = generator(f"shift {relative.as_posix()}", seed)
                place = target / relative.with_name(relative.name + ".png")
                place.parent.mkdir(parents=True, exist_ok=True)
                with Image.open(path) as image:
                    shifted(image, blur, noise, rng).save(place)
                count += 1
    return count


def main(argv: Sequence[str] | None = None) -> int:
    """Make the shifted copy; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder with a folder per split")
    parser.add_argument("target", type=Path, help="a folder that does not exist yet")
    parser.add_argument("--splits", nargs="+", default=["train", "test"], help="splits to shift (default: train test)")
    parser.add_argument("--blur", type=float, default=1.5, help="deviation in pixels (default: 1.5)")
    parser.add_argument(
        "--noise", type=float, default=0.1, help="deviation, as a fraction of the value range (default: 0.1)"
    )
    parser.add_argument("--most", type=int, default=0, help="images per class and split (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    missing = [name for name in arguments.splits if not (arguments.source / name).is_dir()]
    if missing:
        print(f"shift.py: {arguments.source} has no folder {missing[0]}.", file=sys.stderr)
        return 2
    if arguments.target.exists():
        print(f"shift.py: {arguments.target} exists already; name a new folder.", file=sys.stderr)
        return 2
    arguments.target.mkdir(parents=True)
    count = shift(
        arguments.source, arguments.target, arguments.splits, arguments.blur, arguments.noise, arguments.seed,
        arguments.most,
    )  # fmt: skip
    print(f"{count} images written below {arguments.target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
