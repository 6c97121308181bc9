"""Check exported ONNX files in an environment without torch, for many networks and strategies.

    python scripts/check_export.py /path/to/python [--only WORD] [--folder DIR]

The interpreter needs onnxruntime, numpy and Pillow only. For each network and strategy, and for each task, the script
trains for a moment on small JPEG files, exports, runs predict_onnx.py with that interpreter, and compares its answers
with those of headstart predict. It prints a line a case: the largest difference of the probabilities (or numbers,
relative to the largest), and how many labels differ where the margin exceeds 1e-3.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from headstart.cli import main

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
lists: Any = import_module("made_lists")
masks: Any = import_module("made_masks")

NETWORKS = {
    "efficientnet_lite0": ["backbone=efficientnet_lite0"],
    "resnet18": ["backbone=resnet18"],
    "vit": ["backbone=timm", "backbone.name=vit_tiny_patch16_224"],
    "swin": ["backbone=swin_t"],
    "convnext": ["backbone=timm", "backbone.name=convnext_atto"],
    "mobilenet": ["backbone=mobilenet_v3_small"],
}
STRATEGIES = ("head_only", "finetune_all", "linear_probe", "ridge", "knn", "lora", "wise_ft", "lp_ft")
TASKS: dict[str, Any] = {
    "classification": (lists.list_of_classes, []),
    "regression": (lists.list_of_numbers, ["task=regression", "dataset.targets=[label,dark]"]),
    "multilabel": (lists.list_of_labels, ["task=multilabel"]),
    "several": (
        lists.list_of_several,
        [
            "task=several",
            "task.parts={colour: {kind: classification, column: label}, light: {kind: regression, columns:"
            " [light, dark]}, more: {kind: multilabel, column: labels}}",
        ],
    ),
    "segmentation": (masks.write_masks, ["dataset=image_mask", "dataset.root=pairs", "task=segmentation"]),
    "dense_regression": (masks.write_numbers, ["dataset=image_mask", "dataset.root=pairs", "task=dense_regression"]),
}
FAST = [
    "dataset.image_size=64", "dataset.num_workers=0", "dataset.batch_size=8", "trainer.max_epochs=1",
    "trainer.accelerator=cpu", "logger=csv", "output_dir=made",
]  # fmt: skip


def write_photos(root: Path, classes: int = 3, each: int = 10) -> None:
    """Write JPEG files of several sizes, each class with its own colours."""
    rng = np.random.default_rng(0)
    for label in range(classes):
        folder = root / "train" / f"class {label}"
        folder.mkdir(parents=True)
        for number in range(each):
            patches = rng.integers(0, 140, (6, 5, 3)) + 50 * (np.arange(3) == label)
            width, height = (int(side) for side in rng.integers(70, 400, 2))
            image = Image.fromarray(patches.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
            exif = Image.Exif()
            exif[274] = 1 + number % 8  # orientation
            image.save(folder / f"{number}.jpg", quality=90, exif=exif)


def check(python: str, arguments: list[str], images: list[Path], place: Path) -> str:
    """Train, export, predict with both programs, and return the differences as a line."""
    if main(["train", *FAST, *arguments]):
        return "training failed"
    run = max((path.parent for path in Path("made").rglob("run.json")), key=lambda path: path.stat().st_mtime)
    if main(["export", str(run), "--to", "onnx", "--output", str(place)]):
        return "export refused"
    names = [str(path) for path in images]
    if main(["predict", str(run), *names, "--output", str(place / "answers.jsonl")]):
        return "predict failed"
    wanted = [json.loads(line) for line in (place / "answers.jsonl").read_text().splitlines()]
    command = [python, str(place / "predict_onnx.py"), "--json", *names]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"}).stdout
    found = [json.loads(line) for line in printed.splitlines()]
    largest, wrong = compared(found, wanted)
    (place / "model.onnx").unlink()
    return f"{largest:.1e}  {wrong} other labels  {len(found)} images"


def compared(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> tuple[float, int]:
    """Return the largest difference of numbers, and how many labels differ where the margin exceeds 1e-3."""
    largest, wrong = 0.0, 0
    assert len(found) == len(wanted)
    sizes = [abs(v) for one in wanted for part in (one, *one.values()) if isinstance(part, dict)
             for v in part.get("values", {}).values()]  # fmt: skip
    size = max(sizes, default=1.0)
    for mine, theirs in zip(found, wanted, strict=True):
        pairs = [(mine, theirs), *((mine[key], theirs[key]) for key in mine if isinstance(theirs[key], dict))]
        for one, other in pairs:
            for group, unit in (("probabilities", 1.0), ("values", size), ("shares", 1.0)):
                for name, value in one.get(group, {}).items():
                    largest = max(largest, abs(value - other[group][name]) / unit)
            for name in {"mean", "lowest", "highest"} & one.keys():
                largest = max(largest, abs(one[name] - other[name]) / max(abs(other["highest"]), abs(other["lowest"])))
            if isinstance(one.get("label"), str) and one["label"] != other["label"]:
                top = sorted(other["probabilities"].values())
                wrong += top[-1] - top[-2] > 1e-3
            if "labels" in one:
                wrong += one["labels"] != other["labels"]
    return largest, wrong


def run_all() -> None:
    """Check every case in a temporary folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("python")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        write_photos(Path("photos"))
        images = sorted(Path("photos").rglob("*.jpg"))
        cases: list[tuple[str, list[str], list[Path]]] = []
        for strategy in STRATEGIES:
            for network, settings in NETWORKS.items():
                weights = [] if network == "efficientnet_lite0" else ["backbone.weights=null"]
                data = ["dataset=image_folder", "dataset.root=photos", f"strategy={strategy}"]
                cases.append((f"{network} {strategy}", [*settings, *weights, *data], images))
        for task, (make, settings) in TASKS.items():
            Path(task).mkdir()
            os.chdir(task)
            make(Path("pairs")) if make in (masks.write_masks, masks.write_numbers) else make()
            root = "pairs" if Path("pairs").is_dir() else "images/list.csv"
            os.chdir(folder)
            own = [one for one in settings if not one.startswith("dataset.root")]
            data = ["dataset=csv"] if root != "pairs" else []
            small = ["backbone=timm", "backbone.name=test_efficientnet", "backbone.weights=null", "strategy=head_only"]
            files = sorted(path for path in Path(task).rglob("*.png") if "masks" not in path.parts)[:20]
            cases.append((f"task {task}", [*small, *data, f"dataset.root={task}/{root}", *own], files))
        for number, (name, arguments, files) in enumerate(cases):
            if options.only in name:
                print(f"CASE {name}: {check(options.python, arguments, files, Path(f'out{number}'))}", flush=True)


if __name__ == "__main__":
    run_all()
