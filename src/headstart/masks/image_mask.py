"""Read a data set in which each image has a mask with a class or a number for each pixel."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.data.csv_file import Columns, CsvFile, ListedRow
from headstart.data.listed import ListedFiles
from headstart.data.table import ListTable
from headstart.errors import DataError
from headstart.files import printable
from headstart.inputs.collection import Collection
from headstart.inputs.content import files_hash
from headstart.inputs.decoding import Decoder, decode_each
from headstart.inputs.deep import UnreadableError
from headstart.inputs.facts import Facts
from headstart.inputs.found import real_path, walk
from headstart.inputs.pixel_files import PixelFile, upright
from headstart.inputs.pixel_targets import PixelTargets
from headstart.masks.contents import MaskContents, contents_of_classes, contents_of_numbers, unusable
from headstart.masks.mask_layout import find_pairs
from headstart.settings.rules import check_dataset, existing_folder, given_classes, given_root, is_file
from headstart.solvers.class_weights import weights_of_counts
from headstart.targets.label_images import pixel_counts


class ImageMask(CsvFile):
    """Images and masks of the same names in folders images and masks, or listed in a CSV file.

    The folders are in the root, or in folders train, val and test. A list has the columns image (or path), mask and,
    optionally, split. The task determines whether masks hold classes or numbers. Values of classes are indices, or
    colours if there is a ``palette``, a file with a name and a colour per line. ``classes`` is a file with a class name
    per line, or a list of names; without it, and without a palette, classes are named by their index. Pixels with the
    value ``ignore_index`` have no class or number.
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
        self.contents: MaskContents | None = None

    def default_name(self, root: str | None) -> str:
        """Return the name of the folder, or of the list without its suffix."""
        place = real_path(Path(root)) if root else Path("image_mask")
        return place.stem if is_file(place) else place.name

    def collect(self) -> tuple[list[str], dict[str, Collection]]:
        """Return the class names and the images of each split. Raises DataError."""
        self.masks = {}
        splits = super().collect()[1] if is_file(given_root(self.root)) else self._from_folders()
        make = contents_of_classes if self.targets.masks_of == "classes" else contents_of_numbers
        self.contents = make(self.named, self.palette, self.ignore_index, self.masks)
        return self.contents.names, splits

    def source_hash(self, facts: Facts) -> str | None:
        """Return one hash of images, masks, class names and the reader's settings."""
        parts = [super().source_hash(facts) or "", files_hash(list(self.masks.values()), facts, list(self.masks))]
        return hashlib.sha256(
            "\0".join([*parts, *self.class_names, repr(self.contents and self.contents.reader)]).encode()
        ).hexdigest()

    @property
    def class_weights(self) -> NDArray[np.float64] | None:
        """Return the weights (classes,) that balance pixels in the loss; None unless ``dataset.balance=loss``."""
        return weights_of_counts(pixel_counts(self.train.targets).sum(axis=0)) if self.balance == "loss" else None

    def _from_folders(self) -> dict[str, Collection]:
        top = walk(existing_folder(self.root))
        pairs, notes = find_pairs(top, self.splits)
        self.not_used += notes
        found = {}
        for split, files in pairs.items():
            ids = [printable(image.relative_to(top.path).as_posix()) for image, _ in files]
            self.masks |= dict(zip(ids, (mask for _, mask in files), strict=True))
            found[split] = Collection(ids, np.zeros(len(files), np.int64), [image for image, _ in files])
        return found

    def _columns(self, table: ListTable) -> Columns:
        """Return the places of the columns; without a column image, the column path has the images."""
        if self.path_column == "image" and table.find("path_column", "image") is None:
            self.path_column = "path"
        return super()._columns(table)

    def _with_files(self, table: ListTable, rows: list[ListedRow], base: Path) -> list[ListedRow]:
        """Return the rows with the names of their images, and keep the paths of their masks.

        Raises DataError for a missing mask, and for one outside the folder of the list unless that is allowed.
        """
        listed = ListedFiles(base)
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

    def targets_of(self, collection: Collection, decoder: Decoder, size: int, split: str) -> PixelTargets:
        """Return the masks of a split, after reading each once; ``size`` is the side of prepared images in pixels.

        Raises DataError for a mask that does not fit its image.
        """
        contents, paths, turns = self.contents, [self.masks[name] for name in collection.ids], [1] * len(collection)
        assert contents is not None

        def checked(index: int) -> PixelFile:
            try:
                size, stored, turn = upright(collection.images[index])  # type: ignore[arg-type]  # all are files
                # A mask with the size of the stored pixels ignores the image's EXIF orientation, so it is turned.
                turns[index] = turn if stored != size and contents.reader.stored_size(paths[index]) == stored else 1
                found = contents.reader.look(paths[index], turns[index])
            except UnreadableError as error:
                raise unusable(paths[index], collection.ids[index], str(error)) from error
            if (found.width, found.height) != size:
                raise unusable(
                    paths[index],
                    collection.ids[index],
                    f"{found.width} x {found.height} pixels, but its image has {size[0]} x {size[1]}",
                )
            return found

        files = list(decode_each(checked, len(collection), f"reading {split} masks"))
        self.warnings += contents.check(files, split)
        return PixelTargets(collection.ids, paths, turns, files, contents.reader, decoder, size)
