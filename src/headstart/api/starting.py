"""Start runs and sweeps from Python, by the code of ``headstart train``."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from headstart.api.guarding import in_one_sentence, own_hydra
from headstart.api.saved import SavedRun, SavedRuns, run
from headstart.api.values import settings_words
from headstart.commands.train import Ended, carry_out, print_summary
from headstart.errors import DataError

Settings = str | Mapping[str, Any]
Folders = str | Path | Sequence[str | Path]


@in_one_sentence
def train(*settings: Settings, config_dir: Folders = (), **values: Any) -> SavedRun:
    """Train one network and return its run, as ``headstart train`` does.

    Settings are texts ("strategy=linear_probe"), mappings of dotted keys ({"optimizer.lr": 0.1}), and keywords
    (seed=0, dataset={"root": "images"}); a later one replaces an earlier one. A list is a value, as in targets=["x"].
    ``config_dir`` are folders of your own config files. Relative paths are relative to the working directory.

    Raises HeadstartError, in one sentence, for a wrong setting or file; KeyboardInterrupt if interrupted. Call it again
    with the same settings to resume.
    """
    ended = _ended([], settings, config_dir, values, swept=False)
    if ended.error is not None:
        raise ended.error
    (outcome,) = ended.outcomes
    assert outcome.directory is not None  # as it did not fail
    return run(outcome.directory)


@in_one_sentence
def sweep(*settings: Settings, config_dir: Folders = (), **values: Any) -> SavedRuns:
    """Train a network for each combination of values and return the runs, as ``headstart train -m`` does.

    Settings are those of ``train``. A keyword that is a list names the values to try, as in seed=[0, 1, 2]; so does a
    text with commas, "seed=0,1,2". A list in a mapping is one value, as is a list in a list: targets=[["x", "y"]].

    Finished runs with the same settings are not repeated. A failed run does not stop the others; a table of failures is
    printed at the end. Raises HeadstartError if all runs fail, and as ``train`` does.
    """
    ended = _ended(["-m"], settings, config_dir, values, swept=True)
    print_summary(ended)
    if ended.error is not None:
        raise ended.error
    places = dict.fromkeys(outcome.directory for outcome in ended.outcomes if outcome.directory)
    if ended.outcomes and all(outcome.word == "failed" for outcome in ended.outcomes):
        raise DataError(f"All {len(ended.outcomes)} runs failed; the first: {ended.outcomes[0].error}")
    return SavedRuns(run(place) for place in places)


def _ended(
    flags: Sequence[str], settings: Iterable[Settings], folders: Folders, values: Mapping[str, Any], swept: bool
) -> Ended:
    words = settings_words(list(settings), values, swept)
    chosen = [folders] if isinstance(folders, str | Path) else list(folders)
    with own_hydra():
        return carry_out([*flags, *(f"--config-dir={folder}" for folder in chosen), *words])
