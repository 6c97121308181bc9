"""Images with masks: how they may lie, what their values may mean, and one sentence for what can be wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_masks import COLOURS, SPLITS, labels_of, save_pair, write_masks
from PIL import Image

from headstart.augmentations import CropResize, FlipCrop, Pipeline
from headstart.backbones import Preprocessing
from headstart.errors import HeadstartError
from headstart.inputs.facts import Facts
from headstart.masks import ImageMask
from headstart.targets.label_images import pixel_counts

SIZE = 16
P = Preprocessing(SIZE, (0.5,) * 3, (0.25,) * 3, "bilinear", 1.0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_masks(tmp_path / "set")


def ready(root: Path, views: Any = None, **settings: Any) -> ImageMask:
    data = ImageMask(root=str(root), task="segmentation", image_size=SIZE, ignore_index=3, **settings)
    data.prepare(P, views)
    return data


def test_folders_in_splits(root: Path) -> None:
    data = ready(root)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [4, 2, 3]
    assert data.class_names == ["0", "1", "2"]
    batch = data.train.__getitems__([0, 2])
    assert batch.targets.dtype == torch.int64
    assert batch.targets.shape == (2, SIZE, SIZE)
    assert set(batch.targets.unique().tolist()) <= {-1, 0, 1, 2}
    counts = [np.bincount(labels_of(number).ravel(), minlength=4)[:3] for number in range(4)]
    assert pixel_counts(data.train.targets).tolist() == [count.tolist() for count in counts]


def test_folders_above_splits_and_without(tmp_path: Path, root: Path) -> None:
    for split in SPLITS:
        for folder in ("images", "masks"):
            (tmp_path / "other" / folder).mkdir(parents=True, exist_ok=True)
            (root / split / folder).rename(tmp_path / "other" / folder / split)
    above = ready(tmp_path / "other")
    assert [len(split) for split in (above.train, above.validation, above.test)] == [4, 2, 3]
    flat = tmp_path / "flat"
    for number in range(10):
        save_pair(flat, ".", number % 9, suffix="tif") if number < 9 else None
    without = ready(flat)
    assert sorted(map(len, (without.train, without.validation, without.test))) == [1, 2, 6]


def test_a_list(root: Path) -> None:
    rows = ["path,mask,split"]
    for split, count in SPLITS.items():
        rows += [f"{split}/images/{n}.png,{split}/masks/{n}.png,{split}" for n in range(count)]
    (root / "list.csv").write_text("\n".join(rows))
    listed, found = ready(root / "list.csv"), ready(root)
    assert torch.equal(listed.test.__getitems__([0, 1, 2]).targets, found.test.__getitems__([0, 1, 2]).targets)


@pytest.mark.parametrize("kind", ["P", "RGB"])
def test_palettes_and_colours_give_the_same_labels(tmp_path: Path, root: Path, kind: str) -> None:
    file = tmp_path / "palette.csv"
    file.write_text("name,r,g,b\n" + "\n".join(f"c{n},{r},{g},{b}" for n, (r, g, b) in enumerate(COLOURS)))
    coloured = ready(write_masks(tmp_path / kind, kind), **({"palette": str(file)} if kind == "RGB" else {}))
    everything = np.arange(4)
    assert (coloured.train.targets[everything] == ready(root).train.targets[everything]).all()
    assert coloured.class_names == (["c0", "c1", "c2"] if kind == "RGB" else ["0", "1", "2"])


def test_an_ignored_index_within_the_names_is_no_class(tmp_path: Path, root: Path) -> None:
    (tmp_path / "names.txt").write_text("sky\nvoid\nroad\ncar\n")
    data = ImageMask(
        root=str(root), task="segmentation", image_size=SIZE, ignore_index=1, classes=str(tmp_path / "names.txt")
    )
    data.prepare(P)
    assert data.class_names == ["sky", "road", "car"]
    plain = ready(root).train.targets[np.arange(1)]
    found = data.train.targets[np.arange(1)]
    assert (found[plain == 1] == -1).all()
    assert (found[plain == 2] == 1).all()


@pytest.mark.parametrize("resize", ["crop", "squish", "pad"])
def test_masks_have_the_geometry_of_their_images(root: Path, resize: str) -> None:
    """Away from borders between classes, the colour of a pixel is that of its label."""
    data = ready(root, resize=resize)
    batch = data.train.__getitems__(list(range(4)))
    check_colours(batch.inputs, batch.targets, 0.85)
    if resize == "pad":
        assert (batch.targets[:, 0] == -1).all()


def check_colours(images: torch.Tensor, targets: torch.Tensor, least: float) -> None:
    """Assert that at least this share of the labelled pixels has the colour of its label."""
    colours = torch.tensor(COLOURS)[targets.clamp(min=0)].permute(0, 3, 1, 2)
    near = (images.int() - colours).abs()[:, :2].amax(dim=1) < 60
    assert float(near[targets >= 0].float().mean()) > least


def test_a_mask_may_be_stored_as_its_image_is(tmp_path: Path, root: Path) -> None:
    """An image that is stored lying down has a mask that lies down, too, or stands upright."""
    upright, lying = ready(root).train.targets[np.arange(4)], []
    for stored in (True, False):
        for number in range(4):
            image = Image.open(root / "train" / "images" / f"{number}.png").transpose(Image.Transpose.ROTATE_90)
            exif = Image.Exif()
            exif[274] = 6  # turned clockwise by the viewer
            image.save(root / "train" / "images" / f"{number}.png", exif=exif)
            mask = Image.fromarray(labels_of(number))
            mask = mask.transpose(Image.Transpose.ROTATE_90) if stored else mask
            mask.save(root / "train" / "masks" / f"{number}.png")
        lying.append(ready(root).train.targets[np.arange(4)])
        write_masks(root)
    assert (lying[0] == upright).all()
    assert (lying[1] == upright).all()


@pytest.mark.parametrize("view", [CropResize(scale=(0.4, 0.9)), FlipCrop(slack=0.5)])
@pytest.mark.parametrize("resize", ["crop", "pad"])
def test_views_move_masks_with_their_images(root: Path, view: Any, resize: str) -> None:
    split = ready(root, Pipeline([view]), resize=resize).train
    for packed in (False, True):
        split.views_in_batches = packed
        batch = split.__getitems__([(epoch, n) for epoch in range(6) for n in range(4)]).carried_out()
        assert batch.targets.shape == (24, SIZE, SIZE)
        check_colours(batch.inputs, batch.targets, 0.75)
    assert len({target.numpy().tobytes() for target in batch.targets}) > 12


def test_several_views_have_a_target_each(root: Path) -> None:
    split = ready(root, Pipeline([CropResize(copies=2)])).train
    batch = split.__getitems__([(0, 0), (0, 1)])
    assert batch.views == 2
    assert batch.targets.shape == (4, SIZE, SIZE)
    check_colours(batch.inputs, batch.targets, 0.7)


def test_masks_are_part_of_the_data(root: Path) -> None:
    first = ready(root)
    before = first.source_hash(Facts(None)), first.fingerprint, first.contents_hash()
    Image.fromarray(np.roll(labels_of(1), 4, axis=1)).save(root / "train" / "masks" / "1.png")
    second = ready(root)
    after = second.source_hash(Facts(None)), second.fingerprint, second.contents_hash()
    assert all(one != other for one, other in zip(before, after, strict=True))
    assert first.train.images.contents == second.train.images.contents
    assert second.source_hash(Facts(None)) != ready(root, classes=["a", "b", "c"]).source_hash(Facts(None))


def test_a_mask_that_changes_during_the_run_is_noticed(root: Path) -> None:
    data = ready(root)
    Image.fromarray(labels_of(3)).save(root / "train" / "masks" / "1.png")
    with pytest.raises(HeadstartError, match=r"The mask of 'train/images/1.png' was changed"):
        data.train.__getitems__([1])


def remove_masks(root: Path, split: str = "train") -> None:
    for path in (root / split / "masks").iterdir():
        path.unlink()
    (root / split / "masks").rmdir()


def save_mask(root: Path, values: Any, name: str = "train/masks/1.png", **kwargs: Any) -> None:
    Image.fromarray(np.asarray(values, np.uint8)).save(root / name, **kwargs)


def every_mask(root: Path, values: Callable[[int], np.ndarray]) -> None:
    for path in root.glob("*/masks/*.png"):
        Image.fromarray(values(int(path.stem))).save(path)


def as_jpeg(root: Path) -> None:
    (root / "train/masks/1.png").unlink()
    save_mask(root, labels_of(1), "train/masks/1.jpg")


def write(root: Path, name: str, text: str) -> str:
    (root / name).write_text(text)
    return str(root / name)


# What is done to a good data set, the settings, and the sentence.
BAD: dict[str, tuple[Callable[[Path], Any], dict[str, Any], str]] = {
    "another size": (
        lambda root: save_mask(root, labels_of(1)[:, :-4]), {},
        r"'train/images/1.png' cannot be used: 26 x 20 pixels, but its image has 30 x 20",
    ),
    "index beyond the names": (
        lambda root: save_mask(root, labels_of(1) + 4), {"classes": ["a", "b", "c"]},
        r"value 4, 5, 6, \.\.\., but there are only 3 classes",
    ),
    "255 for no class": (
        lambda root: save_mask(root, np.where(labels_of(1) == 2, 255, 0)), {"classes": ["a", "b", "c"]},
        r"value 255, but .* for 'no class' set dataset.ignore_index=255",
    ),
    "no masks folder": (remove_masks, {}, r"'train' holds 'images'; expected the folders images and masks"),
    "no folders": (
        lambda root: [(root / split).rename(root / f"x{n}") for n, split in enumerate(SPLITS)], {},
        r"has no folders images and masks, nor folders train, val and test",
    ),
    "no train": (lambda root: (root / "train").rename(root / "more"), {}, r"has no train folder beside"),
    "names that do not match": (
        lambda root: (root / "train/masks/1.png").rename(root / "train/masks/1_mask.png"), {},
        r"1 image has no mask of the same name, such as 'train/images/1.png'; expected 'train/masks/1.png'",
    ),
    "two masks of one name": (
        lambda root: save_mask(root, labels_of(1), "train/masks/1.tif"), {}, r"differ only in their suffix"
    ),
    "all pixels ignored": (
        lambda root: every_mask(root, lambda n: np.full((20, 30), 3, np.uint8)), {},
        r"All pixels of all masks are ignored",
    ),
    "all pixels of a split ignored": (
        lambda root: [save_mask(root, np.full((20, 30), 3), f"test/masks/{n}.png") for n in range(3)], {},
        r"All pixels of the test masks are ignored",
    ),
    "one class only": (
        lambda root: every_mask(root, lambda n: np.zeros((20, 30), np.uint8)), {}, r"only the class '0'"
    ),
    "one class in train": (
        lambda root: [save_mask(root, np.ones((20, 30)), f"train/masks/{n}.png") for n in range(4)], {},
        r"The training masks have only the class '1'",
    ),
    "colours without a palette": (
        lambda root: write_masks(root, "RGB"), {}, r"a colour image \(RGB\) has no class indices: name its colours"
    ),
    "a colour beyond the palette": (
        lambda root: write_masks(root, "RGB"),
        {"palette": "0 0 0 a\n200 0 0 b\n"},
        r"the palette has no colour (0 200|9 9) ",
    ),
    "a palette with two equal colours": (
        lambda root: None, {"palette": "0 0 0 a\n0 0 0 b\n"}, r"two lines have the colour 0 0 0"
    ),
    "a palette that is none": (lambda root: None, {"palette": "a\nb c\n"}, r"line 2 reads 'b c'; expected a name and"),
    "no palette file": (lambda root: None, {"palette": None}, r"there is no such file"),
    "names twice": (lambda root: None, {"classes": "a\nb\na\n"}, r"the name 'a' occurs twice"),
    "JPEG": (as_jpeg, {}, r"JPEG changes values: save it as PNG"),
    "damaged": (lambda root: write(root, "train/masks/1.png", "x"), {}, r"cannot be used: not an image"),
    "an empty file": (lambda root: write(root, "train/masks/1.png", ""), {}, r"cannot be used: the file is empty"),
    "labels per class": (lambda root: None, {"labels_per_class": 2}, r"dataset.labels_per_class counts classes"),
    "sampler": (lambda root: None, {"balance": "sampler"}, r"dataset.balance counts classes"),
    "no split folder": (lambda root: None, {"splits": {"train": "trian"}}, r"no such folder .* Did you mean 'train'"),
    "another task": (lambda root: None, {"task": "classification"}, r"use task=segmentation"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_said_in_one_sentence(root: Path, case: str) -> None:
    damage, settings, sentence = BAD[case]
    damage(root)
    settings = dict(settings)
    for key in ("palette", "classes"):
        if isinstance(settings.get(key), str):
            settings[key] = write(root, f"{key}.txt", settings[key])
        elif key in settings and settings[key] is None:
            settings[key] = str(root / "missing.txt")
    with pytest.raises(HeadstartError, match=sentence) as error:
        ImageMask(**{"root": str(root), "task": "segmentation", "ignore_index": 3, **settings}).prepare(P)
    assert str(error.value).endswith(".") or "Did you mean" in str(error.value)
    assert "\n" not in str(error.value)
