"""Whole runs with a number for each pixel: formats, views, what a run directory holds, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SMALLEST, runs_below
from made_masks import write_numbers
from PIL import Image

from headstart.cli import main
from headstart.kinds import KINDS
from headstart.masks import ImageMask
from headstart.records.predictions import read_predictions

BASE = [
    "task=dense_regression", "dataset=image_mask", "dataset.image_size=32", "dataset.resize=squish",
    "dataset.batch_size=2", "dataset.num_workers=0", "backbone.weights=null", "trainer.max_epochs=2",
    "trainer.accelerator=cpu", "output_dir=runs", *SMALLEST,
]  # fmt: skip
KIND = KINDS["dense_regression"]


def trained(*settings: str) -> tuple[dict[str, Any], Path]:
    assert main(["train", *BASE, "dataset.root=set", *settings]) == 0
    run = max(Path("runs").rglob("run.json"), key=lambda path: path.stat().st_mtime)
    return json.loads(run.read_text()), run.parent


def test_formats_of_the_same_numbers_give_the_same_result() -> None:
    found = []
    for suffix, more in (("npy", []), ("tiff", []), ("png", ["dataset.ignore_index=9"])):
        write_numbers(Path(suffix), suffix)
        settings = ["strategy=ridge", f"dataset.root={suffix}", f"output_dir=runs/{suffix}"]
        found.append(trained(*settings, *more)[0]["metrics"])
    assert found[0] == found[1] == found[2]


def test_a_run_learns_and_writes_what_it_predicts() -> None:
    write_numbers(Path("set"))
    found, run = trained("strategy=head_only", "trainer.max_epochs=12", "optimizer.lr=0.03", "references=[raw_pixels]")
    assert found["metrics"]["validation/r2"] > 0.3
    assert found["references"]["raw_pixels"]["test/r2"] > 0.9  # each number has its colour
    predictions = read_predictions(run / "predictions.csv", KIND)
    assert predictions.per_image.mean() == pytest.approx(found["metrics"]["test/r2"], abs=1e-9)
    files = sorted((run / "predictions").iterdir())
    assert [file.name for file in files] == ["00000_0.tiff", "00001_1.tiff", "00002_2.tiff"]
    for number, file in enumerate(files):
        values = np.asarray(Image.open(file))
        assert values.shape == (32, 32)
        true = ImageTargets()[number]
        error = (values - true)[~np.isnan(true)].astype(np.float64)
        assert (error**2).sum() == pytest.approx(predictions.tallies[number, 3], rel=1e-5)
    assert main(["report", str(run), "--out", "out", "--no-figures"]) == 0
    page = (Path("out") / "report.html").read_text()
    assert "Images, truth, predictions and errors" in page
    assert "Images, the worst first" in page


class ImageTargets:
    """The targets of the test images of ``set``, as a run resizes them."""

    def __init__(self) -> None:
        from headstart.backbones import Preprocessing

        data = ImageMask(root="set", task="dense_regression", image_size=32, resize="squish")
        data.prepare(Preprocessing(32, (0.5,) * 3, (0.25,) * 3, "bilinear", 1.0))
        self.targets = data.test.targets

    def __getitem__(self, number: int) -> Any:
        return self.targets[np.array([number])][0]


@pytest.mark.parametrize(
    "more", [["augmentation=[crop_resize,mixup]"], ["augmentation=[flip_crop,cutmix]", "head=upconv"]]
)
def test_views_move_the_numbers(more: list[str]) -> None:
    write_numbers(Path("set"))
    found, _ = trained("strategy=finetune_all", *more)
    assert all(np.isfinite(value) for name, value in found["metrics"].items() if name.endswith("loss"))


def change(value: Callable[[np.ndarray], np.ndarray], where: str = "train/masks/1.npy") -> Callable[[], object]:
    def damage() -> object:
        files = sorted(Path("set").glob(where))
        assert files
        for file in files:
            np.save(file, value(np.load(file)))
        return None

    return damage


def nothing() -> None:
    """Leave the data as they are."""


REFUSED: dict[str, tuple[Callable[[], object], list[str], str]] = {
    "another size": (change(lambda x: x[:, :-4]), [], "26 x 20 pixels, but its image has 30 x 20"),
    "infinity": (change(lambda x: x / 0), [], "an infinite number"),
    "nothing known in train": (change(lambda x: x * np.nan, "train/masks/*"), [], "No pixel of the train masks has"),
    "nothing known in test": (change(lambda x: x * np.nan, "test/masks/*"), [], "No pixel of the test masks has"),
    "all equal": (change(lambda x: x * 0 + 3, "*/masks/*"), [], "All pixels of the train masks have the number 3"),
    "all ignored": (change(lambda x: x * 0 + 3, "*/masks/*"), ["dataset.ignore_index=3"], "No pixel of the train"),
    "a stack": (change(lambda x: np.stack([x] * 3)), [], "is no image of numbers"),
    "text": (change(lambda x: x.astype(str)), [], "holds no numbers"),
    "no mask": (lambda: Path("set/train/masks/1.npy").unlink(), [], "1 image has no mask of the same name"),
    "classes": (nothing, ["dataset.classes=[a,b]"], "dataset.classes names classes, and these masks hold numbers"),
    "palette": (
        lambda: Path("p.txt").write_text("1 2 3 a\n"),
        ["dataset.palette=p.txt"],
        "dataset.palette names classes",
    ),
    "balance": (nothing, ["dataset.balance=loss"], "dataset.balance counts classes"),
    "labels": (nothing, ["dataset.labels_per_class=2"], "dataset.labels_per_class counts classes"),
    "bins": (nothing, ["task.loss=bins"], "task=dense_regression has mse, mae, huber"),
    "probe": (nothing, ["strategy=linear_probe"], "strategy=linear_probe does not support task=dense_regression"),
    "knn": (nothing, ["strategy=knn"], "strategy=knn does not support task=dense_regression"),
    "head": (nothing, ["head=mlp"], "head=mlp has one output per image"),
    "views": (nothing, ["test_views=flip"], "test_views=flip: views of an image show other pixels"),
    "jsd": (nothing, ["augmentation=augmix_jsd"], "augmix averages an image with moved copies of it"),
    "classes as numbers": (nothing, ["task=segmentation"], "cannot be used"),
}


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("case", REFUSED)
def test_one_sentence_says_what_is_wrong(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    damage, more, sentence = REFUSED[case]
    write_numbers(Path("set"))
    damage()
    assert main(["train", *BASE, "dataset.root=set", "strategy=ridge", *more]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert sentence in said
    assert not any(run["status"] == "finished" for run in runs_below(Path("runs")))
