"""Make the parts of a run from its settings: data, views and mixes, backbone, strategy, trainer."""

import dataclasses
import pkgutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from headstart.augmentations import Augmentation, FixedViews, ManifoldMixup, Pipeline
from headstart.backbones import Backbone
from headstart.backbones.kept import copy_of_kept
from headstart.crashes import crash_of
from headstart.data import ImageData
from headstart.devices import processes, sharding
from headstart.errors import ConfigError, HeadstartError, nearest
from headstart.features import FeatureSettings
from headstart.kinds import Kind, Metric, SeveralKind, kind_in
from headstart.optimization.plain_steps import take_plain_steps
from headstart.records.curves import CsvCurves, CurveLogger, UnwrittenCurves
from headstart.records.names import CHECKPOINT_FOLDER, EPOCH_CHECKPOINT
from headstart.records.record import name_of_source
from headstart.settings.arguments import check_arguments
from headstart.settings.early_checks import SIFT_PYRAMID
from headstart.settings.effects import augmentation_names
from headstart.settings.rules import check_solved_balance
from headstart.settings.targets import PACKAGES, line_of
from headstart.strategies import Strategy
from headstart.tasks import Task
from headstart.tasks.dense_heads import check_head_of_images
from headstart.training.averaging import check_one_average
from headstart.training.checkpoints import AtomicCheckpoints, BestEpoch
from headstart.training.pruning import pruning_callbacks
from headstart.training.resume import KeepProgress

OWN_SETTINGS = ("auto_batch", "keep_memory")  # of the group trainer, but not Lightning's
WRONG_ARGUMENT = (TypeError, ValueError, ImportError, MisconfigurationException)


def make(config: DictConfig, group: str, **given: Any) -> Any:
    """Return the object of a group of settings, made from them and from ``given``.

    Raises ConfigError, in one sentence, for a setting that the class does not accept.
    """
    name = config._get_full_key(group)  # as in callbacks.early_stopping
    foreign = not str(config[group].get("_target_", "headstart")).startswith("headstart.")
    try:
        if foreign:
            _check_annotated(config[group], name)
        if not given:
            return instantiate(config[group])
        return instantiate(config[group], _partial_=True)(**given)
    except HeadstartError:
        raise
    except Exception as error:
        cause = error.__cause__ if isinstance(error, InstantiationException) else error
        if isinstance(cause, HeadstartError):
            raise cause from None
        # If a class of headstart fails in another way, it has a bug; if another library's does, a setting is wrong.
        if cause is None or isinstance(cause, WRONG_ARGUMENT) or (foreign and crash_of(cause) is None):
            package = str(config[group].get("_target_")).partition(".")[0]
            line = line_of(cause or error, package) if package not in PACKAGES else ""
            raise ConfigError(f"{name}: {_line(cause or error)}{line}.") from error
        if cause is error:
            raise
        raise cause from error


def _check_annotated(settings: Any, name: str) -> None:
    """Check the settings of another library's class against its annotations, as many would fail only in training."""
    with suppress(ImportError, AttributeError, ValueError):  # Hydra reports a missing class
        plain: Any = OmegaConf.to_container(settings)
        check_arguments(name, pkgutil.resolve_name(str(settings["_target_"])), plain)


def make_data(config: DictConfig) -> ImageData:
    """Return the data set; nothing is read yet."""
    data: ImageData = make(config, "dataset", **({"task": kind_of(config)} if config.get("task") else {}))
    return data


def make_augmentation(config: DictConfig) -> Augmentation:
    """Return views and mixes in the order of the list."""
    augmentation = config.augmentation
    return Augmentation({name: make(augmentation, name) for name in augmentation_names(augmentation)})


def check_parts(config: DictConfig, augmentation: Augmentation) -> None:
    """Raise ConfigError if a batch in parts would be mixed within the network."""
    if config.trainer.get("auto_batch") and any(isinstance(mix, ManifoldMixup) for mix in augmentation.mixes):
        raise ConfigError(
            "trainer.auto_batch may pass a batch in parts, manifold_mixup mixes it within the network: leave one of the"
            " two out."
        )


def augments_on_device(config: DictConfig, device: str) -> bool:
    """Return whether the loader only draws views, and the device of the network computes them in batches."""
    if make_features(config).views is not None or config.strategy.get("views") is not None:
        return False  # views that are kept are made one by one
    where = config.augmentation.get("where", "auto")
    return where == "device" or (where == "auto" and device != "cpu")


def make_test_views(config: DictConfig) -> Pipeline | None:
    """Return the views over which test predictions are averaged; None without ``test_views``."""
    name = config.get("test_views")
    return None if name is None else Pipeline([FixedViews(name)])


def class_of(config: DictConfig, group: str) -> Any:
    """Return the class of a group, such as strategy. Raises ConfigError if there is none."""
    try:
        return get_class(config[group]._target_)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{group}._target_: {_line(error)}.") from error


def make_backbone(config: DictConfig) -> Backbone:
    """Return the network without its classifier, with its weights loaded."""

    def made() -> Backbone:
        network: Backbone = make(config, "backbone")
        if network.weights.source and (name := name_of_source(Path(network.weights.source))):
            network.weights = dataclasses.replace(network.weights, name=name)
        return network

    settings: Any = OmegaConf.to_container(config.backbone)
    return copy_of_kept(settings, made)


def make_features(config: DictConfig) -> FeatureSettings:
    """Return the settings of features; without the group, nothing is cached."""
    if config.get("features") is None:
        return FeatureSettings(enabled=False)
    features: FeatureSettings = make(config, "features")
    return features


def make_strategy(config: DictConfig, backbone: Backbone, data: ImageData, augmentation: Augmentation) -> Strategy:
    """Return the LightningModule; the task needs to know the data, so they come first."""
    if (augmentation.views or config.get("test_views")) and not data.signature.views:
        raise ConfigError(f"augmentation, test_views: views do not fit the {data.signature.kind}s of {data.name}.")
    if SIFT_PYRAMID in (config.get("references") or []) and data.signature.kind != "image":
        raise ConfigError(
            f"references=[{SIFT_PYRAMID}] reads images, and {data.name} has {data.signature.kind}s; use raw_pixels."
        )
    if data.gives_masks:
        augmentation.check_labels()
    backbone.take_inputs(data.signature)
    kind = class_of(config, "strategy")
    wanted: dict[str, Any] = {}
    if getattr(kind, "wants_random", False):
        without = config.copy()
        without.backbone.weights = None
        wanted["random_backbone"] = make(without, "backbone")
        wanted["random_backbone"].take_inputs(data.signature)
    if getattr(kind, "by_gradient", True):
        wanted |= {
            "optimizer": make(config, "optimizer"),
            "scheduler": make(config, "scheduler"),
            "consistency": augmentation.consistency,
        }
    strategy: Strategy = make(
        config,
        "strategy",
        **wanted,
        backbone=backbone,
        task=make_task(config, data),
        mixes=augmentation.mixes,
        augmented=bool(augmentation),
    )
    if not strategy.by_gradient:
        check_solved_balance(data.balance, strategy.config_name(), data.task)
    augmentation.settle(strategy.backbone.stage_names, strategy.backbone.taps[0])
    return strategy


def make_task(config: DictConfig, data: ImageData) -> Task:
    """Return head, loss and metrics for the targets of these data; without the group head, a linear one."""
    head = make(config, "head") if config.get("head") else None
    if not data.gives_masks:
        check_head_of_images(head, data.task)
    task: Task = make(config, "task", head=head, **class_of(config, "task").settings_of(data))
    return task


def kind_of(config: DictConfig) -> Kind:
    """Return the kind of target, which needs no network."""
    return kind_in(config.task, class_of(config, "task").kind)


def check_optimizer(config: DictConfig) -> None:
    """Raise ConfigError for wrong settings of the optimizer or the schedule, before the data are read."""
    group = "optimizer"
    try:
        optimizer = make(config, group)([torch.nn.Parameter(torch.zeros(1))])
        group = "scheduler"
        make(config, group)(optimizer, total_steps=10)
    except HeadstartError:
        raise
    except Exception as error:
        raise ConfigError(f"{group}: {_line(error)}.") from error


def make_trainer(config: DictConfig, directory: Path) -> tuple[pl.Trainer, list[CurveLogger], KeepProgress]:
    """Return Lightning's trainer with the loggers and callbacks of the settings.

    Every run has metrics.csv, a checkpoint of the best epoch on validation, and checkpoints to resume from.
    """
    loggers: list[CurveLogger] = [CsvCurves(directory)]
    loggers += [make(config.logger, name, folder=directory) for name in config.logger]
    if processes.follows():
        loggers = [UnwrittenCurves(directory, loggers)]
    primary = kind_of(config).primary
    callbacks: list[pl.Callback] = [make(config.callbacks, name) for name in config.callbacks]
    for name, callback in zip(config.callbacks, callbacks, strict=True):
        if not isinstance(callback, pl.Callback):
            raise ConfigError(f"callbacks.{name}: {type(callback).__name__} is no callback of Lightning's.")
    check_one_average(callbacks)
    if not processes.follows():  # one process decides for all of them
        callbacks += pruning_callbacks(config.get("sweep"), primary)
    best = BestEpoch(
        dirpath=directory / CHECKPOINT_FOLDER,
        filename=EPOCH_CHECKPOINT.removesuffix(".ckpt"),
        monitor=f"validation/{primary.name}",
        mode=primary.mode,
        save_weights_only=True,
        enable_version_counter=False,
    )
    # The strategy restores the first checkpoint callback's best epoch, so ``best`` comes before those of the settings.
    # ``keep`` comes last, so that its checkpoint holds the other callbacks' state after the same hook.
    keep = KeepProgress(directory / CHECKPOINT_FOLDER, {}, (config.get("sweep") or {}).get("checkpoint_share", 0.05))
    callbacks = [best, *callbacks, keep]
    trainer = make(
        OmegaConf.create({"trainer": {key: value for key, value in config.trainer.items() if key not in OWN_SETTINGS}}),
        "trainer",
        logger=loggers,
        callbacks=callbacks,
        default_root_dir=str(directory),
        **_device_arguments(config),
    )
    processes.check_world(trainer, config.trainer)
    if trainer.world_size > 1 and config.trainer.get("auto_batch"):
        raise ConfigError("trainer.auto_batch works on one device; on several use a smaller dataset.batch_size.")
    _check_trainer(trainer)
    trainer.strategy.checkpoint_io = AtomicCheckpoints()
    take_plain_steps(trainer)
    return trainer, loggers, keep


def fill_monitors(callbacks: DictConfig, primary: Metric) -> None:
    """Set a monitor that is null to the primary metric on validation, and a null mode to its better direction."""
    modes = {"loss": "min", "jsd": "min", primary.name: primary.mode}
    for settings in callbacks.values():
        if isinstance(settings, DictConfig) and "monitor" in settings:
            settings.monitor = settings.monitor or f"validation/{primary.name}"
            if settings.get("mode", "") is None:
                settings.mode = modes.get(settings.monitor.rpartition("/")[2], "max")


def fill_weights(config: DictConfig) -> None:
    """Set the weights to null for a strategy that starts from random ones."""
    if not getattr(class_of(config, "strategy"), "pretrained", True):
        config.backbone.weights = None


def fill_primary(config: DictConfig) -> None:
    """Set a ``task.primary`` that is null to the first output, as the order of outputs does not identify a run."""
    if isinstance(kind := kind_of(config), SeveralKind):
        config.task.primary = kind.primary_part


def check_precision(config: DictConfig, trainer: pl.Trainer) -> None:
    """Raise ConfigError for a precision in which this device or this optimizer cannot train."""
    if str(config.trainer.get("precision")) in ("16", "16-mixed") and trainer.precision != "16-mixed":
        raise ConfigError("trainer.precision=16-mixed needs a GPU; on a CPU use bf16-mixed or 32-true.")
    eps = make(config, "optimizer")([torch.nn.Parameter(torch.zeros(1))]).defaults.get("eps")
    trains = getattr(class_of(config, "strategy"), "by_gradient", True)
    if trains and trainer.precision == "16-true" and eps is not None and not torch.tensor(eps).half():
        raise ConfigError(
            f"trainer.precision=16-true: optimizer.eps={eps:g} is 0 in 16 bits, so steps become NaN; set"
            " +optimizer.eps=1e-4, or use bf16-true."
        )


def _device_arguments(config: DictConfig) -> dict[str, Any]:
    """Return the trainer's further arguments for several devices; none for one device."""
    strategy = config.trainer.get("strategy")
    if strategy is None:
        return {}
    if strategy not in ("ddp", "fsdp"):
        raise ConfigError(
            f"trainer.strategy={strategy}: expected ddp or fsdp (as in trainer=ddp), or none for one device."
            f"{nearest(strategy, ['ddp', 'fsdp'])}"
        )
    if strategy == "fsdp":
        sharding.check_settings(config)
        # Weights that are gathered in inference mode cannot be used in later training steps.
        return {"strategy": sharding.Sharded(), "plugins": [processes.environment()], "inference_mode": False}
    if getattr(class_of(config, "strategy"), "in_phases", False):  # else DDP waits for frozen weights
        strategy = "ddp_find_unused_parameters_true"
    return {"strategy": strategy, "plugins": [processes.environment()]}


def _check_trainer(trainer: pl.Trainer) -> None:
    """Raise ConfigError if a limit leaves no batch for training, validation or test."""
    for name in ("limit_train_batches", "limit_val_batches", "limit_test_batches"):
        if getattr(trainer, name) == 0:
            raise ConfigError(f"trainer.{name}=0: a run needs training, validation and test images.")


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".!")
