"""Turn a model into a plain network from bytes to calibrated answers, and compute the same answers without it."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.data.image_split import centre_crop
from headstart.errors import ConfigError
from headstart.inputs.collection import Undecoded
from headstart.inputs.decoding import Decoder
from headstart.models.answers import SEVERAL, outputs_of
from headstart.models.description import ModelDescription, OutputCalibration
from headstart.models.model import Model
from headstart.solvers.neighbours import NearestNeighbours
from headstart.targets.several import SEPARATOR
from headstart.tasks.scores import kept_of

Arrays = dict[str, NDArray[Any]]
BY_PIXEL = ("label image", "number image")


@dataclass(frozen=True)
class NamedOutput:
    """An output of an exported network: its name, the output of the task, what it gives, and the names of columns."""

    name: str
    output: str
    gives: str
    names: Sequence[str]


class CalibratedPart(nn.Module):
    """Answers of one task, from its outputs (N, K), or (N, K, S, S) by pixel."""

    thresholds: Tensor

    def __init__(self, output: str, task: str, names: Sequence[str], calibration: OutputCalibration) -> None:
        super().__init__()
        self.task, self.names, self.temperature = task, list(names), calibration.temperature or 1.0
        thresholds = torch.tensor(calibration.thresholds or [0.5] * len(names))
        self.register_buffer("thresholds", thresholds, persistent=False)
        gives = {
            "classification": {"logits": "logits", "probabilities": "class probabilities"},
            "multilabel": {"probabilities": "label probabilities", "labels": "labels"},
            "regression": {"values": "values"},
            "segmentation": {"labels": "label image"},
            "dense_regression": {"values": "number image"},
        }[task]
        start = f"{output}{SEPARATOR}" if output else ""
        self.outputs = [NamedOutput(f"{start}{name}", output, what, self.names) for name, what in gives.items()]

    def forward(self, values: Tensor) -> list[Tensor]:
        """Return the tensors of ``outputs``, (N, K) or (N, S, S)."""
        if self.task == "classification":
            return [values, (values / self.temperature).softmax(dim=1)]
        if self.task == "multilabel":
            shares = values.sigmoid()
            return [shares, shares >= self.thresholds]
        if self.task == "segmentation":
            return [values.argmax(dim=1).to(torch.uint8 if len(self.names) <= 256 else torch.int32)]
        return [values[:, 0] if self.task == "dense_regression" else values[:, : len(self.names)]]

    def expected(self, values: Tensor) -> list[NDArray[Any]]:
        """Return the same in float64, from what ``kept_of`` keeps of outputs: to compare with."""
        kept = values.double()
        if self.task == "classification":
            return [kept.numpy(), (kept / self.temperature).softmax(dim=1).numpy()]
        if self.task == "multilabel":
            return [kept.sigmoid().numpy(), (kept.sigmoid() >= self.thresholds).numpy()]
        return [
            values.numpy() if self.task in ("segmentation", "dense_regression") else kept[:, : len(self.names)].numpy()
        ]


class PlainNeighbours(nn.Module):
    """A head of nearest neighbours that compares all images at once, for tracing."""

    def __init__(self, head: NearestNeighbours) -> None:
        super().__init__()
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs (N, K) of features (N, D)."""
        count = min(self.head.neighbours, len(self.head.memory))
        cosines, places = (F.normalize(x, dim=1) @ self.head.memory.T).topk(count, dim=1)
        return self.head.votes(cosines, self.head.labels[places], count)


class ExportedNetwork(nn.Module):
    """Maps images (N, S, S, C) of bytes to the tensors of ``outputs``: normalisation, network, calibration; float32.

    Raises ConfigError, in one sentence, for a model whose answers are not a function of one image.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, model: Model) -> None:
        super().__init__()
        described, strategy = model.description, model.strategy
        check_exportable(described)
        self.register_buffer("scale", strategy.pixel_scale.detach().clone().float().cpu())
        self.register_buffer("shift", strategy.pixel_shift.detach().clone().float().cpu())
        self.backbone = _plain(strategy.backbone)
        head = _plain(strategy.head)
        self.head = PlainNeighbours(head) if isinstance(head, NearestNeighbours) else head
        calibration = described.calibration
        self.parts = nn.ModuleList(
            CalibratedPart(name, task, names, calibration.get(name) or OutputCalibration())
            for name, task, names in outputs_of(described.output)
        )
        self.several = described.output.task == SEVERAL
        self.eval().requires_grad_(False)

    @property
    def outputs(self) -> list[NamedOutput]:
        """Return the outputs in order."""
        return [output for part in self.parts for output in part.outputs]  # type: ignore[union-attr]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the tensors of ``outputs``, for images (N, S, S, C) uint8."""
        x = images.permute(0, 3, 1, 2).to(self.scale.dtype).contiguous() * self.scale + self.shift
        values = self.head(self.backbone(x))
        return tuple(tensor for part, own in self.split(values) for tensor in part(own))

    def split(self, values: Tensor) -> Iterator[tuple[CalibratedPart, Tensor]]:
        """Yield each part of the answer with its outputs."""
        start = 0
        for part in self.parts:
            assert isinstance(part, CalibratedPart)
            stop = start + len(part.names)
            yield part, values[:, start:stop] if self.several else values
            start = stop


def check_exportable(described: ModelDescription) -> None:
    """Raise ConfigError for a model whose answers are not a function of one image of bytes."""
    given, inference = described.input, described.inference
    if given.decoder.builder != "image" or given.dtype != "uint8" or given.channels != 3:
        raise ConfigError("Only models of RGB images are exported; use this one with headstart predict.")
    if inference.batch_norm == "batch":
        raise ConfigError(
            "The model normalises each batch by itself (strategy.batch_norm=batch), so that an image has no answer of"
            " its own: train with batch_norm=adapt to export it."
        )
    if inference.test_views is not None:
        raise ConfigError(
            f"The run averages predictions over test_views={inference.test_views}, and an exported network sees one"
            " image: train with test_views=null, or export with --to safetensors."
        )


def _plain(module: Any) -> Any:
    """Return a copy in float32 on the CPU, contiguous."""
    return copy.deepcopy(module).cpu().float().to(memory_format=torch.contiguous_format).eval()


def square_of(model: Model, image: Undecoded) -> NDArray[np.uint8]:
    """Return an image as it enters the network, (S, S, 3): decoded, resized and cropped by Pillow."""
    decoder: Any = model.decoder
    return centre_crop(decoder(image), model.image_size).copy()


@torch.inference_mode()
def expected_answers(model: Model, network: ExportedNetwork, squares: NDArray[np.uint8]) -> Arrays:
    """Return the outputs by name that an exported network should give, computed by the strategy in float32."""
    strategy = model.strategy.float().cpu().eval()
    kept = kept_of(strategy.task, strategy(torch.from_numpy(squares).permute(0, 3, 1, 2)))
    pairs = [pair for part, own in network.split(kept) for pair in zip(part.outputs, part.expected(own), strict=True)]
    return {output.name: values for output, values in pairs}


def export_facts(model: Model, network: ExportedNetwork) -> dict[str, Any]:
    """Return what a program needs to know to use an exported network: sizes, resize, outputs."""
    decoder = model.decoder
    assert isinstance(decoder, Decoder)
    temperatures = {name: one.temperature for name, one in model.description.calibration.items() if one.temperature}
    return {
        "input": "images (N, H, W, 3), uint8, RGB, upright; those of a batch have one size",
        "image_size": model.image_size,
        "short_side": decoder.short_side,
        "resize": decoder.resize,
        "interpolation": decoder.interpolation,
        "task": model.description.output.task,
        "unit": model.description.output.primary.get("unit"),
        "temperature": temperatures,
        "outputs": [asdict(output) for output in network.outputs],
        "precision": "float32",
    }


def largest_differences(
    found: Mapping[str, NDArray[Any]], wanted: Arrays, gives: Mapping[str, str]
) -> dict[str, float]:
    """Return the largest difference of each output, relative for numbers; shares of values that differ for labels."""
    differences = {}
    for name, right in wanted.items():
        other = np.asarray(found[name])
        if gives[name] in ("label image", "labels"):
            differences[name] = float((other != right).mean())
            continue
        error = np.abs(other.astype(np.float64) - right).max()
        size = 1.0 if "probabilities" in gives[name] else max(1e-12, float(np.abs(right).max()))
        differences[name] = float(error / size)
    return differences
