"""What fine-tuning the lower and the upper stages have in common: how many."""

from typing import Any

from headstart.backbones import Backbone
from headstart.errors import ConfigError
from headstart.strategies.strategy import Strategy


class FinetuneSome(Strategy):
    """Pretrained start; the head and ``stages`` stages at one end trained, the others frozen."""

    def __init__(self, backbone: Backbone, *args: Any, stages: int = 2, **kwargs: Any) -> None:
        most = len(backbone.stage_names) - 1
        if isinstance(stages, bool) or not isinstance(stages, int) or not 1 <= stages <= most:
            raise ConfigError(
                f"strategy.stages={stages}: {backbone.name} has {most + 1} stages"
                f" ({', '.join(backbone.stage_names)}), so expected 1 to {most}; for all of them use finetune_all."
            )
        self.count = stages
        super().__init__(backbone, *args, **kwargs)
