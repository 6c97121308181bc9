"""Train everything from random weights: the baseline of all transfer.

All stages and the head learn at the same rate.

Command: headstart train strategy=scratch
Measured: 21.0 ± 1.2 % on 15-Scene, 25 labels a class, EfficientNet-Lite0 at 128 px, test accuracy over 3 seeds;
  finetune_all has 84.6 (docs/strategies.md).
Fails: with few labels; batch norm then needs moving statistics, which batch_norm=auto gives it.
"""

from headstart.strategies.steps import GradientStrategy


class Scratch(GradientStrategy):
    """Random start; every stage and the head trained at the same rate."""

    pretrained = False

    def trained_stages(self) -> list[str]:
        """All of them."""
        return self.backbone.stage_names
