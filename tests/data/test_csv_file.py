"""Test lists of images: how they may be written, and one sentence for every error."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from headstart.backbones import Preprocessing
from headstart.data import CsvFile, ImageData
from headstart.data import listed as listed_files
from headstart.errors import ConfigError, DataError, HeadstartError

P = Preprocessing(16, (0.5,) * 3, (0.25,) * 3, "bilinear", 0.875)
Make = Callable[..., Path]


def sizes(data: ImageData) -> tuple[int, int, int]:
    data.prepare(P)
    return len(data.train), len(data.validation), len(data.test)


def unlike(root: Path, name: str, value: int) -> Path:
    """Write an image that differs from all others."""
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
        ("path,label\n../../etc/passwd,a", r"Line 2 .*'../../etc/passwd', which is outside .*allow_outside=true"),
        ("path,label\n/etc/passwd,a", r"Line 2 .*'/etc/passwd', which is outside"),
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
        with pytest.raises(DataError, match=r"Line 14 .* is outside .* dataset.pictures"):
            sizes(CsvFile(root=str(file)))
        assert sum(sizes(CsvFile(root=str(file), allow_outside=True))) == 13
        assert sum(sizes(CsvFile(root=str(file), pictures=f"{root}/.", allow_outside=True))) == 13
    with pytest.raises(ConfigError, match=r"dataset.allow_outside=maybe: expected true or false"):
        CsvFile(root=str(file), allow_outside="maybe")  # type: ignore[arg-type]


def test_csv_skips_a_missing_image_if_asked(make_folder: Make) -> None:
    root = make_folder({"x": 12})
    lines = [f"x/{i}.jpg,{'ants' if i % 2 else 'bees'}" for i in range(14)]
    (root / "labels.csv").write_text("\n".join(["path,label", *lines]))
    data = CsvFile(root=str(root / "labels.csv"), on_error="skip")
    assert sum(sizes(data)) == 12
    assert sorted(data.skipped) == ["x/12.jpg", "x/13.jpg"]


ROWS = [
    (f"pics/{name}/{number:02d}.jpg", name, "train" if number < 3 else "val" if number < 5 else "test")
    for name in ("cat", "dog")
    for number in range(7)
]
SIZES = {"train": 6, "validation": 4, "test": 4}
ALL = {"train": 14}


@pytest.fixture
def listed(tmp_path: Path) -> Callable[..., CsvFile]:
    """Write 14 empty files, which are not decoded, and a list of them: a header, and a format for each row."""
    for path, *_ in ROWS:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()

    def make(header: str, form: str, more: str = "", change: tuple[str, str] = ("", ""), **options: Any) -> CsvFile:
        lines = "\n".join(form.format(*row, number % 7) for number, row in enumerate(ROWS))
        text = f"{header}\n{lines.replace(*change) if change[0] else lines}\n{more}"
        (tmp_path / "list.csv").write_text(text, encoding=options.pop("encoding", "utf-8"))
        return CsvFile(root=str(tmp_path / "list.csv"), **options)

    return make


Listing = Callable[..., CsvFile]
SPLITS = ("path,label,split", "{0},{1},{2}")
PLAIN = ("path,label", "{0},{1}")
UNDERSTOOD: dict[str, tuple[tuple[str, ...], dict[str, Any], dict[str, int]]] = {
    "plain": (PLAIN, {}, ALL),
    "splits": (SPLITS, {}, SIZES),
    "capital split": (("path,label,Split", SPLITS[1]), {}, SIZES),
    "shouted": (("PATH,Label, SPLIT ", SPLITS[1]), {}, SIZES),
    "semicolons": (("path;label;split", "{0};{1};{2}"), {}, SIZES),
    "tabs": (("path\tlabel\tsplit", "{0}\t{1}\t{2}"), {}, SIZES),
    "bom": (SPLITS, {"encoding": "utf-8-sig"}, SIZES),
    "spaces": (("path, label, split", " {0}, {1} , {2}"), {}, SIZES),
    "quotes": ((SPLITS[0], '"{0}", "{1}", "{2}"'), {}, SIZES),
    "backslashes": (SPLITS, {"change": ("/", "\\")}, SIZES),
    "no suffix": (SPLITS, {"change": (".jpg", "")}, SIZES),
    "dots": (PLAIN, {"change": ("pics/", "./pics/")}, ALL),
    "empty lines": (PLAIN, {"change": ("\n", "\n\n,\n")}, ALL),
    "empty columns": (("path,label,,", "{0},{1},,"), {}, ALL),
    "other names": (("file,animal", "{0},{1}"), {"path_column": "file", "label_column": "Animal"}, ALL),
    "other split": (("path,label,subset", "{0},{1},{2}"), {"split_column": "subset"}, SIZES),
    "split words": (SPLITS, {"change": (",val", ",Dev")}, SIZES),
    "values": (("path,label,fold", "{0},{1},{3}"), {"split_column": "fold", "splits": {"train": 0, "test": 1}},
               {"train": 2, "test": 2}),
    "classes": (PLAIN, {"classes": ["cat", "dog"]}, ALL),
    "whole numbers": (("path,label", "{0},{3}"), {}, ALL),
}  # fmt: skip


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_a_list_that_is_understood(listed: Listing, name: str) -> None:
    text, options, expected = UNDERSTOOD[name]
    class_names, found = listed(*text, **options).collect()
    assert {split: len(part) for split, part in found.items()} == expected
    assert class_names == ([str(n) for n in range(7)] if name == "whole numbers" else ["cat", "dog"])
    assert all(name.endswith(".jpg") and "\\" not in name for part in found.values() for name in part.ids)


REFUSED: dict[str, tuple[tuple[str, ...], dict[str, Any], str]] = {
    "no header": (("pics/cat/00.jpg,cat", "{0},{1}"), {}, r"no column 'path'.*first line seems to be an image"),
    "typed split": (("path,label,subset", "{0},{1},{2}"), {"split_column": "subsett"}, r"'subsett'.*mean 'subset'"),
    "other path": (("filename,label", "{0},{1}"), {}, r"no column 'path'.*dataset.path_column=NAME"),
    "typed path": (("file_name,label", "{0},{1}"), {"path_column": "filename"}, r"Did you mean 'file_name'"),
    "typed group": (("path,label,site", "{0},{1},s"), {"group_column": "sites"}, r"'sites'.*Did you mean 'site'"),
    "doubled": (("path,label,label", "{0},{1},x"), {}, r"has 2 columns 'label'; expected one of each name"),
    "doubled but for case": (("path,Label,LABEL", "{0},{1},x"), {}, r"'Label', 'LABEL'; .*label_column=Label"),
    "longer": (("path,label", "{0},{1},x"), {}, r"Line 2 of .* has 3 cells, the header 2"),
    "one longer": (PLAIN, {"more": "pics/x.jpg,cat,big"}, r"Line 16 of .* has 3 cells, the header 2"),
    "shorter": (("path,label,split", "{0},{1}"), {}, r"Line 2 of .* has 2 cells, the header 3"),
    "utf-16": (PLAIN, {"encoding": "utf-16"}, r"is text in UTF-16; save it as a CSV file in UTF-8"),
    "utf-16 unmarked": (PLAIN, {"encoding": "utf-16-le"}, r"is text in UTF-16"),
    "latin-1": (PLAIN, {"more": "pics/caf\u00e9.jpg,cat", "encoding": "latin-1"}, r"in UTF-8: see line 16"),
    "open quote": (PLAIN, {"more": '"pics/x.jpg,cat\n'}, r"not a CSV file in UTF-8: unexpected end of data"),
    "only the header": (("path,label", ""), {}, r"lists no image"),
    "unknown split": (SPLITS, {"change": (",val", ",vla")}, r"Line 5 .* split 'vla'.*Did you mean 'val'\?"),
    "numbered split": (("path,label,split", "{0},{1},{3}"), {}, r"the split '0'; .*dataset.splits=\{train"),
    "no such value": (SPLITS, {"splits": {"train": "tran"}}, r"\{train: tran\}: column 'split' .*Did you mean 'train'"),
    "no split column": (PLAIN, {"splits": {"train": "a"}}, r"dataset.splits names values .*dataset.split_column=NAME"),
    "no such class": (PLAIN, {"classes": ["cat", "dgo"]}, r"has no label 'dgo'. Did you mean 'dog'\?"),
    "no group": (("path,label,site", "{0},{1},"), {"group_column": "site"}, r"Line 2 of .* has no group"),
    "typo": (PLAIN, {"more": "pics/cat/0x.jpg,cat"}, r"no such file. Did you mean 'pics/cat/0"),
    "capital suffix": (PLAIN, {"more": "pics/cat/00.JPG,cat"}, r"no such file. Did you mean 'pics/cat/00.jpg'"),
    "bare name": (PLAIN, {"change": ("pics/cat/", "")}, r"There is 'pics/cat/00.jpg' below .*dataset.pictures"),
    "windows": (PLAIN, {"change": ("pics/", "C:\\pics\\")}, r"There is 'pics/cat/00.jpg' below"),
    "folder": (PLAIN, {"more": "pics/cat,cat"}, r"'.*pics/cat', but there is no such file"),
    "same file": (PLAIN, {"more": "pics\\cat\\00,cat"}, r"Line 16 .* lists 'pics\\cat\\00' again, after line 2"),
    "no images": (PLAIN, {"pictures": "gone"}, r"dataset.pictures=gone: there is no such folder"),
    "several": (PLAIN, {"change": (",cat", ",cat;red")}, r"'cat;red' look like several labels .* 7 of 14 rows"),
    "numbers": (("path,label", "{0},{3}.25"), {}, r"'0.25' look like numbers to predict"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_list_that_is_refused(listed: Listing, name: str) -> None:
    text, options, message = REFUSED[name]
    with pytest.raises(HeadstartError, match=message):
        listed(*text, **options).collect()


def test_two_files_of_one_name_need_the_suffix(listed: Listing, tmp_path: Path) -> None:
    (tmp_path / "pics/cat/00.png").touch()
    with pytest.raises(DataError, match=r"may be 'pics/cat/00.jpg' or 'pics/cat/00.png'; write the suffix"):
        listed(*PLAIN, change=(".jpg", "")).collect()


def test_no_file_but_a_csv_file(tmp_path: Path) -> None:
    for content, message in ((b"PK\x03\x04", "is a spreadsheet or an archive"), (b"", "is empty; expected a header")):
        (tmp_path / "list.csv").write_bytes(content)
        with pytest.raises(DataError, match=message):
            CsvFile(root=str(tmp_path / "list.csv")).collect()


@pytest.mark.parametrize(
    ("text", "options", "not_used", "warnings"),
    [
        (PLAIN, {}, [], []),
        (("path,label,site,age", "{0},{1},x,1"), {}, ["columns `site`, `age`"], []),
        (("path,label,a,b,c,d,e", "{0},{1},1,2,3,4,5"), {}, ["columns `a`, `b`, `c`, `d` and 1 more"], []),
        ((",path,label", "{3},{0},{1}"), {}, ["1 unnamed column"], []),
        (("path,label,site", "{0},{1},x"), {"group_column": "site"}, [], []),
        (("path,label,subset", "{0},{1},{2}"), {}, ["column `subset`"],
         ["column `subset` looks like a split; use it with dataset.split_column=subset"]),
        (("path,label,role", "{0},{1},{2}"), {}, ["column `role`"],
         ["column `role` looks like a split; use it with dataset.split_column=role"]),
        (("path,label,fold", "{0},{1},{3}"), {}, ["column `fold`"],
         ["column `fold` looks like a split; use it with dataset.split_column=fold and dataset.splits={train: VALUE,"
          " test: VALUE}"]),
        (SPLITS, {"splits": {"train": "train"}}, ["split `val`: 4 images", "split `test`: 4 images"], []),
        (("path,label", "{0},{3}"), {"classes": [0, 1, 2, 3, 4, 5]}, ["label `6`: 2 images"], []),
        (PLAIN, {"change": ("pics/dog/06.jpg,dog", "pics/dog/07.jpg,dog"), "on_error": "skip"},
         ["1 image in the same folders but not in the list"], []),
        (PLAIN, {"change": (",dog", ",nan")}, [],
         ["labels that look like missing values are classes: 'nan' (7 images); rename them, or remove these"
          " images"]),
        (PLAIN, {"change": ("2.jpg,dog", "2.jpg,Dog")}, [],
         ["labels that differ only in spelling are different classes: 'dog' (6 images) / 'Dog' (1 image); spell each"
          " label in one way"]),
    ],
)  # fmt: skip
def test_messages_about_a_list(
    listed: Listing, text: tuple[str, ...], options: dict[str, Any], not_used: list[str], warnings: list[str]
) -> None:
    data = listed(*text, **options)
    data.collect()
    assert data.not_used == not_used
    assert data.warnings == warnings


def test_groups_are_read_from_a_column(listed: Listing) -> None:
    data = listed("path,label,split,Patient", "{0},{1},{2},p{3}", group_column="patient")
    groups = {split: part.groups for split, part in data.collect()[1].items()}
    assert groups == {"train": ["p0", "p1", "p2"] * 2, "validation": ["p3", "p4"] * 2, "test": ["p5", "p6"] * 2}
    assert listed(*SPLITS).collect()[1]["train"].groups is None


def test_a_list_is_searched_once_and_only_where_needed(listed: Listing, monkeypatch: pytest.MonkeyPatch) -> None:
    walked: list[Path] = []
    real = listed_files.walk
    monkeypatch.setattr(listed_files, "walk", lambda folder: walked.append(folder) or real(folder))
    listed(*PLAIN).collect()
    assert not walked
    listed(*PLAIN, change=(".jpg", "")).collect()
    assert len(walked) == 1


def test_for_a_path_of_another_machine_the_image_here_is_named(tmp_path: Path) -> None:
    (tmp_path / "pics").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "pics" / "a.png")
    (tmp_path / "l.csv").write_text("path,label\n/home/bob/pics/a.png,cat\n")
    with pytest.raises(DataError, match=r"outside .*allow_outside=true\. There is 'pics/a.png' below"):
        CsvFile(root=str(tmp_path / "l.csv")).collect()
