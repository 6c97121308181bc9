"""What strategies that compute a linear classifier need of the head."""

import torch
from torch import Tensor, nn

from headstart.errors import ConfigError
from headstart.tasks import Classification
from headstart.tasks.heads import LinearLayer


def check_linear_head(task: Classification, who: str) -> None:
    """Raise ConfigError unless the head is a plain linear layer, whose weights will be computed."""
    head = task.head
    if head.kind != "linear":
        raise ConfigError(f"{who} computes the weights of a linear head: use head=linear, not head={head.kind}.")
    if head.init != "default":
        raise ConfigError(
            f"{who} computes the weights of the head, so head.init={head.init} would not last; leave it out."
        )


def put_into(head: nn.Module, weight: Tensor, bias: Tensor) -> None:
    """Set the weights of a linear head: (classes, D) and (classes,)."""
    assert isinstance(head, LinearLayer)
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)
