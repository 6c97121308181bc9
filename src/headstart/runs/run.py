"""One run: from settings to a run directory with everything that it found."""

import logging
import os
import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf

from headstart.data import PictureData
from headstart.data.seen import Seen
from headstart.errors import HeadstartError
from headstart.features import FeatureSettings
from headstart.features.frozen_data import FrozenData
from headstart.features.store import PICTURES
from headstart.files import write_atomically
from headstart.runs import compose, identity, provenance
from headstart.runs.batch_pictures import log_batch
from headstart.runs.checkpoints import keep_network
from headstart.runs.console import quieten, talking
from headstart.runs.curves import Curves
from headstart.runs.manifest import Manifest
from headstart.runs.predictions import write_predictions
from headstart.runs.references import check_references, compute_references
from headstart.runs.reuse import check_views, frozen_data
from headstart.seeds import stream
from headstart.settings import flatten
from headstart.strategies import Strategy
from headstart.strategies.feature_classifier import FeatureClassifier
from headstart.strategies.plan import plan_rows
from headstart.strategies.strategy import in_order
from headstart.tables import table_text

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """What a run is made of, ready to train."""

    data: PictureData
    strategy: Strategy
    trainer: pl.Trainer
    loggers: list[Curves]
    features: FeatureSettings
    store: Path


def run(config: DictConfig, parent: Path, choices: Mapping[str, Any], overrides: Sequence[str] = ()) -> float:
    """Train, test and write a run directory below ``parent``; the validation accuracy of the chosen epoch.

    ``choices`` are the names of the chosen config groups, ``overrides`` the settings given for this run. However it
    ends, run.json says so.
    """
    start = time.perf_counter()
    quieten()
    settle_on_the_cpu()
    settings = settled(config)
    config = OmegaConf.create(settings)
    names = {
        "backbone": str(config.backbone.get("name") or choices["backbone"]),
        "dataset": dataset_name(config, str(choices["dataset"])),
        "strategy": str(choices["strategy"]),
    }
    config_hash = identity.config_hash(settings)
    name = identity.readable_name(
        names["dataset"], names["backbone"], names["strategy"], f"seed{config.seed}", config_hash[:8]
    )
    directory = identity.make_run_directory(parent, name)
    write_atomically(directory / "config.yaml", OmegaConf.to_yaml(config))
    with talking(directory / "run.log"):
        manifest = Manifest(
            directory,
            {
                "id": identity.run_id(config_hash, None, None),
                "config_hash": config_hash,
                **names,
                "augmentation": list(config.augmentation),
                "seed": config.seed,
                "provenance": _provenance(overrides),
            },
        )
        try:
            accuracy = _train_and_test(config, directory, manifest, start)
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt | SystemExit)  # Lightning makes the second of the first
            manifest.content["cost"] |= {"wall_seconds": time.perf_counter() - start}
            if stopped:
                manifest.finish("interrupted", KeyboardInterrupt("stopped from outside"))
                log.info("run directory: %s", directory)
            else:
                manifest.finish("failed", error)
            log.error("the run ended early", exc_info=error)
            if isinstance(error, SystemExit):
                raise KeyboardInterrupt from error
            raise
        log.info("run directory: %s\n", directory)
    return accuracy


def settled(config: DictConfig) -> dict[str, Any]:
    """The settings with nothing left open: what refers to others is filled in, the folder of pictures is absolute."""
    config = config.copy()
    OmegaConf.set_struct(config, False)
    if not compose.starts_pretrained(config):
        config.backbone.weights = None  # said in config.yaml too
    for name in ("augmentation", "logger", "callbacks"):
        if config.get(name) is None:  # as after augmentation=[]
            config[name] = {}
    if config.dataset.get("root"):
        config.dataset.root = str(Path(config.dataset.root).expanduser().absolute())
    settings: dict[str, Any] = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    return settings


def dataset_name(config: DictConfig, choice: str) -> str:
    """What tables call the data set; where its settings are refused, as they will be later on, its config's name."""
    try:
        return str(compose.make_data(config).name)
    except HeadstartError:
        return choice


def _train_and_test(config: DictConfig, directory: Path, manifest: Manifest, start: float) -> float:
    provenance.reset_peak_memory()
    parts = prepare(config, directory)
    data, strategy, trainer = parts.data, parts.strategy, parts.trainer
    manifest.content["provenance"] |= {
        "dataset_fingerprint": data.fingerprint,
        "split_fingerprints": data.split_fingerprints,
        "weights": asdict(strategy.backbone.weights),
    }
    manifest.update(
        id=identity.run_id(manifest.content["config_hash"], data.fingerprint, strategy.backbone.weights.sha256),
        classes=data.class_names,
        pictures={"train": len(data.train), "validation": len(data.validation), "test": len(data.test)},
        skipped=data.skipped,
    )
    _describe(parts)
    log_batch(strategy, data, parts.loggers)
    references = compute_references(config.get("references") or [], data)

    before = time.perf_counter()
    device: Any = trainer.strategy.root_device
    strategy.begin(data, device)
    reused = frozen_data(parts.features, parts.store, strategy, data, trainer)
    start_data = reused
    if strategy.wants_start_features and strategy.prefix_end < len(strategy.backbone.stages):
        start_data = frozen_data(parts.features, parts.store, strategy, data, trainer, whole=True)
    train_seconds = time.perf_counter() - before
    if reused is not None:  # belongs to the test pass, but should not fail after the training
        reused.keeper.check(data.test)
    before = time.perf_counter()
    epoch = strategy.fit(trainer, reused or data, start_data)
    train_seconds += time.perf_counter() - before
    keep_network(strategy, epoch, directory / "checkpoints")
    said = trainer.predict(strategy, dataloaders=(reused or data).val_dataloader())
    trainer.test(strategy, dataloaders=(reused or data).test_dataloader(), verbose=False)
    manifest.content["features"] = _told(reused)
    for file, split, logits in (
        ("predictions.csv", data.test, strategy.test_logits),
        ("validation_predictions.csv", data.validation, in_order(said)),  # type: ignore[arg-type]
    ):
        write_predictions(directory / file, split.ids, split.targets, logits, data.class_names)

    row = parts.loggers[0].rows[epoch]
    tried = len(parts.loggers[0].rows)
    epochs = None if isinstance(strategy, FeatureClassifier) else tried
    metrics = {name: value for name, value in row.items() if name.startswith(("train/", "validation/"))}
    metrics |= strategy.selected.get("metrics", {})  # of what was made from that epoch
    metrics |= {name: float(trainer.callback_metrics[name]) for name in ("test/accuracy", "test/loss")}
    settings = _compared_settings(config, manifest.content)
    for logger in parts.loggers:
        logger.finish(epoch, settings, metrics)
        logger.save()
        logger.finalize("success")
    manifest.content["cost"] = _cost(strategy, epochs or 1, train_seconds, start)
    manifest.content |= {
        "metrics": metrics,
        "references": references,
        "best_epoch": epoch if epochs else None,
        "selection": {
            "on": "validation/accuracy",
            "tried": tried,
            "rule": strategy.describe_choice(epoch, row, tried),
        },
        "selected": {name: value for name, value in strategy.selected.items() if name != "metrics"},
    }
    manifest.finish("finished")
    log.info(
        "%s; validation accuracy %.1f %%, test accuracy %.1f %%",
        strategy.describe_choice(epoch, row, tried),
        100 * metrics["validation/accuracy"],
        100 * metrics["test/accuracy"],
    )
    return metrics["validation/accuracy"]


def prepare(config: DictConfig, directory: Path, every_stage: bool = False) -> Parts:
    """Everything that can be refused is refused here, cheap checks first.

    With ``every_stage`` the head reads all stages, and head.stages is set so, unless it names some.
    """
    check_references(config.get("references") or [])
    compose.check_seeds(config)
    data = compose.make_data(config)
    views, mixes = compose.make_augmentation(config)
    compose.check_optimizer(config)
    trainer, loggers = compose.make_trainer(config, directory)
    _seed_everything(config.seeds.augmentation)
    features = compose.make_features(config)
    store = features.folder(config.output_dir)
    backbone = compose.make_backbone(config)
    if every_stage and config.head.stages is None:
        config.head.stages = backbone.stage_names
    data.prepare(backbone.preprocessing, views, Seen(store / PICTURES) if features.enabled else None)
    strategy = compose.make_strategy(config, backbone, data, mixes)
    check_views(features, strategy, trainer)
    return Parts(data, strategy, trainer, loggers, features, store)


def _told(reused: FrozenData | None) -> dict[str, Any] | None:
    """What run.json says of features, and the terminal of the time that they saved."""
    if reused is None:
        return None
    record = reused.record()
    if record["splits"]:
        log.info(
            "features: %s, %.1f MB; %.1f s spent on them, %.1f s saved",
            "all found" if record["hit"] else "computed",
            record["bytes"] / 1e6,
            record["seconds"],
            record["seconds_saved"],
        )
    return record


def settle_on_the_cpu() -> None:
    """Without a GPU, tell PyTorch so for good: its optimizers else look for a driver at every step, 0.2 ms each."""
    if not torch.cuda.is_available():
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")


def _seed_everything(seed: int) -> None:
    """Streams have generators of their own; this is for code that asks the global ones all the same."""
    random.seed(stream("python", seed))
    np.random.seed(stream("numpy", seed) % 2**32)  # noqa: NPY002
    torch.manual_seed(stream("noise", seed))


def _provenance(overrides: Sequence[str]) -> dict[str, Any]:
    """What is known before the first step; data and weights follow once they are read."""
    return {
        **provenance.git_state(),
        "packages": provenance.packages(),
        "hardware": provenance.hardware(),
        "command": sys.argv,
        "overrides": list(overrides),
        "dataset_fingerprint": None,
        "weights": {"name": None, "sha256": None},
    }


def _describe(parts: Parts) -> None:
    data, strategy = parts.data, parts.strategy
    size = strategy.backbone.preprocessing.image_size
    views = ", ".join(type(view).__name__ for view in data.train.views) or "none"
    mixes = ", ".join(type(mix).__name__ for mix in strategy.mixes) or "none"
    if data.splits_made:
        log.info("%s", data.splits_made)
    log.info(
        "%s: %d classes, %d training, %d validation and %d test pictures, %d x %d pixels; views: %s; mixes: %s",
        data.name, data.num_classes, len(data.train), len(data.validation), len(data.test), size, size, views, mixes,
    )  # fmt: skip
    if data.skipped:
        log.warning("%d pictures cannot be read and are left out; run.json lists them", len(data.skipped))
    warn_of_weights(strategy)
    header, rows = plan_rows(strategy.plan, strategy.learning_rate_of)
    right = [name in ("parameters", "trained", "learning rate", "weight decay") for name in header]
    log.info("%s\n%s", f"{type(strategy).__name__} on {strategy.backbone.name}", table_text(header, rows, right))


def warn_of_weights(strategy: Strategy) -> None:
    """Say where a network that should be pretrained is not, or not all of it."""
    if strategy.pretrained and strategy.backbone.weights.name is None:
        log.warning("the backbone starts from random weights, as backbone.weights is null")
    if strategy.backbone.weights.missing:
        missing = strategy.backbone.weights.missing
        log.warning(
            "backbone.weights fills %.0f %% of the tensors; the rest stays random: %s%s",
            100 * (strategy.backbone.weights.matched or 0), ", ".join(missing[:4]), ", ..." if len(missing) > 4 else "",
        )  # fmt: skip


def _compared_settings(config: DictConfig, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What TensorBoard's HParams tab lists: the names, then every number that bears on the result."""
    settings = flatten(identity.determining(OmegaConf.to_container(config)))  # type: ignore[arg-type]
    names = {name: manifest[name] for name in ("dataset", "backbone", "strategy", "seed")}
    numbers = {
        key: value
        for key, value in settings.items()
        if isinstance(value, bool | int | float) and "seed" not in key and not key.endswith("_partial_")
    }
    return {**names, "augmentation": "+".join(manifest["augmentation"]) or "none", **numbers}


def _cost(strategy: Strategy, epochs: int, train_seconds: float, start: float) -> dict[str, float]:
    return {
        "wall_seconds": time.perf_counter() - start,
        "train_seconds": train_seconds,
        "epochs": epochs,
        "samples_per_second": strategy.samples_trained / max(strategy.seconds_trained, 1e-9),
        "peak_memory_bytes": provenance.peak_memory(strategy.device.type),
        "total_parameters": sum(group.size for group in strategy.plan),
        "trainable_parameters": sum(group.size_trained for group in strategy.plan if group.since <= epochs),
    }
