"""Check the head of a strategy that computes its weights."""

from headstart.errors import ConfigError
from headstart.tasks import Task


def check_linear_head(task: Task, who: str) -> None:
    """Raise ConfigError unless the head is a plain linear layer with the default start."""
    head = task.head
    if not task.linear:
        raise ConfigError(
            f"{who} computes the weights of a linear head, and task.loss=bins has none: use task.loss=mse."
        )
    if head.kind != "linear":
        raise ConfigError(f"{who} computes the weights of a linear head: use head=linear, not head={head.kind}.")
    if head.init != "default":
        raise ConfigError(
            f"{who} computes the weights of the head, so head.init={head.init} has no effect; leave it out."
        )
