"""Train low-rank updates of weights that stay as they are."""

import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from headstart.backbones import Backbone
from headstart.errors import ConfigError
from headstart.seeds import stream
from headstart.strategies.checks import above_zero, count
from headstart.strategies.surgical import Surgical

IN_PROJECTIONS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
Weight = tuple[str, nn.Module, str]  # where the layer is, the layer, the name of its weight


class Lora(Surgical):
    """``W + alpha / rank * B A`` for the weights ``W`` of the stages in ``train_stages``: LoRA (arXiv:2106.09685).

    Trained are the head, ``A`` (rank, in) and ``B`` (out, rank), which starts from zero: the network starts as it was.
    A convolution counts as a matrix (out, in * height * width). After the fit the updates are added to the weights, so
    that what is kept is a plain network of the old structure, for any other strategy to start from.

    Adapted are linear layers, convolutions and the projections of attention. Left out are convolutions in groups,
    depthwise ones among them, whose few weights a filter leave no rank to save, and weights that are parametrised
    already. Layers that run as layers become peft's; its attention is not used, as it moves the frozen weights by
    rounding and adds the update of the output twice. Weights that other code reads (attention of PyTorch, torchvision's
    Swin) and layers with a way of their own (padding computed in the pass, dilation, standardised weights) are
    parametrised instead.

    ``dropout`` is for what enters the updates, and refused where a weight is parametrised: nothing enters it. Raises
    ConfigError where nothing can be adapted.
    """

    def __init__(
        self,
        *args: Any,
        rank: int = 8,
        alpha: float = 16.0,
        dropout: float = 0.0,
        head_seed: int = 0,
        **kwargs: Any,
    ) -> None:
        if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout < 1:
            raise ConfigError(f"strategy.dropout={dropout}: expected a share from 0 to below 1, such as 0.1.")
        self.rank = count("strategy.rank", rank, ", such as 8")
        self.alpha, self.dropout = above_zero("strategy.alpha", alpha), float(dropout)
        self.seed = stream("lora", head_seed)
        self.updates: set[int] = set()
        super().__init__(*args, head_seed=head_seed, **kwargs)

    def change_layers(self) -> None:
        """Put in the updates."""
        stages = self.backbone.stages
        weights = list(_weights(stages, self.trained_stages()))
        plain = _run_plainly(self.backbone, [layer for _, layer, _ in weights])
        others = [weight for weight in weights if id(weight[1]) not in plain]
        self._check(weights, others)
        before = {id(parameter) for parameter in stages.parameters()}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self._inject([where for where, layer, _ in weights if id(layer) in plain])
            for _, layer, name in others:
                update = LowRank(getattr(layer, name), self.rank, self.alpha / self.rank)
                parametrize.register_parametrization(layer, name, update)
        self.updates = {id(parameter) for parameter in stages.parameters()} - before

    def trains(self, layer: nn.Module, name: str) -> bool:
        """The updates."""
        return id(getattr(layer, name)) in self.updates

    def finish(self, trainer: Any, data: Any) -> None:
        """Leave a plain network."""
        self.merge()

    def merge(self) -> None:
        """Add the updates to the weights and take them out; the plan keeps telling what was trained."""
        from peft.tuners.tuners_utils import BaseTunerLayer

        for parent in list(self.backbone.stages.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, BaseTunerLayer):
                    child.merge()
                    setattr(parent, name, child.get_base_layer())
        for layer in list(self.backbone.stages.modules()):
            for name, updates in list(getattr(layer, "parametrizations", {}).items()):
                if isinstance(updates[-1], LowRank):
                    parametrize.remove_parametrizations(layer, name, leave_parametrized=True)

    def _check(self, weights: list[Weight], parametrised: list[Weight]) -> None:
        stages = ", ".join(self.trained_stages()) or "no stage"
        if not weights:
            raise ConfigError(
                f"strategy.train_stages: {stages} of {self.backbone.name} has no linear layer, attention or ungrouped"
                f" convolution to adapt; choose others of {', '.join(self.backbone.stage_names)}."
            )
        if self.dropout and parametrised:
            raise ConfigError(
                f"strategy.dropout={self.dropout:g}: {self.backbone.name} reads {parametrised[0][0]} without an input"
                " that dropout could act on; use strategy.dropout=0."
            )

    def _inject(self, layers: list[str]) -> None:
        """Replace layers of these names by peft's."""
        try:
            from peft import LoraConfig, inject_adapter_in_model  # a matter of seconds, so not before it is needed
        except ImportError as error:
            raise ConfigError("strategy=lora needs peft, which is missing: pip install 'headstart[lora]'.") from error
        if layers:
            config = LoraConfig(
                r=self.rank,
                lora_alpha=self.alpha,  # type: ignore[arg-type]
                lora_dropout=self.dropout,
                target_modules="|".join(re.escape(name) for name in layers),  # names alone would match as endings
            )
            inject_adapter_in_model(config, self.backbone.stages)
            del self.backbone.stages.peft_config


class LowRank(nn.Module):
    """A weight of any shape (out, ...) plus ``scale * B A``."""

    def __init__(self, weight: Tensor, rank: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.lora_A = nn.Parameter(torch.empty(rank, weight[0].numel()))
        self.lora_B = nn.Parameter(torch.zeros(len(weight), rank))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))  # as peft and torch do

    def forward(self, weight: Tensor) -> Tensor:
        """The weight as the network sees it."""
        return weight + (self.scale * self.lora_B @ self.lora_A).view_as(weight)


def _weights(stages: nn.ModuleDict, chosen: Iterable[str]) -> Iterator[Weight]:
    """The weights that can be adapted."""
    for stage in chosen:
        for name, layer in stages[stage].named_modules(prefix=stage):
            own = dict(layer.named_parameters(recurse=False))
            if isinstance(layer, nn.MultiheadAttention):
                yield from ((name, layer, key) for key in IN_PROJECTIONS if key in own)
            elif "weight" in own and (
                isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
            ):
                yield name, layer, "weight"


@torch.no_grad()
def _run_plainly(backbone: Backbone, layers: Iterable[nn.Module]) -> set[int]:
    """Which of the layers are called, not only read, and do what peft takes them to do."""
    called: set[int] = set()
    hooks = [layer.register_forward_pre_hook(lambda module, _: called.add(id(module))) for layer in layers]
    backbone.output_shapes()
    for hook in hooks:
        hook.remove()
    return {id(layer) for layer in layers if id(layer) in called and _is_plain(layer)}


def _is_plain(layer: nn.Module) -> bool:
    """Subclasses have a pass of their own; peft's branch knows neither dilation nor padding other than zeros."""
    if type(layer) is nn.Conv2d:
        return layer.padding_mode == "zeros" and set(layer.dilation) == {1}
    return type(layer) is nn.Linear
