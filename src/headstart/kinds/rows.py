"""Read a predictions file in chunks of rows, so that an error in an early row ends the reading."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from headstart.errors import DataError
from headstart.kinds.kind import PredictionTable

AT_ONCE = 500_000  # cells in a chunk, which is parsed and then checked


def numbered_rows(table: PredictionTable, name: str, types: Mapping[int, Any]) -> Iterator[tuple[slice, Any]]:
    """Yield chunks of rows: their numbers as a slice, and the rows as a DataFrame with a column for each type.

    Raises DataError unless the first column numbers the rows from 0.
    """
    import pandas as pd

    read = 0
    for part in pd.read_csv(
        table.file,
        header=0,
        names=list(range(len(types))),
        dtype=dict(types),
        keep_default_na=False,
        engine="c",
        float_precision="round_trip",
        chunksize=max(1, AT_ONCE // len(types)),
    ):
        if part.empty:
            return
        rows = slice(read, read + len(part))
        if (part[0].to_numpy() != np.arange(rows.start, rows.stop)).any():
            raise DataError(f"{name} does not number its rows from 0: some are missing, or in another order")
        yield rows, part
        read = rows.stop
