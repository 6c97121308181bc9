"""Train small bottlenecks between blocks that stay as they are."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from headstart.backbones.readout import channels_last_dim
from headstart.errors import ConfigError
from headstart.seeds import stream
from headstart.strategies.checks import count
from headstart.strategies.surgical import Surgical


class Adapters(Surgical):
    """``x + up(act(down(x)))`` behind every block of the stages in ``train_stages`` (Houlsby et al. 2019,
    arXiv:1902.00751; for convolutional networks Rebuffi et al. 2018, arXiv:1803.10082).

    ``up`` starts from zero, so the network starts as it was; only adapters and the head are trained. A bottleneck has
    ``max(1, C // reduction)`` units for C channels. A block has weights in layers of its own, lies directly in a stage
    (or in a plain ``nn.Sequential`` there) and gives one tensor; a stage without blocks gets one adapter behind itself.

    Adapters cannot be merged, so they stay: best.ckpt holds them as ``....adapter.down.weight`` and so on, and the
    block before each as ``....block....``. It loads into a strategy of the same settings, not into a plain network.
    """

    def __init__(self, *args: Any, reduction: int = 8, head_seed: int = 0, **kwargs: Any) -> None:
        self.reduction = count("strategy.reduction", reduction, ", such as 8")
        self.seed = stream("adapters", head_seed)
        super().__init__(*args, head_seed=head_seed, **kwargs)

    def change_layers(self) -> None:
        """Put in the adapters."""
        stages = self.backbone.stages
        names = self.trained_stages()
        if not names:
            raise ConfigError(
                f"strategy.train_stages=[]: expected one or more of {', '.join(stages)}; for the head alone use"
                " head_only."
            )
        places = [place for name in names for place in _blocks(stages[name], name) or [name]]
        shapes = self._output_shapes([*names, *places])
        adapted = [place for place in places if place in shapes]
        adapted += [name for name in names if not any(_inside(place, name) for place in adapted)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            for place in adapted:
                where, _, name = place.rpartition(".")
                adapter = Adapter(shapes[place], self.reduction)
                setattr(stages.get_submodule(where), name, Adapted(stages.get_submodule(place), adapter))
        self.adapters = {id(p) for m in stages.modules() if isinstance(m, Adapter) for p in m.parameters()}

    def trains(self, layer: nn.Module, name: str) -> bool:
        """The adapters."""
        return id(getattr(layer, name)) in self.adapters

    def _output_shapes(self, places: list[str]) -> dict[str, tuple[int, ...]]:
        """What each of these modules gives for one image, where that is one tensor."""
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


class Adapter(nn.Module):
    """A bottleneck with a way around it, for outputs of the given shape.

    (N, C, H, W): 1x1 convolutions. (N, T, C), (N, C), and (N, H, W, C) of a square image: linear on the last axis.
    """

    def __init__(self, shape: tuple[int, ...], reduction: int) -> None:
        super().__init__()
        is_map = len(shape) == 4 and not channels_last_dim(shape[1:])
        width = shape[1] if is_map else shape[-1]
        narrow = max(1, width // reduction)
        self.down = nn.Conv2d(width, narrow, 1) if is_map else nn.Linear(width, narrow)
        self.act = nn.GELU()
        self.up = nn.Conv2d(narrow, width, 1) if is_map else nn.Linear(narrow, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """To the same shape."""
        return x + self.up(self.act(self.down(x)))


class Adapted(nn.Module):
    """A block and the adapter behind it."""

    def __init__(self, block: nn.Module, adapter: Adapter) -> None:
        super().__init__()
        self.block, self.adapter = block, adapter

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Whatever the block takes, to what it gives, adapted."""
        return self.adapter(self.block(*args, **kwargs))


def _blocks(stage: nn.Module, name: str) -> list[str]:
    """Where the blocks of a stage are."""
    if isinstance(stage, fx.GraphModule):
        targets = dict.fromkeys(str(node.target) for node in stage.graph.nodes if node.op == "call_module")
        return [f"{name}.{target}" for target in targets if _is_block(stage.get_submodule(target))]
    return list(_children(stage, name))


def _children(module: nn.Module, name: str) -> Iterator[str]:
    for key, child in module.named_children():
        inner = list(_children(child, f"{name}.{key}")) if type(child) is nn.Sequential else []
        if inner:
            yield from inner
        elif _is_block(child):
            yield f"{name}.{key}"


def _is_block(module: nn.Module) -> bool:
    return any(True for child in module.children() for _ in child.parameters())


def _inside(place: str, stage: str) -> bool:
    return place == stage or place.startswith(f"{stage}.")
