"""Name the builders of a network's parts; a model file names no other code, unless its user allows a package."""

import pkgutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf

from headstart import strategies, tasks
from headstart.backbones import efficientnet_lite, timm_backbone, torchvision_backbone
from headstart.errors import ConfigError, HeadstartError, nearest
from headstart.inputs.decoding import Decoder
from headstart.models.description import BuiltPart
from headstart.settings.targets import located

Builder = Callable[..., Any]
_STRATEGIES = [getattr(strategies, name) for name in strategies.__all__]
_TASKS = (
    tasks.Classification, tasks.Regression, tasks.Multilabel, tasks.Segmentation, tasks.DenseRegression, tasks.Several
)  # fmt: skip
BUILDERS: Mapping[str, Mapping[str, Builder]] = {
    "backbone": {one.__name__: one for one in (efficientnet_lite, timm_backbone, torchvision_backbone)},
    "strategy": {one.config_name(): one for one in _STRATEGIES if hasattr(one, "config_name")},
    "head": {one.kind: one for one in (tasks.LinearHead, tasks.MlpHead, tasks.CosineHead, tasks.UpconvHead)},
    "task": {one.kind: one for one in _TASKS},
    "decoder": {"image": Decoder},
}


def part_of(group: str, settings: Mapping[str, Any]) -> BuiltPart:
    """Return a part by the name of its builder, from a group of settings with a ``_target_``."""
    target = str(settings["_target_"])
    found: Any = located(target)
    plain: Any = OmegaConf.to_container(settings) if OmegaConf.is_config(settings) else dict(settings)
    kept = {name: value for name, value in plain.items() if not name.startswith("_")}
    if group == "backbone" and "weights" in kept:
        kept["weights"] = None  # the model has its own
    return BuiltPart(name_of(group, found), kept)


def name_of(group: str, builder: Any) -> str:
    """Return the name of a builder; for a part that is not headstart's own, its place as package.module.Class."""
    names = [name for name, one in BUILDERS[group].items() if one is builder]
    return names[0] if names else f"{builder.__module__}.{builder.__qualname__}"


def builder_of(group: str, part: BuiltPart, allowed: Sequence[str] = ()) -> Builder:
    """Return the builder of a part.

    One that is not headstart's own is imported only from the packages ``allowed``. Raises ConfigError.
    """
    known = BUILDERS[group]
    if part.builder in known:
        return known[part.builder]
    package = part.builder.partition(".")[0]
    if "." not in part.builder:
        raise ConfigError(f"The model's {group} is '{part.builder}', which is unknown.{nearest(part.builder, known)}")
    if package not in allowed:
        raise ConfigError(
            f"The model's {group} is {part.builder}, code of another package: if you trust it, add --trust {package}."
        )
    try:
        found: Builder = pkgutil.resolve_name(part.builder)
    except Exception as error:  # importing raises whatever the module does
        raise ConfigError(f"The model's {group} {part.builder} cannot be imported ({_line(error)}).") from error
    return found


def built(group: str, part: BuiltPart, allowed: Sequence[str] = (), **given: Any) -> Any:
    """Return a part, built from its settings and from ``given``. Raises ConfigError for settings that do not fit."""
    builder = builder_of(group, part, allowed)
    try:
        return builder(**{**part.settings, **given})
    except HeadstartError:
        raise
    except Exception as error:  # settings of a damaged file may raise anything
        raise ConfigError(f"The model's {group} '{part.builder}' cannot be built ({_line(error)}).") from error


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
