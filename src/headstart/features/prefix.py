"""Hold the frozen part of a network, from bytes to the input of the trained part, and key its output."""

import hashlib
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx, nn

from headstart.backbones import Backbone, MapRows
from headstart.backbones.backbone import read
from headstart.backbones.weights import state_sha256
from headstart.settings.packages import own_code
from headstart.versions import code_version, package_version

DATA = ("inputs", "data/module.py", "data/decoded_splits.py", "data/image_split.py")
LIBRARIES = ("headstart", "torch", "torchvision", "timm")  # whose versions are in the key anyway
CODE = ("backbones", "features", *DATA, "seeds.py")


class FrozenPrefix(nn.Module):
    """Normalisation and the lowest stages of a backbone, and the pooling if all stages are included.

    It takes images as stored in memory, (N, S, S, C).
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, backbone: Backbone, stop: int, scale: Tensor, shift: Tensor, channels_last: bool = True) -> None:
        super().__init__()
        self.channels_last = channels_last
        names = backbone.stage_names[:stop]
        self.name, self.stage_names = backbone.name, names
        self.stop = stop  # the stage that its outputs enter
        self.pooled = stop == len(backbone.stage_names)
        self.exact = not self.pooled or isinstance(backbone.pool, MapRows)  # whether rounding has to be PyTorch's own
        self.taps = backbone.taps if self.pooled else ()
        self.stages = nn.ModuleList([backbone.stages[name] for name in names])
        self.pool = backbone.pool if self.pooled else nn.Identity()
        self.image_size, self.signature = backbone.preprocessing.image_size, backbone.signature
        self.register_buffer("scale", scale.detach().clone())
        self.register_buffer("shift", shift.detach().clone())
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return the output of the last frozen stage for stored images (N, S, S, C)."""
        x = images.permute(0, 3, 1, 2)
        x = (x if self.channels_last else x.contiguous()).to(self.scale.dtype) * self.scale + self.shift
        if self.pooled:
            return read(list(self.stages), self.taps, self.pool, x)
        for stage in self.stages:
            x = stage(x)
        return x

    @property
    def label(self) -> str:
        """Return the frozen part in words."""
        return "pooled features" if self.pooled else f"output of {self.stage_names[-1]}"

    def key(self) -> dict[str, Any]:
        """Return structure, weights, preprocessing and code: prefixes with equal keys give equal rows."""
        return {
            "backbone": self.name,
            "stages": self.stage_names,
            "pooled": self.pooled,
            "taps": list(self.taps),
            "image_size": self.image_size,
            "channels_last": self.channels_last,
            "structure": hashlib.sha256(_structure(self).encode()).hexdigest(),
            "tensors": state_sha256(self.state_dict()),
            "code": code_version(*CODE),
            **own_entry([*self.modules()]),
            "packages": {name: package_version(name) for name in ("torch", "torchvision", "timm", "pillow", "numpy")},
        }


def own_entry(parts: Iterable[object]) -> dict[str, Any]:
    """Return the entry of a key for the code of other packages; none if only known libraries define these parts."""
    homes = {type(part).__module__.partition(".")[0] for part in parts}
    found = own_code(home for home in homes if home not in LIBRARIES)
    return {"own_code": found} if found else {}


def _structure(module: nn.Module) -> str:
    """Return every layer with its settings, and the forward code of traced parts."""
    traced = [part.code for part in module.modules() if isinstance(part, fx.GraphModule)]
    return "\n".join([repr(module), *traced])


def reference(prefix: FrozenPrefix, images: Tensor, autocast: torch.dtype | None = None) -> Tensor:
    """Return PyTorch's own output, layer by layer, to compare engines with."""
    with torch.inference_mode(), torch.autocast(images.device.type, autocast, enabled=autocast is not None):
        return prefix(images).float()
