"""Store rows of numbers on disk. The key of rows holds everything that determines them. Needs numpy, not torch.

    FOLDER/<entry>/entry.json   the key, which describes how rows are computed; its hash names the entry
    FOLDER/<entry>/lock         held by the process that computes rows of this entry
    FOLDER/<entry>/<part>/      some rows: values.npy, rows.npy (their 128-bit names), part.json

A part is written under a temporary name, renamed when complete, and never changed: readers see all of it or nothing.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
import uuid
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from headstart.files import write_atomically

SCHEMA = 1
BLOCK = 1024**2  # bytes per checksum
MOST_CHECKED = 256  # blocks checked when a part is opened; of more blocks, evenly spaced ones
PARTIAL, REMOVED = ".partial-", ".removed-"
IMAGES = "pictures"  # the folder of cached facts about images
_CHECKED: set[tuple[int, ...]] = set()
Names = NDArray[np.uint64]  # (N, 2)


class DamagedError(Exception):
    """A part does not hold what was written."""


class TooLargeError(OSError):
    """The store's limit leaves no room for the rows."""


def digest_of(content: Any) -> str:
    """Return the hash, in hex, of anything JSON can hold; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def row_names(digests: list[bytes]) -> Names:
    """Return the first 128 bits of each hash."""
    return np.frombuffer(b"".join(digest[:16] for digest in digests), dtype="<u8").reshape(-1, 2)


@dataclass(frozen=True)
class StoredPart:
    """Some rows of an entry, checked and open; readable even after eviction."""

    path: Path
    file: IO[bytes]
    names: Names
    shape: tuple[int, ...]  # of a row
    dtype: np.dtype[Any]
    offset: int  # bytes before the first row
    sums: tuple[int, ...]  # one checksum per block
    seconds: float  # time that computing it took

    def __len__(self) -> int:
        return len(self.names)

    @property
    def row_bytes(self) -> int:
        """Return the bytes of one row."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def find(self, names: Names) -> NDArray[np.int64]:
        """Return the place of each name in this part, or -1."""
        order = np.argsort(self.names[:, 0], kind="stable")
        place = np.searchsorted(self.names[order, 0], names[:, 0])
        found = order[np.minimum(place, len(order) - 1)]
        return np.where((self.names[found] == names).all(axis=1), found, -1)

    def touch(self) -> None:
        """Mark the part as used now, which delays its eviction."""
        with contextlib.suppress(OSError):
            os.utime(self.path / "part.json")

    def check(self) -> None:
        """Compare the values with their checksums, once per process. Raises DamagedError."""
        about = os.fstat(self.file.fileno())
        identity = (about.st_dev, about.st_ino, about.st_mtime_ns, about.st_size)
        if identity in _CHECKED:
            return
        length, count = len(self) * self.row_bytes, len(self.sums)
        places = range(count) if count <= MOST_CHECKED else np.linspace(0, count - 1, MOST_CHECKED, dtype=int)
        for number in map(int, places):
            size = min(BLOCK, length - number * BLOCK)
            if zlib.crc32(os.pread(self.file.fileno(), size, self.offset + number * BLOCK)) != self.sums[number]:
                raise DamagedError(f"{self.path}: values.npy does not hold what was written")
        _CHECKED.add(identity)

    def mapped(self) -> NDArray[Any]:
        """Return all rows as a memory map; writes stay private to this process."""
        return np.memmap(self.file, self.dtype, "c", self.offset, (len(self), *self.shape))

    def read(self, row: int, into: memoryview) -> None:
        """Read one row without a memory map, so that its pages do not count as this process's memory."""
        if os.preadv(self.file.fileno(), [into], self.offset + row * self.row_bytes) != self.row_bytes:
            raise DamagedError(f"{self.path} ends early")


class Store:
    """A folder of entries, kept below ``max_bytes`` by evicting the least recently used parts."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder, self.max_bytes = folder, max_bytes

    def entry(self, key: Mapping[str, Any]) -> "Entry":
        """Return the entry of a key, whether it exists or not."""
        return Entry(self, self.folder / digest_of(key)[:16], dict(key))

    def entries(self) -> list["Entry"]:
        """Return all existing entries, by name."""
        found = []
        for path in sorted(self.folder.glob("[!.]*/entry.json")):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                found.append(Entry(self, path.parent, dict(json.loads(path.read_text())["key"])))
        return found

    def parts(self) -> list[Path]:
        """Return the folders of all complete parts."""
        return [path.parent for path in self.folder.glob("[!.]*/[!.]*/part.json")]

    def leftovers(self) -> list[Path]:
        """Return the store's other folders: half-removed entries, and cached facts about images."""
        notes = self.folder / IMAGES
        ours = [notes] if notes.is_dir() and all(_is_note(path) for path in notes.iterdir()) else []
        return [*ours, *(path for path in self.folder.glob(f"{REMOVED}*") if path.is_dir())]

    def make_room(self, wanted: int, needed: Collection[Path] = ()) -> None:
        """Evict the least recently used parts, but none that is ``needed``, until ``wanted`` bytes fit.

        Raises TooLargeError if they cannot fit.
        """
        for entry in self.entries():
            entry.sweep()
        parts = {path: size_of(path) for path in self.parts()}
        total = sum(parts.values())
        if sum(parts[path] for path in parts if path in needed) + wanted > self.max_bytes:
            raise TooLargeError(f"{wanted / 1e6:.1f} MB more do not fit into features.max_size")
        for path in sorted(parts.keys() - set(needed), key=_last_used):
            if total + wanted <= self.max_bytes:
                return
            total -= parts[path]
            remove(path)


class Entry:
    """Rows that are computed in one way."""

    def __init__(self, store: Store, folder: Path, key: dict[str, Any]) -> None:
        self.store, self.folder, self.key = store, folder, key

    @property
    def name(self) -> str:
        """Return the name of the entry on disk."""
        return self.folder.name

    def part_folders(self) -> list[Path]:
        """Return the folders of its parts."""
        return sorted(path for path in self.folder.glob("[!.]*") if path.is_dir())

    def parts(self) -> list["PartSummary"]:
        """Return a summary of each part without opening it; damaged parts are left out."""
        found = []
        for path in self.part_folders():
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, OverflowError):
                about = path / "part.json"
                rows = int(json.loads(about.read_text())["rows"])
                found.append(PartSummary(rows, size_of(path), about.stat().st_mtime))
        return found

    @contextlib.contextmanager
    def locked(self, wait: bool = True) -> Iterator[bool]:
        """Hold the entry's lock, which a dying process frees; without ``wait``, yield whether it was free."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True

    def clean(self) -> None:
        """Remove unfinished parts of killed runs; only the holder of the lock may call this."""
        for path in self.folder.glob(".*-*"):
            if path.name.startswith((PARTIAL, REMOVED)):
                shutil.rmtree(path, ignore_errors=True)

    def sweep(self) -> None:
        """Call ``clean`` if nobody is writing."""
        with contextlib.suppress(OSError), self.locked(wait=False) as free:
            if free:
                self.clean()

    def writer(
        self, names: Names, shape: tuple[int, ...], dtype: np.dtype[Any], needed: Collection[Path] = ()
    ) -> "PartWriter":
        """Return a writer of a new part for these rows, in their order; the parts ``needed`` are not evicted for it.

        Raises OSError if the part cannot be created.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / "entry.json").exists():
            write_atomically(
                self.folder / "entry.json", json.dumps({"schema": SCHEMA, "key": self.key}, indent=2) + "\n"
            )
        self.store.make_room(len(names) * int(np.prod(shape, dtype=np.int64)) * dtype.itemsize, needed)
        return PartWriter(self.folder, names, shape, dtype)


@dataclass(frozen=True)
class PartSummary:
    """The summary of a part."""

    rows: int
    size: int  # bytes
    used: float  # time of last use, in seconds since 1970


class PartWriter:
    """Write rows in order; they become visible at ``commit``."""

    def __init__(self, folder: Path, names: Names, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.final = folder / f"{digest_of(names.tobytes().hex())[:16]}"
        self.partial = folder / f"{PARTIAL}{uuid.uuid4().hex}"
        self.partial.mkdir()
        self.names, self.shape, self.dtype = names, shape, dtype
        self.sums: list[int] = []
        self.pending = bytearray()
        self.written = 0
        try:
            np.save(self.partial / "rows.npy", names)
            self.file = (self.partial / "values.npy").open("wb")
            header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": (len(names), *shape)}
            npy.write_array_header_1_0(self.file, header)
        except BaseException:
            self.abandon()
            raise

    def put(self, values: NDArray[Any]) -> None:
        """Write the next rows."""
        self.written += len(values)
        self.pending += np.ascontiguousarray(values, dtype=self.dtype).tobytes()
        while len(self.pending) >= BLOCK:
            self._flush(BLOCK)

    def commit(self, seconds: float) -> Path:
        """Make the part visible; ``seconds`` is the time that computing it took."""
        if self.written != len(self.names):
            raise ValueError(f"{len(self.names)} rows were expected, but {self.written} were written.")
        self._flush(len(self.pending))
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        about = {
            "schema": SCHEMA,
            "rows": len(self.names),
            "shape": list(self.shape),
            "dtype": self.dtype.str,
            "seconds": seconds,
            "blocks": self.sums,
            "names": zlib.crc32(self.names.tobytes()),
        }
        write_atomically(self.partial / "part.json", json.dumps(about))
        if self.final.exists():  # written meanwhile by a run without a lock
            self.abandon()
        else:
            self.partial.rename(self.final)
        return self.final

    def abandon(self) -> None:
        """Remove the unfinished part."""
        if hasattr(self, "file"):
            with contextlib.suppress(OSError):
                self.file.close()
        shutil.rmtree(self.partial, ignore_errors=True)

    def _flush(self, count: int) -> None:
        block = bytes(self.pending[:count])
        del self.pending[:count]
        if block:
            self.file.write(block)
            self.sums.append(zlib.crc32(block))


def open_part(folder: Path) -> StoredPart:
    """Open a part.

    Raises DamagedError if its files are inconsistent, FileNotFoundError if it is gone, and another OSError if the
    system forbids reading it.
    """
    try:
        about = json.loads((folder / "part.json").read_text())
        names = np.load(folder / "rows.npy")
        file = (folder / "values.npy").open("rb")
    except (FileNotFoundError, ValueError, EOFError) as error:
        if not folder.exists():
            raise FileNotFoundError(folder) from error
        raise DamagedError(f"{folder} cannot be read ({error})") from error
    try:
        part = _part(folder, file, about, names)
    except (ValueError, KeyError, TypeError) as error:
        file.close()
        raise DamagedError(f"{folder} cannot be read ({error})") from error
    except BaseException:
        file.close()
        raise
    return part


def _part(folder: Path, file: IO[bytes], about: Mapping[str, Any], names: Names) -> StoredPart:
    if about["schema"] != SCHEMA:
        raise DamagedError(f"{folder} was written by another version of headstart")
    shape, dtype = tuple(about["shape"]), np.dtype(about["dtype"])
    npy.read_magic(file)
    written = npy.read_array_header_1_0(file)
    part = StoredPart(folder, file, names, shape, dtype, file.tell(), tuple(about["blocks"]), float(about["seconds"]))
    if written[0] != (about["rows"], *shape) or written[2] != dtype or names.shape != (about["rows"], 2):
        raise DamagedError(f"{folder}: its files are inconsistent")
    if os.fstat(file.fileno()).st_size != part.offset + len(part) * part.row_bytes:
        raise DamagedError(f"{folder}: values.npy has the wrong length")
    if zlib.crc32(names.tobytes()) != about["names"]:
        raise DamagedError(f"{folder}: rows.npy does not hold what was written")
    return part


def remove(folder: Path) -> int:
    """Remove a part or an entry and return the bytes it held; processes that have it open can still read it."""
    size = size_of(folder)
    hidden = folder.with_name(f"{REMOVED}{uuid.uuid4().hex}")
    try:
        folder.rename(hidden)
    except FileNotFoundError:
        return 0
    shutil.rmtree(hidden, ignore_errors=True)
    return size


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def _is_note(path: Path) -> bool:
    return path.is_file() and len(path.name) == 32


def _last_used(part: Path) -> float:
    try:
        return (part / "part.json").stat().st_mtime
    except OSError:
        return time.time()
