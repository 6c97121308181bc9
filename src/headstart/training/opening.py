"""Log a summary of a run before its first step."""

import logging

from omegaconf import DictConfig

from headstart.data import ImageData
from headstart.data.balance import balance_text
from headstart.strategies import Strategy
from headstart.strategies.plan import HEADER
from headstart.tables import table_text
from headstart.training.augmentation_plan import STEP_COLUMNS, augmentation_steps
from headstart.training.prepare import RunParts

log = logging.getLogger(__name__)


def describe_run(config: DictConfig, parts: RunParts) -> None:
    """Log data, weights, the training plan and the augmentation."""
    data, strategy = parts.data, parts.strategy
    describe_data(data, str(data.name), strategy.backbone.preprocessing.image_size)
    if data.skipped:
        log.warning("%d images cannot be read and are left out; run.json lists them", len(data.skipped))
    if (data.targets.from_folders or data.gives_masks) and (
        line := balance_text(data.train.targets, data.class_names, data.balance, data.class_weights)
    ):
        log.info("%s", line)
    warn_of_weights(strategy)
    if strategy.normalisation.changed:
        log.info("inputs: %s", strategy.normalisation.note)
    right = [name in ("parameters", "trained", "learning rate", "weight decay") for name in HEADER]
    table = table_text(HEADER, strategy.plan.rows(), right)
    log.info("%s\n%s", f"{type(strategy).__name__} on {strategy.backbone.name}", table)
    if steps := augmentation_steps(config, parts.augmentation, data.train.packs):
        log.info("augmentation, in this order\n%s", table_text(STEP_COLUMNS, steps, [False] * len(STEP_COLUMNS)))


def describe_data(data: ImageData, title: str, size: int) -> None:
    """Log made splits, numbers and sizes of images, sizes of classes, unused files, and suspicious findings."""
    if data.splits_made:
        log.info("%s", data.splits_made)
    phrase, lines = data.targets.describe(data.train.targets, data.class_names, data.balance)
    log.info(
        "%s: %s, %d training, %d validation and %d test images, %d x %d pixels",
        title, phrase, len(data.train), len(data.validation), len(data.test), size, size,
    )  # fmt: skip
    for line in lines:
        log.info("%s", line)
    if data.not_used:
        log.info("not used: %s", "; ".join(data.not_used))
    for warning in data.warnings:
        log.warning("%s", warning)


def warn_of_weights(strategy: Strategy) -> None:
    """Log the used parts of a weights file; warn if a network is not fully pretrained but should be."""
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
            "backbone.weights fills %.0f %% of the tensors; the others stay random: %s%s",
            100 * (strategy.backbone.weights.matched or 0), ", ".join(missing[:4]), ", ..." if len(missing) > 4 else "",
        )  # fmt: skip
