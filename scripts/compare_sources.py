"""Measure what weights of one's own gain over random weights, on data sets that they never saw.

    python scripts/compare_sources.py backbone=timm backbone.name=test_efficientnet dataset.image_size=32 \\
        --source "dataset=fashion_mnist dataset.root=fashion-mnist" --target dataset=digits --target dataset=textures \\
        --objective "contrast trainer.max_epochs=5" --objective "autoencoder trainer.max_epochs=10" --seeds 0 1 2

``--source``, ``--target`` and ``--objective`` hold the settings of one data set or objective, separated by spaces;
other settings are for all. Each seed pretrains with every objective. Then every strategy (``--strategy``, by default
linear_probe) learns every target from these weights, from random ones of the same seed, and from ``--weights``, such as
imagenet. ``--baseline scratch`` trains the random ones by this strategy instead. A row has the mean test accuracy, the
mean difference to random weights and to the first objective, and 95 % intervals of the differences over the seeds by
Student's t. Runs are written to ``--output``; the same command again skips those that are finished.
"""

import argparse
import itertools
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import headstart as hs
from headstart.cli import main as headstart
from headstart.statistics.mean_error import mean_interval
from headstart.tables import table_text


def pretrained(settings: Sequence[str], folder: Path) -> str:
    """Return the run of a pretraining in a folder of its own, which is started unless it is finished."""
    if code := headstart(["pretrain", "-m", *settings, f"output_dir={folder}"]):
        sys.exit(code)
    found = hs.runs(folder)
    finished = found[found.status == "finished"].directory.tolist()
    if len(finished) > 1:
        sys.exit(f"{folder} holds runs with other settings; choose another --output.")
    return str(finished[0])


def rows(scores: dict[str, list[float]]) -> list[list[str]]:
    """Return a row for each source, given its test accuracy in percent by seed; the first one is random weights."""
    found = []
    first, second = list(scores)[:2]
    for source, values in scores.items():
        row = [source, f"{sum(values) / len(values):.1f}"]
        for other in (first, second):
            if source in (first, other):
                row.append("")
                continue
            gain = mean_interval([[a - b] for a, b in zip(values, scores[other], strict=True)])
            row.append(f"{gain.mean:+.1f} ({gain.low:.1f} to {gain.high:.1f})")
        found.append(row)
    return found


def main(arguments: Sequence[str]) -> int:
    """Pretrain, probe and print a table for each target; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*")
    parser.add_argument("--source", required=True)
    for name in ("target", "objective"):
        parser.add_argument(f"--{name}", action="append", required=True)
    parser.add_argument("--strategy", action="append")
    parser.add_argument("--baseline")
    parser.add_argument("--weights", nargs="+", default=[])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=Path("runs/sources"))
    options = parser.parse_intermixed_args(arguments)
    if len(options.seeds) < 2:
        parser.error("expected two seeds or more, as the intervals are over seeds")
    weights: dict[str, list[str]] = {}
    for objective in options.objective:
        weights[objective] = [
            pretrained(
                [*options.settings, *options.source.split(), *f"objective={objective}".split(), f"seed={seed}"],
                options.output / re.sub(r"[^\w.]+", "-", f"{objective} seed{seed}"),
            )
            for seed in options.seeds
        ]
    weights |= {given: [given] * len(options.seeds) for given in options.weights}
    titles = ["weights", "test accuracy", "over random", f"over {options.objective[0].split()[0]}"]
    for target, strategy in itertools.product(options.target, options.strategy or ["linear_probe"]):
        common = [*options.settings, *target.split(), f"output_dir={options.output}"]
        scores: dict[str, list[float]] = {source: [] for source in ("random", *weights)}
        for number, seed in enumerate(options.seeds):
            first: dict[str, Any] = {"seed": seed, "backbone.weights": None}
            others = first | {"backbone.weights": [several[number] for several in weights.values()]}
            own = hs.sweep(*common, **first, strategy=options.baseline or strategy)
            runs = [*own, *hs.sweep(*common, **others, strategy=strategy)]
            for source, run in zip(scores, runs, strict=True):
                scores[source].append(100 * run.metrics["test/accuracy"])
        table = table_text(titles, rows(scores), [False, True, True, True])
        print(f"\n{target}, {strategy}\n{table}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
