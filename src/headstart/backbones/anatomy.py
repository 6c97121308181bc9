"""Measure a backbone: output, stride, receptive field, parameters and multiply-adds of each stage."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.weak import WeakTensorKeyDictionary

from headstart.backbones.backbone import Backbone


@dataclass(frozen=True)
class StageAnatomy:
    """The measures of one stage, or of the pooling, for one image."""

    name: str
    output: tuple[int, ...]  # shape without the batch, such as (256, 56, 56)
    stride: int | None  # pixels between neighbouring units of the map; None: no map
    receptive_field: int | None  # side in pixels of the square that a unit depends on; None: the whole image
    parameters: int
    multiply_adds: int


@torch.no_grad()
def anatomy(backbone: Backbone) -> list[StageAnatomy]:
    """Return the anatomy of each stage, lowest first, then of the pooling unless it is the identity.

    It is measured in eval mode on one image of ``preprocessing.image_size``. Modes are restored, and no hooks remain.

    **Multiply-adds** are half of the floating-point operations that PyTorch counts in convolutions and matrix products
    (``FlopCounterMode``). Normalisation, activation and pooling are left out, as in the literature.

    **Stride** and **receptive field** follow the textbook definition (Araujo, Norris & Sim 2019, "Computing receptive
    fields of convolutional neural networks", Distill). They hold for the middle unit of the map, along its row, and
    ignore the image border. Every operation of the forward pass is followed to find how far each value reaches to the
    left and right, so branches, dilation and Swin's shifted windows count correctly. The field is the whole image after
    an operation that gives all positions the same reach (global pooling, attention among all tokens, a linear layer on
    a flattened map), for an output without a map, and after an unknown operation.

    A value that is computed from the whole image but only scales a map's channels (squeeze-and-excitation,
    normalisation statistics) counts as a weight: its own reach is ignored.
    """
    modes = [(module, module.training) for module in backbone.modules()]
    backbone.eval()
    try:
        return list(_anatomies(backbone))
    finally:
        for module, training in modes:
            module.training = training


def _anatomies(backbone: Backbone) -> Iterator[StageAnatomy]:
    x = backbone.example_input()
    reach, read = _Reach(x), []
    for number, (name, stage) in enumerate(backbone.stages.items()):
        x, measured = _anatomy(name, stage, reach, [x])
        read += [x] if number in backbone.taps else []
        yield measured
    if not isinstance(backbone.pool, nn.Identity):
        yield _anatomy("pooling", backbone.pool, reach, read)[1]


def _anatomy(name: str, module: nn.Module, reach: "_Reach", inputs: list[Tensor]) -> tuple[Tensor, StageAnatomy]:
    """Return the module's output and its anatomy."""
    with _plain_attention(), reach, FlopCounterMode(display=False) as counter:
        x = module(*inputs)
    return x, StageAnatomy(
        name=name,
        output=tuple(x.shape[1:]),
        stride=reach.stride(x) if x.ndim > 2 else None,
        receptive_field=reach.receptive_field(x) if x.ndim > 2 else None,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        multiply_adds=counter.get_total_flops() // 2,
    )


@contextlib.contextmanager
def _plain_attention() -> Iterator[None]:
    """Run attention as matrix products, as fused kernels can be neither counted nor followed."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


# --- the pixels that each value depends on


@dataclass(frozen=True)
class _Field:
    """The pixels that each value of a tensor depends on, along one row: three tensors of its shape.

    A value at ``place`` depends on pixels ``-left`` to ``right``. -inf means no pixel, as for weights; +inf all pixels.
    """

    left: Tensor
    right: Tensor
    place: Tensor
    jump: float  # pixels between units, needed where a map of one column cannot show it

    def is_even(self) -> bool:
        """Return whether all values depend on the same pixels."""
        return _same(self.left) and _same(self.right)

    def is_everywhere(self) -> bool:
        """Return whether every value reaches all units."""
        places = self.place[self.place.isfinite()]
        if not len(places):
            return False
        return bool(self.left.amin() >= -places.amin()) and bool(self.right.amin() >= places.amax())

    def is_weight(self) -> bool:
        """Return whether this depends on the whole image and is the same at all places."""
        return bool(self.left.amin() == torch.inf) and _same(self.place)

    def each(self, change: Callable[[Tensor], Tensor]) -> "_Field":
        """Return the field with the same change applied to all three tensors."""
        return replace(self, left=change(self.left), right=change(self.right), place=change(self.place))

    def everywhere(self) -> "_Field":
        """Return the same units, depending on the whole image."""
        return replace(self, left=torch.full_like(self.left, torch.inf), right=torch.full_like(self.right, torch.inf))

    def step(self, dim: int) -> float:
        """Return the pixels from one unit to the next along a dimension: 0 along columns and over channels."""
        if self.place.shape[dim] == 1:
            return self.jump if dim == self.place.ndim - 1 else 0.0
        step = float((self.place.select(dim, 1) - self.place.select(dim, 0)).amax())
        return step if abs(step) < torch.inf else 0.0

    def padded(self, pads: Sequence[int]) -> "_Field":
        """Return the field with units added around the map at the same spacing; ``pads`` as for ``F.pad``."""
        field = self
        for number, (before, after) in enumerate(zip(pads[::2], pads[1::2], strict=True)):
            dim = self.place.ndim - 1 - number
            step = self.step(dim)
            field = replace(
                field,
                left=_extended(field.left, dim, before, after, -step),
                right=_extended(field.right, dim, before, after, step),
                place=_extended(field.place, dim, before, after, step),
            )
        return field


class _Reach(TorchDispatchMode):
    """Follow, operation by operation, the pixels that each value depends on.

    An operation that moves values moves their fields in the same way. One that combines values gives the furthest reach
    among them.
    """

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.fields = WeakTensorKeyDictionary()  # weak: deleted tensors are forgotten
        columns = torch.arange(image.shape[-1], device=image.device, dtype=torch.float32).expand(image.shape)
        self.fields[image] = _Field(-columns, columns, columns, 1.0)
        self.middle = (image.shape[-1] - 1) / 2

    def receptive_field(self, x: Tensor) -> int | None:
        """Return how many pixels of a row the unit nearest to the image's middle depends on; None for all."""
        field = self.fields.get(x)
        if field is None or not bool(field.place.isfinite().any()):
            return None
        aside = (field.place - self.middle).abs().nan_to_num(torch.inf)
        pixels = float((field.left + field.right + 1)[aside == aside.amin()].amax())
        return round(pixels) if abs(pixels) < torch.inf else None

    def stride(self, x: Tensor) -> int | None:
        """Return the pixels from one unit to the next; None where units have no place."""
        field = self.fields.get(x)
        places = torch.zeros(0) if field is None else field.place[field.place.isfinite()].unique()
        if field is None or not len(places):
            return None
        return round(float(places.diff().amin()) if len(places) > 1 else field.jump)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        results = [leaf for leaf in tree_flatten(result)[0] if isinstance(leaf, Tensor)]
        known = [self.fields[leaf] for leaf in tree_flatten((args, kwargs))[0] if self._knows(leaf)]
        name = func.overloadpacket.__name__.removesuffix("_")
        if known and results and not name.startswith("new_") and not name.endswith("_like"):
            if name in MOVES:
                fields = self._moved(func, args, kwargs)
            else:
                names = [argument.name for argument in func._schema.arguments]
                given = {**dict(zip(names, args, strict=False)), **kwargs}
                own = {key: self.fields[value] for key, value in given.items() if self._knows(value)}
                fields = [_rule(name, func, results[0])(_Call(name, given, own, known, results[0]))]
            for tensor, field in zip(results, fields, strict=False):
                self._keep(tensor, field)
        return result

    def _knows(self, leaf: Any) -> bool:
        return isinstance(leaf, Tensor) and leaf in self.fields

    def _keep(self, tensor: Tensor, field: _Field) -> None:
        """Store a field; writing into a part of a tensor makes the whole tensor depend on the whole image."""
        before, base = self.fields.get(tensor), tensor._base
        if before is not None and before is not field and base is not None and base in self.fields:
            self.fields[base] = self.fields[base].everywhere()
        self.fields[tensor] = field

    def _moved(self, func: Any, args: Any, kwargs: Any) -> list[_Field]:
        """Move the fields as their tensors are moved; other tensors, such as a class token, depend on no pixel."""
        jump = max(self.fields[leaf].jump for leaf in tree_flatten((args, kwargs))[0] if self._knows(leaf))
        if func.overloadpacket in RESHAPES:  # a field's memory layout may differ, so a view may fail
            func, args, kwargs = torch.ops.aten.reshape.default, args[:2], {}

        def side(name: str) -> list[Tensor]:
            def swap(leaf: Any) -> Any:
                if self._knows(leaf):
                    return getattr(self.fields[leaf], name)
                is_value = isinstance(leaf, Tensor) and leaf.is_floating_point()
                return torch.full_like(leaf, -torch.inf, dtype=torch.float32) if is_value else leaf

            return tree_flatten(func(*tree_map(swap, args), **tree_map(swap, kwargs)))[0]

        return [_Field(*sides, jump) for sides in zip(side("left"), side("right"), side("place"), strict=True)]


# --- rules: the field of an operation's result


@dataclass(frozen=True)
class _Call:
    """One executed operation."""

    name: str
    given: dict[str, Any]  # arguments by name; defaults that were not given are missing
    own: dict[str, _Field]  # the fields of those arguments that have one
    known: list[_Field]  # the fields of all inputs, in order
    out: Tensor  # its (first) result

    def pair(self, name: str, default: Any) -> tuple[int, int]:
        """Return an argument of one or two numbers as a pair for height and width."""
        value = self.given.get(name) or default
        numbers = [value] if isinstance(value, int) else list(value)
        return (numbers[0], numbers[-1])


Rule = Callable[[_Call], _Field]


def _rule(name: str, func: Any, out: Tensor) -> Rule:
    if name in RULES and not (name in MAPS_ONLY and out.ndim != 4):
        return RULES[name]
    return _combined if name in POINTWISE or torch.Tag.pointwise in func.tags else _unknown


def _unknown(call: _Call) -> _Field:
    """Return the whole image; units keep their places if the shape is unchanged."""
    field = call.known[0]
    if field.place.shape != call.out.shape:
        nowhere = torch.full(call.out.shape, torch.nan, device=field.place.device)
        field = _Field(nowhere, nowhere, nowhere, field.jump)
    return field.everywhere()


def _combined(call: _Call) -> _Field:
    """Combine values one by one; a factor that is the same everywhere counts as a weight."""
    fields, shape = call.known, call.out.shape
    if len(fields) > 1 and call.name in ("mul", "div"):
        fields = [field for field in fields if not field.is_weight()] or fields
    if len(fields) == 1 and fields[0].place.shape == shape:
        return fields[0]

    def furthest(tensors: list[Tensor]) -> Tensor:
        return reduce(torch.maximum, [tensor.broadcast_to(shape) for tensor in tensors])

    whole = [field for field in fields if field.place.shape == shape] or fields
    return _Field(
        furthest([field.left for field in fields]),
        furthest([field.right for field in fields]),
        furthest([field.place for field in whole]),
        max(field.jump for field in fields),
    )


def _padded(call: _Call) -> _Field:
    return call.known[0].padded(call.given["pad"])


def _normalised(call: _Call) -> _Field:
    """Return the field unchanged: statistics count as weights."""
    return call.known[0]


def _layer_normalised(call: _Call) -> _Field:
    """Combine the channels of each position; statistics over more dimensions count as weights."""
    return _mixed(call.known[0], [-1]) if len(call.given["normalized_shape"]) == 1 else call.known[0]


def _convolved(call: _Call) -> _Field:
    field, groups, channels = call.known[0], call.given["groups"], call.out.shape[1]
    if call.given.get("transposed"):
        return _unknown(call)
    field = field.each(lambda side: side.unflatten(1, (groups, -1)).amax(2))
    field = _slid(field, call, call.given["weight"].shape[2:])
    return field.each(lambda side: side[:, :, None].expand(-1, -1, channels // groups, -1, -1).flatten(1, 2))


def _pooled(call: _Call) -> _Field:
    return _slid(call.known[0], call, call.pair("kernel_size", 1))


def _slid(field: _Field, call: _Call, window: Sequence[int]) -> _Field:
    """Return the field of a window that slides over the map (N, C, H, W)."""
    kernel = (int(window[0]), int(window[1]))
    stride, dilation = call.pair("stride", kernel), call.pair("dilation", 1)
    pads: list[int] = []
    for dim in (1, 0):  # width first, as F.pad needs it
        before = call.pair("padding", 0)[dim]
        reached = (call.out.shape[2 + dim] - 1) * stride[dim] + (kernel[dim] - 1) * dilation[dim] + 1
        pads += [before, reached - before - field.place.shape[2 + dim]]
    around = field.padded(pads)

    def furthest(side: Tensor) -> Tensor:
        return F.max_pool2d(side, kernel, stride, dilation=dilation)

    place = (furthest(around.place) - furthest(-around.place)) / 2
    return _Field(furthest(around.left), furthest(around.right), place, field.step(3) * stride[1])


def _adapted(call: _Call) -> _Field:
    """Return the field of adaptive pooling of a map (N, C, H, W)."""
    field, size = call.known[0], (call.out.shape[2], call.out.shape[3])
    jump = field.step(3) * field.place.shape[3] / size[1]
    pooled = field.each(lambda side: F.adaptive_max_pool2d(side, size))
    return _settled(call, replace(pooled, place=F.adaptive_avg_pool2d(field.place, size), jump=jump))


def _multiplied(call: _Call) -> _Field:
    """Return the field of (.., rows, k) x (.., k, columns); rows give the units, or columns if all rows are equal."""
    shape, fields = call.out.shape, []
    for names, dim in ((FIRST, -1), (SECOND, -2)):
        fields += [_mixed(call.own[name], [dim], shape) for name in names[call.name] if name in call.own]
    fields += [call.own["self"]] if call.name in ("addmm", "baddbmm") and "self" in call.own else []
    places = [field.place for field in fields if not _same(field.place)] or [fields[0].place]
    return _settled(call, replace(_combined(replace(call, name="add", known=fields)), place=places[0]))


def _softmaxed(call: _Call) -> _Field:
    return _settled(call, _mixed(call.known[0], [call.given["dim"]]))


def _reduced(call: _Call) -> _Field:
    field = call.known[0]
    dims = call.given.get("dim")
    dims = list(range(field.place.ndim)) if dims is None or dims == [] else dims
    dims = [dims] if isinstance(dims, int) else list(dims)
    kept = field.each(lambda side: side.amax(dims, keepdim=True))
    return _settled(call, kept.each(lambda side: side.reshape(call.out.shape)))


def _mixed(field: _Field, dims: list[int], shape: Sequence[int] | None = None) -> _Field:
    """Return the field where each value combines all values along the dimensions."""
    return field.each(lambda side: side.amax(dims, keepdim=True).expand(shape or side.shape))


def _settled(call: _Call, field: _Field) -> _Field:
    """Return the whole image if mixing made all values reach equally far, or reach all units."""
    even = field.is_even() and not all(before.is_even() for before in call.known)
    full = even or (field.is_everywhere() and not all(before.is_everywhere() for before in call.known))
    return field.everywhere() if full else field


def _same(side: Tensor) -> bool:
    return bool(side.amin() == side.amax())


def _extended(side: Tensor, dim: int, before: int, after: int, step: float) -> Tensor:
    """Extend both ends of a dimension by ``step`` per entry, or shorten them."""
    size = side.shape[dim]
    index = torch.arange(-before, size + after, device=side.device)
    inside = index.clamp(0, size - 1)
    lengths = [-1 if number == dim else 1 for number in range(side.ndim)]
    return side.index_select(dim, inside) + step * (index - inside).view(lengths)


aten = torch.ops.aten
RESHAPES = (aten.view, aten._unsafe_view, aten._reshape_alias)
MOVES = frozenset(
    "alias cat detach expand flip gather index index_select lift_fresh permute pixel_shuffle pixel_unshuffle repeat"
    " reshape roll select slice split split_with_sizes squeeze stack t transpose unbind unfold unsafe_split unsqueeze"
    " upsample_nearest2d view _reshape_alias _unsafe_view".split()
)
POINTWISE = frozenset("clone copy hardswish masked_fill _to_copy".split())  # not tagged pointwise by PyTorch
MAPS_ONLY = frozenset(  # rules that hold only for (N, C, H, W)
    "convolution _convolution cudnn_convolution mkldnn_convolution max_pool2d_with_indices max_pool2d avg_pool2d"
    " _adaptive_avg_pool2d adaptive_max_pool2d".split()
)
FIRST = {"mm": ["self"], "bmm": ["self"], "addmm": ["mat1"], "baddbmm": ["batch1"]}
SECOND = {"mm": ["mat2"], "bmm": ["mat2"], "addmm": ["mat2"], "baddbmm": ["batch2"]}
NORMS = (
    "native_batch_norm cudnn_batch_norm miopen_batch_norm _native_batch_norm_legit"
    " _native_batch_norm_legit_no_training native_group_norm"
)
RULES: dict[str, Rule] = {
    **dict.fromkeys("convolution _convolution cudnn_convolution mkldnn_convolution".split(), _convolved),
    **dict.fromkeys("max_pool2d_with_indices max_pool2d avg_pool2d".split(), _pooled),
    **dict.fromkeys("_adaptive_avg_pool2d adaptive_max_pool2d".split(), _adapted),
    **dict.fromkeys("amax amin linalg_vector_norm logsumexp max mean std sum var".split(), _reduced),
    **dict.fromkeys(FIRST, _multiplied),
    **dict.fromkeys("_softmax _safe_softmax _log_softmax".split(), _softmaxed),
    **dict.fromkeys(NORMS.split(), _normalised),
    "native_layer_norm": _layer_normalised,
    "constant_pad_nd": _padded,
}
