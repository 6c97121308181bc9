"""Augment single images by views and batches by mixes, composable in a list."""

from headstart.augmentations.augmentation import Augmentation
from headstart.augmentations.augmix import AugMix
from headstart.augmentations.colour import ColorJitter
from headstart.augmentations.crops import CropResize, FlipCrop
from headstart.augmentations.degrading import Blur, Jpeg, RandomErasing
from headstart.augmentations.fixed_views import FixedViews
from headstart.augmentations.learned.view import Learned
from headstart.augmentations.mixes import BatchMixing, CutMix, ManifoldMixup, Mix, Mixup, MixupOrCutMix
from headstart.augmentations.pipeline import PendingBatch, Pipeline
from headstart.augmentations.policies import AutoAugment, Operations, RandAugment, TrivialAugment
from headstart.augmentations.view import View

__all__ = [
    "AugMix",
    "Augmentation",
    "AutoAugment",
    "BatchMixing",
    "Blur",
    "ColorJitter",
    "CropResize",
    "CutMix",
    "FixedViews",
    "FlipCrop",
    "Jpeg",
    "Learned",
    "ManifoldMixup",
    "Mix",
    "Mixup",
    "MixupOrCutMix",
    "Operations",
    "PendingBatch",
    "Pipeline",
    "RandAugment",
    "RandomErasing",
    "TrivialAugment",
    "View",
]
