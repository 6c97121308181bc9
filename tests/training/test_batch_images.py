"""Test that the image of the first batch shows the first training step, and changes nothing."""

import io
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import PREPROCESSING, make_strategy
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from headstart.augmentations import BatchMixing, CropResize, CutMix, Mix, Mixup, MixupOrCutMix, Pipeline
from headstart.data import Digits
from headstart.records.curves import CsvCurves, TensorBoardCurves
from headstart.strategies import Strategy
from headstart.strategies.scratch import Scratch
from headstart.training import batch_images
from headstart.training.batch_images import GAP, SHOWN, first_images, grid, log_batch, to_bytes


class Halves(Mix):
    """A user's mix."""

    def mixing(self, averages: BatchMixing, rng: np.random.Generator, shape: tuple[int, int]) -> BatchMixing:
        return BatchMixing(averages.partner, 0.5)


def parts(mixes: Sequence[Mix], batch_size: int = 50, seed: int = 0) -> tuple[Strategy, Digits]:
    data = Digits(labels_per_class=8, batch_size=batch_size, order_seed=seed, augmentation_seed=seed, num_workers=0)
    data.prepare(PREPROCESSING, Pipeline([CropResize()]))
    return make_strategy(Scratch, mixes=mixes, augmented=True, noise_seed=seed), data


def seen_in_training(strategy: Strategy, data: Digits, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """Return the input of the backbone in the first step of a real loader."""
    seen: list[Tensor] = []
    inner = strategy.normalised_features

    def features(x: Tensor) -> Tensor:
        seen.append(x)
        return inner(x)

    monkeypatch.setattr(strategy, "normalised_features", features)
    strategy.training_step(next(iter(data.train_dataloader())), 0)
    return seen[0]


@pytest.mark.parametrize(
    "mixes",
    [
        [],
        [Mixup(1.0)],
        [CutMix()],
        [CutMix(), Mixup(1.0), CutMix()],
        [Halves(1.0)],
        [MixupOrCutMix()],
        [CutMix(0.01), Mixup(1.0)],
    ],
    ids=lambda mixes: "+".join(type(mix).__name__ for mix in mixes) or "none",
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_is_the_first_batch_bit_for_bit(mixes: list[Mix], seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    strategy, data = parts(mixes, seed=seed)
    shown = first_images(strategy, data)
    seen = seen_in_training(strategy, data, monkeypatch)
    assert shown.shape == (SHOWN, 3, 16, 16)
    assert torch.equal(shown, seen[:SHOWN])


def test_only_the_images_that_are_shown_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    strategy, data = parts([Mixup(1.0)], batch_size=80)
    asked: list[int] = []
    inner = type(data.train)._viewed

    def images(self: Any, keys: Sequence[tuple[int, int]], *rest: Any) -> Any:
        asked.extend(index for _, index in keys)
        return inner(self, keys, *rest)

    monkeypatch.setattr(type(data.train), "_viewed", images)
    first_images(strategy, data)
    assert SHOWN < len(asked) <= 2 * SHOWN
    assert len(set(asked)) == len(asked)


def test_no_random_stream_moves_and_nothing_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strategy, data = parts([CutMix()])
    monkeypatch.setattr(data, "_loader", None)  # no loader, so no process
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index,union-attr]  # noqa: NPY002
    weights = {name: tensor.clone() for name, tensor in strategy.state_dict().items()}
    log_batch(strategy, data, [TensorBoardCurves(tmp_path)])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # type: ignore[index]  # noqa: NPY002
    assert random.getstate() == before[2]
    assert all(torch.equal(tensor, weights[name]) for name, tensor in strategy.state_dict().items())


def test_the_image_is_in_the_sub_run_train(tmp_path: Path) -> None:
    strategy, data = parts([])
    log_batch(strategy, data, [CsvCurves(tmp_path), TensorBoardCurves(tmp_path)])
    events = EventAccumulator(str(tmp_path / "tensorboard/train"))
    events.Reload()
    [event] = events.Images("augmented_batch")
    with Image.open(io.BytesIO(event.encoded_image_string)) as image:
        content = np.asarray(image)
    assert (event.step, event.width, event.height) == (0, content.shape[1], content.shape[0])
    expected = data.train.__getitems__([(0, int(i)) for i in data.train_dataloader().batch_sampler.positions()[0]])[0]  # type: ignore[union-attr]
    assert np.array_equal(content[:16, :16], expected[0].permute(1, 2, 0).numpy())
    assert np.array_equal(content[16 + GAP : 32 + GAP, :16], expected[4].permute(1, 2, 0).numpy())


def test_without_a_place_for_it_nothing_is_made(tmp_path: Path) -> None:
    log_batch(None, None, [CsvCurves(tmp_path)])  # type: ignore[arg-type]


def test_large_images_are_shrunk_and_a_short_row_is_filled_with_white() -> None:
    strategy, _ = parts([])
    images = to_bytes(strategy, strategy.normalise(torch.full((5, 3, 200, 200), 60, dtype=torch.uint8)))
    assert images.shape == (5, 128, 128, 3)
    assert (images == 60).all()
    drawn = grid(images)
    assert drawn.shape == (2 * 128 + GAP, 4 * 128 + 3 * GAP, 3)
    assert (drawn[128 + GAP :, 128:] == 255).all()


def test_equal_first_batches_of_images_without_views_are_drawn_once(tmp_path: Path, monkeypatch) -> None:
    drawn: list[np.ndarray] = []
    logged: list[np.ndarray] = []
    monkeypatch.setattr(batch_images, "grid", lambda images: drawn.append(grid(images)) or drawn[-1])
    monkeypatch.setattr(batch_images, "_LAST", [None, None])
    for views, seed, count in ((False, 0, 1), (False, 0, 1), (False, 1, 2), (True, 1, 3), (True, 1, 4), (False, 1, 5)):
        strategy, data = parts([], seed=seed)
        if not views:
            data.train = data.train.without_views()
        logger = TensorBoardCurves(tmp_path)
        monkeypatch.setattr(logger, "log_images", lambda tag, image: logged.append(image))
        log_batch(strategy, data, [logger])
        assert len(drawn) == count
        assert np.array_equal(logged[-1], grid(to_bytes(strategy, first_images(strategy, data))))
