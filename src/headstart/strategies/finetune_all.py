"""Fine-tune every layer, the backbone at a tenth of the head's rate.

Pretrained features are a good start, so they move slowly while the new head learns.

Paper: Yosinski et al. 2014 (arXiv:1411.1792)
Command: headstart train strategy=finetune_all
Measured: 84.6 ± 1.6 % on 15-Scene, 25 labels a class, EfficientNet-Lite0 at 128 px, test accuracy over 3 seeds;
  linear_probe has 84.3 (docs/strategies.md).
Fails: with batch_norm=update and few labels (74.4 %): statistics of a few batches replace those that fit the weights.
"""

from typing import Any

from headstart.strategies.steps import GradientStrategy


class FinetuneAll(GradientStrategy):
    """Train every stage of a pretrained network, by default at a tenth of the head's learning rate."""

    def __init__(self, *args: Any, head_lr_multiplier: float = 10.0, **kwargs: Any) -> None:
        kwargs["head_lr_multiplier"] = head_lr_multiplier
        super().__init__(*args, **kwargs)

    def trained_stages(self) -> list[str]:
        """Return all stages."""
        return self.backbone.stage_names
