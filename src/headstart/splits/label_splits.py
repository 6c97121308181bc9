"""Split images with several labels so that each part has about the same fraction of every label.

Iterative stratification: Sechidis, Tsoumakas & Vlahavas 2011, "On the stratification of multi-label data", with the
package iterative-stratification.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.errors import DataError
from headstart.inputs.found import images_text
from headstart.seeds import stream
from headstart.splits.splits import Indices


def split_off_labels(targets: NDArray[Any], fraction: float, seed: int, what: str) -> tuple[Indices, Indices]:
    """Return positions that stay and positions split off, from labels (N, K); about ``fraction`` is split off."""
    from iterstrat.ml_stratifiers import MultilabelStratifiedShuffleSplit  # takes a second to load

    if not 0 < fraction < 1:
        raise DataError(f"dataset.{what}_fraction={fraction}: expected a fraction between 0 and 1, such as 0.2.")
    parts = MultilabelStratifiedShuffleSplit(
        n_splits=1, test_size=fraction, random_state=stream(f"label split {what}", seed) % 2**32
    )
    columns = _columns(targets)
    stay, off = next(parts.split(columns, columns)) if len(targets) > 1 else (np.arange(len(targets)), np.arange(0))
    if not len(stay) or not len(off):
        raise DataError(f"{images_text(len(targets))}: too few to split off a {what} set.")
    return np.sort(stay).astype(np.int64), np.sort(off).astype(np.int64)


def label_fold_of(targets: NDArray[Any], folds: int, fold: int, seed: int) -> tuple[Indices, Indices]:
    """Return positions outside and inside one of ``folds`` parts, from labels (N, K); each is inside exactly one."""
    from iterstrat.ml_stratifiers import MultilabelStratifiedKFold

    if len(targets) < folds:
        raise DataError(f"dataset.folds={folds}: {images_text(len(targets))} in all; each fold needs one.")
    parts = MultilabelStratifiedKFold(folds, shuffle=True, random_state=stream("label fold", seed) % 2**32)
    columns = _columns(targets)
    stay, off = list(parts.split(columns, columns))[fold]
    return np.sort(stay).astype(np.int64), np.sort(off).astype(np.int64)


def _columns(targets: NDArray[Any]) -> NDArray[np.int64]:
    """Return labels as 0 and 1, (N, K + 1). The last column marks images without a label, to spread them evenly too."""
    return np.column_stack([targets > 0, ~(targets > 0).any(axis=1)]).astype(np.int64)
