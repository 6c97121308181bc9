"""Write complete run directories by hand, for tests without training."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

CLASSES = ["ant", "bee"]
CONFIG: dict[str, Any] = {
    "seed": 0,
    "seeds": {"split": 0, "head": 0},
    "output_dir": "runs",
    "dataset": {"_target_": "headstart.data.ImageFolder", "root": "/images", "num_workers": 0, "split_seed": 0},
    "backbone": {"name": "resnet18", "weights": "imagenet", "seed": 0},
    "augmentation": {},
    "strategy": {"_target_": "headstart.strategies.HeadOnly", "head_seed": 0},
    "optimizer": {"lr": 0.1},
}
PROVENANCE: dict[str, Any] = {
    "git_commit": "c" * 40,
    "git_dirty": False,
    "git_diff_sha256": None,
    "source_sha256": "5" * 64,
    "packages": {"python": "3.12.1", "torch": "2.14.1"},
    "hardware": {"processor": "EPYC", "cores": 2, "threads": 1, "memory_bytes": 1},
    "dataset_fingerprint": "d" * 64,
    "split_fingerprints": {"train": "1" * 64, "validation": "2" * 64, "test": "3" * 64},
    "weights": {"name": "resnet18 imagenet", "sha256": "w" * 64, "matched": 1.0},
}


def write_complete_run(
    folder: Path,
    right: Sequence[bool] = (True, True, True, False),
    config: dict[str, Any] | None = None,
    provenance: dict[str, Any] | None = None,
    prefix: str = "test",
    **changes: Any,
) -> Path:
    """Write a run that predicts image i correctly if right[i]; the other arguments change its files."""
    folder.mkdir(parents=True)
    settings = merged(CONFIG, config or {})
    (folder / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    accuracy = sum(right) / len(right)
    content: dict[str, Any] = {
        "schema": 1, "status": "finished", "id": folder.name, "config_hash": json.dumps(settings), "dataset": "insects",
        "backbone": "resnet18", "strategy": "head_only", "augmentation": [], "seed": settings["seed"],
        "provenance": merged(PROVENANCE, provenance or {}), "error": None, "classes": CLASSES, "skipped": [],
        "pictures": {"train": 8, "validation": 4, "test": len(right)}, "best_epoch": 1,
        "metrics": {"test/accuracy": accuracy, "test/loss": 0.5, "validation/accuracy": 0.75},
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(content | changes))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["id", "target", "prediction", *CLASSES])
    for number, is_right in enumerate(right):
        target = CLASSES[number % 2]
        other = target if is_right else CLASSES[1 - number % 2]
        table.writerow([f"{prefix}/{number}", target, other, *(0.75 if name == other else 0.25 for name in CLASSES)])
    (folder / "predictions.csv").write_text(text.getvalue())
    return folder


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return two nested mappings merged; values of ``changes`` win."""
    inner = {k: merged(base[k], v) for k, v in changes.items() if isinstance(v, dict) and isinstance(base.get(k), dict)}
    return {**base, **changes, **inner}
