"""Test that weights of objectives are compared with random weights on other data sets."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from conftest import CHECKOUT, SMALLEST, TINY

script = runpy.run_path(str(CHECKOUT / "scripts" / "compare_sources.py"))
SETTINGS = [setting for setting in (*TINY, *SMALLEST) if "counts" not in setting]


def test_differences_are_paired_by_seed() -> None:
    scores = {"random": [10.0, 20.0, 30.0], "contrast": [15.0, 25.0, 35.0], "autoencoder": [11.0, 20.0, 32.0]}
    first, second, third = script["rows"](scores)
    assert first == ["random", "20.0", "", ""]
    assert second == ["contrast", "25.0", "+5.0 (5.0 to 5.0)", ""]
    assert third[2] == "+1.0 (-1.5 to 3.5)"  # 1 ± 4.30 x 1 / 3 ** 0.5
    assert third[3] == "-4.0 (-6.5 to -1.5)"


def test_every_target_has_a_row_for_each_source(capsys: pytest.CaptureFixture[str]) -> None:
    source = ["--source", "dataset=textures dataset.counts=[2,2,2] trainer.max_epochs=1"]
    own = "dataset=textures strategy.l2=[1] dataset.counts="
    targets = [word for most in (3, 4) for word in ("--target", f"{own}[{most},2,2]")]
    objective = ["--objective", "contrast task.hidden=0"]
    arguments = [*SETTINGS, *source, *targets, *objective, "--seeds", "0", "1", "--output", "out"]
    assert script["main"](arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    for target in targets[1::2]:
        place = lines.index(target)
        named = [line.split("  ")[0].strip() for line in lines[place + 3 : place + 5]]
        assert named == ["random", "contrast task.hidden=0"]


def test_runs_with_other_settings_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    known = script["pretrained"].__globals__
    frame = pd.DataFrame({"status": ["failed", "finished", "finished"], "directory": ["a", "b", "c"]})
    monkeypatch.setitem(known, "headstart", lambda words: 0)
    monkeypatch.setitem(known, "hs", SimpleNamespace(runs=lambda folder: frame[:2]))
    assert script["pretrained"]([], Path("out")) == Path("b")
    monkeypatch.setitem(known, "hs", SimpleNamespace(runs=lambda folder: frame))
    with pytest.raises(SystemExit, match="out holds runs with other settings; choose another --output"):
        script["pretrained"]([], Path("out"))


def test_one_seed_has_no_interval(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        script["main"](["--source", "dataset=a", "--target", "dataset=b", "--objective", "contrast", "--seeds", "1"])
    assert "expected two seeds or more" in capsys.readouterr().err
