"""Apply the operations of ``operations`` to batches on any device; each image has its own magnitude.

``jpeg`` is missing: it works on one image at a time. Images are uint8 (N, 3, H, W) and are rounded to bytes after each
operation, as in ``operations``.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from headstart.augmentations.operations import GEOMETRIC, GREY, SMOOTH, Step, blur_side, source_matrix

Kernel = Callable[[Tensor, Tensor], Tensor]  # (bytes (N, 3, H, W), magnitudes (N, 1, 1, 1)) -> bytes


def apply_steps_batch(images: Tensor, steps: Sequence[Sequence[Step]]) -> Tensor:
    """Return images (N, 3, H, W) after their steps; at each place, images with the same operation run together."""
    images = images.clone()
    for place in range(max((len(own) for own in steps), default=0)):
        kinds: dict[str, list[int]] = {}
        for row, own in enumerate(steps):
            if place < len(own) and (name := own[place][0]) != "identity":
                kinds.setdefault("warp" if name in GEOMETRIC else name, []).append(row)
        for kind, rows in kinds.items():
            of_kind = [steps[row][place] for row in rows]
            everything = len(rows) == len(images)
            index = torch.tensor(rows, device=images.device)
            some = images if everything else images[index]
            changed = warped(some, of_kind) if kind == "warp" else _apply_kernel(kind, some, of_kind)
            if everything:
                images = changed
            else:
                images[index] = changed
    return images


def as_bytes(values: Tensor) -> Tensor:
    """Return the values rounded and limited to 0..255, as uint8."""
    return values.round_().clamp_(0, 255).to(torch.uint8)


def warped(images: Tensor, steps: Sequence[Step]) -> Tensor:
    """Rotate, shear or translate each image by its own step: bilinear, with black outside the image."""
    height, width = images.shape[-2:]
    matrices = np.stack([source_matrix(name, magnitude, height, width) for name, magnitude in steps])
    return sampled(images, torch.from_numpy(matrices).float().to(images.device))


def sampled(images: Tensor, matrices: Tensor) -> Tensor:
    """Sample images at the source of each pixel, as given by matrices (N, 2, 3) from ``source_matrix``."""
    height, width = images.shape[-2:]
    device = images.device
    x, y = torch.arange(width, device=device).float(), torch.arange(height, device=device).float()
    at = matrices[:, :, 0, None, None] * x + matrices[:, :, 1, None, None] * y[:, None] + matrices[:, :, 2, None, None]
    scale = torch.tensor([2 / width, 2 / height], dtype=torch.float32, device=device).view(1, 2, 1, 1)
    grid = ((at + 0.5) * scale - 1).permute(0, 2, 3, 1)  # grid_sample's coordinates run from -1 to 1, edge to edge
    return as_bytes(F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False))


def _apply_kernel(kind: str, images: Tensor, steps: Sequence[Step]) -> Tensor:
    magnitudes = torch.tensor([magnitude for _, magnitude in steps], dtype=torch.float32, device=images.device)
    return KERNELS[kind](images, magnitudes.view(-1, 1, 1, 1))


def _stretched(images: Tensor, _: Tensor) -> Tensor:
    low, high = images.amin(dim=(2, 3), keepdim=True).float(), images.amax(dim=(2, 3), keepdim=True).float()
    scale = torch.where(high > low, 255 / (high - low).clamp(min=1), 1.0)
    low = torch.where(high > low, low, 0.0)
    return as_bytes((images - low) * scale)


def _equalized(images: Tensor, _: Tensor) -> Tensor:
    rows = images.flatten(0, 1).flatten(1).long()
    counts = torch.zeros(len(rows), 256, dtype=torch.long, device=rows.device)
    counts.scatter_add_(1, rows, torch.ones_like(rows))
    levels = torch.arange(256, device=rows.device)
    highest = (counts > 0).mul(levels).amax(dim=1, keepdim=True)
    step = (counts.sum(dim=1, keepdim=True) - counts.gather(1, highest)) // 255
    before = counts.cumsum(dim=1) - counts
    tables = torch.where(step > 0, (step // 2 + before) // step.clamp(min=1), levels).clamp(0, 255)
    return tables.gather(1, rows).to(torch.uint8).view(images.shape)


def _posterized(images: Tensor, bits: Tensor) -> Tensor:
    mask = 256 - torch.bitwise_left_shift(torch.ones_like(bits, dtype=torch.int32), (8 - bits.round()).int())
    return images & mask.to(torch.uint8)


def _solarized(images: Tensor, threshold: Tensor) -> Tensor:
    return torch.where(images >= threshold, 255 - images, images)


def _grey(images: Tensor) -> Tensor:
    weights = torch.from_numpy(GREY).float().to(images.device).view(1, 3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True)


def _contrasted(images: Tensor, factor: Tensor) -> Tensor:
    middle = _grey(images).round().mean(dim=(2, 3), keepdim=True).add(0.5).floor()
    return as_bytes(middle + (images - middle) * factor)


def _coloured(images: Tensor, factor: Tensor) -> Tensor:
    grey = _grey(images)
    return as_bytes(grey + (images - grey) * factor)


def _sharpened(images: Tensor, factor: Tensor) -> Tensor:
    x = images.float()
    smooth = x.clone()
    kernel = torch.from_numpy(SMOOTH).to(x.device).expand(3, 1, 3, 3)
    if min(x.shape[-2:]) > 2:  # otherwise every pixel is on the border
        smooth[..., 1:-1, 1:-1] = F.conv2d(x, kernel, groups=3).round()
    return as_bytes(smooth + (x - smooth) * factor)


def _hue_shifted(images: Tensor, magnitude: Tensor) -> Tensor:
    from kornia.color import hsv_to_rgb, rgb_to_hsv  # slow to import, and most runs do not need it

    hsv = rgb_to_hsv(images.float() / 255)
    turn = (magnitude * 256).round() * (2 * torch.pi / 256)
    hue = (hsv[:, :1] + turn) % (2 * torch.pi)
    return as_bytes(hsv_to_rgb(torch.cat([hue, hsv[:, 1:]], dim=1)) * 255)


def _blurred(images: Tensor, sigma: Tensor) -> Tensor:
    """Blur rows, then columns; all kernels have the longest kernel's length, padded with zeros."""
    count, channels, height, width = images.shape
    deviations = sigma.flatten()
    sides = torch.tensor([blur_side(float(value)) // 2 for value in deviations.tolist()], device=images.device)
    reach = int(sides.max())
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float32, device=images.device)
    kernels = torch.exp(-(offsets**2) / (2 * deviations[:, None] ** 2)) * (offsets.abs() <= sides[:, None])
    kernels = (kernels / kernels.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)
    x = images.float().reshape(1, count * channels, height, width)
    x = F.pad(x, (reach, reach, reach, reach), mode="replicate")
    x = F.conv2d(x, kernels[:, None, None, :], groups=len(kernels))
    x = F.conv2d(x, kernels[:, None, :, None], groups=len(kernels))
    return as_bytes(x.view(count, channels, height, width))


KERNELS: dict[str, Kernel] = {
    "autocontrast": _stretched,
    "equalize": _equalized,
    "invert": lambda images, _: 255 - images,
    "posterize": _posterized,
    "solarize": _solarized,
    "brightness": lambda images, factor: as_bytes(images * factor),
    "contrast": _contrasted,
    "color": _coloured,
    "sharpness": _sharpened,
    "hue": _hue_shifted,
    "blur": _blurred,
}
