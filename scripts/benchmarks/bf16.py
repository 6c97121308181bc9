"""Compare the forward passes of a frozen network in bfloat16 with those of the fastest engine at full precision."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from benchmarks.augmentation import photograph
from benchmarks.measured import Row, compared, median
from benchmarks.networks import make_backbone
from headstart.features.choice import BF16, Work, fast_bf16, make_engine, speed
from headstart.features.prefix import FrozenPrefix
from headstart.inputs.signature import RGB, StoredArray, reconcile

FULL = ("torch", "onnxruntime")


def frozen(backbones: Sequence[str], sizes: Sequence[int], rounds: int, seconds: float = 2.0) -> Iterator[Row]:
    """Yield a row for each network and size; weights are random, the engines run in turns."""
    if not fast_bf16(torch.device("cpu")):
        raise SystemExit("bf16: this processor has no instructions for bfloat16 (expected amx_bf16 or avx512_bf16).")
    for name, size in itertools.product(backbones, sizes):
        work = work_for(name, size)
        engines = {engine: make_engine(engine, work) for engine in (*FULL, BF16)}
        speeds: dict[str, list[float]] = {engine: [] for engine in engines}
        for _ in range(rounds):
            for engine, made in engines.items():
                speeds[engine].append(speed(made, work, seconds))
        best = max(FULL, key=lambda engine: median(speeds[engine]))
        row = compared(f"{name}, {size} px: bfloat16 / {best} at float32", "1.4", speeds, BF16, best)
        yield replace(row, figures=f"{row.figures}; relative error {engines[BF16].error:.1e}")


def work_for(name: str, size: int) -> Work:
    """Return the work of all stages on the CPU; the images are crops of a photograph."""
    torch.manual_seed(0)
    backbone = make_backbone(name, size).eval()
    normalisation = reconcile(RGB, backbone.preprocessing)
    prefix = FrozenPrefix(backbone, len(backbone.stage_names), normalisation.scale, normalisation.shift)
    prefix.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    whole = photograph(2 * size, 2 * size)

    def sample(count: int) -> StoredArray:
        corners = np.random.default_rng(0).integers(0, size, (count, 2))
        return np.stack([whole[top : top + size, left : left + size] for top, left in corners])

    return Work(prefix, torch.device("cpu"), None, 10**6, sample)
