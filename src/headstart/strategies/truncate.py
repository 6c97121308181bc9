"""Use only the lower stages of a network, for targets unlike the source.

Upper stages are specific to the source; a new head on lower ones may fit better.

Command: headstart train strategy=truncate strategy.stages=3
Measured: 39.9 ± 4.5 % on 15-Scene, 25 labels a class, EfficientNet-Lite0 at 128 px, test accuracy over 3 seeds, three
  of five stages (docs/strategies.md).
Fails: on targets like the source: the thrown-away stages held most of what was learned.
"""

from typing import Any

from headstart.backbones import Backbone, truncated
from headstart.strategies.names import check_count
from headstart.strategies.surgical import Surgical


class Truncate(Surgical):
    """The lowest ``stages`` stages, averaged over the image, and a new head; what is above is thrown away.

    Of what is left, ``train_stages`` says what is trained: all by default.
    """

    def __init__(self, backbone: Backbone, *args: Any, stages: int = 3, **kwargs: Any) -> None:
        names = backbone.stage_names
        count = check_count("strategy.stages", stages, 1, len(names), backbone.name, names)
        super().__init__(truncated(backbone, count) if count < len(names) else backbone, *args, **kwargs)
