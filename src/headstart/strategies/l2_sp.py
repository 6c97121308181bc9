"""Fine-tune everything, with a penalty on the distance from the pretrained weights.

Weight decay pulls weights to zero, which forgets the source; this penalty pulls them to their start.

Paper: L2-SP, Li et al. 2018 (arXiv:1802.01483)
Command: headstart train strategy=l2_sp strategy.alpha=0.01
Measured: 84.9 ± 1.4 % on 15-Scene, 25 labels a class, EfficientNet-Lite0 at 128 px, test accuracy over 3 seeds;
  finetune_all has 84.6 (docs/strategies.md).
Fails: to change much at a low rate, where weights stay near their start anyway.
"""

from typing import Any

import torch
from torch import Tensor

from headstart.settings.leaf_table import check_parameters
from headstart.strategies.finetune_all import FinetuneAll


class L2SP(FinetuneAll):
    """Fine-tuning with weight decay towards the start: L2-SP (Li et al. 2018, arXiv:1802.01483, eq. 4 and 5).

    The loss gains ``alpha / 2`` times the squared distance of the backbone's weights from their start, and
    ``beta / 2`` times the squared norm of the head's weights, except a cosine head's scale. Weight decay is 0.
    """

    def __init__(self, *args: Any, alpha: float = 0.01, beta: float = 0.01, **kwargs: Any) -> None:
        check_parameters("strategy", locals())
        super().__init__(*args, **kwargs)
        self.alpha, self.beta = float(alpha), float(beta)
        # Copied here, not at the first step, so that a resumed run has the same start.
        for number, parameter in enumerate(self.backbone.parameters()):
            self.register_buffer(f"start{number}", parameter.detach().clone(), persistent=False)

    def decay(self) -> float:
        """Return 0, as the penalty replaces weight decay."""
        return 0.0

    def penalty(self) -> Tensor:
        """Return the penalty, equation 5 of the paper."""
        moved = [p - getattr(self, f"start{number}") for number, p in enumerate(self.backbone.parameters())]
        head: list[Tensor] = [p for p in self.head.parameters() if p.ndim]
        return 0.5 * self.alpha * _squares(moved) + 0.5 * self.beta * _squares(head)


def _squares(tensors: list[Tensor]) -> Tensor:
    return torch.stack(torch._foreach_norm(tensors)).square().sum()
