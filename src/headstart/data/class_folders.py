"""Check class folders, and refuse folders that look like splits, masks or labels."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from headstart.errors import DataError, nearest
from headstart.files import printable
from headstart.inputs.found import Folder, images_text, relative
from headstart.settings.split_names import FILLERS, WORDS, split_folders, words_of

# Words in the names of folders of images, and of folders of their masks, labels or annotations.
IMAGES = frozenset("images image imgs img jpegimages jpeg pictures pics photos input inputs rgb".split())
PAIRED = frozenset(
    "mask masks label labels annotation annotations annots gt groundtruth truth segmentation segmentations seg segs"
    " segmentationclass segmentationobject bbox bboxes boxes target targets".split()
)
MASK_FILE = re.compile(
    r"(.+?)[\s_.\-]+(?:masks?|gt|seg|segmentation|annotation|annotated|labels?)[\s_.\-]*\d*", re.IGNORECASE
)
NO_CLASS = frozenset(  # names of folders that are no classes if other folders are beside them
    "images imgs jpegimages label labels annotation annotations annots gt groundtruth ground_truth bboxes masks"
    " segmentationclass segmentationobject".split()
)
SHARED = 2  # if this many folders occur in every class folder, they may be the classes


def check_class_folders(
    source: Folder, top: Folder, split: str, classes: Sequence[str] | None, splits_given: bool
) -> None:
    """Raise DataError for class folders that may be splits, masks or labels, unless ``classes`` names them."""
    folders = source.folders
    if classes is not None:
        missing = [name for name in classes if name not in [folder.name for folder in folders]]
        if missing and split == "train":
            raise DataError(
                f"dataset.classes: '{_shown(source)}' has no class folder '{missing[0]}'."
                f"{nearest(missing[0], [folder.name for folder in folders])}"
            )
        folders = [folder for folder in folders if folder.name in classes]
    for folder in folders:
        _refuse_link(folder, top)
    if classes is not None:
        return
    refuse_pairs(source, top, classes)
    names = [folder.name for folder in source.filled]
    _refuse_no_class(source, top)
    if named := split_folders(names):
        raise DataError(
            f"'{_shown(source)}' holds the split folder '{next(iter(named))}' where class folders were expected:"
            f" {_settings(top, names)}."
        )
    for folder in source.filled:
        _refuse_inside(folder, names, top)
    if not splits_given:
        _refuse_unknown_splits(source, top)


def refuse_pairs(folder: Folder, top: Folder, classes: Sequence[str] | None) -> None:
    """Raise DataError for a folder of images beside a folder of their masks, labels or annotations."""
    if classes is not None:
        return
    for one, other in _pairs(folder):
        raise DataError(
            f"'{_shown(folder)}' holds '{one.name}' beside '{other.name}', which looks like images and their"
            f" {_paired_word(other.name)}, not like classes: if '{one.name}' holds class folders use"
            f" dataset.splits={{train: {relative(one.path, top)}}}; if both are classes,"
            f" dataset.classes=[{one.name},{other.name}]."
        )


def mask_files(images: Sequence[Path]) -> list[Path]:
    """Return images whose name is that of another image plus a word such as mask: a1_mask.png beside a1.png."""
    stems = {(path.parent, path.stem) for path in images}
    found = []
    for path in images:
        named = MASK_FILE.fullmatch(path.stem)
        if named is not None and (path.parent, named[1]) in stems:
            found.append(path)
    return found


def _pairs(folder: Folder) -> Iterator[tuple[Folder, Folder]]:
    """Yield each folder of images with a folder of their masks, labels or annotations beside it."""
    for one in folder.folders:
        for other in folder.folders if _only(one.name, IMAGES) else ():
            if one is not other and _only(other.name, PAIRED) and (one.image_count or other.image_count):
                yield one, other


def _refuse_link(folder: Folder, top: Folder) -> None:
    """Raise DataError for a class folder that is also another folder, because its images would have two labels."""
    if folder.same_as is None:
        return
    if folder.path.parent.resolve().is_relative_to(folder.same_as.resolve()):
        raise DataError(f"The class folder '{_shown(folder)}' is a link to a folder that holds it; remove it.")
    raise DataError(
        f"The class folder '{_shown(folder)}' is the same folder as '{relative(folder.same_as, top)}': keep one of"
        " them, or list the classes to use with dataset.classes=[...]."
    )


def _refuse_no_class(source: Folder, top: Folder) -> None:
    names = [folder.name for folder in source.filled]
    for name in names:
        if len(names) > 1 and name.lower() in NO_CLASS:
            others = [other for other in names if other != name]
            raise DataError(
                f"'{_shown(source)}' holds '{name}' beside '{others[0]}', and '{name}' does not look like a class:"
                f" {_settings(top, names)}."
            )


def _refuse_inside(folder: Folder, names: Sequence[str], top: Folder) -> None:
    """Raise DataError for a class folder that holds other classes, or splits."""
    inside = [one.name for one in folder.filled]
    repeated = next(_repeated(folder, names), None)
    if repeated is not None:
        rest = [name for name in names if name != folder.name]
        copy = f"remove it if it is a copy, or use all as '{folder.name}' with dataset.classes=[{_listed(names)}]"
        raise DataError(
            f"The folder '{_shown(folder)}' holds '{repeated}', which is also a class folder beside it"
            f" ({images_text(folder.image_count)} in all): {copy if folder.images else _settings(top, rest)}."
        )
    splits = split_folders(inside)
    if len(set(splits.values())) > 1:
        own = ", ".join(f"{split}: {relative(folder.path, top)}/{name}" for name, split in splits.items())
        below = all(one.filled for one in folder.filled)
        mend = f"Name them with dataset.splits={{{own}}}" if below else "Use a list with dataset=csv"
        raise DataError(
            f"The class folder '{_shown(folder)}' holds split folders ({', '.join(splits)}); expected class folders"
            f" below split folders. {mend}, or dataset.classes=[...] to merge all images of a class."
        )
    for image, paired in _pairs(folder):
        raise DataError(
            f"The class folder '{_shown(folder)}' holds '{image.name}' beside '{paired.name}', which looks like images"
            f" and their {_paired_word(paired.name)}. Remove these, use a list with dataset=csv, or"
            " dataset.classes=[...] to use both."
        )
    if (word := next((word for word in words_of(folder.name) if word in PAIRED), None)) is not None:
        without = re.sub(rf"[\W_]*{word}[\W_]*", "", folder.name, flags=re.IGNORECASE)
        if without in names and without != folder.name:
            raise DataError(
                f"'{_shown(folder)}' is beside '{without}', which looks like images and their {word}, not like classes:"
                f" {_settings(top, [name for name in names if name != folder.name])}."
            )


def _repeated(folder: Folder, names: Sequence[str]) -> Iterator[str]:
    """Yield the path of each folder inside a class folder that has the name of another class.

    A single folder at a deeper level does not count: in 2019/03/1, the 1 is a day, even if there is a class 1.
    """
    for one in folder.below():
        known = [inner for inner in one.filled if inner.name in names]
        if one is folder or len(known) >= SHARED:
            yield from (relative(inner.path, folder) for inner in known if inner.name != folder.name)


def _refuse_unknown_splits(source: Folder, top: Folder) -> None:
    """Raise DataError if all folders hold the same folders: the inner ones may be classes, the outer ones splits."""
    folders = source.filled
    if len(folders) < 2 or any(folder.images for folder in folders):
        return
    shared = set.intersection(*({one.name for one in folder.filled} for folder in folders))
    typical = sorted(name for name in shared if any(character.isalpha() for character in name) or len(name) < 4)
    if len(typical) >= SHARED:
        names = [folder.name for folder in folders]
        largest = max(folders, key=lambda folder: folder.image_count)
        raise DataError(
            f"Every folder of '{_shown(source)}' ({_few(names)}) holds the folders {_few(typical)}, so either may be"
            f" the classes: name splits with dataset.splits={{train: {relative(largest.path, top)}, test: ...}}, or"
            f" classes with dataset.classes=[{_listed(names)}]."
        )


def _settings(top: Folder, names: Sequence[str]) -> str:
    """Return the settings that say which folders are classes."""
    return (
        f"list the classes with dataset.classes=[{_listed(names)}], or name the folders that hold class folders with"
        " dataset.splits={train: FOLDER, ...}"
    )


def _only(name: str, wanted: frozenset[str]) -> bool:
    """Return whether a name consists of one of the wanted words and fillers such as train, set or 2."""
    words = words_of(name)
    if name.lower() in wanted:
        return True
    rest = [word for word in words if word not in wanted]
    return len(rest) < len(words) and all(word in FILLERS or word in WORDS or word.isdigit() for word in rest)


def _paired_word(name: str) -> str:
    return next((word for word in words_of(name) if word in PAIRED), name)


def _listed(names: Sequence[str]) -> str:
    return ",".join(names[:4]) + ",..." * (len(names) > 4)


def _few(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:3]) + (", ..." if len(names) > 3 else "")


def _shown(folder: Folder) -> str:
    """Return the path of a folder in printable form."""
    return printable(str(folder.path))
