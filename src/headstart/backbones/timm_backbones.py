"""Any network of timm as a backbone."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from headstart.backbones.adapting import timm_adapt
from headstart.backbones.backbone import Backbone, Preprocessing, WeightsInfo
from headstart.backbones.cutting import CannotCutError, cut
from headstart.backbones.drop_path import no_drop_path, settle_timm_rate
from headstart.backbones.relu6 import save_once
from headstart.backbones.timm_sources import failed_build, load_source_weights, timm_name
from headstart.backbones.weights import failed_download, load_weights_file, state_sha256
from headstart.errors import ConfigError, nearest
from headstart.inputs.signature import RGB
from headstart.seeds import for_torch
from headstart.settings.leaf_table import check_parameters
from headstart.settings.sources import check_source, source_of


def timm_backbone(
    name: str,
    weights: str | None = "imagenet",
    image_size: int | None = None,
    seed: int = 0,
    drop_path: float | None = None,
) -> Backbone:
    """Return one of timm's networks without its classifier.

    ``name`` is one that ``timm.list_models()`` lists, with or without a tag, or ``local-dir:FOLDER`` (a folder with
    config.json and weights, as timm saves it), or ``hf-hub:USER/MODEL``. ``weights`` is None (random, from ``seed``),
    ``"imagenet"`` (timm's default for that name, or those of the folder or hub), or a file. ``drop_path`` is the rate
    of stochastic depth (None: the library's own), as in ``drop_path.py``.
    """
    import timm  # takes 0.2 s, so it is imported only when used

    if source_of(name):
        check_source(name)
    elif not isinstance(name, str) or not timm.is_model(name):
        raise ConfigError(f"timm has no network '{name}'.{nearest(str(name), timm.list_models())}")
    else:
        _check_tag(name)
    check_parameters("backbone", locals())
    own = weights == "imagenet" and not source_of(name)
    network = build(name, seed, pretrained=own, drop_path=drop_path)
    resize(name, network, image_size)
    info = WeightsInfo()
    if own:
        config = network.pretrained_cfg
        source = config.get("hf_hub_id") or config.get("url")
        tag = f"{config.get('architecture', name)}.{config.get('tag', '')}".rstrip(".")
        info = WeightsInfo(tag, state_sha256(network.state_dict()), str(source), 1.0)
    elif weights == "imagenet":
        info = load_source_weights(name, network)
    elif weights is not None:
        info = load_weights_file(network, weights, name, timm_adapt(network))
    return as_backbone(name, network, image_size, info)


def _check_tag(name: str) -> None:
    """Raise ConfigError for a tag (a name for the weights' training data) that this network has no weights for."""
    import timm

    architecture, dot, tag = name.partition(".")
    known = timm.list_pretrained(f"{architecture}.*") if dot else []
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError as error:  # timm's error for an unknown tag
        hint = nearest(name, known) if known else f" Did you mean '{architecture}'?"
        raise ConfigError(f"timm's '{architecture}' has no weights with the tag '{tag}'.{hint}") from error


def build(name: str, seed: int, pretrained: bool = False, drop_path: float | None = None) -> Any:
    """Return a timm network without classifier, initialised from ``seed``; the global random state is unchanged."""
    import timm

    options: dict[str, Any] = {"drop_path_rate": drop_path} if drop_path else {}  # not every network accepts it
    if source_of(name):
        options["in_chans"] = RGB.channels  # its description may say another number
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(for_torch("backbone", seed))
        try:
            network = timm.create_model(timm_name(name), pretrained=pretrained, num_classes=0, **options)
        except Exception as error:  # the hub's client, urllib and timm raise different errors
            if isinstance(error, TypeError) and drop_path and "drop_path_rate" in str(error):
                raise no_drop_path(drop_path, name) from error
            if source_of(name):
                raise failed_build(name, error) from error
            if not pretrained:
                raise
            config = timm.get_pretrained_cfg(name)
            if config is None or not (config.hf_hub_id or config.url):
                raise ConfigError(f"timm has no weights for '{name}'; set backbone.weights=null or a file.") from error
            what = f"https://huggingface.co/{config.hf_hub_id}" if config.hf_hub_id else config.url
            raise failed_download(name, f"model.safetensors from {what}", "a place of your choice", error) from error
    settle_timm_rate(network, name, drop_path)
    return network


def resize(name: str, network: Any, image_size: int | None) -> None:
    """Set the network's image size in place, if it depends on one."""
    native = _native_size(network)
    size = image_size or native
    built = getattr(getattr(network, "patch_embed", None), "img_size", None)  # a saved network may use another size
    if size != (built[0] if built else native) and hasattr(network, "set_input_size"):
        try:
            network.set_input_size(img_size=(size, size))
        except (AssertionError, RuntimeError, ValueError) as error:
            raise ConfigError(f"{name} cannot take images of {size} x {size} pixels: {error}") from error


def _native_size(network: Any) -> int:
    return int(network.pretrained_cfg["input_size"][1])


def as_backbone(name: str, network: Any, image_size: int | None, info: WeightsInfo) -> Backbone:
    """Cut a timm network (num_classes=0), already set to this image size, into stages."""
    config = network.pretrained_cfg
    size = image_size or _native_size(network)
    try:
        stages, pool = cut(network, size)
    except CannotCutError as error:
        raise ConfigError(
            f"timm's '{name}' cannot be cut into a chain of stages at {size} x {size} pixels ({error});"
            " choose another network or another dataset.image_size."
        ) from error
    save_once(nn.ModuleList(stage for _, stage in stages))
    interpolation = "bicubic" if config["interpolation"] == "bicubic" else "bilinear"
    preprocessing = Preprocessing(
        size,
        _for_each_channel(config["mean"]),
        _for_each_channel(config["std"]),
        interpolation,
        float(config["crop_pct"]),
    )
    return Backbone(name, stages, pool, preprocessing, info)


def _for_each_channel(values: Sequence[float]) -> tuple[float, ...]:
    """Return a value for each channel of an image; the value of a grey network counts for all of them."""
    return tuple(values) * RGB.channels if len(values) == 1 else tuple(values)
