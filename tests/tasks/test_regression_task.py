"""Regression: loss, scores, head and the fit of a number."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALLEST, runs_below
from PIL import Image
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.preprocessing import StandardScaler

from headstart.cli import main
from headstart.errors import ConfigError
from headstart.solvers.features import Features
from headstart.tasks import LinearHead, MlpHead, Regression
from headstart.tasks.heads import put_linear

COMMON = [
    "dataset=csv", "dataset.root=images/list.csv", "task=regression", "dataset.image_size=32", "dataset.num_workers=0",
    "backbone.weights=null", "trainer.accelerator=cpu", *SMALLEST,
]  # fmt: skip
GRADIENT = [
    "scratch", "finetune_all", "finetune_lower", "finetune_upper", "surgical", "gradual_unfreeze", "head_only",
    "bias_only", "norm_only", "lora", "adapters", "truncate", "l2_sp", "lp_ft", "wise_ft", "layer_transfer",
]  # fmt: skip


def list_of_numbers(count: int = 60) -> None:
    """Write grey images and a list with their brightness as the number to predict."""
    rng = np.random.default_rng(0)
    Path("images").mkdir()
    rows = [["path", "label"]]
    for number in range(count):
        brightness = rng.uniform(20, 220)
        pixels = np.clip(rng.normal(brightness, 20, (32, 32, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(f"images/{number}.png")
        rows.append([f"{number}.png", f"{brightness / 10:.3f}"])
    with Path("images/list.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def test_the_loss_is_of_standardised_errors_and_the_score_in_the_unit() -> None:
    task = Regression(mean=100.0, deviation=10.0)
    outputs, targets = torch.tensor([[110.0], [90.0]]), torch.tensor([100.0, 95.0], dtype=torch.float64)
    assert float(task.loss(outputs, targets)) == pytest.approx((1.0 + 0.25) / 2)
    assert task.tally(outputs, targets).tolist() == [[10.0], [5.0]]
    assert task.primary_of(task.tally(outputs, targets)) == 7.5
    assert task.score(outputs, targets) == pytest.approx({"loss": 0.625, "mae": 7.5})
    assert float(task.loss(outputs, task.soft(targets))) == pytest.approx(0.625)


@pytest.mark.parametrize("head", [LinearHead(), MlpHead(hidden=[8])])
def test_a_new_head_starts_at_the_mean_and_learns_any_unit(head: LinearHead) -> None:
    task = Regression(mean=1000.0, deviation=200.0, head=head)
    layers, values = task.make_head(6, 0), torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
    targets = 1000 + 200 * values[:, 0].double()
    assert (layers(values) - 1000).abs().mean() < 400
    optimizer = torch.optim.Adam(layers.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        task.loss(layers(values), targets, training=True).backward()
        optimizer.step()
    assert task.score(layers(values), targets)["mae"] < 100  # half a deviation


def test_ridge_weights_are_scikit_learns() -> None:
    rng = torch.Generator().manual_seed(0)
    values = torch.randn(80, 5, generator=rng, dtype=torch.float64)
    targets = 3 * values[:, 0] - values[:, 3] + 7 + 0.1 * torch.randn(80, generator=rng, dtype=torch.float64)
    train, validation = Features(values[:50], targets[:50]), Features(values[50:], targets[50:])
    task = Regression(mean=float(targets[:50].mean()), deviation=float(targets[:50].std()))
    probe = task.fit_probe(train, validation, [0.1])
    scaler = StandardScaler().fit(train.values)
    theirs = SklearnRidge(alpha=0.1 * 50).fit(scaler.transform(train.values), train.targets)
    expected = theirs.predict(scaler.transform(validation.values))
    head = task.make_head(5, 0).double()
    put_linear(head, probe.weight, probe.bias)
    np.testing.assert_allclose(head(validation.values).detach().numpy()[:, 0], expected, atol=1e-5)
    assert probe.scores["validation/mae"] == pytest.approx(np.abs(expected - validation.targets.numpy()).mean())


def test_class_means_have_no_meaning() -> None:
    with pytest.raises(ConfigError, match="has no classes"):
        Regression(head=LinearHead(init="class_means"))


def test_ridge_predicts_brightness() -> None:
    list_of_numbers(120)
    assert main(["train", *COMMON, "strategy=ridge", "references=[raw_pixels]", "output_dir=runs"]) == 0
    (run,) = runs_below(Path("runs"))
    assert run["task"] == "regression"
    assert run["primary"] == {"name": "mae", "higher_is_better": False, "unit": ""}
    assert run["selection"]["on"] == "validation/mae"
    assert run["metrics"]["test/mae"] < 2.0  # a constant has about 5
    assert run["references"]["raw_pixels"]["test/mae"] < 2.0
    (file,) = Path("runs").rglob("predictions.csv")
    rows = list(csv.DictReader(file.open()))
    errors = [abs(float(row["target"]) - float(row["prediction"])) for row in rows]
    assert np.mean(errors) == pytest.approx(run["metrics"]["test/mae"], rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", GRADIENT)
def test_every_gradient_strategy_learns_numbers(strategy: str) -> None:
    list_of_numbers(30)
    own = {"surgical": ["strategy.train_stages=[stage2]"], "layer_transfer": ["strategy.stages=2"]}.get(strategy, [])
    assert main(["train", *COMMON, f"strategy={strategy}", *own, "trainer.max_epochs=1", "output_dir=runs"]) == 0
    (run,) = runs_below(Path("runs"))
    assert run["status"] == "finished"
    assert np.isfinite(run["metrics"]["test/mae"])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["strategy=knn"], "strategy=knn needs classes"),
        (["strategy=head_only", "dataset.labels_per_class=5"], "labels_per_class"),
        (["strategy=head_only", "dataset.balance=loss"], "dataset.balance"),
        (["strategy=head_only", "dataset=image_folder", "dataset.root=images"], "use dataset=csv"),
    ],
)
def test_what_needs_classes_is_refused(settings: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    list_of_numbers(40)
    assert main(["train", *COMMON, *settings, "output_dir=runs"]) == 2
    assert sentence in capsys.readouterr().err
