"""Test headstart inspect augmentation: the grid shows what a run will see, the table the order of steps."""

from pathlib import Path

import numpy as np
import pytest
from conftest import TINY
from PIL import Image

from headstart.analysis.augmented_images import COLUMNS, ROWS, draw_views
from headstart.augmentations import Augmentation, AugMix, CropResize, Mixup
from headstart.backbones import Preprocessing
from headstart.cli import main
from headstart.data import Digits

P = Preprocessing(16, (0.5,) * 3, (0.25,) * 3, "bilinear", 0.875)


def seen(augmentation: Augmentation) -> tuple[Digits, object]:
    data = Digits(labels_per_class=4, batch_size=16)
    data.prepare(P, augmentation.views)
    return data, draw_views(data, augmentation, 0)


def test_the_grid_is_what_the_first_epochs_see() -> None:
    data, found = seen(Augmentation({"crop_resize": CropResize()}))
    batches = data.train_dataloader().batch_sampler
    for epoch in range(3):
        first = batches.positions()[0][:ROWS]  # type: ignore[union-attr]
        expected = data.train.view_tensor([(epoch, int(index)) for index in first]).permute(0, 2, 3, 1)
        assert np.array_equal(found.views[:, epoch], expected)  # type: ignore[attr-defined]
    assert found.views.shape == (ROWS, COLUMNS, 16, 16, 3)  # type: ignore[attr-defined]
    assert not np.array_equal(found.views[:, 0], found.plain)  # type: ignore[attr-defined]


def test_views_of_one_image_lie_side_by_side_and_mixes_are_drawn() -> None:
    _, three = seen(Augmentation({"augmix": AugMix(jsd=12)}))
    assert np.array_equal(three.views[:, 0], three.plain)  # type: ignore[attr-defined]
    assert three.titles[:4] == ["epoch 1, 1", "epoch 1, 2", "epoch 1, 3", "epoch 2, 1"]  # type: ignore[attr-defined]
    _, mixed = seen(Augmentation({"mixup": Mixup(5.0)}))
    assert not np.array_equal(mixed.views[:, 0], mixed.plain)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_the_command_writes_an_image_and_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["inspect", "augmentation", *TINY[:4], "output_dir=out"]
    assert main([*command, "augmentation=[crop_resize,augmix,manifold_mixup]"]) == 0
    output = capsys.readouterr().out
    assert output.index("crop_resize") < output.index("augmix") < output.index("manifold_mixup")
    assert "severity=3" in output
    assert "manifold_mixup mixes at input, stem" in output
    [folder] = Path("out").glob("*/textures-augmentation")
    with Image.open(folder / "augmentation.png") as image:
        assert len(set(image.convert("L").getdata())) > 50
    assert (folder / "augmentation.txt").read_text() in output
    assert main(command) == 2
    assert "augmentation=none changes nothing" in capsys.readouterr().err
    assert main([*command, "augmentation=augmix", "augmentation.where=gpu"]) == 2
