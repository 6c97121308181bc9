"""Measure how much accuracy the choice of headstart advise loses against the best choice, on several data sets.

    python scripts/advice_regret.py dataset.image_size=64 --target dataset=textures --target dataset=digits \\
        --backbone backbone=efficientnet_lite0 --backbone backbone=efficientnet_lite1 --seeds 0 1 2

``--target`` and ``--backbone`` hold the settings of one data set and one backbone, separated by spaces; other settings
are for all. Each seed draws other validation images and, with ``dataset.labels_per_class``, other labels. Every
strategy that solves its head is tried at every stage of every backbone. The advice is the best on validation. The
regret of a choice is its test accuracy, subtracted from that of the best candidate; both are means over the seeds. Two
choices need no measurement on the data set: linear_probe at the last stage of the first backbone, and the candidate
that is best on average over the other data sets. The last rows are the mean over the data sets and its 90 % interval
by Student's t.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf

from headstart.advice.advising import few_warnings
from headstart.advice.candidates import in_order, try_stages
from headstart.advice.reading import StageReader, read_data_set
from headstart.commands.measuring import probe_settings
from headstart.statistics.mean_error import mean_interval
from headstart.tables import table_text
from headstart.training import compose
from headstart.training.prepare import run_settings, settle_process

CHOICES = ("advice", "linear_probe", "best elsewhere")


@dataclass(frozen=True)
class Trial:
    """The candidates of one data set and one seed, in one order for all trials."""

    names: Sequence[str]
    advised: int
    test: NDArray[np.float64]
    """Test accuracy of each candidate, a fraction of 1."""


def regrets(trials: Mapping[str, Sequence[Trial]], plain: str) -> dict[str, dict[str, float]]:
    """Return the mean regret over the seeds of each choice by data set; ``plain`` names the usual candidate."""
    means = {target: np.mean([trial.test for trial in several], axis=0) for target, several in trials.items()}
    found = {}
    for target, several in trials.items():
        best, names = float(means[target].max()), list(several[0].names)
        others = [mean for other, mean in means.items() if other != target]
        found[target] = {
            "advice": best - float(np.mean([trial.test[trial.advised] for trial in several])),
            "linear_probe": best - float(means[target][names.index(plain)]),
            "best elsewhere": best - float(means[target][int(np.mean(others, axis=0).argmax())]),
        }
    return found


def try_all(settings: Sequence[str], backbones: Sequence[str]) -> tuple[Trial, str]:
    """Return the trial of a data set and a seed, and the name of linear_probe at the first backbone's last stage."""
    candidates, accuracies = [], {}  # in the same order
    for backbone in backbones:
        config, _ = probe_settings([*settings, *backbone.split()], "advise")
        config = OmegaConf.create(run_settings(config))
        network = compose.make_backbone(config)
        target = read_data_set(config, network)
        assert target.test is not None
        reader = StageReader(config, network, target.signature)
        test = reader.by_stage(f"{target.name}, test", target.test)
        for one in try_stages(reader, target, backbone).candidates:
            candidates.append(one)
            right = one.fit()(test[one.stage].values).argmax(dim=1) == test[one.stage].targets
            accuracies[f"{backbone} {one.stage} {one.strategy}"] = float(right.double().mean())
    first = in_order(candidates)[0]
    plain = next(one for one in candidates if one.is_last and one.strategy == "linear_probe")
    trial = Trial([*accuracies], [*map(id, candidates)].index(id(first)), np.array([*accuracies.values()]))
    return trial, f"{plain.backbone} {plain.stage} linear_probe"


def main(arguments: Sequence[str]) -> int:
    """Print the advice, the best candidate and the regrets for each data set; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*")
    parser.add_argument("--target", action="append", required=True)
    parser.add_argument("--backbone", action="append", required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_intermixed_args(list(arguments))
    if len(options.target) < 2:
        parser.error("give two --target or more: each is compared with the others")
    settle_process()
    trials: dict[str, list[Trial]] = {}
    with few_warnings():
        for target in options.target:
            for seed in options.seeds:
                trial, plain = try_all(
                    [*options.settings, *target.split(), f"seed={seed}", f"seeds.split={seed}"], options.backbone
                )
                trials.setdefault(target, []).append(trial)
                names, best = trial.names, int(trial.test.argmax())
                for what, place in (("advice", trial.advised), ("best", best)):
                    print(f"{target}, seed {seed}, {what}: {names[place]} {100 * trial.test[place]:.1f} %", flush=True)
    found = regrets(trials, plain)
    rows = [[target, *(f"{100 * regret[choice]:.2f}" for choice in CHOICES)] for target, regret in found.items()]
    for word in ("mean", "low", "high"):
        columns = [mean_interval([[regret[choice]] for regret in found.values()], 0.9) for choice in CHOICES]
        rows.append([word, *(f"{100 * getattr(column, word):.2f}" for column in columns)])
    print(table_text(["regret in points", *CHOICES], rows, [False, True, True, True]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
