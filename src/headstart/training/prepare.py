"""Make the parts of a run, and check everything that can be checked before training."""

import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf

from headstart.allocator import keep_freed_memory
from headstart.augmentations import Augmentation, Pipeline
from headstart.console import silence_lightning
from headstart.data import ImageData
from headstart.data.module import view_held_out
from headstart.devices import processes
from headstart.features import FeatureSettings
from headstart.features.store import IMAGES
from headstart.files import expanded
from headstart.inputs.facts import Facts
from headstart.inputs.seen import SeenImages
from headstart.records.curves import CurveLogger
from headstart.seeds import stream
from headstart.settings import identity
from headstart.settings.early_checks import check_image_size, check_settings
from headstart.settings.rules import existing_weights
from headstart.settings.sources import short_name
from headstart.strategies import Strategy
from headstart.training import compose
from headstart.training.late_checks import check_limits, check_monitors, check_sharding, check_shares, warn_of_corners
from headstart.training.resume import KeepProgress
from headstart.training.reuse import check_views


@dataclass(frozen=True)
class RunParts:
    """The parts of a run, ready to train."""

    data: ImageData
    augmentation: Augmentation
    strategy: Strategy
    trainer: pl.Trainer
    loggers: list[CurveLogger]
    keep: KeepProgress
    features: FeatureSettings
    store: Path


@dataclass(frozen=True)
class DescribedRun:
    """A run that has not started."""

    config: DictConfig  # with every reference resolved
    names: Mapping[str, str]  # of backbone, dataset and strategy
    data: ImageData  # found, not read
    data_hash: str | None  # of all content of its source; None if the settings determine it
    config_hash: str  # of the settings that determine the result, and of the data

    @property
    def name(self) -> str:
        """Return the name of its directory."""
        names = self.names
        return identity.readable_name(
            names["dataset"],
            short_name(names["backbone"]),
            names["strategy"],
            f"seed{self.config.seed}",
            self.config_hash[:8],
        )


def describe(config: DictConfig, choices: Mapping[str, Any]) -> DescribedRun:
    """Return the run that the settings describe; ``choices`` are the names of the chosen config groups.

    Finds the images and hashes those that have changed. Raises a HeadstartError if that fails.
    """
    settings = run_settings(config)
    config = OmegaConf.create(settings)
    data = compose.make_data(config)
    weights_only = getattr(compose.class_of(config, "strategy"), "gives_weights_only", False)
    names = {
        "backbone": str(config.backbone.get("name") or choices["backbone"]),
        "dataset": str(data.name),
        "strategy": compose.kind_of(config).name if weights_only else str(choices["strategy"]),
    }
    data_hash = data.source_hash(Facts(facts_folder(config)))
    return DescribedRun(config, names, data, data_hash, identity.config_hash(settings, data_hash))


def facts_folder(config: DictConfig) -> Path | None:
    """Return the folder of cached facts about images; None if nothing is cached."""
    features = compose.make_features(config)
    return features.folder(config.output_dir) / IMAGES if features.enabled else None


def run_settings(config: DictConfig) -> dict[str, Any]:
    """Return the settings of a run: every reference resolved, the folder of images absolute."""
    config = config.copy()
    OmegaConf.set_struct(config, False)
    compose.fill_weights(config)
    for name in ("augmentation", "logger", "callbacks"):
        if config.get(name) is None:  # as after augmentation=[]
            config[name] = {}
    compose.fill_primary(config)
    compose.fill_monitors(config.callbacks, compose.kind_of(config).primary)
    if (run := expanded(str(config.backbone.get("weights")))).is_dir():
        config.backbone.weights = str(existing_weights(run))
    if config.dataset.get("root"):
        config.dataset.root = str(expanded(str(config.dataset.root)).absolute())
    settings: dict[str, Any] = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    return settings


def prepare(
    config: DictConfig,
    directory: Path,
    every_stage: bool = False,
    group: processes.ProcessGroup | None = None,
    data: ImageData | None = None,
) -> RunParts:
    """Return the parts of a run; check everything that can be checked, cheap checks first.

    ``data`` may be given if it is already found. With ``every_stage``, head.stages is set to all stages unless it
    names some. The other processes of ``group`` start early, as that takes seconds.
    """
    check_settings(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
    data = data or compose.make_data(config)
    augmentation = compose.make_augmentation(config)
    compose.check_parts(config, augmentation)
    compose.check_optimizer(config)
    trainer, loggers, keep = compose.make_trainer(config, directory)
    compose.check_precision(config, trainer)
    if group is not None:
        group.start(trainer)
    _seed_everything(config.seeds.augmentation)
    features = compose.make_features(config)
    store = features.folder(config.output_dir)
    backbone = compose.make_backbone(config)
    check_image_size(config.task, backbone.preprocessing.image_size)  # of the weights, if the settings name none
    if every_stage and config.head.stages is None:
        config.head.stages = backbone.stage_names
    on_device = compose.augments_on_device(config, trainer.strategy.root_device.type)
    views = Pipeline(augmentation.views, in_batches=on_device)
    data.prepare(backbone.preprocessing, views, SeenImages(store / IMAGES) if features.enabled else None)
    strategy = compose.make_strategy(config, backbone, data, augmentation)
    if (copies := getattr(strategy.task, "copies", 1)) > 1:
        view_held_out(data, copies)
    trainer.precision_plugin.convert_module(strategy)  # measurements before the fit use this network, too
    check_views(features, strategy, trainer, data.train, config.get("test_views"))
    warn_of_corners(config, data)
    check_monitors(trainer.callbacks, strategy, data)  # type: ignore[attr-defined]
    check_limits(trainer, data)
    check_shares(data, strategy, trainer.world_size)
    check_sharding(strategy, trainer.strategy, trainer.world_size)
    return RunParts(data, augmentation, strategy, trainer, loggers, keep, features, store)


def settle_process(config: DictConfig | None = None) -> None:
    """Silence Lightning, keep freed memory, and hide CUDA if there is no GPU.

    Optimizers would search for a GPU at every step (0.2 ms). ``trainer.keep_memory=false`` returns freed memory.
    """
    silence_lightning()
    keep_freed_memory(config is None or bool(config.trainer.get("keep_memory", True)))
    if not torch.cuda.is_available():
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")


def _seed_everything(seed: int) -> None:
    """Seed the global generators, for code that does not use the named streams."""
    random.seed(stream("python", seed))
    np.random.seed(stream("numpy", seed) % 2**32)  # noqa: NPY002
    torch.manual_seed(stream("noise", seed))
