"""Show where the evidence for a class is in an image, by Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.analysis.explain.drawing import LINE, PREDICTED, TITLE, TRUE, fitted, frame, percent, plain, title_lines
from headstart.analysis.explain.mistakes import ChosenMistakes
from headstart.analysis.explain.network import Rebuilt
from headstart.backbones import Backbone
from headstart.backbones.anatomy import anatomy
from headstart.backbones.readout import channels_last_dim
from headstart.errors import ConfigError, nearest
from headstart.kinds.class_predictions import ClassPredictions
from headstart.progress import counted
from headstart.solvers.neighbours import NearestNeighbours
from headstart.strategies import Strategy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 6
CAPTION = 6.5  # points
WIDTH = 1.35  # inches, of an image
FINE = 4  # places along a side of the smallest map that shows where the evidence is
HEAT = 0.6  # opacity of a map at its maximum
MOST_EXTRA = 8  # tokens without a place: class, distillation, registers
IN_WINDOWS = ("hiera",)  # networks that order tokens by windows, not by rows, below the last stage


@dataclass(frozen=True)
class StageMap:
    """A stage whose output is a map: ``side`` x ``side`` places with one vector each."""

    name: str
    number: int
    side: int
    kind: str  # "channels first", "channels last" or "tokens"
    extra: int = 0  # tokens in front that have no place

    def maps(self, output: Tensor) -> Tensor:
        """Return an output (N, C, H, W), (N, H, W, C) or (N, T, C) as (N, C, H, W)."""
        if self.kind == "tokens":
            return output[:, self.extra :].transpose(1, 2).unflatten(2, (self.side, self.side))
        return output.permute(0, 3, 1, 2) if self.kind == "channels last" else output


@dataclass(frozen=True)
class ClassMaps:
    """The evidence in each image for its predicted and its true class, at the places of a stage's map."""

    stage: StageMap
    predicted: NDArray[np.float32]  # (K, H, W), 0 or more
    true: NDArray[np.float32]  # (K, H, W)


@torch.no_grad()
def stage_maps(backbone: Backbone) -> list[StageMap]:
    """Return the stages whose output has more than one place, lowest first."""
    size = backbone.preprocessing.image_size
    x = backbone.example_input(2)  # batch norm needs two images
    found: list[StageMap] = []
    strides: dict[str, int | None] = {}
    for number, (name, stage) in enumerate(backbone.stages.items()):
        x = stage(x)
        shape = tuple(x.shape[1:])
        if len(shape) == 3:
            kind = "channels last" if channels_last_dim(shape) else "channels first"
            side = shape[0] if kind == "channels last" else shape[1]
            found.append(StageMap(name, number, side, kind))
        elif len(shape) == 2 and not (backbone.name.startswith(IN_WINDOWS) and number < len(backbone.stages) - 2):
            strides = strides or {part.name: part.stride for part in anatomy(backbone)}
            side = tokens_a_side(shape[0], size, strides[name])
            if side is not None:
                found.append(StageMap(name, number, side, "tokens", shape[0] - side**2))
    return [stage_map for stage_map in found if stage_map.side > 1]


def tokens_a_side(tokens: int, size: int, stride: int | None) -> int | None:
    """Return the number of tokens along a side of the image, or None if they form no square.

    ``size`` and ``stride`` are in pixels. The number of tokens is not enough: 9 tokens are 3 x 3, or a class token,
    four registers and 2 x 2.
    """
    sides = [math.isqrt(tokens)] if stride is None else [math.ceil(size / stride), size // stride]
    most = 0 if stride is None else MOST_EXTRA
    return next((side for side in sides if 0 <= tokens - side**2 <= most), None)


def find_stage(maps: Sequence[StageMap], backbone: Backbone, name: str) -> StageMap:
    """Return the map of the stage with this name. Raises ConfigError if the stage is missing or gives no map."""
    for found in maps:
        if found.name == name:
            return found
    names = [found.name for found in maps]
    if name not in backbone.stage_names:
        raise ConfigError(f"--stage {name}: {backbone.name} has no such stage.{nearest(name, names)}")
    raise ConfigError(
        f"--stage {name}: it gives no map at {backbone.preprocessing.image_size} pixels;"
        f" choose one of {', '.join(names) or 'a network with maps'}."
    )


def class_maps(
    strategy: Strategy, stage: StageMap, inputs: Tensor, classes: Tensor, rows: Sequence[int] | None = None
) -> tuple[Tensor, bool]:
    """Return maps (N, H, W), float32, and whether the scores depend on this stage's map at all.

    A map is ``relu(sum_k mean(dy / dA_k) A_k)``, equations 1 and 2 of the paper. A is the stage's output with K
    channels, y the class score before the softmax, and the mean is over places. ``inputs`` are as stored, (B, C, S, S),
    ``classes`` (N,). ``rows`` selects N images; the others only contribute to batch statistics.

    No hooks are needed, and the weights may be frozen, because the gradient is with respect to A only.
    """
    wanted = torch.arange(len(inputs)) if rows is None else torch.tensor(rows)
    with torch.enable_grad():
        output, features = split_pass(strategy, stage.number, inputs)
        scores = class_scores(strategy.head, features[wanted], classes)
        if strategy.batch_norm == "batch":  # each score needs its own gradient, as it depends on the other images
            gradients = torch.stack(
                [
                    torch.autograd.grad(score, output, retain_graph=True)[0][row]
                    for score, row in zip(scores, wanted, strict=True)
                ]
            )
        else:
            gradients = torch.autograd.grad(scores.sum(), output)[0][wanted]
    gradient, places = stage.maps(gradients).float(), stage.maps(output.detach()[wanted]).float()
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    return F.relu((weights * places).sum(dim=1)), bool(gradient.any())


def split_pass(strategy: Strategy, number: int, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the output of a stage as a leaf tensor, and the features (N, D) computed from it.

    If the head reads lower stages too, these are constants, so the derivative is partial.
    """
    backbone = strategy.backbone
    x, read = strategy.normalise(inputs), []
    output: Tensor | None = None
    for place, stage in enumerate(backbone.stages.values()):
        with torch.set_grad_enabled(place > number):
            x = stage(x)
        if place == number:
            output = x.detach().requires_grad_()
            x = output.clone()  # the next stage may change its input in place
        if place in backbone.taps:
            read.append(x)
    assert output is not None
    return output, backbone.pool(*read)


def class_scores(head: nn.Module, features: Tensor, classes: Tensor) -> Tensor:
    """Return the score (N,) of one class per image, before the softmax.

    The votes of nearest neighbours have no gradient. Their score is the logarithm of the class's votes if every
    training image voted: ``log sum exp(cosine / temperature)``.
    """
    if not isinstance(head, NearestNeighbours):
        return head(features).gather(1, classes[:, None]).squeeze(1)
    cosines = F.normalize(features.float(), dim=1) @ head.memory.T
    others = head.labels != classes[:, None]
    return (cosines / head.temperature).masked_fill(others, -torch.inf).logsumexp(dim=1)


def explain_classes(rebuilt: Rebuilt, chosen: ChosenMistakes, stage: str | None) -> ClassMaps:
    """Return class maps of the chosen images, without views, at a stage.

    The default is the last stage with at least 4 x 4 places, because 2 x 2 are too coarse, or else the last one with a
    map. Stages whose places the head does not read are skipped, such as the last one if the head reads only its class
    token. Raises ConfigError if ``stage`` gives no map or the head does not read its places.
    """
    backbone = rebuilt.strategy.backbone
    maps = stage_maps(backbone)
    if not maps:
        raise ConfigError(f"Grad-CAM: no stage of {backbone.name} gives a map at this image size.")
    fine, coarse = ([found for found in maps[::-1] if (found.side >= FINE) is wanted] for wanted in (True, False))
    candidates = [find_stage(maps, backbone, stage)] if stage is not None else [*fine, *coarse]
    for candidate in candidates:
        predicted, counts = _maps_at(rebuilt, candidate, chosen, rebuilt.predictions.predicted)
        if counts:
            true, _ = _maps_at(rebuilt, candidate, chosen, rebuilt.predictions.targets)
            return ClassMaps(candidate, predicted, true)
    if stage is not None:
        lower = [found.name for found in maps if found.number < candidates[0].number]
        raise ConfigError(
            f"--stage {stage}: the head does not read its places (it may read only a class token);"
            f" choose one of {', '.join(lower) or 'another network'}."
        )
    last = candidates[0]  # the scores depend on no stage: all weights are zero
    empty = np.zeros((len(chosen.rows), last.side, last.side), dtype=np.float32)
    return ClassMaps(last, empty, empty)


def _maps_at(
    rebuilt: Rebuilt, stage: StageMap, chosen: ChosenMistakes, labels: NDArray[np.int64]
) -> tuple[NDArray[np.float32], bool]:
    """Return maps of the chosen images for their labels, computed in the test pass's batches if batches matter."""
    positions = rebuilt.positions[chosen.rows]
    batches = list(rebuilt.batches()) if rebuilt.depends_on_batch else np.split(positions, range(8, len(positions), 8))
    maps = np.zeros((len(positions), stage.side, stage.side), dtype=np.float32)
    counts = False
    for batch in counted(batches, "Grad-CAM", len(batches), "batches"):
        here = np.flatnonzero(np.isin(positions, batch))
        if not len(here):
            continue
        rows = [int(np.flatnonzero(batch == positions[number])[0]) for number in here]
        classes = torch.from_numpy(labels[chosen.rows[here]]).to(rebuilt.device)
        found, any_slope = class_maps(rebuilt.strategy, stage, rebuilt.inputs(batch), classes, rows)
        maps[here] = found.cpu().numpy()
        counts |= any_slope
    return maps, counts


def draw_class_maps(
    predictions: ClassPredictions,
    chosen: ChosenMistakes,
    images: Sequence[NDArray[np.uint8]],
    found: ClassMaps,
    title: str,
) -> "Figure":
    """Draw a column per image: the image, the map of its predicted class, and that of its true class if different."""
    from matplotlib.figure import Figure

    count = len(chosen.rows)
    blocks = math.ceil(count / COLUMNS)
    columns = math.ceil(count / blocks)
    rows = 3 if chosen.wrong else 2
    width = max(WIDTH * columns + 0.3, 5.2)
    where = f"{found.stage.name} ({found.stage.side} x {found.stage.side} places)"
    heading = title_lines([f"Grad-CAM at {where}, each map scaled to its own maximum", title], width - 0.2)
    height = blocks * (rows * (WIDTH + 0.16) + 0.1) + 0.95 + LINE * (len(heading) - 2)
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.02, hspace=0.0)  # type: ignore[union-attr,call-arg]
    figure.suptitle(plain("\n".join(heading)), fontsize=TITLE)
    for block, part in enumerate(figure.subfigures(blocks, 1, squeeze=False).ravel()):
        axes = part.subplots(rows, columns, squeeze=False)
        for column in range(columns):
            number = block * columns + column
            if number < count:
                _draw_column(axes[:, column], predictions, int(chosen.rows[number]), number, images[number], found)
            else:
                for unused in axes[:, column]:
                    unused.set_axis_off()
    return figure


def _draw_column(
    axes: Sequence["Axes"],
    predictions: ClassPredictions,
    row: int,
    number: int,
    image: NDArray[np.uint8],
    found: ClassMaps,
) -> None:
    predicted, target = int(predictions.predicted[row]), int(predictions.targets[row])
    probabilities, names = predictions.probabilities[row], predictions.classes
    axes[0].imshow(image, interpolation="bicubic")
    frame(axes[0], "#7F7F7F")
    _word(axes[0], f"{number + 1}", "#333333")
    classes = (("predicted", predicted, PREDICTED, found.predicted), ("true", target, TRUE, found.true))
    for place, (word, label, colour, maps) in zip(axes[1:], classes, strict=False):
        overlay(place, image, maps[number])
        frame(place, colour)
        probability = f" {percent(probabilities[label])}"
        _word(place, fitted(names[label], WIDTH - 0.1, CAPTION, f"{word} ", probability), colour)


def overlay(axes: "Axes", image: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Draw the map over the grey image, scaled to its maximum; write "no evidence" on a map of zeros."""
    grey = image @ np.array([0.299, 0.587, 0.114])
    axes.imshow(grey, cmap="gray", vmin=0, vmax=255, interpolation="bicubic")
    if not values.max() > 0:
        axes.text(
            0.5, 0.5, "no evidence", transform=axes.transAxes, ha="center", va="center", fontsize=7,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 2},
        )  # fmt: skip
        return
    size = (image.shape[0], image.shape[1])
    fine = F.interpolate(torch.from_numpy(values / values.max())[None, None], size, mode="bilinear")[0, 0].numpy()
    axes.imshow(fine, cmap="plasma", vmin=0, vmax=1, alpha=HEAT * fine, interpolation="bilinear")


def _word(axes: "Axes", text: str, colour: str) -> None:
    axes.annotate(
        plain(text), (0, 1), (0, 2), xycoords="axes fraction", textcoords="offset points",
        ha="left", va="bottom", fontsize=CAPTION, color=colour, annotation_clip=False,
    )  # fmt: skip
