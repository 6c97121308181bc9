"""Measure how much accuracy the choice of headstart advise loses against the best choice, on several data sets.

    python scripts/advice_regret.py dataset.image_size=64 --target dataset=textures --target dataset=digits \\
        --backbone backbone=efficientnet_lite0 --backbone backbone=efficientnet_lite1 --seeds 0 1 2

``--target`` and ``--backbone`` hold the settings of one data set and one backbone, separated by spaces; other
settings are for all. Each seed draws other validation images and, with ``dataset.labels_per_class``, other labels.
The candidates are those of ``headstart advise``. The regret of a choice is its test accuracy, subtracted from that of
the best candidate; both are means over the seeds. One half of the test images finds the best candidate, and the other
half scores it, so it does not look better than it is. Both halves score, and the regrets of 20 splits into halves are
averaged. So many test images may still miss the best candidate, and the regret may be too small; "at most" is the
regret against the best on all test images, which is too large. Two choices need no measurement on the data set:
linear_probe at the last stage of the first backbone, and the candidate that is best on average over the other data
sets. The last rows are the mean over the data sets and its 90 % interval by Student's t.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf

from headstart.advice.candidates import advised, in_order, try_stages
from headstart.advice.reading import StageReader, read_data_set
from headstart.commands.measuring import probe_settings
from headstart.console import errors_only
from headstart.splits.splits import fold_of
from headstart.statistics.mean_error import mean_interval
from headstart.tables import table_text
from headstart.training import compose
from headstart.training.prepare import run_settings, settle_process

CHOICES = ("advice", "linear_probe", "best elsewhere", "advice, at most")
SPLITS = 20  # of the test images into halves


@dataclass(frozen=True)
class Trial:
    """The candidates of one data set and one seed, in one order for all trials."""

    names: Sequence[str]
    advised: int
    right: NDArray[np.bool_]
    """Whether each candidate is right on each test image, (C, N)."""
    test: Mapping[str, int]
    """The class of each test image by the image's name, N in the order of ``right``."""

    @property
    def accuracies(self) -> NDArray[np.float64]:
        """Return the test accuracy of each candidate, a fraction of 1."""
        return self.right.mean(axis=1)


def halves(trials: Sequence[Trial], splits: int = SPLITS) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Yield the accuracies (S, C) of all S trials on one half of the test images and on the other half.

    Each random split has the same share of each class in both halves, and gives two pairs, one for each order. An
    image is in the same half in all trials.
    """
    labels = {name: label for trial in trials for name, label in trial.test.items()}
    names, targets = np.array([*labels]), np.array([*labels.values()])
    classes = [str(label) for label in range(targets.max() + 1)]
    for split in range(splits):
        half = names[fold_of(targets, 2, 0, split, classes)[1]]
        inside = [np.isin([*trial.test], half) for trial in trials]
        accuracies = [
            np.array([trial.right[:, mask == chosen].mean(axis=1) for trial, mask in zip(trials, inside, strict=True)])
            for chosen in (True, False)
        ]
        yield accuracies[0], accuracies[1]
        yield accuracies[1], accuracies[0]


def regrets(trials: Mapping[str, Sequence[Trial]], plain: str) -> dict[str, dict[str, float]]:
    """Return the mean regret over the seeds of each choice by data set; ``plain`` names the usual candidate.

    "advice, at most" compares with the best candidate on all test images, which looks better than it is.
    """
    means = {target: np.mean([trial.accuracies for trial in several], axis=0) for target, several in trials.items()}
    found = {}
    for target, several in trials.items():
        others = [mean for other, mean in means.items() if other != target]
        same = len(several)
        chosen = {
            "advice": [trial.advised for trial in several],
            "linear_probe": [list(several[0].names).index(plain)] * same,
            "best elsewhere": [int(np.mean(others, axis=0).argmax())] * same,
        }
        found[target] = {
            choice: float(np.mean([
                scored[:, finding.mean(axis=0).argmax()] - scored[range(same), places]
                for finding, scored in halves(several)
            ]))
            for choice, places in chosen.items()
        }  # fmt: skip
        advised = np.mean([trial.accuracies[trial.advised] for trial in several])
        found[target]["advice, at most"] = float(means[target].max() - advised)
    return found


def try_all(settings: Sequence[str], backbones: Sequence[str]) -> tuple[Trial, str]:
    """Return the trial of a data set and a seed, and the name of linear_probe at the first backbone's last stage."""
    candidates, right = [], {}  # in the same order
    for backbone in backbones:
        config, _ = probe_settings([*settings, *backbone.split()], "advise")
        config = OmegaConf.create(run_settings(config))
        network = compose.make_backbone(config)
        target = read_data_set(config, network)
        assert target.test is not None
        reader = StageReader(config, network, target.signature)
        test = reader.by_stage(f"{target.name}, test", target.test, joined=True)
        labels = dict(zip(target.test.ids, map(int, target.test.targets), strict=True))
        for one in try_stages(reader, target, backbone).candidates:
            candidates.append(one)
            answers = one.fit()(test[one.stage].values).argmax(dim=1)
            right[f"{backbone} {one.stage} {one.strategy}"] = (answers == test[one.stage].targets).numpy()
    chosen = advised(in_order(candidates))
    plain = next(one for one in candidates if not one.read and one.strategy == "linear_probe")
    trial = Trial([*right], [*map(id, candidates)].index(id(chosen)), np.array([*right.values()]), labels)
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
    with errors_only("headstart.solvers"):
        for target in options.target:
            for seed in options.seeds:
                trial, plain = try_all(
                    [*options.settings, *target.split(), f"seed={seed}", f"seeds.split={seed}"], options.backbone
                )
                trials.setdefault(target, []).append(trial)
                for what, place in (("advice", trial.advised), ("best on test", int(trial.accuracies.argmax()))):
                    share = 100 * trial.accuracies[place]
                    print(f"{target}, seed {seed}, {what}: {trial.names[place]} {share:.1f} %", flush=True)
    found = regrets(trials, plain)
    rows = [[target, *(f"{100 * regret[choice]:.2f}" for choice in CHOICES)] for target, regret in found.items()]
    for word in ("mean", "low", "high"):
        columns = [mean_interval([[regret[choice]] for regret in found.values()], 0.9) for choice in CHOICES]
        rows.append([word, *(f"{100 * getattr(column, word):.2f}" for column in columns)])
    print(table_text(["regret in points", *CHOICES], rows, [False, *[True] * len(CHOICES)]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
