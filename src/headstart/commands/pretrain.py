"""headstart pretrain: learn weights by an objective, in runs like those of headstart train."""

from collections.abc import Sequence

from headstart.commands.train import WITHOUT_RUN, train
from headstart.errors import ConfigError
from headstart.settings.configs import choices


def pretrain(arguments: Sequence[str]) -> int:
    """Run the pretraining or sweep that the arguments describe; return the exit code, as ``train`` does.

    Raises ConfigError if no objective is given.
    """
    chosen = any(argument.lstrip("+").startswith(("objective=", "hydra.sweeper.params")) for argument in arguments)
    if not chosen and not {word.partition("=")[0] for word in arguments} & {*WITHOUT_RUN}:
        raise ConfigError(f"objective is not set; choose one, as in objective={choices('objective')[0]}: expected"
                          f" {', '.join(choices('objective'))}.")  # fmt: skip
    return train(arguments, "pretrain")
