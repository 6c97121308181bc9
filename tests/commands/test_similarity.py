"""Test headstart similarity: tables and files, with and without labels and source images."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SMALLEST, TINY, answer_of
from PIL import Image

from headstart.cli import main

TEXTURES = [*TINY, *SMALLEST, "output_dir=out"]
WITHOUT_COUNTS = [setting for setting in TEXTURES if "counts" not in setting]


def similarity(*settings: str, base: list[str] = TEXTURES) -> dict[str, Any]:
    """Measure, and return the content of similarity.json."""
    assert main(["similarity", *base, *settings, "--out", "sim"]) == 0
    return json.loads(Path("sim/similarity.json").read_text())


def folder_of_images(name: str, count: int, offset: int = 0) -> Path:
    """Write grey noise as images without labels."""
    folder = Path(name)
    folder.mkdir()
    rng = np.random.default_rng(offset)
    for number in range(count):
        pixels = rng.integers(0, 156, (40, 40, 3)) + offset
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return folder


def test_a_labelled_target_without_a_source(capsys: pytest.CaptureFixture[str]) -> None:
    found = similarity()
    assert found["classes"] == 12
    assert found["images"] == 72
    assert found["frechet"] is None
    assert found["statistics"] is None, "random weights have stored no statistics"
    for stage in found["stages"]:
        assert 0 <= stage["neighbours"] <= 1
        assert 0 < stage["shrunk_h_score"] <= stage["h_score"] <= 11 + 1e-6
    output = capsys.readouterr().out
    assert "LogME" in output
    assert "The weights are random" in output
    assert "NCE and LEEP need the classifier of the source" in output
    with Path("sim/stages.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["stage"] for row in rows] == [stage["stage"] for stage in found["stages"]]
    assert float(rows[0]["h_score"]) == pytest.approx(found["stages"][0]["h_score"])
    assert similarity() == found, "the same command gives the same values"


def test_a_probe_is_that_of_inspect_layers() -> None:
    found = {stage["stage"]: stage["probe"] for stage in similarity()["stages"]}
    assert main(["inspect", "layers", *TEXTURES]) == 0
    (file,) = Path("out").rglob("layers.csv")
    with file.open(newline="") as lines:
        rows = {row["stage"]: float(row["validation/accuracy"]) for row in csv.DictReader(lines)}
    assert found == pytest.approx({stage: rows[stage] for stage in found})


def test_a_source_that_is_the_target_is_nearer_than_another() -> None:
    same = similarity("source=textures", "source.counts=[6,4,4]")
    assert same["source"] == "textures"
    assert same["frechet"]["value"] == pytest.approx(0, abs=1e-6)
    other = similarity("source=digits", "source.labels_per_class=6")
    assert other["source_images"] == 60
    assert other["frechet"]["value"] > 10 * abs(same["frechet"]["value"])
    assert other["kernel"]["mean"] > same["kernel"]["mean"]
    with Path("sim/similarity.csv").open(newline="") as file:
        rows = {row["measure"]: row["value"] for row in csv.DictReader(file)}
    assert float(rows["kernel"]) == pytest.approx(other["kernel"]["mean"])


def test_a_source_is_resized_and_cropped_as_the_target() -> None:
    resizing = ["dataset.image_size=null", "dataset.crop_fraction=0.5", "dataset.resize=crop"]
    same = similarity("source=textures", "source.counts=[6,4,4]", "backbone.image_size=32", *resizing)
    assert same["frechet"]["value"] == pytest.approx(0, abs=1e-6)


def test_folders_without_labels(capsys: pytest.CaptureFixture[str]) -> None:
    dark, bright = folder_of_images("it's dark", 12), folder_of_images("bright", 15, 90)
    found = similarity(f"dataset={dark}", f"source={bright}", base=WITHOUT_COUNTS)
    assert (found["target"], found["images"], found["source"], found["source_images"]) == (
        "it's dark",
        12,
        "bright",
        15,
    )
    assert found["classes"] == 0
    assert all(stage["probe"] is None for stage in found["stages"])
    output = capsys.readouterr().out
    assert "linear probe" not in output
    assert "12 images for" in output
    assert "it's dark has no classes" in output
    near = similarity(f"dataset={dark}", f"source={folder_of_images('dark2', 15)}", base=WITHOUT_COUNTS)
    assert near["kernel"]["mean"] < found["kernel"]["mean"]


def test_imagenet_weights_bring_statistics_and_a_classifier() -> None:
    base = [setting for setting in TINY if not setting.startswith("backbone")]
    found = similarity("output_dir=out", base=base)
    assert found["source_classes"] == 1000
    assert found["leep"] <= 0
    assert found["nce"] <= 0
    assert 0 < found["statistics"] < 10
    by_stage = [stage["statistics"] for stage in found["stages"]]
    assert min(by_stage) < found["statistics"] < max(by_stage)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["source.root=a"], r"'source.root=a' needs source=NAME"),
        (["source=texturs"], r"There is no dataset 'texturs'. Did you mean 'textures'\?"),
        (["dataset=texturs"], r"There is no dataset 'texturs'. Did you mean 'textures'\?"),
        (["strategy.l2=[1]"], r"strategy.l2=\[1\]: every stage is read .* leave this setting out"),
        (["head=mlp"], r"head=mlp: every stage is read"),
        (["augmentation=mixup"], r"augmentation=mixup: similarity passes over the images once"),
        (["source=empty"], r"The folder 'empty' holds no image"),
        (
            ["dataset=empty", "dataset.root=x"],
            r"dataset.root=x: dataset=empty reads all .* or use dataset=image_folder",
        ),
        (["source=empty", "source.root=x"], r"source.root=x: source=empty reads all .* or use source=image_folder"),
        (["source=empty", "+source.bits=12"], r"source.bits=12: source=empty reads all images below the folder"),
        (["dataset=textures", "dataset=empty"], r"dataset=textures and dataset=empty: expected one data set"),
        (["dataset=a.csv"], r"dataset=a.csv: expected a data set or a folder .* use dataset=csv dataset.root=a.csv"),
        (["source=a.csv"], r"source=a.csv: expected a data set or a folder .* use source=csv source.root=a.csv"),
        (["test_views=flip"], r"test_views=flip: similarity makes no use of it; use test_views=null"),
    ],
)
def test_wrong_settings(settings: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    Path("a.csv").write_text("path,label\n")
    base = WITHOUT_COUNTS if "dataset=empty" in settings else TEXTURES
    assert main(["similarity", *base, *settings]) == 2
    output = capsys.readouterr()
    assert re.search(sentence, output.err), output.err
    assert len(output.err.strip().splitlines()) == 1
    assert not list(Path().rglob("*similarity*")), "nothing is left behind"


def test_an_unreadable_image_is_refused_or_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_of_images("some", 6)
    (folder / "broken.png").write_bytes(b"\x89PNG nothing more")
    assert main(["similarity", *WITHOUT_COUNTS, f"dataset={folder}"]) == 2
    assert "broken.png' cannot be read" in capsys.readouterr().err
    assert similarity(f"dataset={folder}", "dataset.on_error=skip", base=WITHOUT_COUNTS)["images"] == 6


def test_help_and_wrong_settings_are_answered_without_torch() -> None:
    code = (
        "import sys; from headstart.cli import main\n"
        "assert main(['similarity', '--help']) == 0\n"
        "assert main(['similarity', 'dataset=texturs']) == 2\n"
        "assert 'torch' not in sys.modules"
    )
    assert "headstart similarity dataset=" in answer_of(code)
