"""Refuse wrong settings before torch is imported and before anything is written."""

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from headstart.errors import ConfigError, nearest
from headstart.files import expanded, printable
from headstart.patch_grid import patch_sizes
from headstart.settings.configs import refuse_parts
from headstart.settings.effects import flatten, is_seed
from headstart.settings.leaf_table import ANY_GROUP, SEED, TRAINER, check_leaves
from headstart.settings.leaves import check_leaf, is_whole, one_of, optional
from headstart.settings.parts import SEVERAL_TASK, check_several
from headstart.settings.rules import (
    check_dataset,
    check_no_root,
    check_solved_balance,
    existing_folder,
    existing_images,
    existing_table,
    existing_weights,
    given_root,
    is_file,
)
from headstart.settings.sources import check_source, source_of
from headstart.settings.targets import check_packages, check_targets

WHERE = one_of("auto", "workers", "device")
TEST_VIEWS = optional(one_of("flip", "five_crop", "ten_crop"))
BESIDE_VIEWS = ("where", "policy")  # keys of the group augmentation that are neither view nor mix
SIFT_PYRAMID = "sift_pyramid"
REFERENCES = ("raw_pixels", SIFT_PYRAMID)  # references that references/computing.py computes
TRUST = "allow_targets=[{package}]"  # the argument by which a user trusts a package
NEEDED = ("dataset", "backbone", "strategy", "task", "optimizer", "scheduler", "trainer", "seeds")  # groups of a run
OPTIONAL = ("augmentation", "head", "logger", "callbacks", "features", "sweep")
# Strategies that compute their head, and their names in the settings.
SOLVED = {"LinearProbe": "linear_probe", "Ridge": "ridge", "Knn": "knn", "NearestCentroid": "nearest_centroid"}
EMBEDDED = ("headstart.data.Digits", "headstart.data.Textures")
LIGHTNING_TRAINER = "pytorch_lightning.Trainer"
TRAINER_ELSEWHERE = ("max_steps", "val_check_interval", "check_val_every_n_epoch", "plugins")  # without a row
# Lightning's callbacks that have no effect here, and what to use instead.
WITHOUT_EFFECT = {"LearningRateFinder": "strategy.lr=auto", "BatchSizeFinder": "trainer.auto_batch=true"}
FOLDER_CLASS, TABLE_CLASS = "headstart.data.ImageFolder", "headstart.data.CsvFile"
PRETRAINING = "headstart.pretraining.Pretraining"
CONTRAST = "headstart.pretraining.Contrast"
MASK_CLASS = "headstart.masks.ImageMask"
# Loggers that need a package, which is also the name of the extra and of the file in conf/logger.
TRACKERS = {f"headstart.trackers.{name.title()}Curves": name for name in ("wandb", "mlflow", "trackio")}


def check_early(config: DictConfig, overrides: Sequence[str]) -> list[str]:
    """Check the settings and return the packages in allow_targets, which the command trusts.

    ``overrides`` are the settings as typed. Raises a HeadstartError or an error of OmegaConf.
    """
    refuse_parts(overrides)
    return check_resolved(OmegaConf.to_container(resolved(config)), overrides)


def check_resolved(settings: Any, overrides: Sequence[str]) -> list[str]:
    """Check settings without references, as ``check_early`` does."""
    trusted = trusted_packages(settings, overrides)
    check_packages(settings, trusted, TRUST)
    check_settings(settings)
    check_installed(settings)
    check_objective(settings, overrides)
    return trusted


def resolved(config: DictConfig, complete: bool = True) -> DictConfig:
    """Return the settings with all references resolved, so that the run uses exactly what was checked.

    Raises ConfigError for a resolved value that holds another reference. If ``complete``, raises OmegaConf's error for
    a setting without a value.
    """
    settings: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=complete)
    for key, value in flatten(settings).items():
        if "${" in str(value):
            raise ConfigError(f"{key}={value}: no setting may hold ${{ after its references are resolved.")
    filled: DictConfig = OmegaConf.create(settings)
    return filled


def resolved_and_checked(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Return the resolved settings of a command that makes no run, and check every class that they name.

    Places are checked first, because loading torch takes seconds. Raises a HeadstartError.
    """
    config = resolved(config, complete=False)
    settings: Any = OmegaConf.to_container(config)
    check_places(settings)
    check_targets(settings, trusted_packages(settings, overrides), TRUST)
    return config


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise a HeadstartError for wrong names, numbers and places."""
    check_groups(settings)
    references = settings.get("references", [])
    if not isinstance(references, list | ListConfig):
        raise ConfigError(f"references={references}: expected a list, such as [raw_pixels].")
    check_references(references)
    check_seeds(settings)
    check_needed(settings)
    task = str(settings["task"].get("_target_"))
    if SIFT_PYRAMID in references and task != "headstart.tasks.Classification":
        raise ConfigError(f"references=[{SIFT_PYRAMID}] needs task=classification, not {task}; use raw_pixels.")
    if str(settings["dataset"].get("_target_")).startswith(("headstart.data.", "headstart.masks.")):
        check_dataset(settings["dataset"])
    check_leaves(settings)
    if settings["task"].get("_target_") == SEVERAL_TASK:
        check_several(settings["task"], settings["dataset"])
    check_trainer(settings)
    check_callbacks(settings)
    check_augmentation(settings)
    check_masks(settings)
    check_image_size(settings["task"], settings["backbone"].get("image_size"))
    if name := SOLVED.get(str(settings["strategy"].get("_target_")).removeprefix("headstart.strategies.")):
        check_solved_balance(settings["dataset"].get("balance", "none"), name)
    check_bottleneck(settings)
    check_places(settings)


def reads_bottleneck(settings: Mapping[str, Any]) -> bool:
    """Return whether the head reads the bottleneck that came with the weights of an autoencoder."""
    stages = (settings.get("head") or {}).get("stages")
    return "bottleneck" in (stages if isinstance(stages, list | ListConfig) else [stages])


def check_bottleneck(settings: Mapping[str, Any]) -> None:
    """Raise ConfigError for a bottleneck above stages that may be random."""
    if reads_bottleneck(settings) and str(settings["strategy"].get("_target_")).endswith(".LayerTransfer"):
        raise ConfigError(
            "head.stages: a bottleneck reads what the whole network learned, and strategy=layer_transfer may start its"
            " upper stages from random weights; choose another strategy."
        )


def check_image_size(task: Mapping[str, Any], side: int | None) -> None:
    """Raise ConfigError if patches or cells of an objective do not fit images of ``side`` pixels; None is unknown."""
    if side and {"patch", "gap", "jitter"} <= task.keys():
        patch_sizes(side, task["patch"], task["gap"], task["jitter"])
    if side and task.get("masked") and task.get("cell", 0) >= side:
        raise ConfigError(f"task.cell={task['cell']}: a cell hides the whole image of {side} pixels; use smaller ones.")


def check_objective(settings: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Raise ConfigError for groups that only objective=supervised takes, and for contrast on parts of a batch."""
    if settings["strategy"].get("_target_") != PRETRAINING:
        return
    if settings["task"].get("_target_") == CONTRAST and settings["trainer"].get("auto_batch"):
        raise ConfigError(
            "trainer.auto_batch may pass a batch in parts, and objective=contrast compares the images of a whole batch:"
            " leave it out, and use a smaller dataset.batch_size if memory runs out."
        )
    for override in overrides:
        group, _, value = override.lstrip("+").partition("=")
        if group in ("strategy", "task", "head", "test_views", "references") and value not in ("null", "[]"):
            raise ConfigError(
                f"{group}={value}: an objective that learns from images alone has no {group}; leave it out, or use"
                " objective=supervised."
            )


def check_groups(settings: Mapping[str, Any]) -> None:
    """Raise ConfigError for a group that is missing or not a mapping, and for an output_dir that is not a path."""
    for group in (*NEEDED, *OPTIONAL):
        empty = group in OPTIONAL and settings.get(group) in (None, [], {})
        if not empty and not isinstance(settings.get(group), Mapping):
            raise ConfigError(f"{group}={settings.get(group)}: expected a group of settings, as --cfg job shows it.")
    place = settings.get("output_dir")
    if not isinstance(place, str | int) or isinstance(place, bool) or not str(place).strip():
        raise ConfigError(f"output_dir={place}: expected the path of a folder, such as runs.")
    full = str(Path(str(place)).absolute())
    try:
        full.encode()
    except UnicodeEncodeError:
        raise ConfigError(
            f"output_dir={printable(str(place))}: TensorBoard needs a path in UTF-8, and"
            f" '{printable(full)}' is not; choose another folder."
        ) from None


def check_seeds(settings: Mapping[str, Any]) -> None:
    """Raise ConfigError for a seed that is not a whole number."""
    streams = {f"seeds.{name}": seed for name, seed in settings["seeds"].items()}
    for group in NEEDED:
        streams |= {f"{group}.{name}": seed for name, seed in settings[group].items() if is_seed(name)}
    for name, seed in {"seed": settings["seed"], **streams}.items():
        check_leaf(name, seed, SEED)


def check_needed(settings: Mapping[str, Any]) -> None:
    """Raise ConfigError if a setting that every run needs is missing."""
    for group, name in (("optimizer", "lr"), ("trainer", "max_epochs")):
        if name not in settings[group]:
            raise ConfigError(f"{group}.{name} is not set; give it a value, as in {group}.{name}=...")


def check_trainer(settings: Mapping[str, Any]) -> None:
    """Raise ConfigError for trainer settings that do not exist, contradict each other or act within an epoch."""
    trainer = settings["trainer"]
    if trainer.get("max_steps", -1) not in (-1, None):
        raise ConfigError("trainer.max_steps: a run is validated after whole epochs; use trainer.max_epochs.")
    if any(trainer.get(name, 1) != 1 for name in ("check_val_every_n_epoch", "val_check_interval")):
        raise ConfigError(
            "trainer.val_check_interval and trainer.check_val_every_n_epoch have to be 1: validation runs once, at"
            " the end of each epoch."
        )
    least, epochs = trainer.get("min_epochs"), trainer.get("max_epochs")
    if is_whole(least) and is_whole(epochs) and least > epochs:
        raise ConfigError(f"trainer.min_epochs={least} is above trainer.max_epochs={epochs}; expected at most that.")
    if trainer.get("_target_") == LIGHTNING_TRAINER:
        for name in trainer:
            if name not in (*TRAINER, *TRAINER_ELSEWHERE, *ANY_GROUP):
                raise ConfigError(f"There is no setting 'trainer.{name}'.{nearest(name, TRAINER)}")


def check_callbacks(settings: Mapping[str, Any]) -> None:
    """Raise ConfigError for callbacks without a class or without effect."""
    for name, part in (settings.get("callbacks") or {}).items():
        target = str(part.get("_target_") or "")
        if not target:
            raise ConfigError(f"callbacks.{name}: expected the path of a class in callbacks.{name}._target_.")
        instead = WITHOUT_EFFECT.get(target.rpartition(".")[2]) if target.startswith("pytorch_lightning.") else None
        if instead:
            raise ConfigError(f"callbacks.{name}._target_={target} would change nothing here; use {instead}.")


def check_installed(settings: Mapping[str, Any]) -> None:
    """Raise ConfigError for a logger whose package is not installed."""
    for part in (settings.get("logger") or {}).values():
        package = TRACKERS.get(str(part.get("_target_")))
        found = importlib.util.find_spec(package) if package else None
        if package and (found is None or found.origin is None):  # a plain folder with this name has no origin
            raise ConfigError(
                f"logger={package} needs {package}, which is missing: pip install 'headstart[{package}]'."
            )


def check_augmentation(settings: Mapping[str, Any]) -> None:
    """Raise ConfigError for wrong settings of augmentation as a whole, and for wrong test_views."""
    augmentation = settings.get("augmentation") or {}
    check_leaf("augmentation.where", augmentation.get("where", "auto"), WHERE)
    check_leaf("test_views", settings.get("test_views"), TEST_VIEWS)
    for name, value in augmentation.items():
        if not isinstance(value, Mapping) and name not in BESIDE_VIEWS:
            raise ConfigError(f"augmentation.{name}={value}: expected the settings of a view or mix.")
    if augmentation.get("policy") is not None and not any(
        isinstance(part, Mapping) and part.get("policy") == augmentation["policy"] for part in augmentation.values()
    ):
        raise ConfigError(f"augmentation.policy={augmentation['policy']}: only augmentation=learned reads it.")


def check_masks(settings: Mapping[str, Any]) -> None:
    """Raise ConfigError for settings that do not fit images with masks."""
    if settings["dataset"].get("_target_") != MASK_CLASS:
        return
    for key in ("test_views", "strategy.views", "features.views"):
        value = flatten(settings).get(key)
        if value is not None:
            raise ConfigError(
                f"{key}={value}: views of an image show other pixels, and with dataset=image_mask each pixel has a"
                " target; leave it null."
            )


def check_references(names: Iterable[str]) -> None:
    """Raise ConfigError for a reference that does not exist."""
    for name in names:
        if name not in REFERENCES:
            raise ConfigError(f"There is no reference '{name}'.{nearest(name, REFERENCES)}")


def trusted_packages(settings: Mapping[str, Any], overrides: Sequence[str]) -> list[str]:
    """Return the packages in allow_targets. Raises ConfigError if a config file sets it."""
    wanted = settings.get("allow_targets") or []
    if not isinstance(wanted, list) or not all(isinstance(name, str) and name for name in wanted):
        raise ConfigError(f"allow_targets={wanted}: expected a list of packages, as in allow_targets=[my_package].")
    typed = any(override.lstrip("+").startswith("allow_targets=") for override in overrides)
    if wanted and not typed:
        raise ConfigError(
            f"allow_targets={wanted} is set in a config file, where it has no effect; if you trust the file, add"
            f" allow_targets=[{','.join(wanted)}] to the command."
        )
    return wanted


def check_places(settings: Mapping[str, Any]) -> None:
    """Raise a HeadstartError for data or weights that are not on disk."""
    target, root = str(settings["dataset"].get("_target_")), settings["dataset"].get("root")
    if target == FOLDER_CLASS:
        existing_folder(root)
    if target == TABLE_CLASS:
        existing_table(root)
        existing_images(settings["dataset"].get("pictures"))
    if target == MASK_CLASS and not is_file(given_root(root)):
        existing_folder(root)
    if target in EMBEDDED:
        check_no_root(target.rsplit(".", 1)[-1].lower(), root)
    backbone = settings.get("backbone") or {}  # a search of augmentations has none
    weights, name = backbone.get("weights"), backbone.get("name")
    if source_of(name):
        check_source(str(name))
    if weights is not None and weights != "imagenet":
        existing_weights(expanded(str(weights)))
