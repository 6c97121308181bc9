"""Test that checkpoints of strangers with code, wrong sizes or excessive memory never reach PyTorch."""

import io
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headstart.boundary.tensors import BYTES, open_network
from headstart.errors import DataError

NAME = "best.ckpt"
STATE = {
    "a.weight": torch.arange(6.0).reshape(2, 3),
    "b": torch.tensor(3),
    "c": torch.zeros(0, 4),
    "d": torch.ones(4).bfloat16(),
}


def saved(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


WHOLE = saved({"epoch": 3, "state_dict": STATE})


def read(folder: Path, content: bytes) -> Any:
    (folder / NAME).write_bytes(content)
    with open_network(folder, NAME) as file:
        return torch.load(file, weights_only=True)


def test_a_whole_network(tmp_path: Path) -> None:
    found = read(tmp_path, WHOLE)
    assert found["epoch"] == 3
    assert all(torch.equal(found["state_dict"][name], tensor) for name, tensor in STATE.items())
    shared = torch.zeros(10)
    read(tmp_path, saved({"epoch": 0, "state_dict": {"x": shared[2:5], "y": shared.view(2, 5).T}}))


def test_every_kind_of_storage(tmp_path: Path) -> None:
    for storage, size in BYTES.items():
        with warnings.catch_warnings(action="ignore"):
            dtype = getattr(torch, storage).dtype
        assert dtype.itemsize == size
        read(tmp_path, saved({"state_dict": {"x": torch.zeros(3, dtype=dtype)}}))


def changed(change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return the archive with other entries."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(WHOLE)) as old, zipfile.ZipFile(made, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return made.getvalue()


def with_pickle(content: bytes) -> bytes:
    return changed(lambda name, old: content if name.endswith("data.pkl") else old)


def tensor_of(count: int, length: int, offset: int = 0, kind: str = "FloatStorage") -> bytes:
    """Return a pickle of one tensor over entry 0, which has six numbers."""

    def told(value: Any) -> bytes:
        return pickle.dumps(value, 2)[2:-1]

    storage = b"(" + told("storage") + f"ctorch\n{kind}\n".encode() + told("0") + told("cpu") + told(count) + b"tQ"
    rest = b"".join(map(told, (offset, (length,), (1,), False, None)))
    return b"\x80\x02}" + told("x") + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + rest + b"tRs."


def end_that_lies(content: bytes) -> bytes:
    """Return an archive whose end claims a list of entries of 3 GB."""
    place = content.rindex(b"PK\x05\x06")
    return content[: place + 12] + struct.pack("<L", 3 * 2**30) + content[place + 16 :]


def twice(content: bytes) -> bytes:
    """Return an archive that lists its largest entry many times."""
    made = io.BytesIO(content)
    with zipfile.ZipFile(made, "a") as archive:
        for number in range(50):
            entry = copy(max(archive.filelist, key=lambda entry: entry.file_size))
            entry.filename = f"archive/data/{number}0"
            archive.filelist.append(entry)
        archive._didModify = True  # type: ignore[attr-defined]
    return made.getvalue()


BAD = {
    "empty": (b"", "File is not a zip file"),
    "words": (b"nonsense" * 100, "File is not a zip file"),
    "cut": (WHOLE[:-100], "File is not a zip file"),
    "compressed": (changed(lambda name, old: old + b"\0" * 10**6, zipfile.ZIP_DEFLATED), "compressed"),
    "twice": (twice(saved({"x": torch.zeros(10_000)})), "larger than the file"),
    "no pickle": (changed(lambda name, old: old).replace(b"data.pkl", b"date.pkl"), "not a complete checkpoint"),
    "storage cut": (changed(lambda name, old: old[:8] if name.endswith("/0") else old), "storage 0 is cut off"),
    "more than the storage": (with_pickle(tensor_of(10**9, 6)), "storage 0 is cut off"),
    "negative": (with_pickle(tensor_of(-1, 6)), "storage 0 is cut off"),
    "beyond": (with_pickle(tensor_of(6, 10**9)), "reaches beyond"),
    "offset": (with_pickle(tensor_of(6, 6, 1)), "reaches beyond"),
    "negative offset": (with_pickle(tensor_of(6, 6, -1)), "impossible shape"),
    "unknown kind": (with_pickle(tensor_of(6, 6, kind="Tensor")), "names torch.Tensor"),
    "code": (with_pickle(b"\x80\x02cos\nmkdir\nX\x05\x00\x00\x00owned\x85R."), "names os.mkdir"),
    "memory": (with_pickle(b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R."), "names"),
    "a long memo": (with_pickle(b"\x80\x02Nr\xff\xff\xff\x7f."), None),
    "bytearray": (with_pickle(b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b"x."), "not a complete checkpoint"),
    "no end": (with_pickle(b"\x80\x02}" * 1000), "not a complete checkpoint"),
    "old format": (pickle.dumps({"epoch": 1, "state_dict": {}}), "File is not a zip file"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "why"), BAD.values(), ids=BAD)
def test_what_is_refused(content: bytes, why: str | None, tmp_path: Path) -> None:
    if why is None:  # nothing but a number, and no harm done
        read(tmp_path, content)
        return
    with pytest.raises(DataError, match=rf"^{NAME} cannot be read \(.*{why}"):
        read(tmp_path, content)
    assert not Path("owned").exists()


def test_an_end_that_asks_for_memory(tmp_path: Path) -> None:
    with (tmp_path / NAME).open("wb") as file:
        file.seek(4 * 2**30)
        file.write(end_that_lies(changed(lambda name, old: old)))
    with pytest.raises(DataError, match="the list of its entries is too long"):
        open_network(tmp_path, NAME)


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_any_byte_changed(tmp_path_factory: pytest.TempPathFactory, place: int, value: int) -> None:
    content = WHOLE[:place] + bytes([value]) + WHOLE[place + 1 :]
    folder = tmp_path_factory.mktemp("run")
    (folder / NAME).write_bytes(content)
    with suppress(DataError):
        open_network(folder, NAME).close()
