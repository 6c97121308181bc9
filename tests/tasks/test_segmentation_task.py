"""A class for each pixel: loss and tallies leave out pixels without a class; heads and probes are what they claim."""

import numpy as np
import pytest
import torch
from conftest import toy_backbone
from sklearn.metrics import jaccard_score
from torch.nn import functional as F

from headstart.errors import ConfigError
from headstart.solvers.features import Features
from headstart.solvers.overlaps import mean_iou, tallies_of
from headstart.tasks import CosineHead, DenseHead, LinearHead, Segmentation, UpconvHead
from headstart.tasks.dense_heads import resized
from headstart.tasks.heads import put_linear
from headstart.tasks.pixel_probe import fit_pixels, pixel_rows, scores_of

CLASSES, SIDE = 4, 16


@pytest.fixture
def outputs() -> torch.Tensor:
    return torch.randn(5, CLASSES, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def targets() -> torch.Tensor:
    return torch.randint(-1, CLASSES, (5, SIDE, SIDE), generator=torch.Generator().manual_seed(1))


def test_loss_is_the_mean_over_pixels_with_a_class(outputs: torch.Tensor, targets: torch.Tensor) -> None:
    task = Segmentation(CLASSES)
    valid = targets >= 0
    expected = F.cross_entropy(outputs.permute(0, 2, 3, 1)[valid], targets[valid])
    torch.testing.assert_close(task.loss(outputs, targets), expected)
    torch.testing.assert_close(task.loss(outputs, task.soft(targets)), expected)
    assert float(task.loss(outputs, torch.full_like(targets, -1))) == 0


def test_class_weights_and_dice_count_in_training_alone(outputs: torch.Tensor, targets: torch.Tensor) -> None:
    plain = Segmentation(CLASSES)
    weighed = Segmentation(CLASSES, class_weights=[0.0, 0.0, 0.0, 4.0])
    only = torch.where(targets == 3, targets, -1)
    share = float((targets == 3).sum() / (targets >= 0).sum())
    torch.testing.assert_close(weighed.loss(outputs, targets, True), 4 * share * plain.loss(outputs, only))
    torch.testing.assert_close(weighed.loss(outputs, targets), plain.loss(outputs, targets))
    dice = Segmentation(CLASSES, dice=1.0)
    assert float(dice.loss(outputs, targets, True)) > float(plain.loss(outputs, targets, True))
    sure = 100 * plain.soft(targets)
    assert float(dice.loss(sure, targets, True)) == pytest.approx(0, abs=1e-5)
    assert float(dice.loss(-sure, targets, True) - plain.loss(-sure, targets)) == pytest.approx(1, abs=1e-5)


def test_tallies_give_the_mean_iou_of_all_pixels(outputs: torch.Tensor, targets: torch.Tensor) -> None:
    task = Segmentation(CLASSES)
    tallies = task.tally(outputs, targets)
    said, valid = outputs.argmax(dim=1), targets >= 0
    expected = jaccard_score(targets[valid], said[valid], average="macro")
    assert task.primary_of(tallies) == pytest.approx(expected, abs=1e-12)
    assert task.score(outputs, targets)["mean_iou"] == pytest.approx(expected, abs=1e-12)
    assert task.score_kept(task.kept(outputs), targets.numpy())["mean_iou"] == pytest.approx(expected, abs=1e-12)
    assert (tallies_of(said.numpy(), targets.numpy(), CLASSES) == tallies.numpy()).all()
    torch.testing.assert_close(task.tally(outputs, task.soft(targets)), tallies.float())


def test_a_class_that_is_nowhere_does_not_count(outputs: torch.Tensor) -> None:
    outputs[:, 3] = -100
    targets = torch.zeros(5, SIDE, SIDE, dtype=torch.int64)
    task = Segmentation(CLASSES)
    assert mean_iou(task.tally(outputs, targets).numpy()) == pytest.approx(
        float((outputs.argmax(dim=1) == 0).double().mean()) / 3
    )


def test_linear_weighs_the_joined_maps() -> None:
    """Weighing each stage at its own size is the same as weighing the enlarged and joined maps."""
    head = DenseHead()
    backbone = head.read(toy_backbone()).eval()
    layers = head.make(backbone.feature_dim, CLASSES, 0)
    rows = backbone(torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)))
    maps = layers.rows.split(rows)
    joined = torch.cat([resized(one, max(x.shape[-1] for x in maps)) for one in maps], dim=1)
    expected = resized(F.conv2d(joined, layers.weight[:, :, None, None], layers.bias), SIDE)
    torch.testing.assert_close(layers(rows), expected)
    assert layers(rows).shape == (2, CLASSES, SIDE, SIDE)


def test_upconv_gives_every_pixel_an_output_and_trains_every_weight() -> None:
    head = UpconvHead(width=8)
    backbone = head.read(toy_backbone())
    layers = head.make(backbone.feature_dim, CLASSES, 0)
    again = head.make(backbone.feature_dim, CLASSES, 0)
    outputs = layers(backbone(torch.randn(2, 3, SIDE, SIDE)))
    assert outputs.shape == (2, CLASSES, SIDE, SIDE)
    outputs.square().sum().backward()
    for (name, one), other in zip(layers.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other), name
        assert one.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        (CosineHead(), "head=cosine has one output per image: task=segmentation needs head=linear or head=upconv"),
        (LinearHead(pooling="max"), "head.pooling=max: task=segmentation reads maps without pooling"),
        (LinearHead(init="class_means"), "task=segmentation has no class means"),
    ],
)
def test_heads_of_images_are_refused(head: LinearHead, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Segmentation(CLASSES, head=head)


def test_a_width_that_has_no_groups_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"head.width=20: expected a multiple of 8"):
        UpconvHead(width=20)


@pytest.fixture
def dense() -> tuple[Segmentation, torch.nn.Module, Features]:
    """Return a task, its linear layers, and features from which the labels follow but for noise."""
    task = Segmentation(3)
    backbone = task.head.read(toy_backbone()).eval()
    layers = task.make_head(backbone.feature_dim, 0)
    with torch.no_grad():
        rows = backbone(torch.randn(6, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)))
        labels = (layers(rows) - layers(rows).mean(dim=(0, 2, 3), keepdim=True)).argmax(dim=1)
    labels[:, :2] = -1
    return task, layers, Features(rows, labels)


def test_sampled_pixels_are_those_that_the_head_sees(dense: tuple[Segmentation, torch.nn.Module, Features]) -> None:
    task, layers, features = dense
    everything = pixel_rows(task, layers, features, most=10**6)
    assert len(everything.targets) == int((features.targets >= 0).sum())
    few = pixel_rows(task, layers, features, most=60)
    assert few.values.shape == (60, layers.weight.shape[1])
    outputs = layers(features.values).permute(0, 2, 3, 1)[features.targets >= 0].double()
    own = everything.values @ layers.weight.double().T + layers.bias.double()
    torch.testing.assert_close(own.sort(dim=0).values, outputs.sort(dim=0).values, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("loss", ["logistic", "hinge", "ridge"])
def test_probes_find_a_linear_rule(dense: tuple[Segmentation, torch.nn.Module, Features], loss: str) -> None:
    task, layers, features = dense
    rows: list[dict[str, float]] = []
    probe = fit_pixels(task, layers, features, features, [1.0, 1e-3], lambda number, row: rows.append(row), loss)
    assert [row["l2"] for row in rows] == [1.0, 1e-3]
    assert probe.scores["validation/mean_iou"] == max(row["validation/mean_iou"] for row in rows) > 0.6
    put_linear(layers, probe.weight, probe.bias)
    found = scores_of(task, layers, features)
    assert found["mean_iou"] == pytest.approx(probe.scores["validation/mean_iou"], abs=1e-6)
    with torch.no_grad():
        expected = float(task.loss(layers(features.values), features.targets))
    assert found["loss"] == pytest.approx(expected, rel=1e-5)


def test_balanced_probes_weigh_classes_equally(dense: tuple[Segmentation, torch.nn.Module, Features]) -> None:
    _, layers, features = dense
    rare = features.targets == 2
    labels = torch.where(
        rare & (torch.rand(rare.shape, generator=torch.Generator().manual_seed(0)) > 0.1), 0, features.targets
    )
    changed = Features(features.values, labels)
    recalls = []
    for weights in (None, np.ones(3)):
        task = Segmentation(3, class_weights=weights)
        probe = fit_pixels(task, layers, changed, changed, [1e-3], lambda number, row: None)
        put_linear(layers, probe.weight, probe.bias)
        recalls.append(float((layers(features.values).argmax(dim=1) == 2)[labels == 2].double().mean()))
    assert recalls[1] > recalls[0] + 0.2
