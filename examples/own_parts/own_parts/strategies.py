"""Train everything but the lowest stages."""

from typing import Any

from headstart.strategies import GradientStrategy


class KeepLowest(GradientStrategy):
    """Fine-tuning of the head and of all stages but the ``keep`` lowest, which are frozen."""

    def __init__(self, *args: Any, keep: int = 1, **kwargs: Any) -> None:
        self.keep = keep
        super().__init__(*args, **kwargs)

    def trained_stages(self) -> list[str]:
        """Return the names of the stages to train."""
        return self.backbone.stage_names[self.keep :]
