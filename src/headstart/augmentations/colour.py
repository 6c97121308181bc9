"""Change brightness, contrast, saturation and hue at random."""

from collections.abc import Sequence

import numpy as np

from headstart.augmentations.operations import Step
from headstart.augmentations.policies import Operations
from headstart.augmentations.view import as_range
from headstart.settings.leaf_table import check_parameters


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
        check_parameters("augmentation.color_jitter", locals())
        self.ranges = {
            "brightness": as_range(brightness),
            "contrast": as_range(contrast),
            "color": as_range(saturation),
            "hue": as_range(hue),
        }
        self.share, self.grey = share, grey

    def draw_steps(self, rng: np.random.Generator) -> list[Step]:
        """Draw the operations whose range allows a change."""
        names = [name for name, limits in self.ranges.items() if limits != ((0, 0) if name == "hue" else (1, 1))]
        order, jittered, grey = rng.permutation(len(names)), rng.random() < self.share, rng.random() < self.grey
        steps: list[Step] = []
        if jittered:
            steps = [(names[place], rng.uniform(*self.ranges[names[place]])) for place in order]
        return [*steps, ("color", 0.0)] if grey else steps
