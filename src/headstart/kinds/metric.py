"""A metric."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A metric: its name, which way is better, its unit."""

    name: str
    higher_is_better: bool
    unit: str

    def text(self, value: float) -> str:
        """Return a value as people read it."""
        return f"{100 * value:.1f} %" if self.unit == "%" else f"{value:.4g} {self.unit}".rstrip()

    @property
    def mode(self) -> str:
        """ "max" or "min"."""
        return "max" if self.higher_is_better else "min"
