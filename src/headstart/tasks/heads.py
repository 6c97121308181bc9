"""Make new output layers (linear, a small network, cosine), choose their input and set their first weights."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.backbones import Backbone, read_from
from headstart.errors import ConfigError, nearest
from headstart.seeds import stream
from headstart.settings.leaf_table import check_parameters
from headstart.settings.leaves import as_list
from headstart.solvers.centroids import class_means, nearest_mean

INITS = ("default", "zeros", "gaussian", "class_means")
GAUSSIAN_STD = 0.01


class LinearLayer(nn.Linear):
    """Dropout, then a linear map from features (N, D) to logits (N, classes)."""

    def __init__(self, feature_dim: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__(feature_dim, classes)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) of features (N, D)."""
        return super().forward(F.dropout(x, self.dropout, self.training) if self.dropout else x)


class CosineLayer(nn.Module):
    """Cosine to one vector per class, times a learned scale (Gidaris & Komodakis 2018, arXiv:1804.09458)."""

    def __init__(self, feature_dim: int, classes: int, dropout: float = 0.0, scale: float = 20.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, feature_dim) / feature_dim**0.5)
        self.scale = nn.Parameter(torch.tensor(float(scale)))
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) of features (N, D)."""
        x = F.dropout(x, self.dropout, self.training) if self.dropout else x
        return self.scale * F.linear(F.normalize(x, dim=1), F.normalize(self.weight, dim=1))


class LinearHead:
    """Settings of a linear head and of its input.

    ``stages`` names the stages whose pooled outputs are joined; None is the last stage. ``pooling`` is None for the
    backbone's own pooling, or "avg", "max", "avgmax", or "gem" with exponent ``gem_p``. ``init`` sets the first weights
    of the output layer: "default" (uniform, as in PyTorch), "zeros", "gaussian" (deviation 0.01), or "class_means" of
    the training features.
    """

    kind = "linear"
    by_pixel = False  # whether the head has outputs for each pixel
    inits: tuple[str, ...] = INITS

    def __init__(
        self,
        stages: Sequence[str] | None = None,
        pooling: str | None = None,
        gem_p: float = 3.0,
        dropout: float = 0.0,
        init: str = "default",
    ) -> None:
        check_parameters("head", locals())
        if init not in self.inits:
            raise ConfigError(f"head.init={init} does not exist for head={self.kind}.{nearest(init, self.inits)}")
        self.stages = None if stages is None else as_list(stages)
        self.pooling, self.gem_p, self.dropout, self.init = pooling, gem_p, dropout, init

    def read(self, backbone: Backbone) -> Backbone:
        """Return the backbone with this head's stages and pooling."""
        return read_from(backbone, self.stages, self.pooling, self.gem_p)

    def make(self, feature_dim: int, classes: int, seed: int) -> nn.Module:
        """Return the layers; only the seed determines their weights. ``start_head`` sets "class_means" later."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream("head", seed))
            head = self._layers(feature_dim, classes)
            if self.init == "default":
                return head
            weight, bias = output_layer(head).weight, getattr(output_layer(head), "bias", None)
            with torch.no_grad():
                if self.init == "gaussian":
                    weight.normal_(std=GAUSSIAN_STD)
                if self.init == "zeros":
                    weight.zero_()
                if self.init in ("gaussian", "zeros") and bias is not None:
                    bias.zero_()
        return head

    def _layers(self, feature_dim: int, classes: int) -> nn.Module:
        return LinearLayer(feature_dim, classes, self.dropout)


class MlpHead(LinearHead):
    """Settings of a head with one or two hidden layers, each with ReLU and dropout."""

    kind = "mlp"
    inits = ("default", "zeros", "gaussian")

    def __init__(self, hidden: Sequence[int] = (256,), dropout: float = 0.5, **kwargs: Any) -> None:
        super().__init__(dropout=dropout, **kwargs)
        check_parameters("head", locals())
        self.hidden = as_list(hidden)

    def _layers(self, feature_dim: int, classes: int) -> nn.Module:
        widths = [feature_dim, *self.hidden]
        layers: list[nn.Module] = []
        for number in range(len(self.hidden)):
            layers += [LinearLayer(widths[number], widths[number + 1], self.dropout if number else 0.0), nn.ReLU()]
        return nn.Sequential(*layers, LinearLayer(widths[-1], classes, self.dropout))


class CosineHead(LinearHead):
    """Settings of a head that gives the cosine to one vector per class; the length of features has no effect."""

    kind = "cosine"
    inits = ("default", "gaussian", "class_means")

    def __init__(self, scale: float = 20.0, **kwargs: object) -> None:
        super().__init__(**kwargs)  # type: ignore[arg-type]
        check_parameters("head", locals())
        self.scale = scale

    def _layers(self, feature_dim: int, classes: int) -> nn.Module:
        return CosineLayer(feature_dim, classes, self.dropout, self.scale)


class Rescaled(nn.Module):
    """Output layers that learn standardised targets; a fixed layer then computes ``mean + deviation * output``."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, layers: nn.Module, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.layers = layers
        self.register_buffer("mean", mean)  # () or (K,)
        self.register_buffer("deviation", deviation)

    def forward(self, x: Tensor) -> Tensor:
        """Return numbers (N, K, ...) in the unit of the targets, from features (N, D)."""
        return self.mean + self.deviation * self.layers(x)


class JoinedHeads(nn.Module):
    """The heads of several named outputs. Head i gives ``widths[i]`` predictions, and perhaps values for its loss.

    The joined columns are the predictions of all heads, then the values for their losses. If the weights of the losses
    are ``learned``, the last columns are the logarithms of the variances of the outputs, the same for each image.
    """

    def __init__(self, heads: Sequence[nn.Module], widths: Sequence[int], learned: bool = False) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)
        self.widths = list(widths)
        self.log_variances = nn.Parameter(torch.zeros(len(heads))) if learned else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs (N, K) of features (N, D)."""
        each = [head(x) for head in self.heads]
        mains = [columns[:, :width] for columns, width in zip(each, self.widths, strict=True)]
        rests = [columns[:, width:] for columns, width in zip(each, self.widths, strict=True)]
        logs = [] if self.log_variances is None else [self.log_variances.expand(x.shape[0], -1)]
        return torch.cat([*mains, *rests, *logs], dim=1)


def put_linear(head: nn.Module, weight: Tensor, bias: Tensor) -> None:
    """Set the weights (K, D) and the bias (K,) of a linear head, so that it returns ``weight x + bias``."""
    if isinstance(head, JoinedHeads):
        parts = zip(head.heads, weight.split(head.widths), bias.split(head.widths), strict=True)
        for part, own_weight, own_bias in parts:
            put_linear(part, own_weight, own_bias)
        return
    if isinstance(head, Rescaled):
        put_linear(head.layers, weight / head.deviation.reshape(-1, 1), (bias - head.mean) / head.deviation)
        return
    assert isinstance(head, LinearLayer)
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)


def output_layer(head: nn.Module) -> LinearLayer | CosineLayer:
    """Return the layer of a head that computes the logits."""
    last = head[-1] if isinstance(head, nn.Sequential) else head
    assert isinstance(last, LinearLayer | CosineLayer)
    return last


def start_from_class_means(head: nn.Module, values: Tensor, targets: Tensor) -> None:
    """Set the weights of the output layer to the class means of features ``values`` (N, D) with targets (N,)."""
    layer = output_layer(head)
    classes = len(layer.weight)
    with torch.no_grad():
        if isinstance(layer, CosineLayer):
            layer.weight.copy_(F.normalize(class_means(values, targets, classes), dim=1))
        else:
            weight, bias = nearest_mean(values, targets, classes)
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
