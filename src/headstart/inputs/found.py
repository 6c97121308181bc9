"""Scan a folder: images, other files, folders, and links to folders."""

import contextlib
import functools
import importlib
import os
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from PIL import Image

from headstart.errors import DataError
from headstart.files import printable

HIDDEN = (".", "__MACOSX", "__pycache__", "@eaDir")  # prefixes of files that systems add
# Formats of Pillow that have no pixels or need other programs.
NOT_IMAGES = frozenset("EPS PDF MPEG WMF BUFR GRIB HDF5 IPTC".split())
# Files that start like a TIFF, although only their thumbnail could be read.
CAMERA_RAW = frozenset(".3fr .arw .cr2 .cr3 .dcr .dng .erf .mrw .nef .nrw .orf .pef .raf .raw .rw2 .srw".split())
# What to do about files that are not read, by suffix.
MENDS = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "install pillow-heif"),
    **dict.fromkeys((".avif", ".avifs"), "install a newer Pillow"),
    **dict.fromkeys((".ps", ".eps", ".pdf", ".svg", ".wmf", ".emf"), "no pixels; convert them"),
    **dict.fromkeys(CAMERA_RAW, "camera raw; convert them"),
    **dict.fromkeys((".zip", ".tar", ".gz", ".tgz", ".rar", ".7z"), "unpack them"),
}
with contextlib.suppress(ImportError):  # at import, because loader processes need it too
    importlib.import_module("pillow_heif").register_heif_opener()
JUST = 2 * 10**9  # nanoseconds in which a file may change again without a new time, as clocks of disks are coarse
_WALKED: dict[Path, tuple["Folder", list[tuple[int, int]]]] = {}
LONGEST_SUFFIX = 10  # characters; "Dr. Smith at work" has no suffix


@dataclass
class Folder:
    """A folder below the root, and its content."""

    path: Path
    images: list[Path] = field(default_factory=list)  # directly in it
    others: list[str] = field(default_factory=list)  # names of its other files
    dead: list[Path] = field(default_factory=list)  # broken links in it
    folders: list["Folder"] = field(default_factory=list)  # sorted by name
    same_as: Path | None = None  # the target of a link, if that folder is already counted
    opened: list[Path] = field(default_factory=list)  # files in it whose content may decide whether they are images
    linked: bool = False  # whether it holds a link
    facts: dict[str, Any] = field(default_factory=dict)  # derived from the folder and all below it

    @property
    def name(self) -> str:
        """Return the name in printable form."""
        return printable(self.path.name)

    @functools.cached_property
    def image_count(self) -> int:
        """Return the number of images in the folder and below."""
        return len(self.images) + sum(folder.image_count for folder in self.folders)

    @property
    def filled(self) -> list["Folder"]:
        """Return the folders directly in this one that contain images, there or below."""
        return [folder for folder in self.folders if folder.image_count]

    def below(self) -> Iterator["Folder"]:
        """Yield the folder and every one below it."""
        yield self
        for folder in self.folders:
            yield from folder.below()

    def every_image(self) -> list[Path]:
        """Return the images in the folder and below, sorted by path."""
        return sorted(path for folder in self.below() for path in folder.images)


def walk(root: Path) -> Folder:
    """Return the folder with everything below it. Raises DataError for a folder that cannot be read.

    Links to folders are followed after all real folders. No folder is counted twice, so links may form circles. The
    last result is returned again if the times of its folders show that nothing has changed.
    """
    kept = _WALKED.get(root)
    if kept is not None and _times(kept[0]) == kept[1]:
        return kept[0]
    _WALKED.clear()
    begun = time.time_ns()
    top = _walked(root)
    times = _times(top)
    if not any(folder.linked for folder in top.below()) and max(map(max, times)) < begun - JUST:
        _WALKED[root] = top, times
    return top


def _times(top: Folder) -> list[tuple[int, int]]:
    """Return when each folder and each opened file changed, in nanoseconds; none of these times if one is gone."""
    try:
        states = [path.stat() for folder in top.below() for path in (folder.path, *folder.opened)]
    except OSError:
        return [(time.time_ns(), 0)]
    return [(state.st_mtime_ns, state.st_ctime_ns) for state in states]


def _walked(root: Path) -> Folder:
    top = Folder(root)
    counted: dict[tuple[int, int], Path] = {}
    real, linked = deque([top]), deque[Folder]()
    while real or linked:
        folder = (real or linked).popleft()
        try:
            folder.same_as = _circular_target(folder.path) if folder is not top else None
            if folder.same_as is None:
                state = folder.path.stat()
                first = counted.setdefault((state.st_dev, state.st_ino), folder.path)
                folder.same_as = first if first is not folder.path else None
            if folder.same_as is not None:
                continue
            below = _list(folder)
        except OSError as error:
            refuse_folder(error)
        for path, is_link in below:
            one = Folder(path)
            folder.folders.append(one)
            (linked if is_link else real).append(one)
    return top


def _list(folder: Folder) -> list[tuple[Path, bool]]:
    """Record the files of a folder; return its subfolders, and whether each is a link."""
    below = []
    with os.scandir(folder.path) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith(HIDDEN):
                continue
            suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
            if entry.is_symlink():
                folder.linked = True
            elif suffix not in _suffixes() and suffix not in MENDS and not entry.is_dir():
                folder.opened.append(folder.path / entry.name)
            if _is_folder(entry):
                below.append((folder.path / entry.name, entry.is_symlink()))
            elif is_image(entry):
                folder.images.append(folder.path / entry.name)
            elif entry.is_symlink() and not os.path.exists(entry.path):  # noqa: PTH110  # unlike Path.exists, False for a link to itself
                folder.dead.append(folder.path / entry.name)
            else:
                folder.others.append(entry.name)
    return below


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    """Return whether an entry is a folder or a link to one; False for a link to itself."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_image(entry: "os.DirEntry[str] | Path") -> bool:
    """Return whether a file is an image, by its suffix, or by its first bytes if the suffix is unknown."""
    suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122  # ten times faster than Path.suffix
    if suffix in image_suffixes():
        return True
    if suffix in _suffixes() or suffix in MENDS:
        return False
    with contextlib.suppress(Exception):  # Pillow may raise nearly anything for a damaged file
        if entry.is_file():
            with Image.open(Path(entry), formats=_formats()):
                return True
    return False


@functools.cache
def image_suffixes() -> frozenset[str]:
    """Return the suffixes of images that Pillow decodes, such as .jpg, in lower case."""
    return frozenset(suffix for suffix, name in _suffixes().items() if name in Image.OPEN and name not in NOT_IMAGES)


@functools.cache
def _suffixes() -> dict[str, str]:
    """Return the format of every suffix that Pillow knows."""
    return Image.registered_extensions()


@functools.cache
def _formats() -> tuple[str, ...]:
    """Return the formats that are recognised by their first bytes."""
    _suffixes()
    return tuple(name for name, (_, accepts) in Image.OPEN.items() if accepts is not None and name not in NOT_IMAGES)


def _circular_target(path: Path) -> Path | None:
    """Return a link's target folder if the link lies inside it, otherwise None."""
    if not path.is_symlink():
        return None
    place = Path(os.path.realpath(path))
    return place if Path(os.path.realpath(path.parent)).is_relative_to(place) else None


def refuse_folder(error: OSError) -> NoReturn:
    """Raise DataError for a folder that cannot be read."""
    raise DataError(f"The folder '{error.filename}' cannot be read: {error.strerror}.") from error


def files_by_suffix(names: Iterable[str]) -> str:
    """Return a text such as "14 .txt, 2 without suffix", most frequent first, with hints; empty without names."""
    counts = Counter(_suffix(name) for name in names)
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    return ", ".join(
        f"{count} {suffix or 'without suffix'}{f' ({MENDS[suffix]})' if suffix in MENDS else ''}"
        for suffix, count in ordered
    )


def _suffix(name: str) -> str:
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
    return printable(suffix) if len(suffix) <= LONGEST_SUFFIX and " " not in suffix else ""


def real_path(path: Path) -> Path:
    """Return the absolute path with links resolved; an invalid path raises no error."""
    try:
        return Path(os.path.realpath(path))
    except ValueError:  # a zero byte
        return path.absolute()


def relative(path: Path, top: Folder) -> str:
    """Return the path relative to the root if below it, otherwise the whole path."""
    return printable((path.relative_to(top.path) if path.is_relative_to(top.path) else path).as_posix())


def images_text(count: int) -> str:
    """Return "1 image" or "7 images"."""
    return f"{count} image{'' if count == 1 else 's'}"
