"""Read a data set from class folders, with or without split folders above them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headstart.data.class_folders import mask_files
from headstart.data.layout import find_layout, not_used, refuse_unlabelled
from headstart.data.module import ImageData
from headstart.errors import DataError, nearest
from headstart.files import printable
from headstart.inputs.collection import Collection
from headstart.inputs.found import MENDS, Folder, files_by_suffix, images_text, real_path, relative, walk
from headstart.settings.rules import existing_folder, given_classes, given_splits
from headstart.targets.labels import suspicious_labels


class ImageFolder(ImageData):
    """Images in one folder per class. Class folders are below the root or below split folders (see layout.py).

    Every file that Pillow can decode is an image. A file with an image's suffix that cannot be decoded is an unreadable
    image. ``splits`` names the folders of train, validation and test, ``classes`` the class folders to use.
    """

    def __init__(
        self, splits: Mapping[str, Any] | None = None, classes: Sequence[Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.splits, self.classes = given_splits(splits), given_classes(classes)

    def default_name(self, root: str | None) -> str:
        """Return the name of the folder."""
        return real_path(Path(root)).name if root else "image_folder"

    def collect(self) -> tuple[list[str], dict[str, Collection]]:
        """Return the class names (the class folders of train) and the images of each split. Raises DataError."""
        top = walk(existing_folder(self.root))
        key = repr((self.splits, self.classes, self.test_split))
        if key not in top.facts:
            top.facts[key] = self._collected(top)
        class_names, found, unused, warnings = top.facts[key]
        self.not_used += unused
        self.warnings += warnings
        return list(class_names), dict(found)

    def _collected(self, top: Folder) -> tuple[list[str], dict[str, Collection], list[str], list[str]]:
        """Return class names, splits, phrases on parts that are not used, and warnings."""
        if not top.image_count:
            held = files_by_suffix(name for folder in top.below() for name in folder.others)
            raise DataError(
                f"'{printable(str(top.path))}' holds no image{f', but {held}' if held else ''}; expected one folder of"
                " images per class."
            )
        layout = find_layout(top, self.splits, self.classes, self.test_split)
        folders = {split: layout.classes(split, self.classes) for split in layout.sources}
        class_names = [folder.name for folder in folders["train"]]
        if not class_names:
            refuse_unlabelled(layout.sources["train"], top)
        used = [folder for of_split in folders.values() for folder in of_split]
        unused = not_used(top, used, layout.sources)
        warnings = list(_in_two_classes(used, top))
        found = {split: self._read(used, top.path, class_names, split) for split, used in folders.items()}
        counts = Counter(class_names[label] for split in found.values() for label in split.targets)
        warnings += suspicious_labels(counts)
        masks = mask_files([path for split in found.values() for path in split.images if isinstance(path, Path)])
        if masks:
            name = relative(masks[0], top)
            warnings.append(f"{images_text(len(masks))} such as '{name}' are named like masks of images beside them")
        return class_names, found, unused, warnings

    def _read(self, folders: Sequence[Folder], root: Path, class_names: list[str], split: str) -> Collection:
        paths: list[Path] = []
        targets: list[int] = []
        for folder in folders:
            if folder.name not in class_names:
                raise DataError(
                    f"Class '{folder.name}' of {split} is missing in train.{nearest(folder.name, class_names)} To use"
                    " other folders, name them with dataset.splits={train: ..., test: ...} or dataset.classes=[...]."
                )
            images = folder.every_image()
            if not images:
                raise DataError(
                    f"The class folder '{folder.path}' holds no image{_held_instead(folder)}. If it is not a class,"
                    " list the others with dataset.classes=[...]."
                )
            paths += images
            targets += [class_names.index(folder.name)] * len(images)
        ids = [printable(path.relative_to(root).as_posix()) for path in paths]
        return Collection(ids, np.array(targets, dtype=np.int64), paths)


def _in_two_classes(folders: Sequence[Folder], top: Folder) -> Iterator[str]:
    """Yield a sentence for each link in a class folder to a folder in another class folder."""
    for folder in folders:
        for link in folder.below():
            place = link.same_as
            if place and any(place.is_relative_to(one.path) for one in folders if one is not folder):
                here, there = relative(link.path, top), relative(place, top)
                yield f"`{here}` links to the images of `{there}`; they are used as `{there}` only"


def _held_instead(folder: Folder) -> str:
    """Return a phrase on the files in a folder without images."""
    names = sorted(name for one in folder.below() for name in one.others)
    if not names:
        return ""
    if any(name.lower().endswith(tuple(MENDS)) for name in names):
        return f", but {files_by_suffix(names)}"
    return f", but {len(names)} other file{'s' * (len(names) > 1)} such as '{printable(names[0])}'"
