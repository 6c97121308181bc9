"""The command headstart: one word, then what that word takes."""

import sys
from collections.abc import Sequence

from headstart import __version__

HELP = """headstart: transfer-learning experiments on pictures

  headstart train key=value ...   run an experiment; -m for a sweep; --help lists every setting
  headstart report DIR ...        compare runs: table, learning curves, Markdown page
  headstart inspect backbone=NAME what a network is made of, and what each strategy trains of it
  headstart inspect layers ...    which stage of a network transfers best to a data set
  headstart features list|clear   what the frozen parts of networks left behind for later runs
  headstart --version
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Dispatch to a command; its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if command == "train":
        from headstart.runs.command import train

        return train(rest)
    if command == "report":
        from headstart.reports.command import report

        return report(rest)
    if command == "inspect":
        if rest[:1] == ["layers"]:
            from headstart.runs.inspect_layers import inspect_layers

            return inspect_layers(rest[1:])
        from headstart.runs.inspect import inspect

        return inspect(rest)
    if command == "features":
        from headstart.features.command import features

        return features(rest)
    if command in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    if command == "--version":
        print(__version__)
        return 0
    from headstart.errors import nearest

    print(
        f"headstart: there is no command '{command}'.{nearest(command, ['train', 'report', 'inspect', 'features'])}",
        file=sys.stderr,
    )
    return 2
