"""Backbones: networks without a classifier, cut into stages."""

from headstart.backbones.backbone import Backbone, Preprocessing, WeightsInfo
from headstart.backbones.efficientnet_lite import efficientnet_lite
from headstart.backbones.readout import read_from, truncated
from headstart.backbones.timm_backbones import timm_backbone
from headstart.backbones.torchvision_backbones import torchvision_backbone

__all__ = [
    "Backbone",
    "Preprocessing",
    "WeightsInfo",
    "efficientnet_lite",
    "read_from",
    "timm_backbone",
    "torchvision_backbone",
    "truncated",
]
