"""Check the user's settings for features: the group ``features``."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from headstart.errors import ConfigError
from headstart.files import expanded
from headstart.settings.leaf_table import check_parameters

CGROUP = Path("/sys/fs/cgroup")
_UNITS = {"": 1, "b": 1} | {
    f"{prefix}{unit}".lower(): base**power
    for power, prefix in enumerate("KMGT", start=1)
    for unit, base in (("", 1024), ("B", 1000), ("iB", 1024))
}


@dataclass(frozen=True)
class FeatureSettings:
    """Whether, where and how the output of the frozen stages is cached."""

    enabled: bool = True
    dir: str | None = None
    engine: str = "auto"
    precision: str = "float32"
    views: int | None = None
    memory_limit: int | str = "auto"
    max_size: int | str = "20GB"

    def __post_init__(self) -> None:
        check_parameters("features", vars(self))
        if self.views is not None and not self.enabled:
            raise ConfigError(f"features.views={self.views} needs features.enabled=true.")

    def folder(self, output_dir: object) -> Path:
        """Return the folder of the cache."""
        return expanded(str(self.dir)) if self.dir is not None else Path(str(output_dir)) / ".features"

    def memory_bytes(self) -> int:
        """Return up to how many bytes the features of a split are held in memory."""
        if self.memory_limit == "auto":
            return free_memory() // 4
        return bytes_of(self.memory_limit)

    def max_bytes(self) -> int:
        """Return how many bytes all features together may take on disk."""
        return bytes_of(self.max_size)


def bytes_of(size: int | float | str) -> int:
    """Return a size such as 500000, 2GB or 1.5GiB in bytes."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([A-Za-z]*)\s*", str(size))
    assert found is not None  # FeatureSettings has checked it
    return int(float(found[1]) * _UNITS[found[2].lower()])


def free_memory() -> int:
    """Return the bytes of free memory; half of all memory if the system does not report it."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    try:  # a container may have less than its machine
        limit, used = (int((CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):
        return free
    return max(0, min(free, limit - used))
