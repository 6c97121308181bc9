"""Choose the engine that runs a prefix on this machine: by setting, from the cache, or by timing."""

import contextlib
import json
import logging
import os
import platform
import tempfile
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from headstart.errors import ConfigError
from headstart.features.engines import CompiledEngine, Engine, EngineError, OnnxEngine, TorchEngine, engine_version
from headstart.features.prefix import FrozenPrefix, reference
from headstart.features.rows import as_stored
from headstart.features.store import digest_of
from headstart.files import write_atomically
from headstart.inputs.signature import StoredArray
from headstart.workers import usable_cores

log = logging.getLogger(__name__)
BF16 = "torch_bf16"  # the engine of PyTorch with forward passes in bfloat16
ONLY_CPU = "ONNX Runtime is used on the CPU and at full precision only"
CPU_INFO = Path("/proc/cpuinfo")
WORTH_TIMING = 256 * 128**2  # total pixels; below, PyTorch finishes before another engine is ready
WORTH_COMPILING = 120  # seconds that PyTorch would take
# Largest error over largest value: at full precision, with TF32 (19-bit) products on a GPU, and at half precision.
FULL, TF32, HALF = 1e-4, 5e-3, 0.03


@dataclass(frozen=True)
class Work:
    """The computation to do, and its device."""

    prefix: FrozenPrefix
    device: torch.device
    autocast: torch.dtype | None  # None: full precision
    images: int  # in all splits
    sample: Callable[[int], StoredArray]  # returns n real images, (n, S, S, C)

    @property
    def on_plain_cpu(self) -> bool:
        """Return whether ONNX Runtime may be used."""
        return self.device.type == "cpu" and self.autocast is None

    @property
    def tolerance(self) -> float:
        """Return the largest allowed difference from PyTorch, as largest error over largest value."""
        if self.autocast is not None:
            return HALF
        return TF32 if self.device.type == "cuda" and torch.backends.cudnn.allow_tf32 else FULL


class EngineChoice:
    """The choice of an engine: its name is decided at once, for the cache key; the engine is made on first use."""

    def __init__(self, work: Work, wanted: str, precision: str = "float32") -> None:
        self.work, self.wanted = work, wanted
        self.precision = precision if work.autocast is None else "float32"  # the trainer's precision goes first
        self.made: Engine | None = None
        if self.precision == "bf16":
            if not fast_bf16(work.device):
                raise ConfigError(
                    "features.precision=bf16: this machine computes no fast bfloat16 (expected amx_bf16 or avx512_bf16,"
                    " or a GPU that supports it); use features.precision=float32."
                )
            if wanted not in ("auto", "torch"):
                raise ConfigError(
                    f"features.precision=bf16: PyTorch computes it, not {wanted}; use features.engine=auto."
                )
        if wanted == "onnxruntime" and not work.on_plain_cpu:
            raise ConfigError(f"features.engine=onnxruntime: {ONLY_CPU}; use features.engine=auto.")
        self.name = self._chosen()

    def engine(self) -> Engine:
        """Return the engine, checked against PyTorch on real images.

        If the check fails, an engine set by the user raises ConfigError, and a cached choice is replaced by PyTorch.
        """
        if self.made is None:
            try:
                self.made = make_engine(self.name, self.work)
            except EngineError as error:
                if self.precision == "bf16":
                    raise ConfigError(f"features.precision=bf16: {error}; use features.precision=float32.") from error
                if (self.wanted != "auto" and self.name != BF16) or self.name == "torch":
                    raise ConfigError(
                        f"features.engine={self.name}: {error}; use another engine, or features.enabled=false."
                    ) from error
                log.warning("the engine %s was the fastest before but now fails (%s); using torch", self.name, error)
                self.name = "torch"
                return self.engine()
            if self.name == BF16:
                log.info("features are computed in bfloat16 (relative error to float32: %.1e)", self.made.error)
        return self.made

    @property
    def computes_in(self) -> str:
        """Return the precision of the forward passes."""
        return "bfloat16" if self.name == BF16 else str(self.work.autocast or torch.float32).removeprefix("torch.")

    @property
    def tolerance(self) -> float:
        """Return the largest allowed difference of the chosen engine from PyTorch."""
        return HALF if self.name == BF16 else self.work.tolerance

    def _chosen(self) -> str:
        names = self._candidates()
        if len(names) == 1:
            return names[0]
        memory = choice_file(self._machine_and_task())
        try:
            before = str(json.loads(memory.read_text())["engine"])
        except OSError:
            before = ""
        except (ValueError, KeyError, TypeError):  # not a valid file
            before = ""
            with contextlib.suppress(OSError):
                memory.unlink()
        return before if before in names else self._fastest(names, memory)

    def _candidates(self) -> list[str]:
        work = self.work
        if self.precision == "bf16":
            return [BF16]
        if self.precision == "auto" and self.wanted in ("auto", "torch") and not work.prefix.exact:
            enough = work.images * work.prefix.image_size**2 >= WORTH_TIMING
            return [*self._at_full_precision(), *([BF16] if enough and fast_bf16(work.device) else [])]
        return self._at_full_precision()

    def _at_full_precision(self) -> list[str]:
        work = self.work
        if self.wanted != "auto":
            return [self.wanted]
        if work.prefix.exact:  # layers trained on top amplify rounding differences
            return ["torch"]
        if work.on_plain_cpu:
            enough = work.images * work.prefix.image_size**2 >= WORTH_TIMING
            return ["torch", "onnxruntime"] if enough and engine_version("onnxruntime") else ["torch"]
        return ["torch", "compile"] if work.device.type == "cuda" and work.images >= 10_000 else ["torch"]

    def _machine_and_task(self) -> dict[str, Any]:
        work = self.work
        return {
            "machine": [platform.node(), platform.machine(), usable_cores()],
            "device": torch.cuda.get_device_name(work.device) if work.device.type == "cuda" else work.device.type,
            "autocast": str(work.autocast),
            **({"precision": "auto", "engine": self.wanted} if self.precision == "auto" else {}),
            "network": [work.prefix.name, work.prefix.stage_names, work.prefix.pooled, work.prefix.image_size],
            "versions": [torch.__version__, engine_version("onnxruntime")],
        }

    def _fastest(self, names: list[str], memory: Path) -> str:
        speeds: dict[str, float] = {}
        engines: dict[str, Engine] = {}
        for name in names:
            if name == "compile" and self.work.images / speeds["torch"] < WORTH_COMPILING:
                continue
            try:
                engines[name] = make_engine(name, self.work)
            except EngineError as error:
                log.info("skipping the engine %s: %s", name, error)
                continue
            speeds[name] = speed(engines[name], self.work)
        best = max(speeds, key=speeds.__getitem__)
        measured = ", ".join(f"{name} {value:.0f}" for name, value in speeds.items())
        log.info("features.engine=auto chooses %s (images/s: %s)", best, measured)
        if "compile" not in names or "compile" in speeds:  # otherwise more images may change the choice
            best = store_choice(memory, {**self._machine_and_task(), "engine": best, "pictures_per_second": speeds})
        self.made = engines.get(best)
        return best


def make_engine(name: str, work: Work) -> Engine:
    """Return the named engine, checked against PyTorch on a batch of real images. Raises EngineError."""
    if name == "onnxruntime":
        if not work.on_plain_cpu:
            raise EngineError(ONLY_CPU)
        return checked(OnnxEngine(work.prefix), work)
    if name == "compile":
        return checked(CompiledEngine(work.prefix, work.device, work.autocast), work)
    autocast, allowed = (torch.bfloat16, HALF) if name == BF16 else (work.autocast, work.tolerance)
    try:
        engine = checked(TorchEngine(work.prefix, work.device, autocast), work, allowed)
    except EngineError as error:
        log.info("not folding batch norm: %s", error)
        engine = checked(TorchEngine(work.prefix, work.device, autocast, fold=False), work, allowed)
    engine.name = name
    return engine


def fast_bf16(device: torch.device) -> bool:
    """Return whether the device has instructions for bfloat16; on a CPU, AMX or avx512_bf16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    try:
        return device.type == "cpu" and bool({"amx_bf16", "avx512_bf16"} & set(CPU_INFO.read_text().split()))
    except OSError:  # not Linux
        return False


def checked(engine: Engine, work: Work, allowed: float | None = None) -> Engine:
    """Return the engine if its output agrees with PyTorch's up to ``allowed``. Raises EngineError."""
    images = work.sample(engine.batch)
    expected = reference(work.prefix.to(work.device), torch.from_numpy(images).to(work.device), work.autocast)
    try:
        values = engine(images)
    except Exception as error:  # compilers and runtimes raise anything
        raise EngineError(f"it fails on real images ({error})") from error
    error_found = relative_error(values, as_stored(expected).cpu().numpy())
    engine.error = error_found
    if not error_found < (work.tolerance if allowed is None else allowed):
        raise EngineError(f"its output differs from PyTorch's (relative error {error_found:.1e})")
    return engine


def relative_error(values: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return the largest difference over the largest value; infinite for unequal shapes, NaN or infinity."""
    if values.shape != expected.shape or not np.isfinite(values).all():
        return float("inf")
    return float(np.abs(values - expected).max() / max(float(np.abs(expected).max()), 1e-12))


def speed(engine: Engine, work: Work, seconds: float = 0.12) -> float:
    """Return images per second with all lanes busy: the best of the rounds within ``seconds``, at least one round."""
    images = work.sample(engine.batch)
    rounds: list[float] = []
    with ThreadPoolExecutor(engine.lanes) as pool:
        while not rounds or sum(rounds) + min(rounds) < seconds:
            start = time.perf_counter()
            for future in [pool.submit(engine, images) for _ in range(2 * engine.lanes)]:
                future.result()
            rounds.append(time.perf_counter() - start)
    return 2 * engine.lanes * engine.batch / min(rounds)


def choice_file(task: dict[str, Any]) -> Path:
    """Return the cache file for the choice of engine, given a description of machine and task."""
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # the user has no home folder
        cache = Path(tempfile.gettempdir())
    return cache / "headstart" / "engines" / f"{digest_of(task)[:32]}.json"


def store_choice(file: Path, content: dict[str, Any]) -> str:
    """Store the choice, so that later runs compute the same bits; the first of two concurrent runs decides."""
    own = file.with_name(f"{file.name}.{uuid.uuid4().hex}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(own, json.dumps(content, indent=2) + "\n")
        try:
            with contextlib.suppress(FileExistsError):
                os.link(own, file)
            return str(json.loads(file.read_text())["engine"])
        finally:
            own.unlink(missing_ok=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("the choice of engine cannot be stored (%s); set features.engine to repeat it exactly", error)
        return str(content["engine"])
