"""Fine-tune from a probe, then average the weights before and after fine-tuning.

The average keeps what the pretrained network knew about other images.

Paper: WiSE-FT, Wortsman et al. 2021 (arXiv:2109.01903)
Command: headstart train strategy=wise_ft
Measured: 85.1 ± 1.9 % on 15-Scene, 25 labels a class, EfficientNet-Lite0 at 128 px, test accuracy over 3 seeds; lp_ft
  has 84.1 (docs/strategies.md).
Fails: with few validation images, which choose the mix badly: it was 0.5, 0 and 0.5 for the three seeds.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from headstart.progress import counted_batches
from headstart.settings.leaf_table import check_parameters
from headstart.settings.leaves import as_list
from headstart.solvers.features import Features
from headstart.strategies.lp_ft import LpFt
from headstart.tasks import EpochScores

log = logging.getLogger(__name__)
MIXES = tuple(number / 10 for number in range(11))


class WiseFt(LpFt):
    """LP-FT, then ``(1 - mix) * start + mix * tuned`` for every weight: WiSE-FT (arXiv:2109.01903).

    The start is the pretrained network with the probe's head; the paper uses a zero-shot head. The mix of
    ``mixes_tried`` with the best primary metric on validation is chosen; the lower loss breaks ties.
    """

    def __init__(self, *args: Any, mixes_tried: Sequence[float] = MIXES, **kwargs: Any) -> None:
        check_parameters("strategy", locals())
        self.mixes_tried = [float(mix) for mix in as_list(mixes_tried)]
        super().__init__(*args, **kwargs)
        self._before: dict[str, Tensor] = {}

    def start_head(self, train: Features, validation: Callable[[], Features]) -> None:
        """Copy the start here, because a resumed fit begins with other weights."""
        super().start_head(train, validation)
        self._before = {name: tensor.detach().clone() for name, tensor in self.state_dict().items()}

    def finish(self, trainer: Any, data: Any) -> None:
        """Try every mix on validation and keep the best."""
        after = {name: tensor.detach().clone() for name, tensor in self.state_dict().items()}
        loader = data.val_dataloader(self.batch_norm == "batch")
        device: Any = trainer.strategy.root_device
        self.to(device)
        rows = []
        for number, mix in enumerate(self.mixes_tried, 1):
            self.load_state_dict(mixed(self._before, after, mix))
            what = f"validation of mix {number} of {len(self.mixes_tried)}"
            rows.append({"mix": mix, **self._validated(counted_batches(loader, what), device, trainer)})
        primary, sign = self.task.primary, 1 if self.task.higher_is_better else -1
        best = max(rows, key=lambda row: (sign * row[primary], -row["loss"]))
        self.load_state_dict(mixed(self._before, after, best["mix"]))
        self.selected |= {"mix": best["mix"], "mixes": rows}
        self.selected["metrics"] = {f"validation/{name}": best[name] for name in (primary, "loss")}
        log.info("weights mixed: %g of the tuned network, the best of %d on validation", best["mix"], len(rows))

    def choices(self, tried: int) -> dict[str, int]:
        """Add the mix."""
        return super().choices(tried) | {"mix": len(self.mixes_tried)}

    def describe_choice(self, number: int, row: dict[str, float], tried: int) -> str:
        """Add the mix."""
        count = len(self.mixes_tried)
        mix = f"; mix {self.selected['mix']:g}, the best of {count}" if count > 1 else ""
        return f"{super().describe_choice(number, row, tried)}{mix}"

    @torch.inference_mode()
    def _validated(self, loader: Any, device: torch.device, trainer: Any) -> dict[str, float]:
        self.eval()
        scores = EpochScores(self.task)
        with trainer.precision_plugin.forward_context():
            for batch in loader:
                self.evaluate(batch.to(device), scores)
        return {name: float(value) for name, value in scores.compute().items()}


def mixed(before: dict[str, Tensor], after: dict[str, Tensor], mix: float) -> dict[str, Tensor]:
    """Return weights and statistics between two states of one network; counters are those of ``after``."""
    return {
        name: torch.lerp(before[name], tensor, mix) if tensor.is_floating_point() else tensor
        for name, tensor in after.items()
    }
