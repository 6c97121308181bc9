"""What a run was made with can be told."""

import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from conftest import CHECKOUT

import headstart
from headstart.features.prefix import code_version
from headstart.runs import provenance


def test_versions_and_commit() -> None:
    assert provenance.packages()["torch"] == version("torch")
    commit = subprocess.run(["git", "-C", CHECKOUT, "rev-parse", "HEAD"], capture_output=True, text=True)
    assert provenance.git_state()["git_commit"] == (commit.stdout.strip() or None)
    assert provenance.hardware()["cores"] >= 1


def test_the_source_is_told_by_a_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "headstart"
    shutil.copytree(CHECKOUT / "src" / "headstart", copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(headstart, "__file__", str(copy / "__init__.py"))
    monkeypatch.setattr(provenance, "PACKAGE", copy)

    def state() -> dict[str, Any]:
        code_version.cache_clear()
        return provenance.git_state.__wrapped__()

    try:
        before = state()
        assert len(before.pop("source_sha256")) == 64
        assert set(before.values()) == {None}, "no checkout"
        before = state()
        with (copy / "reports" / "read.py").open("a") as file:
            file.write("\n# changed\n")
        assert state() == before, "no result depends on reports"
        with (copy / "seeds.py").open("a") as file:
            file.write("\n# changed\n")
        assert state() != before
    finally:
        code_version.cache_clear()


def test_the_peak_starts_afresh() -> None:
    # In a process of its own, and with memory that is surely given back: here, other tests hold theirs as they like.
    code = """
import mmap
from headstart.runs.provenance import peak_memory, reset_peak_memory

size = 300 * 1024**2
reset_peak_memory()
before = peak_memory("cpu")
with mmap.mmap(-1, size) as large:
    large.write(b"1" * size)
held = peak_memory("cpu")
reset_peak_memory()
print(held - before, peak_memory("cpu") - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    risen, left = map(int, done.stdout.split())
    assert risen > 250 * 1024**2
    assert left < 100 * 1024**2
