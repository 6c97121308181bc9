"""Provide small images, a small backbone, a trainer and small commands for all tests."""

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

# Waiting threads must not keep a core busy, because other tests need it. torch reads this when it is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("NUMBA_DISABLE_JIT", "1")  # UMAP of a few points takes less time than its compilation
os.environ["TQDM_DISABLE"] = "1"  # only the tests of progress need a bar

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from forking import warm as warm
from PIL import Image
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.trainer.connectors import callback_connector
from torch import nn

from headstart.backbones import Backbone, Preprocessing, WeightsInfo
from headstart.cli import main
from headstart.data import Digits
from headstart.records.curves import CsvCurves
from headstart.strategies import Strategy, cosine
from headstart.tasks import Classification
from headstart.workers import usable_cores

# With parallel tests, each process and its children use their share of the cores.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    threads = max(1, usable_cores() // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)

# Each trainer searches all installed packages for callbacks, which takes a fiftieth of a small run.
callback_connector._load_external_callbacks = lambda group: []

# Searching a million imported objects for garbage takes a tenth of a test's time.
gc.set_threshold(50_000, 20, 50)

SIZE = 16
CHECKOUT = Path(__file__).parents[1]
# A run that takes a second: twelve classes of a few small images, a network with random weights.
TINY = [
    "dataset.counts=[6,4,4]",
    "dataset.image_size=32",
    "dataset.num_workers=0",
    "backbone.weights=null",
    "trainer.max_epochs=2",
    "trainer.accelerator=cpu",
]
# A network of ten convolutions, for tests in which any network will do: half the time of the default one.
SMALLEST = ["backbone=timm", "backbone.name=test_efficientnet"]
PREPROCESSING = Preprocessing(SIZE, (0.5,) * 3, (0.25,) * 3, "bilinear", 1.0)


def pytest_xdist_auto_num_workers() -> int:
    """Return the number of parallel processes: one more than cores, because many tests wait for other processes."""
    return usable_cores() + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that have slow tests, so that parallel processes end at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run each test in its own folder and restore the environment."""
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    os.environ["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    yield
    os.environ.clear()
    os.environ.update(before)


@contextmanager
def using_threads(number: int) -> Iterator[None]:
    """Let torch use this many threads: rounding depends on the number."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Use two threads: with one, rounding of small convolutions depends on the batch size."""
    with using_threads(2):
        yield


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes class folders: make_folder({"train/red": 3, ...}) -> root."""

    def make(counts: dict[str, int], name: str = "images", suffix: str = "jpg") -> Path:
        rng = np.random.default_rng(0)
        root = tmp_path / name
        for number, (folder, count) in enumerate(sorted(counts.items())):
            (root / folder).mkdir(parents=True)
            for index in range(count):
                noise = rng.integers(0, 80, (40, 32, 3)) + 40 * (number % 4)
                Image.fromarray(noise.astype(np.uint8)).save(root / folder / f"{index}.{suffix}")
        return root

    return make


def runs_below(folder: Path) -> list[dict[str, Any]]:
    """Return the content of every run.json below a folder, sorted by path."""
    return [json.loads(path.read_text()) for path in sorted(folder.rglob("run.json"))]


def trained_run(folder: Path, *arguments: str) -> Path:
    """Train a tiny run with these settings below the folder; return its directory."""
    assert main(["train", *TINY, f"output_dir={folder}", *arguments]) == 0
    (found,) = (path.parent for path in folder.rglob("run.json"))
    return found


def answer_of(code: str) -> str:
    """Return what Python code prints in a new process; the code must succeed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def toy_backbone(seed: int = 0) -> Backbone:
    """Return a backbone of four stages with batch norm; its "pretrained" weights are drawn from the seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        widths = [3, 4, 6, 8, 8]
        stages = [
            (
                f"stage{i}",
                nn.Sequential(
                    nn.Conv2d(widths[i], widths[i + 1], 3, stride=2 if i < 2 else 1, padding=1),
                    nn.BatchNorm2d(widths[i + 1]),
                    nn.ReLU(),
                ),
            )
            for i in range(4)
        ]
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Backbone("toy", stages, pool, PREPROCESSING, WeightsInfo(name="toy"))


def make_strategy(cls: type[Strategy], lr: float = 0.01, **kwargs: Any) -> Strategy:
    """Return a strategy on the toy backbone for ten classes."""
    steps = {"optimizer": partial(torch.optim.AdamW, lr=lr), "scheduler": cosine} if cls.by_gradient else {}
    return cls(**{"backbone": toy_backbone(), "task": Classification(10)} | steps | kwargs)


def make_trainer(folder: Path, epochs: int = 2) -> pl.Trainer:
    """Return a trainer on the CPU that keeps the best epoch."""
    return pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=[CsvCurves(folder)],
        callbacks=[ModelCheckpoint(folder / "checkpoints", monitor="validation/accuracy", mode="max")],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


@pytest.fixture(scope="session")
def digits() -> Digits:
    """Return digits with eight labels per class, at 16 pixels."""
    data = Digits(labels_per_class=8, batch_size=16)
    data.prepare(PREPROCESSING)
    return data
