"""Several labels an image: loss, scores, views, probes, and runs from a list to a report."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALLEST, runs_below
from made_lists import list_of_labels
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.preprocessing import StandardScaler
from torch.nn import functional as F

from headstart.cli import main
from headstart.errors import ConfigError
from headstart.kinds import KINDS
from headstart.kinds.label_set_predictions import LabelSetPredictions
from headstart.records.predictions import read_predictions
from headstart.solvers.features import Features
from headstart.tasks import EpochScores, LinearHead, Multilabel
from headstart.tasks.heads import put_linear

COMMON = [
    "dataset=csv", "dataset.root=images/list.csv", "task=multilabel", "dataset.image_size=32", "dataset.num_workers=0",
    "backbone.weights=null", "trainer.accelerator=cpu", *SMALLEST,
]  # fmt: skip


def drawn(count: int = 80, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    targets = (torch.rand(count, 3, generator=rng) < torch.tensor([0.6, 0.3, 0.1])).float()
    return 2 * targets - 1 + torch.randn(count, 3, generator=rng), targets


def test_scores_over_batches_are_those_of_all_images() -> None:
    task, (logits, targets) = Multilabel(3), drawn()
    scores = EpochScores(task)
    for rows in (slice(0, 50), slice(50, 80)):
        scores.update(logits[rows], targets[rows], task.loss(logits[rows], targets[rows]))
    expected = average_precision_score(targets, logits, average="macro")
    values = scores.compute()
    assert values["map"].item() == pytest.approx(expected, abs=1e-12)
    assert values["loss"].item() == pytest.approx(F.binary_cross_entropy_with_logits(logits, targets).item(), rel=1e-6)
    assert task.score(logits, targets)["map"] == pytest.approx(expected, abs=1e-12)
    assert KINDS["multilabel"].predicted([], targets.numpy(), logits, "abc").per_image.mean() == pytest.approx(expected)


def test_positives_weigh_more_in_training_alone() -> None:
    logits, targets = drawn()
    task = Multilabel(3, pos_weight=[1.0, 2.0, 9.0])
    plain = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    torch.testing.assert_close(task.loss(logits, targets), plain.mean())
    weights = 1 + targets * (torch.tensor([1.0, 2.0, 9.0]) - 1)
    torch.testing.assert_close(task.loss(logits, targets, training=True), (weights * plain).mean())


def test_mixed_labels_mix_the_loss() -> None:
    task, (logits, targets) = Multilabel(3), drawn()
    other = targets.flip(0)
    mixed = task.loss(logits, 0.3 * task.soft(targets) + 0.7 * task.soft(other))
    torch.testing.assert_close(mixed, 0.3 * task.loss(logits, targets) + 0.7 * task.loss(logits, other))


def test_views_are_averaged_as_probabilities_and_their_spread_is_a_divergence() -> None:
    task, logits = Multilabel(3), torch.randn(4, 10, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(task.mean_over_views(logits).sigmoid(), logits.sigmoid().mean(dim=0))
    p = logits.sigmoid()
    mean = p.mean(dim=0, keepdim=True)
    divergence = p * (p / mean).log() + (1 - p) * ((1 - p) / (1 - mean)).log()
    torch.testing.assert_close(task.spread_over_views(logits), divergence.mean())
    assert float(task.spread_over_views(logits[:1].expand(3, -1, -1))) == pytest.approx(0, abs=1e-7)


def test_the_probe_is_a_logistic_regression_for_each_label() -> None:
    rng = torch.Generator().manual_seed(0)
    values = torch.randn(120, 5, generator=rng, dtype=torch.float64)
    targets = ((values @ torch.randn(5, 3, generator=rng, dtype=torch.float64) - 1) > 0).float()
    train, validation = Features(values[:80], targets[:80]), Features(values[80:], targets[80:])
    for balanced in (False, True):
        task = Multilabel(3, pos_weight=[1.0] * 3 if balanced else None)
        probe = task.fit_probe(train, validation, [0.03])
        head = task.make_head(5, 0).double()
        put_linear(head, probe.weight, probe.bias)
        scaler = StandardScaler().fit(train.values)
        for label in range(3):
            y = train.targets[:, label].numpy()
            weight = {0: 1.0, 1: (80 - y.sum()) / y.sum()} if balanced else None
            theirs = LogisticRegression(C=1 / (0.03 * 80), tol=1e-9, max_iter=1000, class_weight=weight)
            expected = theirs.fit(scaler.transform(train.values), y).decision_function(
                scaler.transform(validation.values)
            )
            np.testing.assert_allclose(head(validation.values)[:, label].detach().numpy(), expected, atol=0.02)
        found = average_precision_score(validation.targets, head(validation.values).detach(), average="macro")
        assert probe.scores["validation/map"] == pytest.approx(found)


def test_neighbours_give_the_share_of_each_label() -> None:
    values = torch.randn(30, 4, generator=torch.Generator().manual_seed(1))
    targets = (torch.rand(30, 2, generator=torch.Generator().manual_seed(2)) < 0.5).float()
    head = Multilabel(2).make_neighbours(values[:25], targets[:25], 5, 0.1)
    weights, nearest = (F.normalize(values[25:]) @ F.normalize(values[:25]).T).topk(5)
    shares = ((weights / 0.1).softmax(1)[:, :, None] * targets[:25][nearest]).sum(1)
    torch.testing.assert_close(head(values[25:]).sigmoid(), shares, atol=1e-5, rtol=1e-4)
    assert head(values[25:]).isfinite().all()


def test_class_means_have_no_meaning() -> None:
    with pytest.raises(ConfigError, match="no single class"):
        Multilabel(3, head=LinearHead(init="class_means"))


@pytest.mark.parametrize("settings", [["strategy=linear_probe"], ["strategy=ridge"], ["strategy=knn"]])
def test_solved_strategies_find_the_colours(settings: list[str]) -> None:
    list_of_labels(90)
    assert main(["train", *COMMON, *settings, "references=[raw_pixels]", "output_dir=runs"]) == 0
    (run,) = runs_below(Path("runs"))
    assert (run["task"], run["classes"]) == ("multilabel", ["blue", "green", "red"])
    assert run["primary"] == {"name": "map", "higher_is_better": True, "unit": "%"}
    assert run["metrics"]["test/map"] > 0.75  # chance is about 0.4
    assert run["references"]["raw_pixels"]["test/map"] > 0.9
    (file,) = Path("runs").rglob("predictions.csv")
    found = read_predictions(file, KINDS["multilabel"])
    assert isinstance(found, LabelSetPredictions)
    expected = average_precision_score(found.targets, found.values, average="macro")
    assert run["metrics"]["test/map"] == pytest.approx(expected, abs=1e-9)


def test_columns_give_the_same_run_as_lists_and_the_report_names_labels(capsys: pytest.CaptureFixture[str]) -> None:
    list_of_labels(90)
    columns = "dataset.targets=[blue,green,red]"
    for number, own in enumerate(([], [columns])):
        assert main(["train", *COMMON, *own, "strategy=linear_probe", f"output_dir=runs{number}"]) == 0
    first, second = (runs_below(Path(f"runs{number}"))[0] for number in range(2))
    assert first["metrics"] == second["metrics"]
    capsys.readouterr()
    assert main(["report", "runs0", "--out", "out", "--no-figures"]) == 0
    said = capsys.readouterr().out
    assert "test mAP (%)" in said
    assert "macro F1 (%)" in said
    rows = list(csv.DictReader(Path("out/labels.csv").read_text().splitlines()))
    assert [row["label"] for row in rows] == ["blue", "green", "red"]
    mean = np.mean([float(row["average_precision"]) for row in rows])
    assert mean == pytest.approx(first["metrics"]["test/map"])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["strategy=nearest_centroid"], "strategy=nearest_centroid does not support task=multilabel"),
        (["strategy=ridge", "dataset.balance=loss"], "use strategy=linear_probe"),
        (["strategy=knn", "dataset.balance=loss"], "use strategy=linear_probe"),
        (["strategy=head_only", "dataset.balance=sampler"], "dataset.balance"),
        (["strategy=head_only", "dataset.labels_per_class=5"], "labels_per_class"),
        (["strategy=head_only", "dataset.classes=[a,b]"], "dataset.classes"),
        (["strategy=head_only", "head.init=class_means"], "head.init=class_means"),
        (["strategy=head_only", "dataset=image_folder", "dataset.root=images"], "use dataset=csv"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    list_of_labels(40)
    assert main(["train", *COMMON, *settings, "output_dir=runs"]) == 2
    assert sentence in capsys.readouterr().err
