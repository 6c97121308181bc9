"""A few jobs of a sweep in which every value of every swept setting occurs, seeds apart."""

from collections.abc import Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from omegaconf import DictConfig, OmegaConf

from headstart.settings.effects import is_seed

MOST = 20  # of a search with very many values the first ones


def settings_of(config: DictConfig, typed: Sequence[str], loader: ConfigLoader | None = None) -> dict[str, Override]:
    """Return what a sweep is given, by key: what its config file sweeps, then what was typed.

    Raises HydraException for what cannot be read.
    """
    params = OmegaConf.select(config, "hydra.sweeper.params") or {}
    lines = [*(f"{name}={value}" for name, value in params.items()), *typed]
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(lines)
    return {item.get_key_element(): item for item in parsed}


def sample_jobs(config: DictConfig, typed: Sequence[str], loader: ConfigLoader) -> list[list[str]]:
    """Return the settings of as many jobs as the longest list of values has, each value in one of them at least.

    Of numbers as seeds one is enough: no setting is wrong for one and right for another.
    """
    found = settings_of(config, typed, loader)
    choices = {key: _values(item) for key, item in found.items() if item.is_sweep_override()}
    fixed = [str(item.input_line) for key, item in found.items() if key not in choices and key != "hydra.mode"]
    rows = min(MOST, max(map(len, choices.values()), default=1))
    return [
        [*fixed, *(f"{key}={values[min(row, len(values) - 1)]}" for key, values in choices.items() if values)]
        for row in range(rows)
    ]


def _values(item: Override) -> list[str]:
    value: Any = item.value()
    if isinstance(value, IntervalSweep):
        return [str(value.start)]
    values = list(item.sweep_string_iterator())
    seeds = is_seed(item.get_key_element().lstrip("+")) and all(value.lstrip("-").isdigit() for value in values)
    return values[:1] if seeds else values
