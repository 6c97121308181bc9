"""Fine-tune chosen stages: any set of them, the lowest, or the highest.

Which stages should be trained depends on how the target differs from the source.

Paper: Lee et al. 2023 (arXiv:2210.11466)
Command: headstart train strategy=surgical 'strategy.train_stages=[stage2]', strategy=finetune_upper strategy.stages=2
Measured: finetune_upper 85.1 ± 1.2 %, finetune_lower 83.9 ± 0.9 %, stage2 alone 83.5 ± 1.1 % on 15-Scene, 25 labels a
  class, EfficientNet-Lite0 at 128 px, test accuracy over 3 seeds (docs/strategies.md).
Fails: to show the gain of lower stages on blurred and noisy images: 66.0 to 68.0 % for single stages, 68.8 % for all.
"""

from collections.abc import Sequence
from typing import Any

from headstart.backbones import Backbone
from headstart.settings.leaf_table import check_parameters
from headstart.settings.leaves import as_list
from headstart.strategies.names import check_count, matching
from headstart.strategies.steps import GradientStrategy


class Surgical(GradientStrategy):
    """Fine-tuning of the head and of the stages that ``train_stages`` names or matches; the others are frozen.

    The best stages depend on how the target differs from the source (Lee et al. 2023, arXiv:2210.11466). Frozen stages
    above a trained one pass gradients through, but do not change.
    """

    def __init__(
        self,
        backbone: Backbone,
        *args: Any,
        train_stages: Sequence[str] = ("*",),
        head_lr_multiplier: float = 10.0,
        **kwargs: Any,
    ) -> None:
        check_parameters("strategy", locals())
        self.train_stages = [str(name) for name in as_list(train_stages)]
        kwargs["head_lr_multiplier"] = head_lr_multiplier
        super().__init__(backbone, *args, **kwargs)

    def trained_stages(self) -> list[str]:
        """Return the stages that ``train_stages`` matches."""
        hits = matching(self.train_stages, self.backbone.stage_names, "strategy.train_stages", self.backbone.name)
        return [name for names in hits for name in names]


class FinetuneSome(Surgical):
    """Fine-tuning of the head and of ``stages`` stages at one end of the network."""

    def __init__(self, backbone: Backbone, *args: Any, stages: int = 2, **kwargs: Any) -> None:
        self.count = stages
        super().__init__(backbone, *args, **kwargs)

    def trained_stages(self) -> list[str]:
        """Return ``stages`` stages at one end."""
        stages, hint = self.backbone.stage_names, "; for all of them use finetune_all"
        check_count("strategy.stages", self.count, 1, len(stages) - 1, self.backbone.name, stages, hint)
        self.train_stages = list(self.choose(stages, self.count))
        return super().trained_stages()

    def choose(self, stages: Sequence[str], count: int) -> Sequence[str]:
        """Return ``count`` of the stages, which are to be trained."""
        raise NotImplementedError


class FinetuneLower(FinetuneSome):
    """Fine-tuning of the head and the lowest stages; the upper ones are frozen."""

    def choose(self, stages: Sequence[str], count: int) -> Sequence[str]:
        """Return the lowest stages."""
        return stages[:count]


class FinetuneUpper(FinetuneSome):
    """Fine-tuning of the head and the highest stages; the lower ones are frozen."""

    def choose(self, stages: Sequence[str], count: int) -> Sequence[str]:
        """Return the highest stages."""
        return stages[len(stages) - count :]
