"""Test the record of code, packages and command line of a run."""

import hashlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from conftest import CHECKOUT, TINY

import headstart
from headstart.cli import main
from headstart.records import provenance
from headstart.strategies import GradientStrategy
from headstart.versions import code_version


def test_versions_and_commit() -> None:
    assert provenance.packages()["torch"] == version("torch")
    commit = subprocess.run(["git", "-C", CHECKOUT, "rev-parse", "HEAD"], capture_output=True, text=True)
    assert provenance.git_state()["git_commit"] == (commit.stdout.strip() or None)
    assert provenance.hardware()["cores"] >= 1


def test_the_source_is_identified_by_a_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
from headstart.records.provenance import peak_memory, reset_peak_memory

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


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a committed repository with two sources below src/headstart and another file."""
    package = tmp_path / "work" / "src" / "headstart"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "seeds.py").write_text("one = 1\ntwo = 2\n")
    (tmp_path / "work" / "notes.txt").write_text("plain\n")
    git(tmp_path / "work", "init", "--quiet")
    commit(tmp_path / "work")
    monkeypatch.setattr(provenance, "PACKAGE", package)
    provenance.code_patch.cache_clear()
    yield tmp_path / "work"
    provenance.code_patch.cache_clear()


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", folder, "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "begin")


def sources(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "src" / "headstart").rglob("*.py")}


def test_changed_code_is_kept_as_a_patch_that_gives_it_again(checkout: Path, tmp_path: Path) -> None:
    package = checkout / "src" / "headstart"
    (package / "seeds.py").write_bytes(b"one = 1\r\ntwo = '\xe9'")  # no UTF-8, no end of line
    (package / "new.py").write_text("three = 3\n")
    (package / "empty.py").write_text("")
    (package / "secret.env").write_text("TOKEN=hunter2\n")
    (checkout / "notes.txt").write_text("hunter2\n")
    (checkout / "more.py").write_text("hunter2\n")
    git(checkout, "config", "diff.noprefix", "true")
    git(checkout, "config", "color.diff", "always")
    run = tmp_path / "run"
    run.mkdir()
    told = provenance.write_code(run)["code_patch"]
    patch = (run / "code.patch").read_bytes()
    assert told == {
        "file": "code.patch",
        "bytes": len(patch),
        "sha256": hashlib.sha256(patch).hexdigest(),
        "left_out": [],
    }
    assert b"hunter2" not in patch
    git(tmp_path, "clone", "--quiet", str(checkout), "clone")
    assert sources(tmp_path / "clone") != sources(checkout)
    git(tmp_path / "clone", "apply", str(run / "code.patch"))
    assert sources(tmp_path / "clone") == sources(checkout)


def test_unchanged_code_leaves_no_patch(checkout: Path, tmp_path: Path) -> None:
    (checkout / "notes.txt").write_text("changed\n")
    (tmp_path / "code.patch").write_text("of an earlier attempt")
    assert provenance.write_code(tmp_path) == {"code_patch": None}
    assert not (tmp_path / "code.patch").exists()


def test_a_large_patch_is_cut_between_files_and_says_so(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "MOST_PATCH", 5000)
    (checkout / "src" / "headstart" / "seeds.py").write_text("one = 11\n")
    (checkout / "src" / "headstart" / "large.py").write_text("diff --git a/x b/x\n" * 1000)
    told = provenance.write_code(tmp_path)["code_patch"]
    assert told["left_out"] == ["src/headstart/large.py"]
    text = (tmp_path / "code.patch").read_text()
    assert "larger than 5000 bytes: src/headstart/large.py" in text.splitlines()[0]
    assert len(text) < 5000
    git(tmp_path, "clone", "--quiet", str(checkout), "clone")
    git(tmp_path / "clone", "apply", str(tmp_path / "code.patch"))
    assert (tmp_path / "clone" / "src" / "headstart" / "seeds.py").read_text() == "one = 11\n"


def test_without_a_repository_there_is_no_patch(tmp_path: Path, checkout: Path) -> None:
    shutil.rmtree(checkout / ".git")
    assert provenance.write_code(tmp_path) == {"code_patch": None}


def test_installed_packages_are_listed_in_pips_format(tmp_path: Path, checkout: Path) -> None:
    provenance.write_code(tmp_path)
    lines = (tmp_path / "packages.txt").read_text().splitlines()
    assert lines == sorted(lines, key=str.lower)
    assert {f"torch=={version('torch')}", f"omegaconf=={version('omegaconf')}"} <= set(lines)
    assert all(re.fullmatch(r"[\w.-]+==\S+", line) for line in lines)


def test_the_call_can_be_typed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = ["augmentation=[crop_resize,mixup]", "output_dir=my runs", "seed=1"]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    told = provenance.command_of(overrides)
    assert shlex.split(told["command_line"]) == ["headstart", "train", *overrides]
    assert told["overrides"] == overrides
    assert told["command"] == sys.argv
    assert told["working_directory"] == "~/project"
    assert told["host"]
    assert told["environment"]["OMP_NUM_THREADS"] == "3"
    assert "CUBLAS_WORKSPACE_CONFIG" not in told["environment"]
    assert "hunter2" not in json.dumps(told)
    monkeypatch.chdir(tmp_path.parent)
    assert provenance.command_of([])["working_directory"] == str(tmp_path.parent)


def test_everything_is_on_disk_before_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[dict[str, Any]] = []
    plain = GradientStrategy.training_step

    def step(self: GradientStrategy, *arguments: Any) -> Any:
        (path,) = Path("o").rglob("run.json")
        found.append(json.loads(path.read_text()))
        assert (path.parent / "config.yaml").is_file()
        assert (path.parent / "packages.txt").is_file()
        return plain(self, *arguments)

    monkeypatch.setattr(GradientStrategy, "training_step", step)
    tiny = [setting for setting in TINY if not setting.startswith("backbone.weights")]
    assert main(["train", *tiny, "strategy=finetune_all", "debug=fast", "output_dir=o"]) == 0
    first = found[0]
    assert (first["status"], first["metrics"]) == ("running", {})
    told = first["provenance"]
    assert len(told["dataset_fingerprint"]) == len(told["weights"]["sha256"]) == len(told["source_sha256"]) == 64
    assert told["split_fingerprints"].keys() == {"train", "validation", "test"}
    assert told["packages"]["torch"] == version("torch")
    assert told["hardware"]["threads"] >= 1
    assert "strategy=finetune_all" in told["overrides"]
    assert "strategy=finetune_all" in told["command_line"]
    assert {"git_commit", "git_dirty", "code_patch", "command", "working_directory", "host", "environment"} <= set(told)
    (path,) = Path("o").rglob("run.json")
    assert json.loads(path.read_text())["provenance"] == told, "and it stays so"


def test_a_user_without_a_home_may_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may run as any user number."""

    def unknown(number: int) -> None:
        raise KeyError(number)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert provenance.command_of([])["working_directory"] == str(Path.cwd())
