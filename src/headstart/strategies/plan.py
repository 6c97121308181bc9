"""The training plan: which weights are trained, how fast and in which mode."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from headstart.strategies.rates import split_by_decay
from headstart.tables import share_text


@dataclass(frozen=True)
class PlanGroup:
    """Weights that are treated alike."""

    name: str
    where: str  # the modules, as people read them
    parameters: Sequence[nn.Parameter]
    learning_rate: float | None  # None: no optimizer moves it
    weight_decay: float | None  # of its matrices: biases and normalisation may have none
    started_from: str
    trained: Sequence[nn.Parameter] = ()  # of its parameters
    statistics: str | None = None  # of batch norm; None where there is none
    since: int = 1  # the epoch from which it is trained
    solver: str = ""  # what computes it, where no optimizer does

    @property
    def frozen(self) -> bool:
        """Nothing of it is trained."""
        return self.learning_rate is None and not self.solver

    @property
    def size(self) -> int:
        """Number of weights."""
        return sum(parameter.numel() for parameter in self.parameters)

    @property
    def size_trained(self) -> int:
        """Number of weights that are trained."""
        return sum(parameter.numel() for parameter in self.trained)


def check_partition(groups: Sequence[PlanGroup], whole: nn.Module) -> None:
    """Every parameter belongs to exactly one group, by identity: equal values are not equal parameters."""
    listed = [id(parameter) for group in groups for parameter in group.parameters]
    if len(listed) != len(set(listed)):
        raise RuntimeError("A parameter is in two groups of the training plan.")
    if set(listed) != {id(parameter) for parameter in whole.parameters()}:
        raise RuntimeError("The groups of the training plan do not hold every parameter.")
    trained = {id(parameter) for group in groups for parameter in group.trained}
    if not trained <= set(listed) or any(group.frozen and group.trained for group in groups):
        raise RuntimeError("The training plan trains what it does not hold, or what it calls frozen.")


def optimizer_groups(groups: Sequence[PlanGroup], decay_norm_bias: bool) -> list[dict[str, Any]]:
    """What the optimizer takes: what is trained, one or two entries a group, as biases and norms may not decay."""
    entries = []
    for group in groups:
        decayed, others = (list(group.trained), []) if decay_norm_bias else split_by_decay(group.trained)
        for parameters, decay in ((decayed, group.weight_decay), (others, 0.0)):
            if parameters and not group.solver:
                entries.append(
                    {"params": parameters, "lr": group.learning_rate, "weight_decay": decay, "name": group.name}
                )
    return entries


def plan_rows(
    groups: Sequence[PlanGroup], learning_rate_of: Callable[[str], str], decay_norm_bias: bool
) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the plan as a reader sees it; weight decay is what the optimizer is given."""
    entries = optimizer_groups(groups, decay_norm_bias)
    header = "group,modules,starts from,parameters,trained,mode,batch norm,learning rate,weight decay".split(",")
    rows = []
    for group in groups:
        decays = list(dict.fromkeys(f"{entry['weight_decay']:g}" for entry in entries if entry["name"] == group.name))
        if len(decays) > 1:
            decays[1] = f"vectors {decays[1]}"
        rows.append(
            [
                group.name,
                group.where,
                group.started_from,
                f"{group.size:,}",
                share_text(group.size_trained / max(1, group.size)),
                group.solver or _mode(group),
                group.statistics or "–",
                learning_rate_of(group.name),
                ", ".join(decays) or "–",
            ]
        )
    return header, rows


def _mode(group: PlanGroup) -> str:
    if group.frozen:
        return "eval"
    return "train" if group.since == 1 else f"train from epoch {group.since}"
