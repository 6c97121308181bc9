"""Measure how fast commands answer, as ratios: python scripts/startup.py [--rounds N] [NAME ...].

A command that answers without training may take 1.5 times as long as `import hydra`, plus 0.3 s. The commands run in
turns, in separate processes with cached files; figures are medians. The limit applies to processor time, which does not
depend on other work on the machine. The table also shows the time by the clock. The exit code is 1 if a command exceeds
its limit.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

TRAIN = (str(Path(__file__).resolve().with_name("train.py")),)
HYDRA = ("-c", "import hydra")
LIBRARIES = ("-c", "import torch, torchvision, pytorch_lightning")
TIMES, MORE = 1.5, 0.3  # factor of the time of `import hydra`, and seconds added
TIMES_LIBRARIES = 1.15


@dataclass(frozen=True)
class Question:
    """A command to measure: Python's arguments, the command it is compared with, and its exit code."""

    name: str
    arguments: tuple[str, ...]
    base: tuple[str, ...] = HYDRA
    code: int = 0

    def limit(self, base: float) -> float:
        """Return the limit in seconds, given the seconds of its base."""
        return TIMES * base + MORE if self.base == HYDRA else TIMES_LIBRARIES * base


QUESTIONS = (
    Question("help", (*TRAIN, "--help")),
    Question("cfg", (*TRAIN, "--cfg", "job")),
    Question("choice", (*TRAIN, "strategy=finetune_al"), code=2),
    Question("setting", (*TRAIN, "optimizer.lrr=1"), code=2),
    Question("value", (*TRAIN, "optimizer.lr=-1"), code=2),
    Question("folder", (*TRAIN, "dataset=image_folder", "dataset.root=gone"), code=2),
    Question("weights", (*TRAIN, "backbone.weights=gone.pt"), code=2),
    Question("target", (*TRAIN, "optimizer._target_=os.system"), code=2),
    Question("status", ("-c", "from headstart.cli import main; main(['status', '.'])")),
    Question("entry", ("-c", "import headstart.training.run"), base=LIBRARIES),
)


def seconds(arguments: Sequence[str], code: int, folder: str) -> tuple[float, float]:
    """Return the seconds of a command in an empty folder: processor time, and time by the clock.

    Raises RuntimeError for another exit code.
    """
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True)
    passed, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    taken = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    if done.returncode != code:
        raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}, not {code}\n{done.stderr}")
    return taken, passed


def measured(questions: Sequence[Question], rounds: int) -> dict[tuple[str, ...], tuple[float, float]]:
    """Return the median seconds of the commands and of their bases, by arguments."""
    commands = {question.base: 0 for question in questions} | {q.arguments: q.code for q in questions}
    taken: dict[tuple[str, ...], list[tuple[float, float]]] = {arguments: [] for arguments in commands}
    for number in range(rounds + 1):
        for arguments, code in commands.items():
            with TemporaryDirectory(prefix="startup-") as folder:
                one = seconds(arguments, code, folder)
            if number:  # in the first round files are not cached, and sources are not compiled
                taken[arguments].append(one)
    middle = statistics.median
    return {
        arguments: (middle(busy for busy, _ in values), middle(passed for _, passed in values))
        for arguments, values in taken.items()
    }


def main() -> int:
    """Measure the named commands (default: all) and print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [question.name for question in QUESTIONS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(names)} (default: all)")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in names]:
        parser.error(f"there is no command {unknown[0]}; choose from {', '.join(names)}")
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: expected a whole number above 0")
    questions = [question for question in QUESTIONS if question.name in (options.names or names)]
    taken = measured(questions, options.rounds)
    for code in dict.fromkeys(question.base for question in questions):
        print(f"python -c '{code[1]}': {taken[code][0]:.2f} s, {taken[code][1]:.2f} s by the clock")
    print("\n| command | seconds | limit | ratio | within | by the clock |\n|---|---:|---:|---:|---|---:|")
    slow = 0
    for question in questions:
        base, (own, passed) = taken[question.base][0], taken[question.arguments]
        limit = question.limit(base)
        slow += own > limit
        command = " ".join(Path(word).name if word in TRAIN else word for word in question.arguments)
        within = "NO" if own > limit else "yes"
        print(f"| `{command}` | {own:.2f} | {limit:.2f} | {own / base:.2f} | {within} | {passed:.2f} |")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
