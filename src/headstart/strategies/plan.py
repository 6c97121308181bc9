"""The training plan: which modules are trained, how fast and in which mode."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Group:
    """Modules that are treated alike."""

    name: str
    modules: dict[str, nn.Module]
    learning_rate: float | None  # None: frozen
    weight_decay: float | None
    started_from: str

    @property
    def frozen(self) -> bool:
        """No gradient and eval mode."""
        return self.learning_rate is None

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Parameters of all its modules."""
        return [parameter for module in self.modules.values() for parameter in module.parameters()]

    @property
    def size(self) -> int:
        """Number of weights."""
        return sum(parameter.numel() for parameter in self.parameters)


def check_partition(groups: Sequence[Group], whole: nn.Module) -> None:
    """Every parameter belongs to exactly one group, by identity: equal values are not equal parameters."""
    listed = [id(parameter) for group in groups for parameter in group.parameters]
    if len(listed) != len(set(listed)):
        raise RuntimeError("A parameter is in two groups of the training plan.")
    if set(listed) != {id(parameter) for parameter in whole.parameters()}:
        raise RuntimeError("The groups of the training plan do not hold every parameter.")


def plan_rows(groups: Sequence[Group], learning_rate_of: Callable[[str], str]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the plan as a reader sees it."""
    header = ["group", "modules", "starts from", "parameters", "trained", "mode", "learning rate", "weight decay"]
    rows = []
    for group in groups:
        rate = learning_rate_of(group.name)
        rows.append(
            [
                group.name,
                ", ".join(group.modules),
                group.started_from,
                f"{group.size:,}",
                f"{100 * _share_trained(group):.0f} %",
                "eval" if group.frozen else "train",
                rate,
                "–" if group.weight_decay is None or rate == "L-BFGS" else f"{group.weight_decay:g}",
            ]
        )
    return header, rows


def _share_trained(group: Group) -> float:
    trained = sum(parameter.numel() for parameter in group.parameters if parameter.requires_grad)
    return trained / max(1, group.size)
