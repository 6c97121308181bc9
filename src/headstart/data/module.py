"""Define the LightningDataModule of all data sets: splits, decoding, loaders."""

import copy
import hashlib
import logging
from dataclasses import asdict, replace
from typing import Any, Protocol, Self

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from headstart.data.balance import batches_of
from headstart.data.batches import EvenBatches, FixedShuffleBatches, OrderedBatches
from headstart.data.decoded_splits import decode_or_hash, few_readable
from headstart.data.image_split import ImageSplit, Views
from headstart.data.loader import load_split
from headstart.errors import ConfigError, DataError
from headstart.files import printable
from headstart.inputs.batch import Batch
from headstart.inputs.collection import Collection, plain
from headstart.inputs.content import source_hash
from headstart.inputs.decoding import Decoder
from headstart.inputs.deep import NoRangeError, PixelRange
from headstart.inputs.facts import Facts
from headstart.inputs.images import Images, content_digest
from headstart.inputs.leakage import leakage, leakage_text
from headstart.inputs.looks import Notes, joined_notes
from headstart.inputs.reading import find_and_note_range, paths_of, range_text, refuse
from headstart.inputs.seen import SeenImages
from headstart.inputs.signature import RGB, Signature
from headstart.kinds import KINDS, Kind
from headstart.seeds import stream
from headstart.settings.rules import check_dataset
from headstart.settings.split_names import SPLITS, split_name
from headstart.solvers.class_weights import class_weights
from headstart.splits.grouped_splits import shared_groups
from headstart.splits.groups import grouped_by_name
from headstart.splits.made_splits import check_enough, idle_fractions, splits_not_used, splits_to_make
from headstart.splits.splitting import Splitting
from headstart.targets.labels import conflicting_labels

log = logging.getLogger(__name__)
MOST_SIDE = 2**14  # pixels of a resized image's short side
KEEP_BYTES = 2 * 1024**3  # decoded images up to this many bytes stay in memory


class HasPreprocessing(Protocol):
    """The part of a backbone's preprocessing that concerns decoding."""

    @property
    def image_size(self) -> int:
        """Return the side of the square that the network takes, in pixels."""

    @property
    def interpolation(self) -> str:
        """Return "bilinear" or "bicubic"."""

    @property
    def crop_fraction(self) -> float:
        """Return the side of the centre crop divided by the short side after resizing."""


class ImageData(pl.LightningDataModule):
    """Training, validation and test images with their targets; a subclass finds them in ``collect``.

    ``prepare`` reads and checks the images, and has to be called before the loaders.
    """

    def __init__(
        self,
        root: str | None = None,
        name: str | None = None,
        image_size: int | None = 224,
        batch_size: int = 32,
        num_workers: int | str = "auto",
        labels_per_class: int | None = None,
        validation_labels_per_class: int | None = None,
        balance: str = "none",
        validation_fraction: float = 0.2,
        test_fraction: float = 0.2,
        test_split: str | None = None,
        folds: int | None = None,
        fold: int = 0,
        crop_fraction: float | None = None,
        on_error: str = "raise",
        near_duplicates: bool = False,
        groups: str | None = None,
        resize: str = "crop",
        bits: int | None = None,
        split_seed: int = 0,
        subset_seed: int = 0,
        order_seed: int = 0,
        augmentation_seed: int = 0,
        task: str | Kind = "classification",
    ) -> None:
        check_dataset(locals())  # all parameters, by name
        super().__init__()
        self.name = printable(str(name or self.default_name(root)))
        self.root, self.image_size, self.batch_size = root, image_size, batch_size
        self.num_workers, self.labels_per_class = num_workers, labels_per_class
        self.validation_labels_per_class, self.balance = validation_labels_per_class, balance
        self.validation_fraction, self.test_fraction = validation_fraction, test_fraction
        self.test_split = split_name(str(test_split)) if test_split is not None else None
        self.folds, self.fold = folds, fold
        self.crop_fraction, self.on_error = crop_fraction, on_error
        self.near_duplicates, self.groups = near_duplicates, groups
        self.resize, self.bits = resize, bits
        self.split_seed, self.subset_seed = split_seed, subset_seed
        self.order_seed, self.augmentation_seed = order_seed, augmentation_seed
        self.kind = KINDS[task] if isinstance(task, str) else task
        self.task, self.targets = self.kind.name, self.kind.targets
        self.class_names: list[str] = []
        self.skipped: list[str] = []
        self.leakage: dict[str, dict[str, Any]] = {}  # the images that two splits share; see inputs/leakage.py
        self._found: tuple[list[str], dict[str, Collection]] | None = None
        self._found_notes: tuple[list[str], list[str]] = ([], [])
        self.not_used: list[str] = []  # phrases on parts of the source that are not used
        self.warnings: list[str] = []  # sentences on suspicious images or labels
        self.pixel_range: dict[str, Any] | None = None  # the value of white in images of more than 8 bits
        self.splits_made = ""  # a sentence on splits that the source does not have
        self.validation_is_drawn = False  # image by image from the training images, so that folds may replace it
        self.fingerprint = ""  # hash of the class names and all splits
        self.split_fingerprints: dict[str, str] = {}  # by split: hash of its ids, targets and contents

    signature: Signature = RGB  # of the decoded images
    reads_labels = False  # whether targets come from a list, and so may be of any kind
    gives_masks = False  # whether targets have a value for each pixel

    def default_name(self, root: str | None) -> str:
        """Return the name of the data set in tables, for the case that dataset.name is not set."""
        return type(self).__name__.lower()

    def collect(self) -> tuple[list[str], dict[str, Collection]]:
        """Return the class names, and the splits of the source by name; "train" has to be among them."""
        raise NotImplementedError

    def found(self) -> tuple[list[str], dict[str, Collection]]:
        """Return the result of ``collect``, which is called once."""
        if self._found is None:
            self.not_used, self.warnings = [], []
            _check_kind(self)
            class_names, splits = self.collect()
            if self.groups is not None:
                splits = {name: grouped_by_name(split, self.groups) for name, split in splits.items()}
            self._found, self._found_notes = (class_names, splits), (self.not_used, self.warnings)
        return self._found

    def source_hash(self, facts: Facts) -> str | None:
        """Return a hash of the source's content, but not of its path; None if the settings determine the content."""
        self.class_names, splits = self.found()
        return source_hash(self._text, splits, facts)

    def unprepared(self) -> Self:
        """Return a copy that can be prepared separately; it does not search the source again."""
        return copy.copy(self)

    def decoder(self, preprocessing: HasPreprocessing) -> Decoder:
        """Return a decoder that resizes images for the network; ``prepare`` sets its ``pixel_range`` later."""
        side = preprocessing.image_size
        if self.resize == "crop":
            side = short_side(side, self.crop_fraction or preprocessing.crop_fraction)
        return Decoder(side, preprocessing.interpolation, self.resize, pixel_range=None)

    @property
    def num_classes(self) -> int:
        """Return the number of classes."""
        return len(self.class_names)

    def prepare(
        self, preprocessing: HasPreprocessing, views: Views | None = None, seen: SeenImages | None = None
    ) -> None:
        """Find, split and check the images. Raises DataError for anything wrong with them.

        Every image is decoded once. If ``seen`` has a record of the same images, they are only hashed.
        """
        self.class_names, found = self.found()
        self.not_used, self.warnings = (list(notes) for notes in self._found_notes)
        splits = self._checked(found)
        self._check_targets(splits)
        targets = {name: split.targets for name, split in splits.items()}
        self.warnings += self.targets.absent(targets, self.class_names)
        decoder = self.decoder(preprocessing)
        self.signature = decoder.signature
        paths = paths_of(found)
        if self.bits is not None:
            decoder = replace(decoder, pixel_range=PixelRange.of_bits(self.bits))
        elif seen is not None:
            decoder = replace(decoder, pixel_range=seen.pixel_range(paths))
        try:
            notes = self._set_splits(dict(splits), decoder, preprocessing.image_size, views, seen)
        except NoRangeError:  # raised at the first image of more than 8 bits
            decoder = replace(decoder, pixel_range=find_and_note_range(paths, seen))
            notes = self._set_splits(dict(splits), decoder, preprocessing.image_size, views, seen)
        self._collect_notes(joined_notes(notes), decoder.pixel_range)
        ready = {name: getattr(self, name) for name in SPLITS}
        self.leakage = leakage({name: split.images for name, split in ready.items()}, self.near_duplicates)
        if self.leakage:
            log.warning("%s", leakage_text(self.leakage))
        labelled = {name: (split.ids, split.targets, split.images.contents) for name, split in ready.items()}
        self.warnings += [sentence] if (sentence := conflicting_labels(labelled, self._text)) else []

    def targets_of(self, collection: Collection, decoder: Decoder, size: int, split: str) -> Any:
        """Return the targets of a split: an array (N, ...), or label images that are read on demand."""
        return collection.targets

    def contents_hash(self) -> str:
        """Return a hash of the targets and contents of all splits, not of their names. Call it after ``prepare``."""
        splits = [getattr(self, name) for name in SPLITS]
        parts = [content_digest([""] * len(split), plain(split.targets), split.images.contents) for split in splits]
        return hashlib.sha256("".join(parts).encode()).hexdigest()

    def _set_splits(
        self, splits: dict[str, Collection], decoder: Decoder, size: int, views: Views | None, seen: SeenImages | None
    ) -> list[Notes]:
        """Set the splits, their fingerprints and the skipped images; return the notes on the images of each split.

        Raises NoRangeError if the decoder lacks the pixel range of an image.
        """
        self.skipped = []
        unreadable: dict[str, str] = {}
        for split, count, name in (
            ("train", self.labels_per_class, "training"),
            ("validation", self.validation_labels_per_class, "validation"),
        ):
            if count is not None:
                splits[split], skipped = few_readable(
                    splits[split], count, self.subset_seed, self.class_names, name,
                    decoder if self.on_error == "skip" else None,
                )  # fmt: skip
                self.skipped += skipped
        images_in_all = sum(len(split) for split in splits.values())
        pixels = images_in_all * decoder.short_side**2 * 4 / 3  # a 4:3 image has 4 / 3 of a square's pixels
        spare_bytes = KEEP_BYTES - round(pixels * self.signature.pixel_bytes)
        keep = spare_bytes >= 0
        digest = hashlib.sha256("\0".join(self.class_names).encode())
        notes = []
        ready = {}
        for name, collection in splits.items():
            decoded = decode_or_hash(collection, decoder, keep, f"{name} images", seen)
            notes.append(decoded.notes)
            unreadable |= decoded.unreadable
            if decoded.unreadable:
                collection = splits[name] = collection.take(decoded.kept)
            targets = self.targets_of(collection, decoder, size, name)
            self.split_fingerprints[name] = content_digest(collection.ids, plain(targets), decoded.contents)
            digest.update(f"{name} {self.split_fingerprints[name]}".encode())
            images = Images(
                collection.ids, collection.images, decoder, decoded.contents, keep, decoded.images, spare_bytes
            )
            ready[name] = ImageSplit(images, targets, size, views if name == "train" else None, self.augmentation_seed)
        if self.on_error != "skip":
            refuse(unreadable, images_in_all)
        self.skipped += unreadable
        if self.skipped:
            self._check_targets(splits)
        self.fingerprint = digest.hexdigest()
        self.train, self.validation, self.test = (ready[name] for name in SPLITS)
        return notes

    def _collect_notes(self, notes: Notes, pixel_range: PixelRange | None) -> None:
        """Collect the notes on unused and suspicious images, and log the pixel value taken as white."""
        if self.bits is not None and not notes.deep:
            raise ConfigError(
                f"dataset.bits={self.bits}: no image of {self.name} has more than 8 bits; leave dataset.bits out."
            )
        self.not_used += notes.phrases()
        self.warnings += notes.sentences()
        if pixel_range is not None and notes.deep:
            self.pixel_range = asdict(pixel_range)
            if self.bits is None:
                log.info("%s", range_text(pixel_range))

    def _checked(self, found: dict[str, Collection]) -> dict[str, Collection]:
        """Assign the splits and check their sizes; note which splits of the source and which settings are not used."""
        made = splits_to_make(found, self.test_split) if self.folds is None else ["validation"]
        if self.folds is None and found["train"].groups is None:  # groups are checked separately
            strata, names = self.targets.strata(found["train"].targets, self.class_names)
            check_enough(strata, made, names)
        splits = self._assign(found)
        self.validation_is_drawn = "validation" in made and found["train"].groups is None
        self.not_used += splits_not_used(found, self.folds, self.test_split)
        fractions = {"validation": self.validation_fraction, "test": self.test_fraction}
        idle = idle_fractions(made, self.folds, fractions)
        self.splits_made = "; ".join(part for part in (self.splits_made, idle) if part)
        return splits

    def _check_targets(self, splits: dict[str, Collection]) -> None:
        self.targets.check({name: split.targets for name, split in splits.items()}, self.class_names)
        for name, split in splits.items():
            if not len(split):
                raise DataError(f"The {name} split holds no image.")

    def _text(self, target: Any) -> str:
        return self.targets.text(target, self.class_names)

    def _assign(self, found: dict[str, Collection]) -> dict[str, Collection]:
        """Return train, validation and test from the source's splits; missing ones are split off train."""
        splitting = Splitting(
            str(self.name), self.class_names, self.targets, self.split_seed, self.validation_fraction,
            self.test_fraction,
        )  # fmt: skip
        if self.folds is not None:
            splits, self.splits_made = splitting.folded(found, self.folds, self.fold)
        else:
            splits, self.splits_made = splitting.completed(found, self.test_split)
        self.warnings += shared_groups(splits)
        return splits

    def train_dataloader(self, start_at: tuple[int, int] = (0, 0)) -> DataLoader[Batch]:
        """Return shuffled batches with views. ``start_at`` is the first epoch, and how many of its batches to skip."""
        batches = self.train_batches()
        batches.start_at(*start_at)
        return self._loader(self.train, batch_sampler=batches)

    def train_batches(self) -> EvenBatches:
        """Return the training batches that ``dataset.balance`` asks for, starting with epoch 0."""
        return batches_of(self.train.targets, self.batch_size, self.order_seed, self.balance)

    @property
    def class_weights(self) -> NDArray[np.float64] | None:
        """Return the weights (classes,) of the training loss, or None unless ``dataset.balance=loss``."""
        return class_weights(self.train.targets, self.num_classes) if self.balance == "loss" else None

    def train_eval_dataloader(self, mixed: bool = False) -> DataLoader[Batch]:
        """Return the training images, centre-cropped, in order unless ``mixed``."""
        return self._in_order(self.train.without_views(), mixed)

    def mixed_dataloader(self, most: int, batch_size: int) -> DataLoader[Batch]:
        """Return a loader of up to ``most`` training images in mixed order, centre-cropped."""
        count = min(len(self.train), most)
        return self._loader(
            self.train.without_views(), batch_sampler=FixedShuffleBatches(count, batch_size, len(self.train))
        )

    def val_dataloader(self, mixed: bool = False) -> DataLoader[Batch]:
        """Return the validation images, in order; ``mixed`` shuffles them, as batch statistics need several classes."""
        return self._in_order(self.validation, mixed)

    def viewed_dataloader(self, split: ImageSplit, views: Views, mixed: bool = False) -> DataLoader[Batch]:
        """Return the images of a split with these views; a batch holds all views of its images."""
        return self._in_order(split.with_views(views, self.augmentation_seed), mixed)

    def test_dataloader(self, mixed: bool = False) -> DataLoader[Batch]:
        """Return the test images, in order unless ``mixed``."""
        return self._in_order(self.test, mixed)

    def _in_order(self, split: ImageSplit, mixed: bool = False) -> DataLoader[Batch]:
        return self._loader(
            split, batch_sampler=(FixedShuffleBatches if mixed else OrderedBatches)(len(split), self.batch_size)
        )

    def _loader(self, split: ImageSplit, **kwargs: Any) -> DataLoader[Batch]:
        return load_split(split, self.num_workers, stream("loader", self.order_seed), **kwargs)


def view_held_out(data: ImageData, views: int) -> None:
    """Give validation and test images the views of training images, those of epoch 0.

    Raises ConfigError unless there are as many ``views`` of each image, and if a batch has a single image.
    """
    if (given := data.train.branches) != views:
        raise ConfigError(
            f"augmentation: {data.task} compares {views} views of each image, and there"
            f" {'is' if given == 1 else 'are'} {given}; use augmentation=two_crops, or"
            f" augmentation.crop_resize.copies={views}."
        )
    for name, split in {"training": data.train, "validation": data.validation, "test": data.test}.items():
        count, size = len(split), data.batch_size
        if (count // -(-count // size) if name == "training" else (count - 1) % size + 1) < 2:
            raise ConfigError(
                f"dataset.batch_size={size}: {data.task} compares the images of a batch, and one of the {name} images"
                " would be alone in its batch; choose another batch size."
            )
    data.validation, data.test = (
        split.with_views(data.train.views, data.augmentation_seed) for split in (data.validation, data.test)
    )


def _check_kind(data: ImageData) -> None:
    """Raise ConfigError unless the data set gives targets of its task's kind."""
    if bool(data.targets.masks_of) != data.gives_masks:
        needs = f"task={data.task} needs a mask for each image: use dataset=image_mask."
        gives = f"dataset=image_mask gives masks, and task={data.task} uses none: use task=segmentation."
        raise ConfigError(needs if data.targets.masks_of else gives)
    if not (data.targets.from_folders or data.reads_labels):
        raise ConfigError(f"task={data.task} needs a list of images and targets: use dataset=csv.")
    if counted := _counts_classes(data):
        raise ConfigError(
            f"{counted} counts classes, but with task={data.task} an image has no single class: leave it out."
        )


def _counts_classes(data: ImageData) -> str:
    """Return the first setting that is set but needs one class for each image; empty if there is none."""
    settings = {
        "dataset.labels_per_class": data.labels_per_class is not None and not data.targets.from_folders,
        "dataset.validation_labels_per_class": (
            data.validation_labels_per_class is not None and not data.targets.from_folders
        ),
        "dataset.balance": data.balance not in data.targets.balances,
    }
    return next((name for name, is_set in settings.items() if is_set), "")


def short_side(size: int, crop_fraction: float) -> int:
    """Return the short side in pixels to resize to, so that the centre crop has ``size`` pixels."""
    if size > MOST_SIDE * crop_fraction:
        raise ConfigError(
            f"dataset.image_size={size} with dataset.crop_fraction={crop_fraction:g}: images would be resized to more"
            f" than {MOST_SIDE:,} pixels; expected a smaller image_size, such as 224, or a larger crop_fraction."
        )
    return round(size / crop_fraction)
