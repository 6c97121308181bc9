"""Make the training plan: which weights are trained, how fast and in which mode."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from headstart.backbones import Backbone
from headstart.errors import ConfigError
from headstart.strategies.modes import batch_norms
from headstart.strategies.rates import Rates, split_by_decay
from headstart.tables import share_text

if TYPE_CHECKING:
    from headstart.strategies.strategy import Strategy

HEADER = "group,modules,starts from,parameters,trained,mode,batch norm,learning rate,weight decay".split(",")


@dataclass(frozen=True)
class PlanGroup:
    """Weights that are trained in the same way."""

    name: str
    where: str  # the modules, for display
    parameters: Sequence[nn.Parameter]
    learning_rate: float | None  # None without an optimizer
    weight_decay: float | None  # of its matrices; biases and normalisation may have none
    started_from: str
    trained: Sequence[nn.Parameter] = ()  # of its parameters
    statistics: str | None = None  # of batch norm; None without batch norm
    since: int = 1  # the epoch from which it is trained
    solver: str = ""  # what computes it, if no optimizer trains it

    @property
    def frozen(self) -> bool:
        """Return whether none of its weights is trained."""
        return self.learning_rate is None and not self.solver

    @property
    def size(self) -> int:
        """Return the number of weights."""
        return sum(parameter.numel() for parameter in self.parameters)

    @property
    def size_trained(self) -> int:
        """Return the number of trained weights."""
        return sum(parameter.numel() for parameter in self.trained)

    @property
    def mode(self) -> str:
        """Return how it is trained, for display."""
        if self.solver:
            return self.solver
        if self.frozen:
            return "eval"
        return "train" if self.since == 1 else f"train from epoch {self.since}"


@dataclass(frozen=True)
class TrainingPlan:
    """The training plan of a strategy; every parameter of the network is in exactly one group."""

    groups: tuple[PlanGroup, ...]
    frozen_stages: tuple[str, ...]
    statistics: Mapping[str, str]  # the mode of batch norm, by stage with batch norm
    prefix_end: int  # stages below it are the frozen prefix: same output every epoch
    rates: Rates | None  # None without an optimizer
    decay_norm_bias: bool

    def optimizer_groups(self) -> list[dict[str, Any]]:
        """Return the optimizer's parameter groups: two for a trained group whose vectors have no weight decay."""
        entries = []
        for group in self.groups:
            decayed, others = (list(group.trained), []) if self.decay_norm_bias else split_by_decay(group.trained)
            for parameters, decay in ((decayed, group.weight_decay), (others, 0.0)):
                if parameters and not group.solver:
                    entries.append(
                        {"params": parameters, "lr": group.learning_rate, "weight_decay": decay, "name": group.name}
                    )
        return entries

    def rows(self) -> list[list[str]]:
        """Return the rows of the printed plan, below ``HEADER``; weight decay is the optimizer's."""
        entries = self.optimizer_groups()
        rows = []
        for group in self.groups:
            decays = list(dict.fromkeys(f"{one['weight_decay']:g}" for one in entries if one["name"] == group.name))
            if len(decays) > 1:
                decays[1] = f"vectors {decays[1]}"
            rows.append(
                [
                    group.name,
                    group.where,
                    group.started_from,
                    f"{group.size:,}",
                    share_text(group.size_trained / max(1, group.size)),
                    group.mode,
                    group.statistics or "–",
                    self.learning_rate_of(group.name),
                    ", ".join(decays) or "–",
                ]
            )
        return rows

    def learning_rate_of(self, name: str) -> str:
        """Return the learning rate of a group as the printed plan shows it."""
        rate = next(group.learning_rate for group in self.groups if group.name == name)
        if rate is None:
            return "–"
        return f"auto x {rate:g}" if self.rates is not None and self.rates.to_find else f"{rate:g}"

    def frozen_tensors(self, backbone: Backbone) -> dict[str, Tensor]:
        """Return, by name, the parameters that are not trained and the statistics that do not change."""
        free = {id(parameter) for group in self.groups for parameter in group.trained}
        for name, mode in self.statistics.items():
            if mode == "update":
                free |= {id(b) for layer in batch_norms(backbone.stages[name]) for b in layer.buffers()}
        return {
            f"{name}.{key}": tensor
            for name, stage in backbone.stages.items()
            for key, tensor in stage.state_dict(keep_vars=True).items()
            if id(tensor) not in free
        }


def make_plan(strategy: Strategy) -> TrainingPlan:
    """Return the plan of a strategy, and set which parameters have a gradient."""
    backbone, trained = strategy.backbone, strategy.trained_stages()
    for name, stage in backbone.stages.items():
        for layer in stage.modules():
            for key, parameter in layer.named_parameters(recurse=False):
                parameter.requires_grad_(name in trained and strategy.trains(layer, key))
    frozen = tuple(
        name for name, stage in backbone.stages.items() if not any(p.requires_grad for p in stage.parameters())
    )
    statistics = {
        name: strategy.own_statistics(name, name in frozen) if strategy.batch_norm == "auto" else strategy.batch_norm
        for name, stage in backbone.stages.items()
        if batch_norms(stage)
    }
    moving = [
        number
        for number, name in enumerate(backbone.stage_names)
        if name not in frozen or statistics.get(name) in ("update", "batch")
    ]
    prefix_end = min([*moving, backbone.taps[0] + 1]) if moving else len(backbone.stages)
    return with_groups(strategy, TrainingPlan((), frozen, statistics, prefix_end, None, strategy.decay_norm_bias))


def with_groups(strategy: Strategy, plan: TrainingPlan) -> TrainingPlan:
    """Return the plan with groups for the strategy's current rates and parameters."""
    groups = (*_backbone_groups(strategy, plan), *_head_groups(strategy))
    check_partition(groups, strategy)
    return replace(plan, groups=groups, rates=strategy.rates)


def _backbone_groups(strategy: Strategy, plan: TrainingPlan) -> Iterator[PlanGroup]:
    """Yield groups of stages that have the same rate and the same start."""
    backbone = strategy.backbone
    trained = [name for name in backbone.stage_names if name not in plan.frozen_stages]
    rates = strategy.rates.of_stages(backbone.stage_names, trained, backbone.name) if strategy.rates else {}
    single = strategy.by_stage or len(set(rates.values())) > 1
    grouped: dict[tuple[Any, ...], list[str]] = {}
    for name in backbone.stage_names:
        label = (name if single else "backbone") if name in rates else "frozen"
        grouped.setdefault((label, rates.get(name), strategy.started_from(name)), []).append(name)
    for (label, rate, start), stages in grouped.items():
        several = sum(key[0] == label for key in grouped) > 1  # e.g. stages with another start
        parameters = [p for name in stages for p in backbone.stages[name].parameters()]
        yield PlanGroup(
            f"{label} {'+'.join(stages)}" if several else label,
            ", ".join(stages),
            parameters,
            rate,
            None if rate is None else strategy.decay(),
            start,
            [p for p in parameters if p.requires_grad],
            ", ".join(dict.fromkeys(plan.statistics[n] for n in stages if n in plan.statistics)) or None,
            strategy.trained_since(stages[0]),
        )


def _head_groups(strategy: Strategy) -> list[PlanGroup]:
    """Return one group for the head, or two if its biases have their own rate."""
    head, settings, rates = strategy.head, strategy.task.head, strategy.rates
    named = dict(head.named_parameters())
    start = strategy.head_started_from()
    where = type(head).__name__ if len(list(head.children())) == 0 else settings.kind
    everything = list(named.values())
    if rates is None:
        return [PlanGroup("head", where, everything, None, None, start, everything, solver=strategy.solver)]
    if rates.head_bias_lr_multiplier is None:
        return [PlanGroup("head", where, everything, rates.lr, strategy.decay(), start, everything)]
    biases = [p for name, p in named.items() if name.rpartition(".")[2] == "bias"]
    if not biases:
        raise ConfigError(
            f"strategy.head_bias_lr_multiplier={rates.head_bias_lr_multiplier:g}: the {settings.kind} head has no"
            " biases; leave it null."
        )
    weights = [p for p in everything if not any(p is bias for bias in biases)]
    return [
        PlanGroup("head", where, weights, rates.lr, strategy.decay(), start, weights),
        PlanGroup("head bias", where, biases, rates.of_head_biases(), strategy.decay(), start, biases),
    ]


def check_partition(groups: Sequence[PlanGroup], whole: nn.Module) -> None:
    """Raise RuntimeError unless every parameter is in exactly one group; compares identity, as values may be equal."""
    listed = [id(parameter) for group in groups for parameter in group.parameters]
    if len(listed) != len(set(listed)):
        raise RuntimeError("A parameter is in two groups of the training plan.")
    if set(listed) != {id(parameter) for parameter in whole.parameters()}:
        raise RuntimeError("The groups of the training plan do not hold exactly the network's parameters.")
    trained = {id(parameter) for group in groups for parameter in group.trained}
    if not trained <= set(listed) or any(group.frozen and group.trained for group in groups):
        raise RuntimeError("The training plan trains a parameter that is in no group or in a frozen one.")
