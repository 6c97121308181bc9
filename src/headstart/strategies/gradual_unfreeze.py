"""Train the head first; thaw one stage more every few epochs, from the top downward.

Lower stages are general, so they should move last and least.

Paper: ULMFiT, Howard & Ruder 2018 (arXiv:1801.06146)
Command: headstart train strategy=gradual_unfreeze strategy.epochs_per_stage=1
Measured: 84.0 ± 1.0 % on 15-Scene, 25 labels a class, EfficientNet-Lite0 at 128 px, test accuracy over 3 seeds;
  finetune_all has 84.6 (docs/strategies.md).
Fails: where there are fewer epochs than stages: the lowest ones are then never trained, which a warning says.
"""

import logging
from typing import Any

from headstart.backbones import Backbone
from headstart.settings.leaf_table import check_parameters
from headstart.strategies.names import check_count
from headstart.strategies.steps import GradientStrategy

log = logging.getLogger(__name__)


class GradualUnfreeze(GradientStrategy):
    """The head alone at first; every ``epochs_per_stage`` epochs one stage more (ULMFiT, arXiv:1801.06146).

    ``stages`` is how many are thawed at most, all by default. The optimizer knows every stage from the start, and what
    is frozen follows from the number of the epoch alone: so a run that is taken up again goes on as it would have.
    """

    by_stage = True
    in_phases = True

    def __init__(
        self,
        backbone: Backbone,
        *args: Any,
        epochs_per_stage: int = 1,
        stages: int | None = None,
        head_lr_multiplier: float = 10.0,
        **kwargs: Any,
    ) -> None:
        check_parameters("strategy", locals())
        self.epochs_per_stage, self.stages = epochs_per_stage, stages
        kwargs["head_lr_multiplier"] = head_lr_multiplier
        super().__init__(backbone, *args, **kwargs)

    def trained_stages(self) -> list[str]:
        """Those that are thawed in the end."""
        names = self.backbone.stage_names
        wanted = len(names) if self.stages is None else self.stages
        most = check_count("strategy.stages", wanted, 1, len(names), self.backbone.name, names)
        return names[len(names) - most :]

    def trained_since(self, stage: str) -> int:
        """The highest stage thaws first."""
        names = self.backbone.stage_names
        return 1 + self.epochs_per_stage * (len(names) - names.index(stage))

    def frozen_now(self) -> list[str]:
        """All but the highest ones whose turn it was."""
        names = self.backbone.stage_names
        most = len(names) - len(self.plan.frozen_stages)
        thawed = min(most, self.current_epoch // self.epochs_per_stage)
        return names[: len(names) - thawed]

    def open_phase(self) -> None:
        """Thaw what is due."""
        frozen = self.frozen_now()
        for name, stage in self.backbone.stages.items():
            stage.requires_grad_(name not in frozen)

    def on_fit_start(self) -> None:
        """Say which stages will not have their turn."""
        super().on_fit_start()
        epochs = self.trainer.max_epochs or 0
        late = [group.name for group in self.plan.groups if group.since > epochs]
        if late:
            log.warning("%s would thaw only after the last of %d epochs", ", ".join(late), epochs)

    def learning_rates(self, optimizer: Any) -> dict[str, float]:
        """0 for what is frozen."""
        frozen = self.frozen_now()
        return {name: 0.0 if name in frozen else rate for name, rate in super().learning_rates(optimizer).items()}
