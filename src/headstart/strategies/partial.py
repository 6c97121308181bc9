"""Train only the biases, or only the normalisation, of every stage; freeze the other weights.

A few thousand weights are enough to shift and scale features that are already good.

Paper: BitFit, Ben Zaken et al. 2021 (arXiv:2106.10199); Frankle et al. 2020 (arXiv:2003.00152)
Command: headstart train strategy=bias_only, strategy=norm_only
Measured: bias_only 83.7 ± 0.8 %, norm_only 83.8 ± 0.9 % on 15-Scene, 25 labels a class, EfficientNet-Lite0 at 128 px,
  test accuracy over 3 seeds, with 1.2 and 1.8 % of the weights trained (docs/strategies.md).
Fails: on networks without such weights; they raise an error.
"""

from typing import Any

from torch import nn

from headstart.errors import ConfigError
from headstart.strategies.modes import is_norm
from headstart.strategies.surgical import Surgical


class Partial(Surgical):
    """Training of the head and of one kind of weights in the stages of ``train_stages``."""

    what = ""

    def __init__(self, *args: Any, head_lr_multiplier: float = 1.0, **kwargs: Any) -> None:
        super().__init__(*args, head_lr_multiplier=head_lr_multiplier, **kwargs)
        if len(self.plan.frozen_stages) == len(self.backbone.stages):
            raise ConfigError(f"{self.backbone.name} has no {self.what} in {', '.join(self.trained_stages())}.")


class BiasOnly(Partial):
    """Training of the biases, including those of normalisation (BitFit, arXiv:2106.10199)."""

    what = "bias"

    def trains(self, layer: nn.Module, name: str) -> bool:
        """Return whether the parameter is a bias."""
        return name.endswith("bias")


class NormOnly(Partial):
    """Training of the scales and shifts of normalisation (Frankle et al. 2020, arXiv:2003.00152)."""

    what = "normalisation with weights"

    def trains(self, layer: nn.Module, name: str) -> bool:
        """Return whether the layer is a normalisation layer."""
        return is_norm(layer)
