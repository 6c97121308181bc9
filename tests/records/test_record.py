"""Test that a run in any state gives a record, for any content of run.json."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.records.lock import RunLock
from headstart.records.manifest import Manifest
from headstart.records.record import RunRecord, record_of

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
ENTRIES = ("status", "id", "seed", "augmentation", "metrics", "source", "started_at", "error", "dataset")


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path, {"id": "x", "dataset": "ants", "seed": 3, "augmentation": ["flip", "none"]})
    assert (record_of(tmp_path).status, record_of(tmp_path).is_running) == ("running", False)
    with RunLock(tmp_path):
        assert record_of(tmp_path).is_running
    manifest.update(metrics={"test/accuracy": 0.5, "test/loss": float("nan")}, source={"hash": "abc"})
    manifest.finish("finished")
    record = record_of(tmp_path)
    assert (record.id, record.dataset, record.seed, record.augmentation) == ("x", "ants", 3, ("flip",))
    assert (record.finished, record.metrics, record.data_hash) == (True, {"test/accuracy": 0.5}, "abc")
    assert record.moment("started_at") <= record.moment("finished_at")  # type: ignore[operator]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "run.json is missing"),
        ("[1]", "run.json does not hold a JSON object"),
        ("{half", "run.json cannot be read"),
        ('{"status": "odd"}', "run.json has the unknown status 'odd'"),
    ],
)
def test_damage_is_a_status_with_a_reason(text: str | None, problem: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    record = record_of(tmp_path)
    assert record.status == "damaged"
    assert record.problem.startswith(problem)
    assert not record.finished


def test_impossible_numbers_are_none() -> None:
    values = {"a": 1, "b": True, "c": "1", "d": float("inf"), "e": float("nan"), "f": 10**15, "g": {"h": 2.5}}
    record = RunRecord(Path("x"), values)
    assert [record.number(name) for name in "abcdef"] == [1.0, None, None, None, None, None]
    assert (record.number("g", "h"), record.number("a", "h"), record.number("z")) == (2.5, None, None)


def test_a_time_is_a_number_or_a_date() -> None:
    record = RunRecord(Path("x"), {"a": 5, "b": "1970-01-01T00:00:05+00:00", "c": "never", "d": [1], "e": 1e300})
    assert [record.moment(name) for name in "abcdez"] == [5.0, 5.0, None, None, None, None]


@given(st.dictionaries(st.sampled_from(ENTRIES), ANY))
def test_any_content_gives_a_record(content: dict[str, Any]) -> None:
    record = RunRecord(Path("/gone"), content)
    assert isinstance(record.status, str)
    assert isinstance(record.id, str)
    assert json.dumps([record.seed, record.augmentation, record.metrics, record.data_hash, record.error_text()])
    assert record.moment("started_at") is None or record.moment("started_at") < 1e15  # type: ignore[operator]
    assert record.config == {}
