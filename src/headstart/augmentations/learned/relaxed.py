"""Apply operations to batches, differentiable in the images and in the magnitudes.

Images are float (N, 3, H, W) in [0, 1], magnitudes (N,) in physical units: degrees for rotate, tangents for the shears,
fractions of the side for the translations, PIL's enhancement factors (1 leaves an image unchanged), bits kept for
posterize, a threshold of 0 to 256 for solarize. Where the result is not smooth in the magnitude or the images, the
gradient is that of a smooth surrogate (straight-through, Bengio et al. 2013, arXiv:1308.3432).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as tv

SOFTNESS = 0.1  # width of solarize's soft threshold in its surrogate, as a fraction of the grey levels
GREY = (0.2989, 0.587, 0.114)  # ITU-R BT.601, as in PIL and torchvision
SMOOTH = ((1, 1, 1), (1, 5, 1), (1, 1, 1))  # PIL's filter SMOOTH, over 13


@dataclass(frozen=True)
class Range:
    """The physical magnitudes that 0 to 1 map to linearly, and the limits in a policy file."""

    low: float  # at 0
    high: float  # at 1
    least: float  # the limits in a policy file
    most: float
    signed: bool = False  # whether a policy draws a random sign

    def physical(self, unit: Tensor) -> Tensor:
        """Return magnitudes from 0 to 1 in physical units."""
        return self.low + (self.high - self.low) * unit


_FACTOR = Range(0.1, 1.9, 0.0, 10.0)  # 0.5 leaves the image unchanged, so both darker and brighter can be learned
RANGES = {
    "shear_x": Range(0.0, 0.3, 0.0, 10.0, signed=True),
    "shear_y": Range(0.0, 0.3, 0.0, 10.0, signed=True),
    "translate_x": Range(0.0, 0.33, 0.0, 1.0, signed=True),
    "translate_y": Range(0.0, 0.33, 0.0, 1.0, signed=True),
    "rotate": Range(0.0, 30.0, 0.0, 180.0, signed=True),
    "brightness": _FACTOR,
    "contrast": _FACTOR,
    "color": _FACTOR,
    "sharpness": _FACTOR,
    "posterize": Range(8.0, 4.0, 1.0, 8.0),
    "solarize": Range(256.0, 0.0, 0.0, 256.0),
}
WITHOUT_MAGNITUDE = ("autocontrast", "equalize", "invert", "identity")
OPERATIONS = (*RANGES, *WITHOUT_MAGNITUDE)


def apply(name: str, images: Tensor, magnitude: Tensor) -> Tensor:
    """Return images (N, 3, H, W) in [0, 1] after the named operation; magnitudes (N,) in physical units."""
    return _FUNCTIONS[name](images, magnitude)


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """Return the values of ``hard`` with the gradient of ``soft``."""
    return hard.detach() + (soft - soft.detach())


def _column(magnitude: Tensor) -> Tensor:
    return magnitude.view(-1, 1, 1, 1)


def _resampled(images: Tensor, x: Callable[..., Tensor], y: Callable[..., Tensor]) -> Tensor:
    """Sample each pixel from (x, y), measured from the centre in pixels; black outside the image."""
    height, width = images.shape[-2:]
    across = torch.arange(width, dtype=images.dtype, device=images.device).view(1, 1, -1) - (width - 1) / 2
    down = torch.arange(height, dtype=images.dtype, device=images.device).view(1, -1, 1) - (height - 1) / 2
    from_x, from_y = torch.broadcast_tensors(x(across, down), y(across, down))
    grid = torch.stack([from_x * (2 / width), from_y * (2 / height)], dim=-1).expand(len(images), -1, -1, -1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _shear_x(images: Tensor, tangent: Tensor) -> Tensor:
    """Shear to the left, from the upper left corner."""
    tangent, top = tangent.view(-1, 1, 1), (images.shape[-2] - 1) / 2
    return _resampled(images, lambda x, y: x + tangent * (y + top), lambda x, y: y + 0 * x)


def _shear_y(images: Tensor, tangent: Tensor) -> Tensor:
    """Shear upward, from the upper left corner."""
    tangent, left = tangent.view(-1, 1, 1), (images.shape[-1] - 1) / 2
    return _resampled(images, lambda x, y: x + 0 * y, lambda x, y: y + tangent * (x + left))


def _translate_x(images: Tensor, fraction: Tensor) -> Tensor:
    pixels = fraction.view(-1, 1, 1) * images.shape[-1]
    return _resampled(images, lambda x, y: x - pixels, lambda x, y: y + 0 * x)


def _translate_y(images: Tensor, fraction: Tensor) -> Tensor:
    pixels = fraction.view(-1, 1, 1) * images.shape[-2]
    return _resampled(images, lambda x, y: x + 0 * y, lambda x, y: y - pixels)


def _rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Rotate counter-clockwise about the centre."""
    angle = torch.deg2rad(degrees).view(-1, 1, 1)
    cos, sin = angle.cos(), angle.sin()
    return _resampled(images, lambda x, y: cos * x - sin * y, lambda x, y: sin * x + cos * y)


def _grey(images: Tensor) -> Tensor:
    red, green, blue = images.unbind(dim=1)
    return (GREY[0] * red + GREY[1] * green + GREY[2] * blue).unsqueeze(1)


def _blended(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """Blend as PIL's enhancement: factor 0 gives ``other``, 1 the image; above 1 extrapolates."""
    return torch.lerp(other.expand_as(images), images, _column(factor).expand_as(images)).clamp(0, 1)


def _brightness(images: Tensor, factor: Tensor) -> Tensor:
    return (images * _column(factor)).clamp(0, 1)


def _contrast(images: Tensor, factor: Tensor) -> Tensor:
    return _blended(images, _grey(images).mean(dim=(1, 2, 3), keepdim=True), factor)


def _color(images: Tensor, factor: Tensor) -> Tensor:
    return _blended(images, _grey(images), factor)


def _sharpness(images: Tensor, factor: Tensor) -> Tensor:
    kernel = torch.tensor(SMOOTH, dtype=images.dtype, device=images.device).expand(3, 1, 3, 3) / 13
    inner = F.conv2d(images, kernel, groups=3)
    smooth = images.clone()
    smooth[..., 1:-1, 1:-1] = inner  # the border stays unchanged, as in PIL
    return _blended(images, smooth, factor)


def _posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the highest bits; the surrogate subtracts half of the lowest kept bit, which is the average error."""
    kept = _column(bits.round().clamp(1, 8))
    step = 2 ** (8 - kept)
    hard = ((images * 255).round() / step).floor() * step / 255
    return straight_through(hard, images - 2 ** (7 - _column(bits)) / 255)


def _solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert values from the threshold on; the surrogate's threshold is soft."""
    level = _column(threshold) / 255
    hard = torch.where(images >= level, 1 - images, images)
    still = images.detach()
    soft = still + (1 - 2 * still) * torch.sigmoid((still - level) / SOFTNESS)
    return hard + (soft - soft.detach())


def _autocontrast(images: Tensor, _: Tensor) -> Tensor:
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    flat = high <= low
    return torch.where(flat, images, (images - low) / torch.where(flat, torch.ones_like(low), high - low))


def _equalize(images: Tensor, _: Tensor) -> Tensor:
    return straight_through(tv.equalize(images.detach()), images)


def _invert(images: Tensor, _: Tensor) -> Tensor:
    return 1 - images


def _identity(images: Tensor, _: Tensor) -> Tensor:
    return images


_FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
    "rotate": _rotate,
    "brightness": _brightness,
    "contrast": _contrast,
    "color": _color,
    "sharpness": _sharpness,
    "posterize": _posterize,
    "solarize": _solarize,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "invert": _invert,
    "identity": _identity,
}
