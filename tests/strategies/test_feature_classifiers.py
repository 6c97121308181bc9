"""Test that classifiers on fixed features agree with scikit-learn's."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SMALLEST, TINY, make_strategy, make_trainer, runs_below
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neighbors import NearestCentroid as SklearnCentroid
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight
from torch.nn import functional as F

from headstart.augmentations import CropResize, Pipeline
from headstart.cli import main
from headstart.data import Digits
from headstart.errors import ConfigError
from headstart.features import FeatureSettings
from headstart.features.extract import extract
from headstart.solvers import blocks
from headstart.solvers.features import Features, joined
from headstart.solvers.neighbours import NearestNeighbours
from headstart.solvers.probe_fit import balanced_weights
from headstart.solvers.ridge import solve
from headstart.strategies import Knn, LinearProbe, NearestCentroid, Ridge
from headstart.strategies.solved import SolvedStrategy
from headstart.tasks import Classification, LinearHead, MlpHead
from headstart.training.reuse import frozen_data


def some_features(count: int, seed: int, dim: int = 20) -> Features:
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(count) % 4
    centres = torch.randn(4, dim, generator=torch.Generator().manual_seed(99))
    values = centres[targets] + 2 * torch.randn(count, dim, generator=generator) * torch.linspace(0.1, 2, dim)
    return Features(values, targets)


@pytest.mark.parametrize("count", [15, 200])  # fewer and more images than features
def test_ridge_solutions_are_scikit_learns(count: int) -> None:
    train = some_features(count, 0)
    values = train.values.double()
    scaled = StandardScaler().fit_transform(values.numpy())
    one_hot = np.eye(4)[train.targets.numpy()]
    for strength, weight, bias in solve(values, F.one_hot(train.targets, 4).double(), [10.0, 0.1, 1e-3]):
        theirs = SklearnRidge(alpha=strength * count, solver="svd").fit(scaled, one_hot)
        np.testing.assert_allclose((values @ weight.T + bias).numpy(), theirs.predict(scaled), atol=1e-8)


@pytest.mark.parametrize("neighbours", [1, 5, 17])
def test_neighbours_vote_as_scikit_learns_do(neighbours: int) -> None:
    train, test = some_features(120, 0), some_features(60, 1)
    head = NearestNeighbours(train.values, train.targets, 4, neighbours, temperature=0.07)
    theirs = KNeighborsClassifier(
        neighbours, metric="cosine", weights=lambda distance: np.exp(-distance / 0.07), algorithm="brute"
    ).fit(train.values.numpy(), train.targets.numpy())
    np.testing.assert_allclose(head(test.values).exp().numpy(), theirs.predict_proba(test.values.numpy()), atol=1e-4)


def test_training_scores_of_neighbours_leave_the_image_itself_out(digits: Digits, tmp_path: Path) -> None:
    strategy = make_strategy(Knn, neighbours=[1])
    strategy.fit(make_trainer(tmp_path), digits)
    assert pd.read_csv(tmp_path / "metrics.csv")["train/accuracy"][0] < 1
    values = extract(strategy.features, digits.train_eval_dataloader(), torch.device("cpu"))
    assert torch.equal(strategy.head(values.values).argmax(dim=1), values.targets)  # each is its own nearest


@pytest.mark.parametrize("cls", [Knn, Ridge, NearestCentroid, LinearProbe])
def test_the_best_on_validation_is_kept(cls: type[SolvedStrategy], digits: Digits, tmp_path: Path) -> None:
    strategy = make_strategy(cls)
    trainer = make_trainer(tmp_path)
    number = strategy.fit(trainer, digits)
    rows = pd.read_csv(tmp_path / "metrics.csv")
    best = rows.sort_values(["validation/accuracy", "validation/loss"], ascending=[False, True]).iloc[0]
    assert number == best["epoch"]
    told = trainer.validate(strategy, digits.val_dataloader(), verbose=False)[0]
    assert told["validation/accuracy"] == pytest.approx(best["validation/accuracy"], abs=1e-6)
    assert told["validation/loss"] == pytest.approx(best["validation/loss"], rel=1e-3)


def test_nearest_centroid_is_scikit_learns(digits: Digits, tmp_path: Path) -> None:
    strategy = make_strategy(NearestCentroid)
    strategy.fit(make_trainer(tmp_path), digits)
    train, test = (
        extract(strategy.features, loader, torch.device("cpu"))
        for loader in (digits.train_eval_dataloader(), digits.test_dataloader())
    )
    scaler = StandardScaler().fit(train.values.double().numpy())
    theirs = SklearnCentroid().fit(scaler.transform(train.values.double().numpy()), train.targets.numpy())
    ours = strategy.head(test.values).argmax(dim=1).numpy()
    assert (ours == theirs.predict(scaler.transform(test.values.double().numpy()))).mean() > 0.99


def test_averaged_views_are_means_over_views_of_the_same_images() -> None:
    common = [*SMALLEST, *TINY, "augmentation=crop_resize", "strategy=nearest_centroid"]
    assert main(["train", "-m", *common, "strategy.views=1,4", "output_dir=many"]) == 0
    one, four = sorted(runs_below(Path("many")), key=lambda run: run["features"]["splits"]["test"]["rows"])
    assert four["features"]["splits"]["test"]["rows"] == 4 * one["features"]["splits"]["test"]["rows"]
    assert four["metrics"]["test/loss"] != one["metrics"]["test/loss"]
    # asked again, all is found, and the numbers are the very same
    assert main(["train", *common, "strategy.views=4", "output_dir=many"]) == 0
    again = max(runs_below(Path("many")), key=lambda run: run["provenance"].get("started", run["features"]["hit"]))
    assert again["features"]["hit"]
    assert again["metrics"] == four["metrics"]


def test_hypercolumns_feed_a_probe(digits: Digits, tmp_path: Path) -> None:
    def features(**head: Any) -> torch.Tensor:
        strategy = make_strategy(LinearProbe, task=Classification(10, head=LinearHead(**head)))
        strategy.fit(make_trainer(tmp_path / str(head)), digits)
        return extract(strategy.features, digits.val_dataloader(), torch.device("cpu")).values

    joined = features(stages=["stage1", "stage3"], pooling="max")
    single = [features(stages=[name], pooling="max") for name in ("stage1", "stage3")]
    torch.testing.assert_close(joined, torch.cat(single, dim=1))


def test_rows_are_means_over_views(digits: Digits, tmp_path: Path) -> None:
    split = digits.train.with_views(Pipeline([CropResize()]), 7)
    data = copy.copy(digits)
    data.train, data.augmentation_seed = split, 7
    strategy = make_strategy(NearestCentroid, augmented=True, views=3)
    frozen = frozen_data(FeatureSettings(), tmp_path / "store", strategy, data, make_trainer(tmp_path))
    assert frozen is not None
    for name, seen in (("train_eval", split), ("val", digits.validation.with_views(Pipeline([CropResize()]), 7))):
        rows = extract(lambda x, entry: x, getattr(frozen, f"{name}_dataloader")(), torch.device("cpu")).values
        images = [
            torch.from_numpy(np.stack([seen.image(i, epoch) for i in range(len(seen))])).permute(0, 3, 1, 2)
            for epoch in range(3)
        ]
        with torch.no_grad():
            expected = sum(strategy.eval().features(view) for view in images) / 3
        torch.testing.assert_close(rows, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("cls", "kwargs", "message"),
    [
        (Knn, {"augmented": True}, "averag"),
        (Knn, {"views": 4}, "set one"),
        (Knn, {"views": 0, "augmented": True}, "strategy.views=0"),
        (Knn, {"neighbours": [0]}, "strategy.neighbours"),
        (Knn, {"temperature": 0}, "strategy.temperature"),
        (Ridge, {"l2": []}, "strategy.l2"),
        (LinearProbe, {"l2": [-1]}, "strategy.l2"),
    ],
)
def test_wrong_settings_are_refused(cls: type[SolvedStrategy], kwargs: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_strategy(cls, **kwargs)


@pytest.mark.parametrize("head", [MlpHead(), LinearHead(dropout=0.5), LinearHead(init="zeros")])
def test_only_a_plain_linear_head_is_computed(head: LinearHead) -> None:
    with pytest.raises(ConfigError, match=r"strategy=ridge"):
        make_strategy(Ridge, task=Classification(10, head=head))


def test_views_need_kept_features(capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        *SMALLEST,
        *TINY,
        "augmentation=crop_resize",
        "strategy=ridge",
        "strategy.views=2",
        "features.enabled=false",
    ]
    assert main(["train", *command]) == 2
    assert "features.enabled is false" in capsys.readouterr().err


def test_neighbours_have_nothing_to_train() -> None:
    plan = make_strategy(Knn).plan.groups
    assert sum(group.size_trained for group in plan) == 0
    assert next(group for group in plan if group.name == "head").size == 0


def long_tail(seed: int, dim: int = 12) -> Features:
    """Return 60, 20, 12 and 4 images of four classes."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(4).repeat_interleave(torch.tensor([60, 20, 12, 4]))
    centres = torch.randn(4, dim, generator=torch.Generator().manual_seed(99))
    return Features(centres[targets] + 2 * torch.randn(96, dim, generator=generator), targets)


@pytest.mark.parametrize("dim", [12, 150])  # fewer and more features than images
def test_balanced_ridge_is_scikit_learns(dim: int) -> None:
    train, l2 = long_tail(0, dim), 0.3
    weights, values = balanced_weights(train.targets, 4), train.values.double()
    ((_, weight, bias),) = solve(values, F.one_hot(train.targets, 4).double(), [l2], weights)
    scaled = StandardScaler().fit_transform(values.numpy())
    theirs = RidgeClassifier(alpha=l2 * 96, class_weight="balanced").fit(scaled, train.targets.numpy())
    ours = 2 * (values @ weight.T + bias) - 1  # its targets are -1 and 1
    np.testing.assert_allclose(ours.numpy(), theirs.decision_function(scaled), atol=1e-6)
    for flat, plain in zip(
        next(solve(values, F.one_hot(train.targets, 4).double(), [l2], torch.ones(96).double())),
        next(solve(values, F.one_hot(train.targets, 4).double(), [l2])),
        strict=True,
    ):
        np.testing.assert_allclose(flat, plain, atol=1e-8)


def test_balanced_votes_weigh_by_class() -> None:
    train, test = long_tail(0), long_tail(1)
    head = NearestNeighbours(train.values, train.targets, 4, 17, 0.07, balanced=True)
    cosines, labels = head.nearest(test.values, 17)
    of_class = compute_sample_weight("balanced", train.targets.numpy())[[0, 60, 80, 92]]
    votes = np.exp(cosines.numpy() / 0.07) * of_class[labels.numpy()]
    shares = np.stack([(votes * (labels.numpy() == label)).sum(axis=1) for label in range(4)], axis=1)
    shares /= shares.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(head(test.values).exp().numpy(), shares, atol=1e-4)


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("cls", [Knn, Ridge, NearestCentroid, LinearProbe])
def test_a_refit_takes_both_splits_and_the_setting_that_was_chosen(
    cls: type[SolvedStrategy], balanced: bool, digits: Digits, tmp_path: Path
) -> None:
    once, refitted = make_strategy(cls), make_strategy(cls, refit=True)
    if balanced and cls is not NearestCentroid:
        for strategy in (once, refitted):
            strategy.task.class_weights = torch.linspace(0.5, 1.5, 10)
    numbers = [s.fit(make_trainer(tmp_path / str(n)), digits) for n, s in enumerate((once, refitted))]
    assert numbers[0] == numbers[1]
    before = once.state_dict()
    for name, tensor in refitted.state_dict().items():  # what is validated is the fit before
        assert torch.equal(tensor, before[name])
    once.refit()  # does nothing where it is not asked for
    refitted.refit()
    for name, tensor in once.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert refitted.selected == {"refit": True, "refit_images": len(digits.train) + len(digits.validation)}
    images = joined(
        *(extract(refitted.features, loader, torch.device("cpu")) for loader in
          (digits.train_eval_dataloader(), digits.val_dataloader()))
    )  # fmt: skip
    row = pd.read_csv(tmp_path / "0" / "metrics.csv").iloc[numbers[0]]
    chosen = {} if cls is NearestCentroid else {once.picked: [row[once.picked]]}
    alone = make_strategy(cls, **({k: [int(v[0])] for k, v in chosen.items()} if cls is Knn else chosen))
    alone.task.class_weights = refitted.task.class_weights
    alone.compute_head(images, images, lambda number, row: None)
    ours, theirs = (strategy.head(images.values).argmax(dim=1) for strategy in (refitted, alone))
    assert (ours == theirs).float().mean() > 0.995
    assert (ours != once.head(images.values).argmax(dim=1)).any()
    if cls is Knn:
        assert torch.equal(refitted.head.memory, alone.head.memory)


def test_votes_are_scored_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The votes of all images for all classes are never held together."""
    train, validation = some_features(300, 0), some_features(200, 1)
    rows: list[list[dict[str, float]]] = [[], []]
    most = []
    votes = NearestNeighbours.votes

    def seen(self: NearestNeighbours, cosines: torch.Tensor, labels: torch.Tensor, count: int) -> torch.Tensor:
        most.append(len(cosines))
        return votes(self, cosines, labels, count)

    for number, limit in enumerate((blocks.BLOCK, 4 * 64)):
        monkeypatch.setattr(blocks, "BLOCK", limit)
        monkeypatch.setattr(NearestNeighbours, "votes", seen)
        most.clear()
        strategy = make_strategy(Knn, task=Classification(4))
        strategy.compute_head(train, validation, lambda _, row, into=rows[number]: into.append(row))
    assert max(most) == 64
    for found, expected in zip(*rows, strict=True):
        assert found == pytest.approx(expected, rel=1e-12)
