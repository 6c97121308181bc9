"""Test the start and the output of heads."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import StandardScaler
from torch import nn

from headstart.errors import ConfigError
from headstart.solvers.centroids import class_means, nearest_mean, standardisation
from headstart.tasks import CosineHead, LinearHead, MlpHead
from headstart.tasks.heads import CosineLayer, output_layer, start_from_class_means


def some_features(count: int = 90, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(count) % classes
    centres = torch.randn(classes, 12, generator=generator)
    return centres[targets] + torch.randn(count, 12, generator=generator) * torch.linspace(0.2, 3, 12), targets


def test_a_linear_head_is_pytorchs_own() -> None:
    with torch.random.fork_rng():
        head = LinearHead().make(12, 3, seed=5)
        again = LinearHead().make(12, 3, seed=5)
    assert isinstance(head, nn.Linear)
    assert torch.equal(head.weight, again.weight)
    assert head.weight.abs().max() <= 12**-0.5  # PyTorch's uniform bound
    assert not torch.equal(head.weight, LinearHead().make(12, 3, seed=6).weight)


@pytest.mark.parametrize(("init", "deviation"), [("zeros", 0.0), ("gaussian", 0.01)])
@pytest.mark.parametrize("maker", [LinearHead, MlpHead])
def test_starts(maker: type[LinearHead], init: str, deviation: float) -> None:
    layer = output_layer(maker(init=init).make(4000, 10, seed=0))
    assert float(layer.weight.detach().std()) == pytest.approx(deviation, rel=0.05)
    assert not layer.bias.any()  # type: ignore[union-attr, operator]


def test_class_means_decide_as_nearest_centroids_do() -> None:
    values, targets = some_features()
    head = LinearHead(init="class_means").make(12, 3, seed=0)
    start_from_class_means(head, values, targets)
    scaled = StandardScaler().fit_transform(values.numpy())
    expected = NearestCentroid().fit(scaled, targets.numpy()).predict(scaled)
    assert np.array_equal(head(values).argmax(dim=1).numpy(), expected)
    weight, bias = nearest_mean(values, targets, 3)
    best = float(nn.functional.cross_entropy(values.double() @ weight.T + bias, targets))
    for factor in (0.7, 1.4):
        assert best < float(nn.functional.cross_entropy(factor * (values.double() @ weight.T + bias), targets))


def test_a_cosine_head_is_blind_to_length_and_starts_from_means() -> None:
    values, targets = some_features()
    head = CosineHead(init="class_means", scale=10).make(12, 3, seed=0)
    assert isinstance(head, CosineLayer)
    start_from_class_means(head, values, targets)
    torch.testing.assert_close(head(values), head(7 * values))
    means = class_means(values, targets, 3).float()
    expected = 10 * nn.functional.cosine_similarity(values[:, None], means[None], dim=2)
    torch.testing.assert_close(head(values), expected)


def test_dropout_acts_in_training_only() -> None:
    values = torch.ones(8, 12)
    for maker in (LinearHead(dropout=0.5), MlpHead(hidden=[16, 8], dropout=0.5), CosineHead(dropout=0.5)):
        head = maker.make(12, 3, seed=0)
        assert not torch.equal(head.train()(values), head(values))
        assert torch.equal(head.eval()(values), head(values))


def test_hidden_layers() -> None:
    head = MlpHead(hidden=[16, 8]).make(12, 3, seed=0)
    shapes = [tuple(p.shape) for name, p in head.named_parameters() if name.endswith("weight")]
    assert shapes == [(16, 12), (8, 16), (3, 8)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LinearHead(dropout=1.0), r"head.dropout=1.0"),
        (lambda: LinearHead(init="gausian"), r"Did you mean 'gaussian'\?"),
        (lambda: MlpHead(init="class_means"), "head.init=class_means does not exist for head=mlp"),
        (lambda: MlpHead(hidden=[1, 2, 3]), "one or two widths"),
        (lambda: MlpHead(hidden=[0]), "one or two widths"),
        (lambda: CosineHead(scale=0), r"head.scale=0"),
        (lambda: CosineHead(init="zeros"), "does not exist for head=cosine"),
    ],
)
def test_wrong_settings_are_refused(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_feature_that_one_image_hardly_excites_does_not_outweigh_the_others() -> None:
    values = torch.randn(40, 9, generator=torch.Generator().manual_seed(0))
    values[:, 0] = 0
    values[3, 0] = 1e-4
    mean, std = standardisation(values)
    plain = values.double().std(dim=0, correction=0)
    assert torch.equal(std[1:], plain[1:])
    assert std[0] == plain.median() / 100 > 50 * plain[0]
    assert ((0.1 - mean[0]) / std[0]).abs() < 12
