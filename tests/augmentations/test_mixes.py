"""Test mixes: targets are mixed in the same proportions as images."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.augmentations import Augmentation, CutMix, ManifoldMixup, Mix, Mixup, MixupOrCutMix
from headstart.errors import ConfigError

WAYS: list[Mix] = [Mixup(1.0), CutMix(1.0), MixupOrCutMix(), Mixup(share=0.5)]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(WAYS), st.integers(2, 9), st.integers(1, 12), st.integers(1, 12), st.integers(0, 999))
def test_targets_match_the_share_of_pixels(mix: Mix, count: int, height: int, width: int, seed: int) -> None:
    # Image i is one-hot over channels, so a channel's mean is the share of image i in the mixture.
    images = torch.eye(count)[:, :, None, None].expand(count, count, height, width).clone()
    mixing = mix.draw(np.random.default_rng(seed), count, (height, width))
    mixed, targets = mixing.inputs(images), mixing.targets(torch.eye(count))
    torch.testing.assert_close(mixed.mean(dim=(2, 3)), targets, atol=1e-5, rtol=0)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(count))


def test_shares_are_from_the_beta_distribution_and_batches_may_stay_as_they_are() -> None:
    rng = np.random.default_rng(0)
    shares = np.array([Mixup(0.4).draw(rng, 4, (8, 8)).share for _ in range(4000)])
    assert abs(shares.mean() - 0.5) < 0.02
    assert abs(shares.var() - 0.25 / 1.8) < 0.01  # of Beta(a, a): 1 / (4 (2 a + 1))
    seldom = [CutMix(share=0.25).draw(rng, 4, (8, 8)) for _ in range(2000)]
    assert 0.2 < np.mean([mixing.share < 1 or mixing.box is not None for mixing in seldom]) < 0.3


def test_a_batch_is_mixed_by_mixup_or_by_cutmix() -> None:
    rng = np.random.default_rng(0)
    boxes = [MixupOrCutMix(cutmix=0.3).draw(rng, 4, (8, 8)).box is not None for _ in range(2000)]
    assert 0.26 < np.mean(boxes) < 0.34


def test_manifold_mixup_draws_its_stage() -> None:
    mix = ManifoldMixup(stages=["input", "stage1", "stage3"])
    Augmentation({"manifold_mixup": mix}).settle(["stem", "stage1", "stage2", "stage3"], 3)
    rng = np.random.default_rng(0)
    stages = [mix.draw(rng, 4, (8, 8)).stage for _ in range(900)]
    for stage in (None, "stage1", "stage3"):
        assert 0.28 < stages.count(stage) / 900 < 0.39
    default = ManifoldMixup()
    Augmentation({"manifold_mixup": default}).settle(["stem", "stage1", "stage2", "stage3"], 3)
    assert default.stages == ["input", "stem", "stage1"]


@pytest.mark.parametrize(
    ("stages", "read_from", "message"),
    [
        (["stage9"], 3, "no stage 'stage9'"),
        (["stage2"], 1, "the head reads stage1, which lies below stage2"),
    ],
)
def test_stages_that_cannot_be_mixed_are_refused(stages: list[str], read_from: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Augmentation({"manifold_mixup": ManifoldMixup(stages=stages)}).settle(
            ["stem", "stage1", "stage2", "stage3"], read_from
        )


def test_rows_of_a_batch_are_mixed_as_in_the_whole() -> None:
    images = torch.rand(6, 3, 8, 8)
    mixing = CutMix().draw(np.random.default_rng(3), 6, (8, 8))
    rows = [4, 1, *(int(mixing.partner[row]) for row in (4, 1))]
    rows = list(dict.fromkeys(rows))
    assert torch.equal(mixing.of_rows(rows).inputs(images[rows])[:2], mixing.inputs(images)[[4, 1]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mixup(0), "mixup.alpha=0"),
        (lambda: CutMix(share=2), "cutmix.share=2"),
        (lambda: MixupOrCutMix(cutmix=-1), "mixup_or_cutmix.cutmix=-1"),
        (lambda: Mixup(10**400), "mixup.alpha=1000"),
        (lambda: MixupOrCutMix(mixup_alpha=-1), "mixup_or_cutmix.mixup_alpha=-1"),
        (lambda: MixupOrCutMix(cutmix_alpha=-1), "mixup_or_cutmix.cutmix_alpha=-1"),
        (lambda: ManifoldMixup(stages="stage1"), "manifold_mixup.stages=stage1"),  # type: ignore[arg-type]
        (lambda: ManifoldMixup(stages=1.5), "manifold_mixup.stages=1.5: expected a list"),  # type: ignore[arg-type]
        (lambda: ManifoldMixup(stages={"a": 1}), "manifold_mixup.stages={'a': 1}: expected"),  # type: ignore[arg-type]
    ],
)
def test_wrong_numbers_are_refused(make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()  # type: ignore[operator]
