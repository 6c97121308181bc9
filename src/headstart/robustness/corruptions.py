"""Apply the 15 common corruptions (Hendrycks & Dietterich 2019, arXiv:1903.12261), each with its own random stream.

They are written here with OpenCV and SciPy. imagecorruptions 1.1.2 does not run on current NumPy and scikit-image. Its
successor imagecorruptions-imaug draws from NumPy's global generator, seeds glass_blur from the clock, needs numba and
an OpenCV that conflicts with opencv-python-headless, and has no constants for small images. Only frost differs from the
paper: the authors blend photographs, this code grows crystals.

The kernels below work on float32 images (H, W, 3) from 0 to 1.
"""

import io
import math
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn, idctn

from headstart.errors import ConfigError, nearest
from headstart.inputs.decoding import content_hash
from headstart.robustness.severities import NAMES, SEVERITIES, severities_for
from headstart.seeds import generator

PixelArray = NDArray[np.uint8]
Floats = NDArray[np.float32]
VERSION = 1
"""The version of the kernels below; raise it whenever an output changes."""
LEAST = 16
"""The smallest shorter side, in pixels."""


def corrupt(image: PixelArray, name: str, severity: int, content: int | None = None) -> PixelArray:
    """Return the image (H, W, 3) corrupted; the same pixels always give the same result.

    ``content`` is ``content_of(image)`` if already known. Raises ConfigError for an unknown name or severity, and for
    an image with a side below 16 pixels.
    """
    if name not in NAMES:
        raise ConfigError(f"There is no corruption '{name}'.{nearest(name, NAMES)}")
    if severity not in SEVERITIES:
        raise ConfigError(f"The severity is {severity}; expected 1 to 5.")
    side = min(image.shape[:2])
    if side < LEAST:
        raise ConfigError(f"The image's shorter side has {side} pixels; corruptions need at least {LEAST}.")
    known = content_of(image) if content is None else content
    rng = generator("corruption", severity, NAMES.index(name), known)
    constants = severities_for(side).constants[name][severity - 1]
    if name in ON_BYTES:
        return ON_BYTES[name](image, constants)
    values = ON_FLOATS[name](image.astype(np.float32) / np.float32(255), constants, rng)
    return (np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)


def content_of(image: PixelArray) -> int:
    """Return a 128-bit hash of the shape and the pixels."""
    return int.from_bytes(content_hash(image)[:16], "big")


def made_by(side: int) -> str:
    """Return a text on what makes corruptions of this side; only results with equal texts are comparable."""
    packages = {"opencv": cv2.__version__, **{name: version(name) for name in ("numpy", "scipy", "pillow")}}
    versions = ", ".join(f"{name} {number}" for name, number in packages.items())
    return f"kernels {VERSION}, severities of {severities_for(side).name}, {versions}"


# --- noise


def gaussian_noise(x: Floats, deviation: float, rng: np.random.Generator) -> Floats:
    """Add noise as a sensor does in low light."""
    return x + np.float32(deviation) * rng.standard_normal(x.shape, dtype=np.float32)


def shot_noise(x: Floats, photons: float, rng: np.random.Generator) -> Floats:
    """Draw Poisson counts of photons."""
    return (rng.poisson(x * photons) / photons).astype(np.float32)


def impulse_noise(x: Floats, fraction: float, rng: np.random.Generator) -> Floats:
    """Set values to 0 or 1 (salt and pepper), independently in each channel."""
    draw = rng.random(x.shape, dtype=np.float32)
    return np.where(draw < fraction / 2, np.float32(0), np.where(draw < fraction, np.float32(1), x))


# --- blur


def defocus_blur(x: Floats, constants: tuple[float, float], rng: np.random.Generator) -> Floats:
    """Turn each point into a disc."""
    return _same_shape(cv2.filter2D(x, -1, _disc(*constants)), x)


def glass_blur(x: Floats, constants: tuple[float, int, int], rng: np.random.Generator) -> Floats:
    """Blur, scatter pixels, and blur again, like frosted glass.

    The authors loop over the pixels from the last to the first; each takes the current value of a random neighbour
    (their swap of two views copies). Later neighbours are already replaced, earlier ones are not. So each pixel ends
    with some pixel's original value, which is found here by following all links at once.
    """
    deviation, reach, rounds = constants
    height, width = x.shape[:2]
    count = height * width
    pixels = _blurred(x, deviation).reshape(count, -1)
    rows, columns = np.mgrid[reach + 1 : height - reach + 1, reach + 1 : width - reach + 1]
    here = (rows * width + columns).ravel()
    for _ in range(rounds):
        steps = rng.integers(-reach, reach, (2, len(here)))
        there = here + steps[0] * width + steps[1]
        # Two nodes per pixel: first all final values, then all original values, where links end.
        link = np.concatenate([np.arange(count, 2 * count), np.arange(count, 2 * count)])
        moved = np.zeros(count, dtype=bool)
        moved[here] = True
        link[here] = np.where((there > here) & moved[there], there, there + count)
        while (further := link[link]).tobytes() != link.tobytes():
            link = further
        pixels = pixels[link[:count] - count]
    return _blurred(pixels.reshape(x.shape), deviation)


def motion_blur(x: Floats, constants: tuple[float, float], rng: np.random.Generator) -> Floats:
    """Blur as a sideways camera motion does."""
    return _dragged(x, *constants, angle=rng.uniform(-45, 45))


def zoom_blur(x: Floats, factors: tuple[float, ...], rng: np.random.Generator) -> Floats:
    """Blur as a forward camera motion does."""
    total = x.copy()
    for factor in factors:
        total += _zoomed(x, factor)
    return total / np.float32(len(factors) + 1)


# --- weather


def snow(x: Floats, constants: tuple[float, ...], rng: np.random.Generator) -> Floats:
    """Add falling flakes to a paler image."""
    mean, deviation, size, threshold, radius, spread, kept = constants
    flakes = (mean + deviation * rng.standard_normal(x.shape[:2])).astype(np.float32)
    flakes = _zoomed(flakes, size)
    flakes = np.clip(np.where(flakes < threshold, 0, flakes), 0, 1).astype(np.float32)
    layer = _dragged(flakes, int(radius), spread, angle=rng.uniform(-135, -45))[..., None]
    grey = cv2.cvtColor(x, cv2.COLOR_RGB2GRAY)[..., None]
    pale = np.float32(kept) * x + np.float32(1 - kept) * np.maximum(x, grey * 1.5 + 0.5)
    return pale + layer + _turned(layer)


def frost(x: Floats, constants: tuple[float, float], rng: np.random.Generator) -> Floats:
    """Blend in ice: crystals grown here replace the authors' photographs, equally bright but rougher.

    At 224 pixels they are rougher by 25 to 53 %, depending on the severity.
    """
    image_weight, frost_weight = constants
    return np.float32(image_weight) * x + np.float32(frost_weight) * _crystals(x.shape[0], x.shape[1], rng)


def fog(x: Floats, constants: tuple[float, float], rng: np.random.Generator) -> Floats:
    """Add clouds from the diamond-square algorithm."""
    thickness, decay = constants
    brightest = float(x.max())
    clouds = plasma(max(x.shape[:2]), decay, rng)[: x.shape[0], : x.shape[1], None]
    return (x + np.float32(thickness) * clouds) * np.float32(brightest / (brightest + thickness))


# --- digital


def brightness(x: Floats, added: float, rng: np.random.Generator) -> Floats:
    """Raise V of HSV."""
    hsv = cv2.cvtColor(x, cv2.COLOR_RGB2HSV)
    hsv[..., 2] = np.minimum(hsv[..., 2] + np.float32(added), 1)
    return _same_shape(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), x)


def contrast(x: Floats, kept: float, rng: np.random.Generator) -> Floats:
    """Reduce each channel's difference from its mean."""
    mean = x.mean(axis=(0, 1), keepdims=True)
    return (x - mean) * np.float32(kept) + mean


def elastic_transform(x: Floats, constants: tuple[float, float, float], rng: np.random.Generator) -> Floats:
    """Apply an affine map and local shifts; all three constants are in units of the shorter side."""
    reach, smoothness, affine = (min(x.shape[:2]) * part for part in constants)
    height, width = x.shape[:2]
    centre, arm = np.array([height // 2, width // 2], np.float32), min(height, width) // 3
    corners = centre + arm * np.array([[1, 1], [1, -1], [-1, -1]], np.float32)
    moved = (corners + rng.uniform(-affine, affine, (3, 2))).astype(np.float32)
    warp = cv2.getAffineTransform(corners, moved)
    warped = cv2.warpAffine(x, warp, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    down, right = (np.float32(reach) * _smooth_noise(height, width, smoothness, rng) for _ in range(2))
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    shifted = cv2.remap(warped, columns + right, rows + down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return _same_shape(shifted, x)


def pixelate(image: PixelArray, side: float) -> PixelArray:
    """Shrink and enlarge the image."""
    height, width = image.shape[:2]
    small = Image.fromarray(image).resize((int(width * side), int(height * side)), Image.Resampling.BOX)
    return np.array(small.resize((width, height), Image.Resampling.BOX))


def jpeg_compression(image: PixelArray, quality: int) -> PixelArray:
    """Encode as JPEG of low quality, and decode."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=quality)
    with Image.open(content) as found:
        return np.array(found.convert("RGB"))


ON_FLOATS: dict[str, Callable[[Floats, Any, np.random.Generator], Floats]] = {
    one.__name__: one
    for one in (
        gaussian_noise, shot_noise, impulse_noise, defocus_blur, glass_blur, motion_blur, zoom_blur, snow, frost, fog,
        brightness, contrast, elastic_transform,
    )
}  # fmt: skip
ON_BYTES: dict[str, Callable[[PixelArray, Any], PixelArray]] = {
    "pixelate": pixelate,
    "jpeg_compression": jpeg_compression,
}


# --- building blocks


def plasma(side: int, decay: float, rng: np.random.Generator) -> Floats:
    """Return clouds from 0 to 1 that tile without seams: (P, P) for the smallest power of two P >= ``side``.

    The diamond-square algorithm (Fournier, Fussell & Carpenter 1982) fills the middle of each square, then the middle
    of each edge, at half the distance each time. Each new value is the mean of its four neighbours plus noise, whose
    size falls by decay² per level.
    """
    width = 2 ** math.ceil(math.log2(side))
    field = np.zeros((width, width), dtype=np.float32)
    step, size = width, 1.0

    def new(four: Floats) -> Floats:
        return four / 4 + np.float32(size) * rng.uniform(-1, 1, four.shape).astype(np.float32)

    while step >= 2:
        half = step // 2
        corners = field[::step, ::step]
        pairs = corners + np.roll(corners, -1, 0)
        middles = new(pairs + np.roll(pairs, -1, 1))
        field[half::step, half::step] = middles
        field[::step, half::step] = new(middles + np.roll(middles, 1, 0) + corners + np.roll(corners, -1, 1))
        field[half::step, ::step] = new(middles + np.roll(middles, 1, 1) + corners + np.roll(corners, -1, 0))
        step, size = half, size / decay**2
    field -= field.min()
    return field / field.max()


def _crystals(height: int, width: int, rng: np.random.Generator) -> Floats:
    """Return frost (height, width, 3): bluish needles in three directions on uneven ice.

    The authors' five photographs have means of 0.5 to 0.8, standard deviations of 0.06 to 0.17, and less red than blue.
    """
    clouds = plasma(max(height, width), 1.5, rng)[:height, :width]
    length = max(height, width) / 10
    needles = np.zeros((height, width), dtype=np.float32)
    for angle in rng.uniform(-180, 180, 3):
        grain = rng.standard_normal((height, width), dtype=np.float32)
        needles = np.maximum(needles, _standardised(_dragged(grain, max(3, round(length)), length, angle)))
    texture = _standardised(_standardised(clouds) + _standardised(needles))
    ice = rng.uniform(0.5, 0.8) + np.float32(rng.uniform(0.08, 0.16)) * texture
    tint = np.array([rng.uniform(0.8, 1.0), 0.97, 1.03], dtype=np.float32)
    return np.clip(ice[..., None] * tint, 0, 1).astype(np.float32)


def _standardised(values: Floats) -> Floats:
    deviation = float(values.std())
    return (values - values.mean()) / np.float32(deviation or 1.0)


@lru_cache(maxsize=32)
def _disc(radius: float, rim: float) -> Floats:
    """Return a disc that sums to 1, with a softened rim."""
    reach, taps = (8, 3) if radius <= 8 else (round(radius), 5)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = (rows**2 + columns**2 <= radius**2).astype(np.float32)
    softened: Floats = cv2.GaussianBlur(disc / disc.sum(), (taps, taps), rim)
    return softened


def _blurred(x: Floats, deviation: float) -> Floats:
    """Apply a Gaussian, cut at four standard deviations."""
    taps = 2 * int(4 * deviation + 0.5) + 1
    return _same_shape(cv2.GaussianBlur(x, (taps, taps), deviation, borderType=cv2.BORDER_REPLICATE), x)


def _dragged(x: Floats, radius: float, deviation: float, angle: float) -> Floats:
    """Apply half a Gaussian of 2 radius + 1 steps along an angle in degrees, as ImageMagick's motion blur."""
    steps = np.arange(2 * int(radius) + 1)
    weights = np.exp(-(steps**2) / (2 * deviation**2))
    weights /= weights.sum()
    turn = math.radians(angle)
    down = np.round(steps * math.sin(turn)).astype(int)
    right = np.round(steps * math.cos(turn)).astype(int)
    anchor = (int(-right.min()), int(-down.min()))
    kernel = np.zeros((int(np.ptp(down)) + 1, int(np.ptp(right)) + 1), dtype=np.float32)
    np.add.at(kernel, (down + anchor[1], right + anchor[0]), weights)
    return _same_shape(cv2.filter2D(x, -1, kernel, anchor=anchor, borderType=cv2.BORDER_REPLICATE), x)


def _zoomed(x: Floats, factor: float) -> Floats:
    """Return the centre enlarged by a factor, in the same shape."""
    height, width = x.shape[:2]
    aside = [(1 - 1 / factor) * (side - 1) / 2 for side in (width, height)]
    warp = np.array([[1 / factor, 0, aside[0]], [0, 1 / factor, aside[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return _same_shape(cv2.warpAffine(x, warp, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE), x)


def _turned(layer: Floats) -> Floats:
    """Rotate by half a turn."""
    return layer[::-1, ::-1]


def _smooth_noise(height: int, width: int, deviation: float, rng: np.random.Generator) -> Floats:
    """Return uniform noise from -1 to 1 after a Gaussian blur of that deviation in pixels; mirrored at the edges.

    In the cosine basis the blur is a product, at the same cost for any width.
    """
    noise = rng.uniform(-1, 1, (height, width)).astype(np.float32)
    down, right = (np.exp(-0.5 * (np.pi * deviation * np.arange(n) / n) ** 2) for n in (height, width))
    return np.asarray(idctn(dctn(noise) * np.outer(down, right).astype(np.float32)), dtype=np.float32)


def _same_shape(values: Any, like: Floats) -> Floats:
    """Return OpenCV's result as float32 in the shape of ``like``."""
    result: Floats = np.asarray(values, dtype=np.float32).reshape(like.shape)
    return result
