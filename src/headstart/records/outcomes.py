"""Write and read how each job of a sweep ended: one file a job, so that it works with every launcher."""

import contextlib
import json
import math
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from headstart.boundary.documents import read_json
from headstart.boundary.opening import MB
from headstart.errors import DataError
from headstart.files import write_atomically
from headstart.records.names import OUTCOME_FOLDER

TRIAL = "++sweep.trial="  # the setting by which a search gives a job its trial
GOOD = ("finished", "resumed", "retried", "skipped", "pruned", "elsewhere")
TIMED = ("finished", "resumed", "retried", "pruned")  # their times predict those of other jobs
# The words of the summary of a sweep, in its order.
WORDS = {
    "finished": "finished",
    "resumed": "resumed and finished",
    "retried": "tried again and finished",
    "skipped": "had finished before",
    "pruned": "pruned",
    "elsewhere": "run by another process",
    "interrupted": "interrupted",
    "failed": "failed",
}


@dataclass(frozen=True)
class JobOutcome:
    """How a job ended; ``word`` is one of ``WORDS``."""

    job: int  # counted from 0; of a search, the number of the trial
    settings: tuple[str, ...]  # given to this job
    word: str
    directory: str | None
    correctable: bool = False  # whether the user can correct the error
    error: str | None = None
    seconds: float | None = None  # duration of the run

    @property
    def good(self) -> bool:
        """Return whether nothing is left to do."""
        return self.word in GOOD


def is_trial(settings: Iterable[object]) -> bool:
    """Return whether a job with these settings is a trial of a search."""
    return any(str(setting).startswith(TRIAL) for setting in settings)


def write_outcome(sweep: Path, outcome: JobOutcome) -> None:
    """Write the outcome for the command that waits for the sweep."""
    folder = sweep / OUTCOME_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{outcome.job:06d}.json", json.dumps(asdict(outcome), ensure_ascii=False) + "\n")


def forget_outcomes(sweep: Path) -> None:
    """Remove the outcomes of an earlier command."""
    for path in (sweep / OUTCOME_FOLDER).glob("*.json"):
        path.unlink(missing_ok=True)


def read_outcomes(sweep: Path) -> list[JobOutcome]:
    """Return the outcomes of a sweep in the order of the jobs. Files that cannot be read are left out."""
    found = []
    for path in sorted((sweep / OUTCOME_FOLDER).glob("*.json")):
        with contextlib.suppress(DataError, AttributeError, KeyError, TypeError):
            content = read_json(sweep, f"{OUTCOME_FOLDER}/{path.name}", MB)
            content["correctable"] = content.pop("told", content.get("correctable", False))  # its earlier name
            outcome = JobOutcome(**{**content, "settings": tuple(content["settings"])})
            if _sound(outcome):
                found.append(outcome)
    return found


def _sound(outcome: JobOutcome) -> bool:
    """Return whether the fields have their declared types: the file may be damaged."""
    texts = [*outcome.settings, outcome.word, outcome.directory or "", outcome.error or ""]
    known = (
        type(outcome.job) is int and isinstance(outcome.correctable, bool) and isinstance(outcome.seconds, float | None)
    )
    return known and all(isinstance(text, str) for text in texts)


def seconds_left(outcomes: Sequence[JobOutcome], left: int, at_once: int) -> float | None:
    """Return the seconds that ``left`` runs will take, ``at_once`` in parallel; None if no run has ended yet.

    Only runs that ran to their end count, not those that had finished before or failed.
    """
    known = [of.seconds for of in outcomes if of.word in TIMED and of.seconds is not None]
    return sum(known) / len(known) * math.ceil(left / at_once) if known else None


def summary(outcomes: Sequence[JobOutcome], jobs: int | None = None) -> str:
    """Return a line such as "6 runs: 4 finished, 1 had finished before, 1 failed"."""
    counts = {word: sum(outcome.word == word for outcome in outcomes) for word in WORDS}
    parts = [f"{count} {WORDS[word]}" for word, count in counts.items() if count]
    missing = (jobs or 0) - len(outcomes)
    if missing > 0:
        parts.append(f"{missing} not begun")
    total = max(jobs or 0, len(outcomes))
    return f"{total} run{'s' if total != 1 else ''}: {', '.join(parts) or 'nothing was left to do'}"


def failures_table(outcomes: Sequence[JobOutcome]) -> str:
    """Return a table of the failed jobs, as wide as the terminal: their own settings, the error, the directory."""
    from headstart.tables import table_text  # only a sweep with failures needs it

    trials = any(is_trial(outcome.settings) for outcome in outcomes)
    everywhere = set.intersection(*(set(outcome.settings) for outcome in outcomes)) if len(outcomes) > 1 else set()
    rows = [
        [
            str(outcome.job if trials else outcome.job + 1),  # as the lines above each run count them
            " ".join(one for one in outcome.settings if one not in everywhere and not one.startswith(TRIAL)),
            outcome.error or "",
            Path(outcome.directory).name if outcome.directory else "none was made",
        ]
        for outcome in outcomes
        if outcome.word == "failed"
    ]
    header = ["trial" if trials else "run", "settings", "what went wrong", "run directory"]
    return table_text(header, rows, [True, False, False, False], shutil.get_terminal_size((120, 24)).columns)
