"""What each job of a sweep came to, as a file a job, so that every launcher brings its outcomes back."""

import contextlib
import json
import math
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from headstart.errors import DataError
from headstart.files import write_atomically
from headstart.records.documents import read_json
from headstart.records.names import OUTCOME_FOLDER
from headstart.records.opening import MB

TRIAL = "++sweep.trial="  # the setting by which a search tells a job which trial it is
GOOD = ("finished", "resumed", "retried", "skipped", "pruned", "elsewhere")
TIMED = ("finished", "resumed", "retried", "pruned")  # whose time tells how long others take
# How many were ... in the summary of a sweep; an order that reads well.
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
    """What became of a job: one of ``WORDS``."""

    job: int  # counted from 0; of a search, the number of the trial
    settings: tuple[str, ...]  # that this job was given
    word: str
    directory: str | None
    told: bool = False  # whether the user can mend what went wrong
    error: str | None = None
    seconds: float | None = None  # that the run took

    @property
    def good(self) -> bool:
        """Whether nothing is left to do."""
        return self.word in GOOD


def is_trial(settings: Iterable[object]) -> bool:
    """Return whether a job with these settings is a trial of a search."""
    return any(str(setting).startswith(TRIAL) for setting in settings)


def write_outcome(sweep: Path, outcome: JobOutcome) -> None:
    """Leave it for the command that waits for the sweep."""
    folder = sweep / OUTCOME_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{outcome.job:06d}.json", json.dumps(asdict(outcome), ensure_ascii=False) + "\n")


def forget_outcomes(sweep: Path) -> None:
    """Those of an earlier command."""
    for path in (sweep / OUTCOME_FOLDER).glob("*.json"):
        path.unlink(missing_ok=True)


def read_outcomes(sweep: Path) -> list[JobOutcome]:
    """All that were left, by number; what cannot be read is left out."""
    found = []
    for path in sorted((sweep / OUTCOME_FOLDER).glob("*.json")):
        with contextlib.suppress(DataError, KeyError, TypeError):
            content = read_json(sweep, f"{OUTCOME_FOLDER}/{path.name}", MB)
            outcome = JobOutcome(**{**content, "settings": tuple(content["settings"])})
            if _sound(outcome):
                found.append(outcome)
    return found


def _sound(outcome: JobOutcome) -> bool:
    """Whether its fields have the types that they declare: the file may be damaged."""
    texts = [*outcome.settings, outcome.word, outcome.directory or "", outcome.error or ""]
    known = type(outcome.job) is int and isinstance(outcome.told, bool) and isinstance(outcome.seconds, float | None)
    return known and all(isinstance(text, str) for text in texts)


def seconds_left(outcomes: Sequence[JobOutcome], left: int, at_once: int) -> float | None:
    """Return how long so many runs will take, ``at_once`` side by side, by those that ran to their end; None of none.

    What had finished before, or failed, says nothing of the others.
    """
    known = [of.seconds for of in outcomes if of.word in TIMED and of.seconds is not None]
    return sum(known) / len(known) * math.ceil(left / at_once) if known else None


def summary(outcomes: Sequence[JobOutcome], jobs: int | None = None) -> str:
    """ "6 runs: 4 finished, 1 had finished before, 1 failed"."""
    counts = {word: sum(outcome.word == word for outcome in outcomes) for word in WORDS}
    parts = [f"{count} {WORDS[word]}" for word, count in counts.items() if count]
    missing = (jobs or 0) - len(outcomes)
    if missing > 0:
        parts.append(f"{missing} not begun")
    total = max(jobs or 0, len(outcomes))
    return f"{total} run{'s' if total != 1 else ''}: {', '.join(parts) or 'nothing was left to do'}"


def failures_table(outcomes: Sequence[JobOutcome]) -> str:
    """The failed ones, as wide as the terminal: what sets them apart from the other jobs, a sentence, the place."""
    from headstart.tables import table_text  # loads what only a sweep with failures needs

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
