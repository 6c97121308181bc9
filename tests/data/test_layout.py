"""Test layouts of folders: read, or refused with the setting that decides. Empty files count by their names."""

from pathlib import Path
from typing import Any

import pytest

from headstart.data import ImageFolder
from headstart.errors import HeadstartError

Counts = dict[str, int]


def made(root: Path, counts: Counts) -> Path:
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (root / folder / f"{number}.jpg").touch()
    return root


def split(*folders: str, count: int = 3) -> Counts:
    """Return two classes in each folder."""
    return {f"{folder}/{name}": count for folder in folders for name in ("cat", "dog")}


def collected(root: Path, **options: Any) -> tuple[list[str], Counts, list[str]]:
    """Return the classes, the number of images of each split, and the unused files."""
    data = ImageFolder(root=str(root), **options)
    names, found = data.collect()
    return names, {name: len(part) for name, part in found.items()}, data.not_used


THREE = {"train": 6, "validation": 6, "test": 6}
UNDERSTOOD: dict[str, tuple[Counts, dict[str, Any], Counts, list[str]]] = {
    "sets": (split("training_set", "test_set"), {}, {"train": 6, "test": 6}, []),
    "capital": (split("Training_Set", "Testing_Set"), {}, {"train": 6, "test": 6}, []),
    "dev": (split("train", "dev", "test"), {}, THREE, []),
    "valid": (split("TRAIN", "Valid", "TEST"), {}, THREE, []),
    "eval": (split("train", "evaluation"), {}, {"train": 6, "validation": 6}, []),
    "images": (split("train_images", "val_images", "test_images"), {}, THREE, []),
    "named": (split("flowers_train", "flowers_val", "flowers_test"), {}, THREE, []),
    "doubled": (
        split("seg_train/seg_train", "seg_test/seg_test") | {"seg_pred/seg_pred": 8},
        {},
        {"train": 6, "test": 6},
        ["`seg_pred`: 8 images without labels"],
    ),
    "images within": (split("train/images", "test/images"), {}, {"train": 6, "test": 6}, []),
    "wrapper": (split("archive/train", "archive/val") | {"archive": 2}, {}, {"train": 6, "validation": 6},
                ["2 images outside class folders"]),
    "wrappers": (split("archive/data"), {}, {"train": 6}, []),
    "holdout": (
        split("train", "val", "holdout") | {"train": 5},
        {},
        {"train": 6, "validation": 6},
        ["split folder `holdout`: 6 images", "5 images outside class folders"],
    ),
    "holdout tested on": (split("train", "val", "holdout"), {"test_split": "holdout"},
                          {"train": 6, "validation": 6, "holdout": 6}, []),
    "holdout named": (split("train", "val", "holdout"), {"splits": {"train": "train", "test": "holdout"}},
                      {"train": 6, "test": 6}, ["split folder `val`: 6 images"]),
    "nested named": (split("a/b", "c"), {"splits": {"train": "a/b", "val": "c"}}, {"train": 6, "validation": 6}, []),
    "unlabelled": (split("train") | {"test": 10}, {}, {"train": 6}, ["`test`: 10 images without labels"]),
    "unlabelled within": (split("train") | {"test/images": 4}, {}, {"train": 6}, ["`test`: 4 images without labels"]),
    "predict": (split("train") | {"predict": 4}, {}, {"train": 6}, ["`predict`: 4 images without labels"]),
    "other": (split("train", "test") | {"misc": 4}, {}, {"train": 6, "test": 6}, ["folder `misc`: 4 images"]),
    "empty test": (split("train") | {"test": 0}, {}, {"train": 6}, ["split folder `test`: no images"]),
    "one class in test": (split("train") | {"test/dog": 2}, {}, {"train": 6, "test": 2}, []),
    "no splits": ({"cat": 3, "dog": 4, ".": 5}, {}, {"train": 7}, ["5 images outside class folders"]),
    "days below numbers": ({"1": 3, "2": 3, "1/2019/2": 2, "2/2019/3": 2}, {}, {"train": 10}, []),
    "below classes": ({"cat/2019": 3, "cat/2020": 1, "dog/2019": 2, "dog/2020": 2}, {}, {"train": 8}, []),
    "some classes": ({"cat": 3, "dog": 4, "owl": 5}, {"classes": ["dog", "cat"]}, {"train": 7},
                     ["class folder `owl`: 5 images"]),
    "some classes of splits": (split("train", "test") | {"train/owl": 2, "test/owl": 1}, {"classes": ["cat", "dog"]},
                               {"train": 6, "test": 6},
                               ["class folder `test/owl`: 1 image", "class folder `train/owl`: 2 images"]),
    "a class called train": ({"cat": 3, "dog": 4, "train": 5}, {"classes": ["cat", "dog", "train"]}, {"train": 12}, []),
    "classes at the root": (split("train") | {"cat": 1, "dog": 1},
                            {"splits": {"train": "."}, "classes": ["cat", "dog"]},
                            {"train": 2}, ["class folder `train`: 6 images"]),
    "test beside classes": ({"cat": 3, "dog": 3} | split("test"),
                            {"splits": {"train": ".", "test": "test"}, "classes": ["cat", "dog"]},
                            {"train": 6, "test": 6}, []),
    "with and without": ({"with_mask": 3, "without_mask": 3, "mask": 1}, {}, {"train": 7}, []),
    "images and masks are classes": ({"images": 3, "masks": 3}, {"classes": ["images", "masks"]}, {"train": 6}, []),
    "same folders below": (split("site1", "site2"), {"classes": ["site1", "site2"]}, {"train": 12}, []),
}  # fmt: skip


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_understood(tmp_path: Path, name: str) -> None:
    counts, options, sizes, unused = UNDERSTOOD[name]
    names, found, not_used = collected(made(tmp_path, counts), **options)
    assert found == sizes
    assert not_used == unused
    if "classes" not in options and name not in ("with and without", "a class called train", "days below numbers"):
        assert names == ["cat", "dog"]


BESIDE = r"means? a? ?splits?, beside"
REFUSED: dict[str, tuple[Counts, dict[str, Any], str]] = {
    "beside": (split("train") | {"cat": 3, "dog": 3}, {}, BESIDE + r" 'cat', 'dog'; .*dataset.splits=\{train: train"),
    "splits and classes": (split("train", "val") | {"cat": 3}, {}, BESIDE + r" 'cat'.*classes=\[cat,train,val\]"),
    "vehicles": ({"train": 3, "bus": 3, "car": 3}, {}, BESIDE + r" 'bus', 'car'.*dataset.classes=\[bus,car,train\]"),
    "unknown beside train": (split("train") | {"misc": 3}, {}, BESIDE + " 'misc'"),
    "both fit": (split("train") | {"cat": 3, "dog": 3}, {"classes": ["cat", "dog"]}, r"splits=\{train: \.\}"),
    "masks": ({"images": 3, "masks": 3}, {}, r"'images' beside 'masks', which looks like images and their masks"),
    "yolo": ({"images/train": 3, "images/val": 3, "labels": 0}, {}, r"'images' beside 'labels'"),
    "yolo below": ({"train/images": 3, "train/labels": 0, "val/images": 2}, {}, r"'images' beside 'labels'"),
    "voc": ({"JPEGImages": 3, "SegmentationClass": 3}, {}, r"beside 'SegmentationClass'"),
    "masks of train": ({"train_images": 3, "train_masks": 3}, {}, r"'train_images' beside 'train_masks'"),
    "masks of classes": ({f"{name}/{part}": 3 for name in ("covid", "normal") for part in ("images", "masks")}, {},
                         r"class folder '.*covid' holds 'images' beside 'masks'"),
    "a class of masks": ({"benign": 3, "malignant": 3, "benign_mask": 3}, {},
                         r"'.*benign_mask' is beside 'benign'.*classes=\[benign,malignant\]"),
    "folds of splits": (split("f1/train", "f1/test", "f2/train", "f2/test"), {},
                        r"\(test, train\).*dataset.splits=\{test: f1/test, train: f1/train\}"),
    "thumbnails": ({"images": 3, "thumbnails": 3}, {}, r"'images' does not look like a class"),
    "repeated": ({"a": 3, "b": 3, "all/a": 3, "all/b": 3}, {}, r"'.*all' holds 'a', which is also .*classes=\[a,b\]"),
    "repeated deeper": ({"a": 3, "b": 3, "c": 1, "a/old/copy/b": 3, "a/old/copy/c": 1}, {},
                        r"'.*/a' holds 'old/copy/b', which is also .* remove it if .*classes=\[a,b,c\]"),
    "a backup": ({"a": 3, "b": 3, "backup/2019/a": 3, "backup/2019/b": 2}, {}, r"holds '2019/a', .*classes=\[a,b\]"),
    "labels as images": ({"A": 3, "B": 3, "label": 3}, {}, r"and 'label' does not look like a class"),
    "ground truth": ({"scans": 3, "Ground_Truth": 3}, {}, r"and 'Ground_Truth' does not look like a class"),
    "sites of two sizes": (split("te", count=1) | split("tr"), {}, r"\{train: tr, test: \.\.\.\}"),
    "repeated in train": (split("train", "train/more"), {}, r"'.*train/more' holds 'cat', which is also a class"),
    "folds": (split("fold1", "fold2"), {}, r"\('fold1', 'fold2'\) holds the folders 'cat', 'dog', so either"),
    "splits below": ({"cat/train": 3, "cat/test": 3, "dog/train": 3, "dog/test": 3}, {}, r"holds split folders"),
    "splits in train": (split("train/train", "train/test"), {}, r"'.*train' holds the split folder 'test'"),
    "two trains": (split("train", "training"), {}, r"two train folders, 'train' and 'training'.*dataset.splits"),
    "two validations": (split("train", "val", "dev"), {}, r"two validation folders, 'dev' and 'val'"),
    "no train": (split("test", "val"), {}, r"has 'test' and 'val' but no train folder.*dataset.splits"),
    "no labels": ({"train": 3, "test": 3}, {}, r"train' holds 3 images and no class folders; .* dataset=csv"),
    "only images": ({".": 3}, {}, r"holds 3 images and no class folders; .* dataset=csv"),
    "nothing": ({".": 0}, {}, r"holds no image; expected one folder of images per class"),
    "unknown class": (split("train") | {"test/unknown": 3}, {}, r"'unknown' of test is missing .*dataset.splits"),
    "no such class": ({"cat": 3, "dog": 3}, {"classes": ["cat", "dgo"]}, r"class folder 'dgo'. Did you mean 'dog'\?"),
    "no such split": (split("train"), {"splits": {"train": "trian"}}, r"\{train: trian\}: there is no .*'train'\?"),
    "leaves the root": (split("train"), {"splits": {"train": "../x"}}, r"there is no such folder"),
    "split without classes": (split("a") | {"b": 3}, {"splits": {"train": "a", "test": "b"}}, r"instead of class"),
    "split in split": (split("a", "a/b"), {"splits": {"train": "a", "test": "a/b"}}, r"a/b' holds 'cat', which"),
    "classes in a class": (split("a", "a/cat"), {"splits": {"train": "a", "test": "a/cat"}, "classes": ["cat", "dog"]},
                           r"'a/cat/cat' would be in more than one split"),
    "same split twice": (split("a"), {"splits": {"train": "a", "test": "./a"}}, r"'a/cat' would be in more"),
    "test beside classes": ({"cat": 3, "dog": 3} | split("test"), {},
                            r"\{train: \., test: test\} with dataset.classes=\[cat,dog\]"),
    "wrong key": (split("train"), {"splits": {"train": "train", "tset": "x"}}, r"key 'tset'. Did you mean 'test'\?"),
    "empty class": ({"cat": 3, "dog": 0}, {}, r"dog' holds no image.*dataset.classes"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(tmp_path: Path, name: str) -> None:
    counts, options, message = REFUSED[name]
    with pytest.raises(HeadstartError, match=message):
        collected(made(tmp_path, counts), **options)


def test_a_list_beside_images_without_labels_is_named(tmp_path: Path) -> None:
    made(tmp_path, {"train": 3, "test": 3})
    (tmp_path / "train.csv").write_text("path,label")
    with pytest.raises(HeadstartError, match=r"a list of images and labels, such as 'train.csv', with dataset=csv"):
        collected(tmp_path)


@pytest.mark.parametrize(
    ("link", "target", "message"),
    [
        ("puppy", "dog", r"class folder '.*puppy' is the same folder as 'dog'.*dataset.classes"),
        ("all", ".", r"class folder '.*all' is a link to a folder that holds it"),
    ],
)
def test_links_that_make_two_classes_of_one_folder_are_refused(
    tmp_path: Path, link: str, target: str, message: str
) -> None:
    made(tmp_path, {"cat": 3, "dog": 3})
    (tmp_path / link).symlink_to(target)
    with pytest.raises(HeadstartError, match=message):
        collected(tmp_path)
    names, found, not_used = collected(tmp_path, classes=["cat", "dog"])
    assert (names, found) == (["cat", "dog"], {"train": 6})
    assert not_used == [f"1 linked folder counted elsewhere or circular (`{link}` = `{target}`)"]


def test_one_folder_for_two_splits_is_refused(tmp_path: Path) -> None:
    made(tmp_path, split("train", "val"))
    (tmp_path / "test").symlink_to("val")
    with pytest.raises(HeadstartError, match=r"split folder 'test' is the same folder as 'val'"):
        collected(tmp_path)


def test_one_folder_in_two_classes_is_warned_of(tmp_path: Path) -> None:
    made(tmp_path / "set", {"cat": 3, "dog": 3})
    made(tmp_path, {"shared": 2})
    for name in ("cat", "dog"):
        (tmp_path / "set" / name / "more").symlink_to(tmp_path / "shared")
    data = ImageFolder(root=str(tmp_path / "set"))
    assert len(data.collect()[1]["train"]) == 8
    assert data.not_used == ["1 linked folder counted elsewhere or circular (`dog/more` = `cat/more`)"]
    assert data.warnings == ["`dog/more` links to the images of `cat/more`; they are used as `cat/more` only"]


@pytest.mark.parametrize(
    ("names", "masks"),
    [
        (["a (1).png", "a (1)_mask.png", "a (1)_mask_1.png", "b.png"], 2),
        (["x1.jpg", "x1-gt.png", "x2.jpg", "x2_segmentation.png"], 2),
        (["mask.png", "unmask.png", "9_mask.png", "label.png", "a.png"], 0),
    ],
)
def test_masks_among_images_are_warned_of(tmp_path: Path, names: list[str], masks: int) -> None:
    made(tmp_path, {"cat": 3, "dog": 3})
    for name in names:
        (tmp_path / "cat" / name).touch()
    data = ImageFolder(root=str(tmp_path))
    data.collect()
    assert [sentence.split(" such as ")[0] for sentence in data.warnings] == [f"{masks} images"] * (masks > 0)


def test_other_files_are_named(tmp_path: Path) -> None:
    made(tmp_path, split("train") | {"extra": 2})
    for name in ("README.md", "train/a.txt", "train/cat/b.txt", "train/dog/c.heic", "extra/d.txt", ".hidden"):
        (tmp_path / name).write_text("x")
    assert collected(tmp_path)[2] == [
        "`extra`: 2 images without labels",
        "2 .txt, 1 .heic (install pillow-heif), 1 .md",
    ]


def test_links_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    made(tmp_path, {"cat": 3, "dog": 3})
    (tmp_path / "owl").symlink_to(tmp_path / "gone")
    (tmp_path / "cat" / "me").symlink_to("me")
    assert collected(tmp_path)[2] == ["2 broken links (`owl`, `cat/me`)"]


def test_names_of_classes_are_kept(tmp_path: Path) -> None:
    expected = ["12", "Ecureuil", "__unknown__", "_background_", "steam_train", "\u65e5\u672c"]
    assert collected(made(tmp_path, dict.fromkeys(expected, 1)))[0] == expected


def test_classes_spelled_alike_are_warned_of(tmp_path: Path) -> None:
    data = ImageFolder(root=str(made(tmp_path, {"polar_bear": 2, "Polar bear": 1, "nan": 1})))
    data.collect()
    assert [sentence.split(";")[0] for sentence in data.warnings] == [
        "labels that look like missing values are classes: 'nan' (1 image)",
        "labels that differ only in spelling are different classes: 'polar_bear' (2 images) / 'Polar bear' (1 image)",
    ]


def test_a_folder_without_images_is_refused_with_its_files(tmp_path: Path) -> None:
    made(tmp_path, {"cat": 0, "dog": 0})
    for name in ("cat/0.heic", "dog/0.heic", "dog/1.wav"):
        (tmp_path / name).write_text("x")
    with pytest.raises(HeadstartError, match=r"holds no image, but 2 .heic \(install pillow-heif\), 1 .wav; expected"):
        collected(tmp_path)
