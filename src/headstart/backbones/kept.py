"""Keep the last network of a process, and give copies of it, because most runs of a sweep start from the same one."""

import copy
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import fx, nn

from headstart.backbones.backbone import Backbone
from headstart.files import expanded

T = TypeVar("T", bound=nn.Module)
_LAST: dict[str, tuple[Any, Backbone]] = {}  # the seed and the untouched network, by all other settings


def copy_of_kept(settings: Mapping[str, Any], make: Callable[[], Backbone]) -> Backbone:
    """Return a copy of the network that ``make`` makes from the settings of a backbone; it is called once.

    The seed matters only to a network with tensors that no file fills.
    """
    weights = expanded(str(settings.get("weights")))
    state = weights.stat() if weights.is_file() else None
    others = {name: value for name, value in settings.items() if name != "seed"}
    key = json.dumps([others, state and [state.st_ino, state.st_mtime_ns, state.st_size]], sort_keys=True)
    seed, kept = _LAST.get(key, (None, None))
    if kept is None or (seed != settings.get("seed") and kept.weights.matched != 1):
        _LAST.clear()
        kept = make()
        _LAST[key] = (settings.get("seed"), kept)
    return twin_of(kept)


def twin_of(module: T, memo: dict[int, Any] | None = None) -> T:
    """Return a copy that shares no tensor and no layer with the module; ``copy.deepcopy`` takes three times as long.

    ``memo`` is that of ``deepcopy``. Copies share traced code, because no one changes it.
    """
    memo = {} if memo is None else memo
    if id(module) in memo:
        known: T = memo[id(module)]
        return known
    if isinstance(module, fx.GraphModule):
        memo[id(module.graph)] = module.graph
    elif hasattr(type(module), "__deepcopy__"):
        return copy.deepcopy(module, memo)
    twin = memo[id(module)] = object.__new__(type(module))
    for name, value in module.__dict__.items():
        if name == "_modules":
            own = {key: None if part is None else twin_of(part, memo) for key, part in value.items()}
        elif type(value) in (dict, OrderedDict) and not value:
            own = type(value)()
        else:
            own = copy.deepcopy(value, memo)
        twin.__dict__[name] = own
    return twin
