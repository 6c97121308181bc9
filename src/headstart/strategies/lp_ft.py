"""Fit a linear probe, then fine-tune everything with the probe's head.

A random head distorts good features while it learns; the probe's head does not.

Paper: LP-FT, Kumar et al. 2022 (arXiv:2202.10054)
Command: headstart train strategy=lp_ft
Measured: 84.1 ± 2.4 % on 15-Scene, 25 labels a class, EfficientNet-Lite0 at 128 px, test accuracy over 3 seeds; with
  80 labels a class 89.6 ± 0.6 %, linear_probe 87.7 (docs/strategies.md).
Fails: to help on shifted test images here: 40.2 ± 4.0 %, finetune_all 46.6 ± 3.0 %.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from headstart.backbones import Backbone
from headstart.settings.leaf_table import check_parameters
from headstart.settings.leaves import as_list
from headstart.solvers.features import Features
from headstart.strategies.finetune_all import FinetuneAll
from headstart.strategies.linear_head import check_linear_head
from headstart.strategies.linear_probe import STRENGTHS
from headstart.tasks import Task
from headstart.tasks.heads import put_linear


class LpFt(FinetuneAll):
    """Fine-tuning of everything that starts with a probe's head: LP-FT (Kumar et al. 2022, arXiv:2202.10054).

    All rates are ``lr_factor`` times the optimizer's, unless ``lr`` is given, because the head is already trained.
    ``l2`` lists the strengths that the probe tries.
    """

    def __init__(
        self,
        backbone: Backbone,
        task: Task,
        optimizer: Callable[..., torch.optim.Optimizer],
        *args: Any,
        l2: Sequence[float] = STRENGTHS,
        lr: float | str | None = None,
        lr_factor: float = 0.1,
        head_lr_multiplier: float = 1.0,
        **kwargs: Any,
    ) -> None:
        check_parameters("strategy", locals())
        check_linear_head(task, f"strategy={self.config_name()}")
        own = getattr(optimizer, "keywords", {}).get("lr")
        if lr is None and own is not None:
            lr = own * lr_factor
        kwargs |= {"lr": lr, "head_lr_multiplier": head_lr_multiplier}
        super().__init__(backbone, task, optimizer, *args, **kwargs)
        self.strengths = [float(strength) for strength in as_list(l2)]

    @property
    def wants_start_features(self) -> bool:
        """Return True, as the probe is fitted on features."""
        return True

    def head_started_from(self) -> str:
        """Return "linear probe"."""
        return "linear probe"

    def start_head(self, train: Features, validation: Callable[[], Features]) -> None:
        """Fit the probe and copy its weights into the head."""
        probe = self.task.fit_probe(train, validation(), self.strengths)
        put_linear(self.head, probe.weight, probe.bias)
        self.selected["l2"] = probe.scores["l2"]
        name = self.task.primary
        self.selected[f"probe_validation_{name}"] = probe.scores[f"validation/{name}"]

    def choices(self, tried: int) -> dict[str, int]:
        """Add the strength of the probe."""
        return super().choices(tried) | {"l2": len(self.strengths)}

    def describe_choice(self, number: int, row: dict[str, float], tried: int) -> str:
        """Add the strength of the probe."""
        count = len(self.strengths)
        probe = f"; l2 {self.selected['l2']:g} of the probe, the best of {count}" if count > 1 else ""
        return f"{super().describe_choice(number, row, tried)}{probe}"
