"""headstart pretrain: learn weights by an objective, in runs like those of headstart train."""

from collections.abc import Sequence

from headstart.commands.train import train


def pretrain(arguments: Sequence[str]) -> int:
    """Run the pretraining or sweep that the arguments describe; return the exit code, as ``train`` does."""
    return train(arguments, "pretrain")
