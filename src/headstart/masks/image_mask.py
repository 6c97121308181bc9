"""Read a data set of images with a label image (mask) each, from folders or from a list."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.data.csv_file import Columns, CsvFile, ListedRow
from headstart.data.listed import Listed
from headstart.data.table import ListTable
from headstart.errors import ConfigError, DataError
from headstart.files import printable
from headstart.inputs.collection import Collection
from headstart.inputs.content import files_hash
from headstart.inputs.decoding import Decoder, decode_each
from headstart.inputs.deep import UnreadableError
from headstart.inputs.facts import Facts
from headstart.inputs.found import real_path, walk
from headstart.inputs.label_images import LabelFile, LabelReader, largest_value, upright
from headstart.inputs.label_targets import LabelTargets
from headstart.masks.mask_layout import find_pairs
from headstart.masks.palette import label_reader, read_names, read_palette
from headstart.settings.rules import check_dataset, existing_folder, given_classes, given_root, is_file
from headstart.solvers.class_weights import weights_of_counts

KEPT_BYTES = 2**30  # masks of a split that take less memory are read once
NAMED = 3  # classes named in a warning


class ImageMask(CsvFile):
    """Images and masks of the same names in folders images and masks, or listed in a CSV file.

    The folders are in the root, or in folders train, val and test. A list has the columns image (or path), mask and,
    optionally, split. The values of a mask are class indices; with ``palette`` they are colours. ``classes`` is a file
    of class names, one a line, or the names themselves; without it classes are numbered. Pixels of ``ignore_index``
    have no class.
    """

    gives_masks = True

    def __init__(
        self,
        classes: str | Sequence[Any] | None = None,
        palette: str | None = None,
        ignore_index: int | None = None,
        path_column: str = "image",
        label_column: str = "mask",
        **kwargs: Any,
    ) -> None:
        check_dataset({**kwargs, **locals()})
        super().__init__(path_column=path_column, label_column=label_column, **kwargs)
        self.named = classes if isinstance(classes, str) else given_classes(classes)
        self.palette, self.ignore_index = palette, ignore_index
        self.masks: dict[str, Path] = {}  # by the name of the image
        self.reader: LabelReader | None = None

    def default_name(self, root: str | None) -> str:
        """Return the name of the folder, or of the list without its suffix."""
        place = real_path(Path(root)) if root else Path("image_mask")
        return place.stem if is_file(place) else place.name

    def collect(self) -> tuple[list[str], dict[str, Collection]]:
        """Return the class names and the images of each split. Raises DataError."""
        self.masks = {}
        splits = super().collect()[1] if is_file(given_root(self.root)) else self._from_folders()
        names, self.reader = self._classes()
        return names, splits

    def source_hash(self, facts: Facts) -> str | None:
        """Return one hash of images, masks and the meaning of their values."""
        parts = [super().source_hash(facts) or "", files_hash(list(self.masks.values()), facts, list(self.masks))]
        return hashlib.sha256("\0".join([*parts, *self.class_names, repr(self.reader)]).encode()).hexdigest()

    @property
    def class_weights(self) -> NDArray[np.float64] | None:
        """Return the weights (classes,) of the training loss by pixels, or None unless ``dataset.balance=loss``."""
        return weights_of_counts(self.train.targets.counts.sum(axis=0)) if self.balance == "loss" else None

    def _from_folders(self) -> dict[str, Collection]:
        top = walk(existing_folder(self.root))
        pairs, notes = find_pairs(top, self.splits)
        self.not_used += notes
        found = {}
        for split, of in pairs.items():
            ids = [printable(image.relative_to(top.path).as_posix()) for image, _ in of]
            self.masks |= dict(zip(ids, (mask for _, mask in of), strict=True))
            found[split] = Collection(ids, np.zeros(len(of), np.int64), [image for image, _ in of])
        return found

    def _columns(self, table: ListTable) -> Columns:
        """Return the places of the columns; images may be in the column path."""
        if self.path_column == "image" and table.find("path_column", "image") is None:
            self.path_column = "path"
        return super()._columns(table)

    def _with_files(self, table: ListTable, rows: list[ListedRow], base: Path) -> list[ListedRow]:
        """Return the rows with the names of their images, and keep the masks. Raises DataError for a missing mask."""
        listed = Listed(base)
        rows = super()._with_files(table, rows, base)
        for row in rows:
            name = listed.file_of(row.cells[0])
            where = f"Line {row.line} of '{table.file}'"
            if name is None:
                missing = printable(str(base / row.cells[0]))
                raise DataError(f"{where} names the mask '{missing}', but there is no such file.")
            if not self.allow_outside and not real_path(base / name).is_relative_to(listed.inside):
                raise DataError(
                    f"{where} names the mask '{printable(row.cells[0])}', which is outside '{base}'; allow it with"
                    " dataset.allow_outside=true."
                )
            self.masks[printable(row.path)] = base / name
        return rows

    def _classes(self) -> tuple[list[str], LabelReader]:
        """Return the class names and the reader of masks. Raises DataError or ConfigError."""
        colours = None
        if self.palette is not None:
            names, colours = read_palette(self.palette)
            if self.named is not None:
                raise ConfigError("dataset.classes and dataset.palette both name the classes: leave one of them out.")
        elif self.named is not None:
            names = read_names(self.named) if isinstance(self.named, str) else self.named
        else:
            names = [str(index) for index in range(self._largest() + 1)]
        return label_reader(names, self.ignore_index, colours)

    def _largest(self) -> int:
        """Return the largest index in any mask, to number the classes."""
        ids = list(self.masks)

        def one(index: int) -> int:
            try:
                return largest_value(self.masks[ids[index]], self.ignore_index)
            except UnreadableError as error:
                raise self._unusable(ids[index], str(error)) from error

        largest = max(decode_each(one, len(ids), "numbering the classes of masks"), default=-1)
        if largest < 0:
            raise DataError(f"All pixels of all masks are ignored (dataset.ignore_index={self.ignore_index}).")
        return largest

    def targets_of(self, collection: Collection, decoder: Decoder, size: int, split: str) -> LabelTargets:
        """Return the masks of a split, each looked at once. Raises DataError for one that does not fit its image."""
        assert self.reader is not None
        reader, paths, turns = self.reader, [self.masks[name] for name in collection.ids], [1] * len(collection)

        def one(index: int) -> LabelFile:
            try:
                size, stored, turn = upright(collection.images[index])  # type: ignore[arg-type]  # all are files
                # A mask that has the size of the stored pixels was made without the image's EXIF orientation.
                turns[index] = turn if upright(paths[index])[0] == stored != size else 1
                found = reader.look(paths[index], turns[index])
            except UnreadableError as error:
                raise self._unusable(collection.ids[index], str(error)) from error
            if (found.width, found.height) != size:
                raise self._unusable(
                    collection.ids[index],
                    f"{found.width} x {found.height} pixels, but its image has {size[0]} x {size[1]}",
                )
            return found

        found = list(decode_each(one, len(collection), f"reading {split} masks"))
        counts = np.array([file.counts for file in found], dtype=np.int64).reshape(len(found), -1)
        pixels = np.array([file.width * file.height for file in found], dtype=np.int64)
        self._check_counts(counts.sum(axis=0), split)
        return LabelTargets(
            collection.ids, paths, turns, [file.digest for file in found], reader, decoder, size,
            keep=2 * int(pixels.sum()) <= KEPT_BYTES, counts=counts, pixels=pixels,
        )  # fmt: skip

    def _check_counts(self, counts: Any, split: str) -> None:
        """Raise DataError for a split without classes, and warn of absent ones; ``counts`` are pixels, (classes,)."""
        present = np.flatnonzero(counts)
        if not len(present):
            raise DataError(f"All pixels of the {split} masks are ignored; expected pixels with a class.")
        if split == "train" and len(present) < 2:
            raise DataError(
                f"The training masks have only the class '{self.class_names[present[0]]}'; segmentation needs at least"
                " two."
            )
        absent = [f"'{self.class_names[label]}'" for label in np.flatnonzero(counts == 0)]
        if absent:
            shown = ", ".join(absent[:NAMED]) + ", ..." * (len(absent) > NAMED)
            self.warnings.append(f"{split} has no pixel of {len(absent)} of {len(counts)} classes ({shown})")

    def _unusable(self, name: str, reason: str) -> DataError:
        return DataError(f"The mask '{printable(str(self.masks[name]))}' of '{name}' cannot be used: {reason}.")
