"""Train the new output layer by gradient steps."""

from headstart.strategies.strategy import Strategy


class HeadOnly(Strategy):
    """The backbone frozen, the head trained on (augmented) images."""

    def trained_stages(self) -> list[str]:
        """None."""
        return []
