"""Fit a linear probe to every stage of a frozen backbone, in one pass over the images."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch.nn import functional as F

from headstart.backbones import Backbone
from headstart.backbones.readout import Joined
from headstart.errors import ConfigError
from headstart.features.extract import extract
from headstart.progress import within
from headstart.solvers.features import Features
from headstart.solvers.probe_fit import fit_probe
from headstart.strategies import LinearProbe
from headstart.strategies.fitting import start_features
from headstart.training.opening import describe_data, warn_of_weights
from headstart.training.prepare import RunParts, prepare
from headstart.training.reuse import frozen_data

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageProbe:
    """The result of a linear classifier on the pooled output of a stage; accuracies are fractions of 1."""

    stage: str | None  # None: the joined outputs of all stages
    features: int
    l2: float
    validation_accuracy: float
    validation_loss: float  # cross-entropy in nats
    test_accuracy: float
    end: str = ""  # "weak" or "strong" if the best strength is the weakest or strongest one tried


def probe_stages(config: DictConfig, folder: Path) -> list[StageProbe]:
    """Fit a probe to each stage, lowest first, and then one to all stages joined if there are several.

    ``config`` describes a run with strategy=linear_probe; its head.stages is set to the stages that are read. The L2
    strength of each probe is chosen on validation. Nothing is written to ``folder``. Raises HeadstartError as a run
    does.
    """
    parts = prepare(config, folder, every_stage=True)
    if parts.strategy.task.kind != "classification":
        raise ConfigError(f"inspect layers compares accuracies of classes, and task={parts.data.task} has none.")
    strategy: Any = parts.strategy  # a linear probe
    describe_parts(parts)
    splits = split_features(parts)
    columns_of = list(_columns(strategy))
    probes = []
    for number, (stage, columns) in enumerate(columns_of, 1):
        with within(f"{stage or 'all stages'} ({number} of {len(columns_of)})"):
            probes.append(_probe(stage, columns, splits, strategy))
    _warn_of_ends(probes)
    return probes


def stage_widths(backbone: Backbone) -> dict[str, int]:
    """Return the number of features from each stage that the backbone reads, lowest first."""
    names, shapes = backbone.stage_names, backbone.output_shapes()
    pools = backbone.pool.pools if isinstance(backbone.pool, Joined) else [backbone.pool]
    return {
        names[tap]: int(pool(torch.zeros(1, *shapes[tap])).shape[1])
        for tap, pool in zip(backbone.taps, pools, strict=True)
    }


def _columns(strategy: LinearProbe) -> Iterator[tuple[str | None, slice]]:
    """Yield the feature columns of each stage, and then all columns."""
    widths, start = stage_widths(strategy.backbone), 0
    for name, width in widths.items():
        yield name, slice(start, start + width)
        start += width
    if len(widths) > 1:
        yield None, slice(0, start)


def split_features(parts: RunParts) -> tuple[Features, Features, Features]:
    """Return the features of training, validation and test images, stages side by side; cached as in any run.

    The strategy is one that solves its head.
    """
    data, strategy, trainer = parts.data, parts.strategy, parts.trainer
    device: Any = trainer.strategy.root_device
    strategy.begin(data, device)
    source = frozen_data(parts.features, parts.store, strategy, data, trainer) or data
    strategy.to(device)
    with trainer.precision_plugin.forward_context():
        train, validation = start_features(strategy, source, device)
        return (
            train,
            validation(),
            extract(strategy.features, source.test_dataloader(strategy.batch_norm == "batch"), device, "test features"),
        )


def _probe(
    stage: str | None, columns: slice, splits: tuple[Features, Features, Features], strategy: LinearProbe
) -> StageProbe:
    train, validation, test = (Features(split.values[:, columns], split.targets) for split in splits)
    probe = fit_probe(train, validation, strategy.task, strategy.strengths, strategy.loss)
    # In single precision, as the head of a run: the same decisions.
    logits = F.linear(test.values, probe.weight.to(test.values), probe.bias.to(test.values))
    return StageProbe(
        stage,
        train.values.shape[1],
        probe.scores["l2"],
        probe.scores["validation/accuracy"],
        probe.scores["validation/loss"],
        float((logits.argmax(dim=1) == test.targets).double().mean()),
        probe.end,
    )


def describe_parts(parts: RunParts) -> None:
    """Log the data, the skipped images and random weights."""
    data, strategy = parts.data, parts.strategy
    title = f"{strategy.backbone.name} on {data.name}"
    describe_data(data, title, strategy.backbone.preprocessing.image_size)
    if data.skipped:
        log.warning("%d unreadable images are skipped: %s", len(data.skipped), ", ".join(data.skipped))
    warn_of_weights(strategy)


def _warn_of_ends(probes: Sequence[StageProbe]) -> None:
    for end in ("weak", "strong"):
        at = [probe for probe in probes if probe.end == end]
        if at:
            names = ", ".join(probe.stage or "all joined" for probe in at)
            log.warning(
                "the best L2 strength is the %sest one tried, %g, for %s: add %ser ones with strategy.l2",
                end, at[0].l2, names, end,
            )  # fmt: skip
