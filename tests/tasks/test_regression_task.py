"""Test the loss, scores, head and closed-form fit of regression."""

import csv
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
import torch
from conftest import SMALLEST, runs_below
from made_lists import list_of_numbers
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from sklearn.preprocessing import StandardScaler
from torch.nn import functional as F

from headstart.cli import main
from headstart.errors import ConfigError
from headstart.kinds import KINDS
from headstart.kinds.number_predictions import NumberPredictions
from headstart.records.predictions import read_predictions
from headstart.solvers.features import Features
from headstart.tasks import EpochScores, LinearHead, MlpHead, Regression
from headstart.tasks.bins import bin_edges, bin_loss
from headstart.tasks.heads import put_linear

COMMON = [
    "dataset=csv", "dataset.root=images/list.csv", "task=regression", "dataset.image_size=32", "dataset.num_workers=0",
    "backbone.weights=null", "trainer.accelerator=cpu", *SMALLEST,
]  # fmt: skip
GRADIENT = [
    "scratch", "finetune_all", "finetune_lower", "finetune_upper", "surgical", "gradual_unfreeze", "head_only",
    "bias_only", "norm_only", "lora", "adapters", "truncate", "l2_sp", "lp_ft", "wise_ft", "layer_transfer",
]  # fmt: skip


def test_the_loss_is_of_standardised_errors_and_the_score_is_r2() -> None:
    task = Regression(mean=100.0, deviation=10.0)
    outputs, targets = torch.tensor([[110.0], [90.0]]), torch.tensor([[100.0], [95.0]], dtype=torch.float64)
    assert float(task.loss(outputs, targets)) == pytest.approx((1.0 + 0.25) / 2)
    assert task.tally(outputs, targets).tolist() == [[110.0, 100.0], [90.0, 95.0]]
    assert task.score(outputs, targets) == pytest.approx({"loss": 0.625, "r2": r2_score(targets, outputs)})
    assert float(task.loss(outputs, task.soft(targets))) == pytest.approx(0.625)


@pytest.mark.parametrize("loss", ["mse", "mae", "huber", "bins"])
def test_r2_is_averaged_over_targets_and_the_same_over_batches(loss: str) -> None:
    rng = np.random.default_rng(0)
    targets = rng.normal((5, -200, 0.1), (1, 40, 0.01), (40, 3))
    task = Regression(
        targets.mean(0).tolist(), targets.std(0).tolist(), targets.min(0).tolist(), targets.max(0).tolist(), loss
    )
    head = task.make_head(4, 0)
    outputs = head(torch.randn(40, 4)).detach()
    assert outputs.shape == (40, 3 if loss != "bins" else 3 + 3 * 20)
    scores = EpochScores(task)
    for rows in (slice(0, 30), slice(30, 40)):
        part = torch.from_numpy(targets[rows])
        scores.update(outputs[rows], part, task.loss(outputs[rows], part))
    expected = r2_score(targets, outputs[:, :3].double().numpy(), multioutput="uniform_average")
    assert scores.compute()["r2"].item() == pytest.approx(expected, abs=1e-5)
    assert task.score(outputs, torch.from_numpy(targets))["r2"] == pytest.approx(expected, rel=1e-9)
    made = KINDS["regression"].predicted([str(n) for n in range(40)], targets, outputs, ["a", "b", "c"])
    assert made.per_image.mean() == pytest.approx(expected, rel=1e-9)


def test_bins_learn_a_number_and_keep_its_unit() -> None:
    values = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    targets = (1000 + 200 * values[:, :1]).double()
    task = Regression(1000.0, 200.0, float(targets.min()), float(targets.max()), "bins", 20)
    layers = task.make_head(3, 0)
    optimizer = torch.optim.Adam(layers.parameters(), lr=0.1)
    before = task.loss(layers(values), targets).item()
    for _ in range(150):
        optimizer.zero_grad()
        task.loss(layers(values), targets, training=True).backward()
        optimizer.step()
    assert task.loss(layers(values), targets).item() < 0.7 * before
    assert task.score(layers(values), targets)["r2"] > 0.95


def test_a_bin_holds_the_mass_of_the_gaussian_around_the_target() -> None:
    edges = bin_edges(torch.tensor([0.0], dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64), 12)
    assert (float(edges[0, 0]), float(edges[0, -1])) == pytest.approx((-0.1, 1.1))
    width, target = 0.1, 0.43
    norm = NormalDist(target, 0.75 * width)
    below = [norm.cdf(edge) for edge in edges[0].tolist()]
    shares = np.diff(below) / (below[-1] - below[0])
    logits = torch.randn(1, 1, 12, dtype=torch.float64)
    expected = -(shares * logits[0, 0].log_softmax(0).numpy()).sum()
    assert float(bin_loss(logits, torch.tensor([[target]]), edges)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("head", [LinearHead(), MlpHead(hidden=[8])])
def test_a_new_head_starts_at_the_mean_and_learns_any_unit(head: LinearHead) -> None:
    task = Regression(mean=1000.0, deviation=200.0, head=head)
    layers, values = task.make_head(6, 0), torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
    targets = 1000 + 200 * values[:, :1].double()
    assert (layers(values) - 1000).abs().mean() < 400
    optimizer = torch.optim.Adam(layers.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        task.loss(layers(values), targets, training=True).backward()
        optimizer.step()
    assert (layers(values) - targets).abs().mean() < 100  # half a deviation


def test_ridge_weights_are_scikit_learns() -> None:
    rng = torch.Generator().manual_seed(0)
    values = torch.randn(80, 5, generator=rng, dtype=torch.float64)
    targets = torch.stack([3 * values[:, 0] - values[:, 3] + 7, 100 * values[:, 1]], dim=1)
    targets = targets + 0.1 * torch.randn(80, 2, generator=rng, dtype=torch.float64)
    train, validation = Features(values[:50], targets[:50]), Features(values[50:], targets[50:])
    task = Regression(targets[:50].mean(0).tolist(), targets[:50].std(0).tolist())
    probe = task.fit_probe(train, validation, [0.1])
    scaler = StandardScaler().fit(train.values)
    theirs = SklearnRidge(alpha=0.1 * 50).fit(scaler.transform(train.values), train.targets)
    expected = theirs.predict(scaler.transform(validation.values))
    head = task.make_head(5, 0).double()
    put_linear(head, probe.weight, probe.bias)
    np.testing.assert_allclose(head(validation.values).detach().numpy(), expected, rtol=1e-5, atol=1e-5)
    assert probe.scores["validation/r2"] == pytest.approx(r2_score(validation.targets, expected))


def test_neighbours_give_the_mean_of_their_numbers() -> None:
    values = torch.randn(30, 4, generator=torch.Generator().manual_seed(1))
    targets = torch.randn(30, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    head = Regression([0.0, 0.0], [1.0, 1.0]).make_neighbours(values[:25], targets[:25], 5, 0.1)
    cosines = F.normalize(values[25:]) @ F.normalize(values[:25]).T
    weights, nearest = cosines.topk(5)
    weights = (weights / 0.1).softmax(1)
    expected = (weights[:, :, None] * targets[:25][nearest]).sum(1)
    torch.testing.assert_close(head(values[25:]), expected.float(), rtol=1e-5, atol=1e-5)


def test_class_means_have_no_meaning() -> None:
    with pytest.raises(ConfigError, match="has no classes"):
        Regression(head=LinearHead(init="class_means"))


@pytest.mark.parametrize("strategy", ["ridge", "knn"])
def test_solved_strategies_predict_brightness(strategy: str) -> None:
    list_of_numbers(120)
    assert main(["train", *COMMON, f"strategy={strategy}", "references=[raw_pixels]", "output_dir=runs"]) == 0
    (run,) = runs_below(Path("runs"))
    assert run["task"] == "regression"
    assert run["primary"] == {"name": "r2", "higher_is_better": True, "unit": ""}
    assert run["selection"]["on"] == "validation/r2"
    assert run["metrics"]["test/r2"] > 0.8
    assert run["references"]["raw_pixels"]["test/r2"] > 0.8
    (file,) = Path("runs").rglob("predictions.csv")
    rows = list(csv.DictReader(file.open()))
    found = r2_score(*([float(row[name]) for row in rows] for name in ("target", "prediction")))
    assert found == pytest.approx(run["metrics"]["test/r2"], rel=1e-6)


def test_several_numbers_are_predicted_reported_and_read_back(capsys: pytest.CaptureFixture[str]) -> None:
    list_of_numbers(120)
    common = [setting for setting in COMMON if not setting.startswith("dataset.root")]
    settings = ["dataset.root=images/list.csv", "dataset.targets=[label,dark]", "strategy=ridge", "output_dir=runs"]
    assert main(["train", *common, *settings]) == 0
    (run,) = runs_below(Path("runs"))
    assert run["classes"] == ["label", "dark"]
    (file,) = Path("runs").rglob("predictions.csv")
    found = read_predictions(file, KINDS["regression"])
    assert isinstance(found, NumberPredictions)
    assert file.read_text().startswith("number,id,target_label,prediction_label,target_dark,prediction_dark\n0,")
    np.testing.assert_allclose(found.targets[:, 1], -2 * found.targets[:, 0], rtol=1e-3)
    assert found.per_image.mean() == pytest.approx(run["metrics"]["test/r2"], rel=1e-6)
    capsys.readouterr()
    assert main(["report", "runs", "--out", "out", "--no-figures"]) == 0
    said = capsys.readouterr().out
    assert "R²" in said
    rows = list(csv.DictReader(Path("out/targets.csv").read_text().splitlines()))
    assert [row["target"] for row in rows] == ["label", "dark"]
    for column, row in enumerate(rows):
        truth, values = found.targets[:, column], found.values[:, column]
        assert float(row["r2"]) == pytest.approx(r2_score(truth, values))
        assert float(row["mae"]) == pytest.approx(mean_absolute_error(truth, values))
        assert float(row["rmse"]) == pytest.approx(root_mean_squared_error(truth, values))
    (line,) = csv.DictReader(Path("out/runs.csv").read_text().splitlines())
    assert float(line["test/mae_dark"]) == pytest.approx(float(rows[1]["mae"]))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["strategy=nearest_centroid"], "strategy=nearest_centroid does not support task=regression"),
        (["strategy=linear_probe"], "strategy=linear_probe does not support task=regression"),
        (["strategy=ridge", "task.loss=bins"], "task.loss=bins has none: use task.loss=mse"),
        (["strategy=head_only", "dataset.classes=[1,2]"], "dataset.classes"),
        (["strategy=head_only", "dataset.labels_per_class=5"], "labels_per_class"),
        (["strategy=head_only", "dataset.balance=loss"], "dataset.balance"),
        (["strategy=head_only", "dataset=image_folder", "dataset.root=images"], "use dataset=csv"),
    ],
)
def test_what_needs_classes_is_refused(settings: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    list_of_numbers(40)
    assert main(["train", *COMMON, *settings, "output_dir=runs"]) == 2
    assert sentence in capsys.readouterr().err
