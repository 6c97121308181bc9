"""headstart card: write the model card of a finished run."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from headstart.commands.trusting import add_trust
from headstart.files import check_writable, expanded, write_atomically
from headstart.guard import DONE
from headstart.models.run_card import card_of
from headstart.reports.card import UNKNOWN


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
