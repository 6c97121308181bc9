"""A network of three convolutions."""

import torch
from torch import nn

from headstart.backbones import Backbone, Preprocessing, WeightsInfo


def three_convolutions(
    name: str = "three_convolutions", width: int = 16, weights: None = None, image_size: int | None = 32, seed: int = 0
) -> Backbone:
    """Return a new network from random weights, as named stages and a pooling."""
    sizes = [3, width, 2 * width, 4 * width]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        stages = [
            (f"stage{number}", nn.Sequential(nn.Conv2d(below, above, 3, 2, 1), nn.BatchNorm2d(above), nn.ReLU()))
            for number, (below, above) in enumerate(zip(sizes, sizes[1:], strict=False), start=1)
        ]
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    preprocessing = Preprocessing(image_size or 32, (0.5,) * 3, (0.25,) * 3, "bilinear", 1.0)
    return Backbone(name, stages, pool, preprocessing, WeightsInfo())
