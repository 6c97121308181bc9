"""Apply a list of operations to each image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from headstart.augmentations.batch_operations import apply_steps_batch
from headstart.augmentations.operations import GEOMETRIC, Step, apply_steps, move_labels
from headstart.augmentations.view import LabelArray, PixelArray, Shape, View
from headstart.errors import ConfigError, nearest
from headstart.settings.leaf_table import check_parameters

ENHANCING = ("brightness", "contrast", "color", "sharpness")
# The operations of RandAugment and TrivialAugment, in the order of the papers' tables.
ALL = (
    "identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", *ENHANCING, "posterize", "solarize",
    "autocontrast", "equalize",
)  # fmt: skip
# The largest magnitudes: USUAL for RandAugment and AutoAugment, WIDE for TrivialAugment. Translations are fractions of
# the side, from the papers' 331 and 224 pixels.
USUAL = {"shear": 0.3, "translate": 150 / 331, "rotate": 30.0, "enhance": 0.9, "bits": 4.0}
WIDE = {"shear": 0.99, "translate": 32 / 224, "rotate": 135.0, "enhance": 0.99, "bits": 6.0}


class Operations(View):
    """A view that is a list of steps; a subclass draws the steps."""

    def draw_steps(self, rng: np.random.Generator) -> list[Step]:
        """Draw operations and magnitudes, in order."""
        raise NotImplementedError

    def draw(self, rng: np.random.Generator, shape: Shape, size: int) -> list[Step] | None:
        """Draw the steps; return None if there are none."""
        return self.draw_steps(rng) or None

    def apply(self, image: PixelArray, drawn: list[Step], size: int) -> PixelArray:
        """Return the image after the steps; the size does not change."""
        return apply_steps(image, drawn)

    def move(self, labels: LabelArray, drawn: list[Step], size: int, outside: Any) -> LabelArray:
        """Return the label image after the steps that move pixels; others leave it as it is."""
        return move_labels(labels, drawn, outside)

    def apply_batch(self, images: Tensor, drawn: Sequence[list[Step]], size: int) -> Tensor:
        """Return the images after their steps."""
        return apply_steps_batch(images, drawn)


def step(name: str, level: float, sign: int, space: dict[str, float]) -> Step:
    """Return an operation at a level from 0 (almost no change) to 1; ``sign`` is its direction."""
    if name in GEOMETRIC:
        return name, sign * level * space[name.split("_")[0]]
    if name in ENHANCING:
        return name, 1 + sign * level * space["enhance"]
    if name == "posterize":
        return name, 8 - round(level * space["bits"])
    if name == "solarize":
        return name, 256 * (1 - level)
    return name, 0.0


class RandAugment(Operations):
    """Apply a fixed number of fourteen operations, all at one strength (Cubuk et al. 2019, arXiv:1909.13719)."""

    def __init__(self, operations: int = 2, magnitude: float = 9, bins: int = 31) -> None:
        check_parameters("augmentation.rand_augment", locals())
        if magnitude > bins - 1:
            raise ConfigError(
                f"augmentation.rand_augment.magnitude={magnitude}: expected a number from 0 to {bins - 1}."
            )
        self.count, self.magnitude, self.bins = operations, magnitude, bins

    def draw_steps(self, rng: np.random.Generator) -> list[Step]:
        """Draw operations uniformly with replacement, each with a random sign."""
        names = rng.integers(len(ALL), size=self.count).tolist()
        level = self.magnitude / (self.bins - 1)
        return [step(ALL[name], level, _sign(rng), USUAL) for name in names]


class TrivialAugment(Operations):
    """Apply one operation at a random strength from a wide range (Müller & Hutter 2021, arXiv:2103.10158)."""

    def __init__(self, bins: int = 31) -> None:
        check_parameters("augmentation.trivial_augment", locals())
        self.bins = bins

    def draw_steps(self, rng: np.random.Generator) -> list[Step]:
        """Draw operation and strength uniformly."""
        name, bin_ = ALL[int(rng.integers(len(ALL)))], int(rng.integers(self.bins))
        return [step(name, bin_ / (self.bins - 1), _sign(rng), WIDE)]


class AutoAugment(Operations):
    """Apply a policy searched on ``imagenet``, ``cifar10`` or ``svhn`` (Cubuk 2018, arXiv:1805.09501).

    Each image gets a random sub-policy of two operations, each with its own probability and magnitude. The tables come
    from torchvision.
    """

    def __init__(self, policy: str = "imagenet") -> None:
        from torchvision.transforms import v2  # only this view needs it

        known = {choice.value: choice for choice in v2.AutoAugmentPolicy}
        if policy not in known:
            raise ConfigError(
                f"augmentation.auto_augment.policy={policy}: expected one of {', '.join(known)}."
                f"{nearest(str(policy), known)}"
            )
        self.policy = policy
        tables = v2.AutoAugment(known[policy])._policies
        self.table = [
            [(_own_name(name), float(chance), None if level is None else level / 9) for name, chance, level in pair]
            for pair in tables
        ]

    def draw_steps(self, rng: np.random.Generator) -> list[Step]:
        """Draw zero to two steps."""
        pair = self.table[int(rng.integers(len(self.table)))]
        chances, signs = rng.random(len(pair)), [_sign(rng) for _ in pair]
        return [
            step(name, level or 0.0, sign, USUAL)
            for (name, chance, level), drawn, sign in zip(pair, chances, signs, strict=True)
            if drawn < chance
        ]


def _sign(rng: np.random.Generator) -> int:
    return 1 if rng.random() < 0.5 else -1


def _own_name(name: str) -> str:
    """Return torchvision's operation name in snake case, such as shear_x for ShearX; autocontrast stays one word."""
    spelled = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
    return {"auto_contrast": "autocontrast"}.get(spelled, spelled)
