"""Test that weights of objectives are compared with random weights on other data sets."""

import itertools
import runpy
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import timm
import torch
from conftest import CHECKOUT, SMALLEST, TINY

import headstart as hs

script = runpy.run_path(str(CHECKOUT / "scripts" / "compare_sources.py"))
SETTINGS = [setting for setting in (*TINY, *SMALLEST) if "counts" not in setting]


def test_differences_are_paired_by_seed() -> None:
    scores = {"random": [10.0, 20.0, 30.0], "contrast": [15.0, 25.0, 35.0], "autoencoder": [11.0, 20.0, 32.0]}
    first, second, third = script["rows"](scores)
    assert first == ["random", "20.0", "", ""]
    assert second == ["contrast", "25.0", "+5.0 (5.0 to 5.0)", ""]
    assert third[2] == "+1.0 (-1.5 to 3.5)"  # 1 ± 4.30 x 1 / 3 ** 0.5
    assert third[3] == "-4.0 (-6.5 to -1.5)"


def test_every_target_and_strategy_has_a_row_for_each_source(capsys: pytest.CaptureFixture[str]) -> None:
    source = ["--source", "dataset=textures dataset.counts=[2,2,2] trainer.max_epochs=1"]
    targets = [f"dataset=textures trainer.max_epochs=1 dataset.counts=[{most},2,2]" for most in (3, 4)]
    named = [word for target in targets for word in ("--target", target)]
    named += ["--strategy", "linear_probe", "--strategy", "head_only"]
    given = ["--objective", "contrast task.hidden=0", "--weights", "given.pt", "--baseline", "ridge"]
    torch.save(timm.create_model("test_efficientnet", num_classes=0).state_dict(), "given.pt")
    arguments = [*SETTINGS, *source, *named, *given, "--seeds", "0", "1", "--output", "out"]
    assert script["main"](arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    for target, strategy in itertools.product(targets, ("linear_probe", "head_only")):
        place = lines.index(f"{target}, {strategy}")
        sources = [line.split("  ")[0].strip() for line in lines[place + 3 : place + 6]]
        assert sources == ["random", "contrast task.hidden=0", "given.pt"]
    strategies = hs.runs("out").strategy.value_counts()
    assert strategies["linear_probe"] == strategies["head_only"] == 2 * 2 * 2  # targets, seeds and weights
    assert strategies["ridge"] == 2 * 2


def test_runs_with_other_settings_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    known = script["pretrained"].__globals__
    frame = pd.DataFrame({"status": ["failed", "finished", "finished"], "directory": ["a", "b", "c"]})
    monkeypatch.setitem(known, "headstart", lambda words: 0)
    monkeypatch.setitem(known, "hs", SimpleNamespace(runs=lambda folder: frame[:2]))
    assert script["pretrained"]([], Path("out")) == "b"
    monkeypatch.setitem(known, "hs", SimpleNamespace(runs=lambda folder: frame))
    with pytest.raises(SystemExit, match="out holds runs with other settings; choose another --output"):
        script["pretrained"]([], Path("out"))


def test_one_seed_has_no_interval(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        script["main"](["--source", "dataset=a", "--target", "dataset=b", "--objective", "contrast", "--seeds", "1"])
    assert "expected two seeds or more" in capsys.readouterr().err
