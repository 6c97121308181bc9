"""Measure the peak memory of training on stored features on disk, for few and many images."""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measured import SCRIPTS, Row


def flat(settings: Sequence[str], rounds: int) -> list[Row]:
    """Compare 100,000 with 10,000 synthetic images: one epoch each, with features.memory_limit=0."""
    peaks = {}
    for count in (10_000, 100_000):
        command = [sys.executable, "-m", "benchmarks.memory", str(count)]
        done = subprocess.run(command, cwd=SCRIPTS, capture_output=True, text=True, check=True)
        peaks[count] = json.loads(done.stdout.splitlines()[-1])
    few, many = (peaks[count]["peak"] / 1e6 for count in sorted(peaks))
    before = peaks[100_000]["before"] / 1e6
    micros = [1e6 * peaks[count]["seconds"] / count for count in sorted(peaks)]
    sizes = [count * 1280 * 4 / 1e6 for count in sorted(peaks)]
    return [
        Row(
            "peak memory training on 100,000 / 10,000 images' features on disk",
            f"{many / few:.3f}",
            "below 1.1",
            f"{many:.0f} MB / {few:.0f} MB, of which {before:.0f} MB before training; {sizes[1]:.0f} MB and"
            f" {sizes[0]:.0f} MB of features; {micros[1]:.0f} / {micros[0]:.0f} microseconds per image",
        )
    ]


def measure(count: int) -> dict[str, float]:
    """Write synthetic features of ``count`` images, train a head on them from disk, and return peak memory and time."""
    import numpy as np
    import pytorch_lightning as pl
    import torch
    from pytorch_lightning.callbacks import ModelCheckpoint

    from headstart.backbones import efficientnet_lite
    from headstart.console import silence_lightning
    from headstart.data.batches import EvenBatches
    from headstart.features.keeping import Writer, locate
    from headstart.features.loaders import FeatureBatches
    from headstart.features.store import Store
    from headstart.records import provenance
    from headstart.records.curves import CsvCurves
    from headstart.strategies import HeadOnly
    from headstart.tasks import Classification

    silence_lightning()
    with TemporaryDirectory(prefix="benchmark-") as folder:
        rng = np.random.default_rng(0)
        names = rng.integers(0, 2**63, (count, 2), dtype=np.uint64)
        targets = rng.integers(0, 10, count)
        kept = Store(Path(folder), 10**12).entry({"synthetic": count})
        writer = Writer(kept, names, (1280,), np.dtype(np.float32))
        for start in range(0, count, 1000):
            writer.put(rng.normal(size=(min(1000, count - start), 1280)).astype(np.float32))
        rows = locate(kept, names)
        backbone = efficientnet_lite("efficientnet_lite0", weights=None, image_size=64)
        strategy = HeadOnly(
            backbone=backbone, task=Classification(10), optimizer=partial(torch.optim.AdamW, lr=0.001), scheduler=None
        )
        checkpoint = ModelCheckpoint(Path(folder) / "checkpoints", monitor="validation/accuracy", mode="max")
        trainer = pl.Trainer(
            max_epochs=1, accelerator="cpu", logger=[CsvCurves(folder)], callbacks=[checkpoint],
            enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        )  # fmt: skip
        provenance.reset_peak_memory()
        before = provenance.peak_memory("cpu")
        entry = len(backbone.stages)
        train = FeatureBatches(rows, targets, 32, entry, EvenBatches(count, 32, 0))
        began = time.perf_counter()
        trainer.fit(strategy, train, FeatureBatches(rows, targets, 1024, entry))
        passed = float(time.perf_counter() - began)
        return {"before": float(before), "peak": float(provenance.peak_memory("cpu")), "seconds": passed}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int)
    print(json.dumps(measure(parser.parse_args().count)))
