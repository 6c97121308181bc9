"""Whole runs of segmentation: strategies, stored features, resumes, what is refused, and what a run directory holds."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import SMALLEST, runs_below
from made_masks import write_masks
from PIL import Image
from resuming import check_equal, only_run, stop_at

from headstart.cli import main
from headstart.kinds import KINDS
from headstart.records.predictions import read_predictions

BASE = [
    "task=segmentation",
    "dataset=image_mask",
    "dataset.ignore_index=3",
    "dataset.image_size=32",
    "dataset.resize=squish",
    "dataset.batch_size=2",
    "dataset.num_workers=0",
    "backbone.weights=null",
    "trainer.max_epochs=2",
    "trainer.accelerator=cpu",
    "output_dir=runs",
    *SMALLEST,
]


@pytest.fixture
def settings(tmp_path: Path) -> list[str]:
    return [*BASE, f"dataset.root={write_masks(tmp_path / 'set')}"]


def trained(settings: list[str], *more: str) -> tuple[dict[str, Any], Path]:
    assert main(["train", *settings, *more]) == 0
    run = max(Path("runs").rglob("run.json"), key=lambda path: path.stat().st_mtime)
    return json.loads(run.read_text()), run.parent


@pytest.mark.parametrize(
    "more",
    [
        ["strategy=finetune_all", "head=upconv", "head.width=8", "augmentation=[crop_resize,cutmix]"],
        ["strategy=head_only", "augmentation=[flip_crop,trivial_augment,random_erasing]", "task.dice=1"],
        ["strategy=linear_probe", "strategy.l2=[1,0.01]", "strategy.refit=true", "dataset.balance=loss"],
        ["strategy=ridge", "strategy.l2=[10,0.1]", "strategy.refit=true"],
        ["strategy=lp_ft", "strategy.l2=[1]", "dataset.balance=loss"],
        ["strategy=finetune_upper", "strategy.stages=1", "augmentation=mixup", "augmentation.where=device"],
        ["strategy=gradual_unfreeze", "head.stages=[stage1,stage4]"],
        ["strategy=l2_sp", "augmentation=crop_resize", "augmentation.crop_resize.copies=2"],
    ],
    ids=lambda more: more[0].partition("=")[2],
)
def test_strategies(settings: list[str], more: list[str]) -> None:
    found, run = trained(settings, *more)
    assert found["primary"] == {"name": "mean_iou", "higher_is_better": True, "unit": "%"}
    for split in ("train", "validation", "test"):
        assert 0 <= found["metrics"][f"{split}/mean_iou"] <= 1
        assert found["metrics"][f"{split}/loss"] > 0
    kind = KINDS["segmentation"]
    predictions = read_predictions(run / "predictions.csv", kind)
    assert predictions.per_image.mean() == pytest.approx(found["metrics"]["test/mean_iou"], abs=1e-9)
    assert list(predictions.ids) == [f"test/images/{n}.png" for n in range(3)]
    kept = read_predictions(run / "validation_predictions.csv", kind)
    assert kept.per_image.mean() == pytest.approx(found["metrics"]["validation/mean_iou"], abs=1e-9)


def test_raw_pixels_predict_the_colours_of_the_labels(settings: list[str]) -> None:
    found, _ = trained(settings, "strategy=linear_probe", "strategy.l2=[0.1]", "references=[raw_pixels]")
    assert found["references"]["raw_pixels"]["test/mean_iou"] > 0.9  # each class has its colour


def test_a_run_learns(settings: list[str]) -> None:
    found, _ = trained(settings, "strategy=finetune_all", "optimizer.lr=0.01", "trainer.max_epochs=12")
    assert found["metrics"]["validation/mean_iou"] > 0.6


def test_a_run_directory_holds_label_images_and_a_figure(settings: list[str]) -> None:
    _, run = trained(settings, "strategy=linear_probe", "strategy.l2=[0.1]")
    files = sorted((run / "predictions").iterdir())
    assert [file.name for file in files] == ["00000_0.png", "00001_1.png", "00002_2.png"]
    predictions = read_predictions(run / "predictions.csv", KINDS["segmentation"])
    for number, file in enumerate(files):
        with Image.open(file) as image:
            assert (image.mode, image.size) == ("P", (32, 32))
            labels = np.asarray(image)
        assert labels.max() < 3
        # Pixels without a class are predicted too, but not counted.
        assert (np.bincount(labels.ravel(), minlength=3) >= predictions.tallies[number, 3:6]).all()
    assert (run / "explain/label_images.pdf").is_file()
    assert main(["diff", str(run), str(run)]) == 0
    assert main(["report", str(run), "--out", "out", "--no-figures"]) == 0
    page = (Path("out") / "report.html").read_text()
    assert "Images, truth, predictions and errors" in page
    assert "Classes, the worst first" in page


@pytest.mark.parametrize("strategy", ["linear_probe", "head_only"])
def test_stored_features_change_nothing(settings: list[str], strategy: str, two_threads: None) -> None:
    curves = []
    for enabled in ("false", "true"):
        found, run = trained(
            settings,
            f"strategy={strategy}",
            "dataset.batch_size=4",
            f"features.enabled={enabled}",
            f"output_dir=runs/{enabled}",
        )
        assert (found["features"] is not None) == (enabled == "true")
        table = pd.read_csv(run / "metrics.csv").drop(columns="samples_per_second", errors="ignore")
        curves.append((table, found["metrics"], (run / "predictions.csv").read_text()))
    pd.testing.assert_frame_equal(curves[0][0], curves[1][0], check_exact=True)
    assert curves[0][1:] == curves[1][1:]


def test_a_run_that_is_stopped_ends_as_if_it_never_was(settings: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    more = ["strategy=finetune_all", "head=upconv", "head.width=8", "augmentation=[crop_resize,cutmix]"]
    command = ["train", *(one for one in settings if one != "output_dir=runs"), *more, "sweep.checkpoint_share=1"]
    assert main([*command, "output_dir=a"]) == 0
    with monkeypatch.context() as patch:
        stop_at(patch, 3, "SIGTERM")
        assert main([*command, "output_dir=b"]) == 143
    assert main([*command, "output_dir=b"]) == 0
    check_equal(only_run("a"), only_run("b"))


REFUSED = {
    "knn": (["strategy=knn"], "strategy=knn does not support task=segmentation"),
    "nearest_centroid": (["strategy=nearest_centroid"], "strategy=nearest_centroid does not support task=segmentation"),
    "mlp": (["head=mlp"], "head=mlp has one output per image: task=segmentation needs head=linear or head=upconv"),
    "probe of a decoder": (["head=upconv", "strategy=linear_probe"], "use head=linear, not head=upconv"),
    "pooling": (["head.pooling=max"], "head.pooling=max: task=segmentation reads maps without pooling"),
    "augmix": (["augmentation=augmix"], "augmix averages an image with moved copies of it"),
    "jsd": (["augmentation=augmix_jsd"], "augmix averages an image with moved copies of it"),
    "test_views": (["test_views=flip"], "test_views=flip: views of an image show other pixels"),
    "features.views": (["augmentation=crop_resize", "features.views=2"], "features.views=2: views of an image show"),
    "strategy.views": (
        ["strategy=linear_probe", "augmentation=crop_resize", "strategy.views=2"], "strategy.views=2: views of an image"
    ),
    "another data set": (["dataset=textures", "~dataset.root"], "task=segmentation needs a mask for each image"),
    "another task": (["task=classification"], "and task=classification uses none: use task=segmentation"),
    "a stage that is none": (["head.stages=[stage9]"], "has no stage 'stage9'"),
    "width": (["head=upconv", "head.width=20"], "head.width=20: expected a multiple of 8"),
    "sampler": (["dataset.balance=sampler"], "dataset.balance counts classes"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(settings: list[str], case: str, capsys: pytest.CaptureFixture[str]) -> None:
    more, sentence = REFUSED[case]
    if case == "another data set":
        settings = [one for one in settings if not one.startswith("dataset")]
        more = ["dataset=textures"]
    assert main(["train", *settings, *more]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert sentence in said
    assert not any(run["status"] == "finished" for run in runs_below(Path("runs")))


def test_a_decoder_needs_a_target_for_each_pixel(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "head=upconv", *SMALLEST, "backbone.weights=null", "dataset.image_size=32"]) == 2
    assert "head=upconv has an output for each pixel" in capsys.readouterr().err
