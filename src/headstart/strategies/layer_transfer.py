"""Copy the lower stages and start the others from random weights, to measure how transferable each layer is.

Paper: Yosinski et al. 2014 (arXiv:1411.1792)
Command: headstart train strategy=layer_transfer strategy.stages=3 strategy.tuned=true
Measured: AnB+ 49.4 ± 1.5 %, AnB 41.4 ± 0.3 % on 15-Scene, 25 labels a class, EfficientNet-Lite0 at 128 px, test
  accuracy over 3 seeds; scratch has 21.0 (docs/strategies.md).
Fails: it is an experiment about layers, not a method for high accuracy.
"""

from typing import Any

from headstart.backbones import Backbone
from headstart.settings.leaf_table import check_parameters
from headstart.strategies.names import check_count
from headstart.strategies.steps import GradientStrategy
from headstart.strategies.strategy import RANDOM


class LayerTransfer(GradientStrategy):
    """The lowest ``stages`` stages copied, the others random (Yosinski et al. 2014, arXiv:1411.1792).

    With weights learned on a source A these are the networks AnB (``tuned`` false: the copy is frozen) and AnB+
    (``tuned`` true: the copy is trained). With weights learned on the target B they are the controls BnB and BnB+.
    The whole network trains at one rate.
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
        """Return the random stages, and with ``tuned`` the copied ones."""
        return [name for name in self.backbone.stage_names if self.tuned or name not in self.copied]

    def started_from(self, stage: str) -> str:
        """Return the source weights for a copied stage, and "random" for the others."""
        return super().started_from(stage) if stage in self.copied else RANDOM
