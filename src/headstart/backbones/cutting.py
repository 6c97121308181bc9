"""Cut any network into a chain of stages: trace its forward pass, and cut where a single tensor is passed on.

Tracing goes through the network's own ``forward`` and through containers; blocks stay whole. So operations between
blocks (class tokens, positions, reshapes) land in the right stage without knowledge of the architecture.
"""

import contextlib
import io
import operator
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from headstart.inputs.signature import RGB

DEPTHS = range(4)  # how deep containers other than nn.Sequential are opened, tried in this order
REFERENCE = 224  # pixels at which resolutions are compared: small images shrink to one pixel too early
BATCHES = (2, 3)  # two batch sizes show which values depend on the batch size

Stages = list[tuple[str, nn.Module]]
Values = dict[fx.Node, Any]


class CannotCutError(Exception):
    """The forward pass cannot be cut into a chain of at least four stages."""


@torch.no_grad()
def cut(network: nn.Module, size: int) -> tuple[Stages, nn.Module]:
    """Return named stages, lowest first, and a pooling without weights; their composition equals ``network``.

    ``network`` maps (N, C, size, size) to (N, D). It is left in train mode, and the stages hold its own modules. A new
    stage begins where the resolution falls. Where it never falls, as in vision transformers, the blocks are divided
    evenly. Resolutions are those of images of ``REFERENCE`` pixels, if the network takes them, so that stage names do
    not depend on ``size``. Raises CannotCutError.
    """
    network.eval()
    reason = ""
    for depth in DEPTHS:
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # fx prints its own traceback before it raises
                stages, pool = _Chain(network, size, depth).grouped()
                _check(network, stages, pool, size)
        except Exception as error:  # a traced forward pass may raise anything
            reason = reason or f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            continue
        network.train()
        return stages, pool
    raise CannotCutError(reason)


class _Chain:
    """A traced network and the places where it can be cut."""

    def __init__(self, network: nn.Module, size: int, depth: int) -> None:
        self.root = _Root(network)
        inputs = [_noise(batch, size) for batch in BATCHES]
        graph = _Tracer(inputs[0], depth).trace(self.root)
        _drop_unused(graph)
        _as_modules(self.root, graph)
        self.graph = graph
        self.nodes = list(graph.nodes)
        self.values = [_run(self.root, graph, x) for x in inputs]
        self.shapes = self._find_shapes(size)
        self.weights = self._find_weights()
        self.kept = [n for n in self.nodes if n.op != "output" and n not in self.weights and not self._is_known(n)]
        self.cuts = self._find_cuts()

    def _find_shapes(self, size: int) -> dict[fx.Node, tuple[int, ...]]:
        """Return the shapes of all tensors at the reference size, or at ``size`` if the network takes no other."""
        values = self.values[0]
        if size != REFERENCE:
            try:
                values = _run(self.root, self.graph, _noise(1, REFERENCE))
            except Exception:  # fixed positions or hard-coded shapes
                values = self.values[0]
        return {node: tuple(value.shape) for node, value in values.items() if isinstance(value, Tensor)}

    def value(self, node: fx.Node) -> Any:
        """Return the node's value for the first batch."""
        return self.values[0][node]

    def _find_weights(self) -> set[fx.Node]:
        """Return parameters, buffers, and values computed only from them; each stage computes its own copy."""
        found: set[fx.Node] = set()
        for node in self.nodes:
            inputs = [n for n in node.all_input_nodes if not self._is_known(n)]
            if node.op not in ("placeholder", "output") and not self._is_known(node) and found.issuperset(inputs):
                found.add(node)
        return found

    def _is_known(self, node: fx.Node) -> bool:
        """Return whether the value needs no computing: a constant, the batch size, or a shape."""
        return node.op != "output" and (self._is_constant(node) or self._is_batch_size(node) or self._is_shape(node))

    def _is_constant(self, node: fx.Node) -> bool:
        one, other = (values[node] for values in self.values)
        return _is_plain(one) and one == other

    def _is_batch_size(self, node: fx.Node) -> bool:
        return tuple(values[node] for values in self.values) == BATCHES if _is_plain(self.value(node)) else False

    def _is_shape(self, node: fx.Node) -> bool:
        """Return whether the node is a shape of which only single known lengths are used."""
        takes = all(user.target is operator.getitem and self._is_known(user) for user in node.users)
        return isinstance(self.value(node), torch.Size) and takes

    def _find_cuts(self) -> list[fx.Node]:
        """Return, in order, the nodes after which no earlier value is needed; the last one gives the features."""
        place = {node: number for number, node in enumerate(self.kept)}
        last_use = dict.fromkeys(self.kept, -1)
        for node in self.kept:
            for needed in self._needs(node):
                last_use[needed] = max(last_use[needed], place[node])
        (result,) = next(node for node in self.nodes if node.op == "output").all_input_nodes
        last_use[result] = len(self.kept)
        cuts, open_until = [], last_use[self.kept[0]]  # the last use of any earlier node
        for node in self.kept[1:]:
            if open_until <= place[node] and isinstance(self.value(node), Tensor) and last_use[node] > place[node]:
                cuts.append(node)
            open_until = max(open_until, last_use[node])
        return cuts[: cuts.index(result) + 1]

    def _needs(self, node: fx.Node) -> list[fx.Node]:
        """Return the kept nodes that a node uses, directly or through weights."""
        found: list[fx.Node] = []
        for needed in node.all_input_nodes:
            if needed in self.weights:
                found += self._needs(needed)
            elif not self._is_known(needed):
                found.append(needed)
        return found

    def grouped(self) -> tuple[Stages, nn.Module]:
        """Return stages, joined from the segments between cuts, and the pooling."""
        body = [node for node in self.cuts if not _is_pooled(self.shapes[node])]
        groups: list[list[fx.Node]] = []
        for node in body:
            if not groups or _positions(self.shapes[node]) < _positions(self.shapes[groups[-1][-1]]):
                groups.append([])
            groups[-1].append(node)
        if len(body) < 4:
            raise CannotCutError(f"its forward pass has {len(body)} places to cut, which is too few")
        if len(groups) < 4:  # one resolution throughout: a stem, then quarters
            bounds = [1 + round(quarter * (len(body) - 1) / 4) for quarter in range(5)]
            groups = [body[:1], *(body[a:b] for a, b in zip(bounds[:-1], bounds[1:], strict=True))]
        ends = [group[-1] for group in groups if group]
        names = ["stem", *(f"stage{number}" for number in range(1, len(ends)))]
        starts = [self.kept[0], *ends[:-1]]
        owned: set[int] = set()
        stages: Stages = [(name, self._segment(a, b, owned)) for name, a, b in zip(names, starts, ends, strict=True)]
        if ends[-1] is self.cuts[-1]:
            return stages, nn.Identity()
        tail = self._segment(ends[-1], self.cuts[-1], owned)
        if any(True for _ in tail.parameters()):
            return [*stages, ("neck", tail)], nn.Identity()
        return stages, tail

    def _segment(self, start: fx.Node, end: fx.Node, owned: set[int]) -> fx.GraphModule:
        """Return a module from ``start``'s value to ``end``'s; buffers owned by earlier segments are copied."""
        graph = fx.Graph()
        copies: dict[fx.Node, Any] = {start: graph.placeholder("x")}

        def copy(node: fx.Node) -> Any:
            if node in copies:
                return copies[node]
            if self._is_constant(node):
                return self.value(node)
            if self._is_batch_size(node):
                return graph.call_method("size", (copies[start], 0))
            copies[node] = graph.node_copy(node, copy)
            return copies[node]

        first, last = self.kept.index(start), self.kept.index(end)
        for node in self.kept[first + 1 : last + 1]:
            copy(node)
        graph.output(copies[end])
        module = fx.GraphModule(self.root, graph)
        _own_buffers(module, owned)
        return module


class _Root(nn.Module):
    """A network called with images only, so that its optional arguments are not traced as inputs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, S, S) to (N, D)."""
        return self.network(x)


class _Traced(fx.Proxy):
    """A traced value that knows its concrete value, so that code can branch and compute on it."""

    value: Any

    def __int__(self) -> int:
        return int(self.value)

    def __index__(self) -> int:
        return int(self.value)

    def __float__(self) -> float:
        return float(self.value)

    def __len__(self) -> int:
        return len(self.value)


class _Tracer(fx.Tracer):
    """Trace with real images; blocks, and all modules that own weights, stay whole."""

    def __init__(self, x: Tensor, depth: int) -> None:
        super().__init__()
        self.x, self.depth = x, depth
        self.values: Values = {}
        self.computing = False  # True while values are computed; nothing is traced then

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether to keep a module whole; the network, sequences, and containers up to ``depth`` are opened."""
        assert isinstance(self.root, _Root)
        if m is self.root.network or type(m).forward is nn.Sequential.forward:
            return False
        depth = sum(not part.isdigit() for part in module_qualified_name.split(".")) - 1
        tensors = [*m.parameters(recurse=False), *m.buffers(recurse=False)]
        return depth > self.depth or bool(tensors) or next(m.children(), None) is None

    def proxy(self, node: fx.Node) -> "_Traced":
        """Return a proxy that knows its value."""
        return _Traced(node, self)

    def create_proxy(self, *args: Any, **kwargs: Any) -> Any:
        """Compute each value as soon as it is traced."""
        proxy: Any = super().create_proxy(*args, **kwargs)
        self.computing = True
        try:
            proxy.value = _compute(self.root, proxy.node, self.values, self.x)
        finally:
            self.computing = False
        return proxy

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run modules without tracing while values are computed."""
        return forward(*args, **kwargs) if self.computing else super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """Return plain attributes while values are computed."""
        return attr_val if self.computing else super().getattr(attr, attr_val, parameter_proxy_cache)

    def to_bool(self, obj: fx.Proxy) -> bool:
        """Take branches as the traced image does."""
        return bool(self.values[obj.node])

    def iter(self, obj: Any) -> Iterator[Any]:
        """Unpack a tuple into its traced entries."""
        return iter([obj[number] for number in range(len(self.values[obj.node]))])


def _compute(root: nn.Module, node: fx.Node, values: Values, x: Tensor) -> Any:
    """Return the value of a node and store it in ``values``."""

    def known(needed: fx.Node) -> Any:
        return values[needed] if needed in values else _compute(root, needed, values, x)

    args, kwargs = fx.node.map_arg((node.args, dict(node.kwargs)), known)
    target: Any = node.target
    if node.op == "placeholder":
        values[node] = x
    elif node.op == "get_attr":
        values[node] = operator.attrgetter(target)(root)
    elif node.op == "call_function":
        values[node] = target(*args, **kwargs)
    elif node.op == "call_method":
        values[node] = getattr(args[0], target)(*args[1:], **kwargs)
    elif node.op == "call_module":
        values[node] = root.get_submodule(target)(*args, **kwargs)
    else:
        values[node] = args[0]
    return values[node]


def _run(root: nn.Module, graph: fx.Graph, x: Tensor) -> Values:
    values: Values = {}
    for node in graph.nodes:
        _compute(root, node, values, x)
    return values


def _drop_unused(graph: fx.Graph) -> None:
    for node in reversed(list(graph.nodes)):
        in_place = node.target is operator.setitem or (node.op == "call_method" and str(node.target).endswith("_"))
        if not node.users and not in_place and node.op not in ("placeholder", "output"):
            graph.erase_node(node)


def _as_modules(root: nn.Module, graph: fx.Graph) -> None:
    """Replace functional dropout, which would keep its traced mode, by modules, which have modes."""
    for number, node in enumerate(list(graph.nodes)):
        if node.target is F.dropout:
            rate = node.args[1] if len(node.args) > 1 else node.kwargs.get("p", 0.5)
            root.add_module(f"dropout{number}", nn.Dropout(float(rate)))
            with graph.inserting_before(node):
                node.replace_all_uses_with(graph.call_module(f"dropout{number}", (node.args[0],)))
            graph.erase_node(node)


def _own_buffers(module: nn.Module, owned: set[int]) -> None:
    """Copy constants that several stages use, such as rotary positions, so that each stage owns its own."""
    for part in module.modules():
        for name, buffer in list(part.named_buffers(recurse=False)):
            if id(buffer) in owned:
                setattr(part, name, buffer.clone())
            owned.add(id(getattr(part, name)))


def _check(network: nn.Module, stages: Stages, pool: nn.Module, size: int) -> None:
    chain = nn.Sequential(*(stage for _, stage in stages), pool)
    x = _noise(max(BATCHES) + 1, size)  # another batch size: the traced one must not be baked in
    for training in (False, True):
        if not torch.allclose(_outcome(chain, x, training), _outcome(network, x, training), rtol=1e-4, atol=1e-5):
            raise CannotCutError(f"its stages do not reproduce its output in {'train' if training else 'eval'} mode")
    parts = [id(parameter) for _, stage in stages for parameter in stage.parameters()]
    if len(stages) < 4:
        raise CannotCutError(f"it has only {len(stages)} distinct stages")
    if len(parts) != len(set(parts)) or any(id(parameter) not in set(parts) for parameter in network.parameters()):
        raise CannotCutError("a weight is used in two stages, or in none")


def _outcome(network: nn.Module, x: Tensor, training: bool) -> Tensor:
    """Run one forward pass from a fixed random state; restore the statistics that it changes."""
    kept = [(buffer, buffer.clone()) for buffer in network.buffers()]
    network.train(training)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        y = network(x)
    for buffer, value in kept:
        buffer.copy_(value)
    network.eval()
    return y


def _noise(batch: int, size: int) -> Tensor:
    return torch.randn(batch, RGB.channels, size, size, generator=torch.Generator().manual_seed(batch))


def _is_plain(value: Any) -> bool:
    """Return whether the value is a number, string, dtype or device, or a tuple of them."""
    if isinstance(value, tuple | list):
        return all(_is_plain(entry) for entry in value)
    return value is None or isinstance(value, bool | int | float | str | torch.dtype | torch.device)


def _is_pooled(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 or (len(shape) == 4 and shape[2:] == (1, 1))


def _positions(shape: tuple[int, ...]) -> int:
    """Return the number of positions at which a tensor of this shape has a feature vector."""
    if len(shape) == 4:
        channels_last = shape[1] == shape[2] != shape[3]
        return shape[1] * shape[2] if channels_last else shape[2] * shape[3]
    return shape[1] if len(shape) == 3 else 1
