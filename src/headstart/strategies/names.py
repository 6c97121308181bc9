"""Find stages by name or pattern; a pattern that matches none, or a stage matched twice, is an error."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from headstart.errors import ConfigError, nearest


def matching(patterns: Iterable[str], names: Sequence[str], key: str, network: str) -> list[list[str]]:
    """Return the names that each pattern ("stage2", "stage*") matches, in their order.

    Raises ConfigError if a pattern matches nothing or two patterns match one name; it names the setting ``key``.
    """
    found: list[list[str]] = []
    owner: dict[str, str] = {}
    for pattern in patterns:
        hits = [name for name in names if fnmatchcase(name, str(pattern))]
        if not hits:
            options = ", ".join(names)
            close = nearest(pattern, names)
            close = close if close.startswith(" Did you mean") else ""
            raise ConfigError(f"{key}: '{pattern}' is no stage of {network}, which has {options}.{close}")
        for name in hits:
            if name in owner:
                raise ConfigError(f"{key}: {name} is named twice, by '{owner[name]}' and by '{pattern}'.")
            owner[name] = str(pattern)
        found.append(hits)
    return found


def check_count(
    key: str, count: object, least: int, most: int, network: str, names: Sequence[str], hint: str = ""
) -> int:
    """Return a number of stages; raise ConfigError, with the stages and a hint, if not from ``least`` to ``most``."""
    if isinstance(count, bool) or not isinstance(count, int) or not least <= count <= most:
        raise ConfigError(
            f"{key}={count}: {network} has {len(names)} stages ({', '.join(names)}), so expected {least} to"
            f" {most}{hint}."
        )
    return count
