"""Copy the lower stages, let the others start from random: how transferable is each layer?

With weights of a source A these are the networks AnB and AnB+; with weights of the target B, BnB and BnB+.

Paper: Yosinski et al. 2014 (arXiv:1411.1792)
Command: headstart train strategy=layer_transfer strategy.stages=3 strategy.tuned=true
Measured: AnB+ 49.4 ± 1.5 %, AnB 41.4 ± 0.3 % on 15-Scene, 25 labels a class, EfficientNet-Lite0 at 128 px, test
  accuracy over 3 seeds; scratch has 21.0 (docs/strategies.md).
Fails: as a method: it is an experiment about layers.
"""

from typing import Any

from headstart.backbones import Backbone
from headstart.settings.leaf_table import check_parameters
from headstart.strategies.names import check_count
from headstart.strategies.steps import GradientStrategy
from headstart.strategies.strategy import RANDOM


class LayerTransfer(GradientStrategy):
    """The lowest ``stages`` stages copied, the rest random (Yosinski et al. 2014, arXiv:1411.1792).

    With weights learned on a source A these are the networks AnB (``tuned`` false: the copy is frozen) and AnB+
    (``tuned`` true: it is trained on). With weights learned on the target B itself they are BnB and BnB+, the
    controls. The whole network trains at one rate.
    """

    wants_random = True  # a second backbone, from random weights

    def __init__(
        self,
        backbone: Backbone,
        *args: Any,
        random_backbone: Backbone,
        stages: int = 3,
        tuned: bool = False,
        **kwargs: Any,
    ) -> None:
        names = backbone.stage_names
        check_parameters("strategy", locals())
        count = check_count("strategy.stages", stages, 0, len(names), backbone.name, names)
        self.copied, self.tuned = names[:count], tuned
        for name in names[count:]:
            backbone.stages[name] = random_backbone.stages[name]
        super().__init__(backbone, *args, **kwargs)

    def trained_stages(self) -> list[str]:
        """The random ones, and the copied ones where they are tuned."""
        return [name for name in self.backbone.stage_names if self.tuned or name not in self.copied]

    def started_from(self, stage: str) -> str:
        """The weights for what is copied."""
        return super().started_from(stage) if stage in self.copied else RANDOM
