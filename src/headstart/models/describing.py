"""Describe the network at the end of its run, and write the description beside its tensors."""

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig
from torch import Tensor

from headstart import __version__
from headstart.data import ImageData
from headstart.features.frozen_data import FrozenData
from headstart.inputs.decoding import RULES, Decoder
from headstart.kinds import Kind, SeveralKind
from headstart.kinds.class_predictions import ClassPredictions
from headstart.kinds.class_scores import scaled, temperature
from headstart.kinds.label_set_predictions import LabelSetPredictions, thresholds_of
from headstart.kinds.number_predictions import NumberPredictions
from headstart.kinds.several_predictions import SeveralPredictions
from headstart.models.builders import name_of, part_of
from headstart.models.description import (
    PARTS,
    BuiltPart,
    Inference,
    ModelDescription,
    ModelInput,
    ModelOutput,
    OutputCalibration,
    Unlike,
    shortened,
)
from headstart.models.unlike import described_unlike, sample_size, write_features
from headstart.precision import at_least_single
from headstart.records.names import BEST_CHECKPOINT, CHECKPOINT_FOLDER
from headstart.seeds import generator
from headstart.statistics.conformal import class_scores
from headstart.strategies import Strategy

log = logging.getLogger(__name__)
ABOUT = ("id", "config_hash", "dataset", "backbone", "strategy", "augmentation", "seed")  # entries of run.json


class HeldOut(Protocol):
    """What the network gave for validation images."""

    validation: Tensor  # outputs, (N, ...)
    features: Tensor  # of some of them, (M, D)


def write_model(
    config: DictConfig,
    strategy: Strategy,
    data: ImageData,
    trainer: pl.Trainer,
    cached: FrozenData | None,
    validation: HeldOut,
    record: Mapping[str, Any],
    row: Mapping[str, float],
    directory: Path,
) -> None:
    """Write model.json, and the features of some training images, beside best.ckpt of a run directory.

    ``validation`` is what the network gave for validation images. ``record`` is run.json with its ``metrics``; ``row``
    is the chosen row of scores.
    """
    begun = time.perf_counter()
    folder = directory / CHECKPOINT_FOLDER
    unlike = _write_unlike(strategy, data, trainer, cached, validation.features, folder)
    engine, prefix = _engine(config, cached)
    with (folder / BEST_CHECKPOINT).open("rb") as file:
        weights = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    picked = getattr(strategy, "picked", "")
    description = ModelDescription(
        network={name: part_of(name, config[name]) for name in PARTS if config.get(name)},
        given=_plain(type(strategy.task).settings_of(data)),
        chosen={picked: float(row[picked])} if picked in row else {},
        input=described_input(strategy, data),
        output=described_output(data),
        inference=Inference(
            precision=str(trainer.precision),
            batch_norm=strategy.batch_norm,
            test_views=config.get("test_views"),
            averaged_views=strategy.averaged_views,
            batch_size=data.batch_size,
            engine=engine,
            prefix=prefix,
        ),
        weights={"file": BEST_CHECKPOINT, "sha256": weights},
        calibration={}
        if data.gives_masks
        else calibrations(data.kind, data.validation.targets, validation.validation, data.class_names),
        unlike=unlike,
        training={
            **{name: record.get(name) for name in ABOUT},
            "metrics": {name: value for name, value in record["metrics"].items() if np.isfinite(value)},
            "images": {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)},
            "weights": asdict(strategy.backbone.weights),
            "stages": strategy.backbone.stage_names,
            "feature_dim": strategy.backbone.feature_dim,
            "headstart": __version__,
        },
    )
    description.write(folder)
    log.debug("the description of the model took %.2f s", time.perf_counter() - begun)


def described_input(strategy: Strategy, data: ImageData) -> ModelInput:
    """Return what enters the network, from the backbone's preprocessing and the decoder of the test images."""
    decoder, known, signature = data.test.images.decoder, strategy.backbone.preprocessing, data.signature
    settings = asdict(decoder) if is_dataclass(decoder) else {}
    name = name_of("decoder", type(decoder))
    return ModelInput(
        decoder=BuiltPart(name, settings),
        image_size=data.test.size,
        crop_fraction=known.crop_fraction,
        interpolation=known.interpolation,
        mean=list(known.mean),
        std=list(known.std),
        kind=signature.kind,
        channels=signature.channels,
        low=float(signature.low),
        high=float(signature.high),
        dtype=str(signature.dtype).removeprefix("torch."),
        views=signature.views,
        decoding_rules=RULES if isinstance(decoder, Decoder) else 0,
    )


def described_output(data: ImageData) -> ModelOutput:
    """Return what the outputs mean."""
    kind = data.kind
    several = kind if isinstance(kind, SeveralKind) else None
    primary = kind.primary
    return ModelOutput(
        task=kind.name,
        names=list(data.class_names) or [""],
        parts={name: part.name for name, part in several.parts.items()} if several else {},
        primary={
            "name": primary.name,
            "unit": primary.unit,
            "higher_is_better": primary.higher_is_better,
            **({"part": several.primary_part} if several else {}),
        },
    )


def calibrations(kind: Kind, targets: Any, outputs: Tensor, names: Sequence[str]) -> dict[str, OutputCalibration]:
    """Return the calibration of each output on validation."""
    if not len(outputs):
        return {}
    count = len(outputs)
    found = kind.predicted([""] * count, targets[:count], outputs, names)
    parts = found.parts if isinstance(found, SeveralPredictions) else {"": found}
    return {name: made for name, part in parts.items() if (made := _calibration(part)) is not None}


def _calibration(found: Any) -> OutputCalibration | None:
    """Return the calibration of one output; None where its predictions are no numbers."""
    if isinstance(found, ClassPredictions) and np.isfinite(found.probabilities).all():
        fitted = temperature(found.targets, found.probabilities)
        scores = class_scores(found.targets, scaled(found.probabilities, fitted))
        return OutputCalibration(fitted, scores=[_rounded_up(scores)], images=len(scores))
    if isinstance(found, LabelSetPredictions) and np.isfinite(found.values).all():
        return OutputCalibration(thresholds=thresholds_of(found, len(found.labels)).tolist(), images=len(found.ids))
    if isinstance(found, NumberPredictions) and np.isfinite(found.values).all():
        return OutputCalibration(scores=[_rounded_up(errors) for errors in found.errors.T], images=len(found.ids))
    return None


def _rounded_up(scores: NDArray[np.float64]) -> list[float]:
    """Return sorted scores in 9 significant digits, at least as large as they are."""
    return [float(f"{value:.9g}") * (1 + 1e-9) for value in shortened(scores.tolist())]


def _engine(config: DictConfig, cached: FrozenData | None) -> tuple[str | None, int]:
    """Return the engine that computed the test images, and the number of stages that it ran."""
    if cached is None or config.get("test_views") is not None or "test" not in cached.outcomes:
        return None, 0
    if cached.outcomes["test"].rows is None:
        return None, 0
    return cached.keeper.choice.name, cached.keeper.prefix.stop


@torch.inference_mode()
def _write_unlike(
    strategy: Strategy,
    data: ImageData,
    trainer: pl.Trainer,
    cached: FrozenData | None,
    seen: Tensor,
    folder: Path,
) -> Unlike | None:
    """Write the features of some training images; return the threshold, or None where features are no vectors."""
    if strategy.task.by_pixel or not len(seen) or strategy.batch_norm == "batch":
        return None
    stored = _stored_rows(cached)
    entry = cached.entry if cached is not None and stored is not None else 0
    count = sample_size(strategy.backbone.feature_dim, len(data.train), stored is not None)
    places = np.sort(generator("unlike", 0).permutation(len(data.train))[:count])
    images = data.train.without_views()
    device: Any = trainer.strategy.root_device
    before = strategy.device
    strategy.eval()
    if before != device:
        strategy.to(device)
    found = []
    for start in range(0, count, data.batch_size):
        some = places[start : start + data.batch_size]
        inputs = images.__getitems__(some.tolist()).inputs if stored is None else stored.take(some)
        with trainer.precision_plugin.forward_context():
            found.append(at_least_single(strategy.features(inputs.to(device), entry)).cpu())
    if before != device:
        strategy.to(before)
    train = torch.cat(found).half()
    if not train.isfinite().all():
        return None
    described = described_unlike(train, seen)
    if described is not None:
        write_features(folder, train)
    return described


def _stored_rows(cached: FrozenData | None) -> Any:
    """Return the stored rows of training images without augmentation, or of their first view; None without any."""
    if cached is None:
        return None
    for name in ("train, not augmented", "train"):
        if name in cached.outcomes and (rows := cached.outcomes[name].rows) is not None:
            return rows
    return None


def _plain(value: Any) -> Any:
    """Return arrays and tensors in nested mappings and lists as plain numbers."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, np.ndarray | np.generic | Tensor):
        return value.tolist()
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
