"""Wrong lists and settings end before training: one sentence that says what is wrong, exit code 2, no traceback."""

import csv
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SMALLEST
from made_lists import list_of_labels, list_of_numbers

from headstart.cli import main

COMMON = [
    "dataset=csv", "dataset.root=images/list.csv", "dataset.image_size=32", "dataset.num_workers=0",
    "backbone.weights=null", "trainer.accelerator=cpu", "strategy=head_only", *SMALLEST,
]  # fmt: skip
Change = Callable[[list[dict[str, str]]], None]


def put(column: str, value: str, row: int = 3) -> Change:
    """Return a change of one cell."""
    return lambda rows: rows[row].__setitem__(column, value)


def fill(column: str, value: str, split: str = "") -> Change:
    """Return a change of a column, in all rows or in those of a split."""

    def change(rows: list[dict[str, str]]) -> None:
        for row in rows:
            if split in ("", row["split"]):
                row[column] = value

    return change


def drop(column: str) -> Change:
    """Return the removal of a column."""
    return lambda rows: [row.pop(column) for row in rows] and None


def keep_one(split: str) -> Change:
    """Return the removal of all rows of a split but one."""

    def change(rows: list[dict[str, str]]) -> None:
        kept = [row for row in rows if row["split"] == split][:1]
        rows[:] = [row for row in rows if row["split"] != split] + kept

    return change


def nothing(rows: list[dict[str, str]]) -> None:
    """Change nothing."""


BOTH = ["dataset.targets=[label,dark]"]
NUMBERS: dict[str, tuple[Change, list[str], str]] = {
    "text": (put("label", "much"), [], "has the label 'much', but task=regression needs numbers"),
    "text in a column": (put("dark", "much"), BOTH, "Column 'dark' of '.*list.csv' has the label 'much'"),
    "empty": (put("label", ""), [], "Line 5 of .* has no label"),
    "empty in a column": (put("dark", ""), BOTH, "Line 5 of .* has no dark"),
    "nan": (put("label", "NaN"), [], "has the label 'NaN'"),
    "infinite": (put("label", "inf"), [], "has the label 'inf'"),
    "overflow": (put("label", "1e999"), [], "has the number 1e999, too large for 32 bits"),
    "beyond 32 bits": (put("label", "-1e39"), [], "has the number -1e39, too large for 32 bits"),
    "thousands": (put("label", "1,234.5"), [], "has the label '1,234.5'"),
    "unit": (put("label", "12 %"), [], "has the label '12 %'"),
    "two in a cell": (put("label", "1;2"), [], "has the label '1;2'"),
    "all equal": (fill("label", "3.5"), [], "All training images have the number 3.5; there is nothing to learn"),
    "one column equal": (fill("dark", "2"), BOTH, "All training images have the number 2 in column 'dark'"),
    "equal in validation": (fill("label", "4", "val"), [], "All validation images have the number 4, so R² does not"),
    "one test image": (keep_one("test"), [], "All test images have the number .*, so R² does not exist"),
    "no such column": (nothing, ["dataset.targets=[labl]"], "has no column 'labl'.* Did you mean 'label'"),
    "no label column": (drop("label"), [], "has no column 'label'; its header reads"),
    "the path": (nothing, ["dataset.targets=[label,path]"], "column 'path' .* is the path, the split or the group"),
    "the split": (nothing, ["dataset.targets=[split]"], "column 'split' .* is the path, the split or the group"),
    "named twice": (nothing, ["dataset.targets=[label,label]"], "expected one or more columns, each once"),
    "in two spellings": (nothing, ["dataset.targets=[label,Label]"], "column 'label' .* is named twice"),
    "no columns": (nothing, ["dataset.targets=[]"], "expected one or more columns, each once"),
    "columns and a label": (nothing, [*BOTH, "dataset.label_column=dark"], "both name the targets"),
    "columns of classes": (nothing, [*BOTH, "task=classification"], "task=classification reads one label"),
    "classes": (nothing, ["dataset.classes=[1,2]"], "dataset.classes chooses classes, and task=regression has none"),
    "few of a class": (nothing, ["dataset.labels_per_class=2"], "labels_per_class counts classes"),
    "balance": (nothing, ["dataset.balance=loss"], "dataset.balance counts classes"),
    "no such loss": (nothing, ["task.loss=mean"], "task.loss=mean.*one of mse, mae, huber, bins"),
    "one bin": (nothing, ["task.loss=bins", "task.bins=1"], "task.bins=1"),
    "bins of ridge": (nothing, ["task.loss=bins", "strategy=ridge"], "and task.loss=bins has none"),
    "folders": (nothing, ["dataset=image_folder", "dataset.root=images"], "use dataset=csv"),
}  # fmt: skip
COLOURS = ["dataset.targets=[red,blue]"]
LABELS: dict[str, tuple[Change, list[str], str]] = {
    "none anywhere": (fill("labels", ""), [], "No image of '.*list.csv' has a label"),
    "one everywhere": (fill("labels", "red"), [], "In train every image has the label 'red'"),
    "all everywhere": (fill("labels", "red;blue"), [], "In train every image has the label 'blue'"),
    "missing in train": (put("labels", "tree", -1), [], "Label 'tree' of test is missing in train"),
    "misspelt in test": (put("labels", "grean", -1), [], "Label 'grean' of test .* Did you mean 'green'"),
    "commas": (fill("labels", "red, blue"), [], "such as 'red, blue' have commas; separate labels with ';'"),
    "broken JSON": (put("labels", '["red"'), [], "labels that cannot be read: .* is no JSON list"),
    "numbers in JSON": (put("labels", "[1, 2]"), [], "labels that cannot be read: .* is no list of texts"),
    "nested JSON": (put("labels", '[["red"]]'), [], "labels that cannot be read: .* is no list of texts"),
    "deep JSON": (put("labels", "[" * 9999), [], "labels that cannot be read: .* is no JSON list"),
    "no label in test": (fill("labels", "", "test"), [], "No test image has a label"),
    "no label in validation": (fill("labels", "", "val"), [], "No validation image has a label"),
    "two in a column": (put("red", "2"), COLOURS, "Column 'red' of '.*list.csv' has '2'; .* needs 0 or 1"),
    "text in a column": (put("blue", "much"), COLOURS, "Column 'blue' of '.*list.csv' has 'much'"),
    "empty in a column": (put("blue", ""), COLOURS, "Column 'blue' of '.*list.csv' has an empty cell"),
    "half in a column": (put("blue", "0.5"), COLOURS, "Column 'blue' of '.*list.csv' has '0.5'"),
    "zeros": (fill("red", "0"), COLOURS, "In train no image has the label 'red'"),
    "ones": (fill("red", "1"), COLOURS, "In train every image has the label 'red'"),
    "no such column": (nothing, ["dataset.targets=[red,blu]"], "has no column 'blu'.* Did you mean 'blue'"),
    "no labels column": (drop("labels"), [], "has no column 'labels'; its header reads"),
    "the path": (nothing, ["dataset.targets=[red,path]"], "column 'path' .* is the path, the split or the group"),
    "columns and labels": (nothing, [*COLOURS, "dataset.label_column=labels"], "both name the targets"),
    "sampler": (nothing, ["dataset.balance=sampler"], "dataset.balance counts classes"),
    "balance of ridge": (nothing, ["dataset.balance=loss", "strategy=ridge"], "use strategy=linear_probe"),
    "few of a class": (nothing, ["dataset.labels_per_class=2"], "labels_per_class counts classes"),
    "classes": (nothing, ["dataset.classes=[red,blue]"], "dataset.classes chooses classes"),
    "class means": (nothing, ["head.init=class_means"], "head.init=class_means"),
    "centroids": (nothing, ["strategy=nearest_centroid"], "strategy=nearest_centroid does not support task="),
    "a loss": (nothing, ["task.loss=mse"], "task.loss"),
    "folders": (nothing, ["dataset=image_folder", "dataset.root=images"], "use dataset=csv"),
}  # fmt: skip
CASES = [
    pytest.param(task, *case, id=f"{task}: {name}")
    for task, table in (("regression", NUMBERS), ("multilabel", LABELS))
    for name, case in table.items()
]


@pytest.mark.parametrize(("task", "change", "settings", "sentence"), CASES)
def test_what_is_wrong_is_said_in_one_sentence(
    task: str, change: Change, settings: list[str], sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (list_of_numbers if task == "regression" else list_of_labels)(40)
    file = Path("images/list.csv")
    rows = list(csv.DictReader(file.read_text().splitlines()))
    for number, row in enumerate(rows):
        row["split"] = "train" if number < 24 else "val" if number < 32 else "test"
    change(rows)
    with file.open("w", newline="") as out:
        table = csv.DictWriter(out, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    assert main(["train", *COMMON, f"task={task}", *settings, "output_dir=runs"]) == 2
    found = capfd.readouterr().err
    *_, line = found.strip().splitlines()
    assert re.search(sentence, line), found
    assert "Traceback" not in found
