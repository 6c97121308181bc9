"""Choose where features are read: at the top of a backbone, at a lower stage, or at several stages."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from headstart.backbones.backbone import Backbone
from headstart.errors import ConfigError, nearest
from headstart.settings.leaf_table import check_parameters, check_setting


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
    average elsewhere. Raises ConfigError for an unknown stage, and for a pooling where there is nothing to pool.
    """
    check_setting("head.stages", stages)
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
        own = pooling is None and tap == len(names) - 1
        pools.append(backbone.pool if own else Pool(pooling or "avg", channels_last_dim(shapes[tap]), gem_p))
    kept = [(name, backbone.stages[name]) for name in names[: taps[-1] + 1]]
    pool = pools[0] if len(pools) == 1 else Joined(pools)
    return Backbone(backbone.name, kept, pool, backbone.preprocessing, backbone.weights, taps, backbone.signature)


def truncated(backbone: Backbone, count: int) -> Backbone:
    """Return the lowest ``count`` stages, with their map averaged to a vector."""
    return read_from(backbone, [backbone.stage_names[count - 1]])


def channels_last_dim(shape: Sequence[int]) -> bool:
    """Return whether a square map (a, b, c) is (H, W, C): a equals b, but not c."""
    return len(shape) == 3 and shape[0] == shape[1] != shape[2]
