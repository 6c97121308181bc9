"""Random brightness, contrast, saturation and hue."""

from collections.abc import Sequence

import numpy as np

from headstart.augmentations.operations import Step
from headstart.augmentations.policies import Operations
from headstart.augmentations.view import check_range, check_share


class ColorJitter(Operations):
    """Change brightness, contrast, saturation and hue in random order, for a fraction of the images.

    Each range is a pair of factors, [1, 1] for no change; hue is a pair of fractions of a full turn, [0, 0] for no
    change. ``grey`` is the fraction of images that are turned grey afterwards. SimCLR's values (Chen et al. 2020,
    arXiv:2002.05709, appendix A) are [0.2, 1.8] three times, [-0.2, 0.2], share 0.8, grey 0.2.
    """

    def __init__(
        self,
        brightness: Sequence[float] = (0.6, 1.4),
        contrast: Sequence[float] = (0.6, 1.4),
        saturation: Sequence[float] = (0.6, 1.4),
        hue: Sequence[float] = (-0.05, 0.05),
        share: float = 1.0,
        grey: float = 0.0,
    ) -> None:
        factors = "two factors, the smaller one first, such as [0.6, 1.4]"
        self.ranges = {
            "brightness": check_range("color_jitter.brightness", brightness, 0, 100, factors),
            "contrast": check_range("color_jitter.contrast", contrast, 0, 100, factors),
            "color": check_range("color_jitter.saturation", saturation, 0, 100, factors),
            "hue": check_range("color_jitter.hue", hue, -0.5, 0.5, "two fractions of a turn, such as [-0.05, 0.05]"),
        }
        self.share = check_share("color_jitter.share", share)
        self.grey = check_share("color_jitter.grey", grey)

    def draw_steps(self, rng: np.random.Generator) -> list[Step]:
        """Draw the operations whose range allows a change."""
        names = [name for name, limits in self.ranges.items() if limits != ((0, 0) if name == "hue" else (1, 1))]
        order, jittered, grey = rng.permutation(len(names)), rng.random() < self.share, rng.random() < self.grey
        steps: list[Step] = []
        if jittered:
            steps = [(names[place], rng.uniform(*self.ranges[names[place]])) for place in order]
        return [*steps, ("color", 0.0)] if grey else steps
