"""Make a long-tailed copy of class folders: the number of training images falls exponentially from class to class.

    python scripts/long_tail.py my_images my_long_tail --most 80 --least 5

The numbers fall from ``--most`` to ``--least``. The order of classes is drawn from ``--seed``, not alphabetical. Images
are linked, not copied. Splits other than ``train`` are linked unchanged.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from headstart.seeds import generator


def counts(classes: int, most: int, least: int) -> list[int]:
    """Return a count per class from ``most`` to ``least``, falling by a constant factor."""
    return [round(float(count)) for count in np.geomspace(most, least, classes)]


def long_tail(source: Path, target: Path, most: int, least: int, seed: int) -> dict[str, int]:
    """Link ``source`` below ``target`` with fewer training images; return the number of images of each class.

    Raises ValueError for a class with too few images.
    """
    folders = {path.name: path for path in sorted((source / "train").iterdir()) if path.is_dir()}
    images = {
        name: sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
        for name, folder in folders.items()
    }
    order = generator("long tail classes", seed).permutation(sorted(folders)).tolist()
    kept = dict(zip(order, counts(len(order), most, least), strict=True))
    for name, count in kept.items():
        if len(images[name]) < count:
            raise ValueError(f"class {name} has {len(images[name])} images, but {count} are needed")
    for number, name in enumerate(sorted(folders)):
        place = target / "train" / name
        place.mkdir(parents=True)
        for index in generator("long tail", seed, number).permutation(len(images[name]))[: kept[name]]:
            (place / images[name][index].name).symlink_to(images[name][index].resolve())
    for folder in sorted(path for path in source.iterdir() if path.is_dir() and path.name != "train"):
        (target / folder.name).symlink_to(folder.resolve(), target_is_directory=True)
    return kept


def main(argv: Sequence[str] | None = None) -> int:
    """Make the copy and print the counts; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder with a folder train and folders of other splits")
    parser.add_argument("target", type=Path, help="a folder that does not exist yet")
    parser.add_argument("--most", type=int, default=80, help="images of the largest class (default: 80)")
    parser.add_argument("--least", type=int, default=5, help="images of the smallest class (default: 5)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    wrong = None
    if not (arguments.source / "train").is_dir():
        wrong = f"{arguments.source} has no folder train"
    elif arguments.target.exists():
        wrong = f"{arguments.target} exists already; name a new folder"
    elif not 1 <= arguments.least <= arguments.most:
        wrong = f"--most {arguments.most} --least {arguments.least}: expected 1 <= least <= most"
    if wrong is None:
        try:
            kept = long_tail(arguments.source, arguments.target, arguments.most, arguments.least, arguments.seed)
        except ValueError as error:
            wrong = str(error)
    if wrong is not None:
        print(f"long_tail.py: {wrong}.", file=sys.stderr)
        return 2
    print(f"{sum(kept.values())} training images linked below {arguments.target}:")
    print(", ".join(f"{name} {count}" for name, count in kept.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
