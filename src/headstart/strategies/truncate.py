"""Use the lower part of a network only, for targets unlike the source."""

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
