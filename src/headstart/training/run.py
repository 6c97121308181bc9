"""One run: from settings to a run directory with everything that it found."""

import gc
import logging
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf

from headstart import ranks
from headstart.augmentations import Augmentation
from headstart.data import ImageData
from headstart.data.balance import balance_text
from headstart.data.labels import classes_text, is_imbalanced, sizes_text
from headstart.devices import processes
from headstart.errors import Pruned
from headstart.features import FeatureSettings
from headstart.features.frozen_data import FrozenData
from headstart.features.store import IMAGES
from headstart.files import expanded, write_atomically
from headstart.inputs.facts import Facts
from headstart.inputs.seen import SeenImages
from headstart.records import provenance
from headstart.records.curves import Curves
from headstart.records.lock import RunLock
from headstart.records.manifest import REPEATS, Manifest, UnwrittenManifest
from headstart.records.names import (
    CHECKPOINT_FOLDER,
    CURVE_FILE,
    LOG_FILE,
    SETTINGS_FILE,
    TEST_PREDICTIONS,
    VALIDATION_PREDICTIONS,
)
from headstart.records.predictions import write_predictions
from headstart.seeds import stream
from headstart.settings import identity
from headstart.settings.early_checks import check_settings
from headstart.settings.effects import augmentation_names, flatten
from headstart.settings.sources import short_name
from headstart.solvers.probe_fit import scores
from headstart.strategies import Strategy
from headstart.strategies.feature_classifier import FeatureClassifier
from headstart.strategies.plan import plan_rows
from headstart.strategies.strategy import in_order
from headstart.tables import table_text
from headstart.training import compose
from headstart.training.augmentation_plan import STEPS, augmentation_steps
from headstart.training.batch_images import log_batch
from headstart.training.checkpoints import drop_halves, drop_intermediate, keep_network
from headstart.training.console import quieten, talking
from headstart.training.crashes import crash_of, is_out_of_memory
from headstart.training.interrupt import Interrupted, listening
from headstart.training.late_checks import check_limits, check_monitors, check_sharding, check_shares, check_statistics
from headstart.training.references import compute_references
from headstart.training.resume import KeepProgress, ResumePoint, read_progress
from headstart.training.reuse import check_views, frozen_data
from headstart.training.unused import unused_settings
from headstart.workers import as_raised, end_all

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """What a run is made of, ready to train."""

    data: ImageData
    augmentation: Augmentation
    strategy: Strategy
    trainer: pl.Trainer
    loggers: list[Curves]
    keep: KeepProgress
    features: FeatureSettings
    store: Path


@dataclass(frozen=True)
class Described:
    """A run before it begins."""

    config: DictConfig  # settled
    names: Mapping[str, str]  # of backbone, dataset and strategy
    data: ImageData  # found, not read
    data_hash: str | None  # of all that its source holds; None where the settings say that
    config_hash: str  # of the settings that determine the result, and of the data

    @property
    def name(self) -> str:
        """Of its directory."""
        names = self.names
        return identity.readable_name(
            names["dataset"],
            short_name(names["backbone"]),
            names["strategy"],
            f"seed{self.config.seed}",
            self.config_hash[:8],
        )


def describe(config: DictConfig, choices: Mapping[str, Any]) -> Described:
    """Return what the settings amount to; ``choices`` are the names of the chosen config groups.

    The images are found, and those that have changed are hashed. Raises a HeadstartError where that cannot be done.
    """
    settings = settled(config)
    config = OmegaConf.create(settings)
    data = compose.make_data(config)
    names = {
        "backbone": str(config.backbone.get("name") or choices["backbone"]),
        "dataset": str(data.name),
        "strategy": str(choices["strategy"]),
    }
    data_hash = data.source_hash(Facts(facts_folder(config)))
    return Described(config, names, data, data_hash, identity.config_hash(settings, data_hash))


def facts_folder(config: DictConfig) -> Path | None:
    """Return where it is noted what is known of images; None where nothing is to be kept."""
    features = compose.make_features(config)
    return features.folder(config.output_dir) / IMAGES if features.enabled else None


def run(
    config: DictConfig,
    parent: Path,
    choices: Mapping[str, Any],
    overrides: Sequence[str] = (),
    repeats: Mapping[str, Any] | None = None,
) -> float:
    """Train, test and write a new run directory below ``parent``; return the validation accuracy of the chosen epoch.

    ``repeats`` names the run that this one repeats, if it does: then it is no member of any comparison.
    """
    described = describe(config, choices)
    if processes.follows():
        return follow(described.config, parent / described.name)
    directory = identity.make_run_directory(parent, described.name)
    with RunLock(directory):
        return carry_out(described, directory, overrides, repeats)


def carry_out(
    described: Described,
    directory: Path,
    overrides: Sequence[str] = (),
    repeats: Mapping[str, Any] | None = None,
) -> float:
    """Train, test and fill a run directory, going on from its checkpoint if it has one that fits.

    ``overrides`` are the settings given for this run. However it ends, run.json says so. Returns the validation
    accuracy of the chosen epoch.
    """
    start = time.perf_counter()
    quieten()
    settle_on_the_cpu()
    config = described.config
    write_atomically(directory / SETTINGS_FILE, OmegaConf.to_yaml(_without_trial(config)))
    with talking(directory / LOG_FILE), listening() as stop:
        manifest = Manifest(
            directory,
            {
                "id": identity.run_id(described.config_hash, None, None),
                "config_hash": described.config_hash,
                "source": {
                    "root": config.dataset.get("root"),
                    "settings": identity.source_key(OmegaConf.to_container(config.dataset)),  # type: ignore[arg-type]
                    "hash": described.data_hash,
                },
                **described.names,
                "augmentation": augmentation_names(config.augmentation),
                "seed": config.seed,
                "provenance": _provenance(config, directory, overrides),
                **({REPEATS: dict(repeats)} if repeats else {}),
            },
        )
        try:
            accuracy = _within_memory(config, described.data, directory, manifest, start)
        except BaseException as error:
            manifest.content["cost"] |= {"wall_seconds": time.perf_counter() - start}
            log.error("the run ended early", exc_info=error)
            if isinstance(error, KeyboardInterrupt | SystemExit) or stop.asked:
                # Lightning makes the second of the first; other errors may be processes that were told to stop too.
                told = Interrupted(stop.reason)
                if manifest.content["status"] != "finished":
                    manifest.finish("interrupted", told)
                log.info("run directory: %s", directory)
                raise told from error
            if manifest.content["status"] == "finished":  # what went wrong came later, and takes nothing away
                raise
            if isinstance(error, Pruned):
                manifest.finish("pruned", error)
                log.info("%s\nrun directory: %s\n", error, directory)
                raise
            end_all()
            told_as = crash_of(error) or as_raised(error)
            manifest.finish("failed", told_as)
            raise told_as from error.__cause__
        log.info("run directory: %s\n", directory)
    return accuracy


def _without_trial(config: DictConfig) -> DictConfig:
    """Which trial of a search a run is, only the search needs to know: the settings stand for themselves elsewhere."""
    kept = config.copy()
    if kept.get("sweep"):
        kept.sweep.pop("trial", None)
    return kept


def _within_memory(config: DictConfig, data: ImageData, directory: Path, manifest: Manifest, start: float) -> float:
    """Train and test; where memory runs out, and if asked to, again with a batch in twice as many parts."""
    parts = 1
    while True:
        try:
            with processes.ProcessGroup(directory) as group:
                return _train_and_test(config, data, directory, manifest, start, group, batch_parts=parts)
        except Exception as error:
            if (
                not config.trainer.get("auto_batch")
                or not is_out_of_memory(error)
                or parts >= config.dataset.batch_size
            ):
                raise
        parts *= 2  # out here, as the error holds on to all that was in memory
        gc.collect()
        torch.cuda.empty_cache()
        manifest.update(batch_parts=parts)
        log.warning(
            "out of memory: each batch now goes through the network in %d parts, which gives the same step", parts
        )


def follow(config: DictConfig, directory: Path, ready: Callable[[], object] = lambda: None) -> float:
    """Take part in a run that another process leads and writes down; the same accuracy."""
    quieten()
    settle_on_the_cpu()
    names = dict.fromkeys(("dataset", "backbone", "strategy", "seed", "config_hash"), "")
    manifest = UnwrittenManifest(directory, {**names, "augmentation": [], "provenance": {}})
    with processes.silent(), listening(), processes.ProcessGroup(directory) as group:
        data = compose.make_data(config)
        return _train_and_test(config, data, directory, manifest, time.perf_counter(), group, ready)


def settled(config: DictConfig) -> dict[str, Any]:
    """The settings with nothing left open: what refers to others is filled in, the folder of images is absolute."""
    config = config.copy()
    OmegaConf.set_struct(config, False)
    if not compose.starts_pretrained(config):
        config.backbone.weights = None  # said in config.yaml too
    for name in ("augmentation", "logger", "callbacks"):
        if config.get(name) is None:  # as after augmentation=[]
            config[name] = {}
    if config.dataset.get("root"):
        config.dataset.root = str(expanded(str(config.dataset.root)).absolute())
    settings: dict[str, Any] = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    return settings


def _train_and_test(
    config: DictConfig,
    data: ImageData,
    directory: Path,
    manifest: Manifest,
    start: float,
    group: processes.ProcessGroup,
    ready: Callable[[], object] = lambda: None,
    batch_parts: int = 1,
) -> float:
    provenance.reset_peak_memory()
    parts = prepare(config, directory, group=group, data=data.afresh())
    data, strategy, trainer = parts.data, parts.strategy, parts.trainer
    strategy.batch_parts = batch_parts
    check_statistics(strategy, data, trainer.world_size, batch_parts)
    data.not_used += unused_settings(config, manifest.content["provenance"].get("overrides", []), strategy)
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
        not_used=data.not_used,
        warnings=data.warnings,
        pixel_range=data.pixel_range,
        leakage=data.leakage,
    )
    _describe(config, parts)
    group.join(trainer, ready)
    progress = ranks.from_leader(_take_up(parts, directory, manifest) if ranks.leads() else None)
    _start_from(parts, progress)
    log_batch(strategy, data, parts.loggers)
    references = compute_references(config.get("references") or [], data)

    before = parts.keep.begun = time.perf_counter()
    device: Any = trainer.strategy.root_device
    strategy.begin(data, device)
    reused = frozen_data(parts.features, parts.store, strategy, data, trainer)
    start_data = reused
    if strategy.wants_start_features and strategy.prefix_end < len(strategy.backbone.stages):
        start_data = frozen_data(parts.features, parts.store, strategy, data, trainer, whole=True)
    train_seconds = time.perf_counter() - before
    views = compose.make_test_views(config)
    if reused is not None and views is None:  # belongs to the test pass, but should not fail after the training
        reused.keeper.check(data.test)
    before = time.perf_counter()
    epoch = strategy.fit(trainer, reused or data, start_data, progress)
    train_seconds += time.perf_counter() - before + parts.keep.earlier_seconds
    start -= parts.keep.earlier_seconds
    at_the_end = (
        [data.viewed_dataloader(split, views) for split in (data.validation, data.test)]
        if views
        else [(reused or data).val_dataloader(), (reused or data).test_dataloader()]
    )
    said = trainer.predict(strategy, dataloaders=at_the_end[0])
    before = time.perf_counter()
    strategy.refit()
    train_seconds += time.perf_counter() - before
    if ranks.leads():
        keep_network(strategy, epoch, directory / CHECKPOINT_FOLDER)
    trainer.test(strategy, dataloaders=at_the_end[1], verbose=False)
    manifest.content["features"] = _told(reused)
    counts: dict[str, float] = {}  # of the very answers that are written down
    for name, file, split, logits in (
        ("test", TEST_PREDICTIONS, data.test, strategy.test_logits),
        ("validation", VALIDATION_PREDICTIONS, data.validation, in_order(ranks.gathered(said))),  # type: ignore[arg-type]
    ):
        if ranks.leads():
            write_predictions(directory / file, split.ids, split.targets, logits, data.class_names)
        if name == "test" or views is None:  # the epoch was chosen by single views
            counts |= scores(name, logits, torch.from_numpy(split.targets[: len(logits)]))

    row = parts.loggers[0].rows[epoch]
    tried = len(parts.loggers[0].rows)
    epochs = None if isinstance(strategy, FeatureClassifier) else tried
    metrics = {name: value for name, value in row.items() if name.startswith(("train/", "validation/"))}
    metrics |= strategy.selected.get("metrics", {})  # of what was made from that epoch
    metrics |= counts
    if not ranks.leads():
        return metrics["validation/accuracy"]
    settings = _compared_settings(config, manifest.content)
    for logger in parts.loggers:
        logger.muted = False  # as nothing may have been left to train
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
            "choices": strategy.choices(tried),
            "rule": strategy.describe_choice(epoch, row, tried),
        },
        "selected": {name: value for name, value in strategy.selected.items() if name != "metrics"},
    }
    manifest.finish("finished")
    drop_intermediate(directory / CHECKPOINT_FOLDER)
    found = f"validation accuracy {100 * metrics['validation/accuracy']:.1f} %"
    if not (config.get("sweep") or {}).get("trial"):  # of a search nothing but validation is shown
        found += f", test accuracy {100 * metrics['test/accuracy']:.1f} %"
    log.info("%s; %s", strategy.describe_choice(epoch, row, tried), found)
    return metrics["validation/accuracy"]


def prepare(
    config: DictConfig,
    directory: Path,
    every_stage: bool = False,
    group: processes.ProcessGroup | None = None,
    data: ImageData | None = None,
) -> Parts:
    """Everything that can be refused is refused here, cheap checks first; ``data`` need not be found once more.

    With ``every_stage`` the head reads all stages, and head.stages is set so, unless it names some. The other processes
    of ``group`` are started early, as they take seconds to come up.
    """
    check_settings(config)
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
    if every_stage and config.head.stages is None:
        config.head.stages = backbone.stage_names
    data.prepare(backbone.preprocessing, augmentation.views, SeenImages(store / IMAGES) if features.enabled else None)
    strategy = compose.make_strategy(config, backbone, data, augmentation)
    trainer.precision_plugin.convert_module(strategy)  # what is measured before the fit is of this network, too
    check_views(features, strategy, trainer, data.train, config.get("test_views"))
    kept = features.views is not None or strategy.averaged_views is not None  # those are made one by one
    data.train.views_in_batches = not kept and compose.augments_on_device(config, trainer.strategy.root_device.type)
    _warn_of_corners(config, data)
    check_monitors(trainer.callbacks, strategy)  # type: ignore[attr-defined]
    check_limits(trainer, data)
    check_shares(data, strategy, trainer.world_size)
    check_sharding(strategy, trainer.strategy, trainer.world_size)
    return Parts(data, augmentation, strategy, trainer, loggers, keep, features, store)


def _take_up(parts: Parts, directory: Path, manifest: Manifest) -> ResumePoint | None:
    """What an earlier process left to go on from; what it left otherwise is removed, as it will be made again."""
    packages = manifest.content["provenance"]["packages"]
    parts.keep.made_of = {
        "settings": manifest.content["config_hash"],
        "code": provenance.git_state()["source_sha256"],
        "pictures": parts.data.contents_hash(),
        "weights": parts.strategy.backbone.weights.sha256,
        "packages": {name: packages[name] for name in ("torch", "pytorch-lightning", "torchvision", "timm")},
    }
    drop_halves(directory / CHECKPOINT_FOLDER)
    progress = read_progress(directory / CHECKPOINT_FOLDER, parts.keep.made_of)
    if progress is None:
        drop_intermediate(directory / CHECKPOINT_FOLDER)
        (directory / CURVE_FILE).unlink(missing_ok=True)
    return progress


def _start_from(parts: Parts, progress: ResumePoint | None) -> None:
    """Put curves and callbacks back to where a checkpoint was written."""
    parts.keep.go_on_from(progress)
    for logger in parts.loggers:
        logger.take_up(progress.curves.get(logger.name) if progress is not None else None)
    if progress is not None:
        log.info("goes on from its checkpoint: %s", progress)


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


def _provenance(config: DictConfig, directory: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """What is known before the first step; data and weights follow once they are read."""
    return {
        **provenance.git_state(),
        **provenance.keep(directory),
        "packages": provenance.packages(),
        "hardware": provenance.hardware(),
        **provenance.call(overrides),
        "dataset_fingerprint": None,
        "weights": {"name": None, "sha256": None},
    }


def _describe(config: DictConfig, parts: Parts) -> None:
    data, strategy = parts.data, parts.strategy
    size = strategy.backbone.preprocessing.image_size
    if data.splits_made:
        log.info("%s", data.splits_made)
    log.info(
        "%s: %s, %d training, %d validation and %d test images, %d x %d pixels",
        data.name, classes_text(data.class_names), len(data.train), len(data.validation), len(data.test), size, size,
    )  # fmt: skip
    describe_data(data)
    if data.skipped:
        log.warning("%d images cannot be read and are left out; run.json lists them", len(data.skipped))
    if line := balance_text(data.train.targets, data.class_names, data.balance):
        log.info("%s", line)
    warn_of_weights(strategy)
    header, rows = plan_rows(strategy.plan, strategy.learning_rate_of, strategy.decay_norm_bias)
    right = [name in ("parameters", "trained", "learning rate", "weight decay") for name in header]
    log.info("%s\n%s", f"{type(strategy).__name__} on {strategy.backbone.name}", table_text(header, rows, right))
    if steps := augmentation_steps(config, parts.augmentation, data.train.views_in_batches):
        log.info("augmentation, in this order\n%s", table_text(STEPS, steps, [False] * len(STEPS)))


def describe_data(data: ImageData) -> None:
    """Log the sizes of the classes, what was found and is not used, and what is suspicious."""
    log.info("%s", sizes_text(data.class_names, data.train.targets))
    if is_imbalanced(data.train.targets, data.num_classes) and getattr(data, "balance", "none") == "none":
        log.info("classes differ in size: dataset.balance=loss lets each count the same")
    if data.not_used:
        log.info("not used: %s", "; ".join(data.not_used))
    for warning in data.warnings:
        log.warning("%s", warning)


def warn_of_weights(strategy: Strategy) -> None:
    """Say what was taken of a file of weights, and where a network that should be pretrained is not, or not all."""
    weights = strategy.backbone.weights
    if weights.taken:
        log.info("backbone.weights: took %s", weights.taken)
    for changed in weights.changed:
        log.info("backbone.weights: %s", changed)
    if weights.unused:
        log.info("backbone.weights: not used: %s", ", ".join(weights.unused))
    if strategy.pretrained and strategy.backbone.weights.name is None:
        log.warning("the backbone starts from random weights, as backbone.weights is null")
    if strategy.backbone.weights.missing:
        missing = strategy.backbone.weights.missing
        log.warning(
            "backbone.weights fills %.0f %% of the tensors; the rest stays random: %s%s",
            100 * (strategy.backbone.weights.matched or 0), ", ".join(missing[:4]), ", ..." if len(missing) > 4 else "",
        )  # fmt: skip


def _warn_of_corners(config: DictConfig, data: ImageData) -> None:
    """Say where test views of corners have nowhere to go."""
    if config.get("test_views") in ("five_crop", "ten_crop") and data.test.images.decoder.short_side == data.test.size:
        log.warning(
            "test_views=%s: the centre crop takes the whole short side, so corners differ along the long side only;"
            " dataset.crop_fraction=0.875 gives them a margin",
            config.test_views,
        )


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
