"""Check a checkpoint of a run directory, its archive and its pickle, before PyTorch loads it."""

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

from headstart.boundary.opening import GB, MB, open_inside, unreadable

MOST_CHECKPOINT, MOST_PICKLE, MOST_ENTRIES = 16 * GB, 16 * MB, 100_000
BYTES = {  # of one value, by the kind of storage that a checkpoint names
    "DoubleStorage": 8, "FloatStorage": 4, "HalfStorage": 2, "BFloat16Storage": 2, "LongStorage": 8, "IntStorage": 4,
    "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1, "BoolStorage": 1,
}  # fmt: skip
# The pickle operations in the checkpoint of a network. Some other operations take memory without limit.
OPERATIONS = (
    pickle.PROTO, pickle.STOP, pickle.MARK, pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE, pickle.BININT, pickle.BININT1,
    pickle.BININT2, pickle.LONG1, pickle.BINFLOAT, pickle.BINUNICODE, pickle.EMPTY_DICT, pickle.EMPTY_LIST,
    pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.SETITEM, pickle.SETITEMS,
    pickle.APPEND, pickle.APPENDS, pickle.BINPUT, pickle.LONG_BINPUT, pickle.BINGET, pickle.LONG_BINGET, pickle.GLOBAL,
    pickle.REDUCE, pickle.BINPERSID,
)  # fmt: skip
# The errors that a cut or changed pickle or archive raises.
DAMAGE_ERRORS = (
    ArithmeticError, AttributeError, EOFError, LookupError, NotImplementedError, OSError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip


class StoredTensor(NamedTuple):
    """The kind and shape of a tensor; it stands for the tensor while its pickle is checked."""

    kind: str
    shape: tuple[int, ...]


def open_network(directory: Path, name: str) -> IO[bytes]:
    """Open the checkpoint ``name`` of a run directory for ``torch.load`` with ``weights_only``. The caller closes it.

    The file has to be an archive as ``torch.save`` writes it: no entry is compressed or stored twice, and the pickle
    holds only tensors and plain values. Each tensor has to fit into its storage, and each storage into its entry,
    because PyTorch would read beyond the end of a short one. Raises DataError.
    """
    file = open_inside(directory, name, MOST_CHECKPOINT)
    try:
        _check_archive(file, name)
        file.seek(0)
    except (zipfile.BadZipFile, pickle.UnpicklingError) as error:
        file.close()
        raise unreadable(name, error) from None
    except DAMAGE_ERRORS as error:
        file.close()
        raise unreadable(name, f"it is not a complete checkpoint: {error}") from None
    except BaseException:
        file.close()
        raise
    return file


def _check_archive(file: IO[bytes], name: str) -> None:
    size = file.seek(0, 2)
    end = zipfile._EndRecData(file)  # type: ignore[attr-defined]  # zipfile reads the whole list at once
    if end is not None and end[zipfile._ECD_SIZE] > MOST_PICKLE:  # type: ignore[attr-defined]
        raise ValueError("the list of its entries is too long")
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if len(entries) > MOST_ENTRIES:
            raise ValueError(f"it has {len(entries):,} entries")
        if any(
            entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size for entry in entries
        ):
            raise ValueError("its entries are compressed, which no run writes")
        if sum(entry.file_size for entry in entries) > size:
            raise ValueError("its entries are larger than the file")
        (pickled,) = (entry for entry in entries if entry.filename.endswith("/data.pkl"))
        if pickled.file_size > MOST_PICKLE:
            raise ValueError("the list of its tensors is too long")
        folder = pickled.filename.removesuffix("data.pkl")
        sizes = {entry.filename.removeprefix(f"{folder}data/"): entry.file_size for entry in entries}
        with archive.open(pickled) as content:
            _PickleChecker(content, sizes).load()


class _PickleChecker(pickle._Unpickler):  # type: ignore[name-defined, misc]
    """Checks the pickle of a checkpoint without creating tensors.

    It extends the unpickler in Python, because the one in C can take unlimited memory.
    """

    dispatch = {code[0]: pickle._Unpickler.dispatch[code[0]] for code in OPERATIONS}  # type: ignore[attr-defined]

    def __init__(self, file: IO[bytes], sizes: dict[str, int]) -> None:
        super().__init__(file)
        self.sizes = sizes

    def find_class(self, module: str, name: str) -> Any:
        """Return a stand-in for a name in the pickle. Raises UnpicklingError for names that a network does not need."""
        known: dict[tuple[str, str], Callable[..., Any]] = {
            ("torch._utils", "_rebuild_tensor_v2"): _stored_tensor,
            ("collections", "OrderedDict"): dict,
        }
        if module == "torch" and name in BYTES:
            return name
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it names {module}.{name}, expected tensors only")
        return known[module, name]

    def persistent_load(self, pid: Any) -> tuple[str, int]:
        """Return the kind and the number of values of a storage. Raises ValueError if it is not complete."""
        word, kind, key, _, count = pid
        if word != "storage" or not isinstance(count, int) or count < 0 or count * BYTES[kind] > self.sizes[str(key)]:
            raise ValueError(f"its storage {key} is cut off")
        return kind, count


def _stored_tensor(
    storage: tuple[str, int], offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> Any:
    kind, count = storage
    if len(shape) != len(stride) or min((offset, *shape, *stride)) < 0:
        raise ValueError("a tensor has an impossible shape")
    last = offset + sum((length - 1) * step for length, step in zip(shape, stride, strict=True))
    if 0 not in shape and last >= count:
        raise ValueError("a tensor reaches beyond its storage")
    return StoredTensor(kind, tuple(shape))
