"""Make output layers that give values for each pixel: a linear layer on joined stages, or a decoder."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.backbones import Backbone, MapRows, read_maps
from headstart.errors import ConfigError
from headstart.settings.leaf_table import check_parameters
from headstart.tasks.heads import LinearHead, LinearLayer

GROUP = 8  # channels of each group of GroupNorm


class PixelLayers(nn.Module):
    """Output layers whose input is one row per image, which holds the maps of all stages as ``MapRows`` lays them out.

    ``maps`` are the shapes (C, H, W) of the maps, one for each stage. ``size`` is the side of the outputs in pixels.
    """

    def __init__(self, maps: Sequence[tuple[int, int, int]], size: int) -> None:
        super().__init__()
        self.maps, self.size = list(maps), size

    def split(self, rows: Tensor) -> list[Tensor]:
        """Return the maps (N, C, H, W) of each stage from rows (N, D)."""
        parts = rows.split([channels * height * width for channels, height, width in self.maps], dim=1)
        return [part.unflatten(1, shape) for part, shape in zip(parts, self.maps, strict=True)]

    def forward(self, rows: Tensor) -> Tensor:
        """Return outputs (N, K, size, size) of rows (N, D)."""
        return resized(self.coarse(self.split(rows)), self.size)

    def coarse(self, maps: list[Tensor]) -> Tensor:
        """Return outputs (N, K, H, W) of the size of the finest map."""
        raise NotImplementedError


class DenseLinear(LinearLayer):
    """A linear layer on the channels of all stages, enlarged to the finest map. Outputs have the size of the image.

    Bilinear enlargement and a linear layer on channels commute. So each stage is multiplied by its weights at its own
    size, and then enlarged. ``weight`` is (K, channels of all stages).
    """

    def __init__(self, maps: Sequence[tuple[int, int, int]], size: int, width: int, dropout: float = 0.0) -> None:
        super().__init__(sum(channels for channels, _, _ in maps), width, dropout)
        self.rows = PixelLayers(maps, size)

    def forward(self, rows: Tensor) -> Tensor:
        """Return outputs (N, K, size, size) of rows (N, D)."""
        return resized(self.coarse(self.rows.split(rows)), self.rows.size)

    def coarse(self, maps: list[Tensor]) -> Tensor:
        """Return outputs (N, K, H, W) of the size of the finest map."""
        finest = max(x.shape[-1] for x in maps)
        total = self.bias[:, None, None]
        weights = self.weight.split([x.shape[1] for x in maps], dim=1)
        for x, weight in zip(maps, weights, strict=True):
            x = F.dropout(x, self.dropout, self.training) if self.dropout else x
            total = total + resized(F.conv2d(x, weight[:, :, None, None]), finest)
        return total


class UpconvLayers(PixelLayers):
    """A decoder that starts with the coarsest map. Each step enlarges it, joins the next finer stage and convolves.

    Each convolution has GroupNorm and ReLU. GroupNorm does not depend on the batch, which is small here.
    """

    def __init__(self, maps: Sequence[tuple[int, int, int]], size: int, outputs: int, width: int) -> None:
        super().__init__(maps, size)
        self.order = sorted(range(len(maps)), key=lambda number: maps[number][1])  # the coarsest map first
        self.lateral = nn.ModuleList(nn.Conv2d(maps[number][0], width, 1) for number in self.order)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(2 * width if step else width, width, 3, padding=1, bias=False),
                nn.GroupNorm(width // GROUP, width),
                nn.ReLU(),
            )
            for step in range(len(maps))
        )
        self.output = nn.Conv2d(width, outputs, 1)

    def coarse(self, maps: list[Tensor]) -> Tensor:
        """Return outputs (N, K, H, W) of the size of the finest map."""
        x = None
        for number, lateral, block in zip(self.order, self.lateral, self.blocks, strict=True):
            skip = lateral(maps[number])
            x = block(skip if x is None else torch.cat([resized(x, skip.shape[-1]), skip], dim=1))
        outputs: Tensor = self.output(x)
        return outputs


def resized(x: Tensor, side: int) -> Tensor:
    """Return maps (N, C, H, W) resized to (N, C, side, side) by bilinear interpolation."""
    return x if x.shape[-1] == side else F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)


class DenseHead(LinearHead):
    """Settings of a linear layer on the joined maps of several stages, with outputs for each pixel."""

    by_pixel = True
    inits: tuple[str, ...] = ("default", "zeros", "gaussian")

    def __init__(self, stages: Sequence[str] | None = None, dropout: float = 0.0, init: str = "default") -> None:
        super().__init__(stages=stages, dropout=dropout, init=init)
        self.maps: list[tuple[int, int, int]] = []  # shapes (C, H, W) of the maps; ``read`` sets them
        self.size = 0  # side of the image in pixels; ``read`` sets it

    def read(self, backbone: Backbone) -> Backbone:
        """Return the backbone with outputs that are the maps of this head's stages in rows; keep the maps' shapes."""
        read = read_maps(backbone, self.stages)
        assert isinstance(read.pool, MapRows)
        self.maps = [shape for shape in read.pool.maps if shape is not None]
        self.size = read.preprocessing.image_size
        return read

    def _layers(self, feature_dim: int, classes: int) -> nn.Module:
        return DenseLinear(self.maps, self.size, classes, self.dropout)


class UpconvHead(DenseHead):
    """Settings of a light decoder with skip connections (after Ronneberger et al. 2015, arXiv:1505.04597).

    ``width`` is the number of channels in each step.
    """

    kind = "upconv"
    inits = ("default",)

    def __init__(self, stages: Sequence[str] | None = None, width: int = 64) -> None:
        check_parameters("head", locals())
        if width % GROUP:
            raise ConfigError(f"head.width={width}: expected a multiple of {GROUP}, such as 64.")
        super().__init__(stages)
        self.channels = width

    def _layers(self, feature_dim: int, classes: int) -> nn.Module:
        return UpconvLayers(self.maps, self.size, classes, self.channels)


def dense_head(head: LinearHead | None, task: str) -> DenseHead:
    """Return the settings of a head with outputs for each pixel. Raises ConfigError for a head without."""
    if head is None:
        return DenseHead()
    if isinstance(head, DenseHead):
        return head
    if head.kind != "linear":
        raise ConfigError(f"head={head.kind} has one output per image: task={task} needs head=linear or head=upconv.")
    if head.pooling is not None:
        raise ConfigError(f"head.pooling={head.pooling}: task={task} reads maps without pooling; leave it null.")
    if head.init == "class_means":
        raise ConfigError(f"head.init=class_means: task={task} has no class means of images; use head.init=default.")
    return DenseHead(head.stages, head.dropout, head.init)


def check_head_of_images(head: Any, task: str) -> None:
    """Raise ConfigError for a head with outputs for each pixel, as ``task`` needs outputs for whole images."""
    if getattr(head, "by_pixel", False):
        raise ConfigError(f"head={head.kind} has an output for each pixel: use it with task=segmentation, not {task}.")
