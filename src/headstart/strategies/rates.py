"""Compute learning rates by stage, and find which weights decay."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from headstart.errors import ConfigError
from headstart.settings.leaf_table import check_parameters, check_setting
from headstart.settings.leaves import LARGEST, SMALLEST_RATE
from headstart.strategies.names import matching


@dataclass(frozen=True)
class Rates:
    """The learning rates of a strategy: ``lr`` for the head, ``lr / head_lr_multiplier`` for the backbone.

    Each stage has ``layer_decay`` times the rate of the stage above it; ``stage_lr`` sets single stages. The head's
    biases get ``head_bias_lr_multiplier`` times the backbone's rate, if that is given.
    """

    lr: float  # 1 until a range test finds it
    to_find: bool
    weight_decay: float
    head_lr_multiplier: float = 1.0
    head_bias_lr_multiplier: float | None = None
    layer_decay: float = 1.0
    stage_lr: Mapping[str, float] | None = None

    @classmethod
    def of(
        cls,
        optimizer: Callable[..., Any],
        lr: float | str | None,
        head_lr_multiplier: float,
        head_bias_lr_multiplier: float | None,
        layer_decay: float,
        stage_lr: Mapping[str, float] | None,
    ) -> "Rates":
        """Return the rates of these settings; ``lr`` is a number, "auto", or None for the optimizer's own.

        ``optimizer`` is a partial with ``lr`` and perhaps ``weight_decay``. Raises ConfigError for an unusable rate.
        """
        check_parameters("strategy", locals())
        own = dict(getattr(optimizer, "keywords", {}))
        if "lr" not in own:
            raise ConfigError("optimizer.lr is not set: every strategy derives its learning rates from it.")
        to_find = lr == "auto"
        if to_find and stage_lr:
            raise ConfigError("strategy.stage_lr sets rates as numbers, so strategy.lr cannot be auto.")
        return cls(
            1.0 if to_find else float(check_setting("optimizer.lr", own["lr"]) if lr is None else lr),
            to_find,
            own.get("weight_decay", 0.0),
            head_lr_multiplier,
            head_bias_lr_multiplier,
            layer_decay,
            stage_lr,
        )

    @property
    def backbone(self) -> float:
        """Return the rate of the backbone's top stage."""
        return self.lr / self.head_lr_multiplier

    def found(self, lr: float) -> "Rates":
        """Return these rates with the head's rate from a range test."""
        return replace(self, lr=lr, to_find=False)

    def of_stages(self, names: Sequence[str], trained: Sequence[str], network: str) -> dict[str, float]:
        """Return the rate of each trained stage, lowest first.

        Raises ConfigError if ``stage_lr`` names an unknown or frozen stage, or one stage twice.
        """
        rates = {
            name: self.backbone * self.layer_decay ** (len(names) - number)
            for number, name in enumerate(names)
            if name in trained
        }
        given = dict(self.stage_lr or {})
        for pattern, hits in zip(given, matching(given, names, "strategy.stage_lr", network), strict=True):
            frozen = [name for name in hits if name not in rates]
            if frozen:
                raise ConfigError(
                    f"strategy.stage_lr: {', '.join(frozen)} would get a learning rate, but the strategy keeps it"
                    f" frozen; trained are: {', '.join(rates) or 'none'}."
                )
            rates.update(dict.fromkeys(hits, float(given[pattern])))
        return {name: usable_rate(name, rate) for name, rate in rates.items()}

    def of_head_biases(self) -> float:
        """Return the rate of the head's biases, if they have their own."""
        assert self.head_bias_lr_multiplier is not None
        return usable_rate("the head's biases", self.backbone * self.head_bias_lr_multiplier)


def usable_rate(whose: str, rate: float) -> float:
    """Return a rate; raise ConfigError if it is not above 0 in float32."""
    if not SMALLEST_RATE <= rate <= LARGEST:
        raise ConfigError(
            f"The learning rate of {whose} is {rate:g}, from optimizer.lr, strategy.head_lr_multiplier and other"
            " factors: expected a number above 0 that float32 can hold."
        )
    return rate


def split_by_decay(parameters: Sequence[nn.Parameter]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the parameters with weight decay, and those without: biases and normalisation, which are vectors."""
    decayed = [parameter for parameter in parameters if parameter.ndim > 1]
    return decayed, [parameter for parameter in parameters if parameter.ndim <= 1]
