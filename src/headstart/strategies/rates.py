"""Learning rates by stage, and which weights decay."""

from collections.abc import Mapping, Sequence

from torch import nn

from headstart.errors import ConfigError
from headstart.strategies.checks import above_zero, usable_rate
from headstart.strategies.names import matching


def stage_rates(
    names: Sequence[str],
    trained: Sequence[str],
    rate: float,
    layer_decay: float,
    stage_lr: Mapping[str, float] | None,
    network: str,
) -> dict[str, float]:
    """The learning rate of each trained stage.

    A stage that lies k stages below the head gets ``rate * layer_decay ** k``; ``stage_lr`` sets the rates of the
    stages that it names or matches. Raises ConfigError where it names no stage, one twice, or one that is frozen.
    """
    rates = {name: rate * layer_decay ** (len(names) - number) for number, name in enumerate(names) if name in trained}
    if stage_lr is not None and not isinstance(stage_lr, Mapping):
        raise ConfigError(f"strategy.stage_lr={stage_lr}: expected rates by stage, as in {{stem: 1e-5, stage*: 1e-4}}.")
    given = dict(stage_lr or {})
    for pattern, hits in zip(given, matching(given, names, "strategy.stage_lr", network), strict=True):
        value = above_zero(f"strategy.stage_lr.{pattern}", given[pattern])
        frozen = [name for name in hits if name not in rates]
        if frozen:
            raise ConfigError(
                f"strategy.stage_lr: {', '.join(frozen)} would get a learning rate, but the strategy keeps it frozen;"
                f" trained are: {', '.join(rates) or 'none'}."
            )
        rates.update(dict.fromkeys(hits, value))
    return {name: usable_rate(name, rate) for name, rate in rates.items()}


def split_by_decay(parameters: Sequence[nn.Parameter]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Those that weight decay is for, and the others: biases, and scales and shifts of normalisation, are vectors."""
    decayed = [parameter for parameter in parameters if parameter.ndim > 1]
    return decayed, [parameter for parameter in parameters if parameter.ndim <= 1]
