"""The option --trust of commands that read runs."""

import argparse

from headstart.settings.packages import trust


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add --trust PACKAGE. Parsing it trusts the package until the process ends."""
    parser.add_argument(
        "--trust", action="append", default=[], type=trust, metavar="PACKAGE",
        help="allow runs to name classes of this package",
    )  # fmt: skip
