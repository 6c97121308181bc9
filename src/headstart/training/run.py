"""Carry out one run, from its settings to a complete run directory."""

import gc
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from headstart import ranks
from headstart.console import show_log
from headstart.crashes import crash_of, is_out_of_memory
from headstart.data import ImageData
from headstart.devices import processes
from headstart.errors import Pruned
from headstart.features.frozen_data import FrozenData
from headstart.files import write_atomically
from headstart.interrupt import Interrupted, listening
from headstart.kinds import SeveralKind
from headstart.models.describing import write_model
from headstart.models.unlike import watched_head
from headstart.records import provenance
from headstart.records.lock import RunLock
from headstart.records.manifest import REPEATS, Manifest, UnwrittenManifest
from headstart.records.names import (
    CHECKPOINT_FOLDER,
    CURVE_FILE,
    LOG_FILE,
    RANK_LOG,
    SETTINGS_FILE,
    TEST_PREDICTIONS,
    VALIDATION_PREDICTIONS,
)
from headstart.records.predictions import write_predictions
from headstart.references.computing import compute_references
from headstart.settings import identity
from headstart.settings.effects import augmentation_names, flatten
from headstart.strategies.network import in_order
from headstart.tasks.scores import scores_of_kept
from headstart.tasks.several import learned_weights
from headstart.training import compose
from headstart.training.batch_images import log_batch
from headstart.training.checkpoints import drop_halves, drop_intermediate, keep_network
from headstart.training.late_checks import check_statistics
from headstart.training.opening import describe_run
from headstart.training.pixel_results import write_pixels
from headstart.training.prepare import DescribedRun, RunParts, describe, prepare, settle_process
from headstart.training.resume import ResumePoint, read_progress
from headstart.training.reuse import frozen_data
from headstart.training.unused import unused_settings
from headstart.workers import as_raised, end_all

log = logging.getLogger(__name__)


def run(
    config: DictConfig,
    parent: Path,
    choices: Mapping[str, Any],
    overrides: Sequence[str] = (),
    repeats: Mapping[str, Any] | None = None,
) -> float:
    """Train, test and write a new run directory below ``parent``; return the chosen primary metric on validation.

    ``repeats`` names the run that this one repeats, if any. Comparisons leave out such a run.
    """
    described = describe(config, choices)
    if processes.follows():
        return follow(described.config, parent / described.name)
    directory = identity.make_run_directory(parent, described.name)
    with RunLock(directory):
        return carry_out(described, directory, overrides, repeats)


def carry_out(
    described: DescribedRun,
    directory: Path,
    overrides: Sequence[str] = (),
    repeats: Mapping[str, Any] | None = None,
) -> float:
    """Train, test and fill a run directory, resuming from its checkpoint if it has one that fits.

    ``overrides`` are the settings given for this run. run.json records how it ends. Returns the primary metric on
    validation of the chosen epoch.
    """
    start = time.perf_counter()
    config = described.config
    settle_process(config)
    write_atomically(directory / SETTINGS_FILE, OmegaConf.to_yaml(_without_trial(config)))
    with show_log(directory / LOG_FILE), listening() as stop:
        manifest = Manifest(directory, _first_content(described, directory, overrides, repeats))
        try:
            value = _fit_in_memory(config, described.data, directory, manifest, start)
        except BaseException as error:
            manifest.content["cost"] |= {"wall_seconds": time.perf_counter() - start}
            log.error("the run ended early", exc_info=error)
            _end_early(error, manifest, directory, stop)
        log.info("run directory: %s\n", directory)
    return value


def follow(config: DictConfig, directory: Path, ready: Callable[[], object] = lambda: None) -> float:
    """Train as a follower in a run that another process leads and records; return the same metric."""
    settle_process(config)
    names = dict.fromkeys(("dataset", "backbone", "strategy", "seed", "config_hash"), "")
    manifest = UnwrittenManifest(directory, {**names, "augmentation": [], "provenance": {}})
    with processes.silent(), listening(), processes.ProcessGroup(directory, RANK_LOG) as group:
        data = compose.make_data(config)
        return train_and_test(config, data, directory, manifest, time.perf_counter(), group, ready)


def _first_content(
    described: DescribedRun, directory: Path, overrides: Sequence[str], repeats: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the content of run.json before anything is read; data and weights follow later."""
    config = described.config
    kind = compose.kind_of(config)
    primary = kind.primary
    several = kind if isinstance(kind, SeveralKind) else None
    source: dict[str, Any] = OmegaConf.to_container(config.dataset)  # type: ignore[assignment]
    if several:  # the columns that are read
        source["parts"] = OmegaConf.to_container(config.task.parts)
    return {
        "id": identity.run_id(described.config_hash, None, None),
        "config_hash": described.config_hash,
        "task": kind.name,
        **({"parts": {name: part.name for name, part in several.parts.items()}} if several else {}),
        "primary": {
            "name": primary.name,
            "higher_is_better": primary.higher_is_better,
            "unit": primary.unit,
            **({"part": several.primary_part} if several else {}),
        },
        "source": {
            "root": config.dataset.get("root"),
            "settings": identity.source_key(source),
            "hash": described.data_hash,
        },
        **described.names,
        "augmentation": augmentation_names(config.augmentation),
        "seed": config.seed,
        "provenance": {
            **provenance.git_state(),
            **provenance.code_of_parts(config),
            **provenance.write_code(directory),
            "packages": provenance.packages(),
            "hardware": provenance.hardware(),
            **provenance.command_of(overrides),
            "dataset_fingerprint": None,
            "weights": {"name": None, "sha256": None},
        },
        **({REPEATS: dict(repeats)} if repeats else {}),
    }


def _end_early(error: BaseException, manifest: Manifest, directory: Path, stop: Any) -> None:
    """Record how an unfinished run ended, and raise its error in readable form."""
    finished = manifest.content["status"] == "finished"  # a later error does not change that
    if isinstance(error, KeyboardInterrupt | SystemExit) or stop.asked:
        # Lightning turns KeyboardInterrupt into SystemExit; other processes that must stop may cause other errors.
        interrupted = Interrupted(stop.reason)
        if not finished:
            manifest.finish("interrupted", interrupted)
        log.info("run directory: %s", directory)
        raise interrupted from error
    if finished:
        raise error
    if isinstance(error, Pruned):
        manifest.finish("pruned", error)
        log.info("%s\nrun directory: %s\n", error, directory)
        raise error
    end_all()
    reason = crash_of(error) or as_raised(error)
    manifest.finish("failed", reason)
    raise reason from error.__cause__


def _without_trial(config: DictConfig) -> DictConfig:
    """Return the settings without the number of a search's trial, which only the search needs."""
    if "trial" not in (config.get("sweep") or {}):
        return config
    kept = config.copy()
    kept.sweep.pop("trial")
    return kept


def _fit_in_memory(config: DictConfig, data: ImageData, directory: Path, manifest: Manifest, start: float) -> float:
    """Train and test; with trainer.auto_batch, repeat with twice as many parts per batch when memory runs out."""
    parts = 1
    while True:
        try:
            with processes.ProcessGroup(directory, RANK_LOG) as group:
                return train_and_test(config, data, directory, manifest, start, group, batch_parts=parts)
        except Exception as error:
            if (
                not config.trainer.get("auto_batch")
                or not is_out_of_memory(error)
                or parts >= config.dataset.batch_size
            ):
                raise
        parts *= 2  # not inside ``except``, where the error still holds the memory
        manifest.call_finished("failed")
        gc.collect()
        torch.cuda.empty_cache()
        manifest.update(batch_parts=parts)
        log.warning(
            "out of memory: each batch now passes through the network in %d parts, which gives the same step", parts
        )


@dataclass
class Stopwatch:
    """The seconds of training, including the caching of features."""

    seconds: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the time inside this context."""
        before = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - before


@dataclass
class Outputs:
    """The stored outputs of the chosen network, in the order of the images: (N, ...)."""

    validation: Tensor
    test: Tensor
    features: Tensor  # of some validation images, (M, D)
    metrics: dict[str, float] = field(default_factory=dict)  # of the saved outputs


def train_and_test(
    config: DictConfig,
    data: ImageData,
    directory: Path,
    manifest: Manifest,
    start: float,
    group: processes.ProcessGroup,
    ready: Callable[[], object] = lambda: None,
    batch_parts: int = 1,
) -> float:
    """Carry out all steps of a run; return the primary metric on validation."""
    provenance.reset_peak_memory()
    parts = prepare(config, directory, group=group, data=data.unprepared())
    check_statistics(parts.strategy, parts.data, parts.trainer.world_size, batch_parts)
    _record_parts(config, parts, manifest)
    describe_run(config, parts)
    group.join(parts.trainer, ready)
    resume = ranks.from_leader(_resume_point(parts, directory, manifest) if ranks.leads() else None)
    _start_from(parts, resume, _compared_settings(config, manifest.content))
    manifest.when_finished = [logger.end for logger in parts.loggers]
    log_batch(parts.strategy, parts.data, parts.loggers)
    references = compute_references(config.get("references") or [], parts.data, parts.strategy.task, config.seed)
    parts.keep.begun = time.perf_counter()
    watch = Stopwatch()
    with watch.running():
        cached, at_start = cached_features(parts)
    views = compose.make_test_views(config)
    if cached is not None and views is None:  # needed by the test pass, but an error should come before training
        cached.keeper.check(parts.data.test)
    with watch.running():
        epoch = parts.strategy.fit(parts.trainer, cached or parts.data, at_start, resume, batch_parts)
    watch.seconds += parts.keep.earlier_seconds
    tested = _test(parts, cached, views, epoch, directory, watch)
    manifest.content["features"] = _features_entry(cached)
    _write_predictions(parts, tested, directory, one_view=views is None)
    metrics = _metrics(parts, tested, epoch)
    if ranks.leads():
        manifest.content["references"] = references
        if not parts.strategy.gives_weights_only:
            record, row = {**manifest.content, "metrics": metrics}, parts.loggers[0].rows[epoch]
            write_model(config, parts.strategy, parts.data, parts.trainer, cached, tested, record, row, directory)
        _finish(config, parts, manifest, epoch, metrics, watch.seconds, start - parts.keep.earlier_seconds)
        drop_intermediate(directory / CHECKPOINT_FOLDER)
    return metrics[f"validation/{parts.strategy.task.primary}"]


def _record_parts(config: DictConfig, parts: RunParts, manifest: Manifest) -> None:
    """Write the facts about data and weights to run.json."""
    data, strategy = parts.data, parts.strategy
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


def _resume_point(parts: RunParts, directory: Path, manifest: Manifest) -> ResumePoint | None:
    """Return the checkpoint of an earlier process; remove its other files, which this run writes again."""
    given = manifest.content["provenance"]
    packages, source = given["packages"], provenance.git_state()["source_sha256"]
    parts.keep.origin = {
        "settings": manifest.content["config_hash"],
        "code": [source, own] if (own := given.get("own_code")) else source,
        "pictures": parts.data.contents_hash(),
        "weights": parts.strategy.backbone.weights.sha256,
        "packages": {name: packages[name] for name in ("torch", "pytorch-lightning", "torchvision", "timm")},
    }
    drop_halves(directory / CHECKPOINT_FOLDER)
    resume = read_progress(directory / CHECKPOINT_FOLDER, parts.keep.origin)
    if resume is None:
        drop_intermediate(directory / CHECKPOINT_FOLDER)
        (directory / CURVE_FILE).unlink(missing_ok=True)
    return resume


def _start_from(parts: RunParts, resume: ResumePoint | None, settings: Mapping[str, Any]) -> None:
    """Restore curves and callbacks to the state of a checkpoint, and begin all loggers."""
    parts.keep.resume_from(resume)
    for logger in parts.loggers:
        logger.resume(resume.curves.get(logger.name) if resume is not None else None)
        logger.begin(settings)
    if resume is not None:
        log.info("resumes from its checkpoint: %s", resume)


def cached_features(parts: RunParts) -> tuple[FrozenData | None, FrozenData | None]:
    """Return the data with outputs of the frozen prefix, and the data with features of the untrained network."""
    strategy, data, trainer = parts.strategy, parts.data, parts.trainer
    device: Any = trainer.strategy.root_device
    strategy.begin(data, device)
    cached = at_start = frozen_data(parts.features, parts.store, strategy, data, trainer)
    if strategy.wants_start_features and strategy.plan.prefix_end < len(strategy.backbone.stages):
        at_start = frozen_data(parts.features, parts.store, strategy, data, trainer, whole=True)
    return cached, at_start


def _test(
    parts: RunParts, cached: FrozenData | None, views: Any, epoch: int, directory: Path, watch: Stopwatch
) -> Outputs:
    """Predict validation, refit if the settings ask for it, save the network, and predict test, once."""
    strategy, data, trainer = parts.strategy, parts.data, parts.trainer
    mixed = strategy.batch_norm == "batch"
    source = cached or data
    validation, test = (
        [data.viewed_dataloader(split, views, mixed) for split in (data.validation, data.test)]
        if views
        else [source.val_dataloader(mixed), source.test_dataloader(mixed)]
    )
    with watched_head(strategy) as seen:
        predicted = trainer.predict(strategy, dataloaders=validation)
    with watch.running():
        strategy.refit()
    if ranks.leads():
        keep_network(strategy, epoch, directory / CHECKPOINT_FOLDER)
    trainer.test(strategy, dataloaders=test, verbose=False)
    outputs = in_order(ranks.gathered(predicted))  # type: ignore[arg-type]
    return Outputs(outputs, strategy.test_outputs, seen.values(), dict(strategy.tested))


def _features_entry(cached: FrozenData | None) -> dict[str, Any] | None:
    """Return the entry of cached features in run.json; log the time that they saved."""
    if cached is None:
        return None
    record = cached.record()
    if record["splits"]:
        log.info(
            "features: %s, %.1f MB; %.1f s spent on them, %.1f s saved",
            "all found" if record["hit"] else "computed",
            record["bytes"] / 1e6,
            record["seconds"],
            record["seconds_saved"],
        )
    return record


def _write_predictions(parts: RunParts, tested: Outputs, directory: Path, one_view: bool) -> None:
    """Write the predictions of both splits; add the scores of test, and with ``one_view`` those of validation."""
    data, task = parts.data, parts.strategy.task
    for name, file, split, outputs in (
        ("test", TEST_PREDICTIONS, data.test, tested.test),
        ("validation", VALIDATION_PREDICTIONS, data.validation, tested.validation),
    ):
        if ranks.leads():
            write_predictions(directory / file, split.ids, split.targets, outputs, data.class_names, data.kind)
        if name == "test" or one_view:  # the epoch was chosen by single views
            scores = scores_of_kept(task, outputs, split.targets[: len(outputs)])
            tested.metrics |= {f"{name}/{metric}": value for metric, value in scores.items()}


def _metrics(parts: RunParts, tested: Outputs, epoch: int) -> dict[str, float]:
    """Return the metrics of the chosen epoch and of the saved outputs."""
    row = parts.loggers[0].rows[epoch]
    metrics = {name: value for name, value in row.items() if name.startswith(("train/", "validation/"))}
    return metrics | parts.strategy.selected.get("metrics", {}) | tested.metrics


def _finish(
    config: DictConfig,
    parts: RunParts,
    manifest: Manifest,
    epoch: int,
    metrics: dict[str, float],
    train_seconds: float,
    start: float,
) -> None:
    """Complete curves and run.json, and log the result."""
    strategy, row, tried = parts.strategy, parts.loggers[0].rows[epoch], len(parts.loggers[0].rows)
    for logger in parts.loggers:
        logger.muted = False  # still muted if nothing was left to train
    if strategy.task.by_pixel:
        write_pixels(parts.data, strategy.test_outputs, manifest.path.parent, parts.loggers)
    for logger in parts.loggers:
        logger.finish(epoch, metrics)
        logger.save()
        logger.finalize("success")
    epochs = tried if strategy.by_gradient else 1
    choice = strategy.describe_choice(epoch, row, tried)
    manifest.content["cost"] = {
        "wall_seconds": time.perf_counter() - start,
        "train_seconds": train_seconds,
        "epochs": epochs,
        "samples_per_second": strategy.clock.images_trained / max(strategy.clock.seconds_trained, 1e-9),
        "peak_memory_bytes": provenance.peak_memory(strategy.device.type),
        "total_parameters": sum(group.size for group in strategy.plan.groups),
        "trainable_parameters": sum(group.size_trained for group in strategy.plan.groups if group.since <= epochs),
    }
    manifest.content |= {
        "metrics": metrics,
        "best_epoch": epoch if strategy.by_gradient else None,
        "selection": {
            "on": f"validation/{strategy.task.primary}",
            "tried": tried,
            "choices": strategy.choices(tried),
            "rule": choice,
        },
        "selected": {name: value for name, value in strategy.selected.items() if name != "metrics"},
    }
    if weights := learned_weights(strategy.task, strategy.head):
        manifest.content["selected"]["weights"] = weights
        log.info("learned weights of the losses: %s", ", ".join(f"{name} {of:.3g}" for name, of in weights.items()))
    manifest.finish("finished")
    hidden = (config.get("sweep") or {}).get("trial")  # a search does not show test
    splits = ["validation"] if hidden else ["validation", "test"]
    primary = compose.kind_of(config).primary
    results = [f"{split} {primary.words} {primary.text(metrics[f'{split}/{primary.name}'])}" for split in splits]
    log.info("%s; %s", choice, ", ".join(results))


def _compared_settings(config: DictConfig, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that loggers show: the names, then every number that determines the result."""
    settings = flatten(identity.determining_settings(OmegaConf.to_container(config)))  # type: ignore[arg-type]
    names = {name: manifest[name] for name in ("dataset", "backbone", "strategy", "seed")}
    numbers = {
        key: value
        for key, value in settings.items()
        if isinstance(value, bool | int | float) and "seed" not in key and not key.endswith("_partial_")
    }
    return {**names, "augmentation": "+".join(manifest["augmentation"]) or "none", **numbers}
