"""Test what the autoencoder sees, what counts, and its decoder."""

import pytest
import torch
from conftest import toy_backbone

from headstart.errors import ConfigError
from headstart.pretraining import Autoencoder
from headstart.pretraining.autoencoder import ImageDecoder
from headstart.pretraining.objective import Draws
from headstart.tasks.heads import LinearHead


def seeded(seed: int = 0) -> Draws:
    return Draws(torch.Generator().manual_seed(seed))


IMAGES = torch.randn(3, 3, 16, 16, generator=seeded().generator)


def test_without_damage_the_input_is_the_image_and_all_pixels_count() -> None:
    inputs, targets = Autoencoder().pose(IMAGES, seeded())
    assert torch.equal(inputs, IMAGES)
    assert torch.equal(targets[:, :3], IMAGES)
    assert (targets[:, 3] == 1).all()


def test_noise_has_its_deviation_and_the_target_none() -> None:
    inputs, targets = Autoencoder(noise=0.5).pose(IMAGES, seeded())
    assert float((inputs - IMAGES).std()) == pytest.approx(0.5, rel=0.05)
    assert torch.equal(targets[:, :3], IMAGES)
    assert torch.equal(inputs, Autoencoder(noise=0.5).pose(IMAGES, seeded())[0])
    assert not torch.equal(inputs, Autoencoder(noise=0.5).pose(IMAGES, seeded(1))[0])


def test_hidden_cells_are_grey_and_only_they_count() -> None:
    task = Autoencoder(masked=0.5, cell=4)
    inputs, targets = task.pose(IMAGES, seeded())
    hidden = targets[:, 3:] == 1
    assert hidden.float().mean() == 0.5
    assert torch.equal(inputs, torch.where(hidden, torch.zeros(()), IMAGES))
    cells = hidden.unfold(2, 4, 4).unfold(3, 4, 4).flatten(4)
    assert (cells.all(4) | ~cells.any(4)).all()
    wrong_elsewhere = torch.where(hidden, IMAGES, IMAGES + 9)
    assert float(task.loss(wrong_elsewhere, targets)) == 0
    assert task.primary_of(task.tally(wrong_elsewhere, targets)) == 1


def test_a_batch_in_parts_has_the_loss_of_the_batch() -> None:
    task = Autoencoder(masked=0.5, cell=6)  # the last cells are smaller
    _, targets = task.pose(IMAGES, seeded())
    assert len(targets[:, 3].flatten(1).sum(dim=1).unique()) > 1
    parts = [float(task.loss(torch.zeros(1, 3, *IMAGES.shape[2:]), one[None])) for one in targets]
    assert float(task.loss(torch.zeros_like(IMAGES), targets)) == pytest.approx(sum(parts) / len(parts))


def test_the_mean_of_the_pixels_has_an_r2_of_0_and_the_image_of_1() -> None:
    task = Autoencoder()
    _, targets = task.pose(IMAGES, seeded())
    mean = torch.full_like(IMAGES, float(IMAGES.mean()))
    assert task.primary_of(task.tally(mean, targets)) == pytest.approx(0, abs=1e-6)
    assert task.primary_of(task.tally(IMAGES, targets)) == 1
    assert float(task.loss(mean, targets)) == pytest.approx(float(IMAGES.var(correction=0)))


@pytest.mark.parametrize("decoder", ["upsampling", "transposed"])
@pytest.mark.parametrize("size", [16, 30, 33])
def test_a_decoder_gives_images_of_any_size(decoder: str, size: int) -> None:
    layers = ImageDecoder(7, 5, size, 2, decoder == "transposed")
    assert layers(torch.zeros(3, 7)).shape == (3, 2, size, size)
    assert layers.bottleneck.out_features == 5
    kinds = {type(layer).__name__ for layer in layers.modules()}
    assert ("ConvTranspose2d" in kinds, "Upsample" in kinds) == (decoder == "transposed", decoder != "transposed")


def test_the_head_reads_the_last_map_and_depends_on_the_seed_alone() -> None:
    task = Autoencoder()
    backbone = task.head.read(toy_backbone())
    one, again, other = (task.make_head(backbone.feature_dim, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(one["grow.weight"], again["grow.weight"])
    assert not torch.equal(one["grow.weight"], other["grow.weight"])


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"task\.decoder=up"):
        Autoencoder(decoder="up")
    with pytest.raises(ConfigError, match=r"task\.masked=1"):
        Autoencoder(masked=1.0)
    with pytest.raises(ConfigError, match="output layers of its own"):
        Autoencoder(head=LinearHead())
