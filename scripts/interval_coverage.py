"""Simulate how often the 95 % intervals of a report contain the true value, and how wide they are; print Markdown.

    python scripts/interval_coverage.py --trials 4000

Two strategies predict the same test images with the same seeds. A network is right on an image with the probability
Φ(skill + seed effect + image effect + effect of strategy and image). The effects are normal, so the true accuracies
have a closed form. The seed effects are scaled until the variance of the difference over seeds is ``ratio`` times its
variance over test images. Each cell of the table has the coverage in percent and the mean width in points.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtrit

from headstart.seeds import generator
from headstart.statistics import accuracy_interval, two_way_error
from headstart.statistics.arrays import Floats

SEEDS, IMAGES, RATIOS = (2, 3, 5, 10), (150, 600), (0.1, 0.3, 1.0, 3.0, 10.0)
ACCURACIES = (0.85, 0.80)
IMAGE_EFFECT, OWN_IMAGE_EFFECT = 1.5, 0.7  # deviations, relative to the noise of one answer
ALPHA = 0.05
METHODS = (
    "difference: t over seeds",
    "difference: Satterthwaite",
    "difference: report",
    "accuracy: t over seeds",
    "accuracy: report",
)
CHUNK = 4_000_000  # answers simulated at a time
Answers = NDArray[np.float32]


@dataclass(frozen=True)
class World:
    """The skills (2,) of two strategies, and the deviation of the seed effects."""

    skills: Floats
    seed_effect: float

    @property
    def scale(self) -> float:
        """Return the total deviation of an answer's effects."""
        return sqrt(1 + IMAGE_EFFECT**2 + OWN_IMAGE_EFFECT**2 + self.seed_effect**2)

    def answers(self, trials: int, seeds: int, images: int, rng: np.random.Generator) -> Answers:
        """Return right (1) and wrong (0) answers (2, trials, seeds, images)."""
        of_image = IMAGE_EFFECT * rng.standard_normal((trials, 1, images), dtype=np.float32)
        found = np.empty((2, trials, seeds, images), dtype=np.float32)
        for number, skill in enumerate(self.skills):
            known = skill + of_image + OWN_IMAGE_EFFECT * rng.standard_normal(of_image.shape, dtype=np.float32)
            of_seed = self.seed_effect * rng.standard_normal((trials, seeds, 1), dtype=np.float32)
            found[number] = rng.random(found.shape[1:], dtype=np.float32) < ndtr(known + of_seed)
        return found


def world(ratio: float, images: int) -> World:
    """Return the world in which the variance over seeds is ``ratio`` times that over images, found by bisection."""
    low, high = 0.0, 20.0
    for _ in range(40):
        middle = (low + high) / 2
        of_seeds, of_images = variances(made(middle))
        low, high = (middle, high) if of_seeds < ratio * of_images / images else (low, middle)
    return made(low)


def made(seed_effect: float) -> World:
    """Return the world with these seed effects and the accuracies ``ACCURACIES``."""
    scale = World(np.zeros(2), seed_effect).scale
    return World(ndtri(np.array(ACCURACIES)) * scale, seed_effect)


def variances(of: World) -> tuple[float, float]:
    """Return the variance over seeds of the difference in accuracy, and the remaining variance of one answer."""
    rng = np.random.default_rng(0)
    of_seed = of.skills[:, None] + of.seed_effect * rng.standard_normal((2, 20_000))
    of_seeds = ndtr(of_seed / sqrt(1 + IMAGE_EFFECT**2 + OWN_IMAGE_EFFECT**2)).var(axis=1).sum()
    effects = IMAGE_EFFECT * rng.standard_normal(20_000) + OWN_IMAGE_EFFECT * rng.standard_normal((2, 20_000))
    a, b = ndtr((of.skills[:, None] + effects) / sqrt(1 + of.seed_effect**2))
    differ = float((a * (1 - b) + b * (1 - a)).mean())
    return float(of_seeds), differ - float(np.diff(ACCURACIES)[0]) ** 2 - float(of_seeds)


def student(values: Floats) -> Floats:
    """Return half the width of Student's interval over seeds, from one number per seed, (trials, S)."""
    seeds = values.shape[-1]
    half: Floats = -stdtrit(seeds - 1, ALPHA / 2) * values.std(axis=-1, ddof=1) / sqrt(seeds)
    return half


def satterthwaite(table: Floats) -> Floats:
    """Return half the width of a t interval with Satterthwaite's degrees of freedom for the total error."""
    seeds, images = table.shape[-2:]
    error = two_way_error(table)
    parts = (
        (error.runs, seeds - 1),
        (error.images + error.rest, images - 1),
        (error.rest, (seeds - 1) * (images - 1)),
    )
    degrees = error.total**2 / sum(part**2 / degrees for part, degrees in parts)
    half: Floats = -stdtrit(degrees, ALPHA / 2) * np.sqrt(error.total)
    return half


def simulate(seeds: int, images: int, ratio: float, trials: int, seed: int) -> list[float]:
    """Return coverage in percent and mean width in points, for each of ``METHODS``."""
    of = world(ratio, images)
    rng = generator("coverage", seed, seeds, images, round(1000 * ratio))
    truths = np.array(ACCURACIES)
    truth = truths[0] - truths[1]
    methods: tuple[Callable[[Floats], Floats], ...] = (
        lambda table: student(table.mean(axis=-1)),
        satterthwaite,
        lambda table: two_way_error(table, of_answers=True).half(ALPHA),
    )
    halves: list[list[Floats]] = [[] for _ in methods]
    off, own, plain = [], [], []
    left = trials
    while left:
        count = min(left, max(1, CHUNK // (seeds * images)))
        left -= count
        first, second = of.answers(count, seeds, images, rng)
        table = first - second
        off.append(np.abs(table.mean(axis=(-2, -1)) - truth))
        for kept, method in zip(halves, methods, strict=True):
            kept.append(method(table))
        mean, half = first.mean(axis=(-2, -1)), student(first.mean(axis=-1))
        plain += list(zip(mean - half, mean + half, strict=True))
        own += [(found.low, found.high) for found in map(accuracy_interval, first)]
    missed = np.concatenate(off)
    found = []
    for kept in halves:
        half = np.concatenate(kept)
        found += [100 * float((missed <= half).mean()), 200 * float(half.mean())]
    for bounds in (plain, own):
        low, high = np.array(bounds).T
        found += [100 * float(((low <= truths[0]) & (truths[0] <= high)).mean()), 100 * float((high - low).mean())]
    return found


def table(rows: Sequence[tuple[int, int, float, list[float]]]) -> str:
    """Return a Markdown table with a row per setting: coverage and mean width of each method."""
    head = ["seeds", "images", "ratio", *METHODS]
    lines = [f"| {' | '.join(head)} |", f"|{'---:|' * len(head)}"]
    for seeds, images, ratio, numbers in rows:
        pairs = zip(numbers[::2], numbers[1::2], strict=True)
        cells = [str(seeds), str(images), f"{ratio:g}", *(f"{covers:.1f} ({width:.1f})" for covers, width in pairs)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate, print the table and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=4000, help="experiments per row (default: 4000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="numbers of seeds")
    parser.add_argument("--images", type=int, nargs="+", default=IMAGES, help="numbers of test images")
    parser.add_argument("--ratios", type=float, nargs="+", default=RATIOS, help="variance over seeds : over images")
    arguments = parser.parse_args(argv)
    if arguments.trials < 1 or min(arguments.seeds) < 2 or min(arguments.images) < 2 or min(arguments.ratios) < 0:
        print(
            "interval_coverage.py: expected at least 1 trial, 2 seeds and 2 images, and ratios of 0 or more.",
            file=sys.stderr,
        )
        return 2
    rows = [
        (seeds, images, ratio, simulate(seeds, images, ratio, arguments.trials, arguments.seed))
        for seeds in arguments.seeds
        for images in arguments.images
        for ratio in arguments.ratios
    ]
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
