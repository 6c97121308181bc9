"""headstart evaluate: test finished runs again, on clean or corrupted images."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from headstart.commands.explain import Parser, finished_run, print_run_error, run_directory
from headstart.commands.trusting import add_trust
from headstart.comparison.formats import NOTHING, percent
from headstart.errors import ConfigError, DataError, HeadstartError, nearest
from headstart.guard import DONE
from headstart.records.names import ROBUSTNESS_FILE, ROBUSTNESS_TABLE
from headstart.records.robustness_file import Robustness
from headstart.records.runs import Run
from headstart.settings.configs import CONFIG_ERRORS
from headstart.tables import table_text


def evaluate(arguments: Sequence[str]) -> int:
    """Test runs again; return the exit code.

    Exit codes: 0 if done, 2 if a run cannot be tested, 1 if the machine failed. An error of one run is printed as one
    sentence, and the other runs continue. Finished corruptions are kept if the command is interrupted. Raises
    HeadstartError for a wrong argument.
    """
    options = _parser().parse_args(list(arguments))
    _check(options)
    directories = list(dict.fromkeys(run_directory(path).resolve() for path in options.runs))
    errors = _RunErrors()
    if options.corruptions is None:
        _test_again(directories, options, errors)
    else:
        _under_corruptions(directories, options, errors)
    return errors.code


class _RunErrors:
    """Prints the errors of single runs, so that the other runs continue, and keeps the exit code."""

    code = DONE

    @contextmanager
    def printed_for(self, directory: Path) -> Iterator[None]:
        """Print an error of this run that is raised inside this context."""
        try:
            yield
        except (HeadstartError, *CONFIG_ERRORS) as error:
            self.code = print_run_error(directory, error)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="headstart evaluate",
        description="Test finished runs again, on clean or corrupted test images (Hendrycks & Dietterich 2019)."
        f" --corruptions writes {ROBUSTNESS_FILE} and {ROBUSTNESS_TABLE} to the runs; 'headstart report' shows them.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directories")
    parser.add_argument(
        "--corruptions", nargs="*", metavar="NAME", help="test under these corruptions (default: all 15 common ones)"
    )
    parser.add_argument(
        "--severities", nargs="+", type=int, default=None, metavar="1-5", help="severities (default: 1 2 3 4 5)"
    )
    parser.add_argument(
        "--images", "--pictures", type=int, metavar="N", help="test on N images, with the classes in proportion"
    )
    parser.add_argument(
        "--relative-to", type=Path, metavar="RUN", help="also divide the errors by those of this run, as in the paper"
    )
    parser.add_argument("--again", action="store_true", help="measure again and replace earlier results")
    parser.add_argument("--root", type=Path, metavar="DIR", help="the folder of the images (dataset.root), if moved")
    add_trust(parser)
    return parser


def _check(options: argparse.Namespace) -> None:
    if options.corruptions is None:
        given = {
            "--severities": options.severities,
            "--images": options.images,
            "--relative-to": options.relative_to,
            "--again": options.again,
        }
        if extra := [name for name, value in given.items() if value is not None and value is not False]:
            raise ConfigError(f"{extra[0]} needs --corruptions.")
        return
    from headstart.robustness.severities import NAMES, SEVERITIES  # loads torch, which takes seconds

    for name in options.corruptions:
        if name not in NAMES:
            raise ConfigError(f"--corruptions {name}: there is no such corruption.{nearest(name, NAMES)}")
    options.corruptions = [name for name in NAMES if name in (options.corruptions or NAMES)]
    options.severities = sorted(set(options.severities or SEVERITIES))
    if not set(options.severities) <= set(SEVERITIES):
        raise ConfigError(f"--severities {' '.join(map(str, options.severities))}: expected whole numbers from 1 to 5.")
    if options.images is not None and options.images < 1:
        raise ConfigError(f"--images {options.images}: expected a whole number of 1 or more.")


# --- clean


def _test_again(directories: Sequence[Path], options: argparse.Namespace, errors: _RunErrors) -> None:
    from headstart.analysis.explain.network import rebuild

    for directory in directories:
        with errors.printed_for(directory):
            run = finished_run(directory, "tested again")
            rebuilt = rebuild(run, options.root, options.trust)
            predicted = rebuilt.verified_probabilities().argmax(axis=1)
            metric, recorded = run.metric, run.test
            score = float((predicted == rebuilt.predictions.targets).mean())
            if not metric.agrees(float(rebuilt.predictions.per_image.mean()), recorded):
                raise DataError(f"predictions.csv does not agree with run.json, which says {metric.exact(recorded)}")
            changed = int((predicted != rebuilt.predictions.predicted).sum())
            agrees = "as run.json says" if not changed else f"run.json says {metric.exact(recorded)}"
            rounding = f"; rounding changed {changed} predictions" if changed else ""
            print(
                f"{directory.name}: test {metric.words} {metric.exact(score)} on {len(predicted):,} images,"
                f" {agrees}{rounding}",
                flush=True,
            )


# --- corrupted


def _under_corruptions(directories: Sequence[Path], options: argparse.Namespace, errors: _RunErrors) -> None:
    from headstart.analysis.corrupted_runs import corrupted_run, measure_missing

    baseline = run_directory(options.relative_to).resolve() if options.relative_to else None
    jobs = []
    for directory in dict.fromkeys([*directories, *([baseline] if baseline else [])]):
        with errors.printed_for(directory):
            jobs.append(corrupted_run(finished_run(directory, "tested again"), options))
    measure_missing(jobs, options, errors.printed_for)
    found = {job.run.directory: job.known for job in jobs}
    relative = found.get(baseline) if baseline else None
    for job in jobs:
        if job.run.directory in directories and job.known is not None and not job.missing:
            with errors.printed_for(job.run.directory):
                print(_table(job.run, job.known, options, relative, baseline), flush=True)


# --- printed


def _table(
    run: Run, found: Robustness, options: argparse.Namespace, relative: Robustness | None, baseline: Path | None
) -> str:
    """Return the table of errors in percent."""
    names, severities = options.corruptions, options.severities
    shown = replace(found, results={key: found.results[key] for key in product(names, severities)})
    header = ["error (%)", *(f"severity {severity}" for severity in severities), "mean"]
    rows = [
        [name or "mean", *(percent(shown.error(name, severity)) for severity in severities), percent(shown.error(name))]
        for name in (*names, None)
    ]
    part = "" if found.count == found.total else f" of {found.total:,}, with the classes in proportion"
    lines = [
        f"{run.title} ({run.directory.name})",
        f"clean error {percent(shown.clean_error)} %, mean corruption error {percent(shown.mean_error)} %,"
        f" relative {percent(shown.relative_error)} %, on {found.count:,} images{part}",
    ]
    if relative is not None and baseline is not None:
        from headstart.analysis.corrupted_runs import normalised

        errors = normalised(shown, relative)
        header.append("CE (%)")
        for row, value in zip(rows, [*errors.values(), float(np.nanmean(list(errors.values())))], strict=True):
            row.append(percent(value) if np.isfinite(value) else NOTHING)
        lines.append(f"CE: summed errors relative to {baseline.name}; below 100 is better")
    return "\n".join([*lines, table_text(header, rows, [False, *[True] * (len(header) - 1)]), ""])
