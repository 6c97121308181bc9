"""Test where patches are cut, and that gap, jitter and dropped colours close the shortcuts."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from headstart.augmentations import CropResize, Pipeline
from headstart.errors import ConfigError
from headstart.pretraining import RelativePatches
from headstart.pretraining.objective import Draws, Sample
from headstart.pretraining.relative_patches import PLACES, dropped, projected
from headstart.seeds import generator

SIDE = 48
CHANCE = 1 / 8
BLOCK = 32


def seeded(seed: int = 0) -> Draws:
    return Draws(torch.Generator().manual_seed(seed))


def smooth_noise(count: int, channels: int = 1) -> torch.Tensor:
    """Return noise whose neighbouring pixels are alike, and that says nothing about places."""
    noise = torch.randn(count, channels, SIDE, SIDE, generator=seeded().generator)
    kernel = torch.ones(channels, 1, 3, 3) / 9
    return F.conv2d(F.conv2d(noise, kernel, padding=1, groups=channels), kernel, padding=1, groups=channels)


def with_aberration(count: int) -> torch.Tensor:
    """Return grey images whose green channel is magnified about the middle, as by a lens."""
    grey = smooth_noise(count)
    theta = torch.tensor([[0.9, 0.0, 0.0], [0.0, 0.9, 0.0]]).expand(count, 2, 3)
    green = F.grid_sample(grey, F.affine_grid(theta, list(grey.shape), align_corners=False), align_corners=False)
    return torch.cat([grey, green, grey], dim=1)


def by_continuation(patches: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Return the places that a linear classifier predicts from how alike the borders of two patches are.

    It is trained on the first half of the patches (N, 2, C, P, P).
    """
    one, other = patches.unbind(dim=1)
    ends = {-1: slice(0, 2), 0: slice(None), 1: slice(-2, None)}
    alike = []
    for row, column in PLACES:
        near, far = one[..., ends[row], ends[column]], other[..., ends[-row], ends[-column]]
        over = [dim for dim, end in ((-2, row), (-1, column)) if end]
        alike.append((near.mean(dim=over) - far.mean(dim=over)).square().flatten(1).mean(dim=1))
    features = torch.stack(alike, dim=1).add(1e-6).log()
    half = len(patches) // 2
    layer = torch.nn.Linear(len(PLACES), len(PLACES))
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=100)

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(layer(features[:half]), positions[:half])
        loss.backward()
        return loss

    optimizer.step(step)
    return layer(features).argmax(dim=1)


def by_aberration(patches: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Return the place that fits the shift of green against red in each patch, found by least squares."""
    red, green = patches[:, :, 0], patches[:, :, 1]
    down, across = torch.gradient(red, dim=(-2, -1))
    slopes = torch.stack([down, across], dim=-1).flatten(2, 3)  # (N, 2, P * P, 2)
    change = (green - red).flatten(2)[..., None]
    shifts = torch.linalg.lstsq(slopes, change).solution[..., 0]  # (N, 2, 2)
    towards = shifts[:, 0] - shifts[:, 1]  # green is magnified, so its shift falls along the direction of the place
    places = F.normalize(torch.tensor(PLACES, dtype=torch.float32), dim=1)
    return (towards @ places.T).argmax(dim=1)


def accuracy(task: RelativePatches, images: torch.Tensor, guess) -> float:
    """Return the accuracy of a guess on the second half of the patches, which have the noise of 8 bits."""
    patches, positions = task.pose(images, seeded(1))
    patches = patches + torch.randn(patches.shape, generator=seeded(2).generator) * 0.001
    half = len(patches) // 2
    return float((guess(patches, positions) == positions)[half:].float().mean())


def test_continuing_patterns_are_a_shortcut_without_a_gap_and_none_with_it() -> None:
    images = smooth_noise(1600)
    assert accuracy(RelativePatches(gap=0, jitter=0, colour="keep"), images, by_continuation) > 3 * CHANCE
    assert accuracy(RelativePatches(), images, by_continuation) == pytest.approx(CHANCE, abs=0.04)


@pytest.mark.parametrize(("colour", "closed"), [("keep", False), ("drop", True), ("project", True)])
def test_aberration_is_a_shortcut_unless_colours_are_changed(colour: str, closed: bool) -> None:
    found = accuracy(RelativePatches(colour=colour), with_aberration(1600), by_aberration)
    if closed:
        assert found == pytest.approx(CHANCE, abs=0.05)
    else:
        assert found > 3 * CHANCE


def in_blocks(count: int) -> list[np.ndarray]:
    """Return images (144, 144, 3) of noise with a grid of 32 pixels, as in small JPEGs that are enlarged."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(80, 176, (count, 5, 5, 1)).repeat(BLOCK, 1).repeat(BLOCK, 2)[:, :144, :144]
    return list((blocks + rng.integers(-8, 8, (*blocks.shape[:3], 3))).astype(np.uint8))


def by_the_grid(patches: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Return the place that fits the shift of the grid from patch to patch (N, 2, C, P, P)."""
    steps = torch.tensor([-51, 0, 51])  # pixels between patches of 34 with a gap of 17
    directions = []
    for dim in (-2, -1):
        edges = patches.diff(dim=dim).abs().mean(dim=(2, -1 if dim == -2 else -2)).argmax(dim=2)  # (N, 2)
        apart = (edges[:, :1] - edges[:, 1:] - steps + BLOCK // 2).remainder(BLOCK) - BLOCK // 2
        directions.append(apart.abs().argmin(dim=1) - 1)
    places = [
        PLACES.index(place) if place in PLACES else 0
        for place in zip(*(found.tolist() for found in directions), strict=True)
    ]
    return torch.tensor(places)


@pytest.mark.parametrize("resized", [False, True])
def test_the_grid_of_enlarged_jpegs_is_a_shortcut_unless_crops_are_resized(resized: bool) -> None:
    images = in_blocks(600)
    if resized:
        crop = Pipeline([CropResize()])
        drawn = [crop.draw(generator("augmentation", 0, 0, n), (144, 144), 144) for n in range(len(images))]
        images = [crop.apply(image, draw, 144)[0] for image, draw in zip(images, drawn, strict=True)]
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    found = accuracy(RelativePatches(colour="keep"), stacked, by_the_grid)
    assert found == pytest.approx(CHANCE, abs=0.06) if resized else found > 5 * CHANCE


def test_patches_lie_where_their_position_says() -> None:
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    images = torch.stack([rows, columns])[None].repeat(500, 1, 1, 1)
    task = RelativePatches(patch=6, gap=0.5, jitter=0.2)
    patches, positions = task.pose(images, seeded())
    assert patches.shape == (500, 2, 2, 32, 32)  # enlarged
    centres = patches.mean(dim=(-2, -1))
    steps = (centres[:, 1] - centres[:, 0]) / 9  # a patch and a gap
    assert (steps - torch.tensor(PLACES)[positions]).abs().max() <= 2 / 9 + 1e-4
    assert np.bincount(positions.numpy(), minlength=8).min() > 40
    assert centres.min() >= 2.5
    assert centres.max() <= 60.5


def test_the_same_seed_gives_the_same_patches() -> None:
    images, task = smooth_noise(4, 3), RelativePatches()
    one, again, other = (task.pose(images, seeded(seed)) for seed in (5, 5, 6))
    assert torch.equal(one[0], again[0])
    assert not torch.equal(one[0], other[0])


def test_one_channel_stays_and_the_others_become_faint_noise() -> None:
    patches = torch.randn(4, 2, 3, 8, 8, generator=seeded().generator)
    kept = torch.tensor([[0, 1], [2, 0], [1, 1], [0, 2]])
    made = dropped(patches, kept, torch.randn(patches.shape, generator=seeded(1).generator))
    for image in range(4):
        for patch in range(2):
            for channel in range(3):
                same = torch.equal(made[image, patch, channel], patches[image, patch, channel])
                assert same == (channel == kept[image, patch])
                assert same or made[image, patch, channel].std() < 0.03


def test_the_projection_leaves_grey_alone_and_removes_green_against_magenta() -> None:
    grey = torch.randn(2, 2, 1, 4, 4, generator=seeded().generator).repeat(1, 1, 3, 1, 1)
    assert torch.allclose(projected(grey), grey, atol=1e-6)
    tint = torch.tensor([-1.0, 2.0, -1.0])[:, None, None].expand(1, 2, 3, 4, 4)
    assert projected(tint).abs().max() < 1e-6


def test_drawn_accuracies_stand_in_the_places_of_the_positions() -> None:
    task = RelativePatches()
    rows = torch.zeros(16, 9)
    rows[:, 8] = torch.arange(16) % 8
    rows[torch.arange(16) % 8 == 7, 7] = 1  # only "below right" is right, and "above left", which zeros predict
    sample = Sample(torch.zeros(2, 2, 3, 6, 6), torch.zeros(2, 8), torch.zeros(2))
    drawn = task.draw(rows, sample, lambda images: np.zeros((len(images), 6, 6, 3), np.uint8))
    image = drawn["accuracy_by_position"]
    assert [int(image[y, x, 0]) for y, x in ((90, 90), (90, 186), (282, 282))] == [255, 0, 255]
    assert drawn["patches"].shape == (2 * 98, 2 * 98, 3)  # enlarged from 6 pixels, with gaps


def test_patches_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"dataset\.image_size=20"):
        RelativePatches().sizes(20)
    with pytest.raises(ConfigError, match="three patches of 32 pixels"):
        RelativePatches(patch=32).sizes(96)
    assert RelativePatches(patch=32, gap=0, jitter=0).sizes(96) == (32, 0, 0)
