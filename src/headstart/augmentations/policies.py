"""Views made of operations: what each does to an image is a list of steps."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from headstart.augmentations.batch_operations import apply_steps_batch
from headstart.augmentations.operations import GEOMETRIC, Step, apply_steps
from headstart.augmentations.view import PixelArray, Shape, View
from headstart.errors import ConfigError, nearest
from headstart.settings.leaf_table import check_parameters

ENHANCING = ("brightness", "contrast", "color", "sharpness")
# The operations of RandAugment and TrivialAugment, in the order of the papers' tables.
ALL = (
    "identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", *ENHANCING, "posterize", "solarize",
    "autocontrast", "equalize",
)  # fmt: skip
# How far each operation goes: RandAugment's and AutoAugment's; TrivialAugment's wide ones. Shares of the side are those
# of the papers' 331 and 224 pixels.
USUAL = {"shear": 0.3, "translate": 150 / 331, "rotate": 30.0, "enhance": 0.9, "bits": 4.0}
WIDE = {"shear": 0.99, "translate": 32 / 224, "rotate": 135.0, "enhance": 0.99, "bits": 6.0}


class Operations(View):
    """A view that is a list of steps; a subclass draws them."""

    def draw_steps(self, rng: np.random.Generator) -> list[Step]:
        """Operations and magnitudes, in order."""
        raise NotImplementedError

    def draw(self, rng: np.random.Generator, shape: Shape, size: int) -> list[Step] | None:
        """The steps; None where there are none."""
        return self.draw_steps(rng) or None

    def apply(self, image: PixelArray, drawn: list[Step], size: int) -> PixelArray:
        """Image of any size to one of the same size."""
        return apply_steps(image, drawn)

    def apply_batch(self, images: Tensor, drawn: Sequence[list[Step]], size: int) -> Tensor:
        """The same for a batch."""
        return apply_steps_batch(images, drawn)


def step(name: str, level: float, sign: int, space: dict[str, float]) -> Step:
    """An operation at a level from 0, where it does next to nothing, to 1; ``sign`` says to which side."""
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
    """So many operations out of fourteen, all at one strength (Cubuk et al. 2019, arXiv:1909.13719)."""

    def __init__(self, operations: int = 2, magnitude: float = 9, bins: int = 31) -> None:
        check_parameters("augmentation.rand_augment", locals())
        if magnitude > bins - 1:
            raise ConfigError(
                f"augmentation.rand_augment.magnitude={magnitude}: expected a number from 0 to {bins - 1}."
            )
        self.count, self.magnitude, self.bins = operations, magnitude, bins

    def draw_steps(self, rng: np.random.Generator) -> list[Step]:
        """Drawn evenly, with replacement; to either side."""
        names = rng.integers(len(ALL), size=self.count).tolist()
        level = self.magnitude / (self.bins - 1)
        return [step(ALL[name], level, _sign(rng), USUAL) for name in names]


class TrivialAugment(Operations):
    """One operation at a random strength, over wide ranges (Müller & Hutter 2021, arXiv:2103.10158)."""

    def __init__(self, bins: int = 31) -> None:
        check_parameters("augmentation.trivial_augment", locals())
        self.bins = bins

    def draw_steps(self, rng: np.random.Generator) -> list[Step]:
        """Operation and strength drawn evenly."""
        name, bin_ = ALL[int(rng.integers(len(ALL)))], int(rng.integers(self.bins))
        return [step(name, bin_ / (self.bins - 1), _sign(rng), WIDE)]


class AutoAugment(Operations):
    """A policy that was searched on a large set: ``imagenet``, ``cifar10``, ``svhn`` (Cubuk 2018, arXiv:1805.09501).

    One of its sub-policies at random: two operations, each with its own probability and magnitude. The tables are those
    that torchvision keeps.
    """

    def __init__(self, policy: str = "imagenet") -> None:
        from torchvision.transforms import v2  # of use to this view alone

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
        """None to two steps."""
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
    """ShearX to shear_x; AutoContrast is one word here."""
    spelled = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
    return {"auto_contrast": "autocontrast"}.get(spelled, spelled)
