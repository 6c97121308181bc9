"""Test loading: the same images with any number of workers, other views in other epochs and for other seeds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from headstart.augmentations import AugMix, CropResize, Pipeline
from headstart.backbones import Preprocessing
from headstart.data import ImageFolder, Textures
from headstart.data import module as module_under_test
from headstart.data.batches import EvenBatches
from headstart.data.embedded import PHOTOGRAPHS, load_photograph, split_regions
from headstart.errors import ConfigError, DataError
from headstart.inputs.seen import SeenImages
from headstart.seeds import generator

P = Preprocessing(16, (0.5,) * 3, (0.25,) * 3, "bilinear", 0.875)


def epoch_of(root: Path, epoch: int, seed: int = 0, workers: int | str = 0) -> tuple[Tensor, list[int]]:
    data = ImageFolder(root=str(root), batch_size=4, num_workers=workers, augmentation_seed=seed, order_seed=seed)
    data.prepare(P, Pipeline([CropResize(), AugMix()]))
    loader = data.train_dataloader()
    loader.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
    batches = list(loader)
    return torch.cat([b[0] for b in batches]), torch.cat([b[2] for b in batches]).tolist()


def test_views_depend_on_seed_and_epoch_and_not_on_workers(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"a": 10, "b": 10})
    first, order = epoch_of(root, 0)
    assert sorted(order) == list(range(12))
    with_workers, same_order = epoch_of(root, 0, workers=2)
    assert torch.equal(first, with_workers)
    assert order == same_order
    for other, other_order in (epoch_of(root, 1), epoch_of(root, 0, seed=1)):
        assert order != other_order
        by_index, others = (dict(zip(o, x, strict=True)) for o, x in ((order, first), (other_order, other)))
        assert not any(torch.equal(by_index[i], others[i]) for i in by_index)


def test_batches_have_their_form_and_evaluation_is_a_centre_crop(make_folder: Callable[..., Path]) -> None:
    data = ImageFolder(root=str(make_folder({"a": 10, "b": 10}, suffix="png")), batch_size=3, image_size=16)
    data.prepare(P)
    images, targets, indices, *_ = next(iter(data.val_dataloader()))
    assert images.shape == (3, 3, 16, 16)
    assert images.dtype == torch.uint8
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert targets.tolist() == data.validation.targets[indices].tolist()
    with Image.open(Path(data.root or "") / data.validation.ids[0]) as opened:
        resized = np.asarray(opened.resize((18, round(40 * 18 / 32)), Image.Resampling.BILINEAR))
    top = (resized.shape[0] - 16) // 2
    assert np.array_equal(images[0].permute(1, 2, 0).numpy(), resized[top : top + 16, 1:17])


def test_images_that_do_not_fit_into_memory_are_decoded_when_asked(
    make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder({"a": 6, "b": 6})
    kept = ImageFolder(root=str(root))
    kept.prepare(P)
    monkeypatch.setattr(module_under_test, "KEEP_BYTES", 0)
    decoded_late = ImageFolder(root=str(root))
    decoded_late.prepare(P)
    assert decoded_late.test.images.costly
    assert not kept.test.images.costly
    assert torch.equal(kept.test[0][0], decoded_late.test[0][0])
    assert kept.fingerprint == decoded_late.fingerprint


def test_batches_are_even_and_none_is_left_alone() -> None:
    batches = list(EvenBatches(33, 16, 0))
    assert [len(b) for b in batches] == [11, 11, 11]
    assert sorted(i for b in batches for _, i in b) == list(range(33))


def test_the_fingerprint_follows_content_and_labels(make_folder: Callable[..., Path]) -> None:
    prints = set()
    root = make_folder({"a": 6, "b": 6})
    for change in (None, lambda: (root / "a/0.jpg").write_bytes((root / "a/1.jpg").read_bytes())):
        if change:
            change()
        data = ImageFolder(root=str(root))
        data.prepare(P)
        prints.add(data.fingerprint)
    data = ImageFolder(root=str(root), split_seed=1)
    data.prepare(P)
    assert len(prints | {data.fingerprint}) == 3


def test_another_split_can_be_the_test_split() -> None:
    data = Textures(counts=(4, 3, 2), test_split="val")
    data.prepare(P)
    assert len(data.test) == 3 * 12
    assert all(name.startswith("validation/") for name in data.test.ids)


def test_folds_pool_training_and_validation_and_leave_the_test_images_unread() -> None:
    tested = []
    for fold in range(3):
        data = Textures(counts=(4, 2, 2), folds=3, fold=fold)
        data.prepare(P)
        ids = [*data.train.ids, *data.validation.ids, *data.test.ids]
        assert len(set(ids)) == len(ids) == 6 * 12
        assert not any(name.startswith("test/") for name in ids)
        assert np.bincount(data.test.targets).tolist() == [2] * 12
        tested += data.test.ids
    assert len(set(tested)) == 6 * 12
    other = Textures(counts=(4, 2, 2), folds=3, split_seed=1)
    other.prepare(P)
    assert set(other.test.ids) != set(tested[:24])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"fold": 1}, "needs dataset.folds, as in"),
        ({"folds": 1}, "folds=1: expected a whole number above 1"),
        ({"folds": 3, "fold": 3}, "from 0 to 2"),
        ({"folds": 3, "test_split": "val"}, "leave one of them out"),
    ],
)
def test_impossible_folds_are_refused(settings: dict, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Textures(**settings)


def test_textures_are_grey_balanced_and_from_disjoint_parts() -> None:
    data = Textures(labels_per_class=5)
    data.prepare(Preprocessing(64, (0.5,) * 3, (0.25,) * 3, "bilinear", 1.0))
    assert data.class_names == sorted(PHOTOGRAPHS)
    assert np.bincount(data.train.targets).tolist() == [5] * 12
    image = data.train.image(0).astype(float)
    assert np.ptp(image, axis=2).max() == 0
    assert abs(image.mean() - 128) < 10
    photograph = load_photograph("cat")
    marked = np.arange(photograph.size, dtype=np.float32).reshape(photograph.shape)
    pixels = [set(part.ravel()) for part in split_regions(marked)]
    assert not pixels[0] & pixels[1] | pixels[0] & pixels[2] | pixels[1] & pixels[2]


def test_images_read_before_are_hashed_and_not_decoded(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    root = make_folder({"a": 10, "b": 10})
    seen = SeenImages(tmp_path / "seen")

    def prepared() -> ImageFolder:
        data = ImageFolder(root=str(root))
        data.prepare(P, seen=seen)
        return data

    first, second = prepared(), prepared()
    assert not first.train.images.costly
    assert second.train.images.costly
    assert second.fingerprint == first.fingerprint
    batch = next(iter(second.val_dataloader()))
    assert not second.validation.images.costly  # a loader of images decodes them all
    assert torch.equal(batch[0], next(iter(first.val_dataloader()))[0])
    changed = next(root.rglob("*.jpg"))
    changed.write_bytes(changed.read_bytes()[:100])
    with pytest.raises(DataError, match=str(changed.relative_to(root))):
        prepared()


def test_an_image_changed_during_the_run_is_refused(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    root = make_folder({"a": 10, "b": 10})
    for _ in range(2):
        data = ImageFolder(root=str(root))
        data.prepare(P, seen=SeenImages(tmp_path / "seen"))
    name = data.train.ids[0]
    Image.new("RGB", (20, 20)).save(root / name)
    for change in (lambda path: None, lambda path: path.write_text("no image"), lambda path: path.unlink()):
        change(root / name)
        with pytest.raises(DataError, match=f"'{name}' was changed or removed"):
            data.train.image(0)


@pytest.mark.parametrize("own", [True, False])
def test_validation_takes_a_few_images_a_class_and_test_stays(own: bool, make_folder: Callable[..., Path]) -> None:
    folders = {"train/a": 20, "train/b": 30, "test/a": 4, "test/b": 4} | ({"val/a": 9, "val/b": 5} if own else {})
    root = make_folder(folders)

    def prepared(**settings: int) -> ImageFolder:
        data = ImageFolder(root=str(root), **settings)
        data.prepare(P)
        return data

    plain, few, fewer, other = (
        prepared(),
        prepared(validation_labels_per_class=3),
        prepared(validation_labels_per_class=2),
        prepared(validation_labels_per_class=2, subset_seed=1),
    )
    assert np.bincount(few.validation.targets).tolist() == [3, 3]
    assert set(fewer.validation.ids) < set(few.validation.ids) < set(plain.validation.ids)
    assert set(other.validation.ids) != set(fewer.validation.ids)
    for split in ("train", "test"):
        assert getattr(few, split).ids == getattr(plain, split).ids
    with pytest.raises(DataError, match=r"validation_labels_per_class=99: class 'a' has only \d validation images"):
        prepared(validation_labels_per_class=99)


def large(tmp_path: Path, side: int = 100) -> Path:
    """Write eight images of noise for each class, all of one size."""
    for label in "ab":
        (tmp_path / "large" / label).mkdir(parents=True)
        for number in range(8):
            noise = np.random.default_rng(number).integers(0, 256, (side, side + 10, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / "large" / label / f"{number}.png")
    return tmp_path / "large"


def cut(root: Path, views: Pipeline | None = None, **settings: Any) -> ImageFolder:
    data = ImageFolder(root=str(root), **settings)
    data.prepare(P, Pipeline([CropResize(flip=0)]) if views is None else views)
    return data


@pytest.mark.parametrize(("side", "decoded"), [(100, 32), (25, 25), (10, 10)])
def test_crop_resize_cuts_from_the_image_as_far_as_it_has_pixels(side: int, decoded: int, tmp_path: Path) -> None:
    """A side of 32 pixels gives the smallest part, 0.35 of the area at 4 to 3, 16 pixels without enlargement."""
    root = large(tmp_path, side)
    data = cut(root)
    with Image.open(root / data.train.ids[0]) as image:
        scale = decoded / side
        size = (round(image.width * scale), decoded)
        whole = np.asarray(image.resize(size, Image.Resampling.BILINEAR))
    view = CropResize(flip=0)
    rng = generator("augmentation", data.augmentation_seed, 3, 0)
    expected = view.apply(whole, view.draw(rng, whole.shape[:2], 16), 16)
    assert np.array_equal(data.train.image(0, epoch=3), expected)


def test_plain_images_do_not_depend_on_views(tmp_path: Path) -> None:
    root = large(tmp_path)
    with_views, without = cut(root), cut(root, Pipeline([]))
    positions = list(range(len(without.train)))
    for one, other in ((with_views.train.without_views(), without.train), (with_views.test, without.test)):
        assert torch.equal(one.__getitems__(positions[:3])[0], other.__getitems__(positions[:3])[0])
    assert with_views.fingerprint == without.fingerprint
    assert with_views.train.source.decoder != with_views.train.images.decoder == without.train.source.decoder


def test_larger_images_are_kept_only_where_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = large(tmp_path)
    views = {}
    for room in (2**20, 16 * 18**2 * 4 + 32 * 35 * 3 * 8):  # of 16 plain images, and fewer larger ones than there are
        monkeypatch.setattr(module_under_test, "KEEP_BYTES", room)
        data = cut(root, batch_size=4, num_workers=0)
        views[room] = torch.cat([batch[0] for batch in data.train_dataloader()])
        assert not data.train.images.costly
        assert data.train.source.costly is (room < 2**20)
    one, other = views.values()
    assert torch.equal(one, other)


@pytest.mark.parametrize("resize", ["squish", "pad"])
def test_the_whole_image_is_evaluated_and_crops_are_cut_from_it(resize: str, tmp_path: Path) -> None:
    root = large(tmp_path)
    data, cropped = cut(root, resize=resize), cut(root)
    with Image.open(root / data.test.ids[0]) as image:
        size = (16, 16) if resize == "squish" else (16, round(16 * 100 / 110))
        whole = np.asarray(image.resize(size, Image.Resampling.BILINEAR))
    pixel_rows = data.test.image(0)
    assert pixel_rows.shape == (16, 16, 3)
    top = (16 - whole.shape[0]) // 2
    assert np.array_equal(pixel_rows[top : top + whole.shape[0]], whole)
    assert np.array_equal(data.train.image(0), cropped.train.image(0))
    with pytest.raises(ConfigError, match=f"resize={resize} keeps the whole image"):
        ImageFolder(root=str(root), resize=resize, crop_fraction=0.8)
