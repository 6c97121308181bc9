"""A finished run as a network again: rebuilt from config.yaml and best.ckpt, and held against its predictions."""

import pickle
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
from headstart.data import ImageData
from headstart.data.batches import Mixed
from headstart.devices import processes
from headstart.errors import ConfigError, DataError
from headstart.features.compute import ahead
from headstart.files import expanded
from headstart.kinds.class_predictions import ClassPredictions
from headstart.precision import at_least_single
from headstart.progress import ProgressLine
from headstart.records.opening import first_line, unreadable
from headstart.records.predictions import read_class_predictions
from headstart.records.runs import Run
from headstart.records.settings_file import read_config
from headstart.records.tensors import open_network
from headstart.settings.early_checks import check_settings
from headstart.settings.foreign import keep_inside, reads
from headstart.settings.targets import check_targets
from headstart.strategies import Knn, Lora, Strategy
from headstart.strategies.knn import NearestNeighbours
from headstart.training import compose
from headstart.workers import usable_cores

# Groups that training has and looking at a network has not.
UNUSED = ("logger", "callbacks", "features", "references", "sweep")
CLOSE = 1e-4  # how far apart probabilities of the same 32-bit network may be
COARSE = 1e-2  # with 8 or 11 bits: mixed precision, and convolutions of GPUs (TF32)
NO_TIE = 1e-5  # cosines closer than that may change places by rounding
BROKEN = (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError, TypeError, OverflowError)
BEST = "checkpoints/best.ckpt"


@dataclass
class Rebuilt:
    """The network of a run in eval mode, its test images, and what it said of them when it was tested."""

    run: Run
    data: ImageData
    strategy: Strategy
    trainer: pl.Trainer
    predictions: ClassPredictions
    views: Pipeline | None = None
    """Over which predictions.csv averages."""
    positions: NDArray[np.int64] = field(init=False)
    """(N,) where the images of predictions.csv are in the test split."""

    def __post_init__(self) -> None:
        place = {name: number for number, name in enumerate(self.data.test.ids)}
        lost = [name for name in self.predictions.ids if name not in place]
        if list(self.predictions.classes) != self.data.class_names or lost:
            what = f"'{lost[0]}' is not among the test images" if lost else "the classes are others"
            raise DataError(f"the data have changed since the run: {what}")
        self.positions = np.array([place[name] for name in self.predictions.ids], dtype=np.int64)
        if (self.data.test.targets[self.positions] != self.predictions.targets).any():
            raise DataError("the data have changed since the run: test images have other classes")
        if self._fingerprint() not in (None, self.data.split_fingerprints["test"]):
            raise DataError("the data have changed since the run: test images have another content")

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        device: Any = self.trainer.strategy.root_device
        return device

    @property
    def depends_on_batch(self) -> bool:
        """Whether what is said of an image depends on those that come with it."""
        return self.strategy.batch_norm == "batch"

    def batches(self) -> Iterator[NDArray[np.int64]]:
        """Positions of the test images, in the batches of the test pass."""
        data = self.data
        if self.depends_on_batch:
            yield from Mixed(len(data.test), data.batch_size).positions()
            return
        for start in range(0, len(self.positions), data.batch_size):
            yield self.positions[start : start + data.batch_size]

    def inputs(self, positions: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """The images as they enter the network: uint8 (N, 3, S, S), on its device."""
        return self.data.test.__getitems__([int(position) for position in positions])[0].to(self.device)

    def verified_features(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Pass all test images; the features (len(rows), D) of some rows of predictions.csv.

        Raises DataError where what the network says now is not what predictions.csv holds.
        """
        return self._pass(rows)[0]

    def verified_probabilities(self, one_view: bool = False) -> NDArray[np.float64]:
        """Pass all test images; what is said of each row of predictions.csv now, (N, C).

        With ``one_view`` of the plain image alone, where test_views averages. Raises DataError where what is averaged
        is not what predictions.csv holds.
        """
        _, averaged, plain = self._pass(np.arange(0))
        return plain if one_view else averaged

    @torch.inference_mode()
    def _pass(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
        """Features of some rows; probabilities of all, over the test views and of the plain image."""
        kept = np.full(len(self.data.test), -1)
        kept[self.positions[rows]] = np.arange(len(rows))
        features: NDArray[np.float32] | None = None
        plain, probabilities = (np.full((len(self.data.test), self.data.num_classes), np.nan) for _ in range(2))
        tied = np.zeros(len(self.data.test), dtype=bool)
        for positions, inputs in self._loaded():
            with self.trainer.precision_plugin.forward_context():
                values = inputs if inputs.is_floating_point() else self.strategy.features(inputs)
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
        """Logits (N, classes) as the run averaged them over its test views."""
        seen = self.data.test.with_views(self.views, 0)
        inputs = seen.__getitems__([int(position) for position in positions])[0]
        return at_least_single(self.strategy.over_views(inputs.to(self.device), len(positions)))

    def _loaded(self) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Positions and what is read of them: images, or, where views are averaged, their mean features."""
        batches = list(self.batches())
        images = ahead(lambda positions: self.inputs(positions), batches, usable_cores(), 2 * usable_cores())
        read = map(self._averaged, batches) if self.strategy.averaged_views else images
        with ProgressLine("test images", sum(map(len, batches))) as progress:
            for positions, inputs in zip(batches, read, strict=True):
                yield positions, inputs
                progress.advance(len(positions))

    def _averaged(self, positions: NDArray[np.int64]) -> Tensor:
        """Features (N, D), averaged over the views that the run drew: strategy.views."""
        split = self.data.test.with_views(self.data.train.views, self.data.augmentation_seed)
        split.source.load("test images")  # once: the split keeps them
        count = self.strategy.averaged_views or 1
        total = torch.zeros(len(positions), self.strategy.backbone.feature_dim, device=self.device)
        for view in range(count):
            inputs = split.__getitems__([(view, int(position)) for position in positions])[0]
            with self.trainer.precision_plugin.forward_context():
                total += self.strategy.features(inputs.to(self.device))
        return total / count

    def _verify(self, probabilities: NDArray[np.float64], tied: NDArray[np.bool_]) -> None:
        apart = np.abs(probabilities - self.predictions.probabilities).max(axis=1)
        limit = tolerance(self.trainer, self.device, _provenance(self.run))
        differ = ~(apart <= limit) & ~tied
        if differ.any():
            what = "the code or the packages" if self._fingerprint() else "the data, the code or the packages"
            worst = int(np.where(differ, np.nan_to_num(apart, nan=np.inf), -1).argmax())
            raise DataError(
                f"the network no longer says what predictions.csv holds: {differ.sum()} of {len(apart)} images"
                f" differ, '{self.predictions.ids[worst]}' most, by {apart[worst]:.2g} in probability;"
                f" {what} have changed since the run"
            )

    def _fingerprint(self) -> str | None:
        """Of the test images as the run saw them; early runs did not tell."""
        return self.run.fingerprints.get("test")


def rebuild(run: Run, root: Path | None = None, trusted: Sequence[str] = ()) -> Rebuilt:
    """The network of a finished run, ready to look at: no weight needs a gradient, every module is in eval mode.

    Pretrained weights are not needed, best.ckpt holds the whole network. Its images are in ``root``, by default where
    they were; config.yaml may name classes of the packages ``trusted``. Raises DataError and ConfigError.
    """
    if not run.kind.right_or_wrong:
        raise DataError(f"networks are rebuilt for classes only, and this is a run of {run.kind.name}")
    predictions = read_class_predictions(run.directory / "predictions.csv")
    config = settings_of(run.directory, root, trusted)
    check_settings(OmegaConf.to_container(config))  # type: ignore[arg-type]
    content = read_checkpoint(run.directory)
    data = compose.make_data(config)
    augmentation = compose.make_augmentation(config)
    trainer, *_ = compose.make_trainer(config, run.directory)
    backbone = compose.make_backbone(config)
    data.prepare(backbone.preprocessing, augmentation.views)
    strategy = compose.make_strategy(config, backbone, data, augmentation)
    rebuilt = Rebuilt(run, data, strategy, trainer, predictions, compose.make_test_views(config))
    load(strategy, content, run)
    strategy.requires_grad_(False)
    trainer.precision_plugin.convert_module(strategy)
    strategy.to(rebuilt.device).eval()
    data.mixed_evaluation = rebuilt.depends_on_batch
    return rebuilt


def settings_of(directory: Path, root: Path | None = None, trusted: Sequence[str] = ()) -> DictConfig:
    """The settings of a run, less what only training needs; ``root`` is where its images are now.

    Raises DataError for a damaged file, ConfigError for one that names foreign code: it may come from anybody.
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
        config.trainer.accelerator = "auto"  # here may be another machine
    if root is not None:
        if not config.dataset.get("root"):
            raise ConfigError(f"--root {root}: the images of this run are in no folder")
        config.dataset.root = str(expanded(root).absolute())
    if root is None and (found := reads(config)):
        print(f"{directory.name}: reads {', '.join(found)}", flush=True)
    return config


def read_checkpoint(directory: Path) -> dict[str, Any]:
    """``epoch`` and ``state_dict`` of a run's best.ckpt: nothing else is unpickled. Raises DataError."""
    with open_network(directory, BEST) as file:
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
            epoch, state = int(content["epoch"]), dict(content["state_dict"])
            if not all(isinstance(key, str) for key in state):
                raise ValueError("its tensors have no names")
        except BROKEN as error:
            raise unreadable(BEST, error) from None
    return {"epoch": epoch, "state_dict": state}


def load(strategy: Strategy, content: Mapping[str, Any], run: Run) -> None:
    """Put the tensors of best.ckpt into a strategy as it is before training."""
    state = content["state_dict"]
    if isinstance(strategy, Lora):
        strategy.merge()  # as the run did at its end
    if isinstance(strategy, Knn) and {"head.memory", "head.labels"} <= state.keys():
        count = chosen_neighbours(run, content["epoch"])
        strategy.head = NearestNeighbours(
            state["head.memory"], state["head.labels"], strategy.task.num_classes, count, strategy.temperature,
            strategy.task.balanced,
        )  # fmt: skip
    try:
        strategy.load_state_dict(state)
    except RuntimeError as error:
        detail = str(error).partition("\n")[2]
        raise DataError(
            f"best.ckpt does not fit the network that config.yaml describes ({first_line(detail or error)}); the code"
            " has changed since the run"
        ) from None


def chosen_neighbours(run: Run, row: int) -> int:
    """How many neighbours vote: chosen on validation, and no tensor, so it stands in metrics.csv alone."""
    curve = run.read_curve()
    found = curve.loc[curve["epoch"] == row, "neighbours"].tolist() if "neighbours" in curve else []
    if len(found) != 1 or not found[0] >= 1:
        raise DataError(f"metrics.csv has no row {row} that says how many neighbours vote")
    return int(found[0])


def tolerance(trainer: pl.Trainer, device: torch.device, record: Mapping[str, Any]) -> float:
    """How far apart probabilities of the same network may be, given the arithmetic of then and now."""
    hardware = record.get("hardware")
    gpu = device.type != "cpu" or (isinstance(hardware, dict) and bool(hardware.get("gpus")))
    return CLOSE if str(trainer.precision) in ("32-true", "64-true") and not gpu else COARSE


def _provenance(run: Run) -> dict[str, Any]:
    found = run.record.get("provenance")
    return found if isinstance(found, dict) else {}


def _tied(head: torch.nn.Module, values: Tensor) -> NDArray[np.bool_]:
    """(N,) whether rounding may change who votes: the last neighbour and the next are equally near."""
    if not isinstance(head, NearestNeighbours) or head.neighbours >= len(head.memory):
        return np.zeros(len(values), dtype=bool)
    cosines, _ = head.nearest(values, head.neighbours + 1)
    return (cosines[:, -2] - cosines[:, -1] < NO_TIE).cpu().numpy()
