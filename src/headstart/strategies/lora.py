"""Train low-rank updates of frozen weights; merge them at the end.

The change that fine-tuning makes has a low rank, so few weights can express it.

Paper: LoRA, Hu et al. 2021 (arXiv:2106.09685)
Command: headstart train strategy=lora strategy.rank=8
Measured: 84.9 ± 1.2 % on 15-Scene, 25 labels a class, EfficientNet-Lite0 at 128 px, test accuracy over 3 seeds, with
  5.7 % of the weights trained (docs/strategies.md).
Fails: on depthwise convolutions, which are too small for a low rank and are not adapted.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from headstart.backbones.low_rank import LowRank, Weight, adaptable_weights, layers_for_peft
from headstart.errors import ConfigError
from headstart.seeds import stream
from headstart.settings.leaf_table import check_parameters
from headstart.strategies.surgical import Surgical


class Lora(Surgical):
    """``W + alpha / rank * B A`` for the weights ``W`` of the stages in ``train_stages``: LoRA (arXiv:2106.09685).

    The head, ``A`` (rank, in) and ``B`` (out, rank) are trained. ``B`` starts from zero, so the network starts
    unchanged. A convolution is treated as a matrix (out, in * height * width). After the fit the updates are added to
    the weights, so the result is a plain network that any other strategy can start from.

    Linear layers, convolutions and the projections of attention are adapted. Grouped convolutions, such as depthwise
    ones, are not adapted, because their filters have too few weights. Parametrised weights are not adapted either.
    peft's layers replace plain layers. peft's attention is not used: it changes the frozen weights by rounding and adds
    the output's update twice. Weights that other code reads (attention of PyTorch, torchvision's Swin) and special
    layers (padding computed in the pass, dilation, standardised weights) are parametrised instead.

    ``dropout`` acts on the input of the updates; a parametrised weight has no such input, so dropout is refused there.
    Raises ConfigError if nothing can be adapted.
    """

    def __init__(
        self,
        *args: Any,
        rank: int = 8,
        alpha: float = 16.0,
        dropout: float = 0.0,
        head_lr_multiplier: float = 1.0,
        head_seed: int = 0,
        **kwargs: Any,
    ) -> None:
        check_parameters("strategy", locals())
        if alpha == 0:
            raise ConfigError(f"strategy.alpha={alpha}: expected a number above 0, because it scales the updates.")
        self.rank, self.alpha, self.dropout = rank, float(alpha), float(dropout)
        self.seed = stream("lora", head_seed)
        self.updates: set[int] = set()
        super().__init__(*args, head_lr_multiplier=head_lr_multiplier, head_seed=head_seed, **kwargs)

    def change_layers(self) -> None:
        """Insert the updates."""
        stages = self.backbone.stages
        weights = list(adaptable_weights(stages, self.trained_stages()))
        plain = layers_for_peft(self.backbone, [layer for _, layer, _ in weights])
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
        """Return whether the parameter belongs to an update."""
        return id(getattr(layer, name)) in self.updates

    def finish(self, trainer: Any, data: Any) -> None:
        """Merge the updates, so that a plain network remains."""
        self.merge()

    def restore(self, state: Mapping[str, Tensor], chosen: Callable[[str], float]) -> None:
        """Merge the updates, as the run did at its end, and load its tensors."""
        self.merge()
        super().restore(state, chosen)

    def merge(self) -> None:
        """Add the updates to the weights and remove them; the plan still lists them as trained."""
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
            from peft import LoraConfig, inject_adapter_in_model  # takes seconds, so not before it is needed
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
