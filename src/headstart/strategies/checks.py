"""Settings that have to be numbers or names: one sentence each where they are not."""

from collections.abc import Sequence
from typing import Any

from headstart.errors import ConfigError
from headstart.settings.rules import LARGEST, SMALLEST_RATE, is_number


def above_zero(key: str, value: object) -> float:
    """The value as a float; raises ConfigError if it is no number above 0."""
    if not is_number(value) or not value > 0:  # type: ignore[operator]
        raise ConfigError(f"{key}={value}: expected a number above 0.")
    return float(value)  # type: ignore[arg-type]


def usable_rate(whose: str, rate: float) -> float:
    """Return the rate that several settings lead to; raises ConfigError if float32 holds it as 0 or infinity."""
    if not SMALLEST_RATE <= rate <= LARGEST:
        raise ConfigError(
            f"The learning rate of {whose} comes to {rate:g}, by optimizer.lr, strategy.head_lr_multiplier and other"
            " factors: expected a number above 0 that float32 can hold."
        )
    return rate


def numbers_above_zero(key: str, values: object) -> list[float]:
    """One number or several, as a list; raises ConfigError unless there is one and all are above 0."""
    listed = _listed(values)
    if not listed or any(not is_number(value) or not value > 0 for value in listed):
        raise ConfigError(f"{key}={values}: expected one or more numbers above 0.")
    return [float(value) for value in listed]


def shares(key: str, values: object) -> list[float]:
    """One share or several, from 0 to 1, as a list; raises ConfigError."""
    listed = _listed(values)
    if not listed or any(not is_number(value) or not 0 <= value <= 1 for value in listed):
        raise ConfigError(f"{key}={values}: expected one or more shares from 0 to 1.")
    return [float(value) for value in listed]


def counts(key: str, values: object) -> list[int]:
    """One whole number or several, as a list; raises ConfigError unless there is one and all are above 0."""
    listed = _listed(values)
    if not listed or any(isinstance(value, bool) or not isinstance(value, int) or value < 1 for value in listed):
        raise ConfigError(f"{key}={values}: expected one or more whole numbers above 0.")
    return [int(value) for value in listed]


def count(key: str, value: object, hint: str = "") -> int:
    """The value, if it is a whole number above 0; raises ConfigError, with a hint at its end."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{key}={value}: expected a whole number above 0{hint}.")
    return value


def names(key: str, values: object) -> list[str]:
    """One name or several, as a list, which may be empty; raises ConfigError."""
    listed = _listed(values)
    if any(not isinstance(value, str) for value in listed):
        raise ConfigError(f"{key}={values}: expected names in brackets, as in [stage2,stage3].")
    return [str(value) for value in listed]


def _listed(values: object) -> list[Any]:
    return list(values) if isinstance(values, Sequence) and not isinstance(values, str) else [values]
