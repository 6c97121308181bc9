"""Fine-tune the layers near the input."""

from headstart.strategies.finetune_some import FinetuneSome


class FinetuneLower(FinetuneSome):
    """The head and the lowest stages trained, the upper ones frozen: they pass gradients on, but do not change."""

    def trained_stages(self) -> list[str]:
        """The lowest ones."""
        return self.backbone.stage_names[: self.count]
