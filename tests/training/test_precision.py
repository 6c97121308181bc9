"""Test that scores are those of the saved predictions, in any precision."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY, trained_run

from headstart.cli import main

FEW = ["dataset.counts=[5,9,9]", "backbone=timm", "backbone.name=test_resnet", "features.enabled=false"]


def counted(file: Path) -> tuple[float, float]:
    """Return accuracy and mean cross-entropy in nats of a file of predictions."""
    with file.open(newline="") as text:
        header, *rows = csv.reader(text)
    right = sum(target == said for _, target, said, *_ in rows)
    chances = [float(row[header.index(row[1])]) for row in rows]  # of the right class
    return right / len(rows), float(-np.log(chances).mean())


MADE = {
    "finetune_all": ["augmentation=[flip_crop,mixup]", "task.label_smoothing=0.1", "trainer.max_epochs=1"],
    "scratch": ["augmentation=augmix", "augmentation.augmix.jsd=12"],
    "linear_probe": [],
    "knn": [],
    "wise_ft": ["callbacks=ema", "strategy.mixes_tried=[0,1]"],
    "head_only": ["test_views=flip", "strategy.lr=auto"],
}
# Each precision and each strategy; how scores are counted in each precision is in tests/tasks/test_classification.py.
PAIRS = [
    ("32-true", "scratch"),
    ("bf16-mixed", "wise_ft"),
    ("bf16-true", "finetune_all"),
    ("bf16-true", "knn"),
    ("16-true", "linear_probe"),
    ("64-true", "head_only"),
]


@pytest.mark.parametrize(("precision", "strategy"), PAIRS)
def test_run_json_counts_the_predictions(precision: str, strategy: str) -> None:
    settings = [f"strategy={strategy}", f"trainer.precision={precision}", *MADE[strategy]]
    if precision == "16-true":
        settings += ["optimizer=sgd", "optimizer.lr=0.001"]
    run = trained_run(Path("o"), *FEW, *settings)
    told = json.loads((run / "run.json").read_text())["metrics"]
    for split, file in (("test", "predictions.csv"), ("validation", "validation_predictions.csv")):
        accuracy, loss = counted(run / file)
        if split == "test" or "test_views=flip" not in settings:
            assert told[f"{split}/accuracy"] == accuracy
            assert told[f"{split}/loss"] == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("trainer.precision=transformer-engine", "trainer.precision=transformer-engine: expected one of 32-true"),
        ("trainer.precision=bf16-ture", "Did you mean 'bf16-true'?"),
        ("trainer.precision=16-mixed", "16-mixed needs a GPU; on a CPU use bf16-mixed"),
        ("trainer.precision=16-true", "optimizer.eps=1e-08 is 0 in 16 bits"),
    ],
)
def test_precisions_that_do_not_train_are_refused(
    setting: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *TINY, *FEW, "strategy=finetune_all", setting]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_a_run_is_tested_again_in_its_precision(precision: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained_run(Path("o"), *FEW, "strategy=finetune_all", f"trainer.precision={precision}")
    assert main(["evaluate", str(run)]) == 0
    assert "as run.json says" in capsys.readouterr().out
    assert main(["evaluate", str(run), "--corruptions", "contrast", "--severities", "1"]) == 0
