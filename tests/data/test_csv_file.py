"""Lists of images: how they may be written, and one sentence for everything that can be wrong with them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from headstart.backbones import Preprocessing
from headstart.data import CsvFile, PictureData
from headstart.errors import ConfigError, DataError

P = Preprocessing(16, (0.5,) * 3, (0.25,) * 3, "bilinear", 0.875)
Make = Callable[..., Path]


def sizes(data: PictureData) -> tuple[int, int, int]:
    data.prepare(P)
    return len(data.train), len(data.validation), len(data.test)


def unlike(root: Path, name: str, value: int) -> Path:
    """Write an image of its own."""
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (20, 20), value).save(root / name, "PNG")
    return root / name


def test_csv(make_folder: Make) -> None:
    root = make_folder({"x": 20})
    lines = ["path,label,split"] + [
        f"x/{i}.jpg,{'ants' if i % 2 else 'bees'},{'test' if i > 15 else ''}" for i in range(20)
    ]
    file = root / "labels.csv"
    file.write_text("\n".join(lines))
    data = CsvFile(root=str(file))
    assert sizes(data) == (12, 4, 4)
    assert data.class_names == ["ants", "bees"]
    assert data.test.ids == [f"x/{i}.jpg" for i in range(16, 20)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\nx/0.jpg,a", "no column 'path'"),
        ("path,label\nx/99.jpg,a", r"Line 2 .* no such file"),
        ("path,label\nx/0.jpg,", "Line 2 .* no label"),
        ("path,label,split\nx/0.jpg,a,train\nx/1.jpg,b,test", "'b' of test is missing in train"),
        ("path,label\nx/0.jpg,a\nx/1.jpg,b\nx/0.jpg,b", "Line 4 .* lists 'x/0.jpg' again, after line 2"),
        ("path,label,split\nx/0.jpg,a,\nx/1.jpg,b,tset", r"split 'tset'; expected .* Did you mean 'test'\?"),
        ("path,label\n../../etc/passwd,a", r"Line 2 .*'../../etc/passwd', which is outside of .*allow_outside=true"),
        ("path,label\n/etc/passwd,a", r"Line 2 .*'/etc/passwd', which is outside of"),
        ("path,label\nx/0\0.jpg,a", r"Line 2 .* no such file"),
        ("path,label\n" + 5000 * "x" + ",a", r"Line 2 .* no such file"),
        ("path,label\n" + 200_000 * "x" + ",a", r"is not a CSV file in UTF-8"),
    ],
)
def test_wrong_csv_gets_a_sentence(make_folder: Make, text: str, message: str) -> None:
    root = make_folder({"x": 2})
    (root / "l.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        sizes(CsvFile(root=str(root / "l.csv")))


def test_csv_leaves_its_folder_only_if_allowed(make_folder: Make, tmp_path: Path) -> None:
    root = make_folder({"x": 12})
    unlike(tmp_path, "elsewhere/0.jpg", 1)
    unlike(tmp_path, "elsewhere/1.jpg", 2)
    (root / "x/link.jpg").symlink_to(tmp_path / "elsewhere/0.jpg")
    lines = [f"{root}/x/{i}.jpg,{'ants' if i % 2 else 'bees'}" for i in range(12)]  # absolute, and inside
    file = root / "labels.csv"
    file.write_text("\n".join(["path,label", *lines]))
    assert sum(sizes(CsvFile(root=str(file)))) == 12
    for line in ("x/link.jpg,ants", "../elsewhere/1.jpg,ants", f"{tmp_path}/elsewhere/1.jpg,ants"):
        file.write_text("\n".join(["path,label", *lines, line]))
        with pytest.raises(DataError, match=r"Line 14 .* is outside of .* dataset.pictures"):
            sizes(CsvFile(root=str(file)))
        assert sum(sizes(CsvFile(root=str(file), allow_outside=True))) == 13
        assert sum(sizes(CsvFile(root=str(file), pictures=f"{root}/.", allow_outside=True))) == 13
    with pytest.raises(ConfigError, match=r"dataset.allow_outside=maybe: expected true or false"):
        CsvFile(root=str(file), allow_outside="maybe")  # type: ignore[arg-type]


def test_csv_with_a_picture_that_is_gone_can_do_without(make_folder: Make) -> None:
    root = make_folder({"x": 12})
    lines = [f"x/{i}.jpg,{'ants' if i % 2 else 'bees'}" for i in range(14)]
    (root / "labels.csv").write_text("\n".join(["path,label", *lines]))
    data = CsvFile(root=str(root / "labels.csv"), on_error="skip")
    assert sum(sizes(data)) == 12
    assert sorted(data.skipped) == ["x/12.jpg", "x/13.jpg"]
