"""Everything from random weights: what the others are measured against."""

from headstart.strategies.strategy import Strategy


class Scratch(Strategy):
    """Random start; every stage and the head trained at the same rate."""

    pretrained = False

    def trained_stages(self) -> list[str]:
        """All of them."""
        return self.backbone.stage_names
