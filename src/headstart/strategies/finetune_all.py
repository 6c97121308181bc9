"""Fine-tune every layer."""

from headstart.strategies.strategy import Strategy


class FinetuneAll(Strategy):
    """Pretrained start; every stage trained, in conf/strategy at a tenth of the head's learning rate."""

    def trained_stages(self) -> list[str]:
        """All of them."""
        return self.backbone.stage_names
