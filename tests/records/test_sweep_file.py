"""Test that sweep.json is read back as written, and that a damaged file is a named problem."""

import json
import os
import sys
from pathlib import Path

import pytest

from headstart.errors import DataError
from headstart.records.sweep_file import sweep_record, write_job_count, write_sweep


def test_a_sweep_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_sweep(tmp_path, ["seed=0,1"], None)
    record = sweep_record(tmp_path)
    assert (record.overrides, record.jobs, record.process, record.problem) == (["seed=0,1"], None, os.getpid(), "")
    assert record.command == tuple(sys.argv)
    write_job_count(tmp_path, 7)
    assert (sweep_record(tmp_path).jobs, sweep_record(tmp_path).overrides) == (7, ["seed=0,1"])


def test_a_process_of_another_machine_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text(json.dumps({"process": {"id": 1, "host": "elsewhere.invalid"}}))
    assert sweep_record(tmp_path).process is None


@pytest.mark.parametrize("text", ["", "[]", "{half", '"x"'])
def test_a_damaged_file_is_a_problem(text: str, tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text(text)
    record = sweep_record(tmp_path)
    assert record.problem.startswith("sweep.json")
    assert (record.overrides, record.jobs, record.command, record.process) == (None, None, (), None)


def test_odd_entries_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text(json.dumps({"overrides": "x", "jobs": True, "command": 3, "process": [1]}))
    record = sweep_record(tmp_path)
    assert (record.overrides, record.jobs, record.command, record.process) == (None, None, (), None)


def test_the_number_of_jobs_needs_a_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"sweep\.json is missing"):
        write_job_count(tmp_path, 1)
