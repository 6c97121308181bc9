"""Call the function of each ``headstart`` command."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from headstart import __version__
from headstart.guard import DONE, WRONG, guarded

HELP = """headstart: transfer-learning experiments on images

  headstart train key=value ...   run an experiment; -m for a sweep; --help lists every setting
  headstart pretrain objective=NAME ...  learn weights from images, for backbone.weights
  headstart status DIR ...        list finished, running, stopped and failed runs, and remaining jobs
  headstart report DIR ...        compare runs: verdicts, tables, figures, a page for the browser
  headstart predict RUN IMAGE ...  predict new images with the network of a run; sort them into folders
  headstart export RUN --to FORMAT  write the network for other programs: onnx, torchscript, timm, ...
  headstart card RUN              write the model card of a run, for a hub or a colleague
  headstart board DIR ...         show runs, and their means by strategy, in TensorBoard
  headstart evaluate RUN ...      test runs again; on corrupted images with --corruptions
  headstart explain RUN ...       show mistakes, Grad-CAM maps, and the features in two dimensions
  headstart reproduce RUN         repeat a run: bit-equal, within the interval, or different?
  headstart diff RUN RUN          compare settings, code, data, weights and packages of two runs
  headstart inspect backbone=NAME list a network's stages, and which of them each strategy trains
  headstart inspect layers ...    find the stage of a network that transfers best to a data set
  headstart inspect augmentation  draw augmented training images in a grid
  headstart audit key=value ...   find likely wrong labels, duplicates and outliers in a data set
  headstart similarity key=value ...  measure how far a data set is from what a network has learned
  headstart advise key=value ...  find the backbone, the stage and the strategy for a data set
  headstart policy key=value ...  search an augmentation that makes training images like validation images
  headstart features list|clear   list or remove the features cached for later runs
  headstart --version
"""
# The function of each command. Imported only when called, because some of them load torch.
COMMANDS = {
    "train": "headstart.commands.train:train",
    "pretrain": "headstart.commands.train:pretrain",
    "status": "headstart.commands.status:status",
    "report": "headstart.commands.report:report",
    "predict": "headstart.commands.predict:predict",
    "export": "headstart.commands.export:export",
    "card": "headstart.commands.card:card",
    "board": "headstart.commands.board:board",
    "evaluate": "headstart.commands.evaluate:evaluate",
    "explain": "headstart.commands.explain:explain",
    "reproduce": "headstart.commands.reproduce:reproduce",
    "diff": "headstart.commands.diff:diff",
    "inspect": "headstart.inspecting.network:inspect",
    "audit": "headstart.commands.audit:audit",
    "similarity": "headstart.commands.similarity:similarity",
    "advise": "headstart.commands.advise:advise",
    "policy": "headstart.commands.policy:policy",
    "features": "headstart.commands.features:features",
}
# The other commands that begin with inspect.
INSPECT = {
    "layers": "headstart.inspecting.layers:inspect_layers",
    "augmentation": "headstart.inspecting.augmentation:inspect_augmentation",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
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


def _function(path: str) -> Callable[[Sequence[str]], int]:
    Path.cwd()  # raises if the working directory was removed, before a library ends the process
    module, name = path.split(":")
    function: Callable[[Sequence[str]], int] = getattr(import_module(module), name)
    return function


if __name__ == "__main__":
    sys.exit(main())
