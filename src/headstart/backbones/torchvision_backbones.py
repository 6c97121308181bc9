"""torchvision's classifiers as backbones, cut into stages by hand."""

import contextlib
import http.client
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
import torchvision
from torch import Tensor, nn

from headstart.backbones.adapting import torchvision_swin, torchvision_vit
from headstart.backbones.backbone import Backbone, Preprocessing, WeightsInfo
from headstart.backbones.drop_path import set_torchvision_rate
from headstart.backbones.placing import Adapt
from headstart.backbones.weights import failed_download, file_sha256, fill_from, load_weights_file
from headstart.errors import ConfigError, WeightsError, nearest
from headstart.seeds import for_torch
from headstart.settings.leaf_table import check_parameters

Stages = list[tuple[str, nn.Module]]
Cut = Callable[[Any], tuple[Stages, nn.Module]]
OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")  # old files have "norm.1." for "norm1."


def torchvision_backbone(
    name: str,
    weights: str | None = "imagenet",
    image_size: int | None = None,
    seed: int = 0,
    drop_path: float | None = None,
) -> Backbone:
    """Return one of torchvision's classifiers without its last layer.

    ``weights`` is None (random, from ``seed``), ``"imagenet"`` (torchvision's default), or a file. ``drop_path`` is the
    rate of stochastic depth (None: the library's own), as in ``drop_path.py``.
    """
    if name not in CUTS:
        raise ConfigError(f"There is no torchvision backbone '{name}'.{nearest(name, CUTS)}")
    check_parameters("backbone", locals())
    enum = torchvision.models.get_model_weights(name).DEFAULT
    preset = enum.transforms()
    size = image_size or preset.crop_size[0]
    kwargs: dict = {}
    if name == "vit_b_16":
        if size % 16:
            raise ConfigError(f"dataset.image_size={size}: vit_b_16 needs a multiple of its patch size, 16 pixels.")
        kwargs["image_size"] = size
    if name == "googlenet":
        kwargs |= {"aux_logits": False, "init_weights": True, "transform_input": False}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(for_torch("backbone", seed))
        network = torchvision.models.get_model(name, weights=None, **kwargs)
    set_torchvision_rate(network, name, drop_path)
    without_classifier(network)
    info = _load_imagenet(network, name, enum) if weights == "imagenet" else WeightsInfo()
    stages, pool = CUTS[name](network)
    # GoogLeNet's weights expect pixels scaled to [-1, 1]; torchvision converts them inside the network.
    mean, std = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)) if name == "googlenet" else (tuple(preset.mean), tuple(preset.std))
    preprocessing = Preprocessing(
        size, mean, std, preset.interpolation.value, preset.crop_size[0] / preset.resize_size[0]
    )
    backbone = Backbone(name, stages, pool, preprocessing, info)
    if weights is not None and weights != "imagenet":
        rename = _rename(name, _own_names(backbone, network))
        backbone.weights = load_weights_file(network, weights, name, _adapt(name, network), rename)
    return backbone


def without_classifier(network: Any) -> None:
    """Replace the last linear layer by the identity, in place: the network then gives its penultimate output."""
    for attribute in ("fc", "classifier", "heads", "head"):
        head = getattr(network, attribute, None)
        if isinstance(head, nn.Linear):
            setattr(network, attribute, nn.Identity())
            return
        if isinstance(head, nn.Sequential):
            head[-1] = nn.Identity()
            return
    raise ConfigError(f"{type(network).__name__} has no classifier that headstart knows.")


def downloaded(url: str) -> Path:
    """Return the place where torchvision keeps the file of an address."""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]


def _load_imagenet(network: Any, name: str, enum: torchvision.models.WeightsEnum) -> WeightsInfo:
    target = downloaded(enum.url)
    try:
        state = enum.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(f"'{target}' holds more than tensors; delete it to download it again.") from error
    except (URLError, OSError, RuntimeError, http.client.HTTPException) as error:
        with contextlib.suppress(OSError):
            target.with_suffix(".partial").unlink(missing_ok=True)
        raise failed_download(name, enum.url, str(target), error) from error
    info = fill_from(network, {(): state}, f"The file {target.name}", name, _adapt(name, network), _rename(name, {}))
    return replace(info, name=str(enum), sha256=file_sha256(target) if target.is_file() else None, source=enum.url)


def _rename(name: str, own: Mapping[str, str]) -> Callable[[str], str]:
    """Return a function that maps old names, and stage names of a run's checkpoint, to the network's names."""

    def rename(key: str) -> str:
        key = own.get(key[max(key.find("stages."), 0) :], key)
        return OLD_DENSENET.sub(r"\1\2", key) if name.startswith("densenet") else key

    return rename


def _own_names(backbone: Backbone, network: nn.Module) -> dict[str, str]:
    """Map the tensors' names in the stages to their names in the network."""
    names = {id(tensor): name for name, tensor in network.state_dict(keep_vars=True).items()}
    return {name: names[id(tensor)] for name, tensor in backbone.state_dict(keep_vars=True).items()}


def _adapt(name: str, network: Any) -> Adapt | None:
    """Return torchvision's conversion of this network's files, which resizes positions, or None."""
    if name.startswith("vit_"):
        return partial(torchvision_vit, image_size=network.image_size, patch=network.patch_size)
    return partial(torchvision_swin, wanted=network.state_dict()) if name.startswith("swin") else None


def _seq(*modules: nn.Module) -> nn.Sequential:
    return nn.Sequential(*modules)


def _fully_connected(net: Any, bounds: list[int]) -> tuple[Stages, nn.Module]:
    """Cut AlexNet or VGG into groups of convolutions and the two layers of 4096 units."""
    convs: Stages = [
        (f"conv{i + 1}", net.features[start:stop])
        for i, (start, stop) in enumerate(zip(bounds[:-1], bounds[1:], strict=True))
    ]
    fc6 = _seq(net.avgpool, nn.Flatten(), *net.classifier[:3])
    return [*convs, ("fc6", fc6), ("fc7", net.classifier[3:6])], nn.Identity()


def _googlenet(n: Any) -> tuple[Stages, nn.Module]:
    return [
        ("stem", _seq(n.conv1, n.maxpool1)),
        ("stage1", _seq(n.conv2, n.conv3, n.maxpool2)),
        ("stage2", _seq(n.inception3a, n.inception3b, n.maxpool3)),
        ("stage3", _seq(n.inception4a, n.inception4b, n.inception4c, n.inception4d, n.inception4e, n.maxpool4)),
        ("stage4", _seq(n.inception5a, n.inception5b)),
    ], _seq(n.avgpool, nn.Flatten())


def _resnet(n: Any) -> tuple[Stages, nn.Module]:
    return [
        ("stem", _seq(n.conv1, n.bn1, n.relu, n.maxpool)),
        *((f"stage{i}", getattr(n, f"layer{i}")) for i in range(1, 5)),
    ], _seq(n.avgpool, nn.Flatten())


def _densenet(n: Any) -> tuple[Stages, nn.Module]:
    f = n.features
    return [
        ("stem", _seq(f.conv0, f.norm0, f.relu0, f.pool0)),
        ("stage1", _seq(f.denseblock1, f.transition1)),
        ("stage2", _seq(f.denseblock2, f.transition2)),
        ("stage3", _seq(f.denseblock3, f.transition3)),
        ("stage4", _seq(f.denseblock4, f.norm5, nn.ReLU())),
    ], _seq(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _mobilenet(bounds: list[int]) -> Cut:
    def cut(n: Any) -> tuple[Stages, nn.Module]:
        stages = _features(n, bounds)
        # The hidden layer follows the pooling, so both form a separate stage.
        return [*stages, ("neck", _seq(n.avgpool, nn.Flatten(), n.classifier[0], n.classifier[1]))], nn.Identity()

    return cut


def _features(n: Any, bounds: list[int]) -> Stages:
    names = ["stem", *(f"stage{i}" for i in range(1, len(bounds)))]
    ends = [*bounds[1:], len(n.features)]
    return [(name, n.features[a:b]) for name, a, b in zip(names, bounds, ends, strict=True)]


def _efficientnet(n: Any) -> tuple[Stages, nn.Module]:
    return _features(n, [0, 2, 3, 4, 6]), _seq(n.avgpool, nn.Flatten())


def _convnext(n: Any) -> tuple[Stages, nn.Module]:
    neck = _seq(n.avgpool, n.classifier[0], nn.Flatten())
    return [*_features(n, [0, 1, 2, 4, 6]), ("neck", neck)], nn.Identity()


class _VitStem(nn.Module):
    """Turn patches into tokens, prepend the class token and add positions."""

    def __init__(self, conv_proj: nn.Module, class_token: nn.Parameter, position: nn.Parameter, drop: nn.Module):
        super().__init__()
        self.conv_proj, self.dropout = conv_proj, drop
        self.class_token, self.pos_embedding = class_token, position

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, S, S) to (N, 1 + patches, width)."""
        tokens = self.conv_proj(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(x.shape[0], -1, -1), tokens], dim=1)
        return self.dropout(tokens + self.pos_embedding)


class _FirstToken(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


def _vit(n: Any) -> tuple[Stages, nn.Module]:
    e = n.encoder
    quarter = len(e.layers) // 4
    stages = [(f"stage{i + 1}", _seq(*e.layers[i * quarter : (i + 1) * quarter])) for i in range(4)]
    stages[-1][1].append(e.ln)
    return [("stem", _VitStem(n.conv_proj, n.class_token, e.pos_embedding, e.dropout)), *stages], _FirstToken()


def _swin(n: Any) -> tuple[Stages, nn.Module]:
    stages = _features(n, [0, 1, 2, 4, 6])
    stages[-1] = (stages[-1][0], _seq(*stages[-1][1].children(), n.norm, n.permute))
    return stages, _seq(n.avgpool, nn.Flatten())


CUTS: dict[str, Cut] = {
    "alexnet": lambda n: _fully_connected(n, [0, 3, 6, 8, 10, 13]),
    "vgg16": lambda n: _fully_connected(n, [0, 5, 10, 17, 24, 31]),
    "googlenet": _googlenet,
    "resnet18": _resnet,
    "resnet34": _resnet,
    "resnet50": _resnet,
    "densenet121": _densenet,
    "mobilenet_v2": lambda n: (_features(n, [0, 2, 4, 7, 14]), _seq(nn.AdaptiveAvgPool2d(1), nn.Flatten())),
    "mobilenet_v3_small": _mobilenet([0, 1, 2, 4, 9]),
    "mobilenet_v3_large": _mobilenet([0, 2, 4, 7, 13]),
    "efficientnet_b0": _efficientnet,
    "convnext_tiny": _convnext,
    "vit_b_16": _vit,
    "swin_t": _swin,
}
