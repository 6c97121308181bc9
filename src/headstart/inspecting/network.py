"""headstart inspect: list the stages of a backbone, and the fraction of each that every strategy trains."""

import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from headstart.commands.train import USER_ERRORS, answered, reason
from headstart.errors import ConfigError
from headstart.settings.configs import choices, composed
from headstart.settings.early_checks import check_bottleneck, reads_bottleneck, resolved_and_checked
from headstart.settings.parts import SEVERAL_TASK
from headstart.tables import share_text, table_text
from headstart.typed import group_of, key_of

if TYPE_CHECKING:
    from torch import nn

    from headstart.backbones.anatomy import StageAnatomy

CLASSES = 1000  # classes of the classifier in the tables, as in ImageNet
GIVE_SIZE = ("dataset", "dataset.image_size", "backbone.image_size", "experiment")  # settings that set the image size
HELP = """headstart inspect: list the stages of a network, and the fraction of each that every strategy trains

  headstart inspect backbone=resnet50                  at the image size of its weights
  headstart inspect backbone=vit_b_16 dataset=digits   at the image size of a data set
  headstart inspect backbone=resnet50 dataset.image_size=128 strategy=finetune_upper strategy.stages=1
  headstart inspect layers --help                      find the stage that transfers best
  headstart inspect augmentation --help                draw augmented images

It accepts every setting of headstart train, and --config-dir.
Nothing is downloaded: weights are random unless backbone.weights is set.
Stride and receptive field are in pixels. A receptive field may be larger than the image.
"whole image": each unit depends on all pixels.
Multiply-adds are for one image.
"""


@dataclass(frozen=True)
class Shares:
    """The fraction of parameters, from 0 to 1, that a strategy trains in each part of its network."""

    strategy: str
    parts: dict[str, float]


def inspect(arguments: Sequence[str]) -> int:
    """Print the tables of a backbone; return the exit code.

    The arguments are settings of ``headstart train``. Exit codes: 2 for a wrong setting, 130 if interrupted.
    """
    return answered(arguments, HELP, _print_tables)


def _print_tables(arguments: Sequence[str]) -> None:
    for text in _tables(list(arguments)):
        print(text, flush=True)


def _tables(arguments: list[str]) -> Iterator[str]:
    config, chosen = _composed(arguments)
    name, size, parts, feature_dim = _anatomy(config)
    yield f"{name}: one image of {size} x {size} pixels\n"
    yield _anatomy_table(parts, feature_dim)

    found, refused = _all_shares(arguments, chosen)
    yield "\nWhat each strategy trains, as fractions of the parameters\n"
    yield _shares_table(parts, found)
    yield from ["", *refused] if refused else []


def _all_shares(arguments: list[str], chosen: str) -> tuple[list[Shares], list[str]]:
    """Return what each strategy trains, and a reason for each strategy that refuses the network.

    The chosen strategy has the user's settings, the others their defaults.
    """
    found: list[Shares] = []
    refused: list[str] = []
    gc.freeze()  # gc.collect below need not search objects that stay
    try:
        for strategy in choices("strategy"):
            others = [*_without_strategy(arguments), f"strategy={strategy}"]
            own = arguments if strategy == chosen else others
            try:
                found.append(_shares(strategy, own))
            except USER_ERRORS as error:
                if strategy == chosen and len(others) <= len(own):  # the user's settings are wrong, not the defaults
                    raise
                refused.append(f"{strategy}: {reason(error, own)}")
            gc.collect()  # frees the network before the next one; Lightning's modules refer to themselves
    finally:
        gc.unfreeze()
    return found, refused


def _anatomy(config: DictConfig) -> "tuple[str, int, list[StageAnatomy], int]":
    """Return the backbone's name, image size in pixels, stages and number of features."""
    from headstart.backbones.anatomy import anatomy
    from headstart.backbones.readout import with_bottleneck
    from headstart.training.compose import make_backbone

    backbone = make_backbone(config)
    if reads_bottleneck(config):  # type: ignore[arg-type]
        backbone = with_bottleneck(backbone)
    return backbone.name, backbone.preprocessing.image_size, anatomy(backbone), backbone.feature_dim


def _composed(arguments: Sequence[str]) -> tuple[DictConfig, str]:
    """Return the settings of a run and the name of their strategy."""
    keys = set(map(key_of, arguments))
    own = [*arguments]
    if "backbone.weights" not in keys:
        own.append("backbone.weights=null")
    if keys.isdisjoint(GIVE_SIZE):
        own.append("backbone.image_size=null")
    config, choices = composed(own)
    if config.task.get("_target_") == SEVERAL_TASK:
        raise ConfigError("task=several: what a strategy trains does not depend on the outputs; leave the task out.")
    return resolved_and_checked(config, own), choices["strategy"]


def _without_strategy(arguments: Sequence[str]) -> list[str]:
    """Return the arguments without those of the strategy, which other strategies do not accept."""
    return [argument for argument in arguments if group_of(argument) != "strategy"]


def _shares(name: str, arguments: Sequence[str]) -> Shares:
    """Create a strategy as a run does, and count its trained parameters."""
    import numpy as np

    from headstart.inputs.signature import RGB
    from headstart.training.compose import fill_weights, kind_of, make_augmentation, make_backbone, make_strategy

    config, _ = _composed(arguments)
    check_bottleneck(config)  # type: ignore[arg-type]
    fill_weights(config)
    data: Any = SimpleNamespace(  # all that strategies read
        num_classes=CLASSES, class_weights=None, balance="none", signature=RGB, gives_masks=False,
        task=kind_of(config).name,
        train=SimpleNamespace(targets=np.arange(CLASSES, dtype=float)),
    )  # fmt: skip
    strategy = make_strategy(config, make_backbone(config), data, make_augmentation(config))
    parts = {**strategy.backbone.stages, "head": strategy.head}
    return Shares(name, {part: _share(module) for part, module in parts.items()})


def _share(module: "nn.Module") -> float:
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in module.parameters()]
    return sum(size for size, trained in sizes if trained) / max(1, sum(size for size, _ in sizes))


def _anatomy_table(parts: "Sequence[StageAnatomy]", feature_dim: int) -> str:
    header = ["stage", "output", "stride", "receptive field", "parameters", "multiply-adds"]
    rows = [
        [
            part.name,
            " x ".join(map(str, part.output)),
            "–" if part.stride is None else str(part.stride),
            "whole image" if part.receptive_field is None else str(part.receptive_field),
            f"{part.parameters:,}" if part.parameters else "–",
            amount(part.multiply_adds),
        ]
        for part in parts
    ]
    parameters, multiply_adds = CLASSES * (feature_dim + 1), CLASSES * feature_dim
    classifier = [f"classifier ({CLASSES} classes)", str(CLASSES), "–", "whole image"]
    rows.append([*classifier, f"{parameters:,}", amount(multiply_adds)])
    parameters += sum(part.parameters for part in parts)
    multiply_adds += sum(part.multiply_adds for part in parts)
    rows.append(["total", "", "", "", f"{parameters:,}", amount(multiply_adds)])
    return table_text(header, rows, [name not in ("stage", "output") for name in header])


def _shares_table(parts: "Sequence[StageAnatomy]", found: Sequence[Shares]) -> str:
    """Return a table with a row per strategy and a column per stage; a cell is empty if the network lacks the stage."""
    known = {name for shares in found for name in shares.parts}
    stages = [part.name for part in parts if part.name in known]  # the pooling has nothing to train
    columns = [*stages, *sorted(known - {*stages, "head"}), "head"]
    rows = [
        [shares.strategy, *(share_text(shares.parts[name]) if name in shares.parts else "" for name in columns)]
        for shares in found
    ]
    return table_text(["strategy", *columns], rows, [False, *[True] * len(columns)])


def amount(number: int) -> str:
    """Return a large number with three digits: 15.5 G, 387 M, 1.23 M, 42."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * size:
            value = number / size
            return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"
    return str(number) if number else "–"
