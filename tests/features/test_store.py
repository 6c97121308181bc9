"""Test that the store returns exactly the values that were written, or nothing."""

import hashlib
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from headstart.features import store as store_module
from headstart.features.keeping import Writer, locate
from headstart.features.store import DamagedError, Entry, Store, open_part, row_names

KEY = {"backbone": "toy", "stages": ["a"], "engine": ["torch", None]}


def make_store(folder: Path, max_bytes: int = 10**9) -> Store:
    return Store(folder / "store", max_bytes)


def names_of(numbers: list[int]) -> NDArray[np.uint64]:
    return row_names([hashlib.sha256(str(number).encode()).digest() for number in numbers])


def put(entry: Entry, numbers: list[int], values: NDArray[Any]) -> None:
    writer = Writer(entry, names_of(numbers), values.shape[1:], values.dtype)
    for start in range(0, len(values), 3):
        writer.put(values[start : start + 3])


@settings(max_examples=40, deadline=None)
@given(
    groups=st.lists(st.sets(st.integers(0, 30), min_size=1, max_size=12), min_size=1, max_size=4),
    asked=st.lists(st.integers(0, 35), min_size=1, max_size=20),
    shape=st.sampled_from([(4,), (2, 3, 2)]),
    dtype=st.sampled_from(["float32", "float16"]),
)
def test_rows_are_read_from_any_parts(
    tmp_path_factory: pytest.TempPathFactory,
    groups: list[set[int]],
    asked: list[int],
    shape: tuple[int, ...],
    dtype: str,
) -> None:
    truth = np.random.default_rng(0).normal(size=(36, *shape)).astype(dtype)
    entry = make_store(tmp_path_factory.mktemp("s")).entry(KEY)
    for group in groups:
        put(entry, sorted(group), truth[sorted(group)])
    found = locate(entry, names_of(asked))
    held = set().union(*groups)
    assert found.missing.tolist() == [number not in held for number in asked]
    there = np.flatnonzero(~found.missing)
    if len(there):
        assert np.array_equal(found.read(there), truth[np.array(asked)[there]])
    if not found.missing.any():
        assert np.array_equal(found.in_memory().numpy(), truth[asked])


def test_a_long_computation_is_kept_in_several_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headstart.features.keeping.PART_BYTES", 100)
    entry = make_store(tmp_path).entry(KEY)
    values = np.arange(40, dtype=np.float32).reshape(10, 4)  # 16 bytes a row: 6 rows a part
    put(entry, list(range(10)), values)
    assert sorted(part.rows for part in entry.parts()) == [4, 6]
    found = locate(entry, names_of(list(range(10))))
    assert np.array_equal(found.in_memory().numpy(), values)


def test_the_name_of_an_entry_follows_every_part_of_its_key(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    keys = [KEY, KEY | {"backbone": "other"}, KEY | {"stages": ["a", "b"]}, KEY | {"extra": None}]
    assert len({store.entry(key).name for key in keys}) == 4
    assert store.entry(dict(reversed(KEY.items()))).name == store.entry(KEY).name


def damage_values(part: Path) -> None:
    content = bytearray((part / "values.npy").read_bytes())
    content[-3] ^= 1
    (part / "values.npy").write_bytes(content)


def damage_names(part: Path) -> None:
    names = np.load(part / "rows.npy")
    names[0, 0] += 1
    np.save(part / "rows.npy", names)


def shorten(part: Path) -> None:
    content = (part / "values.npy").read_bytes()
    (part / "values.npy").write_bytes(content[:-5])


@pytest.mark.parametrize(
    "damage",
    [
        damage_values,
        damage_names,
        shorten,
        lambda part: (part / "part.json").write_text("{"),
        lambda part: (part / "part.json").write_text("[]"),
        lambda part: (part / "rows.npy").unlink(),
        lambda part: (part / "values.npy").write_bytes(b""),
    ],
)
def test_a_damaged_part_is_removed_with_a_warning(
    damage: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    entry = make_store(tmp_path).entry(KEY)
    put(entry, [0, 1], np.ones((2, 4), np.float32))
    part = entry.part_folders()[0]
    damage(part)
    found = locate(entry, names_of([0, 1]))
    assert found.missing.all()
    assert not part.exists()
    assert "computing its features again" in caplog.text
    assert part.name in caplog.text


def test_a_part_that_is_only_partly_written_is_never_seen(tmp_path: Path) -> None:
    entry = make_store(tmp_path).entry(KEY)
    writer = entry.writer(names_of([0, 1]), (4,), np.dtype(np.float32))
    writer.put(np.ones((1, 4), np.float32))
    assert entry.part_folders() == []
    with pytest.raises(ValueError, match="2 rows were expected, but 1 were written"):
        writer.commit(0.0)
    writer.abandon()
    assert locate(entry, names_of([0])).missing.all()
    assert sorted(path.name for path in entry.folder.iterdir()) == ["entry.json", "lock"]


def test_reading_continues_after_a_part_was_deleted(tmp_path: Path) -> None:
    entry = make_store(tmp_path).entry(KEY)
    values = np.arange(8, dtype=np.float32).reshape(2, 4)
    put(entry, [0, 1], values)
    found = locate(entry, names_of([0, 1]))
    store_module.remove(entry.part_folders()[0])
    assert np.array_equal(found.read(np.array([1, 0])), values[::-1])
    with pytest.raises(FileNotFoundError):
        open_part(found.parts[0].path)


def test_the_least_recently_used_parts_are_deleted(tmp_path: Path) -> None:
    row = 4 * 1000
    store = make_store(tmp_path, 4 * row)  # three parts of a row each and what describes them
    for number in range(3):
        entry = store.entry(KEY | {"number": number})
        put(entry, [number], np.ones((1, 1000), np.float32))
        os.utime(entry.part_folders()[0] / "part.json", (number, number))
    locate(store.entry(KEY | {"number": 0}), names_of([0])).parts  # noqa: B018 (used now)
    put(store.entry(KEY | {"number": 3}), [3], np.ones((1, 1000), np.float32))
    left = [entry.key["number"] for entry in store.entries() if entry.parts()]
    assert sorted(left) == [0, 2, 3]
    with pytest.raises(OSError, match="max_size"):
        put(store.entry(KEY), [9], np.ones((1, 9000), np.float32))


def _write_slowly(folder: Path, ready: Path) -> None:
    entry = make_store(folder).entry(KEY)
    with entry.locked():
        writer = entry.writer(names_of([0, 1]), (4,), np.dtype(np.float32))
        writer.put(np.ones((1, 4), np.float32))
        ready.write_text("half-way")
        time.sleep(60)


def test_a_killed_writer_leaves_nothing_and_frees_its_lock(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    process = multiprocessing.get_context("fork").Process(target=_write_slowly, args=(tmp_path, ready))
    process.start()
    while not ready.exists():
        time.sleep(0.01)
    entry = make_store(tmp_path).entry(KEY)
    with entry.locked(wait=False) as free:
        assert not free
    entry.sweep()
    assert len(list(entry.folder.glob(".partial-*"))) == 1  # its owner is alive
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with entry.locked(wait=False) as free:
        assert free
        assert locate(entry, names_of([0, 1])).missing.all()
        entry.clean()
    assert list(entry.folder.glob(".*")) == []


def test_a_folder_that_describes_no_entry_is_no_entry(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    put(store.entry(KEY), [0], np.ones((1, 4), np.float32))
    (store.folder / "broken").mkdir()
    (store.folder / "broken/entry.json").write_text(json.dumps([]))
    assert [entry.key for entry in store.entries()] == [KEY]
    with pytest.raises((DamagedError, FileNotFoundError)):
        open_part(store.folder / "broken" / "none")


def test_a_part_with_an_absurd_number_of_rows_is_damaged(tmp_path: Path) -> None:
    entry = make_store(tmp_path).entry(KEY)
    put(entry, [0], np.ones((1, 4), np.float32))
    assert [part.rows for part in entry.parts()] == [1]
    (entry.part_folders()[0] / "part.json").write_text('{"rows": 1e400}')
    assert entry.parts() == []
