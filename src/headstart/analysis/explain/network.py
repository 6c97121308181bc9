"""Rebuild the network of a finished run from config.yaml and best.ckpt, and check it against predictions.csv."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from headstart.augmentations import Pipeline
from headstart.backbones import bottleneck_in
from headstart.boundary.opening import first_line
from headstart.data import ImageData
from headstart.data.batches import FixedShuffleBatches
from headstart.devices import processes
from headstart.errors import ConfigError, DataError
from headstart.features.compute import ahead
from headstart.files import expanded
from headstart.kinds.class_predictions import ClassPredictions
from headstart.kinds.classification import ClassKind
from headstart.models.loading import read_checkpoint
from headstart.precision import at_least_single
from headstart.progress import ProgressLine
from headstart.records.names import BEST_NETWORK, TEST_PREDICTIONS
from headstart.records.predictions import read_class_predictions
from headstart.records.runs import Run
from headstart.records.settings_file import check_images_are_there, read_config
from headstart.settings.early_checks import check_settings
from headstart.settings.foreign import keep_inside, places_read
from headstart.settings.targets import check_targets
from headstart.solvers.neighbours import NearestNeighbours
from headstart.strategies import Strategy
from headstart.training import compose
from headstart.training.prepare import settle_process
from headstart.workers import usable_cores

# Groups of settings that only training needs.
UNUSED = ("logger", "callbacks", "features", "references", "sweep")
CLOSE = 1e-4  # largest difference between probabilities of the same 32-bit network
COARSE = 1e-2  # the same with 8 or 11 bits: mixed precision, and convolutions on GPUs (TF32)
NO_TIE = 1e-5  # rounding may swap cosines that differ by less


@dataclass
class Rebuilt:
    """The network of a run in eval mode, its test images, and its predictions of them at the end of the run."""

    run: Run
    data: ImageData
    strategy: Strategy
    trainer: pl.Trainer
    predictions: ClassPredictions
    views: Pipeline | None = None
    """The test views that predictions.csv averages over."""
    positions: NDArray[np.int64] = field(init=False)
    """(N,) the position of each row of predictions.csv in the test split."""

    def __post_init__(self) -> None:
        place = {name: number for number, name in enumerate(self.data.test.ids)}
        lost = [name for name in self.predictions.ids if name not in place]
        if list(self.predictions.classes) != self.data.class_names or lost:
            what = f"'{lost[0]}' is not among the test images" if lost else "the classes differ"
            raise DataError(f"the data have changed since the run: {what}")
        self.positions = np.array([place[name] for name in self.predictions.ids], dtype=np.int64)
        if (self.data.test.targets[self.positions] != self.predictions.targets).any():
            raise DataError("the data have changed since the run: test images have other classes")
        if self._fingerprint() not in (None, self.data.split_fingerprints["test"]):
            raise DataError("the data have changed since the run: the content of test images differs")

    @property
    def device(self) -> torch.device:
        """Return the device of the network."""
        device: Any = self.trainer.strategy.root_device
        return device

    @property
    def depends_on_batch(self) -> bool:
        """Return whether the prediction of an image depends on the other images of its batch."""
        return self.strategy.batch_norm == "batch"

    def batches(self) -> Iterator[NDArray[np.int64]]:
        """Yield the positions of the test images in the batches of the test pass."""
        data = self.data
        if self.depends_on_batch:
            yield from FixedShuffleBatches(len(data.test), data.batch_size).positions()
            return
        for start in range(0, len(self.positions), data.batch_size):
            yield self.positions[start : start + data.batch_size]

    def inputs(self, positions: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """Return the images as they enter the network: as stored, (N, C, S, S), on its device."""
        return self.data.test.__getitems__([int(position) for position in positions]).inputs.to(self.device)

    def verified_features(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Pass all test images and return the features (len(rows), D) of some rows of predictions.csv.

        Raises DataError if the network's predictions differ from predictions.csv.
        """
        return self._pass(rows)[0]

    def verified_probabilities(self, one_view: bool = False) -> NDArray[np.float64]:
        """Pass all test images and return the probabilities (N, C) of the rows of predictions.csv.

        ``one_view`` returns those of the plain images, even if the run averages over test_views. Raises DataError if
        the averaged probabilities differ from predictions.csv.
        """
        _, averaged, plain = self._pass(np.arange(0))
        return plain if one_view else averaged

    @torch.inference_mode()
    def _pass(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
        """Return the features of some rows, and all probabilities: over the test views, and of the plain images."""
        kept = np.full(len(self.data.test), -1)
        kept[self.positions[rows]] = np.arange(len(rows))
        features: NDArray[np.float32] | None = None
        plain, probabilities = (np.full((len(self.data.test), self.data.num_classes), np.nan) for _ in range(2))
        tied = np.zeros(len(self.data.test), dtype=bool)
        entry = len(self.strategy.backbone.stages) if self.strategy.averaged_views else 0
        for positions, inputs in self._loaded():
            with self.trainer.precision_plugin.forward_context():
                values = self.strategy.features(inputs, entry)
                logits = at_least_single(self.strategy.head(values))
                averaged = logits if self.views is None else self._over_views(positions)
            plain[positions] = logits.double().softmax(dim=1).cpu().numpy()
            probabilities[positions] = averaged.double().softmax(dim=1).cpu().numpy()
            tied[positions] = _tied(self.strategy.head, values)
            here = np.flatnonzero(kept[positions] >= 0)
            if features is None:
                features = np.zeros((len(rows), values.shape[1]), dtype=np.float32)
            features[kept[positions[here]]] = values[torch.from_numpy(here).to(values.device)].float().cpu().numpy()
        assert features is not None
        probabilities = probabilities[self.positions]
        self._verify(probabilities, tied[self.positions])
        return features, probabilities, plain[self.positions]

    def _over_views(self, positions: NDArray[np.int64]) -> Tensor:
        """Return logits (N, classes), averaged over the test views as in the run."""
        seen = self.data.test.with_views(self.views, 0)
        batch = seen.__getitems__([int(position) for position in positions])
        return at_least_single(self.strategy.over_views(batch.to(self.device)))

    def _loaded(self) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Yield positions with their images, or with their mean features if strategy.views averages views."""
        batches = list(self.batches())
        images = ahead(lambda positions: self.inputs(positions), batches, usable_cores(), 2 * usable_cores())
        read = map(self._averaged, batches) if self.strategy.averaged_views else images
        with ProgressLine("test images", sum(map(len, batches))) as progress:
            for positions, inputs in zip(batches, read, strict=True):
                yield positions, inputs
                progress.advance(len(positions))

    def _averaged(self, positions: NDArray[np.int64]) -> Tensor:
        """Return features (N, D), averaged over the strategy.views views that the run drew."""
        split = self.data.test.with_views(self.data.train.views, self.data.augmentation_seed)
        split.source.load("test images")  # the split keeps them, so this happens once
        count = self.strategy.averaged_views or 1
        total = torch.zeros(len(positions), self.strategy.backbone.feature_dim, device=self.device)
        for view in range(count):
            inputs = split.__getitems__([(view, int(position)) for position in positions]).inputs
            with self.trainer.precision_plugin.forward_context():
                total += self.strategy.features(inputs.to(self.device))
        return total / count

    def _verify(self, probabilities: NDArray[np.float64], tied: NDArray[np.bool_]) -> None:
        errors = np.abs(probabilities - self.predictions.probabilities).max(axis=1)
        limit = tolerance(self.trainer, self.device, _provenance(self.run))
        differ = ~(errors <= limit) & ~tied
        if differ.any():
            what = "the code or the packages" if self._fingerprint() else "the data, the code or the packages"
            worst = int(np.where(differ, np.nan_to_num(errors, nan=np.inf), -1).argmax())
            raise DataError(
                f"the network's predictions differ from predictions.csv for {differ.sum()} of {len(errors)} images,"
                f" most for '{self.predictions.ids[worst]}', by {errors[worst]:.2g} in probability;"
                f" {what} have changed since the run"
            )

    def _fingerprint(self) -> str | None:
        """Return the fingerprint of the run's test images, or None for an early run, which has none."""
        return self.run.fingerprints.get("test")


def rebuild(run: Run, root: Path | None = None, trusted: Sequence[str] = ()) -> Rebuilt:
    """Rebuild the network of a finished run: in eval mode, and without gradients for its weights.

    All weights come from best.ckpt. ``root`` holds the images if they have moved. config.yaml may name classes of the
    packages ``trusted``. Raises DataError and ConfigError.
    """
    settle_process()
    if run.kind.name != ClassKind.name:
        raise DataError(f"explain and evaluate take runs of task=classification; this is a run of task={run.kind.name}")
    predictions = read_class_predictions(run.directory / TEST_PREDICTIONS)
    config = settings_of(run.directory, root, trusted)
    if root is None:
        check_images_are_there(config)
    check_settings(OmegaConf.to_container(config))  # type: ignore[arg-type]
    content = read_checkpoint(run.directory, BEST_NETWORK)
    data = compose.make_data(config)
    augmentation = compose.make_augmentation(config)
    trainer, *_ = compose.make_trainer(config, run.directory)
    backbone = compose.make_backbone(config)
    backbone.bottleneck = bottleneck_in(content["state_dict"])
    data.prepare(backbone.preprocessing, augmentation.views)
    strategy = compose.make_strategy(config, backbone, data, augmentation)
    rebuilt = Rebuilt(run, data, strategy, trainer, predictions, compose.make_test_views(config))
    load(strategy, content, run)
    strategy.requires_grad_(False)
    trainer.precision_plugin.convert_module(strategy)
    strategy.to(rebuilt.device).eval()
    return rebuilt


def settings_of(directory: Path, root: Path | None = None, trusted: Sequence[str] = ()) -> DictConfig:
    """Return the settings of a run without those that only training needs; ``root`` holds its images now.

    Raises DataError for a damaged file, and ConfigError for one that names code of untrusted packages.
    """
    config = read_config(directory)
    for name in UNUSED:
        config.pop(name, None)
    config.trainer.pop("profiler", None)
    check_targets(OmegaConf.to_container(config), trusted)
    keep_inside(config, None, trusted)
    config.logger, config.callbacks = {}, {}
    processes.on_one_device(config.trainer)
    config.augmentation = config.get("augmentation") or {}
    config.backbone.weights = None
    if config.trainer.get("accelerator") != "cpu":
        config.trainer.accelerator = "auto"  # this may be another machine
    if root is not None:
        if not config.dataset.get("root"):
            raise ConfigError(f"--root {root}: the images of this run do not come from a folder")
        config.dataset.root = str(expanded(root).absolute())
    if root is None and (found := places_read(config)):
        print(f"{directory.name}: reads {', '.join(found)}", flush=True)
    return config


def load(strategy: Strategy, content: Mapping[str, Any], run: Run) -> None:
    """Load the tensors of best.ckpt into a strategy that is not trained yet."""
    state = content["state_dict"]
    try:
        strategy.restore(state, lambda name: chosen_number(run, content["epoch"], name))
    except RuntimeError as error:
        detail = str(error).partition("\n")[2]
        raise DataError(
            f"best.ckpt does not fit the network that config.yaml describes ({first_line(detail or error)}); the code"
            " has changed since the run"
        ) from None


def chosen_number(run: Run, row: int, name: str) -> float:
    """Return a number of at least 1 in the chosen row of metrics.csv. Raises DataError where there is none."""
    curve = run.read_curve()
    found = curve.loc[curve["epoch"] == row, name].tolist() if name in curve else []
    if len(found) != 1 or not found[0] >= 1:
        raise DataError(f"metrics.csv has no row {row} with a number of {name}")
    return float(found[0])


def tolerance(trainer: pl.Trainer, device: torch.device, record: Mapping[str, Any]) -> float:
    """Return how much the probabilities of one network may differ between the arithmetic of then and now."""
    hardware = record.get("hardware")
    gpu = device.type != "cpu" or (isinstance(hardware, dict) and bool(hardware.get("gpus")))
    return CLOSE if str(trainer.precision) in ("32-true", "64-true") and not gpu else COARSE


def _provenance(run: Run) -> dict[str, Any]:
    found = run.get("provenance")
    return found if isinstance(found, dict) else {}


def _tied(head: torch.nn.Module, values: Tensor) -> NDArray[np.bool_]:
    """Return (N,) whether rounding may change the voters, because the last and the next neighbour are equally near."""
    if not isinstance(head, NearestNeighbours) or head.neighbours >= len(head.memory):
        return np.zeros(len(values), dtype=bool)
    cosines, _ = head.nearest(values, head.neighbours + 1)
    return (cosines[:, -2] - cosines[:, -1] < NO_TIE).cpu().numpy()
