"""What a run was made with can be told."""

import subprocess
from importlib.metadata import version

import numpy as np
from conftest import CHECKOUT

from headstart.runs import provenance


def test_versions_and_commit() -> None:
    assert provenance.packages()["torch"] == version("torch")
    commit = subprocess.run(["git", "-C", CHECKOUT, "rev-parse", "HEAD"], capture_output=True, text=True)
    assert provenance.git_state()["git_commit"] == (commit.stdout.strip() or None)
    assert provenance.hardware()["cores"] >= 1


def test_the_peak_starts_afresh() -> None:
    size = 300 * 1024**2
    provenance.reset_peak_memory()
    before = provenance.peak_memory("cpu")
    large = np.ones(size, dtype=np.uint8)
    assert provenance.peak_memory("cpu") >= before + 0.8 * size
    del large
    provenance.reset_peak_memory()
    assert provenance.peak_memory("cpu") <= before + 0.5 * size
