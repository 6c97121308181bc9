"""Use only the lower stages of a network, for targets unlike the source.

Upper stages are specific to the source; a new head on lower ones may fit better.

Command: headstart train strategy=truncate strategy.stages=3
Measured: 39.9 ± 4.5 % on 15-Scene, 25 labels a class, EfficientNet-Lite0 at 128 px, test accuracy over 3 seeds, three
  of five stages (docs/strategies.md).
Fails: on targets like the source, as the removed stages held most of what was learned.
"""

from typing import Any

from headstart.backbones import Backbone, truncated
from headstart.strategies.names import check_count
from headstart.strategies.surgical import Surgical


class Truncate(Surgical):
    """The lowest ``stages`` stages, an average over the image, and a new head; the upper stages are removed.

    ``train_stages`` chooses which of the kept stages are trained, by default all.
    """

    def __init__(self, backbone: Backbone, *args: Any, stages: int = 3, **kwargs: Any) -> None:
        names = backbone.stage_names
        count = check_count("strategy.stages", stages, 1, len(names), backbone.name, names)
        super().__init__(truncated(backbone, count) if count < len(names) else backbone, *args, **kwargs)
