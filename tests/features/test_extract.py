"""Test that features are gathered in the loader's order, in memory or in a file."""

from pathlib import Path

import numpy as np
import pytest
import torch

from headstart.errors import HeadstartError
from headstart.features.extract import extract
from headstart.features.keeping import Writer, locate
from headstart.features.loaders import FeatureBatches
from headstart.features.rows import InMemory
from headstart.features.store import Store

COUNT, SIZE = 3000, 64


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux lists the maps of a process")
def test_vectors_on_disk_are_mapped_instead_of_held(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    values = draw.normal(size=(COUNT, SIZE)).astype(np.float32)
    names = draw.integers(0, 2**63, (COUNT, 2), dtype=np.uint64)
    kept = Store(tmp_path, 10**9).entry({"synthetic": COUNT})
    Writer(kept, names, (SIZE,), np.dtype(np.float32)).put(values)
    on_disk = locate(kept, names)
    assert on_disk is not None
    files = sorted(tmp_path.rglob("*"))
    for rows in (InMemory(torch.from_numpy(values)), on_disk):
        found = extract(lambda x, entry: 2 * x, FeatureBatches(rows, np.arange(COUNT), 100, 4), torch.device("cpu"))
        assert torch.equal(found.values, torch.from_numpy(2 * values))
        assert torch.equal(found.targets, torch.arange(COUNT))
        assert not found.values.is_inference()
        found.values[0] = 1.0  # it may be written to
    assert f"{tmp_path}/" in Path("/proc/self/maps").read_text(), "the last values are a map of a file"
    assert sorted(tmp_path.rglob("*")) == files, "which has no name"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_no_numbers_are_refused(value: float) -> None:
    values = torch.zeros(COUNT, SIZE)
    values[COUNT - 1, 3] = value
    batches = FeatureBatches(InMemory(values), np.arange(COUNT), 100, 4)
    with pytest.raises(HeadstartError, match="train features: the network gives NaN or infinite values"):
        extract(lambda x, entry: x, batches, torch.device("cpu"), "train features")
