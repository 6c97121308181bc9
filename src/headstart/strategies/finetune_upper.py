"""Fine-tune the layers near the output."""

from headstart.strategies.finetune_some import FinetuneSome


class FinetuneUpper(FinetuneSome):
    """The head and the highest stages trained, the lower ones frozen."""

    def trained_stages(self) -> list[str]:
        """The highest ones."""
        return self.backbone.stage_names[-self.count :]
