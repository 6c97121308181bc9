"""From settings to the parts of a run: data, views and mixes, backbone, strategy, trainer."""

import copy
import json
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
from headstart.data import ImageData
from headstart.devices import processes, sharding
from headstart.errors import ConfigError, HeadstartError, nearest
from headstart.features import FeatureSettings
from headstart.files import expanded
from headstart.kinds import KINDS, Kind, Metric
from headstart.records.curves import CsvCurves, Curves, UnwrittenCurves
from headstart.records.names import CHECKPOINT_FOLDER, EPOCH_CHECKPOINT
from headstart.settings.arguments import check_arguments
from headstart.settings.effects import augmentation_names
from headstart.settings.rules import check_solved_balance
from headstart.strategies import Strategy
from headstart.tasks import Task
from headstart.training.averaging import check_one_average
from headstart.training.checkpoints import AtomicCheckpoints, BestEpoch
from headstart.training.crashes import crash_of
from headstart.training.pruning import pruning_callbacks
from headstart.training.resume import KeepProgress

_UNTOUCHED: dict[str, Backbone] = {}
OWN_SETTINGS = ("auto_batch",)  # of the group trainer, but not Lightning's
WRONG_ARGUMENT = (TypeError, ValueError, ImportError, MisconfigurationException)


def make(config: DictConfig, group: str, **given: Any) -> Any:
    """The object that a group of settings describes, from them and from ``given``.

    Raises ConfigError, in one sentence, for a setting that the class does not take.
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
        # An own class that fails in another way has a bug; of other libraries' classes the settings are to blame.
        if cause is None or isinstance(cause, WRONG_ARGUMENT) or (foreign and crash_of(cause) is None):
            raise ConfigError(f"{name}: {_line(cause or error)}.") from error
        if cause is error:
            raise
        raise cause from error


def _check_annotated(settings: Any, name: str) -> None:
    """Hold the settings of another library's class against its annotations: many would fail only in training."""
    with suppress(ImportError, AttributeError, ValueError):  # no such class: told by Hydra
        plain: Any = OmegaConf.to_container(settings)
        check_arguments(name, pkgutil.resolve_name(str(settings["_target_"])), plain)


def make_data(config: DictConfig) -> ImageData:
    """The data set, nothing read yet."""
    data: ImageData = make(config, "dataset", **({"task": _task_class(config).kind} if config.get("task") else {}))
    return data


def make_augmentation(config: DictConfig) -> Augmentation:
    """Views and mixes in the order of the list."""
    augmentation = config.augmentation
    return Augmentation({name: make(augmentation, name) for name in augmentation_names(augmentation)})


def check_parts(config: DictConfig, augmentation: Augmentation) -> None:
    """A batch in parts cannot be mixed within the network."""
    if config.trainer.get("auto_batch") and any(isinstance(mix, ManifoldMixup) for mix in augmentation.mixes):
        raise ConfigError(
            "trainer.auto_batch may pass a batch in parts, manifold_mixup mixes it within the network: leave one of the"
            " two out."
        )


def augments_on_device(config: DictConfig, device: str) -> bool:
    """Whether views that can be are drawn by the loader only, and carried out in batches where the network is."""
    where = config.augmentation.get("where", "auto")
    return where == "device" or (where == "auto" and device != "cpu")


def make_test_views(config: DictConfig) -> Pipeline | None:
    """What predictions are averaged over at the end, if asked for."""
    name = config.get("test_views")
    return None if name is None else Pipeline([FixedViews(name)])


def starts_pretrained(config: DictConfig) -> bool:
    """Whether the strategy wants weights learned elsewhere."""
    try:
        return bool(getattr(get_class(config.strategy._target_), "pretrained", True))
    except (ImportError, ValueError) as error:
        raise ConfigError(f"strategy._target_: {_line(error)}.") from error


def make_backbone(config: DictConfig) -> Backbone:
    """The network without its classifier, its weights loaded.

    The last one made is remembered untouched: the runs of a sweep mostly start from the same.
    """
    settings: Any = OmegaConf.to_container(config.backbone)
    weights = expanded(str(settings.get("weights")))
    state = weights.stat() if weights.is_file() else None
    key = json.dumps([settings, state and [state.st_ino, state.st_mtime_ns, state.st_size]], sort_keys=True)
    if key not in _UNTOUCHED:
        _UNTOUCHED.clear()
        _UNTOUCHED[key] = make(config, "backbone")
    return copy.deepcopy(_UNTOUCHED[key])


def make_features(config: DictConfig) -> FeatureSettings:
    """What the settings say about features; without the group, nothing is kept."""
    if config.get("features") is None:
        return FeatureSettings(enabled=False)
    features: FeatureSettings = make(config, "features")
    return features


def make_strategy(config: DictConfig, backbone: Backbone, data: ImageData, augmentation: Augmentation) -> Strategy:
    """Return the LightningModule; the task needs to know the data, so they come first."""
    if (augmentation.views or config.get("test_views")) and not data.signature.views:
        raise ConfigError(f"augmentation, test_views: views do not fit the {data.signature.kind}s of {data.name}.")
    backbone.signature = data.signature
    kind = get_class(config.strategy._target_)
    wanted: dict[str, Any] = {}
    if getattr(kind, "wants_random", False):
        without = config.copy()
        without.backbone.weights = None
        wanted["random_backbone"] = make(without, "backbone")
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
        check_solved_balance(data.balance, strategy.config_name())
    augmentation.settle(strategy.backbone.stage_names, strategy.backbone.taps[0])
    return strategy


def make_task(config: DictConfig, data: ImageData) -> Task:
    """Return head, loss and metrics for the targets of these data; without the group head, a linear one."""
    head = make(config, "head") if config.get("head") else None
    task: Task = make(config, "task", head=head, **_task_class(config).settings_of(data))
    return task


def kind_of(config: DictConfig) -> Kind:
    """Return what can be known of the kind of target without a network."""
    return KINDS[_task_class(config).kind]


def _task_class(config: DictConfig) -> Any:
    try:
        return get_class(config.task._target_)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"task._target_: {_line(error)}.") from error


def check_optimizer(config: DictConfig) -> None:
    """Let optimizer and schedule refuse their settings now, and not after the data were read."""
    group = "optimizer"
    try:
        optimizer = make(config, group)([torch.nn.Parameter(torch.zeros(1))])
        group = "scheduler"
        make(config, group)(optimizer, total_steps=10)
    except HeadstartError:
        raise
    except Exception as error:
        raise ConfigError(f"{group}: {_line(error)}.") from error


def make_trainer(config: DictConfig, directory: Path) -> tuple[pl.Trainer, list[Curves], KeepProgress]:
    """Lightning's trainer with the loggers and callbacks of the settings.

    metrics.csv, the best epoch on validation and checkpoints to go on from belong to every run.
    """
    loggers: list[Curves] = [CsvCurves(directory)]
    loggers += [make(config.logger, name, folder=directory) for name in config.logger]
    if processes.follows():
        loggers = [UnwrittenCurves(directory, any(logger.keeps_images for logger in loggers))]
    primary = kind_of(config).primary
    watching = _with_monitors(config.callbacks, primary)
    callbacks: list[pl.Callback] = [make(watching, str(name)) for name in watching]
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
    # The first checkpoint is the one that the strategy goes back to, whatever others the settings add.
    # What a checkpoint to go on from holds of the other callbacks is what they know when a hook has passed them all.
    keep = KeepProgress(directory / CHECKPOINT_FOLDER, {}, (config.get("sweep") or {}).get("checkpoint_share", 0.05))
    callbacks = [best, *callbacks, keep]
    plain = config.copy()
    plain.trainer = {name: value for name, value in config.trainer.items() if name not in OWN_SETTINGS}
    trainer = make(
        plain,
        "trainer",
        logger=loggers,
        callbacks=callbacks,
        default_root_dir=str(directory),
        **_shared_out(config),
    )
    processes.check_world(trainer, config.trainer)
    if trainer.world_size > 1 and config.trainer.get("auto_batch"):
        raise ConfigError("trainer.auto_batch works on one device; on several use a smaller dataset.batch_size.")
    _check_trainer(trainer)
    trainer.strategy.checkpoint_io = AtomicCheckpoints()
    return trainer, loggers, keep


def _with_monitors(callbacks: DictConfig, primary: Metric) -> DictConfig:
    """Return the callbacks with the primary metric on validation wherever a monitor is null."""
    callbacks = callbacks.copy()
    for settings in callbacks.values():
        if isinstance(settings, DictConfig) and "monitor" in settings and settings.monitor is None:
            settings.monitor, settings.mode = f"validation/{primary.name}", primary.mode
    return callbacks


def check_precision(config: DictConfig, trainer: pl.Trainer) -> None:
    """Raise ConfigError for a precision that this device, or this optimizer, does not train in."""
    if str(config.trainer.get("precision")) in ("16", "16-mixed") and trainer.precision != "16-mixed":
        raise ConfigError("trainer.precision=16-mixed needs a GPU; on a CPU use bf16-mixed or 32-true.")
    eps = make(config, "optimizer")([torch.nn.Parameter(torch.zeros(1))]).defaults.get("eps")
    trains = getattr(get_class(config.strategy._target_), "by_gradient", True)
    if trains and trainer.precision == "16-true" and eps is not None and not torch.tensor(eps).half():
        raise ConfigError(
            f"trainer.precision=16-true: optimizer.eps={eps:g} is 0 in 16 bits, so that steps are no numbers; set"
            " +optimizer.eps=1e-4, or use bf16-true."
        )


def _shared_out(config: DictConfig) -> dict[str, Any]:
    """What the trainer has to know to share batches out, beyond its settings; nothing for one device."""
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
        # What is put together in inference mode would be of no use to the training steps that follow.
        return {"strategy": sharding.Sharded(), "plugins": [processes.environment()], "inference_mode": False}
    if getattr(get_class(config.strategy._target_), "in_phases", False):  # DDP else waits for what rests
        strategy = "ddp_find_unused_parameters_true"
    return {"strategy": strategy, "plugins": [processes.environment()]}


def _check_trainer(trainer: pl.Trainer) -> None:
    """Refuse what would leave an epoch without its validation, or a run without its images."""
    for name in ("limit_train_batches", "limit_val_batches", "limit_test_batches"):
        if getattr(trainer, name) == 0:
            raise ConfigError(f"trainer.{name}=0: a run needs training, validation and test images.")


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".!")
