"""Measure how often the forecasts of headstart advise hold the accuracy with 2 and 4 times the labels.

    python scripts/forecast_coverage.py dataset=textures dataset.image_size=64 --labels 12 25 --strategy ridge

All settings of ``headstart advise`` apply. In each draw, the forecast sees ``--labels`` labels a class; then the
strategy is fitted on 2 and 4 times as many, which include these, and scored on the same validation images. Features
are those of the last stage. The script prints a row for each number of labels: the share of 90 % intervals that hold
the measured error, the mean of forecast minus measured error, and the mean width, in points. Draws share images, so
they are not independent.
"""

import argparse
import sys
from collections.abc import Sequence

import numpy as np
from omegaconf import OmegaConf

from headstart.advice.advising import MORE
from headstart.advice.candidates import SOLVERS, fit_best
from headstart.advice.forecasting import forecast_accuracy
from headstart.advice.reading import StageReader, read_data_set
from headstart.commands.measuring import probe_settings
from headstart.console import errors_only
from headstart.solvers.features import Features
from headstart.splits.splits import few_per_class
from headstart.tables import table_text
from headstart.tasks import Classification
from headstart.training import compose
from headstart.training.prepare import run_settings, settle_process


def main(arguments: Sequence[str]) -> int:
    """Print the table for one data set and one strategy; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*")
    parser.add_argument("--labels", nargs="+", type=int, default=[12, 25])
    parser.add_argument("--draws", type=int, default=6)
    parser.add_argument("--strategy", choices=SOLVERS, default="ridge")
    options = parser.parse_intermixed_args(list(arguments))
    settle_process()
    config, _ = probe_settings(options.settings, "advise")
    config = OmegaConf.create(run_settings(config))
    backbone = compose.make_backbone(config)
    target = read_data_set(config, backbone)
    train, validation = list(StageReader(config, backbone, target.signature).labelled_stages(target).values())[-1]
    task, names = Classification(len(target.class_names)), list(target.class_names)
    targets, solve = train.targets.numpy(), SOLVERS[options.strategy]

    def taken(labels: int, draw: int) -> Features:
        chosen = few_per_class(targets, labels, draw, names)
        return Features(train.values[chosen], train.targets[chosen])

    rows = []
    with errors_only("headstart.solvers"):
        for labels in options.labels:
            found: dict[int, list[tuple[bool, float, float]]] = {factor: [] for factor in MORE}
            for draw in range(100, 100 + options.draws):
                forecast = forecast_accuracy(solve, taken(labels, draw), validation, task)
                if forecast is None:
                    parser.error(f"--labels {labels}: too few for a forecast")
                for factor in MORE:
                    outputs = fit_best(solve, taken(factor * labels, draw), validation, task)(validation.values)
                    error = float((outputs.argmax(dim=1) != validation.targets).double().mean())
                    one = forecast.at(factor * labels)
                    found[factor].append((one.low <= error <= one.high, one.error - error, one.high - one.low))
            for factor, results in found.items():
                held, off, width = np.mean(results, axis=0)
                texts = [f"{100 * held:.0f} %", f"{100 * off:+.1f}", f"{100 * width:.1f}"]
                rows.append([str(labels), str(factor * labels), *texts])
    print(table_text(["labels a class", "forecast at", "covered", "too high by", "width"], rows, [True] * 5))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
