"""Test runs as objects: metrics, curves, predictions, networks, and tables of runs in any state."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import SMALLEST, trained_run
from made_lists import list_of_labels, list_of_numbers, list_of_several
from made_runs import write_regression_run, write_run, write_tested_run
from PIL import Image

import headstart as hs
from headstart.errors import DataError, HeadstartError

FLAT = [*SMALLEST, "dataset.image_size=32", "trainer.max_epochs=1", "logger=csv", "strategy=ridge"]


def test_a_run_has_metrics_curve_config_and_predictions(tmp_path: Path) -> None:
    folder = write_tested_run(
        tmp_path / "runs", "ridge", 0, np.array([True, False, True]), np.array([True, True, True])
    )
    run = hs.run(folder)
    assert run.metrics["test/accuracy"] == pytest.approx(2 / 3)
    assert run.config["optimizer.lr"] == 0.1
    assert list(run.curve().epoch) == [0, 1, 2]
    found = run.predictions()
    assert list(found.columns) == ["id", "target", "prediction", "ants", "bees", "cats"]
    assert list(found.target == found.prediction) == [True, False, True]
    assert found.ants.dtype == float
    assert len(run.predictions("validation")) == 3
    assert (run.status, run.directory) == ("finished", folder)
    assert repr(run) == f"<Run {run.title}: finished, test 66.7 %, {folder}>"
    found.loc[0, "target"] = "changed"
    assert run.predictions().target[0] == "ants"


def test_names_of_classes_stay_texts(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs", "ridge", 0, 1.0)
    (folder / "predictions.csv").write_text("id,target,prediction,007,NA\nx,007,007,0.9,0.1\nnull,NA,NA,0.25,0.75\n")
    found = hs.run(folder).predictions()
    assert found.values.tolist() == [["x", "007", "007", 0.9, 0.1], ["null", "NA", "NA", 0.25, 0.75]]


def test_predictions_of_numbers(tmp_path: Path) -> None:
    found = hs.run(write_regression_run(tmp_path / "runs", "ridge", 0, np.array([0.1, 0.3]))).predictions()
    assert found.prediction.tolist() == [0.1, 1.3]


@pytest.mark.parametrize(
    ("made", "settings", "labels"),
    [
        (list_of_labels, ["task=multilabel", "strategy=head_only"], ["labels"]),
        (list_of_numbers, ["task=regression", "dataset.targets=[label,dark]"], []),
        (
            list_of_several,
            ["task=several", "strategy=finetune_all", "task.parts={a: {kind: classification, column: label}, b: {kind:"
             " regression, columns: [light]}, c: {kind: multilabel, column: labels}}"],
            ["a/target", "a/prediction", "c/labels"],
        ),
    ],
)  # fmt: skip
def test_every_task(made, settings, labels) -> None:  # type: ignore[no-untyped-def]
    made(40)
    fast = {"dataset": {"root": "images/list.csv", "image_size": 32, "num_workers": 0}, "backbone": {"weights": None}}
    run = hs.train(*FLAT, "dataset=csv", fast, *settings)
    frame = run.predictions()
    texts = [name for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name])]
    assert texts == ["id", *labels]
    answers = run.model(device="cpu").predict(np.zeros((40, 40, 3), np.uint8))
    assert len(answers) == 1


def test_missing_and_damaged_files_are_one_sentence(tmp_path: Path) -> None:
    run = hs.run(write_run(tmp_path / "runs", "ridge", 0, 1.0))
    with pytest.raises(DataError, match=r"^.*ridge-0-0.1: predictions.csv .* \(the run is finished\)\.$"):
        run.predictions()
    with pytest.raises(DataError, match="choose test or validation"):
        run.predictions("train")  # type: ignore[arg-type]
    (run.directory / "metrics.csv").write_text("nothing\n1\n")
    with pytest.raises(DataError, match="has no column 'epoch'"):
        run.curve()
    with pytest.raises(HeadstartError, match=r"has no model\.json"):
        run.model()
    with pytest.raises(DataError, match="There is no folder"):
        hs.run(tmp_path / "gone")


def test_runs_lists_every_state(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    write_run(root, "ridge", 0, 0.9, lr=0.1)
    write_run(root, "ridge", 1, 0.8, lr=0.2)
    failed = write_run(root, "scratch", 0, 0.5, status="failed", metrics={}, error={"message": "no <memory>"})
    damaged = write_run(root, "knn", 0, 0.5)
    (damaged / "run.json").write_text("{")
    found = hs.runs(root).set_index("directory")
    assert found.status.value_counts().to_dict() == {"finished": 2, "failed": 1, "damaged": 1}
    assert found.error[str(failed.resolve())] == "no <memory>"
    assert set(found["optimizer.lr"].dropna()) == {0.1, 0.2}
    assert found["test/accuracy"].max() == 0.9
    with pytest.raises(DataError, match="There is no folder"):
        hs.runs(tmp_path / "gone")


def test_a_run_shows_itself_with_its_names_escaped(tmp_path: Path) -> None:
    folder = write_tested_run(tmp_path / "runs", "ridge", 0, np.array([True, False]), dataset="<b>bad</b>")
    shown = hs.run(folder)._repr_html_()
    assert "50.0" in shown
    assert "&lt;b&gt;bad&lt;/b&gt;" in shown
    assert "<b>bad" not in shown
    content = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(content | {"status": "failed", "error": {"message": "<i>"}}))
    assert "failed, &lt;i&gt;" in hs.run(folder)._repr_html_()


def test_predict_gives_the_answers_of_the_command(tmp_path: Path) -> None:
    run = hs.run(trained_run(tmp_path / "runs", *FLAT))
    model = run.model(device="cpu")
    assert (model.task, len(model.names)) == ("classification", 12)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (3, 48, 40, 3)).astype(np.uint8)
    (tmp_path / "new").mkdir()
    files = [tmp_path / "new" / f"{number}.png" for number in range(3)]
    for file, array in zip(files, pixels, strict=True):
        Image.fromarray(array).save(file)
    by_path = model.predict(tmp_path / "new")
    assert by_path.path.tolist() == list(map(str, files))
    for images in (pixels, list(pixels), [Image.open(file) for file in files], [str(file) for file in files]):
        pd.testing.assert_frame_equal(model.predict(images).drop(columns="path"), by_path.drop(columns="path"))
    assert model.predict(pixels[0]).path.tolist() == [0]
    assert model.predict(files[0], raw=True).filter(model.names).sum(axis=1)[0] == pytest.approx(1)
    assert "set" in model.predict(files[0], conformal=0.5)
    assert model.answers(files[1])[0]["label"] == by_path.label[1]
    files[1].write_bytes(b"damaged")
    with_damage = model.predict(files)
    assert with_damage.unreadable.notna().tolist() == [False, True, False]
    assert with_damage.label.isna().tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "There is no image to predict"),
        (3, "Image 0 is of type int"),
        (np.zeros((4, 4, 3)), r"Image 0 is of type array \(4, 4, 3\) of float64"),
        ("gone.png", "There is no image, folder or list 'gone.png'"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path: Path, images: object, message: str) -> None:
    model = hs.run(trained_run(tmp_path / "runs", *FLAT)).model(device="cpu")
    with pytest.raises(DataError, match=message):
        model.predict(images)  # type: ignore[arg-type]
