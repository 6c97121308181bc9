"""Test headstart inspect layers: one pass gives the same linear probes as strategy=linear_probe."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import SMALLEST, TINY, answer_of, runs_below
from matplotlib.colors import to_rgb

from headstart.analysis.layer_probes import StageProbe
from headstart.analysis.layer_report import TEST, VALIDATION, draw_layers, layer_verdict, probes_csv, probes_table
from headstart.cli import main
from headstart.features import keeping

SMALL = [*TINY, *SMALLEST, "strategy.l2=[10,1,0.1,0.01]", "output_dir=out"]
STAGES = ["stem", "stage1", "stage2", "stage3", "stage4"]


def layers(*settings: str) -> Path:
    """Probe the stages and return the folder that was written."""
    before = set(Path("out").glob("*/*-layers*"))
    assert main(["inspect", "layers", *SMALL, *settings]) == 0
    (new,) = set(Path("out").glob("*/*-layers*")) - before
    return new


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of layers.csv by stage."""
    with (folder / "layers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {row.pop("stage"): {name: float(value) for name, value in row.items()} for row in rows}


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the number of rows of each call of an engine."""
    counts: list[int] = []
    original = keeping.compute

    def counting(split: Any, keys: Any, *args: Any) -> Any:
        counts.append(len(keys))
        return original(split, keys, *args)

    monkeypatch.setattr(keeping, "compute", counting)
    return counts


def test_a_second_call_finds_the_features_of_the_first(computed: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    first = layers()
    assert computed == [12 * 6, 12 * 4, 12 * 4], "each image once, for all stages together"
    output = capsys.readouterr().out
    described = "12 classes (brick, cat, coffee, ...), 72 training, 48 validation and 48 test images"
    assert f"test_efficientnet on textures: {described}" in output
    assert "random weights" in output

    computed.clear()
    second = layers("strategy.loss=hinge")
    assert computed == [], "another loss needs no other features"
    assert second.name == f"{first.name}-2" == "textures-test_efficientnet-layers-2"
    assert read(first) != read(second)

    for folder in (first, second):
        files = {file.name for file in folder.iterdir()}
        assert files == {"layers.csv", "layers.png", "layers.pdf", "config.yaml"}
        assert (folder / "layers.png").read_bytes().startswith(b"\x89PNG")
        assert (folder / "layers.pdf").read_bytes().startswith(b"%PDF")
    settings = yaml.safe_load((second / "config.yaml").read_text())
    assert settings["strategy"]["loss"] == "hinge"
    assert settings["head"]["stages"] == STAGES

    rows = read(first)
    assert list(rows) == [*STAGES, "all joined"]
    widths = [row["features"] for row in rows.values()]
    assert widths[-1] == sum(widths[:-1])
    assert widths[-2] == 256
    best = max(STAGES, key=lambda stage: (rows[stage]["validation/accuracy"], -rows[stage]["validation/loss"]))
    validation, test = (100 * rows[best][f"{split}/accuracy"] for split in ("validation", "test"))
    assert f"\n{best} transfers best: validation {validation:.1f} %, test {test:.1f} %\n" in output


@pytest.mark.parametrize(
    ("row", "same", "of_the_run"),
    [
        ("stage4", [], []),
        ("stage2", ["head.pooling=gem", "head.gem_p=2", "strategy.loss=hinge"], ["head.stages=[stage2]"]),
        ("all joined", ["head.stages=[stage4,stem]"], []),
    ],
)
def test_a_row_is_what_a_run_gives(row: str, same: list[str], of_the_run: list[str]) -> None:
    found = read(layers(*same))[row]
    settings = [*SMALL, "strategy=linear_probe", "logger=csv", *same, *of_the_run]
    assert main(["train", *settings]) == 0
    (content,) = runs_below(Path("out"))
    metrics = content["metrics"]
    assert found["test/accuracy"] == pytest.approx(metrics["test/accuracy"])
    assert found["validation/accuracy"] == pytest.approx(metrics["validation/accuracy"])
    assert found["validation/loss"] == pytest.approx(metrics["validation/loss"], rel=1e-4)
    assert found["l2"] == metrics_row(metrics)["l2"]
    assert 1 / 12 < metrics["test/accuracy"] < 1, "else the comparison says little"


def metrics_row(metrics: dict[str, float]) -> dict[str, float]:
    """Return the row of metrics.csv that the run chose."""
    (path,) = Path("out").rglob("metrics.csv")
    with path.open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    return min(rows, key=lambda row: abs(row["validation/loss"] - metrics["validation/loss"]))  # in 64 and in 32 bits


def test_a_report_ignores_the_folder(capsys: pytest.CaptureFixture[str]) -> None:
    folder = layers("head.stages=[stem]")
    assert list(read(folder)) == ["stem"], "nothing to join"
    capsys.readouterr()
    assert main(["report", "out"]) == 2
    assert "There is no finished run here;" in capsys.readouterr().err
    run = folder.parent / "run"
    run.mkdir()
    content = {"schema": 1, "status": "finished", "id": "a", "backbone": "b", "dataset": "d", "augmentation": []}
    content |= {"strategy": "scratch", "seed": 0, "metrics": {"test/accuracy": 0.5, "validation/accuracy": 0.5}}
    (run / "run.json").write_text(json.dumps(content))
    assert main(["report", "out", "--no-figures"]) == 0
    page = Path("out/report/report.md").read_text()
    assert page.startswith("# scratch of b on d, seed 0\n"), "the report of one run"
    assert folder.name not in page


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["bakbone=resnet50"], r"no setting 'bakbone'. Did you mean 'backbone'\?"),
        (["backbone=resnet5"], r"There is no backbone 'resnet5'. Did you mean 'resnet50'\?"),
        (["resnet50"], r"'resnet50' is not a setting; expected key=value"),
        (["-m"], r"'-m' is not a setting"),
        (["backbone=resnet18,resnet50"], r"one value for each setting"),
        (["strategy=knn"], r"strategy=knn: inspect layers fits linear probes; .*use strategy=linear_probe"),
        (["augmentation=[crop_resize,mixup]"], r"augmentation=crop_resize,mixup: .* use augmentation=none"),
        (["references=[raw_pixels]"], r"inspect layers makes no use of it; use references=\[\]"),
        (["debug=fast"], r"trainer.limit_train_batches: inspect layers uses all images"),
        (["strategy.l2=[-1]"], r"strategy.l2=\[-1\]: expected one or more numbers above 0"),
        (["head=mlp", "head.dropout=0"], r"use head=linear, not head=mlp"),
        (["head.pooling=mean"], r"head.pooling=mean: there is no such pooling"),
        (["head.stages=[stage9]"], r"head.stages: efficientnet_lite0 has no stage 'stage9'"),
        (["dataset.validation_fraction=2"], r"dataset.validation_fraction=2: expected a fraction between 0 and 1"),
    ],
)
def test_wrong_settings(settings: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "layers", *TINY, "output_dir=out", *settings]) == 2
    output = capsys.readouterr()
    assert re.search(sentence, output.err), output.err
    assert len(output.err.strip().splitlines()) == 1
    assert output.err.startswith("headstart: ")
    assert not list(Path().rglob("*layers*")), "nothing is left behind"


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    Path("out").write_text("a file, not a folder")
    assert main(["inspect", "layers", *SMALL, "head.stages=[stem]"]) == 2
    output = capsys.readouterr()
    assert not output.out
    assert re.fullmatch(
        r"headstart: Nothing can be written below 'out' \(.+\); choose another output_dir.\n", output.err
    )


def test_wrong_settings_and_help_are_answered_without_torch() -> None:
    code = (
        "import sys; from headstart.cli import main\n"
        "assert main(['inspect', 'layers', '--help']) == 0\n"
        "assert main(['inspect', 'layers', 'backbone=resnet5']) == 2\n"
        "assert main(['inspect', 'layers', 'strategy=knn']) == 2\n"
        "assert not {'torch', 'matplotlib'} & set(sys.modules)"
    )
    assert "headstart inspect layers backbone=resnet50" in answer_of(code)


PROBES = [
    StageProbe("stem", 16, 1.0, 0.50, 1.9, 0.60),
    StageProbe("stage1", 24, 0.1, 0.881, 0.5, 0.872),
    StageProbe("stage2", 40, 0.0316, 0.881, 0.6, 0.90),
    StageProbe(None, 80, 10.0, 0.95, 0.2, 0.95),
]


def test_the_best_stage_is_that_of_validation() -> None:
    assert layer_verdict(PROBES) == "stage1 transfers best: validation 88.1 %, test 87.2 %", "ties go to the lower loss"
    lines = [re.split(r"\s{2,}", line.strip()) for line in probes_table(PROBES).splitlines()]
    assert lines[0] == ["stage", "features", "l2", "validation accuracy", "test accuracy"]
    assert lines[4] == ["stage2", "40", "0.0316", "88.1 %", "90.0 %"]
    assert lines[5] == ["all joined", "80", "10", "95.0 %", "95.0 %"]
    assert probes_csv(PROBES).splitlines()[2] == "stage1,24,0.1,0.881,0.5,0.872"


def test_the_figure() -> None:
    (axes,) = draw_layers(PROBES, "net on data").axes
    drawn = {str(line.get_label()): np.asarray(line.get_ydata(), dtype=float) for line in axes.lines}
    assert drawn["validation"] == pytest.approx([50, 88.1, 88.1])
    assert drawn["test"] == pytest.approx([60, 87.2, 90])
    assert drawn["validation, joined"] == pytest.approx([95, 95])
    assert drawn["chosen: stage1"] == pytest.approx([88.1])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["stem", "stage1", "stage2"]
    assert "%" in axes.get_ylabel()
    assert "stage" in axes.get_xlabel()
    dark, light = (float(np.dot(to_rgb(colour), (0.299, 0.587, 0.114))) for colour in (VALIDATION, TEST))
    assert light - dark > 0.25, "apart in grey too"
