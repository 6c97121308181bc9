"""Find out which folders are splits and which are classes, and refuse ambiguous layouts."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from headstart.data.class_folders import check_class_folders, refuse_pairs
from headstart.errors import DataError, nearest
from headstart.files import printable
from headstart.inputs.found import Folder, files_by_suffix, images_text, relative
from headstart.settings.split_names import split_folders, split_of, words_of

log = logging.getLogger(__name__)
# Names of folders whose images have no labels.
UNLABELLED = frozenset(
    "pred predict prediction predictions unlabeled unlabelled unsup unsupervised inference submission sample samples"
    " demo example examples preview previews thumbnail thumbnails holdout extra".split()
)
# Names of a folder between a split and its class folders.
WRAPPERS = frozenset("images image imgs img jpegimages data dataset".split())


@dataclass(frozen=True)
class FolderLayout:
    """The folders that hold the class folders of each split."""

    sources: Mapping[str, Folder]

    def classes(self, split: str, only: Sequence[str] | None) -> list[Folder]:
        """Return the class folders of a split: all of them, or those whose names are in ``only``."""
        return [folder for folder in self.sources[split].folders if only is None or folder.name in only]


def find_layout(
    top: Folder,
    splits: Mapping[str, str] | None = None,
    classes: Sequence[str] | None = None,
    test_split: str | None = None,
) -> FolderLayout:
    """Return the layout of a folder. Raises DataError for an ambiguous one.

    ``splits`` maps each split to the folder that the user gives, ``classes`` lists the class names, and ``test_split``
    names another split to test on.
    """
    if splits is not None:
        sources = {split: _named(top, split, path) for split, path in splits.items()}
        _refuse_same(list(sources.values()), top)
    else:
        base = _inside_wrappers(top, classes)
        sources = _sources(top, base, classes, test_split)
        _refuse_same([folder for folder in base.folders if split_of(folder.name) or folder in sources.values()], top)
    for split, folder in sources.items():
        check_class_folders(folder, top, split, classes, splits is not None)
    layout = FolderLayout(sources)
    _refuse_shared(layout, top, classes)
    return layout


def not_used(top: Folder, used: Sequence[Folder], splits: Mapping[str, Folder]) -> list[str]:
    """Return phrases for everything below ``top`` that is in no folder of ``used``."""
    keep = {folder.path for folder in used}
    above = {parent for path in keep for parent in path.parents}
    sources = {folder.path for folder in splits.values()}
    outside = 0
    phrases: list[str] = []
    others: list[str] = []

    def look(folder: Folder, of_classes: bool) -> None:
        nonlocal outside
        if folder.path in keep:
            others.extend(name for one in folder.below() for name in one.others)
        elif folder.path in above:
            outside += len(folder.images)
            others.extend(folder.others)
            for one in folder.folders:
                look(one, folder.path in sources)
        elif folder.image_count:
            phrases.append(_phrase(folder, top, of_classes))
        else:
            others.extend(name for one in folder.below() for name in one.others)
            if split_of(folder.name) and folder.same_as is None:
                phrases.append(f"split folder `{relative(folder.path, top)}`: no images")

    look(top, False)
    if outside:
        phrases.append(f"{images_text(outside)} outside class folders")
    phrases += list(_links(top))
    phrases += list(_dead_links(top))
    return phrases + ([files_by_suffix(others)] if others else [])


def _phrase(folder: Folder, top: Folder, of_classes: bool) -> str:
    """Return a phrase with the kind of an unused folder and its number of images."""
    name = relative(folder.path, top)
    if of_classes:
        return f"class folder `{name}`: {images_text(folder.image_count)}"
    if _unwrapped(folder).filled:
        return f"split folder `{name}`: {images_text(folder.image_count)}"
    if split_of(folder.name) or UNLABELLED & set(words_of(folder.name)):
        return f"`{name}`: {images_text(folder.image_count)} without labels"
    return f"folder `{name}`: {images_text(folder.image_count)}"


def _links(top: Folder) -> Iterator[str]:
    """Yield a phrase on links to folders that are counted elsewhere."""
    links = [folder for folder in top.below() if folder.same_as is not None]
    named = [f"`{relative(one.path, top)}` = `{relative(one.same_as, top)}`" for one in links[:3] if one.same_as]
    if links:
        more = ", ..." if len(links) > len(named) else ""
        yield (
            f"{len(links)} linked folder{'s' * (len(links) > 1)} counted elsewhere or circular ({', '.join(named)}"
            f"{more})"
        )


def _dead_links(top: Folder) -> Iterator[str]:
    """Yield a phrase on broken links, because each may have been a class."""
    dead = [relative(path, top) for folder in top.below() for path in folder.dead]
    if dead:
        names = ", ".join(f"`{name}`" for name in dead[:3]) + ", ..." * (len(dead) > 3)
        yield f"{len(dead)} broken link{'s' * (len(dead) > 1)} ({names})"


def _inside_wrappers(top: Folder, classes: Sequence[str] | None) -> Folder:
    """Return the folder that holds splits or classes: enter a folder while it is the only one with images."""
    base = top
    while True:
        refuse_pairs(base, top, classes)
        names = [folder.name for folder in base.folders]
        if len(base.filled) != 1 or split_folders(names) or (classes and set(classes) <= set(names)):
            return base
        (only,) = base.filled
        if not only.filled or (only.images and not split_folders([folder.name for folder in only.filled])):
            return base
        log.info("using the folders in '%s', the only folder with images in '%s'", only.name, printable(str(base.path)))
        base = only


def _sources(top: Folder, base: Folder, classes: Sequence[str] | None, test_split: str | None) -> dict[str, Folder]:
    """Return the folders of the splits in ``base``; if ``base`` holds class folders, it is train itself."""
    meant = split_folders([folder.name for folder in base.filled])
    found: dict[str, Folder] = {}
    for folder in base.filled:
        split = meant.get(folder.name)
        if split in found:
            raise DataError(
                f"'{base.path}' has two {split} folders, '{found[split].name}' and '{folder.name}': keep one, or name"
                f" the one to use, as in dataset.splits={{{split}: {relative(folder.path, top)}, ...}}."
            )
        if split is not None:
            found[split] = folder
    others = [folder for folder in base.filled if folder.name not in meant]
    labelled = {split: _unwrapped(folder) for split, folder in found.items() if _unwrapped(folder).filled}
    if classes is not None and set(classes) <= {folder.name for folder in base.folders}:
        if "train" not in labelled or not set(classes) <= {folder.name for folder in labelled["train"].folders}:
            return {"train": base}
        train = relative(labelled["train"].path, top)
        raise DataError(
            f"dataset.classes names folders in both '{base.path}' and '{train}'; choose one with"
            f" dataset.splits={{train: {train}}} or dataset.splits={{train: {relative(base.path, top)}}}."
        )
    if not found:
        return {"train": base}
    if "train" not in found:
        names = " and ".join(f"'{folder.name}'" for folder in found.values())
        own = ", ".join(f"{split}: {relative(folder.path, top)}" for split, folder in found.items())
        listed = ",".join(folder.name for folder in others[:4]) + ",..." * (len(others) > 4)
        beside = f", as in dataset.splits={{train: {relative(base.path, top)}, {own}}} with dataset.classes=[{listed}]"
        mend = beside if len(others) > 1 else f", as in dataset.splits={{train: FOLDER, {own}}}"
        raise DataError(f"'{base.path}' has {names} but no train folder; name it{mend}{_or_classes(base, others)}.")
    named = {folder.name: folder for folder in others}
    if test_split in named:
        labelled[str(test_split)] = _unwrapped(named.pop(str(test_split)))
    if any(_may_be_class(folder, labelled) for folder in named.values()):
        _refuse_beside(top, base, found, others)
    if "train" not in labelled:
        refuse_unlabelled(found["train"], top)
    return labelled


def refuse_unlabelled(folder: Folder, top: Folder) -> NoReturn:
    """Raise DataError for a folder without class folders; the message says how to give labels."""
    lists = [name for name in (*folder.others, *top.others) if name.lower().endswith((".csv", ".tsv"))]
    known = f", such as '{printable(lists[0])}'," if lists else ""
    held = images_text(folder.image_count) if folder.image_count else files_by_suffix(folder.others) or "nothing"
    raise DataError(
        f"'{printable(str(folder.path))}' holds {held} and no class folders; expected one folder of images per class,"
        f" or a list of images and labels{known} with dataset=csv."
    )


def _may_be_class(folder: Folder, labelled: Mapping[str, Folder]) -> bool:
    """Return whether a folder beside split folders may be a class folder."""
    if "train" not in labelled or folder.name in [one.name for one in labelled["train"].folders]:
        return True
    inner = _unwrapped(folder)
    if inner is not folder or inner.filled or UNLABELLED & set(words_of(folder.name)):
        return False
    return len(labelled) < 2


def _unwrapped(folder: Folder) -> Folder:
    """Return the inner folder that holds a split's class folders, such as train/train or train/images."""
    while len(folder.filled) == 1 and len(folder.folders) == 1:
        (only,) = folder.folders
        same = only.name == folder.name or (split_of(only.name) or "") == split_of(folder.name)
        if not same and only.name.lower() not in WRAPPERS:
            break
        folder = only
    return folder


def _named(top: Folder, split: str, path: str) -> Folder:
    """Return the folder that dataset.splits gives for a split. Raises DataError if there is none."""
    folder = top
    for part in Path(path).parts:
        inside = {one.name: one for one in folder.folders} | {one.path.name: one for one in folder.folders}
        if part not in inside:
            near = [relative(one.path, top) for one in folder.folders]
            raise DataError(
                f"dataset.splits={{{split}: {path}}}: there is no such folder in '{printable(str(top.path))}'."
                f"{nearest(path, near)}"
            )
        folder = inside[part]
    folder = _unwrapped(folder)
    if not folder.filled and folder.same_as is None:
        held = images_text(folder.image_count) if folder.image_count else "no images"
        raise DataError(f"dataset.splits={{{split}: {path}}}: it holds {held} instead of class folders.")
    return folder


def _refuse_shared(layout: FolderLayout, top: Folder, classes: Sequence[str] | None) -> None:
    """Raise DataError for class folders of one split that are, or lie in, class folders of another."""
    used = [(folder.path, split) for split in layout.sources for folder in layout.classes(split, classes)]
    split_with = dict(used)
    for path, split in used:
        if any(split_with.get(one, split) != split for one in (path, *path.parents)):
            raise DataError(
                f"dataset.splits: '{relative(path, top)}' would be in more than one split; expected separate folders,"
                " or dataset.classes=[...] that separates them."
            )


def _refuse_same(folders: Sequence[Folder], top: Folder) -> None:
    """Raise DataError for a split folder that is a link to a folder counted elsewhere."""
    for folder in folders:
        if folder.same_as is not None:
            raise DataError(
                f"The split folder '{relative(folder.path, top)}' is the same folder as"
                f" '{relative(folder.same_as, top)}': keep one of them."
            )


def _refuse_beside(top: Folder, base: Folder, found: Mapping[str, Folder], others: Sequence[Folder]) -> NoReturn:
    splits = ", ".join(f"'{folder.name}'" for folder in found.values())
    names = ", ".join(f"'{folder.name}'" for folder in others[:3]) + (", ..." if len(others) > 3 else "")
    train = relative(found["train"].path, top) if "train" in found else "."
    raise DataError(
        f"'{printable(str(base.path))}' holds {splits}, which {'means a split' if len(found) == 1 else 'mean splits'},"
        f" beside {names}; name the split folders with dataset.splits={{train: {train}, ...}}"
        f"{_or_classes(base, others)}."
    )


def _or_classes(base: Folder, others: Sequence[Folder]) -> str:
    """Return the setting that makes all folders classes, if there are folders that are not splits."""
    if not others:
        return ""
    names = ",".join(folder.name for folder in base.filled[:4]) + (",..." if len(base.filled) > 4 else "")
    return f", or the class folders with dataset.classes=[{names}]"
