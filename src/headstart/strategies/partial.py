"""Train one small kind of weights in every stage, biases or normalisation, and keep the rest.

A few thousand weights are enough to shift and scale features that are already good.

Paper: BitFit, Ben Zaken et al. 2021 (arXiv:2106.10199); Frankle et al. 2020 (arXiv:2003.00152)
Command: headstart train strategy=bias_only, strategy=norm_only
Measured: bias_only 83.7 ± 0.8 %, norm_only 83.8 ± 0.9 % on 15-Scene, 25 labels a class, EfficientNet-Lite0 at 128 px,
  test accuracy over 3 seeds, with 1.2 and 1.8 % of the weights trained (docs/strategies.md).
Fails: on networks without such weights, which are refused.
"""

from typing import Any

from torch import nn

from headstart.errors import ConfigError
from headstart.strategies.modes import is_norm
from headstart.strategies.surgical import Surgical


class Partial(Surgical):
    """Of the stages in ``train_stages`` only one kind of weights is trained, besides the head."""

    what = ""

    def __init__(self, *args: Any, head_lr_multiplier: float = 1.0, **kwargs: Any) -> None:
        super().__init__(*args, head_lr_multiplier=head_lr_multiplier, **kwargs)
        if len(self.plan.frozen_stages) == len(self.backbone.stages):
            raise ConfigError(f"{self.backbone.name} has no {self.what} in {', '.join(self.trained_stages())}.")


class BiasOnly(Partial):
    """Biases, those of normalisation included (BitFit, arXiv:2106.10199)."""

    what = "bias"

    def trains(self, layer: nn.Module, name: str) -> bool:
        """Biases."""
        return name.endswith("bias")


class NormOnly(Partial):
    """Scales and shifts of normalisation (Frankle et al. 2020, arXiv:2003.00152)."""

    what = "normalisation with weights"

    def trains(self, layer: nn.Module, name: str) -> bool:
        """Whatever normalisation owns."""
        return is_norm(layer)
