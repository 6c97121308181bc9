"""Pair images with masks, from folders images and masks: inside split folders, around them, or without splits."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from headstart.data.class_folders import IMAGES, PAIRED
from headstart.errors import DataError, nearest
from headstart.files import printable
from headstart.inputs.found import Folder, images_text, relative
from headstart.settings.split_names import split_folders, split_of

Pair = tuple[Path, Path]  # an image and its mask


def find_pairs(top: Folder, splits: Mapping[str, str] | None) -> tuple[dict[str, list[Pair]], list[str]]:
    """Return the images and masks of each split, and phrases on unused files and folders. Raises DataError.

    ``splits`` maps splits to the folders that the user names; None finds them.
    """
    folders = _folders(top, splits)
    notes: list[str] = []
    found = {}
    for split, (images, masks) in folders.items():
        found[split], unpaired = _paired(images, masks, top)
        if unpaired:
            shown = relative(unpaired[0], top)
            notes.append(f"{len(unpaired)} mask{'s' * (len(unpaired) > 1)} without an image, such as `{shown}`")
    used = {folder.path for both in folders.values() for folder in both}
    others = [
        one
        for one in top.folders
        if one.image_count and not any(path == one.path or one.path in path.parents for path in used)
    ]
    notes += [f"folder `{relative(one.path, top)}`: {images_text(one.image_count)}" for one in others]
    return found, notes


def _folders(top: Folder, splits: Mapping[str, str] | None) -> dict[str, tuple[Folder, Folder]]:
    """Return the folders of images and masks of each split. Raises DataError."""
    both = _images_and_masks(top)
    if both is not None:
        images, masks = both
        inside = _splits_in(images, splits)
        if not inside:
            return {"train": both}
        return {split: (folder, _masks_for(folder, masks, top)) for split, folder in inside.items()}
    inside = _splits_in(top, splits)
    if not inside:
        raise DataError(
            f"'{printable(str(top.path))}' has no folders images and masks, nor folders train, val and test with them"
            f"; it holds {', '.join(repr(one.name) for one in top.folders[:4]) or 'no folder'}. For folders of classes"
            " use dataset=image_folder."
        )
    if "train" not in inside:
        raise DataError(f"'{printable(str(top.path))}' has no train folder beside {' and '.join(inside)}.")
    found = {}
    for split, folder in inside.items():
        one = _images_and_masks(folder)
        if one is None:
            held = ", ".join(repr(inner.name) for inner in folder.folders[:4]) or "no folder"
            raise DataError(f"'{relative(folder.path, top)}' holds {held}; expected the folders images and masks.")
        found[split] = one
    return found


def _images_and_masks(folder: Folder) -> tuple[Folder, Folder] | None:
    """Return the folders of images and of masks in a folder; None unless it has both.

    Raises DataError if it has several such folders of images or of masks.
    """
    pair = []
    for name, words in (("images", IMAGES), ("masks", PAIRED)):
        named = [one for one in folder.folders if one.name.lower() in words]
        exact = [one for one in named if one.name.lower() == name]
        if len(exact or named) > 1:
            raise DataError(
                f"'{printable(str(folder.path))}' holds '{named[0].name}' and '{named[1].name}', and both may hold"
                f" the {name}; rename the right one to '{name}'."
            )
        pair += exact or named
    return (pair[0], pair[1]) if len(pair) == 2 and pair[0].name.lower() in IMAGES else None


def _splits_in(folder: Folder, splits: Mapping[str, str] | None) -> dict[str, Folder]:
    """Return the split folders in a folder, as the user names them or by their usual names. Raises DataError."""
    names = {one.name: one for one in folder.folders}
    if splits is not None:
        for split, name in splits.items():
            if name not in names:
                raise DataError(
                    f"dataset.splits={{{split}: {name}}}: there is no such folder in '{printable(str(folder.path))}'."
                    f"{nearest(name, names)}"
                )
        return {split: names[name] for split, name in splits.items()}
    found: dict[str, Folder] = {}
    for name, split in split_folders(names).items():
        if split in found:
            raise DataError(
                f"'{printable(str(folder.path))}' has two {split} folders, '{found[split].name}' and '{name}': name the"
                f" one to use, as in dataset.splits={{{split}: {name}, ...}}."
            )
        found[split] = names[name]
    return found


def _masks_for(images: Folder, masks: Folder, top: Folder) -> Folder:
    """Return the folder in ``masks`` for the same split as the folder ``images``. Raises DataError if there is none."""
    for one in masks.folders:
        if one.name == images.name or (split_of(one.name) and split_of(one.name) == split_of(images.name)):
            return one
    raise DataError(f"'{relative(masks.path, top)}' has no folder '{images.name}' for the images of that split.")


def _paired(images: Folder, masks: Folder, top: Folder) -> tuple[list[Pair], list[Path]]:
    """Return each image with the mask of the same name, and the masks without an image.

    Raises DataError if there is no image, or one without a mask.
    """
    by_name = _by_name(_files(masks), masks.path, top)
    named = _by_name(images.every_image(), images.path, top)
    if not named:
        raise DataError(f"'{relative(images.path, top)}' holds no image.")
    without = [name for name in named if name not in by_name]
    if without:
        expected = relative(masks.path / f"{without[0]}.png", top)
        many = f"{len(without)} images have no mask" if len(without) > 1 else "1 image has no mask"
        hint = nearest(without[0], by_name)
        raise DataError(
            f"{many} of the same name, such as '{relative(named[without[0]], top)}'; expected '{expected}'."
            f"{hint if hint.startswith(' Did') else ''}"
        )
    return [(path, by_name[name]) for name, path in named.items()], [by_name[name] for name in by_name.keys() - named]


def _files(folder: Folder) -> Iterator[Path]:
    """Yield every file in a folder and in its subfolders; masks may be no images."""
    for one in folder.below():
        yield from one.images
        yield from (one.path / name for name in one.others)


def _by_name(paths: Iterator[Path] | Sequence[Path], root: Path, top: Folder) -> dict[str, Path]:
    """Return files by their path below ``root``, without suffix. Raises DataError if two differ only in the suffix."""
    found: dict[str, Path] = {}
    for path in sorted(paths):
        name = os.path.splitext(path.relative_to(root).as_posix())[0]  # noqa: PTH122  # ten times faster than pathlib
        if name in found:
            raise DataError(
                f"'{relative(found[name], top)}' and '{relative(path, top)}' differ only in their suffix; keep one."
            )
        found[name] = path
    return found
