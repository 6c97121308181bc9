"""The command headstart: one word, then what that word takes."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from headstart import __version__
from headstart.guard import DONE, WRONG, guarded

HELP = """headstart: transfer-learning experiments on images

  headstart train key=value ...   run an experiment; -m for a sweep; --help lists every setting
  headstart status DIR ...        which runs are finished, running, stopped or failed; what is left
  headstart report DIR ...        compare runs: verdicts, tables, figures, a page for the browser
  headstart board DIR ...         TensorBoard on runs, and on their means by strategy
  headstart evaluate RUN ...      test runs again, with --corruptions on corrupted images
  headstart explain RUN ...       a run's mistakes, Grad-CAM on them, its features in two dimensions
  headstart reproduce RUN         run it again: bit-equal, within the interval, or different?
  headstart diff RUN RUN          what differs between two runs: settings, code, data, weights, packages
  headstart inspect backbone=NAME what a network is made of, and what each strategy trains of it
  headstart inspect layers ...    which stage of a network transfers best to a data set
  headstart inspect augmentation  what views and mixes make of training images, as a grid
  headstart policy key=value ...  search an augmentation that makes training images like validation images
  headstart features list|clear   what the frozen parts of networks left behind for later runs
  headstart --version
"""
# Each word and the function that takes the rest; it is imported only when called, as some of them load torch.
COMMANDS = {
    "train": "headstart.commands.train:train",
    "status": "headstart.commands.status:status",
    "report": "headstart.commands.report:report",
    "board": "headstart.commands.board:board",
    "evaluate": "headstart.commands.evaluate:evaluate",
    "explain": "headstart.commands.explain:explain",
    "reproduce": "headstart.commands.reproduce:reproduce",
    "diff": "headstart.commands.diff:diff",
    "inspect": "headstart.commands.inspect:inspect",
    "policy": "headstart.commands.policy:policy",
    "features": "headstart.commands.features:features",
}
# What inspect looks at beside a network.
INSPECT = {
    "layers": "headstart.commands.inspect_layers:inspect_layers",
    "augmentation": "headstart.commands.inspect_augmentation:inspect_augmentation",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out a command; its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: _dispatch(arguments))


def _dispatch(arguments: list[str]) -> int:
    command, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if command in ("-h", "--help", "help"):
        print(HELP, end="")
        return DONE
    if command == "--version":
        print(__version__)
        return DONE
    if command == "inspect" and rest[:1] and rest[0] in INSPECT:
        return _function(INSPECT[rest[0]])(rest[1:])
    if command in COMMANDS:
        return _function(COMMANDS[command])(rest)
    from headstart.errors import nearest

    print(f"headstart: there is no command '{command}'.{nearest(command, COMMANDS)}", file=sys.stderr)
    return WRONG


def _function(place: str) -> Callable[[Sequence[str]], int]:
    Path.cwd()  # where it was removed, libraries end the process without a word of ours
    module, name = place.split(":")
    function: Callable[[Sequence[str]], int] = getattr(import_module(module), name)
    return function


if __name__ == "__main__":
    sys.exit(main())
