"""Test that images in two splits are found: equal bytes always, nearly equal images if asked."""

import io
import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import CHECKOUT
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from headstart.backbones import Preprocessing
from headstart.data import ImageFolder, Textures
from headstart.data.embedded import PHOTOGRAPHS, load_photograph
from headstart.inputs.leakage import BITS, THRESHOLD, leakage_text, near_pairs, perceptual_hash, same_contents

P = Preprocessing(32, (0.5,) * 3, (0.25,) * 3, "bilinear", 0.875)
Make = Callable[..., Path]
SCENE15 = CHECKOUT.parent / "shared/data/scene15"
COUNTS = {f"{split}/{name}": 4 for split in ("train", "val", "test") for name in ("a", "b")}


def copied(root: Path, source: str, target: str) -> None:
    (root / target).write_bytes((root / source).read_bytes())


def prepared(root: Path, **options: bool) -> ImageFolder:
    data = ImageFolder(root=str(root), **options)  # type: ignore[arg-type]
    data.prepare(P)
    return data


def test_equal_files_in_two_splits_are_reported(make_folder: Make, caplog: pytest.LogCaptureFixture) -> None:
    root = make_folder(COUNTS)
    with caplog.at_level(logging.WARNING):
        data = prepared(root)
        assert data.leakage == {}
        assert not caplog.records
        copied(root, "train/a/0.jpg", "test/a/1.jpg")
        copied(root, "train/a/0.jpg", "test/b/2.jpg")
        copied(root, "train/b/3.jpg", "train/b/2.jpg")  # within a split it is no leak
        copied(root, "val/b/3.jpg", "test/b/3.jpg")
        data = prepared(root)
    assert data.leakage == {
        "train-test": {
            "duplicates": 2,
            "examples": [["train/a/0.jpg", "test/a/1.jpg"], ["train/a/0.jpg", "test/b/2.jpg"]],
        },
        "validation-test": {"duplicates": 1, "examples": [["val/b/3.jpg", "test/b/3.jpg"]]},
    }
    assert [record.getMessage() for record in caplog.records] == [leakage_text(data.leakage)]
    assert leakage_text(data.leakage) == (
        "splits share images, so scores are too optimistic: 2 of test are also in train"
        " ('test/a/1.jpg' = 'train/a/0.jpg', 'test/b/2.jpg' = 'train/a/0.jpg'); 1 of test are also in validation"
        " ('test/b/3.jpg' = 'val/b/3.jpg')"
    )


@given(st.lists(st.binary(max_size=1)), st.lists(st.binary(max_size=1)))
def test_equal_contents_are_those_in_both(first: list[bytes], second: list[bytes]) -> None:
    pairs = same_contents(first, second)
    assert sorted(pairs) == [position for position, content in enumerate(second) if content in first]
    assert all(first[one] == second[two] for two, one in pairs.items())


@pytest.mark.skipif(not SCENE15.is_dir(), reason="needs the folder of shared data")
def test_the_known_duplicates_of_scene15() -> None:
    data = prepared(SCENE15)
    found = {pair: told["duplicates"] for pair, told in data.leakage.items()}
    in_train = {name for pair, told in data.leakage.items() if pair.endswith("-test") for _, name in told["examples"]}
    assert found["train-test"] + found["validation-test"] == 11
    assert all(name.startswith("test/") for name in in_train)


def photographs() -> dict[str, Image.Image]:
    return {name: Image.fromarray(load_photograph(name).astype(np.uint8)) for name in sorted(PHOTOGRAPHS.values())}


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "resized": lambda image: image.resize((image.width // 3, image.height // 3)),
    "re-encoded": lambda image: jpeg(image, 25),
    "brightened": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "darkened": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
}


def differing(one: np.ndarray, two: np.ndarray) -> int:
    return int((one != two).sum())


@pytest.mark.parametrize("change", list(CHANGES))
def test_changed_copies_are_near_and_other_images_are_not(change: str) -> None:
    hashes, copies = {}, {}
    for name, image in photographs().items():
        hashes[name] = perceptual_hash(np.asarray(image.convert("RGB")))
        copies[name] = perceptual_hash(np.asarray(CHANGES[change](image).convert("RGB")))
    for name, copy in copies.items():
        assert differing(copy, hashes[name]) <= THRESHOLD, name
        assert min(differing(copy, other) for key, other in hashes.items() if key != name) > 2 * THRESHOLD


def test_near_duplicates_are_reported_if_asked(make_folder: Make, caplog: pytest.LogCaptureFixture) -> None:
    root = make_folder(COUNTS)
    images = list(photographs().values())
    images[0].save(root / "train/a/photo.png")
    CHANGES["resized"](images[0]).save(root / "test/a/copy.jpg", quality=50)
    images[1].save(root / "test/b/other.png")
    Image.new("L", (40, 40), 10).save(root / "train/a/flat.png")
    Image.new("L", (40, 40), 20).save(root / "test/a/flat.png")
    copied(root, "train/b/0.jpg", "test/b/0.jpg")
    exact = {"duplicates": 1, "examples": [["train/b/0.jpg", "test/b/0.jpg"]]}
    assert prepared(root).leakage == {"train-test": exact}
    with caplog.at_level(logging.WARNING):
        found = prepared(root, near_duplicates=True).leakage
    near = {"near_duplicates": 1, "near_examples": [["train/a/photo.png", "test/a/copy.jpg"]]}
    assert found == {"train-test": exact | near}
    assert "1 of test are nearly the same as one in train ('test/a/copy.jpg' = 'train/a/photo.png')" in caplog.text


def test_patches_of_textures_are_not_taken_for_copies() -> None:
    data = Textures(near_duplicates=True, counts=(40, 20, 40))
    data.prepare(P)
    assert data.leakage == {}


def test_ten_thousand_images_are_compared_in_seconds() -> None:
    rng = np.random.default_rng(0)
    first, second = (np.where(rng.random((5000, BITS)) < 0.5, -1, 1).astype(np.float32) for _ in range(2))
    flipped = rng.permutation(BITS)
    second[7], second[8] = first[3], first[4]
    second[7, flipped[:THRESHOLD]] *= -1
    second[8, flipped[: THRESHOLD + 1]] *= -1
    start = time.perf_counter()
    assert near_pairs(first, second) == {7: 3}
    assert time.perf_counter() - start < 5
    assert near_pairs(np.zeros((0, BITS), dtype=np.float32), second) == {}
