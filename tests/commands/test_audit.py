"""Test headstart audit: planted mistakes are found, and the files say so."""

import csv
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALLEST, TINY, answer_of
from PIL import Image

from headstart.analysis.audit import page
from headstart.analysis.audit.audit import FAR, isolation
from headstart.cli import main

SETTINGS = [*SMALLEST, *(setting for setting in TINY if "counts" not in setting), "dataset=image_folder"]
COLOURS = ("red", "green", "blue")


@pytest.fixture
def planted() -> Path:
    """Return a folder of three colours of noise with wrong labels, duplicates and a name that must be escaped."""
    root, rng = Path("images").absolute(), np.random.default_rng(0)
    for channel, colour in enumerate(COLOURS):
        for split, count in (("train", 20), ("test", 8)):
            (root / split / colour).mkdir(parents=True)
            for number in range(count):
                noise = rng.integers(0, 80, (40, 40, 3))
                noise[:, :, channel] += 150
                Image.fromarray(noise.astype(np.uint8)).save(root / split / colour / f"{number}.png")
    (root / "train/red/0.png").rename(root / "train/blue/<b>wrong.png")
    (root / "train/blue/0.png").rename(root / "train/red/wrong.png")
    shutil.copy(root / "train/green/1.png", root / "test/green/leaks.png")
    shutil.copy(root / "train/green/2.png", root / "train/blue/contradicts.png")
    with Image.open(root / "train/green/3.png") as image:
        image.save(root / "train/green/near.jpg", quality=90)
    return root


def audited(root: Path, *settings: str) -> list[dict[str, str]]:
    """Audit a folder, and return the rows of audit.csv."""
    assert main(["audit", *SETTINGS, f"dataset.root={root}", "--out", "found", *settings]) == 0
    with Path("found/audit.csv").open(newline="") as file:
        return list(csv.DictReader(file))


class Tags(HTMLParser):
    """Collect the tags and the texts of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_planted_mistakes_are_found(planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = audited(planted)
    labels = {row["id"]: row for row in rows if row["kind"] == "label"}
    assert labels["train/blue/<b>wrong.png"]["suggested"] == "red"
    assert labels["train/red/wrong.png"]["suggested"] == "blue"
    scores = [float(row["score"]) for row in labels.values()]
    assert scores == sorted(scores, reverse=True)
    assert Path(labels["train/red/wrong.png"]["path"]).is_file()
    assert "probe: " in labels["train/red/wrong.png"]["reason"]
    assert len(labels) <= 6
    assert not [row for row in rows if row["kind"] == "outlier"]

    clusters: dict[str, dict[str, dict[str, str]]] = {}
    for row in rows:
        if row["kind"] == "duplicate":
            clusters.setdefault(row["cluster"], {})[row["id"]] = row
    assert [set(cluster) for cluster in clusters.values()] == [
        {"train/green/2.png", "train/blue/contradicts.png"},
        {"train/green/1.png", "test/green/leaks.png"},
        {"train/green/3.png", "train/green/near.jpg"},
    ], "different labels first, then several splits"
    first, second, third = clusters.values()
    assert {row["keep"] for row in first.values()} == {""}, "somebody has to look"
    assert first["train/green/2.png"]["reason"] == "the same file content, 2 different labels"
    assert second["test/green/leaks.png"]["keep"] == "yes", "the test image stays"
    assert second["train/green/1.png"]["keep"] == "no"
    assert third["train/green/3.png"]["reason"] == "nearly the same image"

    output = capsys.readouterr().out
    lines = output[output.index("images pooled") - 3 :].splitlines()
    assert lines[0].startswith("87 images pooled (")
    assert f"{len(labels)} labels are likely wrong ({100 * len(labels) / 87:.1f} %)" in lines
    assert "3 clusters of duplicates (6 images)" in lines
    assert "1 cluster has different labels" in lines


def test_the_page_escapes_names_and_loads_nothing(planted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "MOST_LABELS", 1)
    rows = audited(planted, 'dataset.name="<i>set"')
    html = Path("found/audit.html").read_text()
    parsed = Tags()
    parsed.feed(html)
    images = [attributes for tag, attributes in parsed.tags if tag == "img"]
    assert all((image["src"] or "").startswith("data:image/jpeg;base64,") for image in images)
    count = {kind: sum(row["kind"] == kind for row in rows) for kind in ("label", "duplicate", "outlier")}
    assert len(images) == 1 + count["duplicate"] + count["outlier"], "one label, as the number is bounded"
    assert f"1 of {count['label']} are shown; audit.csv has all." in parsed.texts
    assert not [tag for tag, _ in parsed.tags if tag in ("script", "b", "i")], "names are texts"
    assert any("<i>set" in text for text in parsed.texts)
    assert "default-src 'none'" in html
    assert "prefers-color-scheme: dark" in html


def test_the_list_of_all_images_can_be_corrected_and_trained_on(planted: Path) -> None:
    audited(planted)
    with Path("found/images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 87
    assert {row["split"] for row in rows} == {"train", "validation", "test"}
    (wrong,) = (row for row in rows if row["path"] == "train/red/wrong.png")
    assert (wrong["label"], wrong["suggested"]) == ("red", "blue")
    settings = [*SETTINGS[:-1], "dataset=csv", "dataset.root=found/images.csv", f"dataset.pictures={planted}"]
    assert main(["train", *settings, "strategy=nearest_centroid", "output_dir=out"]) == 0


def test_a_data_set_without_files_and_the_default_folder() -> None:
    assert main(["audit", *SMALLEST, *TINY, "output_dir=out"]) == 0
    (folder,) = Path("out").glob("*/textures-test_efficientnet-audit")
    assert {file.name for file in folder.iterdir()} == {"audit.csv", "audit.html", "config.yaml"}


def test_the_same_call_writes_the_same_bytes(planted: Path) -> None:
    audited(planted)
    before = {file.name: file.read_bytes() for file in Path("found").iterdir()}
    audited(planted)
    assert before == {file.name: file.read_bytes() for file in Path("found").iterdir()}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["task=multilabel"], "task=multilabel: an audit needs one label an image; use task=classification."),
        (["task=regression"], "task=regression: an audit needs one label an image"),
        (["backbone=resnet5"], r"There is no backbone 'resnet5'. Did you mean 'resnet50'\?"),
        (["augmentation=mixup"], "augmentation=mixup: audit passes over the images once"),
        (["--ot", "x"], "unrecognized arguments: --ot"),
        (["-m"], "unrecognized arguments: -m; see headstart audit --help."),
        (["dataset.root=nowhere"], "nowhere"),
    ],
)
def test_wrong_settings(settings: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", *SETTINGS, "output_dir=out", *settings]) == 2
    error = capsys.readouterr().err
    assert re.search(sentence, error), error
    assert len(error.strip().splitlines()) == 1
    assert not list(Path().rglob("audit.*"))


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        (
            {"train/a": 9, "validation/a": 2, "test/a": 2},
            "There is only the class 'a'; classification needs at least two.",
        ),
        (
            {"train/a": 9, "train/b": 1, "validation/a": 2, "test/a": 2},
            "Class 'b' has 1 image in all splits; an audit needs at least 2 of every class.",
        ),
        (
            {"train/a": 1, "train/b": 2, "validation/a": 1, "test/a": 1},
            r"No class has 5 images, one for each fold; an audit needs more images.",
        ),
    ],
)
def test_too_few_images(
    counts: dict[str, int], sentence: str, make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_folder(counts)
    assert main(["audit", *SETTINGS, f"dataset.root={root}", "output_dir=out"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("headstart: ")
    assert re.search(sentence, error), error


def test_images_of_a_group_are_judged_together(
    make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_folder({"dark": 20, "grey": 20, "light": 20}, suffix="png")
    for file in sorted((root / "light").iterdir()):
        file.rename(file.with_name(f"p1_{file.name}"))
    for number, file in enumerate(sorted([*(root / "dark").iterdir(), *(root / "grey").iterdir()])):
        file.rename(file.with_name(f"p{number % 7 + 2}_{file.name}"))
    given = [f"dataset.root={root}", "dataset.groups='p(\\d+)_'", "output_dir=out"]
    assert main(["audit", *SETTINGS, *given]) == 2
    assert "Class 'light' has all its images in" in capsys.readouterr().err


def test_help_and_wrong_settings_are_answered_without_torch() -> None:
    code = (
        "import sys; from headstart.cli import main\n"
        "assert main(['audit', '--help']) == 0\n"
        "assert main(['audit', 'backbone=resnet5']) == 2\n"
        "assert not {'torch', 'matplotlib'} & set(sys.modules)"
    )
    assert "headstart audit dataset=image_folder" in answer_of(code)


def test_an_outlier_is_far_from_its_neighbours() -> None:
    rng = np.random.default_rng(0)
    distances = np.exp(np.append(rng.normal(0, 0.1, 200), [1.0, *rng.normal(1.0, 0.1, 20)]))
    neighbours = np.array([[(i + 1) % 200] if i <= 200 else [201 + (i - 200) % 20] for i in range(221)])
    found = isolation(distances, neighbours)
    assert found.argmax() == 200, "far from near neighbours"
    assert found[200] > FAR
    assert (found[201:] < FAR).all(), "as far, but so are their neighbours"
    assert not isolation(np.ones(5), np.array([[1], [0], [1], [2], [3]])).any()
