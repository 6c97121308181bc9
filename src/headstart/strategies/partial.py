"""Train a small kind of weights in every stage, and keep the rest."""

from typing import Any

from torch import nn

from headstart.errors import ConfigError
from headstart.strategies.norms import is_norm
from headstart.strategies.surgical import Surgical


class Partial(Surgical):
    """Of the stages in ``train_stages`` only one kind of weights is trained, besides the head."""

    what = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if len(self.frozen_stages) == len(self.backbone.stages):
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
