"""Test augmented runs: the plan, the place of views, test views, wrong combinations."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import SMALLEST, TINY, runs_below

from headstart.analysis.explain.network import rebuild
from headstart.augmentations import FixedViews
from headstart.augmentations.fixed_views import KINDS
from headstart.cli import main
from headstart.records.runs import read_run
from headstart.settings.early_checks import TEST_VIEWS

ONCE = "trainer.max_epochs=1"
LIST = "augmentation=[crop_resize,augmix,random_erasing,mixup]"


def run(*settings: str) -> Path:
    assert main(["train", *SMALLEST, *TINY, "strategy=finetune_all", *settings]) == 0
    return max(Path().rglob("run.json"), key=lambda path: path.stat().st_mtime_ns).parent


@pytest.mark.slow
def test_the_plan_shows_order_place_and_parameters_and_where_does_not_change_the_hash() -> None:
    loader = run(LIST, ONCE, "augmentation.augmix.severity=7", "output_dir=a")
    device = run(LIST, ONCE, "augmentation.augmix.severity=7", "augmentation.where=device", "output_dir=b")
    told = [line.split() for line in (device / "run.log").read_text().splitlines() if line.strip()[:1].isdigit()]
    steps = [line[:2] for line in told if line[0] in "1234" and "=" in line[-1]]
    assert steps == [["1", "crop_resize"], ["2", "augmix"], ["3", "random_erasing"], ["4", "mixup"]]
    log = (device / "run.log").read_text()
    assert "severity=7" in log
    assert log.count("on the device, in batches") == 3
    assert (loader / "run.log").read_text().count("by the loader") == 3
    records = [runs_below(Path(name))[0] for name in "ab"]
    assert records[0]["augmentation"] == ["crop_resize", "augmix", "random_erasing", "mixup"]
    assert records[0]["id"] == records[1]["id"]
    losses = [
        pd.read_csv(path / "metrics.csv")["train/loss"][0] for path in (loader, device)
    ]  # later, rounding adds up
    np.testing.assert_allclose(*losses, rtol=0.02)


@pytest.mark.slow
def test_test_views_average_probabilities_and_leave_training_alone() -> None:
    margin = "dataset.crop_fraction=0.8"  # or the corners of a square are its centre
    runs = run(margin, ONCE), run(margin, ONCE, "test_views=ten_crop")
    said = [pd.read_csv(path / "predictions.csv").iloc[:, 3:].to_numpy() for path in runs]
    validated = [pd.read_csv(path / "metrics.csv")["validation/loss"].tolist() for path in runs]
    assert validated[0] == validated[1]
    assert not np.allclose(said[0], said[1])
    for probabilities in said:
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-4)
    rebuild(read_run(runs[1])).verified_probabilities()  # raises where predictions.csv differs
    assert set(TEST_VIEWS.choices) == set(KINDS)
    assert [FixedViews(name).branches for name in TEST_VIEWS.choices] == [2, 5, 10]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["augmentation.where=gpu"], "augmentation.where=gpu: expected one of auto, workers, device."),
        (["+augmentation.mixupp=1"], "augmentation.mixupp=1: expected the settings of a view or mix."),
        (["+augmentation.policy=p.json"], "augmentation.policy=p.json: only augmentation=learned reads it."),
        (["test_views=flips"], "Did you mean 'flip'"),
        (["augmentation=[augmix,mixup]", "augmentation.augmix.jsd=12"], "remove one of them"),
        (["augmentation=manifold_mixup", "augmentation.manifold_mixup.stages=[stage9]"], "no stage 'stage9'"),
        (["augmentation=manifold_mixup", "trainer.auto_batch=true"], "leave one of the two out"),
        (["augmentation=augmix", "augmentation.augmix.jsd=12", "features.views=2"], "but the augmentation gives 3"),
        (
            ["strategy=linear_probe", "strategy.views=2", "augmentation=crop_resize", "test_views=flip"],
            "strategy.views already averages views in every split",
        ),
        (["augmentation=auto_augment", "augmentation.auto_augment.policy=imagnet"], "Did you mean 'imagenet'"),
    ],
)
def test_wrong_settings_are_refused(settings: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *SMALLEST, *TINY, *settings]) == 2
    assert message in capsys.readouterr().err
