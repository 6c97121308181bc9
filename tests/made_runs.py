"""Write minimal run directories by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from headstart.kinds.number_predictions import NumberPredictions

CLASSES = ["ants", "bees", "cats"]


def write_run(root: Path, strategy: str, seed: int, accuracy: float, lr: float = 0.1, **changes: object) -> Path:
    """Write a finished run without predictions; ``changes`` go into run.json, ``config`` into config.yaml."""
    config = {"optimizer": {"lr": lr}, "seed": seed, "output_dir": str(root)} | changes.pop("config", {})  # type: ignore[operator]
    folder = root / f"{strategy}-{seed}-{lr}"
    folder.mkdir(parents=True)
    content = {
        "schema": 1, "status": "finished", "id": folder.name, "backbone": "resnet18", "dataset": "ants",
        "augmentation": [], "strategy": strategy, "seed": seed, "skipped": [], "references": {},
        "metrics": {"test/accuracy": accuracy, "validation/accuracy": accuracy - 0.01},
        "cost": {"train_seconds": 10.0, "trainable_parameters": 1000, "samples_per_second": 99.5}, "error": None,
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(content | changes))
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    rows = [f"{e},{0.5 + 0.1 * e},{accuracy - 0.05 * (2 - e)}" for e in range(3)]
    (folder / "metrics.csv").write_text("epoch,train/accuracy,validation/accuracy\n" + "\n".join(rows) + "\n")
    return folder


def write_tested_run(
    root: Path, strategy: str, seed: int, right: np.ndarray, validation_right: np.ndarray | None = None, **changes: Any
) -> Path:
    """Write a run that predicts image i correctly if right[i]; every prediction has probability 0.7."""
    ids = changes.pop("ids", [f"test/{number}.jpg" for number in range(len(right))])
    folder = write_run(root, strategy, seed, float(np.mean(right)), **changes)
    write_predictions(folder / "predictions.csv", ids, right)
    if validation_right is not None:
        held_out = changes.get("validation_ids", [f"val/{number}.jpg" for number in range(len(validation_right))])
        write_predictions(folder / "validation_predictions.csv", held_out, validation_right)
    return folder


def write_predictions(path: Path, ids: list[str], right: np.ndarray) -> None:
    """Write predictions with targets 0, 1, 2, 0, ...; a wrong prediction is the next class."""
    lines = [",".join(["id", "target", "prediction", *CLASSES])]
    for number, (name, is_right) in enumerate(zip(ids, right, strict=True)):
        target = number % 3
        predicted = target if is_right else (target + 1) % 3
        shares = [0.15] * 3
        shares[predicted] = 0.7
        lines.append(",".join([name, CLASSES[target], CLASSES[predicted], *map(str, shares)]))
    path.write_text("\n".join(lines) + "\n")


def write_regression_run(
    root: Path,
    strategy: str,
    seed: int,
    errors: np.ndarray,
    validation_errors: np.ndarray | None = None,
    **changes: Any,
) -> Path:
    """Write a finished regression run that predicts too much by ``errors`` (N,), for targets 0, 1, 2, ..."""
    mae = float(np.abs(errors).mean())
    held_out = mae + 0.1 if validation_errors is None else float(np.abs(validation_errors).mean())
    primary = {"name": "mae", "higher_is_better": False, "unit": changes.pop("unit", "")}
    metrics = {"test/mae": mae, "test/loss": mae**2, "validation/mae": held_out, "validation/loss": held_out**2}
    folder = write_run(
        root, strategy, seed, 0.5, **({"task": "regression", "primary": primary, "metrics": metrics} | changes)
    )
    rows = [f"{e},{4.0 - e},{3.0 - e},{held_out + 2 - e},{held_out + 1 - e}" for e in range(3)]
    header = "epoch,train/mae,train/loss,validation/mae,validation/loss"
    (folder / "metrics.csv").write_text("\n".join([header, *rows]) + "\n")
    for name, of in (("predictions.csv", errors), ("validation_predictions.csv", validation_errors)):
        if of is not None:
            targets = np.arange(len(of), dtype=float)[:, None]
            ids = [f"{name[:4]}/{number}.jpg" for number in range(len(of))]
            (folder / name).write_text(NumberPredictions(ids, targets, targets + of[:, None]).text())
    return folder
