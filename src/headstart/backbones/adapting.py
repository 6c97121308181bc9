"""Adapt tensors from a file to a related network: from grey to colour images, or to another image size."""

import logging
import math
import re
import sys
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from headstart.backbones.placing import Adapt
from headstart.errors import WeightsError
from headstart.inputs.signature import RGB

log = logging.getLogger(__name__)
# Tensors whose shape depends on the image size.
POSITIONS = re.compile(r"pos_emb|position|rel_pos|rel_height|rel_width")
INDICES = ("relative_position_index", "relative_coords_table", "attn_mask")  # computed, not learned


def adapted(
    tensors: dict[str, Tensor], wanted: Mapping[str, Tensor], what: str, adapt: Adapt | None
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return tensors that fit the network's shapes, and a description of each change.

    A first layer for grey images is spread over the three channels. ``adapt`` may rename tensors, reshape them and
    resize positions. If it changes the number of values of any other tensor, that tensor keeps its old shape: it
    belongs to another network. Raises WeightsError for a tensor that is not dense.
    """
    if not wanted.keys() & tensors.keys() and adapt is None:
        return tensors, ()
    for name, tensor in tensors.items():
        if tensor.is_meta or tensor.is_nested or tensor.layout != torch.strided:
            kind = "has no values" if tensor.is_meta else "is not dense"
            raise WeightsError(f"{what}: its tensor {name} {kind}; expected dense tensors with values.")
    made = {name: _spread(tensor, wanted.get(name)) for name, tensor in tensors.items()}
    grey = [name for name, tensor in made.items() if tensor is not tensors[name]]
    ready = _adapted_by(adapt, made) if adapt else made
    for name, tensor in made.items():
        if name in ready and ready[name].numel() != tensor.numel() and not POSITIONS.search(name):
            ready[name] = tensor
    changed = [f"{name}: from one grey channel to three colour channels, a third each" for name in grey]
    stretched = [name for name, tensor in made.items() if name in ready and ready[name].numel() != tensor.numel()]
    if stretched:
        first, count = stretched[0], len(stretched) - 1
        old, new = tuple(made[first].shape), tuple(ready[first].shape)
        more = f" and {count} more" if count else ""
        changed.append(f"positions resized for this image size: {first} from {old} to {new}{more}")
    return ready, tuple(changed)


def timm_adapt(network: nn.Module) -> Adapt | None:
    """Return timm's own conversion of weights files for this network's family, or None."""
    found: Any = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    return None if found is None else lambda state: dict(found(state, network))


def torchvision_vit(state: dict[str, Tensor], image_size: int, patch: int) -> dict[str, Tensor]:
    """Return a state dict with positions resized for this image size by torchvision."""
    from torchvision.models.vision_transformer import interpolate_embeddings

    return dict(interpolate_embeddings(image_size, patch, OrderedDict(state)))


def torchvision_swin(state: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict with tables of relative positions resized for this window size by timm."""
    made = {}
    for name, tensor in state.items():
        own = wanted.get(name)
        if own is not None and own.shape != tensor.shape:
            if name.endswith(INDICES):
                continue
            if name.endswith("relative_position_bias_table"):
                from timm.layers import resize_rel_pos_bias_table

                window = (math.isqrt(len(own)) + 1) // 2
                tensor = resize_rel_pos_bias_table(tensor, (window, window), tuple(own.shape))
        made[name] = tensor
    return made


def _spread(tensor: Tensor, own: Tensor | None) -> Tensor:
    """Return a first layer (N, 1, H, W) spread over three channels, with the same output for grey images."""
    if own is None or tensor.ndim != 4 or own.ndim != 4 or own.shape[1] != RGB.channels or tensor.shape[1] != 1:
        return tensor
    if not tensor.is_floating_point() or own.shape[0] != tensor.shape[0] or own.shape[2:] != tensor.shape[2:]:
        return tensor
    return tensor.expand_as(own) / RGB.channels


def _adapted_by(adapt: Adapt, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors after the library's conversion; if it fails, the unchanged tensors, to be checked later."""
    try:
        ready = adapt(dict(tensors))
    except Exception as error:  # library code on an arbitrary file may raise anything
        log.debug("not adapted: %s", error)
        return dict(tensors)
    return {name: tensor for name, tensor in ready.items() if isinstance(tensor, Tensor)}
