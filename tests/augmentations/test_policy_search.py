"""Test the search for a policy: gradients reach every parameter, and it finds a known shift."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.augmentations.learned.policy import OperationChoice, Policy
from headstart.augmentations.learned.relaxed import OPERATIONS, RANGES, apply
from headstart.augmentations.learned.search import (
    Critic,
    RelaxedPolicy,
    SearchEpoch,
    SearchImages,
    SearchSettings,
    augmented,
    gradient_penalty,
    relaxed_bernoulli,
    search,
)
from headstart.errors import ConfigError

SMALL = SearchSettings(
    sub_policies=2, epochs=2, batches=2, batch_size=8, measure_steps=4,
    operations=("rotate", "brightness", "posterize", "identity"),
)  # fmt: skip


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(count: int = 24, side: int = 12, seed: int = 0) -> SearchImages:
    images = torch.randint(256, (count, 3, side, side), generator=seeded(seed), dtype=torch.uint8)
    return SearchImages(images, torch.arange(count) % 3)


@pytest.mark.parametrize("choice", ["sampled", "mixed"])
def test_a_gradient_reaches_every_weight_probability_and_magnitude(choice: str) -> None:
    temperature = 0.5 if choice == "sampled" else 0.05
    settings = SearchSettings(sub_policies=2, steps=2, choice=choice, temperature=temperature)
    policy = RelaxedPolicy(settings, seeded(1))
    images = F.interpolate(torch.rand(256, 3, 4, 4, generator=seeded(2)), (16, 16), mode="bilinear")
    target = torch.linspace(0, 1, images.numel()).view_as(images).flip(0)
    ((policy(images, seeded(3)) - target) ** 2).sum().backward()
    has_magnitude = torch.tensor([name in RANGES for name in OPERATIONS])
    does_something = torch.tensor([name != "identity" for name in OPERATIONS])
    reached = {"weights": slice(None), "probabilities": does_something, "magnitudes": has_magnitude}
    for name, which in {**reached, "spreads": has_magnitude}.items():
        found = getattr(policy, name).grad[..., which]
        assert found.isfinite().all(), name
        assert (found != 0).all(), name


def test_without_a_gradient_the_images_are_the_same() -> None:
    policy = RelaxedPolicy(SearchSettings(sub_policies=3), seeded(1))
    images = torch.rand(32, 3, 12, 12, generator=seeded(2))
    with torch.no_grad():
        quick = policy(images, seeded(3))
    torch.testing.assert_close(quick, policy(images, seeded(3)).detach(), atol=1e-5, rtol=0)


def test_an_operation_is_applied_with_its_probability() -> None:
    logits = torch.tensor([-2.0, 0.0, 1.5]).repeat(20_000, 1)
    drawn = relaxed_bernoulli(logits, 0.05, seeded())
    assert ((drawn > 0) & (drawn < 1)).any()
    torch.testing.assert_close((drawn > 0.5).float().mean(dim=0), logits[0].sigmoid(), atol=0.01, rtol=0)
    assert ((drawn < 0.05) | (drawn > 0.95)).float().mean() > 0.9


def test_the_policy_written_is_the_one_learned() -> None:
    relaxed = RelaxedPolicy(replace(SMALL, sub_policies=1, steps=1), seeded())
    with torch.no_grad():
        relaxed.weights[0, 0] = torch.tensor([0.6, 0.25, 0.145, 0.005]).log()
        relaxed.probabilities[0, 0] = torch.tensor([0.9, 0.5, 0.3, 0.5]).logit()
        relaxed.magnitudes[0, 0] = torch.tensor([0.5, 0.25, 0.5, 0.5]).logit()
        relaxed.spreads[0, 0] = torch.tensor([0.4, 0.2, 0.5, 0.5]).logit()
    ((rotate, brightness, posterize),) = relaxed.policy().sub_policies[0]
    # Identity is hardly ever taken: of 0.995 are left 0.6, 0.25 and 0.145.
    assert rotate == OperationChoice("rotate", 0.603, 0.9, 15.0, 6.0)
    assert brightness == OperationChoice("brightness", 0.2513, 0.5, 0.55, 0.18)
    assert posterize == OperationChoice("posterize", 0.1457, 0.3, 6.0, 1.0)


def test_ranges_stay_within_the_limits_of_magnitudes() -> None:
    relaxed = RelaxedPolicy(replace(SMALL, sub_policies=1, steps=1), seeded())
    with torch.no_grad():
        relaxed.magnitudes.fill_(3.0)
        relaxed.spreads.fill_(0.0)  # half of the whole range wide
    choices = {choice.operation: choice for choice in relaxed.policy().sub_policies[0][0]}
    for name, least in (("rotate", 30 * (0.9526 - 0.25)), ("brightness", 0.1 + 1.8 * (0.9526 - 0.25))):
        magnitude, spread = choices[name].magnitude, choices[name].spread
        assert magnitude is not None
        assert magnitude + spread == pytest.approx(RANGES[name].high, rel=1e-3)
        assert magnitude - spread == pytest.approx(least, rel=1e-3)
    bits = choices["posterize"].magnitude
    assert bits is not None
    assert bits - choices["posterize"].spread == pytest.approx(4, rel=1e-3)


def test_a_policy_in_use_augments_each_image_by_itself() -> None:
    half = Policy((((OperationChoice("invert", 1.0, 0.5),), (OperationChoice("brightness", 1.0, 1.0, 0.5),)),))
    images = torch.rand(400, 3, 4, 4, generator=seeded())
    made = augmented(images, half, np.random.default_rng(0))
    inverted = (made - (1 - images) / 2).abs().amax(dim=(1, 2, 3)) < 1e-6
    as_it_was = (made - images / 2).abs().amax(dim=(1, 2, 3)) < 1e-6
    assert (inverted ^ as_it_was).all()
    assert inverted.float().mean() == pytest.approx(0.5, abs=0.08)


def test_the_penalty_is_for_slopes_other_than_one() -> None:
    critic = Critic(2)
    images, others = torch.rand(8, 3, 16, 16, generator=seeded()), torch.rand(8, 3, 16, 16, generator=seeded(1))
    with torch.no_grad():
        critic.real.weight.zero_()
    assert gradient_penalty(critic, images, others, seeded()).item() == pytest.approx(1, abs=1e-5)
    steep = copy.deepcopy(critic)
    with torch.no_grad():
        steep.real.weight.fill_(10)
    assert gradient_penalty(steep, images, others, seeded()).item() > 1


def test_batches_use_every_image_before_repeating_one() -> None:
    pixels = SearchImages(torch.arange(10, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2), torch.arange(10))
    batches = pixels.batches(4, seeded())
    seen = torch.cat([next(batches)[1] for _ in range(5)])
    assert sorted(seen[:10].tolist()) == sorted(seen[10:].tolist()) == list(range(10))
    images, labels = next(batches)
    torch.testing.assert_close(images[:, 0, 0, 0] * 255, labels.float())
    assert len(next(pixels.batches(64, seeded()))[1]) == 10, "a set smaller than a batch"


def test_the_same_seed_repeats_bit_for_bit_and_touches_nothing() -> None:
    train, real = noise(), noise(16, seed=1)
    torch.manual_seed(5)
    before, told = torch.get_rng_state(), list[SearchEpoch]()
    first = search(train, real, SMALL, told.append)
    assert torch.equal(torch.get_rng_state(), before)
    assert [epoch.number for epoch in told] == [1, 2] == [epoch.number for epoch in first.epochs]
    assert search(train, real, SMALL) == first
    assert search(train, real, replace(SMALL, seed=1)).policy != first.policy


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0), ("steps", 1.5), ("sub_policies", True), ("lr", 0), ("critic_lr", float("nan")),
        ("temperature", -1), ("class_weight", -0.1), ("choice", "sample"), ("operations", ("rotate",)),
        ("operations", ("rotate", "flip")),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"policy\.{name}") as error:
        replace(SMALL, **{name: value})
    assert "\n" not in str(error.value)


def shifted_digits(side: int = 20) -> tuple[SearchImages, SearchImages, SearchImages]:
    """Return digits: unchanged for training; rotated by 15 to 30 degrees and darkened for validation and test."""
    digits = load_digits()
    images = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None]
    images = F.interpolate(images, (side - 6, side - 6), mode="bicubic").clamp(0, 1)
    images = F.pad(images, (3,) * 4).expand(-1, 3, -1, -1)
    order = torch.randperm(len(images), generator=seeded(0))
    images, labels = images[order], torch.tensor(digits.target)[order]

    def part(first: int, last: int, shifted: bool) -> SearchImages:
        found = shift(images[first:last], seeded(first)) if shifted else images[first:last]
        return SearchImages((found * 255).round().to(torch.uint8), labels[first:last])

    return part(0, 700, False), part(700, 1100, True), part(1100, 1797, True)


def shift(images: Tensor, generator: torch.Generator) -> Tensor:
    chance = torch.rand(3, len(images), generator=generator)
    angles = (15 + 15 * chance[0]) * (2 * (chance[1] < 0.5) - 1)
    return apply("brightness", apply("rotate", images, angles), 0.3 + 0.4 * chance[2])


def accuracy_on(train: SearchImages, test: SearchImages, policy: Policy | None, seed: int, epochs: int = 6) -> float:
    """Return the test accuracy of a small network trained from scratch with the policy."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten(),
            nn.Linear(32 * (train.images.shape[-1] // 4) ** 2, 10),
        )  # fmt: skip
    optimizer = torch.optim.Adam(network.parameters(), 0.003)
    batches, rng = train.batches(50, seeded(seed)), np.random.default_rng(seed)
    for _ in range(epochs * len(train.images) // 50):
        images, labels = next(batches)
        loss = F.cross_entropy(network(images if policy is None else augmented(images, policy, rng)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return float((network(test.images.float() / 255).argmax(dim=1) == test.labels).float().mean())


@pytest.mark.slow
def test_rotation_and_darkness_are_found_and_training_with_them_helps() -> None:
    train, validation, test = shifted_digits()
    found = search(train, validation, SearchSettings(batch_size=24, epochs=8, measure_steps=40))
    assert set(list(found.policy.use())[:2]) == {"rotate", "brightness"}, found.policy.use()
    rotated, dimmed = (found.policy.typical(name) for name in ("rotate", "brightness"))
    assert rotated is not None
    assert rotated[1] > 15
    assert dimmed is not None
    assert dimmed[1] < 0.75
    assert found.after < found.before / 4
    plain, learned = (accuracy_on(train, test, policy, 0) for policy in (None, found.policy))
    assert learned > plain + 0.1, (plain, learned)
