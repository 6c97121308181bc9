"""Test the task of a number for each pixel: loss and R² over pixels with a number, and a head solved on pixels."""

import numpy as np
import pytest
import torch
from conftest import toy_backbone
from sklearn.metrics import r2_score
from torch.nn import functional as F

from headstart.errors import ConfigError
from headstart.solvers.features import Features
from headstart.tasks import DenseRegression, MlpHead, UpconvHead
from headstart.tasks.heads import put_linear
from headstart.tasks.pixel_probe import scores_of

SIDE = 16
GENERATOR = torch.Generator().manual_seed(0)
TARGETS = 20 + 5 * torch.randn(4, 6, 6, generator=GENERATOR)
TARGETS[:, 0] = float("nan")
OUTPUTS = TARGETS.nan_to_num(0)[:, None] + torch.randn(4, 1, 6, 6, generator=GENERATOR)
KNOWN = ~TARGETS.isnan()


@pytest.mark.parametrize(("name", "function"), [("mse", F.mse_loss), ("mae", F.l1_loss), ("huber", F.huber_loss)])
def test_the_loss_is_over_pixels_with_a_number(name: str, function) -> None:
    task = DenseRegression(mean=20, deviation=5, loss=name)
    expected = function(OUTPUTS[:, 0][KNOWN] / 5, TARGETS[KNOWN] / 5)
    torch.testing.assert_close(task.loss(OUTPUTS, TARGETS), expected)
    outputs = OUTPUTS.clone().requires_grad_()
    task.loss(outputs, TARGETS, training=True).backward()
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()
    assert (outputs.grad[:, 0][~KNOWN] == 0).all()
    assert float(task.loss(OUTPUTS, torch.full_like(TARGETS, float("nan")))) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_r_squared_is_that_of_all_pixels(dtype: torch.dtype) -> None:
    task, outputs = DenseRegression(mean=20, deviation=5), OUTPUTS.to(dtype)
    parts = torch.cat([task.tally(outputs[:3], TARGETS[:3]), task.tally(outputs[3:], TARGETS[3:])])
    expected = r2_score(TARGETS[KNOWN].numpy(), outputs[:, 0][KNOWN].float().numpy())
    assert task.primary_of(parts) == pytest.approx(expected, abs=1e-6)
    assert task.loss(outputs, TARGETS).dtype == torch.float32
    kept = task.score_kept(task.kept(outputs), TARGETS.numpy())
    assert kept["r2"] == pytest.approx(expected, abs=1e-6)


def test_a_ridge_on_pixels_finds_a_linear_rule() -> None:
    task = DenseRegression(mean=100, deviation=3)
    backbone = task.head.read(toy_backbone()).eval()
    head = task.make_head(backbone.feature_dim, 0)
    with torch.no_grad():
        rows = backbone(torch.randn(6, 3, SIDE, SIDE, generator=GENERATOR))
        targets = head(rows)[:, 0]
    targets[:, :2] = float("nan")
    found = task.fit_probe(Features(rows, targets), Features(rows, targets))
    assert found.scores["validation/r2"] > 0.999
    other = task.make_head(backbone.feature_dim, 1)
    put_linear(other, found.weight, found.bias)
    assert scores_of(task, other, Features(rows, targets))["r2"] == pytest.approx(
        found.scores["validation/r2"], abs=1e-5
    )


def test_heads_give_numbers_in_the_unit_of_the_targets() -> None:
    for settings in (None, UpconvHead(width=8)):
        task = DenseRegression(mean=1000, deviation=10, head=settings)
        backbone = task.head.read(toy_backbone()).eval()
        head = task.make_head(backbone.feature_dim, 0)
        outputs = head(backbone(torch.randn(2, 3, SIDE, SIDE, generator=GENERATOR)))
        assert outputs.shape == (2, 1, SIDE, SIDE)
        assert (outputs - 1000).abs().max() < 100


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"loss": "bins"}, "task.loss=bins: task=dense_regression has mse, mae, huber"),
        ({"head": MlpHead()}, "task=dense_regression needs head=linear or head=upconv"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        DenseRegression(**settings)


def test_constant_targets_do_not_divide_by_zero() -> None:
    task = DenseRegression(mean=3, deviation=0)
    assert np.isfinite(float(task.loss(OUTPUTS, TARGETS)))
