"""Read and write a learned policy: sub-policies of steps, each a choice of operations with chances and magnitudes.

::

    {"schema": 1,
     "sub_policies": [
       [                                                                            one sub-policy: its steps
         [                                                                          one step: its choices
           {"operation": "rotate", "weight": 0.9, "probability": 0.8, "magnitude": 20.0, "spread": 6.0},
           {"operation": "identity", "weight": 0.1, "probability": 1.0}
         ],
         [{"operation": "brightness", "weight": 1.0, "probability": 0.9, "magnitude": 0.5, "spread": 0.1}]
       ]
     ],
     "provenance": {"seed": 0, "...": "..."}}

Each image goes through one sub-policy, drawn uniformly. Each step draws one operation by weight and applies it with its
probability. Magnitudes have the physical units of ``headstart.augmentations.learned.relaxed`` and are drawn uniformly
from magnitude - spread to magnitude + spread. Rotations, shears and translations get a random sign.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.augmentations.learned.relaxed import OPERATIONS, RANGES
from headstart.errors import ConfigError, nearest
from headstart.files import expanded, write_atomically
from headstart.settings.leaves import is_number

SCHEMA = 1
GRID = 201  # points that represent a range of magnitudes in tables
KEYS = ("operation", "weight", "probability", "magnitude", "spread")


@dataclass(frozen=True)
class OperationChoice:
    """One operation that a step may take."""

    operation: str
    weight: float = 1.0  # chosen with probability weight / sum of the step's weights
    probability: float = 1.0  # that the chosen operation is applied
    magnitude: float | None = None  # physical; None for an operation without one
    spread: float = 0.0  # half the width of the range of magnitudes


Stage = tuple[OperationChoice, ...]  # the choices of one step
SubPolicy = tuple[Stage, ...]


@dataclass(frozen=True)
class Policy:
    """The content of a policy file."""

    sub_policies: tuple[SubPolicy, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def draw(self, rng: np.random.Generator) -> list[tuple[str, float]]:
        """Draw, for one image, operations and their physical, signed magnitudes in order; 0 for no magnitude."""
        drawn = []
        for choices in self.sub_policies[int(rng.integers(len(self.sub_policies)))]:
            weights = np.array([choice.weight for choice in choices])
            choice = choices[int(rng.choice(len(choices), p=weights / weights.sum()))]
            if choice.operation != "identity" and rng.random() < choice.probability:
                drawn.append((choice.operation, _drawn_magnitude(choice, rng)))
        return drawn

    def use(self) -> dict[str, float]:
        """Return how often each used operation is applied per image, on average, most used first."""
        shares: dict[str, float] = {}
        for sub_policy in self.sub_policies:
            for choices in sub_policy:
                total = sum(choice.weight for choice in choices)
                for choice in choices:
                    share = choice.weight / total * choice.probability / len(self.sub_policies)
                    shares[choice.operation] = shares.get(choice.operation, 0.0) + share
        return dict(sorted(((name, share) for name, share in shares.items() if share > 0), key=lambda pair: -pair[1]))

    def typical(self, operation: str) -> tuple[float, float, float] | None:
        """Return the 5 % quantile, mean and 95 % quantile of the applied magnitudes; None without magnitudes."""
        shares: list[float] = []
        spans: list[NDArray[np.float64]] = []
        for choices in (step for sub_policy in self.sub_policies for step in sub_policy):
            total = sum(choice.weight for choice in choices)
            for choice in choices:
                if choice.operation == operation and choice.magnitude is not None:
                    spans.append(np.linspace(*_bounds(choice), GRID))
                    shares.append(choice.weight / total * choice.probability)
        if not sum(shares):
            return None
        values, weights = np.concatenate(spans), np.repeat(shares, GRID)
        order = values.argsort()
        up_to = weights[order].cumsum() / weights.sum()
        low, high = (float(values[order[int((up_to < share).sum())]]) for share in (0.05, 0.95))
        return low, float(np.average(values, weights=weights)), high


def _bounds(choice: OperationChoice) -> tuple[float, float]:
    """Return the range that the magnitude is drawn from."""
    assert choice.magnitude is not None
    span = RANGES[choice.operation]
    low, high = (choice.magnitude - choice.spread, choice.magnitude + choice.spread)
    return max(low, span.least), min(high, span.most)


def _drawn_magnitude(choice: OperationChoice, rng: np.random.Generator) -> float:
    if choice.magnitude is None:
        return 0.0
    value = float(rng.uniform(*_bounds(choice)))
    if RANGES[choice.operation].signed and rng.random() < 0.5:
        return -value
    return value


def write_policy(path: Path, policy: Policy) -> None:
    """Write the policy as JSON, atomically: a reader sees the old file or the new one, complete."""
    content = {
        "schema": SCHEMA,
        "sub_policies": [[[_to_json(one) for one in choices] for choices in steps] for steps in policy.sub_policies],
        "provenance": dict(policy.provenance),
    }
    write_atomically(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def _to_json(choice: OperationChoice) -> dict[str, Any]:
    kept: dict[str, Any] = {key: getattr(choice, key) for key in KEYS}
    if choice.magnitude is None:
        del kept["magnitude"], kept["spread"]
    return kept


def read_policy(path: str | Path) -> Policy:
    """Read and check a policy file. Raises ConfigError with one sentence for an invalid file."""
    file = expanded(str(path))
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else f"{error.strerror}"
        raise ConfigError(
            f"augmentation.policy={path}: {reason}; expected a file that headstart policy wrote."
        ) from error
    except (ValueError, RecursionError) as error:  # not UTF-8, or not JSON
        raise ConfigError(f"augmentation.policy={path}: the file is not valid JSON, so it is no policy.") from error
    try:
        return _checked(content)
    except ConfigError as error:
        raise ConfigError(f"augmentation.policy={path}: {error}") from None


def _checked(content: Any) -> Policy:
    if not isinstance(content, dict) or "sub_policies" not in content:
        raise ConfigError("the file is no policy; expected a file that headstart policy wrote.")
    if content.get("schema") != SCHEMA:
        raise ConfigError(f"schema {content.get('schema')!r} is unknown; expected {SCHEMA}.")
    provenance = content.get("provenance", {})
    if not isinstance(provenance, dict):
        raise ConfigError("provenance must be a mapping.")
    found = _nonempty(content["sub_policies"], "sub_policies")
    return Policy(tuple(_sub_policy(one, f"sub_policies[{i}]") for i, one in enumerate(found)), provenance)


def _sub_policy(content: Any, place: str) -> SubPolicy:
    steps = []
    for number, choices in enumerate(_nonempty(content, place)):
        where = f"{place}[{number}]"
        step = tuple(_choice(one, f"{where}[{i}]") for i, one in enumerate(_nonempty(choices, where)))
        if not sum(choice.weight for choice in step) > 0:
            raise ConfigError(f"{where}: at least one weight must be above 0.")
        steps.append(step)
    return tuple(steps)


def _nonempty(content: Any, place: str) -> list[Any]:
    if not isinstance(content, list) or not content:
        raise ConfigError(f"{place}: expected a list that is not empty.")
    return content


def _choice(content: Any, place: str) -> OperationChoice:
    if not isinstance(content, dict):
        raise ConfigError(f'{place}: expected an operation, as in {{"operation": "rotate", "magnitude": 20}}.')
    for key in content:
        if key not in KEYS:
            raise ConfigError(f"{place}: there is no setting '{key}'.{nearest(key, KEYS)}")
    name = content.get("operation")
    if name not in OPERATIONS:
        raise ConfigError(f"{place}: there is no operation '{name}'.{nearest(name, OPERATIONS)}")
    weight = _number(content.get("weight", 1.0), f"{place}.weight", 0, 1e6)
    probability = _number(content.get("probability", 1.0), f"{place}.probability", 0, 1)
    span = RANGES.get(name)
    if span is None:
        if content.get("magnitude") is not None or content.get("spread"):
            raise ConfigError(f"{place}: {name} has no magnitude and no spread; remove them.")
        return OperationChoice(name, weight, probability)
    magnitude = _number(content.get("magnitude"), f"{place}.magnitude", span.least, span.most)
    spread = _number(content.get("spread", 0.0), f"{place}.spread", 0, span.most)
    return OperationChoice(name, weight, probability, magnitude, spread)


def _number(value: Any, place: str, least: float, most: float) -> float:
    if not is_number(value) or not least <= value <= most:
        raise ConfigError(f"{place}: {value!r} is not a number from {least:g} to {most:g}.")
    return float(value)
