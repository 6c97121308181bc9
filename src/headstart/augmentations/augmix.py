"""Mix chains of mild operations with the original image (AugMix)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import torch
from torch import Tensor

from headstart.augmentations.batch_operations import apply_steps_batch, as_bytes
from headstart.augmentations.operations import GEOMETRIC, Step, apply_steps
from headstart.augmentations.view import PixelArray, Shape, View
from headstart.settings.leaf_table import check_parameters

# The paper leaves out brightness, contrast, colour and sharpness, because ImageNet-C contains similar corruptions.
NAMES = ("autocontrast", "equalize", "posterize", "solarize", *GEOMETRIC)
SIDES = {"translate_x": 1, "translate_y": 0}  # index in (height, width) of the side that scales a translation
STRONGEST = {"rotate": 30.0, "shear_x": 0.3, "shear_y": 0.3, "translate_x": 1 / 3, "translate_y": 1 / 3}  # at level 10


@dataclass(frozen=True)
class Mixture:
    """The parameters of ``(1 - weight) x + weight sum_k shares_k chain_k(x)`` for an image x."""

    weight: float
    shares: tuple[float, ...]
    chains: tuple[list[Step], ...]


class AugMix(View):
    """Mix chains of operations with the image (Hendrycks et al. 2019, arXiv:1912.02781).

    There are ``width`` chains of ``depth`` operations each. ``depth`` is a number, or a pair of inclusive bounds to
    draw from. Chain weights come from a Dirichlet distribution and the mixture weight from a Beta distribution, both
    with ``alpha``. The level of each operation is drawn from 0.1 to ``severity``, out of 10 (algorithm 1 and appendix
    B).

    With ``jsd`` above 0, each image becomes three: the original and two mixtures. A Jensen-Shannon loss with weight
    ``jsd`` makes their predictions agree (equation 2); the label loss uses the original only.
    """

    def __init__(
        self,
        severity: float = 3,
        width: int = 3,
        depth: int | Sequence[int] = (1, 3),
        alpha: float = 1.0,
        jsd: float = 0.0,
    ) -> None:
        check_parameters("augmentation.augmix", locals())
        self.severity, self.width, self.alpha, self.jsd = severity, width, alpha, jsd
        low, high = (depth, depth) if isinstance(depth, int) else depth
        self.depth = (low, high)
        self.branches = 3 if jsd else 1

    def draw(self, rng: np.random.Generator, shape: Shape, size: int) -> Mixture:
        """Draw chains and weights."""
        shares = tuple(rng.dirichlet([self.alpha] * self.width).tolist())
        weight = float(rng.beta(self.alpha, self.alpha))
        low, high = self.depth
        chains = tuple(
            [self._step(shape, *step) for step in steps[: low + int(depth * (high - low + 1))]]
            for depth, steps in zip(
                rng.random(self.width).tolist(), rng.random((self.width, high, 3)).tolist(), strict=True
            )
        )
        return Mixture(weight, shares, chains)

    def draw_branches(self, rng: np.random.Generator, shape: Shape, size: int) -> list[Mixture | None]:
        """Draw one mixture; with a consistency loss, draw None for the original image and two mixtures."""
        if self.branches == 1:
            return [self.draw(rng, shape, size)]
        return [None, *(self.draw(rng, shape, size) for _ in range(self.branches - 1))]

    def _step(self, shape: Shape, which: float, level: float, sign: float) -> Step:
        """Return an operation for an image of this shape from three uniform draws between 0 and 1.

        Degrees, bits, thresholds and pixels of translation are truncated to whole numbers, as in the authors' code.
        """
        name, level = NAMES[int(which * len(NAMES))], (0.1 + level * (self.severity - 0.1)) / 10
        if name in GEOMETRIC:
            magnitude = STRONGEST[name] * level
            if name == "rotate":
                magnitude = float(int(magnitude))
            elif name in SIDES:
                side = shape[SIDES[name]]
                magnitude = int(magnitude * side) / side
            return name, -magnitude if sign < 0.5 else magnitude
        if name == "posterize":
            return name, max(1, 4 - int(4 * level))
        if name == "solarize":
            return name, 256 - int(256 * level)
        return name, 0.0

    def apply(self, image: PixelArray, drawn: Mixture, size: int) -> PixelArray:
        """Return the mixture for one image (H, W, 3); the size does not change."""
        if drawn.weight == 0:
            return image
        mean, so_far = image.astype(np.float32, order="C"), 1 - drawn.weight  # OpenCV needs C order
        for share, chain in zip(drawn.shares, drawn.chains, strict=True):  # a running mean avoids copies
            so_far += drawn.weight * share
            cv2.accumulateWeighted(apply_steps(image, chain), mean, drawn.weight * share / so_far if so_far else 0.0)
        return cv2.convertScaleAbs(mean)  # type: ignore[return-value]  # rounded to bytes

    def apply_batch(self, images: Tensor, drawn: Sequence[Mixture], size: int) -> Tensor:
        """Apply the chains one after another to the whole batch and return the weighted sums."""
        column = partial(torch.tensor, dtype=torch.float32, device=images.device)
        weights = column([[[[mixture.weight]]] for mixture in drawn])
        total = images * (1 - weights)
        for number in range(self.width):
            shares = column([[[[mixture.weight * mixture.shares[number]]]] for mixture in drawn])
            changed = apply_steps_batch(images, [mixture.chains[number] for mixture in drawn])
            total += changed * shares
        return as_bytes(total)
