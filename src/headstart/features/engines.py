"""Run a frozen prefix by one of several engines: equal numbers up to rounding, at different speeds."""

import copy
import io
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.fx.experimental.optimization import fuse

from headstart.features.prefix import FrozenPrefix
from headstart.features.rows import as_stored
from headstart.inputs.signature import StoredArray
from headstart.versions import package_version
from headstart.workers import usable_cores

CPU_PIXELS = 4 * 128**2  # per batch on a CPU; at 128 pixels, 1, 2, 8 and 16 images were slower than 4
GPU_PIXELS = 256 * 224**2  # per batch on a GPU
MOST_LANES = 16
OPSET = 18  # of exported models


class EngineError(Exception):
    """An engine cannot run this prefix; the message gives the reason."""


class Engine(Protocol):
    """An engine that runs batches of one size."""

    name: str
    batch: int
    lanes: int  # how many threads may call it at once
    error: float  # relative error to PyTorch on the first batch

    def __call__(self, pixels: StoredArray) -> NDArray[Any]:
        """Return the rows of images (batch, S, S, C) in stored form, channels last."""


class TorchEngine:
    """PyTorch, in mixed precision on request.

    If all stages are frozen, batch norm is folded into convolutions and the layout is channels-last. If layers are
    trained on top, or maps are read, stages run unchanged, because training amplifies rounding differences. Such a run
    gives exactly the numbers of a run without cached features.
    """

    name = "torch"
    lanes = 1
    error = 0.0

    def __init__(
        self, prefix: FrozenPrefix, device: torch.device, autocast: torch.dtype | None = None, fold: bool = True
    ) -> None:
        self.device, self.autocast = device, autocast
        network = copy.deepcopy(prefix)
        if not prefix.exact and fold:
            network.channels_last = True
            network.stages = nn.ModuleList([_folded(stage) for stage in network.stages])
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network: Any = network.eval().to(device)
        on_gpu = device.type != "cpu"
        self.batch = max(1, min(256, GPU_PIXELS // prefix.image_size**2)) if on_gpu else cpu_batch(prefix)

    def __call__(self, pixels: StoredArray) -> NDArray[Any]:
        """Run on the device and return the rows on the CPU."""
        images = torch.from_numpy(pixels)
        if self.device.type == "cuda":
            images = images.pin_memory()
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, self.autocast, enabled=self.autocast is not None),
        ):
            values = self.network(images.to(self.device, non_blocking=True))
            return as_stored(values.float()).contiguous().cpu().numpy()


class CompiledEngine(TorchEngine):
    """PyTorch through torch.compile: the first batch is slow, later ones are faster."""

    name = "compile"

    def __init__(self, prefix: FrozenPrefix, device: torch.device, autocast: torch.dtype | None = None) -> None:
        super().__init__(prefix, device, autocast)
        self.network = torch.compile(self.network, dynamic=False)


class OnnxEngine:
    """ONNX Runtime on the CPU: one thread per batch, with one batch per core at once, up to 16."""

    name = "onnxruntime"

    def __init__(self, prefix: FrozenPrefix) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise EngineError("onnxruntime is not installed") from error

        self.batch, self.error = cpu_batch(prefix), 0.0
        network = _Stored(copy.deepcopy(prefix).cpu().to(memory_format=torch.contiguous_format))  # type: ignore[call-overload]
        model = onnx_model(network.eval(), prefix.signature.stored(self.batch, prefix.image_size))
        cores = usable_cores()
        self.lanes = min(cores, MOST_LANES)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(1, cores // self.lanes)
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no public base class
            raise EngineError(f"ONNX Runtime cannot load the network ({_first_line(error)})") from error
        self.input = self.session.get_inputs()[0].name

    def __call__(self, pixels: StoredArray) -> NDArray[Any]:
        """Return the rows; several threads may call this at once."""
        return self.session.run(None, {self.input: pixels})[0]


def cpu_batch(prefix: FrozenPrefix) -> int:
    """Return the images per batch on a CPU: 8 up to 90 pixels, 4 at 128, 2 from 148 on."""
    return max(2, min(8, CPU_PIXELS // prefix.image_size**2))


def engine_version(name: str) -> str | None:
    """Return the version of an engine that is not part of PyTorch, otherwise None."""
    return package_version("onnxruntime") if name == "onnxruntime" else None


class _Stored(nn.Module):
    """The prefix with its output in stored form."""

    def __init__(self, prefix: FrozenPrefix) -> None:
        super().__init__()
        self.prefix = prefix

    def forward(self, images: Tensor) -> Tensor:
        return as_stored(self.prefix(images))


def onnx_model(network: nn.Module, example: Tensor, outputs: Sequence[str] = ("rows",), dynamic: bool = False) -> bytes:
    """Return a network as an ONNX model whose input is "images", like the example.

    It takes batches of the example's size, or of any size if ``dynamic``. Raises EngineError.
    """
    reasons = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Try tracing first: it is deprecated, but takes a tenth of the time of torch.export.
        for modern in (False, True):
            try:
                return _export(network, example, outputs, dynamic, modern)
            except Exception as error:  # exporters raise anything for an unsupported network
                reasons.append(_first_line(error))
    raise EngineError(f"the network cannot be exported to ONNX ({'; '.join(dict.fromkeys(reasons))})")


def _export(network: nn.Module, example: Tensor, outputs: Sequence[str], dynamic: bool, modern: bool) -> bytes:
    names: dict[str, Any] = {"input_names": ["images"], "output_names": list(outputs)}
    if dynamic:
        names["opset_version"] = OPSET
    if not modern:
        buffer = io.BytesIO()
        axes = {name: {0: "N"} for name in ("images", *outputs)} if dynamic else None
        torch.onnx.export(network, (example,), buffer, dynamic_axes=axes, dynamo=False, **names)  # type: ignore[arg-type]
        return buffer.getvalue()
    shapes = ({0: torch.export.Dim("N")},) if dynamic else None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        torch.onnx.export(
            network, (example,), path, dynamic_shapes=shapes, dynamo=True, external_data=False, verbose=False, **names
        )
        return path.read_bytes()


def _folded(stage: nn.Module) -> nn.Module:
    """Return the stage with batch norms folded into the convolutions before; unchanged if it cannot be traced."""
    try:
        return fuse(stage.eval(), no_trace=isinstance(stage, fx.GraphModule))
    except Exception:  # tracing may raise anything, and folding only saves time
        return stage


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
