"""Fine-tune everything, with a pull towards the start.

Weight decay pulls to zero, which forgets the source; here it pulls to the pretrained weights.

Paper: L2-SP, Li et al. 2018 (arXiv:1802.01483)
Command: headstart train strategy=l2_sp strategy.alpha=0.01
Measured: 84.9 ± 1.4 % on 15-Scene, 25 labels a class, EfficientNet-Lite0 at 128 px, test accuracy over 3 seeds;
  finetune_all has 84.6 (docs/strategies.md).
Fails: to change much where the rate is low: weights hardly leave their start anyway.
"""

from typing import Any

import torch
from torch import Tensor

from headstart.settings.leaf_table import check_parameters
from headstart.strategies.finetune_all import FinetuneAll


class L2SP(FinetuneAll):
    """The start is what weight decay pulls to: L2-SP (Li et al. 2018, arXiv:1802.01483, eq. 4 and 5).

    Added to the loss are ``alpha / 2`` times the squared distance of the backbone's weights from where they started,
    and ``beta / 2`` times the squared norm of the head's, a cosine head's scale apart. No weight decay comes on top.
    """

    def __init__(self, *args: Any, alpha: float = 0.01, beta: float = 0.01, **kwargs: Any) -> None:
        check_parameters("strategy", locals())
        super().__init__(*args, **kwargs)
        self.alpha, self.beta = float(alpha), float(beta)
        # Kept from here on, not from the first step: a run that is taken up again has to find the same start.
        for number, parameter in enumerate(self.backbone.parameters()):
            self.register_buffer(f"start{number}", parameter.detach().clone(), persistent=False)

    def decay(self) -> float:
        """The penalty takes its place."""
        return 0.0

    def penalty(self) -> Tensor:
        """Equation 5 of the paper."""
        moved = [p - getattr(self, f"start{number}") for number, p in enumerate(self.backbone.parameters())]
        head: list[Tensor] = [p for p in self.head.parameters() if p.ndim]
        return 0.5 * self.alpha * _squares(moved) + 0.5 * self.beta * _squares(head)


def _squares(tensors: list[Tensor]) -> Tensor:
    return torch.stack(torch._foreach_norm(tensors)).square().sum()
