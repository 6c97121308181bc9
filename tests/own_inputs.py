"""A kind of input from outside the package: arrays of several channels in .npy files, in one folder per class."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import torch

from headstart.data import ImageData
from headstart.errors import DataError
from headstart.inputs.collection import Collection, Undecoded
from headstart.inputs.decoding import DecodedImage, Decoder, raising_unreadable, read_whole
from headstart.inputs.signature import Signature

BANDS = Signature("band array", channels=5, low=0, high=1, dtype=torch.float32, views=False)


@dataclass(frozen=True)
class BandDecoder(Decoder):
    """Read arrays (H, W, 5) from .npy files, with values from 0 to 1."""

    signature: ClassVar[Signature] = BANDS

    def read(self, image: Undecoded) -> DecodedImage:
        """Return float32 (S, S, 5)."""
        assert isinstance(image, Path)
        content = read_whole(image)
        with raising_unreadable():
            values = np.load(io.BytesIO(content), allow_pickle=False).astype(np.float32)
            if values.shape[2:] != (5,):
                raise ValueError(f"it has the shape {values.shape}, not (H, W, 5)")
            size = (self.short_side, self.short_side)
            sized = np.dstack([cv2.resize(band, size, interpolation=cv2.INTER_AREA) for band in values.T]).swapaxes(
                0, 1
            )
        return DecodedImage(sized, hashlib.sha256(content).digest())


class BandFolder(ImageData):
    """Find the files of all classes; all splits are made from them."""

    def collect(self) -> tuple[list[str], dict[str, Collection]]:
        """Return the class names, and the files below their folders."""
        paths = sorted(Path(str(self.root)).glob("*/*.npy"))
        if not paths:
            raise DataError(f"'{self.root}' holds no .npy file.")
        names = sorted({path.parent.name for path in paths})
        targets = np.array([names.index(path.parent.name) for path in paths], dtype=np.int64)
        return names, {"train": Collection([f"{p.parent.name}/{p.name}" for p in paths], targets, paths)}

    def decoder(self, preprocessing: object) -> BandDecoder:
        """Return the decoder of these arrays."""
        return BandDecoder(preprocessing.image_size, pixel_range=None)  # type: ignore[attr-defined]
