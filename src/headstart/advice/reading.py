"""Read a target or a source, with or without labels, and its features at every stage of a frozen backbone."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig

from headstart.analysis.layer_probes import stage_widths
from headstart.analysis.layer_report import JOINED
from headstart.backbones import Backbone, read_from
from headstart.data import ImageData, ImageFolder, ImageSplit
from headstart.data.decoded_splits import decode_or_hash
from headstart.errors import ConfigError, DataError
from headstart.features.keeping import Keeper
from headstart.features.prefix import FrozenPrefix
from headstart.features.store import IMAGES, Store
from headstart.inputs.collection import Collection
from headstart.inputs.deep import NoRangeError
from headstart.inputs.images import Images
from headstart.inputs.reading import find_and_note_range, refuse
from headstart.inputs.seen import SeenImages
from headstart.inputs.signature import Signature, reconcile
from headstart.models.asked import asked_images
from headstart.settings.sources import short_name
from headstart.solvers.features import Features
from headstart.training import compose
from headstart.training.opening import describe_data
from headstart.training.reuse import AUTOCAST

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImagesToMeasure:
    """The training images of a data set, or all images of a folder."""

    name: str
    signature: Signature
    train: ImageSplit
    validation: ImageSplit | None = None
    """None without labels."""
    class_names: Sequence[str] = ()
    """Empty without one class for each image."""
    test: ImageSplit | None = None
    validation_is_drawn: bool = False
    """Whether validation images are a random part of the training images, each by itself."""


def read_data_set(config: DictConfig, backbone: Backbone) -> ImagesToMeasure:
    """Return the images of a data set, found, split and checked as in a run. Raises a HeadstartError as a run does."""
    data: ImageData = compose.make_data(config)
    data.prepare(backbone.preprocessing, None, _seen(config))
    describe_data(data, f"{backbone.name} on {data.name}", backbone.preprocessing.image_size)
    if data.task != "classification":
        return ImagesToMeasure(str(data.name), data.signature, data.train.without_views())
    return ImagesToMeasure(
        str(data.name), data.signature, data.train.without_views(), data.validation, data.class_names, data.test,
        data.validation_is_drawn,
    )  # fmt: skip


def read_folder(folder: Path, config: DictConfig, backbone: Backbone) -> ImagesToMeasure:
    """Return all images below a folder, without labels.

    They are resized as the data set of the settings. Raises DataError for unreadable images, unless
    ``dataset.on_error=skip``.
    """
    paths, notes = asked_images([folder])
    name = "/".join(folder.parts[-2:])
    for note in notes:
        log.info("%s", note)
    given = config.dataset
    resizing = {name: given[name] for name in ("image_size", "crop_fraction", "resize") if given.get(name) is not None}
    decoder = ImageFolder(root=str(folder), **resizing).decoder(backbone.preprocessing)
    collection = Collection([str(path) for path in paths], np.zeros(len(paths), dtype=np.int64), paths)
    seen = _seen(config)
    try:
        decoded = decode_or_hash(collection, decoder, False, f"images of {name}", seen)
    except NoRangeError:  # raised at the first image of more than 8 bits
        decoder = replace(decoder, pixel_range=find_and_note_range(paths, seen))
        decoded = decode_or_hash(collection, decoder, False, f"images of {name}", seen)
    if decoded.unreadable and given.get("on_error") != "skip":
        refuse(decoded.unreadable, len(paths))
    kept = collection.take(decoded.kept)
    if not len(kept):
        raise DataError(f"None of the {len(paths)} images of '{folder}' can be read.")
    images = Images(kept.ids, kept.images, decoder, decoded.contents, keep=False)
    size = backbone.preprocessing.image_size
    log.info("%s: %d images without labels, %d x %d pixels", name, len(kept), size, size)
    return ImagesToMeasure(name, decoder.signature, ImageSplit(images, kept.targets, size))


def _seen(config: DictConfig) -> SeenImages | None:
    features = compose.make_features(config)
    return SeenImages(features.folder(config.output_dir) / IMAGES) if features.enabled else None


class StageReader:
    """A frozen backbone, read at all of its stages; features are cached as in ``headstart inspect layers``."""

    def __init__(self, config: DictConfig, backbone: Backbone, signature: Signature) -> None:
        backbone.take_inputs(signature)
        self.backbone = read_from(backbone, backbone.stage_names).eval()
        self.settings = compose.make_features(config)
        self.store = Store(self.settings.folder(config.output_dir), self.settings.max_bytes())
        normalisation = reconcile(signature, backbone.preprocessing)
        self.prefix = FrozenPrefix(self.backbone, len(self.backbone.stages), normalisation.scale, normalisation.shift)
        self.prefix.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        accelerator = str(config.trainer.get("accelerator", "auto"))
        if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
            raise ConfigError(f"trainer.accelerator={accelerator}: PyTorch finds no CUDA GPU here; use auto or cpu.")
        self.device = torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")
        self.seconds_an_image = float("inf")
        """Time that computing the features of one image takes; few images take longer each, so the shortest counts."""
        self.autocast = AUTOCAST.get(str(config.trainer.get("precision", "32-true")))

    @property
    def name(self) -> str:
        """Return the name of the backbone for tables."""
        return short_name(self.backbone.name)

    def columns(self) -> dict[str, slice]:
        """Return the columns of each stage's features, lowest first."""
        columns, start = {}, 0
        for stage, width in stage_widths(self.backbone).items():
            columns[stage] = slice(start, start + width)
            start += width
        return columns

    def features(self, what: str, split: ImageSplit) -> NDArray[np.float32]:
        """Return the features of all images of a split, (N, D), the stages side by side."""
        keeper = Keeper(self.prefix, self.settings, self.store, self.device, self.autocast, split, len(split))
        keeper.keeping = self.settings.enabled
        kept = keeper.get(what, split)
        rows, self.seconds_an_image = kept.rows, min(self.seconds_an_image, kept.seconds_a_row)
        if rows is None:
            raise DataError(f"The features of {what} need more memory than features.memory_limit allows; raise it.")
        values: Any = rows.take(np.arange(len(split))).float().cpu().numpy()
        return np.asarray(values)

    def labelled_stages(self, target: ImagesToMeasure, joined: bool = False) -> dict[str, tuple[Features, Features]]:
        """Return the features of training and validation images as ``by_stage`` does. The target has labels."""
        assert target.validation is not None
        train = self.by_stage(target.name, target.train, joined)
        validation = self.by_stage(f"{target.name}, validation", target.validation, joined)
        return {stage: (train[stage], validation[stage]) for stage in train}

    def by_stage(self, what: str, split: ImageSplit, joined: bool = False) -> dict[str, Features]:
        """Return the features of a split with labels by stage, lowest first.

        With ``joined``, ``JOINED`` has the features of all stages side by side, if there are several.
        """
        values, targets = self.features(what, split), torch.from_numpy(np.asarray(split.targets))
        columns = self.columns()
        if joined and len(columns) > 1:
            columns[JOINED] = slice(0, values.shape[1])
        return {
            stage: Features(torch.from_numpy(np.ascontiguousarray(values[:, place])), targets)
            for stage, place in columns.items()
        }
