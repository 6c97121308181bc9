"""Test the networks of finished runs on corrupted test images, and keep the results in their run directories."""

import argparse
import hashlib
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from headstart.analysis.explain.network import rebuild
from headstart.analysis.measured_network import MeasuredNetwork, measured_network, source_of
from headstart.boundary.tensors import open_network
from headstart.errors import DataError
from headstart.files import check_writable
from headstart.records.names import BEST_NETWORK, ROBUSTNESS_FILE
from headstart.records.robustness_file import Cell, Robustness, read_robustness, write_robustness
from headstart.records.runs import Run
from headstart.robustness.corruptions import LEAST, made_by
from headstart.robustness.measuring import Source, measure
from headstart.robustness.severities import NAMES

AT_ONCE = 8  # networks that are in memory at once and share corrupted images
Printed = Callable[[Path], AbstractContextManager[None]]  # prints an error of the run in this directory


@dataclass
class CorruptedRun:
    """A run, its known results, and the results to measure."""

    run: Run
    weights: str
    known: Robustness | None
    missing: list[Cell] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Return the name of the run's directory."""
        return self.run.directory.name


def corrupted_run(run: Run, options: argparse.Namespace) -> CorruptedRun:
    """Return a run with its valid results and the corruptions still to measure. Raises DataError.

    ``options`` has corruptions, severities, images, again, root and trust, as the arguments of the command.
    """
    directory = run.directory
    with open_network(directory, BEST_NETWORK) as file:
        weights = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    job = CorruptedRun(run, weights, read_robustness(directory))
    wanted = [(name, severity) for name in options.corruptions for severity in options.severities]
    known = job.known
    if known is not None:
        origin = (known.weights, known.made_by, known.fingerprint)
        count = min(options.images or known.total, known.total)
        if origin != (weights, made_by(known.size), run.fingerprints.get("test")):
            print(
                f"{job.name}: {ROBUSTNESS_FILE} is for other weights, images or packages and is replaced",
                file=sys.stderr,
            )
            job.known = None
        elif count != known.count and not options.again:
            raise DataError(
                f"{ROBUSTNESS_FILE} was measured on {known.count:,} images, not {count:,}; use --images"
                f" {known.count}, or --again to replace it."
            )
        elif count != known.count:
            job.known = None
    done = set() if job.known is None or options.again else set(job.known.results)
    job.missing = [cell for cell in wanted if cell not in done]
    if job.missing:
        check_writable(directory, "the results are written there, so make it writable")
    return job


def measure_missing(jobs: Iterable[CorruptedRun], options: argparse.Namespace, printed_for: Printed) -> None:
    """Measure what is missing. An error of one run is printed, and the other runs continue."""
    # Runs of one data set come together, because they can share images.
    waiting = sorted((job for job in jobs if job.missing), key=lambda job: (job.run.dataset, job.run.backbone))
    for start in range(0, len(waiting), AT_ONCE):
        _measure(waiting[start : start + AT_ONCE], options, printed_for)


def _measure(jobs: Iterable[CorruptedRun], options: argparse.Namespace, printed_for: Printed) -> None:
    """Test several networks; those with the same test images share the corrupted images."""
    groups: dict[object, tuple[Source, list[tuple[CorruptedRun, MeasuredNetwork]]]] = {}
    for job in jobs:
        with printed_for(job.run.directory):
            source, network = _prepare(job, options)
            groups.setdefault(source.key, (source, []))[1].append((job, network))
    for source, members in groups.values():
        wanted = [
            {name: [at for one, at in job.missing if one == name] for name in dict(job.missing)} for job, _ in members
        ]
        for name, results in measure(source, [network for _, network in members], wanted):
            for (job, network), by_severity in zip(members, results, strict=True):
                assert job.known is not None
                found = {(name, severity): network.rows_of(correct) for severity, correct in by_severity.items()}
                job.known = job.known.with_results(found, NAMES)
                write_robustness(job.run.directory, job.known)
        for job, _ in members:
            job.missing = []


def _prepare(job: CorruptedRun, options: argparse.Namespace) -> tuple[Source, MeasuredNetwork]:
    """Return a run's test images and its network, checked against predictions.csv on clean images."""
    rebuilt = rebuild(job.run, options.root, options.trust)
    if not rebuilt.data.signature.views:
        raise DataError(f"corruptions of images do not fit its {rebuilt.data.signature.kind}s")
    if rebuilt.data.test.size < LEAST:
        raise DataError(f"its images are {rebuilt.data.test.size} pixels wide, but corruptions need {LEAST} or more")
    predicted = rebuilt.verified_probabilities(one_view=True).argmax(axis=1)  # corrupted images have one view, too
    network = measured_network(rebuilt, options.images)
    source = source_of(rebuilt, network)
    rows = network.rows
    fresh = Robustness(
        source.digest(rebuilt.positions[rows]),
        total=len(rebuilt.positions),
        size=rebuilt.data.test.size,
        made_by=made_by(rebuilt.data.test.size),
        weights=job.weights,
        fingerprint=job.run.fingerprints.get("test"),
        clean=predicted[rows] == rebuilt.predictions.targets[rows],
        results={},
    )
    if job.known is None or (options.again and job.known.images != fresh.images):
        job.known = fresh
    elif job.known.images != fresh.images:
        raise DataError(f"the test images have changed since {ROBUSTNESS_FILE} was written; --again replaces it")
    return source, network


def normalised(found: Robustness, baseline: Robustness) -> dict[str, float]:
    """Return the CE of each corruption: its errors summed over severities, divided by the baseline's (equation 1).

    NaN if the baseline makes no error. Raises DataError if the baseline was tested on other images.
    """
    if (found.images, found.made_by) != (baseline.images, baseline.made_by):
        raise DataError("the run of --relative-to was tested on other images, so their errors cannot be compared")
    errors = {}
    for name in found.corruptions:
        cells = [cell for cell in found.results if cell[0] == name]
        mine, theirs = (sum(1 - float(of.results[cell].mean()) for cell in cells) for of in (found, baseline))
        errors[name] = mine / theirs if theirs else float("nan")
    return errors
