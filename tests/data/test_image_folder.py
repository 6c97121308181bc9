"""Test class folders: every layout is read, and every error is one sentence."""

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from headstart.backbones import Preprocessing
from headstart.data import ImageData, ImageFolder
from headstart.errors import ConfigError, DataError
from headstart.files import write_atomically
from headstart.inputs.decoding import Decoder
from headstart.kinds import KINDS
from headstart.records.predictions import write_predictions

CLASSES = KINDS["classification"]

P = Preprocessing(16, (0.5,) * 3, (0.25,) * 3, "bilinear", 0.875)
Make = Callable[..., Path]


def sizes(data: ImageData) -> tuple[int, int, int]:
    data.prepare(P)
    return len(data.train), len(data.validation), len(data.test)


@pytest.mark.parametrize(
    ("splits", "options", "expected"),
    [
        ([""], {}, (12, 4, 4)),
        (["train/", "test/"], {}, (16, 4, 20)),
        (["train/", "val/"], {}, (16, 20, 4)),
        (["train/", "val/", "test/"], {}, (20, 20, 20)),
        (["train/", "val/"], {"test_split": "val"}, (16, 4, 20)),
    ],
)
def test_layouts(make_folder: Make, splits: list[str], options: dict, expected: tuple[int, int, int]) -> None:
    root = make_folder({f"{split}{name}": 10 for split in splits for name in ("ants", "bees")})
    data = ImageFolder(root=str(root), **options)
    found = sizes(data)
    assert sum(found) == 20 * len(splits)
    assert found == expected
    made = [name for name in ("validation", "test") if name in data.splits_made]
    assert len(made) == 3 - len(splits)
    assert data.class_names == ["ants", "bees"]
    ids = [*data.train.ids, *data.validation.ids, *data.test.ids]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("counts", "options", "message"),
    [
        ({"train/a": 3, "train/b": 0}, {}, "class folder .*b' holds no image"),
        ({"train/a": 3, "train/b": 3, "test/c": 3}, {}, "Class 'c' of test is missing in train"),
        ({"train/a": 3}, {}, "only the class 'a'"),
        ({"test/a": 3, "val/a": 3}, {}, "no train folder"),
        ({"a": 3, "b": 3}, {"test_split": "tset"}, "test_split=tset"),
        ({"a": 3, "b": 3}, {"labels_per_class": 50}, "has only"),
    ],
)
def test_wrong_folders_get_a_sentence(make_folder: Make, counts: dict, options: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        sizes(ImageFolder(root=str(make_folder(counts)), **options))


def test_a_missing_folder_gets_the_nearest(make_folder: Make) -> None:
    root = make_folder({"a": 3, "b": 3})
    with pytest.raises(DataError, match=r"no such folder. Did you mean '.*images'"):
        sizes(ImageFolder(root=str(root) + "x"))
    with pytest.raises(ConfigError, match=r"dataset.root is not set"):
        sizes(ImageFolder())


def test_a_truncated_image_stops_or_is_skipped(make_folder: Make) -> None:
    root = make_folder({"a": 10, "b": 10})
    whole = (root / "a/3.jpg").read_bytes()
    (root / "a/3.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "b/3.jpg").write_text("not an image")
    with pytest.raises(DataError, match=r"^2 of 20 images cannot be read: .*'[ab]/3.jpg' \(.*on_error=skip\.$"):
        sizes(ImageFolder(root=str(root)))
    data = ImageFolder(root=str(root), on_error="skip")
    assert sum(sizes(data)) == 18
    assert sorted(data.skipped) == ["a/3.jpg", "b/3.jpg"]


def unlike(root: Path, name: str, value: int) -> Path:
    """Write an image that differs from all others."""
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (20, 20), value).save(root / name, "PNG")
    return root / name


def test_files_that_only_look_like_images_are_named_and_counted(make_folder: Make) -> None:
    root = make_folder({"a": 10, "b": 10})
    os.mkfifo(root / "a/pipe.jpg")
    (root / "a/nowhere.jpg").symlink_to("gone.jpg")
    (root / "b/loop.jpg").symlink_to("loop.jpg")
    (root / "b/zero.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"^4 of 24 images cannot be read: .* and 1 more; replace them"):
        sizes(ImageFolder(root=str(root)))
    data = ImageFolder(root=str(root), on_error="skip")
    assert sum(sizes(data)) == 20
    assert sorted(data.skipped) == ["a/nowhere.jpg", "a/pipe.jpg", "b/loop.jpg", "b/zero.jpg"]


def test_hidden_files_and_links_to_a_parent_are_skipped(make_folder: Make) -> None:
    root = make_folder({"a": 10, "b": 10})
    for name in (".hidden.jpg", "._0.jpg", ".checkpoints/0.jpg", "__MACOSX/0.jpg"):
        (root / "a" / name).parent.mkdir(exist_ok=True)
        (root / "a" / name).write_text("no image")
    (root / "a/round").symlink_to(root)
    unlike(root, "a/sub.jpg/deep.jpg", 1)  # a folder that is called like an image
    data = ImageFolder(root=str(root))
    assert sum(sizes(data)) == 21
    assert any("a/sub.jpg/deep.jpg" in split.ids for split in (data.train, data.validation, data.test))


def test_a_class_that_leads_back_is_refused(make_folder: Make) -> None:
    root = make_folder({"a": 3, "b": 3})
    (root / "c").symlink_to(".")
    with pytest.raises(DataError, match=r"class folder '.*c' is a link to a folder that holds it"):
        sizes(ImageFolder(root=str(root)))


def test_a_folder_that_cannot_be_read_is_named(make_folder: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_folder({"a": 3, "b": 3, "b/closed": 1})
    listed = os.scandir

    def closed(folder: Any) -> Any:
        if str(folder).endswith("closed"):  # the superuser may read everything, so permissions are not enough here
            raise PermissionError(13, "Permission denied", str(folder))
        return listed(folder)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(DataError, match=r"The folder '.*closed' cannot be read: Permission denied"):
        sizes(ImageFolder(root=str(root)))


def test_a_folder_of_texts_is_empty(make_folder: Make) -> None:
    root = make_folder({"a": 3, "b": 0})
    for name in ("one.txt", "two.txt"):
        (root / "b" / name).write_text("words")
    with pytest.raises(DataError, match=r"b' holds no image, but 2 other files such as 'one.txt'\."):
        sizes(ImageFolder(root=str(root)))


def test_names_of_any_bytes_reach_every_file(make_folder: Make, tmp_path: Path) -> None:
    root = make_folder({"a": 4, "b": 4})
    (root / "b").rename(root / os.fsdecode(b"\xe9t\xe9"))
    (root / "a/0.jpg").rename(root / os.fsdecode(b"a/caf\xe9\n.jpg"))
    data = ImageFolder(root=str(root.rename(str(root) + os.fsdecode(b"\xff"))))
    data.prepare(P)
    assert data.class_names == ["a", "\\xe9t\\xe9"]
    splits = (data.train, data.validation, data.test)
    assert "a/caf\\xe9\\x0a.jpg" in [name for split in splits for name in split.ids]
    assert data.name == "images\\xff"
    for split in splits:
        write_predictions(
            tmp_path / "p.csv",
            split.ids,
            split.targets,
            torch.zeros(len(split), 2),
            data.class_names,
            CLASSES,
        )
        assert [row["id"] for row in csv.DictReader((tmp_path / "p.csv").open())] == list(split.ids)
    write_atomically(tmp_path / "run.json", json.dumps({"root": data.root}, ensure_ascii=False))
    assert json.loads((tmp_path / "run.json").read_text())["root"] == data.root


def test_few_labels_are_chosen_among_readable_images(make_folder: Make) -> None:
    root = make_folder({"train/a": 9, "train/b": 9, "test/a": 2, "test/b": 2, "val/a": 2, "val/b": 2})
    for name in ("0", "2", "4", "5"):
        (root / f"train/a/{name}.jpg").write_text("not an image")
    data = ImageFolder(root=str(root), on_error="skip", labels_per_class=5)
    data.prepare(P)
    assert np.bincount(data.train.targets).tolist() == [5, 5]
    assert 0 < len(data.skipped) == len(set(data.skipped)) <= 4
    with pytest.raises(DataError, match="'a' has only 5 training images that can be read"):
        ImageFolder(root=str(root), on_error="skip", labels_per_class=6).prepare(P)


def test_a_strip_is_cut_before_it_grows() -> None:
    strip = Image.fromarray(np.arange(3000, dtype=np.uint16).astype(np.uint8)[None, :].repeat(2, axis=0))
    for image, expected in ((strip, (16, 128, 3)), (strip.transpose(Image.Transpose.ROTATE_90), (128, 16, 3))):
        assert Decoder(16)(image).shape == expected


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK", "I;16"])
def test_every_mode_becomes_rgb(make_folder: Make, mode: str) -> None:
    root = make_folder({"a": 4, "b": 4}, suffix="png")
    path = root / "a" / ("new.jpg" if mode == "CMYK" else "new.png")
    if mode == "I;16":
        Image.fromarray(np.full((30, 20), 40000, dtype=np.uint16)).save(path)
    else:
        Image.new("RGB", (20, 30), (200, 100, 0)).convert(mode).save(path)
    data = ImageFolder(root=str(root))
    data.prepare(P)
    everything = [p for s in (data.train, data.validation, data.test) for p in map(s.image, range(len(s)))]
    assert {p.shape for p in everything} == {(16, 16, 3)}


def test_exif_orientation_is_applied(make_folder: Make) -> None:
    root = make_folder({"a": 4, "b": 4})
    image = Image.new("RGB", (64, 32), (0, 0, 0))
    image.paste((255, 255, 255), (0, 0, 64, 16))  # white above
    exif = image.getexif()
    exif[274] = 6  # turned: the stored top is the right side
    image.save(root / "a/turned.jpg", exif=exif)
    data = ImageFolder(root=str(root))
    data.prepare(P)
    split, index = next(
        (s, s.ids.index("a/turned.jpg")) for s in (data.train, data.validation, data.test) if "a/turned.jpg" in s.ids
    )
    pixel_rows = split.image(index)
    assert pixel_rows[:, 12:].mean() > 200
    assert pixel_rows[:, :4].mean() < 50


@pytest.mark.parametrize(
    "options",
    [
        {"near_duplicates": "yes"},
        {"image_size": 0},
        {"batch_size": 0},
        {"num_workers": -1},
        {"on_error": "ignore"},
        {"labels_per_class": "all"},
        {"labels_per_class": 2.5},
        {"validation_fraction": "some"},
        {"test_fraction": 1.0},
        {"crop_fraction": "half"},
    ],
)
def test_wrong_numbers_are_refused_at_once(options: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        ImageFolder(root="x", **options)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_grey_image_is_resized_as_its_colour_twin(interpolation: str) -> None:
    grey = Image.fromarray(np.random.default_rng(0).integers(0, 256, (41, 57), dtype=np.uint8))
    decoder = Decoder(18, interpolation)
    assert np.array_equal(decoder(grey), decoder(grey.convert("RGB")))


def test_contents_under_two_labels_are_warned_of(make_folder: Make) -> None:
    root = make_folder({"train/a": 4, "train/b": 4, "test/a": 2, "test/b": 2})
    shutil.copy(root / "train/a/0.jpg", root / "train/b/copy.jpg")
    shutil.copy(root / "train/a/1.jpg", root / "test/b/copy.jpg")
    data = ImageFolder(root=str(root))
    data.prepare(P)
    (warning,) = data.warnings
    assert warning.startswith("2 images have the same content under two labels, such as 'train/")
    data.prepare(P)
    assert data.warnings == [warning], "said once"


def test_two_images_a_class_are_too_few_for_three_splits(make_folder: Make) -> None:
    with pytest.raises(DataError, match=r"^Class 'a' has 2 images; 3 are needed for train, validation and test\.$"):
        sizes(ImageFolder(root=str(make_folder({"a": 2, "b": 3}))))


def test_unused_splits_and_fractions_are_named(make_folder: Make) -> None:
    root = make_folder({f"{split}/{name}": 4 for split in ("train", "val", "test") for name in "ab"})
    data = ImageFolder(root=str(root), test_split="val", test_fraction=0.3)
    data.prepare(P)
    assert data.not_used == ["split `test`: 8 images"]
    assert data.splits_made.endswith("; dataset.test_fraction not used, as the source has its own split")


def test_groups_come_from_names(make_folder: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    data = ImageFolder(root=str(make_folder({"a": 6, "b": 6})), groups=r"/(\d)\.")
    seen = {}
    assign = data._assign
    monkeypatch.setattr(data, "_assign", lambda found: seen.update(found) or assign(found))
    data.prepare(P)
    assert seen["train"].groups == [str(number) for number in range(6)] * 2
