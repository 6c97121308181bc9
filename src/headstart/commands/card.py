"""headstart card: write the model card of a finished run."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from headstart.commands.trusting import add_trust
from headstart.errors import ConfigError, DataError
from headstart.files import check_writable, expanded, write_atomically
from headstart.guard import DONE
from headstart.models.description import read_description
from headstart.records.names import CHECKPOINT_FOLDER, MODEL_FILE
from headstart.records.record import read_record
from headstart.records.runs import Run, RunSet, read_run
from headstart.reports.analysis import analyse
from headstart.reports.card import UNKNOWN, ModelCard

LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]{0,60}")


def card(arguments: Sequence[str]) -> int:
    """Print the model card of a run, or write it to a file; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="headstart card",
        description="Write the model card of a finished run: Markdown in the format of the Hugging Face hub.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write to FILE, such as README.md (default: print)")
    parser.add_argument(
        "--license",
        default=UNKNOWN,
        metavar="NAME",
        help="licence of your model as the hub names it, such as apache-2.0",
    )
    add_trust(parser)
    options = parser.parse_args(arguments)
    text = card_of(expanded(options.run), options.license).text()
    if options.output is None:
        print(text, end="")
        return DONE
    output = expanded(options.output)
    check_writable(output.parent, "choose another --output", [output.name])
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, text)
    print(f"card: {output}")
    return DONE


def card_of(directory: Path, license_name: str = UNKNOWN) -> ModelCard:
    """Return the card of a run. Raises DataError for a run that has not finished or cannot be read."""
    if not LICENSE.fullmatch(license_name):
        raise ConfigError(f"--license {license_name}: expected a name of the hub in small letters, such as apache-2.0.")
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
