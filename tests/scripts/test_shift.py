"""Test that shifted copies are blurred, noisy and the same each time, and leave other splits unchanged."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from conftest import CHECKOUT
from forking import Server
from PIL import Image


def shift(run: Callable[..., subprocess.CompletedProcess[str]], *arguments: str) -> subprocess.CompletedProcess[str]:
    return run([sys.executable, CHECKOUT / "scripts" / "shift.py", *arguments], capture_output=True, text=True)


def test_one_split_is_shifted_and_the_other_linked(
    make_folder: Callable[..., Path], tmp_path: Path, warm: Server
) -> None:
    source = make_folder({"train/red": 2, "test/red": 3, "test/blue": 3})
    for name, run in (("once", subprocess.run), ("again", warm.run)):
        how = ["--splits", "test", "--blur", "0", "--noise", "0.1", "--most", "2"]
        done = shift(run, str(source), str(tmp_path / name), *how)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("4 images")
    once, again = tmp_path / "once", tmp_path / "again"
    assert (once / "train").resolve() == (source / "train").resolve()
    names = sorted(path.relative_to(once) for path in (once / "test").rglob("*.png"))
    assert len(names) == 4
    differences = []
    for name in names:
        assert (once / name).read_bytes() == (again / name).read_bytes()
        before = np.asarray(Image.open((source / name).with_suffix("")).convert("RGB"), dtype=float)
        differences.append(np.asarray(Image.open(once / name), dtype=float) - before)
    assert 20 < np.std(differences) < 27  # a tenth of 255
    assert not np.array_equal(differences[0], differences[1])


def test_what_is_missing_or_in_the_way_is_named(make_folder: Callable[..., Path], tmp_path: Path, warm: Server) -> None:
    source = make_folder({"train/red": 1})
    assert "no folder test" in shift(warm.run, str(source), str(tmp_path / "new")).stderr
    done = shift(warm.run, str(source), str(source), "--splits", "train")
    assert (done.returncode, "exists already" in done.stderr) == (2, True)
