"""Backbones: networks without a classifier, cut into stages."""

from headstart.backbones.backbone import Backbone, Preprocessing, WeightsInfo
from headstart.backbones.efficientnet_lite import efficientnet_lite
from headstart.backbones.readout import MapRows, bottleneck_in, read_from, read_maps, truncated
from headstart.backbones.timm_backbones import timm_backbone
from headstart.backbones.torchvision_backbones import torchvision_backbone

__all__ = [
    "Backbone",
    "MapRows",
    "Preprocessing",
    "WeightsInfo",
    "bottleneck_in",
    "efficientnet_lite",
    "read_from",
    "read_maps",
    "timm_backbone",
    "torchvision_backbone",
    "truncated",
]
