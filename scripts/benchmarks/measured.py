"""Run commands in separate processes, and read their figures."""

import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from headstart.records.names import CURVE_FILE

SCRIPTS = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Row:
    """A row of the table: a ratio and the figures behind it."""

    what: str
    ratio: str
    aim: str
    figures: str


@dataclass(frozen=True)
class Outcome:
    """The result of one command."""

    wall: float  # seconds, start-up included
    processor: float  # seconds of all cores
    runs: list[dict[str, Any]]  # every run.json
    folder: Path  # with the run directories

    @property
    def train(self) -> float:
        """Return the seconds of the fit: features, training, validation."""
        return float(self.runs[0]["cost"]["train_seconds"])

    @property
    def accuracy(self) -> float:
        """Return the test accuracy."""
        return float(self.runs[0]["metrics"]["test/accuracy"])

    @property
    def last_speed(self) -> float:
        """Return the images per second of the last epoch."""
        return last_epoch(self.folder)["samples_per_second"]


@dataclass
class Place:
    """A folder for runs and caches, empty at first."""

    folder: Path
    settings: Sequence[str]
    count: int = field(default=0)

    def train(self, *settings: str, command: str = "train") -> Outcome:
        """Run headstart train, or another ``command`` that makes runs, with these settings and return its result."""
        self.count += 1
        output = self.folder / f"out{self.count}"
        start = [str(SCRIPTS / "train.py")] if command == "train" else ["-m", "headstart", command]
        command_line = [sys.executable, *start, *self.settings, *settings]
        command_line += [f"output_dir={output}", f"features.dir={self.folder / 'features'}"]
        before = processor_seconds()
        wall = self.run(command_line)
        processor = processor_seconds() - before
        runs = [json.loads(path.read_text()) for path in sorted(output.rglob("run.json"))]
        return Outcome(wall, processor, runs, output)

    def run(self, command: Sequence[str]) -> float:
        """Run a command and return its seconds."""
        environment = os.environ | {"XDG_CACHE_HOME": str(self.folder / "cache")}
        start = time.perf_counter()
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
        return time.perf_counter() - start


def processor_seconds() -> float:
    """Return the processor time of all ended child processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def fresh(settings: Sequence[str]) -> Iterator[Place]:
    """Create an empty place, without stored features or a chosen engine."""
    with TemporaryDirectory(prefix="benchmark-") as folder:
        yield Place(Path(folder), settings)


def finetuned_in_turns(
    settings: Sequence[str], name: str, values: Sequence[str], rounds: int
) -> dict[str, list[Outcome]]:
    """Fine-tune on a few labels with each value of a setting in turn; return the outcomes of each value."""
    settings = [*settings, "strategy=finetune_all", "trainer.max_epochs=2", "dataset.labels_per_class=20"]
    outcomes: dict[str, list[Outcome]] = {value: [] for value in values}
    for _ in range(rounds):
        with fresh(settings) as place:
            for value, of in outcomes.items():
                of.append(place.train(f"{name}={value}"))
    return outcomes


def last_epoch(folder: Path) -> dict[str, float]:
    """Return the last row of the curves of the only run below a folder."""
    (curves,) = folder.rglob(CURVE_FILE)
    with curves.open() as file:
        return {name: float(value) for name, value in list(csv.DictReader(file))[-1].items() if value}


def compared(what: str, aim: str, speeds: Mapping[str, Sequence[float]], one: str, other: str, digits: int = 2) -> Row:
    """Return a row with the median over the rounds of the ratio of two speeds in images per second."""
    ratio = median([a / b for a, b in zip(speeds[one], speeds[other], strict=True)])
    middle = " / ".join(f"{speed:,.{0 if speed >= 100 else 1}f}" for speed in map(median, (speeds[one], speeds[other])))
    return Row(what, f"{ratio:.{digits}f}", aim, f"{middle} images/s, medians of {len(speeds[one])}")


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)
