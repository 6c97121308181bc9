"""Test that features are computed once, shared by runs, checked when found, and optional."""

import logging
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import PREPROCESSING, toy_backbone
from forking import Server

from headstart.augmentations import AugMix, CropResize, Pipeline, View
from headstart.data import Digits, ImageSplit
from headstart.errors import ConfigError, HeadstartError
from headstart.features import FeatureSettings, choice, keeping, store
from headstart.features.choice import BF16
from headstart.features.keeping import Keeper
from headstart.features.prefix import FrozenPrefix, reference
from headstart.features.rows import InMemory, OnDisk, Rows, as_stored
from headstart.features.store import PartWriter, Store
from headstart.inputs.deep import PixelRange


@pytest.fixture(autouse=True)
def _a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget which features this process has checked."""
    monkeypatch.setattr(keeping, "_PROBED", set())
    monkeypatch.setattr(store, "_CHECKED", set())


def digits_of(few: int = 8, subset: int = 0, views: tuple[View, ...] = (), view_seed: int = 0) -> Digits:
    data = Digits(labels_per_class=few, subset_seed=subset, augmentation_seed=view_seed)
    data.prepare(PREPROCESSING, Pipeline(views))
    return data


def keeper_of(folder: Path, data: Digits, stop: int = 4, seed: int = 0, **settings: Any) -> Keeper:
    scale, shift = (torch.full((1, 3, 1, 1), value) for value in (1 / 64, -2.0))
    prefix = FrozenPrefix(toy_backbone(seed), stop, scale, shift)
    told = FeatureSettings(**{"engine": "torch", **settings})
    return Keeper(prefix, told, Store(folder / "store", told.max_bytes()), torch.device("cpu"), None, data.train, 100)


def values_of(rows: Rows | None) -> np.ndarray:
    assert rows is not None
    return as_stored(rows.take(np.arange(len(rows)))).numpy()


def expected_of(keeper: Keeper, split: ImageSplit, epoch: int = 0) -> np.ndarray:
    images = np.stack([split.image(index, epoch) for index in range(len(split))])
    return as_stored(reference(keeper.prefix, torch.from_numpy(images))).numpy()


def counting(keeper: Keeper, seen: list[int]) -> Keeper:
    """Record the number of images that the engine gets."""
    engine = keeper.choice.engine()
    plain = type(engine).__call__

    class Counted(type(engine)):  # type: ignore[misc]
        def __call__(self, images: np.ndarray) -> np.ndarray:
            seen.append(len(images))
            return plain(self, images)

    engine.__class__ = Counted
    return keeper


@pytest.mark.parametrize("stop", [4, 2])
@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_computed_once_and_found_by_the_next(stop: int, engine: str, tmp_path: Path) -> None:
    data = digits_of()
    first = keeper_of(tmp_path, data, stop, engine=engine)
    outcome = first.get("train", data.train)
    assert (outcome.found, outcome.total, outcome.kept) == (0, 80, True)
    np.testing.assert_allclose(values_of(outcome.rows), expected_of(first, data.train), rtol=1e-4, atol=1e-5)
    seen: list[int] = []
    second = counting(keeper_of(tmp_path, digits_of(), stop, engine=engine), seen)
    again = second.get("train", data.train)
    assert (again.found, again.total) == (80, 80)
    assert seen == []
    assert np.array_equal(values_of(again.rows), values_of(outcome.rows))


def test_another_subset_computes_only_what_is_new(tmp_path: Path) -> None:
    seen: list[int] = []
    few, many = digits_of(4), digits_of(8, subset=1)
    counting(keeper_of(tmp_path, few), seen).get("train", few.train)
    keeper = counting(keeper_of(tmp_path, many), seen)
    shared = len(set(few.train.ids) & set(many.train.ids))
    assert 0 < shared < 40
    outcome = keeper.get("train", many.train)
    assert outcome.found == shared
    assert sum(seen) == 40 + -(-(80 - shared) // 8) * 8  # batches are filled up
    np.testing.assert_allclose(values_of(outcome.rows), expected_of(keeper, many.train), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"stop": 3},
        {"engine": "onnxruntime"},
        {"precision": "bf16"},
    ],
)
def test_other_weights_stages_engines_or_precisions_share_nothing(
    other: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "fast_bf16", lambda device: True)
    data = digits_of()
    keeper_of(tmp_path, data).get("train", data.train)
    assert keeper_of(tmp_path, data, **other).get("train", data.train).found == 0


def test_auto_at_full_precision_has_the_features_of_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = digits_of()
    default = keeper_of(tmp_path, data).get("train", data.train)
    monkeypatch.setattr(choice, "fast_bf16", lambda device: True)
    monkeypatch.setattr(choice, "speed", lambda engine, work: float(engine.name == "torch"))
    monkeypatch.setattr(choice, "WORTH_TIMING", 1)
    auto = keeper_of(tmp_path / "other", data, precision="auto").get("train", data.train)
    assert auto.found == 0
    assert np.array_equal(values_of(auto.rows), values_of(default.rows))
    assert keeper_of(tmp_path, data, precision="auto").get("train", data.train).found == 80


def test_preprocessing_and_code_are_in_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = digits_of()
    keeper = keeper_of(tmp_path, data)
    names = {keeper.entry(data.train).name}
    data.train.images.decoder = type(data.train.images.decoder)(17, "bilinear")
    names.add(keeper.entry(data.train).name)
    data.train.images.decoder = type(data.train.images.decoder)(16, "bicubic")
    names.add(keeper.entry(data.train).name)
    for change in ({"resize": "pad"}, {"pixel_range": PixelRange(4095)}, {"enlarge": False}):
        data.train.images.decoder = replace(data.train.images.decoder, **change)
        names.add(keeper.entry(data.train).name)
    keeper.choice.work = replace(keeper.work, autocast=torch.bfloat16)
    names.add(keeper.entry(data.train).name)
    keeper.choice.name = BF16
    names.add(keeper.entry(data.train).name)
    for change in ("scale", "code", "structure"):
        other = keeper_of(tmp_path, data)
        if change == "scale":
            other.prefix.scale *= 2
        elif change == "code":
            monkeypatch.setattr("headstart.features.prefix.code_version", lambda *places: "new")
        else:
            other.prefix.stages[0][2] = torch.nn.ReLU6()
        other.prefix_key = other.prefix.key()
        names.add(other.entry(data.train).name)
    assert len(names) == 11


def test_views_are_kept_with_their_seeds(tmp_path: Path) -> None:
    data = digits_of(views=(CropResize(),))
    keeper = keeper_of(tmp_path, data)
    outcome = keeper.get("train", data.train, views=3)
    values = values_of(outcome.rows).reshape(3, 80, -1)
    for view in range(3):
        np.testing.assert_allclose(values[view], expected_of(keeper, data.train, view), rtol=1e-4, atol=1e-5)
    more = keeper_of(tmp_path, data).get("train", data.train, views=4)
    assert more.found == 240
    for other in (digits_of(views=(CropResize(),), view_seed=1), digits_of(views=(CropResize(scale=(0.5, 1)),))):
        assert keeper_of(tmp_path, other).get("train", other.train, views=3).found == 0
    assert keeper_of(tmp_path, data).get("train", data.train.without_views()).found == 0


def test_views_of_another_opencv_are_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = digits_of(views=(CropResize(),))
    keeper = keeper_of(tmp_path, data)
    views, plain = keeper.entry(data.train).name, keeper.entry(data.validation).name
    monkeypatch.setattr("cv2.__version__", "0.0")
    assert keeper.entry(data.train).name != views
    assert keeper.entry(data.validation).name == plain


def test_cached_features_are_checked_against_the_network(tmp_path: Path) -> None:
    data = digits_of()
    keeper = keeper_of(tmp_path, data)
    entry = keeper.entry(data.train)
    names = store.row_names([keeping.row_digest(data.train, (0, i)) for i in range(80)])
    writer = keeping.Writer(entry, names, (8,), np.dtype(np.float32))
    writer.put(np.random.default_rng(0).normal(size=(80, 8)).astype(np.float32))  # whole, but of another network
    with pytest.raises(HeadstartError, match=rf"{entry.name} differ from .* of toy.*features clear {entry.name}"):
        keeper.get("train", data.train)


def test_a_damaged_entry_is_computed_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = digits_of()
    keeper = keeper_of(tmp_path, data)
    before = values_of(keeper.get("train", data.train).rows)
    [part] = keeper.entry(data.train).part_folders()
    content = bytearray((part / "values.npy").read_bytes())
    content[200] ^= 255
    (part / "values.npy").write_bytes(content)
    outcome = keeper_of(tmp_path, data).get("train", data.train)
    assert outcome.found == 0
    assert "computing its features again" in caplog.text
    assert np.array_equal(values_of(outcome.rows), before)
    assert keeper_of(tmp_path, data).get("train", data.train).found == 80


def full(self: PartWriter, values: np.ndarray) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("trouble", ["full", "a file in the way", "too small"])
def test_without_a_place_to_keep_them_the_run_computes_its_own(
    trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data = digits_of()
    settings = {"max_size": 100} if trouble == "too small" else {}
    keeper = keeper_of(tmp_path, data, **settings)
    if trouble == "full":
        monkeypatch.setattr(PartWriter, "put", full)
    elif trouble == "a file in the way":  # as a read-only disk, which does not stop a test run by root
        (tmp_path / "store").write_text("")
    outcome = keeper.get("train", data.train)
    assert isinstance(outcome.rows, InMemory)
    assert not outcome.kept
    np.testing.assert_allclose(values_of(outcome.rows), expected_of(keeper, data.train), rtol=1e-4, atol=1e-5)
    assert caplog.text.count("features cannot be stored in") == 1
    assert keeper.get("validation", data.validation).rows is not None
    # a disk that does not work is not tried again; a smaller split may still fit
    assert caplog.text.count("features cannot be stored in") == (2 if trouble == "too small" else 1)
    assert not list((tmp_path).rglob(".partial-*"))


def test_neither_disk_nor_memory_means_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(PartWriter, "put", full)
    data = digits_of()
    assert keeper_of(tmp_path, data, memory_limit=0).get("train", data.train).rows is None
    assert "fit neither in memory nor on disk" in caplog.text


@pytest.mark.parametrize("stop", [4, 2])
def test_above_the_memory_limit_rows_stay_on_disk(stop: int, tmp_path: Path) -> None:
    data = digits_of()
    held = keeper_of(tmp_path, data, stop).get("train", data.train).rows
    for number in range(2):  # computed, then found
        keeper = keeper_of(tmp_path / "other", data, stop, memory_limit=0)
        outcome = keeper.get("train", data.train)
        assert outcome.found == 80 * number
        assert isinstance(outcome.rows, OnDisk)
        positions = np.array([3, 79, 0, 3])
        assert torch.equal(outcome.rows.take(positions), held.take(positions))  # type: ignore[union-attr]
        assert outcome.rows.take(positions).stride() == held.take(positions).stride()  # type: ignore[union-attr]


def got(folder: Path) -> tuple[int, float]:
    """Return the number of rows that a run finds, and the sum of all values."""
    outcome = keeper_of(folder, digits_of(40)).get("train", digits_of(40).train)
    return outcome.found, float(values_of(outcome.rows).sum())


def test_of_several_runs_at_once_one_computes(tmp_path: Path, warm: Server) -> None:
    code = "import sys, pathlib, test_keeping; print(*test_keeping.got(pathlib.Path(sys.argv[1])))"
    with (tmp_path / "told.txt").open("w") as told:
        command = [sys.executable, "-c", code, tmp_path]
        others = [warm.popen(command, stdout=told, cwd=Path(__file__).parent) for _ in range(2)]
        ends = [got(tmp_path)]
        assert [other.wait(120) for other in others] == [0, 0]
    ends += [(int(a), float(b)) for a, b in map(str.split, (tmp_path / "told.txt").read_text().splitlines())]
    assert sorted(found for found, _ in ends) == [0, 400, 400]
    assert len({total for _, total in ends}) == 1
    assert len(list((tmp_path / "store").glob("*/*/part.json"))) == 1


def test_stopping_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*args: Any) -> Iterator[np.ndarray]:
        yield np.zeros((8, 8), np.float32)
        raise KeyboardInterrupt

    data = digits_of()
    keeper = keeper_of(tmp_path, data)
    with monkeypatch.context() as patch:
        patch.setattr(keeping, "compute", stopped)
        with pytest.raises(KeyboardInterrupt):
            keeper.get("train", data.train)
    names = sorted(path.name for path in keeper.entry(data.train).folder.iterdir())
    assert names == ["entry.json", "lock"]
    assert keeper.get("train", data.train).found == 0


def test_the_log_counts_found_and_computed_features(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    data = digits_of()
    keeper_of(tmp_path, data).get("train", data.train)
    keeper_of(tmp_path, data).get("train", data.train)
    computed, found = [record.getMessage() for record in caplog.records if record.getMessage().startswith("train:")]
    assert re.fullmatch(
        r"train: pooled features of 80 images, 80 computed in [\d.]+ s with torch; 0.0 MB kept in \S+", computed
    )
    assert re.fullmatch(
        r"train: pooled features of 80 images found in \S+, 0.0 MB; computing them takes [\d.]+ s", found
    )


def test_a_run_does_not_drop_what_it_needs_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "PART_BYTES", 320)
    data = digits_of()  # 80 rows of 32 bytes: 8 parts
    room = 8 * 900
    outcome = keeper_of(tmp_path, data, max_size=room, memory_limit=0).get("train", data.train)
    assert outcome.rows is not None
    assert not outcome.rows.missing.any()  # type: ignore[attr-defined]
    keeper = keeper_of(tmp_path / "small", data, max_size=room // 4, memory_limit=0)
    assert keeper.get("train", data.train).rows is None  # and not half of them


def test_unreadable_entries_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data = digits_of()
    keeper_of(tmp_path, data).get("train", data.train)
    parts = list((tmp_path / "store").glob("*/*/part.json"))

    def refused(folder: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(keeping, "open_part", refused)
    outcome = keeper_of(tmp_path, data).get("train", data.train)
    assert outcome.found == 0
    assert "cannot be read" in caplog.text
    assert list((tmp_path / "store").glob("*/*/part.json")) == parts


def test_views_that_seed_a_shared_generator_are_those_of_one_thread(tmp_path: Path) -> None:
    data = digits_of(views=(AugMix(),))
    keeper = keeper_of(tmp_path, data, engine="onnxruntime")
    values = values_of(keeper.get("train", data.train, views=2).rows).reshape(2, 80, -1)
    for view in range(2):
        np.testing.assert_allclose(values[view], expected_of(keeper, data.train, view), rtol=1e-3, atol=1e-4)


def test_a_view_without_plain_settings_is_refused(tmp_path: Path) -> None:
    view = CropResize()
    view.hidden = object()  # type: ignore[attr-defined]
    data = digits_of(views=(view,))
    with pytest.raises(ConfigError, match=r"the settings of the view CropResize cannot be put into a key"):
        keeper_of(tmp_path, data).get("train", data.train)
