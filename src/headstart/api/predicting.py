"""Predict images with the network of a run, from Python, with the answers of ``headstart predict``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.api.guarding import in_one_sentence
from headstart.errors import DataError
from headstart.files import expanded, printable
from headstart.models.answers import ModelAnswers, Question, flat
from headstart.models.asked import asked_images
from headstart.models.loading import load_model

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray
    from PIL.Image import Image

    Asked = str | Path | Image | NDArray[Any]


class UsableModel:
    """A trained network that answers for new images. It needs neither the data nor the settings of its run."""

    def __init__(self, directory: Path, device: str = "auto", trust: Sequence[str] = ()) -> None:
        self.directory = directory
        self.loaded = load_model(directory, device, trust)

    @property
    def task(self) -> str:
        """Return the kind of target, such as "classification"."""
        return self.loaded.description.output.task

    @property
    def names(self) -> list[str]:
        """Return the names of the classes, labels or numbers."""
        return list(self.loaded.description.output.names)

    @property
    def notes(self) -> list[str]:
        """Return sentences on what differs from the predictions of the run."""
        return list(self.loaded.notes)

    @in_one_sentence
    def predict(
        self, images: Asked | Iterable[Asked], raw: bool = False, conformal: float | None = None,
        batch_size: int | None = None,
    ) -> pd.DataFrame:  # fmt: skip
        """Return a row for each image, with the columns of ``headstart predict --output FILE.csv``.

        ``images`` are paths of images, folders or lists, Pillow images, or arrays (H, W, 3) of uint8: one or several.
        ``path`` is the path, or the position of an image that has none. A row of an unreadable image has its reason in
        the column ``unreadable``, which exists only then. ``raw`` gives the network's own probabilities, and
        ``conformal=0.9`` sets that hold the truth for this share of images.
        """
        import pandas as pd

        rows = [
            {"path": path, **(answer if "unreadable" in answer else flat(answer))}
            for path, answer in self._answered(images, raw, conformal, batch_size)
        ]
        return pd.DataFrame(rows)

    @in_one_sentence
    def answers(
        self, images: Asked | Iterable[Asked], raw: bool = False, conformal: float | None = None,
        batch_size: int | None = None,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """Return what ``predict`` does as nested values, as in ``headstart predict --output FILE.jsonl``."""
        return [{"path": path, **answer} for path, answer in self._answered(images, raw, conformal, batch_size)]

    def _answered(
        self, given: Any, raw: bool, conformal: float | None, batch_size: int | None
    ) -> Iterator[tuple[str | int, dict[str, Any]]]:
        answers = ModelAnswers(self.loaded.description, Question(raw, conformal))
        names, undecoded = _collected(given)
        if not undecoded:
            raise DataError("There is no image to predict.")
        images = self.loaded.images(undecoded)
        for found in self.loaded.outputs(images, batch_size):
            rows = zip(found.positions.tolist(), answers.of(found.values, found.distances), strict=True)
            for place, answer in rows:
                wrong = images.unreadable.get(place)
                yield names[place], answer if wrong is None else {"unreadable": printable(wrong)}

    def __repr__(self) -> str:
        return f"<Model of task={self.task}: {', '.join(map(repr, self.names[:10]))}, {self.directory}>"


@in_one_sentence
def model(directory: str | Path, device: str = "auto", trust: Sequence[str] = ()) -> UsableModel:
    """Return the network of a run, or of a folder with model.json, ready to predict new images."""
    return UsableModel(expanded(directory).absolute(), device, trust)


def _collected(given: Any) -> tuple[list[str | int], list[Any]]:
    """Return names and images of what a user gave: files of folders and lists by path, others by position."""
    from PIL.Image import Image

    names: list[str | int] = []
    images: list[Any] = []
    for place, one in enumerate(_listed(given)):
        if isinstance(one, str | Path):
            paths, _ = asked_images([expanded(one)])
            names += map(str, paths)
            images += paths
        elif isinstance(one, Image) or (isinstance(one, np.ndarray) and one.dtype == np.uint8 and one.ndim in (2, 3)):
            names.append(place)
            images.append(one)
        else:
            found = f"array {one.shape} of {one.dtype}" if isinstance(one, np.ndarray) else type(one).__name__
            raise DataError(
                f"Image {place} is of type {found}; expected a path, a Pillow image, or an array (H, W, 3) of uint8."
            )
    return names, images


def _listed(given: Any) -> list[Any]:
    """Return several images as a list: (N, H, W, 3) is N arrays."""
    from PIL.Image import Image

    if isinstance(given, np.ndarray):
        return list(given) if given.ndim == 4 else [given]
    return list(given) if isinstance(given, Iterable) and not isinstance(given, str | Path | Image) else [given]
