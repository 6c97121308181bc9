"""Choose a few jobs of a sweep that contain every value of every swept setting, except seeds."""

from collections.abc import Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from headstart.settings.effects import is_seed

MOST = 20  # jobs; of a longer list, only the first values are used


def settings_of(config: DictConfig, typed: Sequence[str], loader: ConfigLoader | None = None) -> dict[str, Override]:
    """Return the settings of a sweep by key: from its config file, overridden by the ``typed`` ones.

    Raises HydraException for text that is no setting.
    """
    params = OmegaConf.select(config, "hydra.sweeper.params") or {}
    lines = [*(f"{name}={value}" for name, value in params.items()), *typed]
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(lines)
    return {item.get_key_element(): item for item in parsed}


def sample_jobs(config: DictConfig, typed: Sequence[str], loader: ConfigLoader) -> list[list[str]]:
    """Return the settings of as many jobs as the longest list has values, at most ``MOST``; each job is a list.

    Each value is in at least one job. Of seeds one is enough, because the checks do not depend on the seed. Text that
    is no setting gives no jobs; the sweeper reports it.
    """
    try:
        found = settings_of(config, typed, loader)
    except HydraException:
        return []
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
