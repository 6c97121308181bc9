"""Any of timm's networks."""

from typing import Any

import torch

from headstart.backbones.backbone import Backbone, Preprocessing, WeightsInfo, check_image_size
from headstart.backbones.cutting import CannotCutError, cut
from headstart.backbones.drop_path import check_drop_path, no_drop_path, settle_timm_rate
from headstart.backbones.weights import failed_download, load_weights_file, state_sha256
from headstart.errors import ConfigError, nearest


def timm_backbone(
    name: str, weights: str | None = None, image_size: int | None = None, seed: int = 0, drop_path: float | None = None
) -> Backbone:
    """One of timm's networks (any name ``timm.list_models()`` gives, with or without a tag) without its classifier.

    ``weights`` is None (random, from ``seed``), ``"imagenet"`` (timm's default ones for that name), or a file.
    ``drop_path`` is the rate of stochastic depth (None: the library's own), as in ``drop_path.py``.
    """
    import timm  # 0.2 s, for those who use it

    if not isinstance(name, str) or not timm.is_model(name):
        raise ConfigError(f"timm has no network '{name}'.{nearest(str(name), timm.list_models())}")
    _check_tag(name)
    check_image_size(image_size)
    network = build(name, seed, pretrained=weights == "imagenet", drop_path=drop_path)
    info = WeightsInfo()
    if weights == "imagenet":
        config = network.pretrained_cfg
        source = config.get("hf_hub_id") or config.get("url")
        tag = f"{config.get('architecture', name)}.{config.get('tag', '')}".rstrip(".")
        info = WeightsInfo(tag, state_sha256(network.state_dict()), str(source), 1.0)
    elif weights is not None:
        info = load_weights_file(network, weights, name)
    return as_backbone(name, network, image_size, info)


def _check_tag(name: str) -> None:
    """Refuse a tag, which says what weights were learned on, that this network has no weights under."""
    import timm

    architecture, dot, tag = name.partition(".")
    known = timm.list_pretrained(f"{architecture}.*") if dot else []
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError as error:  # what timm raises for it
        hint = nearest(name, known) if known else f" Did you mean '{architecture}'?"
        raise ConfigError(f"timm's '{architecture}' has no weights with the tag '{tag}'.{hint}") from error


def build(name: str, seed: int, pretrained: bool = False, drop_path: float | None = None) -> Any:
    """A timm network without classifier, initialised from ``seed``; the global random state is left alone."""
    import timm

    rate = check_drop_path(drop_path)
    asked: dict[str, Any] = {"drop_path_rate": rate} if rate else {}  # not every network takes one
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            network = timm.create_model(name, pretrained=pretrained, num_classes=0, **asked)
        except Exception as error:  # the hub's client, urllib and timm each raise their own
            if isinstance(error, TypeError) and rate and "drop_path_rate" in str(error):
                raise no_drop_path(rate, name) from error
            if not pretrained:
                raise
            config = timm.get_pretrained_cfg(name)
            if config is None or not (config.hf_hub_id or config.url):
                raise ConfigError(f"timm has no weights for '{name}'; set backbone.weights=null or a file.") from error
            what = f"https://huggingface.co/{config.hf_hub_id}" if config.hf_hub_id else config.url
            raise failed_download(name, f"model.safetensors from {what}", "a place of your choice", error) from error
    settle_timm_rate(network, name, rate)
    return network


def as_backbone(name: str, network: Any, image_size: int | None, info: WeightsInfo) -> Backbone:
    """Cut a timm network (num_classes=0) into stages."""
    config = network.pretrained_cfg
    native = int(config["input_size"][1])
    size = image_size or native
    if size != native and hasattr(network, "set_input_size"):
        try:
            network.set_input_size(img_size=(size, size))
        except (AssertionError, RuntimeError, ValueError) as error:
            raise ConfigError(f"{name} cannot take pictures of {size} x {size} pixels: {error}") from error
    try:
        stages, pool = cut(network, size)
    except CannotCutError as error:
        raise ConfigError(
            f"timm's '{name}' does not run as a chain of stages at {size} x {size} pixels ({error});"
            " choose another network or another dataset.image_size."
        ) from error
    interpolation = "bicubic" if config["interpolation"] == "bicubic" else "bilinear"
    preprocessing = Preprocessing(
        size,
        tuple(config["mean"]),
        tuple(config["std"]),
        interpolation,
        float(config["crop_pct"]),
    )
    return Backbone(name, stages, pool, preprocessing, info)
