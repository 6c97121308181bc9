"""headstart status: list runs, their progress, and the remaining time."""

import argparse
import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headstart.commands.trusting import add_trust
from headstart.guard import DONE
from headstart.sweeps.labels import run_names, setting_columns
from headstart.sweeps.status import RUNNING, Overview, RunStatus, SweepStatus, overview
from headstart.tables import table_text, terminal_width


def status(arguments: Sequence[str]) -> int:
    """Print the runs and sweeps below some folders; return the exit code. Raises DataError for a missing folder."""
    parser = argparse.ArgumentParser(
        prog="headstart status", description="List finished, running, stopped and failed runs, and remaining jobs."
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUNS", help="folders that hold runs, at any depth")
    parser.add_argument("--json", action="store_true", help="print JSON, with times in seconds")
    add_trust(parser)
    options = parser.parse_args(arguments)
    found = overview(options.runs)
    print(json.dumps(as_json(found), indent=2, ensure_ascii=False) if options.json else as_text(found))
    return DONE


def as_text(found: Overview) -> str:
    """Return the table, the reasons of failures, the remaining jobs of sweeps, and a summary line."""
    parts = []
    if found.runs:
        parts.append(_table(found.runs))
        wrong = [f"{_shown_path(run.directory)}: {run.message}" for run in found.runs if run.message]
        parts += ["\n".join(wrong)] if wrong else []
    parts += [_sweep_line(sweep) for sweep in found.sweeps]
    return "\n\n".join([*parts, total_line(found)])


def total_line(found: Overview) -> str:
    """Return "12 runs: 8 finished, 2 running, 2 failed; 4 jobs left; 12 min to go"."""
    count = len(found.runs)
    parts = [f"{count} run{'' if count == 1 else 's'}"]
    if found.counts:
        parts[0] += f": {', '.join(f'{number} {word}' for word, number in found.counts.items())}"
    left = sum(sweep.left or 0 for sweep in found.sweeps)
    if left:
        parts.append(f"{left} job{'' if left == 1 else 's'} left")
    remaining = _remaining(found)
    if remaining is not None:
        parts.append(f"{in_two_units(remaining)} to go")
    return "; ".join(parts)


def _remaining(found: Overview) -> float | None:
    """Return the longest remaining time of running sweeps and runs, in seconds, or None if one is unknown."""
    sweeps = [sweep for sweep in found.sweeps if sweep.is_running]
    alone = [
        run
        for run in found.runs
        if run.status == RUNNING and not any(sweep.directory in run.directory.parents for sweep in sweeps)
    ]
    waits = [sweep.remaining for sweep in sweeps] + [run.remaining for run in alone]
    known = [wait for wait in waits if wait is not None]
    return max(known) if known and len(known) == len(waits) else None


def as_json(found: Overview) -> dict[str, Any]:
    """Return all known facts as JSON; times are in seconds, or null if unknown."""
    return {
        "schema": 1,
        "runs": [
            {
                "directory": str(run.directory), "status": run.status, "epochs": run.epochs,
                "max_epochs": run.max_epochs, "seconds": run.seconds, "remaining_seconds": run.remaining,
                f"test_{run.metric.name}": run.score, "message": run.message,
            }
            for run in found.runs
        ],
        "sweeps": [
            {
                "directory": str(sweep.directory), "running": sweep.is_running, "jobs": sweep.jobs, "left": sweep.left,
                "outdated": sweep.outdated, "message": sweep.message,
                "remaining_seconds": sweep.remaining, "command": list(sweep.command),
            }
            for sweep in found.sweeps
        ],
        "counts": found.counts,
        "remaining_seconds": _remaining(found),
    }  # fmt: skip


def in_two_units(seconds: float) -> str:
    """Return a time in at most two units: 8 s, 3 min 20 s, 12 min, 3 h 05 min, 2 d 04 h."""
    whole, minutes, hours = round(seconds), round(seconds / 60), round(seconds / 3600)
    if whole < 60:
        return f"{whole} s"
    if whole < 600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{hours // 24} d {hours % 24:02d} h"


def _table(runs: Sequence[RunStatus]) -> str:
    """Return a table with a row per run: its name, the settings in which runs differ, and its progress."""
    directories = [run.directory for run in runs]
    settings = setting_columns([run.record for run in runs])
    home = Path(os.path.commonpath([directory.parent for directory in directories]))
    names = run_names(directories, home) if settings else [_shown_path(directory) for directory in directories]
    header = ["run", *settings, "status", "epochs", "time", "to go", "test"]
    values = list(zip(*settings.values(), strict=True)) or [()] * len(runs)
    rows = [[name, *own, *_progress(run)] for name, own, run in zip(names, values, runs, strict=True)]
    table = table_text(header, rows, [False] * (len(header) - 4) + [True] * 4, terminal_width())
    return f"runs below {_shown_path(home)}:\n\n{table}" if settings and home != Path.cwd().resolve() else table


def _progress(run: RunStatus) -> list[str]:
    epochs = "–" if run.epochs is None else str(run.epochs)
    return [
        run.status,
        f"{epochs}/{run.max_epochs}" if run.max_epochs is not None else epochs,
        "–" if run.seconds is None else in_two_units(run.seconds),
        "–" if run.remaining is None else in_two_units(run.remaining),
        "–" if run.score is None else run.metric.named(run.score),
    ]


def _sweep_line(sweep: SweepStatus) -> str:
    """Return the remaining jobs and time of a sweep, and the command that resumes it if it is not running."""
    if sweep.message:
        return f"sweep {_shown_path(sweep.directory)}: {sweep.message}"
    jobs = "unknown number of jobs" if sweep.jobs is None else f"{sweep.jobs} job{'' if sweep.jobs == 1 else 's'}"
    line = f"sweep {_shown_path(sweep.directory)}: {jobs}"
    if sweep.left:
        line += f", {sweep.left} left"
    if sweep.remaining:
        line += f", {in_two_units(sweep.remaining)} to go"
    if sweep.outdated:
        line += f"; {sweep.outdated} finished on data that have changed since"
    if not sweep.is_running and sweep.left:
        words = [word for part in sweep.command[:1] for word in part.split()] + list(sweep.command[1:])
        line += f"; not running; to resume: {shlex.join(words)}"
    return line


def _shown_path(directory: Path) -> str:
    """Return the path relative to the working directory if it is inside, else unchanged."""
    here = Path.cwd().resolve()
    return str(directory.relative_to(here)) if directory.is_relative_to(here) else str(directory)
