"""Make the model card of a run directory. Loads no torch."""

import re
from pathlib import Path

from headstart.errors import ConfigError, DataError
from headstart.models.description import read_description
from headstart.records.names import CHECKPOINT_FOLDER, MODEL_FILE
from headstart.records.record import read_record
from headstart.records.runs import Run, RunSet, read_run
from headstart.reports.analysis import analyse
from headstart.reports.card import UNKNOWN, ModelCard

LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]{0,60}")


def card_of(directory: Path, license_name: str = UNKNOWN) -> ModelCard:
    """Return the card of a run. Raises DataError for a run that has not finished or cannot be read."""
    if not LICENSE.fullmatch(license_name):
        raise ConfigError(
            f"The licence {license_name!r} is not known; expected a hub name in small letters, such as apache-2.0."
        )
    record = read_record(directory)
    found = read_run(record.directory)
    if not isinstance(found, Run):
        raise DataError(f"'{directory}' has no result for a card: {found.status}, {found.reason.rstrip('.')}.")
    return ModelCard(analyse(RunSet((found,))), _stated_sha256(found.directory), license_name)


def _stated_sha256(directory: Path) -> str | None:
    """Return the sha256 of the tensors that model.json states; None for a run without the file."""
    if not (directory / CHECKPOINT_FOLDER / MODEL_FILE).is_file():
        return None
    return read_description(directory / CHECKPOINT_FOLDER).weights["sha256"]
