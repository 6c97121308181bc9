"""Reconstruct images from a narrow vector between the backbone and a decoder.

With ``noise`` the input is a noisy image (Vincent et al. 2008, denoising autoencoders). With ``masked`` cells of the
input are hidden, and only hidden pixels count (Pathak et al. 2016, arXiv:1604.07379; He et al. 2021, arXiv:2111.06377).

Command: headstart pretrain objective=autoencoder
Fails: where colours and large shapes do not tell classes apart, as these dominate the squared error.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.backbones import Backbone, MapRows, read_maps
from headstart.precision import at_least_single
from headstart.pretraining.objective import Bytes, Display, Draws, Objective, Sample, in_lines
from headstart.settings.leaf_table import check_parameters
from headstart.solvers.pixel_errors import r_squared_of
from headstart.tasks.heads import LinearHead

SMALLEST_MAP = 4  # pixels of a side at the start of the decoder, at least
WIDEST, NARROWEST = 256, 16  # channels of the decoder
GROUP = 8  # channels of a group of GroupNorm


class LastMap(LinearHead):
    """Reads the map of the last stage without pooling, in a row; ``size`` and ``channels`` are those of images."""

    kind = "decoder"

    def read(self, backbone: Backbone) -> Backbone:
        """Return the backbone with the map of its last stage as output, and keep the shape of images."""
        self.size, self.channels = backbone.preprocessing.image_size, backbone.signature.channels
        read = read_maps(backbone, [backbone.stage_names[-1]])
        assert isinstance(read.pool, MapRows)
        return read


class ImageDecoder(nn.Module):
    """Map rows (N, D) to a vector of ``bottleneck`` numbers, and this to images (N, channels, size, size)."""

    def __init__(self, feature_dim: int, bottleneck: int, size: int, channels: int, transposed: bool) -> None:
        super().__init__()
        steps = max(0, int(np.log2(size / SMALLEST_MAP)))
        self.start, self.size = -(-size // 2**steps), size
        widths = [min(WIDEST, NARROWEST * 2**left) for left in range(steps, -1, -1)]
        self.bottleneck = nn.Linear(feature_dim, bottleneck)
        self.grow = nn.Linear(bottleneck, widths[0] * self.start**2)
        self.blocks = nn.Sequential(
            *(_block(before, after, transposed) for before, after in zip(widths, widths[1:], strict=False))
        )
        self.output = nn.Conv2d(widths[-1], channels, 3, padding=1)

    def forward(self, rows: Tensor) -> Tensor:
        """Return images (N, channels, size, size) of rows (N, D)."""
        x = F.relu(self.grow(self.bottleneck(rows))).unflatten(1, (-1, self.start, self.start))
        images: Tensor = self.output(self.blocks(x))
        return images[..., : self.size, : self.size]


def _block(before: int, after: int, transposed: bool) -> nn.Sequential:
    """Return layers that double the side of a map.

    The kernel of a transposed convolution covers some pixels more often than others, which shows as a checkerboard.
    Upsampling and convolution avoid it (Odena et al. 2016, distill.pub/2016/deconv-checkerboard).
    """
    doubling: list[nn.Module] = (
        [nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=1)]
        if transposed
        else [nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, padding=1)]
    )
    return nn.Sequential(*doubling, nn.GroupNorm(after // GROUP, after), nn.ReLU())


class Autoencoder(Objective):
    """Reconstruction of images (N, C, S, S) by squared error.

    Targets are (N, C + 1, S, S): the normalised image, and 1 for the pixels that count. ``noise`` is the deviation of
    the noise, where pixels have a deviation of about 1. ``masked`` is the share of cells of ``cell`` pixels that are
    hidden, which are set to the mean colour.
    """

    kind = "autoencoder"

    def __init__(
        self,
        bottleneck: int = 128,
        decoder: str = "upsampling",
        noise: float = 0.0,
        masked: float = 0.0,
        cell: int = 8,
        head: LinearHead | None = None,
    ) -> None:
        check_parameters("task", locals())
        self._last_map = LastMap()
        super().__init__(head, self._last_map)
        self.bottleneck, self.transposed = bottleneck, decoder == "transposed"
        self.noise, self.masked, self.cell = noise, masked, cell

    def layers(self, feature_dim: int) -> nn.Module:
        """Return the bottleneck and the decoder."""
        settings = self._last_map
        return ImageDecoder(feature_dim, self.bottleneck, settings.size, settings.channels, self.transposed)

    def pose(self, images: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Return damaged images, and the images with the pixels that count."""
        count, _, height, width = images.shape
        inputs, counts = images, torch.ones_like(images[:, :1])
        if self.noise:
            inputs = inputs + self.noise * draws.normal(images)
        if self.masked:
            cells = (count, 1, -(-height // self.cell), -(-width // self.cell))
            hidden = _hidden(draws.uniform(*cells), self.masked)
            large = hidden.repeat_interleave(self.cell, 2).repeat_interleave(self.cell, 3)[..., :height, :width]
            inputs, counts = inputs * ~large, large.to(images.dtype)
        return inputs, torch.cat([images, counts], dim=1)

    def loss(self, outputs: Tensor, targets: Tensor, training: bool = False) -> Tensor:
        """Return the squared error, averaged over the pixels that count of each image, then over images."""
        outputs = at_least_single(outputs)
        images, counts = targets[:, :-1].to(outputs.dtype), targets[:, -1:].to(outputs.dtype)
        errors = ((outputs - images).square() * counts).flatten(1).sum(dim=1)
        return (errors / (counts.flatten(1).sum(dim=1) * images.shape[1])).mean()

    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the sums over the pixels of each image that count, float64 (N, 5); see ``pixel_errors``."""
        counts = targets[:, -1:].double()
        true = targets[:, :-1].double() * counts
        error = outputs.double() * counts - true
        terms = [counts.expand_as(true), true, true**2, error**2, error.abs()]
        return torch.stack([term.flatten(1).sum(dim=1) for term in terms], dim=1)

    def primary_of(self, tallies: Tensor) -> float:
        """Return R² over all pixels that count."""
        return r_squared_of(tallies.cpu().numpy())

    def draw(self, rows: Tensor, sample: Sample, display: Display) -> dict[str, Bytes]:
        """Return a column for each test image: input, reconstruction, and error from black (0) to white."""
        images, outputs = sample.targets[:, :-1], at_least_single(sample.outputs)
        error = (outputs - images).abs().mean(dim=1).cpu().numpy()
        grey = (255 * np.clip(error / max(float(error.max()), 1e-12), 0, 1)).astype(np.uint8)
        lines = [display(sample.inputs), display(outputs), np.repeat(grey[..., None], 3, axis=3)]
        return {"reconstructions": in_lines(lines)}


def _hidden(drawn: Tensor, share: float) -> Tensor:
    """Return which cells (N, 1, H, W) are hidden: the share with the smallest draws, at least one and not all."""
    flat = drawn.flatten(1)
    cells = flat.shape[1]
    hidden = min(max(1, round(share * cells)), max(1, cells - 1))
    return (flat.argsort(dim=1).argsort(dim=1) < hidden).reshape(drawn.shape)
