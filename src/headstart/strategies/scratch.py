"""Train everything from random weights, as a baseline for transfer.

Command: headstart train strategy=scratch
Measured: 21.0 ± 1.2 % on 15-Scene, 25 labels a class, EfficientNet-Lite0 at 128 px, test accuracy over 3 seeds;
  finetune_all has 84.6 (docs/strategies.md).
Fails: with few labels. Batch norm then needs moving statistics, which batch_norm=auto selects.
"""

from headstart.strategies.steps import GradientStrategy


class Scratch(GradientStrategy):
    """Training of every stage and the head from random weights, all at the same rate."""

    pretrained = False

    def trained_stages(self) -> list[str]:
        """Return all stages."""
        return self.backbone.stage_names
