"""Test long-tailed copies: the requested counts, the same each time, other splits unchanged."""

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import CHECKOUT

SOURCE = {"train/a": 12, "train/b": 12, "train/c": 12, "test/a": 3, "test/b": 3, "test/c": 3}


def long_tail(*arguments: str) -> int:
    code: int = runpy.run_path(str(CHECKOUT / "scripts" / "long_tail.py"))["main"](arguments)
    return code


def test_counts_fall_and_test_stays(
    make_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_folder(SOURCE)
    for name, seed in (("once", "0"), ("again", "0"), ("other", "2")):
        assert long_tail(str(source), str(tmp_path / name), "--most", "12", "--least", "3", "--seed", seed) == 0
        assert capsys.readouterr().out.startswith("21 training images linked")
    found = {
        name: sorted(str(path.relative_to(tmp_path / name)) for path in (tmp_path / name).rglob("*.jpg"))
        for name in ("once", "again", "other")
    }
    assert found["once"] == found["again"] != found["other"]
    counts = [len(list((tmp_path / "once/train" / name).iterdir())) for name in "abc"]
    assert sorted(counts) == [3, 6, 12]
    assert (tmp_path / "once/test").resolve() == (source / "test").resolve()
    for path in (tmp_path / "once/train").rglob("*.jpg"):
        assert path.resolve().parent == (source / "train" / path.parent.name).resolve()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["images", "new", "--most", "13"], "class a has 12 images, but 13 are needed"),
        (["images", "new", "--least", "0"], "expected 1 <= least <= most"),
        (["images", "images"], "images exists already"),
        (["gone", "new"], "gone has no folder train"),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence(
    arguments: list[str],
    sentence: str,
    make_folder: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_folder({"train/a": 12})
    words = [str(tmp_path / word) if word in ("images", "new", "gone") else word for word in arguments]
    assert long_tail(*words) == 2
    output = capsys.readouterr().err
    assert sentence in output
    assert len(output.splitlines()) == 1
