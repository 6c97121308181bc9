"""Predict where a patch lies around another patch of the same image, among eight positions; chance is 12.5 %.

Paper: Doersch et al. 2015 (arXiv:1505.05192). Three shortcuts solve the task without knowledge of objects: lines and
colours that continue from patch to patch; the aberration of lenses, which shifts green against red and blue by the
place in the image; and the grid of JPEG in enlarged images, which is not in the paper. A gap and jitter close the
first, dropped or projected colours the second, and ``augmentation=crop_resize`` the third.

Command: headstart pretrain objective=relative_patches dataset.image_size=96
Fails: on textures, which look the same everywhere.
"""

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.kinds.objectives import POSITIONS
from headstart.patch_grid import patch_sizes
from headstart.precision import at_least_single
from headstart.pretraining.objective import Bytes, Display, Draws, Objective, Readout, Sample, answered, in_lines
from headstart.settings.leaf_table import check_parameters
from headstart.tasks.heads import LinearHead

PLACES = tuple((row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if (row, column) != (0, 0))
NOISE = 0.01  # deviation of the noise in dropped channels, divided by that of the channel that stays
LEAST_SIDE = 32  # pixels that a patch is enlarged to, so that the last stage has a map
CELL, LINE = 96, 12  # pixels of the drawn accuracies


class PatchPair(nn.Module):
    """Map features of two patches (N, 2, D) to logits of the positions (N, 8)."""

    def __init__(self, feature_dim: int, hidden: int) -> None:
        super().__init__()
        below = [nn.Linear(2 * feature_dim, hidden), nn.ReLU()] if hidden else []
        self.layers = nn.Sequential(*below, nn.Linear(hidden or 2 * feature_dim, len(PLACES)))

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (N, 8) of features (N, 2, D)."""
        logits: Tensor = self.layers(features.flatten(1))
        return logits


class RelativePatches(Objective):
    """The number of the position, 0 to 7 in the order of ``POSITIONS``, of the second patch around the first.

    ``patch`` is the side of a patch in pixels; None is the largest that fits. ``gap`` is the distance of patches and
    ``jitter`` the largest shift of each patch up, down, left and right, both as parts of the side. ``colour`` is
    "drop" (one channel of a patch stays, the others become noise), "project" (the direction from green to magenta is
    removed), or "keep".
    """

    kind = "relative_patches"

    def __init__(
        self,
        patch: int | None = None,
        gap: float = 0.5,
        jitter: float = 0.07,
        colour: str = "drop",
        hidden: int = 512,
        head: LinearHead | None = None,
    ) -> None:
        check_parameters("task", locals())
        super().__init__(head, Readout("patch pair"))
        self.patch, self.gap, self.jitter, self.colour, self.hidden = patch, gap, jitter, colour, hidden

    def layers(self, feature_dim: int) -> nn.Module:
        """Return the layers that join two patches."""
        return PatchPair(feature_dim, self.hidden)

    def sizes(self, side: int) -> tuple[int, int, int]:
        """Return patch, gap and jitter in pixels for images of ``side`` pixels. Raises ConfigError if nothing fits."""
        return patch_sizes(side, self.patch, self.gap, self.jitter)

    def pose(self, images: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Return two patches of each image (N, 2, C, P, P), and the numbers of the positions (N,)."""
        count, channels, side = len(images), images.shape[1], images.shape[-1]
        patch, gap, jitter = self.sizes(side)
        device, step = images.device, patch + gap

        positions = draws.below(len(PLACES), count)
        free = side - 3 * patch - 2 * gap - 2 * jitter  # every place of the grid of nine patches is as likely
        centre = jitter + step + draws.below(free + 1, count, 2)
        shift = torch.tensor(PLACES, device=device)[positions] * step
        corners = torch.stack([centre, centre + shift], dim=1)  # (N, 2, 2): patch, then row and column
        corners = corners + draws.below(2 * jitter + 1, count, 2, 2) - jitter
        offsets = torch.arange(patch, device=device)
        rows, columns = corners[..., 0, None] + offsets, corners[..., 1, None] + offsets  # (N, 2, P)
        numbers = torch.arange(count, device=device)[:, None, None, None]
        patches = images.permute(0, 2, 3, 1)[numbers, rows[..., :, None], columns[..., None, :]]  # (N, 2, P, P, C)
        patches = patches.permute(0, 1, 4, 2, 3)
        if channels == 3 and self.colour == "drop":
            patches = dropped(patches, draws.below(channels, count, 2), draws.normal(patches))
        if channels == 3 and self.colour == "project":
            patches = projected(patches)
        if patch < LEAST_SIDE:
            size = (LEAST_SIDE, LEAST_SIDE)
            flat = F.interpolate(at_least_single(patches.flatten(0, 1)), size, mode="bilinear", align_corners=False)
            patches = flat.to(patches.dtype).unflatten(0, (count, 2))
        return patches, positions

    def loss(self, outputs: Tensor, targets: Tensor, training: bool = False) -> Tensor:
        """Return the mean cross-entropy."""
        return F.cross_entropy(at_least_single(outputs), targets)

    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the logits and the number of the true position, (N, 9)."""
        logits = at_least_single(outputs.detach())
        return torch.cat([logits, targets[:, None].to(logits.dtype)], dim=1)

    def primary_of(self, tallies: Tensor) -> float:
        """Return the accuracy."""
        return answered(tallies)

    def draw(self, rows: Tensor, sample: Sample, display: Display) -> dict[str, Bytes]:
        """Return the accuracy on test images by position, in the place of each position, and some pairs of patches."""
        right = rows[:, :-1].argmax(dim=1) == rows[:, -1].long()
        shares = [float(right[rows[:, -1] == number].double().mean()) for number in range(len(POSITIONS))]
        pairs = [display(sample.inputs[:, number]) for number in range(2)]
        return {
            "accuracy_by_position": _grid_of_shares(shares),
            "patches": in_lines(pairs),
        }


def dropped(patches: Tensor, kept: Tensor, noise: Tensor) -> Tensor:
    """Return patches (N, 2, 3, P, P) in which only the channel ``kept`` (N, 2) stays, and the others are noise."""
    channel = patches.gather(2, kept[:, :, None, None, None].expand(-1, -1, 1, *patches.shape[3:]))
    stays = F.one_hot(kept, patches.shape[2])[..., None, None].bool()
    return torch.where(stays, patches, noise * NOISE * channel.std(dim=(3, 4), keepdim=True))


def projected(patches: Tensor) -> Tensor:
    """Return patches (N, 2, 3, P, P) without their part along green minus magenta (section 3.1 of the paper)."""
    axis = torch.tensor([-1.0, 2.0, -1.0], dtype=patches.dtype, device=patches.device) / 6**0.5
    along = (patches * axis[:, None, None]).sum(dim=2, keepdim=True)
    return patches - along * axis[:, None, None]


def _grid_of_shares(shares: list[float]) -> Bytes:
    """Return shares in the places of their positions, from black (0) to white (1)."""
    canvas = Image.new("RGB", (3 * CELL, 3 * CELL), (90, 90, 160))
    draw = ImageDraw.Draw(canvas)
    for (row, column), share in zip(PLACES, shares, strict=True):
        left, top = (column + 1) * CELL, (row + 1) * CELL
        known = share == share
        grey = round(255 * share) if known else 0
        draw.rectangle((left, top, left + CELL - 1, top + CELL - 1), fill=(grey, grey, grey))
        text = f"{100 * share:.0f} %" if known else "–"
        draw.text((left + LINE, top + LINE), text, fill="black" if grey > 127 else "white")
    return np.asarray(canvas)
