"""The view that a policy file describes."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from headstart.augmentations.learned.policy import read_policy
from headstart.augmentations.views import Picture, View

Step = tuple[str, float]  # an operation and its physical, signed magnitude


class Learned(View):
    """What ``headstart policy`` found (Hataya et al. 2019, arXiv:1911.06987); ``policy`` is the file that it wrote."""

    def __init__(self, policy: str | Path) -> None:
        self.policy = read_policy(policy)

    def draw_steps(self, rng: np.random.Generator) -> list[Step]:
        """A sub-policy, of each of its steps an operation, and whether and how strongly it is carried out."""
        return self.policy.draw(rng)

    def __call__(self, image: Picture, rng: np.random.Generator, size: int) -> Picture:
        """Picture of any size to one of the same size."""
        picture = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        for name, magnitude in self.draw_steps(rng):
            picture = _carried_out(name, magnitude, picture)
        return picture.permute(1, 2, 0).contiguous().numpy()


def _carried_out(name: str, magnitude: float, picture: Tensor) -> Tensor:
    """The picture (3, H, W), uint8, after one operation; black comes in from outside."""
    height, width = picture.shape[-2:]
    tangent = float(np.degrees(np.arctan(magnitude)))
    moved = {"translate_x": [magnitude * width, 0], "translate_y": [0, magnitude * height]}.get(name, [0, 0])
    sheared = {"shear_x": [tangent, 0.0], "shear_y": [0.0, tangent]}.get(name, [0.0, 0.0])
    match name:
        case "shear_x" | "shear_y" | "translate_x" | "translate_y":
            corner = None if name.startswith("translate") else [0.5, 0.5]
            return tv.affine(picture, 0.0, moved, 1.0, sheared, InterpolationMode.BILINEAR, center=corner)
        case "rotate":
            return tv.rotate(picture, magnitude, InterpolationMode.BILINEAR)
        case "brightness":
            return tv.adjust_brightness(picture, magnitude)
        case "contrast":
            return tv.adjust_contrast(picture, magnitude)
        case "color":
            return tv.adjust_saturation(picture, magnitude)
        case "sharpness":
            return tv.adjust_sharpness(picture, magnitude)
        case "posterize":
            return tv.posterize(picture, round(magnitude))
        case "solarize":
            return torch.where(picture >= magnitude, 255 - picture, picture)
        case "autocontrast":
            return tv.autocontrast(picture)
        case "equalize":
            return tv.equalize(picture)
        case "invert":
            return tv.invert(picture)
    return picture
