"""Test that headstart predict gives a run's own predictions again, and answers for new images."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SMALLEST
from made_lists import list_of_labels, list_of_numbers, list_of_several
from made_masks import write_masks, write_numbers
from PIL import Image

from headstart.cli import main
from headstart.models.written import folder_name

FAST = [
    *SMALLEST,
    "backbone.weights=null",
    "dataset.image_size=32",
    "dataset.num_workers=0",
    "dataset.batch_size=8",
    "trainer.max_epochs=1",
    "trainer.accelerator=cpu",
    "logger=csv",
    "output_dir=made",
]
FOLDERS = {f"train/{label}": 12 for label in ("ant", "bee", "wasp é")}
STRATEGIES = {
    "head_only": [],
    "finetune_all": ["test_views=flip"],
    "linear_probe": [],
    "ridge": ["strategy.refit=true"],
    "knn": [],
    "nearest_centroid": ["head.stages=[stage1,stage2]"],
    "lora": [],
    "adapters": ["strategy.train_stages=[stage2]"],
    "truncate": ["strategy.stages=2"],
    "layer_transfer": ["strategy.stages=2"],
    "wise_ft": [],
    "scratch": ["head=mlp", "head.hidden=[8]"],
    "surgical": ["strategy.batch_norm=batch", "strategy.train_stages=[stage1]"],
}
TASKS = {
    "regression": (list_of_numbers, ["strategy=ridge", "task=regression", "dataset.targets=[label,dark]"]),
    "bins": (list_of_numbers, ["strategy=finetune_all", "task=regression", "task.loss=bins"]),
    "multilabel": (list_of_labels, ["strategy=head_only", "task=multilabel"]),
    "several": (
        list_of_several,
        [
            "strategy=finetune_all",
            "task=several",
            "task.parts={colour: {kind: classification, column: label}, light: {kind: regression, columns:"
            " [light, dark]}, more: {kind: multilabel, column: labels}}",
        ],
    ),
}


def train(*arguments: str) -> Path:
    """Train, and return the run directory."""
    assert main(["train", *FAST, *arguments]) == 0
    (found,) = (path.parent for path in Path("made").rglob("run.json"))
    return found


def moved(run: Path, root: Path) -> tuple[Path, Path]:
    """Move the run, copy its test images elsewhere, and delete data, settings and features; return run and list."""
    rows = list(csv.DictReader((run / "predictions.csv").open()))
    new = Path("new images é")
    new.mkdir()
    names = []
    for number, row in enumerate(rows):
        name = f"{number} {Path(row['id']).name}"
        shutil.copy(root / row["id"], new / name)
        names.append(name)
    listed = new / "list.csv"
    with listed.open("w", newline="") as file:
        csv.writer(file).writerows([["path", "more"], *([name, "x"] for name in names)])
    place = Path("else where/run")
    place.parent.mkdir()
    shutil.move(run, place)
    (place / "config.yaml").unlink()
    shutil.rmtree(root)
    shutil.rmtree("made")
    return place, listed


def predicted(*arguments: str | Path) -> list[dict[str, str]]:
    """Predict into a CSV file and return its rows."""
    assert main(["predict", *map(str, arguments), "--output", "out.csv"]) == 0
    return list(csv.DictReader(Path("out.csv").open()))


@pytest.fixture
def run(make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> Path:
    """Return a linear probe of three classes; its images are in ``images``."""
    made = train("dataset=image_folder", f"dataset.root={make_folder(FOLDERS)}", "strategy=linear_probe")
    capsys.readouterr()
    return made


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_predictions_are_those_of_the_run(strategy: str, make_folder: Callable[..., Path]) -> None:
    """Bit for bit, after the run was moved and its data and settings were deleted."""
    root = make_folder(FOLDERS)
    run = train("dataset=image_folder", f"dataset.root={root}", f"strategy={strategy}", *STRATEGIES[strategy])
    place, listed = moved(run, root)
    expected = list(csv.DictReader((place / "predictions.csv").open()))
    found = predicted(place, listed, "--raw")
    assert [row["label"] for row in found] == [row["prediction"] for row in expected]
    for name in ("ant", "bee", "wasp é"):
        assert [row[name] for row in found] == [row[name] for row in expected]
    assert {row["path"] for row in found} == {str(listed.parent / Path(row["path"]).name) for row in found}


@pytest.mark.parametrize("task", TASKS)
def test_predictions_of_lists(task: str) -> None:
    """All digits of all outputs are the same."""
    make, settings = TASKS[task]
    make()
    run = train("dataset=csv", "dataset.root=images/list.csv", *settings)
    place, listed = moved(run, Path("images"))
    expected = list(csv.DictReader((place / "predictions.csv").open()))
    found = predicted(place, listed, "--raw")
    columns = [name for name in expected[0] if name not in ("number", "id", "labels") and "target" not in name]
    names = {"prediction_label": "label", "prediction_dark": "dark", "colour/prediction": "colour/label"}
    names |= {"light/prediction_light": "light/light", "light/prediction_dark": "light/dark"}
    columns.remove("more/labels") if "more/labels" in columns else None
    assert columns
    for column in columns:
        mine, theirs = (
            [row[name] for row in rows] for name, rows in ((names.get(column, column), found), (column, expected))
        )
        if column.startswith("colour/") and column != "colour/prediction":  # 12 digits there
            mine = [f"{float(value):.12g}" for value in mine]
        assert mine == theirs, column


def test_masks_are_those_of_the_run() -> None:
    root = write_masks(Path("pairs"))
    run = train("dataset=image_mask", f"dataset.root={root}", "task=segmentation", "strategy=head_only")
    expected = [np.asarray(Image.open(path)) for path in sorted((run / "predictions").glob("*.png"))]
    rows = predicted(run, root / "test/images", "--masks", "out masks")
    masks = [np.asarray(Image.open(row["mask"])) for row in rows]
    assert len(masks) == 3
    assert all((mine == theirs).all() for mine, theirs in zip(masks, expected, strict=True))
    assert sum(float(rows[0][name]) for name in rows[0] if name not in ("path", "mask")) == pytest.approx(1)


def test_numbers_of_pixels_are_those_of_the_run() -> None:
    root = write_numbers(Path("pairs"))
    run = train("dataset=image_mask", f"dataset.root={root}", "task=dense_regression", "strategy=head_only")
    expected = [np.asarray(Image.open(path)) for path in sorted((run / "predictions").glob("*.tiff"))]
    rows = predicted(run, root / "test/images", "--masks", "out")
    numbers = [np.asarray(Image.open(row["mask"])) for row in rows]
    assert len(numbers) == len(expected) > 0
    assert all((mine == theirs).all() for mine, theirs in zip(numbers, expected, strict=True))
    assert float(rows[0]["lowest"]) <= float(rows[0]["mean"]) <= float(rows[0]["highest"])


def test_a_table_for_people(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(run), "images/train/ant/0.jpg", "--conformal", "0.5", "--top", "2"]) == 0
    said = capsys.readouterr()
    header, _, row = said.out.splitlines()[:3]
    assert header.split() == ["image", "label", "probability", "set", "next", "distance", "unlike", "training"]
    assert "0.jpg" in row
    assert row.count("%") == 2
    assert "Probabilities are calibrated on validation images (temperature " in said.err


def test_json_lines_have_probabilities_of_all_classes(run: Path) -> None:
    assert main(["predict", str(run), "images/train/bee", "--output", "o/a.jsonl", "--conformal", "0.9"]) == 0
    lines = [json.loads(line) for line in Path("o/a.jsonl").read_text().splitlines()]
    assert len(lines) == 12
    for line in lines:
        assert list(line) == ["path", "label", "probability", "set", "probabilities", "distance", "unlike"]
        assert line["probability"] == max(line["probabilities"].values())
        assert sum(line["probabilities"].values()) == pytest.approx(1)


def test_sorting_links_and_never_moves(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("more").mkdir()
    shutil.copy("images/train/ant/0.jpg", "more/0.jpg")  # the same name in two folders
    arguments = ["predict", str(run), "images/train/ant/0.jpg", "more", "--sort-into", "sorted"]
    assert main(arguments) == 0
    links = sorted(path for path in Path("sorted").rglob("*.jpg"))
    assert [link.name for link in links] == ["0-2.jpg", "0.jpg"]
    assert {link.resolve() for link in links} == {Path(p).resolve() for p in ("images/train/ant/0.jpg", "more/0.jpg")}
    assert Path("more/0.jpg").is_file()
    assert not Path("more/0.jpg").is_symlink()
    assert main(arguments) == 0  # again: nothing new
    assert len(list(Path("sorted").rglob("*.jpg"))) == 2
    assert "Linked into sorted: 2 " in capsys.readouterr().err


def test_unreadable_images_do_not_stop_the_others(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone = predicted(run, "images/train/ant/1.jpg", "images/train/ant/2.jpg")
    Path("broken.jpg").write_bytes(b"no image")
    rows = predicted(run, "images/train/ant/1.jpg", "broken.jpg", "images/train/ant/2.jpg")
    assert rows == alone
    said = capsys.readouterr().err
    assert "unreadable: broken.jpg (not an image that can be identified)" in said
    assert "1 of 3 images cannot be read and are left out." in said


def test_a_link_an_image_twice_and_a_text_list(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("link.jpg").symlink_to(Path("images/train/ant/0.jpg").absolute())
    Path("list.txt").write_text("link.jpg\nimages/train/bee/0.jpg\n\nlink.jpg\n")
    rows = predicted(run, "list.txt", "images/train/bee/0.jpg")
    assert [row["path"] for row in rows] == ["link.jpg", "images/train/bee/0.jpg"]
    assert "2 paths were named again and count once." in capsys.readouterr().err


def test_the_temperature_divides_the_logits(run: Path) -> None:
    file = run / "checkpoints/model.json"
    content = json.loads(file.read_text())
    content["calibration"][""]["temperature"] = 2.0
    file.write_text(json.dumps(content))
    raw, calibrated = (predicted(run, "images/train/ant", *more) for more in (["--raw"], []))
    for one, other in zip(raw, calibrated, strict=True):
        assert one["label"] == other["label"]
        ratios = [float(row["ant"]) / float(row["bee"]) for row in (one, other)]
        assert ratios[1] == pytest.approx(ratios[0] ** 0.5, rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.jpg"], "There is no image, folder or list 'nothing.jpg'"),
        (["empty"], "The folder 'empty' holds no image."),
        (["notes.txt"], "The list 'notes.txt' names no image."),
        (["table.csv"], "'table.csv' has no column 'path'; its header reads 'a, b'."),
        (["broken.jpg"], "None of 1 images can be read."),
        (["images", "--output", "o.txt"], "--output o.txt: expected a name that ends in .csv or .jsonl."),
        (["images", "--conformal", "90"], "--conformal 90: expected a share between 0 and 1, such as 0.9."),
        (["images", "--top", "0"], "--top 0: expected a whole number of 1 or more."),
        (["images", "--device", "tpu"], "--device tpu: expected auto, cpu, mps, cuda, or one GPU as in cuda:0."),
        (["images", "--masks", "m"], "--masks needs a model of task=segmentation"),
    ],
)
def test_wrong_arguments(arguments: list[str], message: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    Path("notes.txt").write_text("\n")
    Path("table.csv").write_text("a,b\n1,2\n")
    Path("broken.jpg").write_bytes(b"no image")
    assert main(["predict", str(run), *arguments]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith(f"headstart: {message}")


@pytest.mark.parametrize("what", ["nothing", "empty", "unfinished"])
def test_no_model(what: str, make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    make_folder({"a": 1})
    Path("empty").mkdir()
    Path("unfinished").mkdir()
    Path("unfinished/run.json").write_text("{}")
    assert main(["predict", what, "images"]) == 2
    said: Any = capsys.readouterr().err
    expected = {"nothing": "There is no run or model", "empty": "is no run and no model", "unfinished": "is unfinished"}
    assert expected[what] in said
    assert len(said.strip().splitlines()) == 1


def test_own_code_runs_only_if_allowed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A decoder from outside the package, for items of five channels."""
    rng = np.random.default_rng(0)
    for label in ("a", "b"):
        Path("bands", label).mkdir(parents=True)
        for number in range(10):
            np.save(f"bands/{label}/{number}.npy", rng.random((32, 32, 5)).astype(np.float32))
    Path("conf/dataset").mkdir(parents=True)
    group = "defaults: [_base]\n_target_: own_inputs.BandFolder\nroot: bands\nimage_size: 32\n"
    Path("conf/dataset/bands.yaml").write_text(group)
    run = train("--config-dir=conf", "dataset=bands", "allow_targets=[own_inputs]", "strategy=finetune_all")
    expected = list(csv.DictReader((run / "predictions.csv").open()))
    files = [f"bands/{row['id']}" for row in expected]
    capsys.readouterr()
    assert main(["predict", str(run), *files]) == 2
    assert "if you trust it, add --trust own_inputs." in capsys.readouterr().err
    found = predicted(run, *files, "--raw", "--trust", "own_inputs")
    assert [row["a"] for row in found] == [row["a"] for row in expected]


@pytest.mark.parametrize(
    ("label", "name"),
    [("ant", "ant"), ("../../x", ".._.._x"), ("..", "_"), ("", "_"), ("a/b\\c\n", "a_b_c_"), ("/etc", "_etc")],
)
def test_a_label_names_one_folder(label: str, name: str) -> None:
    """A model from a stranger may not choose a place outside DIR."""
    assert folder_name(label) == name
