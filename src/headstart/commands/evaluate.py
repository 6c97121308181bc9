"""headstart evaluate: test finished runs again, clean or under the common corruptions."""

import argparse
import hashlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from headstart.commands.explain import Parser, run_directory, tell_of, title_of
from headstart.comparison.formats import NOTHING, percent
from headstart.errors import ConfigError, DataError, HeadstartError, nearest
from headstart.files import check_writable, write_atomically
from headstart.guard import DONE
from headstart.records.robustness_file import CSV, JSON, Cell, Robustness, read_robustness
from headstart.records.runs import Run, read_run
from headstart.records.tensors import open_network
from headstart.settings.configs import CONFIG_ERRORS
from headstart.tables import table_text

if TYPE_CHECKING:
    from headstart.analysis.explain.network import Rebuilt
    from headstart.analysis.seen_by import SeenBy
    from headstart.robustness.measuring import Source
AT_ONCE = 8
"""Networks that are kept in memory and look at the same corrupted images."""


@dataclass
class Job:
    """A run, what is known of it, and what is to be measured."""

    run: Run
    weights: str
    known: Robustness | None
    missing: list[Cell] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Of its directory."""
        return self.run.directory.name


def evaluate(arguments: Sequence[str]) -> int:
    """Test runs again; the exit code.

    0: done; 2: a run cannot be tested, or 1, as the machine failed; one sentence, and the other runs go on. Raises a
    HeadstartError for a wrong argument. Corruptions that were finished are kept, whatever ends it.
    """
    options = _parser().parse_args(list(arguments))
    _check(options)
    directories = list(dict.fromkeys(run_directory(path).resolve() for path in options.runs))
    wrong = _Wrong()
    if options.corruptions is None:
        _test_again(directories, options, wrong)
    else:
        _under_corruptions(directories, options, wrong)
    return wrong.code


class _Wrong:
    """What is wrong with one run is told, and the others go on."""

    code = DONE

    @contextmanager
    def of(self, directory: Path) -> Iterator[None]:
        """Where something about that run may be wrong."""
        try:
            yield
        except (HeadstartError, *CONFIG_ERRORS) as error:
            self.code = tell_of(directory, error)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="headstart evaluate",
        description="Test finished runs again: on their clean test images, or with --corruptions on corrupted ones"
        f" (Hendrycks & Dietterich 2019), which writes {JSON} and {CSV} into the runs; 'headstart report' shows them.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directories")
    parser.add_argument(
        "--corruptions", nargs="*", metavar="NAME", help="under all 15 common corruptions, or those that are named"
    )
    parser.add_argument(
        "--severities", nargs="+", type=int, default=None, metavar="1-5", help="how strong (default: 1 2 3 4 5)"
    )
    parser.add_argument(
        "--images", "--pictures", type=int, metavar="N", help="on so many test images, each class in its share"
    )
    parser.add_argument(
        "--relative-to", type=Path, metavar="RUN", help="also divide errors by those of this run, as the paper does"
    )
    parser.add_argument("--again", action="store_true", help="measure anew what was measured, and replace it")
    parser.add_argument("--root", type=Path, metavar="DIR", help="where the images are now (dataset.root)")
    parser.add_argument(
        "--trust", action="append", default=[], metavar="PACKAGE", help="a package of yours that config.yaml may name"
    )
    return parser


def _check(options: argparse.Namespace) -> None:
    from headstart.robustness.severities import NAMES, SEVERITIES

    if options.corruptions is None:
        given = {
            "--severities": options.severities,
            "--images": options.images,
            "--relative-to": options.relative_to,
            "--again": options.again,
        }
        if extra := [name for name, value in given.items() if value is not None and value is not False]:
            raise ConfigError(f"{extra[0]} goes with --corruptions.")
        return
    for name in options.corruptions:
        if name not in NAMES:
            raise ConfigError(f"--corruptions {name}: there is no such corruption.{nearest(name, NAMES)}")
    options.corruptions = [name for name in NAMES if name in (options.corruptions or NAMES)]
    options.severities = sorted(set(options.severities or SEVERITIES))
    if not set(options.severities) <= set(SEVERITIES):
        raise ConfigError(f"--severities {' '.join(map(str, options.severities))}: expected whole numbers from 1 to 5.")
    if options.images is not None and options.images < 1:
        raise ConfigError(f"--images {options.images}: expected a whole number from 1 on.")


def _finished(directory: Path) -> Run:
    run = read_run(directory)
    if not isinstance(run, Run):
        raise DataError(f"only finished runs can be tested again, this one is {run.status} ({run.reason}).")
    return run


def _rebuilt(run: Run, options: argparse.Namespace) -> "Rebuilt":
    from headstart.analysis.explain.network import rebuild
    from headstart.training.console import quieten
    from headstart.training.run import settle_on_the_cpu

    quieten()
    settle_on_the_cpu()
    return rebuild(run, options.root, options.trust)


# --- clean


def _test_again(directories: Sequence[Path], options: argparse.Namespace, wrong: _Wrong) -> None:
    for directory in directories:
        with wrong.of(directory):
            run = _finished(directory)
            rebuilt = _rebuilt(run, options)
            said = rebuilt.verified_probabilities().argmax(axis=1)
            metric, recorded = run.metric, run.test
            score = float((said == rebuilt.predictions.targets).mean())
            if not metric.agrees(float(rebuilt.predictions.per_image.mean()), recorded):
                raise DataError(f"predictions.csv does not agree with run.json, which says {metric.exact(recorded)}")
            turned = int((said != rebuilt.predictions.said).sum())
            agrees = "as run.json says" if not turned else f"run.json says {metric.exact(recorded)}"
            edge = f", as rounding turns {turned} undecided answers" if turned else ""
            print(
                f"{directory.name}: test {metric.words} {metric.exact(score)} on {len(said):,} images, {agrees}{edge}",
                flush=True,
            )


# --- corrupted


def _under_corruptions(directories: Sequence[Path], options: argparse.Namespace, wrong: _Wrong) -> None:
    baseline = run_directory(options.relative_to).resolve() if options.relative_to else None
    jobs = []
    for directory in dict.fromkeys([*directories, *([baseline] if baseline else [])]):
        with wrong.of(directory):
            jobs.append(_job(directory, options))
    # runs of one data set side by side: they are the ones to share images
    waiting = sorted((job for job in jobs if job.missing), key=lambda job: (job.run.dataset, job.run.backbone))
    for start in range(0, len(waiting), AT_ONCE):
        _measure(waiting[start : start + AT_ONCE], options, wrong)
    found = {job.run.directory: job.known for job in jobs}
    relative = found.get(baseline) if baseline else None
    for job in jobs:
        if job.run.directory in directories and job.known is not None and not job.missing:
            with wrong.of(job.run.directory):
                print(_told(job.run, job.known, options, relative, baseline), flush=True)


def _job(directory: Path, options: argparse.Namespace) -> Job:
    """What is known of a run that still holds, and what is missing."""
    from headstart.robustness.corruptions import made_by

    run = _finished(directory)
    with open_network(directory, "checkpoints/best.ckpt") as file:
        weights = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    job = Job(run, weights, read_robustness(directory))
    wanted = [(name, severity) for name in options.corruptions for severity in options.severities]
    known = job.known
    if known is not None:
        of = (known.weights, known.made_by, known.fingerprint)
        count = min(options.images or known.total, known.total)
        if of != (weights, made_by(known.size), run.fingerprints.get("test")):
            print(f"{job.name}: {JSON} is of other weights, images or packages, and is replaced", file=sys.stderr)
            job.known = None
        elif count != known.count and not options.again:
            raise DataError(
                f"{JSON} was measured on {known.count:,} images, not {count:,}: give --images {known.count}, or"
                " --again to replace it."
            )
        elif count != known.count:
            job.known = None
    done = set() if job.known is None or options.again else set(job.known.results)
    job.missing = [cell for cell in wanted if cell not in done]
    if job.missing:
        check_writable(directory, "the results belong there, so make it writable")
    return job


def _measure(jobs: Iterable[Job], options: argparse.Namespace, wrong: _Wrong) -> None:
    """Test some networks side by side; those that see the same images share them."""
    from headstart.robustness.measuring import measure
    from headstart.robustness.severities import NAMES

    groups: dict[object, tuple[Source, list[tuple[Job, SeenBy]]]] = {}
    for job in jobs:
        with wrong.of(job.run.directory):
            source, network = _prepare(job, options)
            groups.setdefault(source.key, (source, []))[1].append((job, network))
    for source, members in groups.values():
        wanted = [
            {name: [at for of, at in job.missing if of == name] for name in dict(job.missing)} for job, _ in members
        ]
        for name, right in measure(source, [network for _, network in members], wanted):
            for (job, network), by_severity in zip(members, right, strict=True):
                assert job.known is not None
                found = {(name, severity): network.rows_of(told) for severity, told in by_severity.items()}
                job.known = job.known.with_results(found, NAMES)
                _write(job.run.directory, job.known)
        for job, _ in members:
            job.missing = []


def _prepare(job: Job, options: argparse.Namespace) -> "tuple[Source, SeenBy]":
    """The network of a run, and its test images; what it says of the clean ones is held against its predictions."""
    from headstart.analysis.seen_by import seen_by, source_of
    from headstart.robustness.corruptions import LEAST, made_by

    rebuilt = _rebuilt(job.run, options)
    if rebuilt.data.test.size < LEAST:
        raise DataError(f"its images are {rebuilt.data.test.size} pixels wide, corruptions need {LEAST} or more")
    said = rebuilt.verified_probabilities(one_view=True).argmax(axis=1)  # as corrupted images are seen
    network = seen_by(rebuilt, options.images)
    source = source_of(rebuilt, network)
    rows = network.rows
    fresh = Robustness(
        source.digest(rebuilt.positions[rows]),
        total=len(rebuilt.positions),
        size=rebuilt.data.test.size,
        made_by=made_by(rebuilt.data.test.size),
        weights=job.weights,
        fingerprint=job.run.fingerprints.get("test"),
        clean=said[rows] == rebuilt.predictions.targets[rows],
        results={},
    )
    if job.known is None or (options.again and job.known.images != fresh.images):
        job.known = fresh
    elif job.known.images != fresh.images:
        raise DataError(f"the test images are others than when {JSON} was written; --again replaces it")
    return source, network


def _write(directory: Path, known: Robustness) -> None:
    write_atomically(directory / JSON, known.text())
    write_atomically(directory / CSV, known.csv())


# --- told


def _told(
    run: Run, found: Robustness, options: argparse.Namespace, relative: Robustness | None, baseline: Path | None
) -> str:
    """The table: errors in percent."""
    names, severities = options.corruptions, options.severities
    shown = replace(found, results={(name, at): found.results[name, at] for name in names for at in severities})
    header = ["error (%)", *(f"severity {severity}" for severity in severities), "mean"]
    rows = [
        [name or "mean", *(percent(shown.error(name, severity)) for severity in severities), percent(shown.error(name))]
        for name in (*names, None)
    ]
    part = "" if found.count == found.total else f" of {found.total:,}, each class in its share"
    lines = [
        f"{title_of(run)} ({run.directory.name})",
        f"clean error {percent(shown.clean_error)} %, mean corruption error {percent(shown.mean_error)} %,"
        f" relative {percent(shown.relative_error)} %, on {found.count:,} images{part}",
    ]
    if relative is not None and baseline is not None:
        errors = normalised(shown, relative)
        header.append("CE (%)")
        for row, value in zip(rows, [*errors.values(), float(np.nanmean(list(errors.values())))], strict=True):
            row.append(percent(value) if np.isfinite(value) else NOTHING)
        lines.append(f"CE: errors over those of {baseline.name}, summed over severities; below 100 is better than it")
    return "\n".join([*lines, table_text(header, rows, [False, *[True] * (len(header) - 1)]), ""])


def normalised(found: Robustness, baseline: Robustness) -> dict[str, float]:
    """CE of each corruption: errors summed over severities, over those of the baseline (equation 1 of the paper).

    NaN where the baseline makes none. Raises DataError where the baseline saw other images.
    """
    if (found.images, found.made_by) != (baseline.images, baseline.made_by):
        raise DataError("it was tested on other images than the run of --relative-to, so errors have no ratio")
    errors = {}
    for name in found.corruptions:
        cells = [cell for cell in found.results if cell[0] == name]
        mine, theirs = (sum(1 - float(of.results[cell].mean()) for cell in cells) for of in (found, baseline))
        errors[name] = mine / theirs if theirs else float("nan")
    return errors
