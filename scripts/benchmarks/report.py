"""Measure time and memory of a report over few and many synthetic runs."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from omegaconf import OmegaConf

from benchmarks.measured import SCRIPTS, Row
from headstart.settings.configs import composed

STRATEGIES = "scratch finetune_all finetune_lower finetune_upper head_only linear_probe lp_ft lora ridge knn".split()
IMAGES, CLASSES, EPOCHS = 1000, 10, 20
# A small process starts the report, because the peak memory of a child includes its parent's.
WATCHED = """
import resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def speed(settings: Sequence[str], rounds: int) -> list[Row]:
    """Measure scripts/report.py over 3 and 500 runs, including the start of Python; return medians."""
    rows = []
    for count, seconds_aim, note in ((3, 2, ""), (500, 10, "; aim for memory: 500 MB")):
        with TemporaryDirectory(prefix="benchmark-") as folder:
            make_runs(Path(folder), count)
            size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
            measured = [measure(Path(folder)) for _ in range(max(2, rounds))]
            seconds, peak = (median(values) for values in zip(*measured, strict=True))
        rows.append(
            Row(
                f"a report over {count} runs of {IMAGES} test images",
                f"{seconds:.2f} s",
                f"{seconds_aim} s",
                f"{peak / 1e6:.0f} MB at most{note}; {size / 1e6:.0f} MB of run directories",
            )
        )
    return rows


def measure(runs: Path) -> tuple[float, int]:
    """Return the seconds and peak bytes of one report in a separate process."""
    command = [sys.executable, "-c", WATCHED, sys.executable, str(SCRIPTS / "report.py"), str(runs)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
    seconds, peak = done.stdout.split()
    return float(seconds), int(peak) * (1 if sys.platform == "darwin" else 1024)


def make_runs(folder: Path, count: int) -> None:
    """Write run directories like those of a sweep: up to ten strategies, ten seeds, and as many data sets as needed."""
    rng = np.random.default_rng(0)
    config, _ = composed([])
    text = OmegaConf.to_yaml(config, resolve=True)
    for number in range(count):
        seed, rest = (number // len(STRATEGIES)) % 10, number // (10 * len(STRATEGIES))
        place = number % len(STRATEGIES)
        write_run(folder, STRATEGIES[place], f"set{rest}", seed, text, 0.5 + 0.04 * place, rng)


def write_run(
    folder: Path, strategy: str, dataset: str, seed: int, config: str, skill: float, rng: np.random.Generator
) -> None:
    """Write one finished run with a test accuracy of about ``skill``."""
    run = folder / f"{dataset}-{strategy}-seed{seed}"
    run.mkdir(parents=True)
    classes = [f"class {number}" for number in range(CLASSES)]
    accuracies = {}
    for file, images in (("predictions.csv", IMAGES), ("validation_predictions.csv", IMAGES // 4)):
        targets = np.arange(images) % CLASSES
        logits = rng.normal(size=(images, CLASSES))
        predicted = np.where(rng.random(images) < skill, targets, rng.integers(0, CLASSES, images))
        logits[np.arange(images), predicted] += 6
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        predicted = probabilities.argmax(axis=1)
        accuracies[file] = float((predicted == targets).mean())
        lines = [
            f"{file[0]}/{number}.jpg,{classes[target]},{classes[answer]},{','.join(f'{p:.12g}' for p in row)}"
            for number, (target, answer, row) in enumerate(zip(targets, predicted, probabilities, strict=True))
        ]
        (run / file).write_text("\n".join([",".join(["id", "target", "prediction", *classes]), *lines]) + "\n")
    (run / "config.yaml").write_text(config.replace("\nseed: 0\n", f"\nseed: {seed}\n"))
    rise = 1 - np.exp(-np.arange(1, EPOCHS + 1) / 5)
    columns = (
        "epoch,train/accuracy,train/loss,validation/accuracy,validation/loss,learning_rate/head,samples_per_second"
    )
    rows = [f"{e},{rise[e]},{2 - rise[e]},{skill * rise[e]},{2 - skill * rise[e]},0.002,100" for e in range(EPOCHS)]
    (run / "metrics.csv").write_text("\n".join([columns, *rows]) + "\n")
    test, validation = accuracies["predictions.csv"], accuracies["validation_predictions.csv"]
    content = {
        "schema": 1, "status": "finished", "id": run.name, "config_hash": run.name, "backbone": "efficientnet_lite0",
        "dataset": dataset, "augmentation": [], "strategy": strategy, "seed": seed, "skipped": [], "references": {},
        "pictures": {"train": 800, "validation": IMAGES // 4, "test": IMAGES}, "classes": classes,
        "metrics": {"test/accuracy": test, "validation/accuracy": validation, "test/loss": 1.0, "validation/loss": 1.0},
        "cost": {"train_seconds": 10 + 100 * skill, "trainable_parameters": 10 ** (3 + 5 * skill), "epochs": EPOCHS},
        "selection": {"on": "validation/accuracy", "tried": EPOCHS, "rule": f"epoch {EPOCHS} of {EPOCHS}, the best"},
        "error": None,
    }  # fmt: skip
    (run / "run.json").write_text(json.dumps(content))
