"""A backbone: a network without its classifier, cut into named stages."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from headstart.errors import ConfigError
from headstart.inputs.signature import RGB, Signature


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing that the weights were trained with."""

    image_size: int  # pixels, the side of the square input
    mean: tuple[float, ...]  # per channel, pixels scaled to [0, 1]
    std: tuple[float, ...]
    interpolation: str  # "bilinear" or "bicubic"
    crop_fraction: float  # side of the centre crop over the short side after resizing

    @property
    def channels(self) -> int:
        """Return the number of channels that the first layer takes."""
        return len(self.mean)


@dataclass(frozen=True)
class WeightsInfo:
    """The origin of the weights and how they fit, for the run record."""

    name: str | None = None
    sha256: str | None = None
    source: str | None = None
    matched: float | None = None  # fraction of the backbone's tensors that the file filled
    missing: tuple[str, ...] = ()  # tensors that the file did not fill
    taken: str | None = None  # sub-dictionary and prefix in the file
    changed: tuple[str, ...] = ()  # changes made to fit, such as resized positions
    unused: tuple[str, ...] = ()  # unused parts of the file, besides its classifier


class Backbone(nn.Module):
    """Stages from the input upward, then a pooling to one feature vector.

    Every parameter and buffer belongs to exactly one stage; the pooling has none. ``pool`` takes the outputs of the
    stages numbered ``taps``, in rising order and ending with the last stage. By default only the last stage is tapped;
    then ``pool(stages(x))`` is the penultimate output of the original network.

    ``signature`` says what the data set gives. ``bottleneck`` has weight and bias of a layer that features may be read
    from, if they are known before ``weights`` are read again.
    """

    bottleneck: tuple[Tensor, Tensor] | None = None

    def __init__(
        self,
        name: str,
        stages: Sequence[tuple[str, nn.Module]],
        pool: nn.Module,
        preprocessing: Preprocessing,
        weights: WeightsInfo,
        taps: Sequence[int] | None = None,
        signature: Signature = RGB,
    ) -> None:
        super().__init__()
        self.name = name
        self.stages = nn.ModuleDict(dict(stages))
        self.pool = pool
        self.preprocessing = preprocessing
        self.weights, self.signature = weights, signature
        self.taps = tuple(taps) if taps is not None else (len(self.stages) - 1,)
        self.feature_dim = self._dry_run()

    def take_inputs(self, signature: Signature) -> None:
        """Take the items of a data set; the first layer gets as many channels as they have (``adapted_channels``)."""
        self.signature, known = signature, self.preprocessing.channels
        if signature.channels == known:
            return
        layer = next((m for m in self.modules() if isinstance(m, nn.Conv2d) and m.in_channels == known), None)
        if layer is None or layer.groups != 1:
            raise ConfigError(f"{self.name} has no first convolution for items of {signature.channels} channels.")
        layer.weight = nn.Parameter(adapted_channels(layer.weight.detach(), signature.channels))
        layer.in_channels = signature.channels

    @property
    def stage_names(self) -> list[str]:
        """Return the names of the stages, lowest first."""
        return list(self.stages)

    def example_input(self, batch: int = 1) -> Tensor:
        """Return zeros (N, C, S, S) as normalised items, with the type and device of the weights."""
        size, weight = self.preprocessing.image_size, next(self.parameters(), torch.zeros(0))
        shape = (batch, self.signature.channels, size, size)
        return torch.zeros(shape, dtype=weight.dtype, device=weight.device)

    def forward_stages(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Run stages ``start`` to ``stop`` (exclusive), without the pooling."""
        for stage in list(self.stages.values())[start:stop]:
            x = stage(x)
        return x

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Return features (N, feature_dim) of the input of stage ``start``; for 0, normalised items (N, C, S, S)."""
        return read(list(self.stages.values()), self.taps, self.pool, x, start)

    @torch.no_grad()
    def output_shapes(self) -> list[tuple[int, ...]]:
        """Return the shape of each stage's output for one image, without the batch."""
        was_training = self.training
        self.eval()
        x, shapes = self.example_input(), []
        for stage in self.stages.values():
            x = stage(x)
            shapes.append(tuple(x.shape[1:]))
        self.train(was_training)
        return shapes

    @torch.no_grad()
    def _dry_run(self) -> int:
        size = self.preprocessing.image_size
        was_training = self.training
        self.eval()
        try:
            features = self(self.example_input())
        except (RuntimeError, AssertionError, ValueError) as error:
            reason = (str(error).splitlines() or ["no reason given"])[0]
            raise ConfigError(
                f"{self.name} cannot take images of {size} x {size} pixels ({reason});"
                " choose another dataset.image_size, such as 224."
            ) from error
        finally:
            self.train(was_training)
        if features.ndim != 2:
            raise ConfigError(f"{self.name} does not end in one feature vector per image.")
        return int(features.shape[1])


def adapted_channels(weight: Tensor, channels: int) -> Tensor:
    """Return weights (K, channels, H, W) of a first layer, from learned ones (K, C, H, W).

    Further channels repeat the learned ones in order, and copies share their weight. Fewer channels add them up. So
    items whose channels are all alike give the same output as before, if the learned channels have equal statistics.
    """
    known = weight.shape[1]
    adapted = weight.new_zeros(len(weight), channels, *weight.shape[2:])
    for channel in range(max(known, channels)):
        copies = len(range(channel % known, max(known, channels), known))
        adapted[:, channel % channels] += weight[:, channel % known] / copies
    return adapted


def read(stages: Sequence[nn.Module], taps: Sequence[int], pool: nn.Module, x: Tensor, start: int = 0) -> Tensor:
    """Run stages from ``start`` on and pool the outputs of those in ``taps``: features (N, D).

    ``x`` is the input of stage ``start``, that is, the output of the stage below, which may be the lowest tap.
    """
    if taps[0] < start - 1:
        raise ValueError(f"The output of stage {taps[0]} is needed, but the pass starts at stage {start}.")
    outputs = [x] if taps[0] == start - 1 else []
    for number in range(start, len(stages)):
        x = stages[number](x)
        if number in taps:
            outputs.append(x)
    return pool(*outputs)
