"""Test headstart explain: it writes the same files every time, and reports errors in one sentence."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from conftest import trained_run
from PIL import Image

from headstart.cli import main

FIGURES = [
    f"{name}{ending}" for name in ("mistakes", "grad_cam", "embedding") for ending in (".png", ".pdf", "-dark.png")
]
TABLES = ["mistakes.csv", "embedding.csv"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explained")
    arguments = ["backbone=mobilenet_v3_small", "dataset.counts=[3,2,2]", "trainer.max_epochs=1", "strategy=head_only"]
    return trained_run(folder, *arguments)


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def test_files_are_written_and_repeat(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(run), "--images", "3"]) == 0
    folder = run / "explain"
    assert {path.name for path in folder.iterdir()} == {*FIGURES, *TABLES}
    assert capsys.readouterr().out.split() == [str(folder / name) for name in (*FIGURES, *TABLES)]
    output = pd.read_csv(run / "predictions.csv")
    wrong = output[output.target != output.prediction]
    confidence = wrong.apply(lambda row: row[row.prediction], axis=1).sort_values(ascending=False, kind="stable")
    mistakes = pd.read_csv(folder / "mistakes.csv")
    assert mistakes.id.tolist() == wrong.id[confidence.index[:3]].tolist()
    assert mistakes.probability_of_prediction.tolist() == pytest.approx(confidence[:3].tolist())
    points = pd.read_csv(folder / "embedding.csv")
    assert points.id.tolist() == output.id.tolist()
    assert points.x.std() >= points.y.std() > 0
    for name in ("mistakes", "grad_cam", "embedding"):
        with Image.open(folder / f"{name}.png") as image:
            assert min(image.size) > 300
        assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert main(["explain", str(run / "run.json"), "--images", "3", "--stage", "stage1"]) == 0
    changed = {path.name for path in folder.iterdir() if path.read_bytes() != before[path.name]}
    assert changed == {f"grad_cam{form}" for form in (".png", ".pdf", "-dark.png")}


def test_a_run_that_cannot_be_explained_is_named_and_the_others_are_explained(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unfinished, changed = (Path(shutil.copytree(run, tmp_path / name)) for name in ("unfinished", "changed"))
    (unfinished / "run.json").write_text(json.dumps({"schema": 1, "status": "failed", "error": "out of memory"}))
    lines = (changed / "predictions.csv").read_text().splitlines()
    (changed / "predictions.csv").write_text("\n".join([lines[0], lines[1][::1], *lines[:1:-1]]).replace("0.0", "0.1"))
    assert main(["explain", str(unfinished), str(changed), str(run), "--images", "2"]) == 2
    output = capsys.readouterr().err.strip().splitlines()
    assert len(output) == 2
    assert output[0] == (
        "headstart: unfinished: only finished runs can be explained, but this one is failed (out of memory)."
    )
    assert "changed: the network's predictions differ from predictions.csv" in output[1]
    assert not (unfinished / "explain").exists()
    assert not (changed / "explain").exists()
    assert (run / "explain/grad_cam.pdf").is_file()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--images", "0"], "--images 0: expected a whole number from 1 to 60."),
        (["--images", "many"], "invalid int value: 'many'; see headstart explain --help."),
        (["--embedding", "pcaa"], "there is no such embedding. Did you mean 'pca'?"),
        (["--stage", "stage33"], "has no such stage. Did you mean 'stage3'?"),
        (["--stage", "stage4"], "it gives no map at 32 pixels; choose one of stem, stage1, stage2, stage3."),
        (["--root", "elsewhere"], "--root elsewhere: the images of this run do not come from a folder."),
    ],
)
def test_wrong_arguments(run: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(run), *arguments]) == 2
    output = capsys.readouterr().err
    assert output.strip().endswith(sentence)
    assert len(output.strip().splitlines()) == 1
    assert not (run / "explain").exists()


def test_no_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain"]) == 2
    assert main(["explain", str(run.parent)]) == 2
    assert main(["explain", str(run / "tensorboard")]) == 2
    assert main(["explain", "nowhere"]) == 2
    output = capsys.readouterr().err.splitlines()
    assert len(output) == 4
    assert "required: RUN" in output[0]
    assert f"is not a run directory but holds 1; name one, such as '{run.resolve()}'." in output[1]
    assert "is not a run directory: it has no run.json." in output[2]
    assert "There is no folder 'nowhere'" in output[3]
