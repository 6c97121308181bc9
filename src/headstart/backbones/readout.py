"""Choose where features are read: at the top of a backbone, at a lower stage, or at several stages."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from headstart.backbones.backbone import Backbone
from headstart.backbones.weights import read_tensors
from headstart.errors import ConfigError, nearest
from headstart.settings.leaf_table import check_parameters, check_setting

BOTTLENECK = "bottleneck"
# The layer of an autoencoder in a checkpoint of its pretraining, or in one of a run that read it as a stage, where an
# adapter may follow it.
IN_CHECKPOINTS = re.compile(r"(head|.*\bstages\.bottleneck(\.block)?)\.bottleneck\.weight")


class Pool(nn.Module):
    """Pool a map to one vector per image; vectors are left unchanged.

    ``kind`` is "avg", "max", "avgmax" (both, concatenated) or "gem": the generalised mean ``mean(max(x, 0)^p)^(1/p)``,
    between average (p = 1) and maximum (Radenovic et al. 2018, arXiv:1711.02512, eq. 3). A map is (N, C, H, W), or (N,
    H, W, C) with ``channels_last_dim``, or tokens (N, T, C).
    """

    def __init__(self, kind: str, channels_last_dim: bool = False, gem_p: float = 3.0) -> None:
        super().__init__()
        check_parameters("head", {"pooling": kind, "gem_p": gem_p})
        self.kind, self.channels_last_dim, self.gem_p = kind, channels_last_dim, float(gem_p)

    def extra_repr(self) -> str:
        """Return the settings, for print and for the key of cached features."""
        return f"{self.kind}, channels_last_dim={self.channels_last_dim}, gem_p={self.gem_p}"

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W), (N, H, W, C), (N, T, C) or (N, D) to (N, D)."""
        if x.ndim == 2:
            return x
        space = (2, 3) if x.ndim == 4 and not self.channels_last_dim else tuple(range(1, x.ndim - 1))
        if self.kind == "avg":
            return x.mean(dim=space)
        if self.kind == "max":
            return x.amax(dim=space)
        if self.kind == "avgmax":
            return torch.cat([x.mean(dim=space), x.amax(dim=space)], dim=1)
        return x.clamp(min=1e-6).pow(self.gem_p).mean(dim=space).pow(1 / self.gem_p)


class Joined(nn.Module):
    """Concatenate the pooled outputs of several stages: a hypercolumn (arXiv:1411.5752)."""

    def __init__(self, pools: Sequence[nn.Module]) -> None:
        super().__init__()
        self.pools = nn.ModuleList(pools)

    def forward(self, *maps: Tensor) -> Tensor:
        """Map one map per pool to (N, sum of their D)."""
        return torch.cat([pool(x) for pool, x in zip(self.pools, maps, strict=True)], dim=1)


def read_from(
    backbone: Backbone, stages: Sequence[str] | None = None, pooling: str | None = None, gem_p: float = 3.0
) -> Backbone:
    """Return the same network with features read from these stages, without the stages above them.

    ``stages`` None means the last stage. ``pooling`` None means the backbone's own pooling at the last stage, and the
    average elsewhere. The stage "bottleneck" is that of an autoencoder, if the weights come from one. Raises
    ConfigError for an unknown stage, and for a pooling where there is nothing to pool.
    """
    check_setting("head.stages", stages)
    top, own_pool = backbone.stage_names[-1], backbone.pool
    if stages is not None and BOTTLENECK in stages and top != BOTTLENECK:
        backbone = with_bottleneck(backbone)
    names = backbone.stage_names
    if stages is None:
        chosen = [names[-1]]
    else:
        for name in stages:
            if name not in names:
                raise ConfigError(f"head.stages: {backbone.name} has no stage '{name}'.{nearest(name, names)}")
        chosen = [name for name in names if name in stages]  # in the order of the network
    if pooling is None and chosen == [names[-1]]:
        return backbone
    taps = [names.index(name) for name in chosen]
    shapes = backbone.output_shapes()
    if pooling is not None and all(len(shapes[tap]) == 1 for tap in taps):
        raise ConfigError(
            f"head.pooling={pooling}: {backbone.name} already gives a vector there; set it to null, or read a lower"
            " stage with head.stages."
        )
    pools: list[nn.Module] = []
    for tap in taps:
        own = pooling is None and names[tap] == top
        pools.append(own_pool if own else Pool(pooling or "avg", channels_last_dim(shapes[tap]), gem_p))
    kept = [(name, backbone.stages[name]) for name in names[: taps[-1] + 1]]
    pool = pools[0] if len(pools) == 1 else Joined(pools)
    return Backbone(backbone.name, kept, pool, backbone.preprocessing, backbone.weights, taps, backbone.signature)


def truncated(backbone: Backbone, count: int) -> Backbone:
    """Return the lowest ``count`` stages, with their map averaged to a vector."""
    return read_from(backbone, [backbone.stage_names[count - 1]])


def channels_last_dim(shape: Sequence[int]) -> bool:
    """Return whether a square map (a, b, c) is (H, W, C): a equals b, but not c."""
    return len(shape) == 3 and shape[0] == shape[1] != shape[2]


class MapRows(nn.Module):
    """Lay the maps of several stages side by side in one row per image, without pooling.

    ``shapes`` are those of the stages' outputs, without the batch: (C, H, W), (H, W, C), or tokens (T, C) of a square
    grid, which may follow one class token. ``maps`` are the same as (C, H, W).
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]]) -> None:
        super().__init__()
        self.shapes = [tuple(shape) for shape in shapes]
        self.maps = [map_shape(shape) for shape in self.shapes]

    def extra_repr(self) -> str:
        """Return the shapes, for print and for the key of cached features."""
        return f"{self.shapes}"

    def forward(self, *outputs: Tensor) -> Tensor:
        """Return rows (N, sum of C H W) of the outputs of the stages."""
        rows = [self._as_map(x, shape) for x, shape in zip(outputs, self.maps, strict=True)]
        return torch.cat([x.flatten(1) for x in rows], dim=1)

    @staticmethod
    def _as_map(x: Tensor, shape: tuple[int, int, int] | None) -> Tensor:
        """Return an output as (N, C, H, W)."""
        assert shape is not None
        _, height, width = shape
        if x.ndim == 3:  # tokens: the class token comes first
            return x[:, x.shape[1] - height * width :].transpose(1, 2).unflatten(2, (height, width))
        return x.permute(0, 3, 1, 2) if channels_last_dim(x.shape[1:]) else x


def map_shape(shape: Sequence[int]) -> tuple[int, int, int] | None:
    """Return the shape (C, H, W) of a stage's output read as a map; None for a vector or tokens without a grid."""
    if len(shape) == 3:
        a, b, c = shape
        return (c, a, b) if channels_last_dim(shape) else (a, b, c)
    if len(shape) != 2:
        return None
    tokens, channels = shape
    for side in (math.isqrt(tokens), math.isqrt(tokens - 1)):
        if side > 1 and side * side in (tokens, tokens - 1):
            return channels, side, side
    return None


class BottleneckStage(nn.Module):
    """The narrow layer of an autoencoder as a stage: map the map of the last stage to vectors (N, D)."""

    def __init__(self, shape: tuple[int, ...], weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.rows = MapRows([shape])
        self.bottleneck = nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0])
        with torch.no_grad():
            self.bottleneck.weight.copy_(weight)
            self.bottleneck.bias.copy_(bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return vectors (N, D)."""
        vectors: Tensor = self.bottleneck(self.rows(x))
        return vectors


def bottleneck_in(tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor] | None:
    """Return weight (D, K) and bias (D,) of an autoencoder's bottleneck in a checkpoint; None if it has none."""
    for name, weight in tensors.items():
        bias = tensors.get(name.removesuffix("weight") + "bias")
        if IN_CHECKPOINTS.fullmatch(name) and weight.ndim == 2 and bias is not None and bias.shape == weight.shape[:1]:
            return weight, bias
    return None


def with_bottleneck(backbone: Backbone) -> Backbone:
    """Return the network with the bottleneck that came with its weights as last stage. Raises ConfigError without."""
    source, size, top = backbone.weights.source, backbone.preprocessing.image_size, backbone.stage_names[-1]
    found = backbone.bottleneck
    if found is None and source is not None and Path(source).is_file():
        found = next(filter(None, map(bottleneck_in, read_tensors(Path(source)).values())), None)
    if found is None:
        raise ConfigError(
            f"head.stages: only weights of objective=autoencoder bring a bottleneck, and those of {backbone.name}"
            f" ({backbone.weights.name or 'random'}) do not; choose from {', '.join(backbone.stage_names)}."
        )
    shape = backbone.output_shapes()[-1]
    if map_shape(shape) is None or math.prod(map_shape(shape) or ()) != found[0].shape[1]:
        raise ConfigError(
            f"head.stages: the bottleneck of these weights reads {found[0].shape[1]} numbers, and {top} of"
            f" {backbone.name} does not give as many at {size} x {size} pixels; use the dataset.image_size of its"
            " pretraining."
        )
    stages = [*backbone.stages.items(), (BOTTLENECK, BottleneckStage(shape, *found))]
    parts = backbone.preprocessing, backbone.weights
    return Backbone(backbone.name, stages, Pool("avg"), *parts, signature=backbone.signature)


def read_maps(backbone: Backbone, stages: Sequence[str] | None = None, most: int = 4) -> Backbone:
    """Return the same network with the maps of these stages in one row, without the stages above them.

    ``stages`` None means the last stage of each of the last ``most`` strides. The new ``pool`` is a ``MapRows``. Raises
    ConfigError for an unknown stage, and for one without a map.
    """
    check_setting("head.stages", stages)
    names, shapes = backbone.stage_names, backbone.output_shapes()
    maps = dict(zip(names, map(map_shape, shapes), strict=True))
    if stages is None:
        last = {shape[1:]: name for name, shape in maps.items() if shape is not None}  # a later stage of a stride wins
        if not last:
            raise ConfigError(f"{backbone.name} gives no map in any stage: choose another backbone.")
        chosen = list(last.values())[-most:]
    else:
        for name in stages:
            if name not in names:
                raise ConfigError(f"head.stages: {backbone.name} has no stage '{name}'.{nearest(name, names)}")
            if maps[name] is None:
                with_maps = [one for one in names if maps[one] is not None]
                raise ConfigError(
                    f"head.stages: {name} of {backbone.name} gives no map for each place of an image; choose some of"
                    f" {', '.join(with_maps)}."
                )
        chosen = [name for name in names if name in stages]  # in the order of the network
    taps = [names.index(name) for name in chosen]
    kept = [(name, backbone.stages[name]) for name in names[: taps[-1] + 1]]
    pool = MapRows([shapes[tap] for tap in taps])
    return Backbone(backbone.name, kept, pool, backbone.preprocessing, backbone.weights, taps, backbone.signature)
