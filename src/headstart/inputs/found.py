"""What lies below a folder: images, other files, folders, and links that lead to folders."""

import contextlib
import functools
import importlib
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from PIL import Image

from headstart.errors import DataError
from headstart.files import printable

HIDDEN = (".", "__MACOSX", "__pycache__", "@eaDir")  # how the names begin of what systems put beside files
# Formats of Pillow that are no pixels, or that it cannot decode without other programs.
NOT_IMAGES = frozenset("EPS PDF MPEG WMF BUFR GRIB HDF5 IPTC".split())
# Files that the first bytes would call a TIFF, though only a thumbnail in them could be read.
CAMERA_RAW = frozenset(".3fr .arw .cr2 .cr3 .dcr .dng .erf .mrw .nef .nrw .orf .pef .raf .raw .rw2 .srw".split())
MENDS = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "install pillow-heif"),
    **dict.fromkeys((".avif", ".avifs"), "install a newer Pillow"),
    **dict.fromkeys((".ps", ".eps", ".pdf", ".svg", ".wmf", ".emf"), "no pixels; convert them"),
    **dict.fromkeys(CAMERA_RAW, "camera raw; convert them"),
    **dict.fromkeys((".zip", ".tar", ".gz", ".tgz", ".rar", ".7z"), "unpack them"),
}
with contextlib.suppress(ImportError):  # here, as processes that load images need it too
    importlib.import_module("pillow_heif").register_heif_opener()
LONGEST_SUFFIX = 10  # characters; what follows the dot of "Dr. Smith at work" is none


@dataclass
class Folder:
    """A folder below the root, and what is in it."""

    path: Path
    images: list[Path] = field(default_factory=list)  # directly in it
    others: list[str] = field(default_factory=list)  # names of its other files
    dead: list[Path] = field(default_factory=list)  # links in it that lead nowhere
    folders: list["Folder"] = field(default_factory=list)  # by name
    same_as: Path | None = None  # where its content is counted, for a link to a folder that is counted elsewhere

    @property
    def name(self) -> str:
        """Return the name as it can be written anywhere."""
        return printable(self.path.name)

    @functools.cached_property
    def image_count(self) -> int:
        """Return how many images are in it and below."""
        return len(self.images) + sum(folder.image_count for folder in self.folders)

    @property
    def filled(self) -> list["Folder"]:
        """Return the folders directly in it that hold images."""
        return [folder for folder in self.folders if folder.image_count]

    def below(self) -> Iterator["Folder"]:
        """Yield the folder and every one below it."""
        yield self
        for folder in self.folders:
            yield from folder.below()

    def every_image(self) -> list[Path]:
        """Return the images in it and below, by name."""
        return sorted(path for folder in self.below() for path in folder.images)


def walk(root: Path) -> Folder:
    """Return the folder with all that is below it. Raises DataError for a folder that cannot be read.

    Links to folders are followed, after all real folders. No folder is counted twice, so links may lead in circles.
    """
    top = Folder(root)
    counted: dict[tuple[int, int], Path] = {}
    real, linked = deque([top]), deque[Folder]()
    while real or linked:
        folder = (real or linked).popleft()
        try:
            folder.same_as = _led_back_to(folder.path) if folder is not top else None
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
    """Note the files of a folder; return the folders in it, and whether each is a link."""
    below = []
    with os.scandir(folder.path) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith(HIDDEN):
                continue
            if _is_folder(entry):
                below.append((folder.path / entry.name, entry.is_symlink()))
            elif is_image(entry):
                folder.images.append(folder.path / entry.name)
            elif entry.is_symlink() and not os.path.exists(entry.path):  # noqa: PTH110  # a link to itself is no error here
                folder.dead.append(folder.path / entry.name)
            else:
                folder.others.append(entry.name)
    return below


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    """Return whether it is a folder or leads to one; a link that leads to itself does not."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_image(entry: "os.DirEntry[str] | Path") -> bool:
    """Return whether a file counts as an image: by its suffix, or by its first bytes where the suffix tells nothing."""
    suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122  # ten times faster than Path's, and there are many
    if suffix in image_suffixes():
        return True
    if suffix in _suffixes() or suffix in MENDS:
        return False
    with contextlib.suppress(Exception):  # Pillow raises nearly anything for what is no whole image
        if entry.is_file():
            with Image.open(Path(entry), formats=_formats()):
                return True
    return False


@functools.cache
def image_suffixes() -> frozenset[str]:
    """Return the suffixes of images that Pillow decodes, such as .jpg, in small letters."""
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


def _led_back_to(path: Path) -> Path | None:
    """Return the folder that a link leads to, where that holds the link; else None."""
    if not path.is_symlink():
        return None
    place = Path(os.path.realpath(path))
    return place if Path(os.path.realpath(path.parent)).is_relative_to(place) else None


def refuse_folder(error: OSError) -> NoReturn:
    """Raise DataError for a folder that cannot be read."""
    raise DataError(f"The folder '{error.filename}' cannot be read: {error.strerror}.") from error


def files_by_suffix(names: Iterable[str]) -> str:
    """Return "14 .txt, 2 without suffix", the most first, with the mend where there is one; empty for no names."""
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
    """Return the absolute path, links followed as far as they lead; what is no path is no error here."""
    try:
        return Path(os.path.realpath(path))
    except ValueError:  # a zero byte
        return path.absolute()


def relative(path: Path, top: Folder) -> str:
    """Return the path of what lies below the root without that, and of what lies elsewhere whole."""
    return printable((path.relative_to(top.path) if path.is_relative_to(top.path) else path).as_posix())


def images_text(count: int) -> str:
    """Return "1 image" or "7 images"."""
    return f"{count} image{'' if count == 1 else 's'}"
