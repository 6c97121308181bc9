"""Train small bottlenecks behind frozen blocks.

The network starts unchanged, and each target needs only its own adapters.

Paper: Houlsby et al. 2019 (arXiv:1902.00751); Rebuffi et al. 2018 (arXiv:1803.10082)
Command: headstart train strategy=adapters strategy.reduction=8
Measured: 84.0 ± 0.7 % on 15-Scene, 25 labels a class, EfficientNet-Lite0 at 128 px, test accuracy over 3 seeds, with
  2.9 % of the weights trained (docs/strategies.md).
Fails: it leaves no plain network, because adapters cannot be merged.
"""

from typing import Any

import torch
from torch import Tensor, nn

from headstart.backbones.adapter import AdaptedBlock, Adapter, blocks_of
from headstart.errors import ConfigError
from headstart.seeds import stream
from headstart.settings.leaf_table import check_parameters
from headstart.strategies.surgical import Surgical


class Adapters(Surgical):
    """``x + up(act(down(x)))`` behind every block of the stages in ``train_stages`` (Houlsby et al. 2019,
    arXiv:1902.00751; for convolutional networks Rebuffi et al. 2018, arXiv:1803.10082).

    ``up`` starts from zero, so the network starts unchanged; only adapters and the head are trained. A bottleneck has
    ``max(1, C // reduction)`` units for C channels. A block lies directly in a stage (or in a plain ``nn.Sequential``
    there), has layers with weights and returns one tensor. A stage without blocks gets one adapter behind itself.

    Adapters cannot be merged. best.ckpt holds them as ``....adapter.down.weight`` and so on, and the block before each
    as ``....block....``. It loads into a strategy of the same settings, not into a plain network.
    """

    def __init__(
        self, *args: Any, reduction: int = 8, head_lr_multiplier: float = 1.0, head_seed: int = 0, **kwargs: Any
    ) -> None:
        check_parameters("strategy", locals())
        self.reduction = reduction
        self.seed = stream("adapters", head_seed)
        super().__init__(*args, head_lr_multiplier=head_lr_multiplier, head_seed=head_seed, **kwargs)

    def change_layers(self) -> None:
        """Insert the adapters."""
        stages = self.backbone.stages
        names = self.trained_stages()
        if not names:
            raise ConfigError(
                f"strategy.train_stages=[]: expected one or more of {', '.join(stages)}; for the head alone use"
                " head_only."
            )
        places = [place for name in names for place in blocks_of(stages[name], name) or [name]]
        shapes = self._output_shapes([*names, *places])
        adapted = [place for place in places if place in shapes]
        adapted += [name for name in names if not any(_inside(place, name) for place in adapted)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            for place in adapted:
                parent, _, name = place.rpartition(".")
                adapter = Adapter(shapes[place], self.reduction)
                setattr(stages.get_submodule(parent), name, AdaptedBlock(stages.get_submodule(place), adapter))
        self.adapters = {id(p) for m in stages.modules() if isinstance(m, Adapter) for p in m.parameters()}

    def trains(self, layer: nn.Module, name: str) -> bool:
        """Return whether the parameter belongs to an adapter."""
        return id(getattr(layer, name)) in self.adapters

    def _output_shapes(self, places: list[str]) -> dict[str, tuple[int, ...]]:
        """Return the output shape of each of these modules for one image, if the output is one tensor."""
        shapes: dict[str, tuple[int, ...]] = {}

        def keep(place: str, y: Any) -> None:
            if isinstance(y, Tensor):
                shapes[place] = tuple(y.shape)

        hooks = [
            self.backbone.stages.get_submodule(place).register_forward_hook(
                lambda module, inputs, y, place=place: keep(place, y)
            )
            for place in places
        ]
        self.backbone.output_shapes()
        for hook in hooks:
            hook.remove()
        return shapes


def _inside(place: str, stage: str) -> bool:
    return place == stage or place.startswith(f"{stage}.")
