"""headstart: transfer-learning experiments on images, one strategy knob over one harness.

``import headstart as hs`` gives ``hs.train``, ``hs.sweep``, ``hs.run``, ``hs.runs`` and ``hs.compare``.
Each is loaded at its first use, so the import itself loads no library.
"""

TYPE_CHECKING = False  # type checkers take it as true; typing itself need not be imported
if TYPE_CHECKING:
    from typing import Any

    from headstart.api.comparing import compare
    from headstart.api.predicting import model
    from headstart.api.saved import SavedRun as Run
    from headstart.api.saved import run, runs
    from headstart.api.starting import sweep, train
    from headstart.errors import HeadstartError

__version__ = "0.1.0"
__all__ = ["HeadstartError", "Run", "__version__", "compare", "model", "run", "runs", "sweep", "train"]
_PLACES = {
    "HeadstartError": "errors.HeadstartError",
    "Run": "api.saved.SavedRun",
    "compare": "api.comparing.compare",
    "model": "api.predicting.model",
    "run": "api.saved.run",
    "runs": "api.saved.runs",
    "sweep": "api.starting.sweep",
    "train": "api.starting.train",
}


def __getattr__(name: str) -> "Any":
    """Load a public name at its first use."""
    if name not in _PLACES:
        raise AttributeError(f"module 'headstart' has no attribute '{name}'")
    from importlib import import_module

    module, _, attribute = f"headstart.{_PLACES[name]}".rpartition(".")
    return globals().setdefault(name, getattr(import_module(module), attribute))


def __dir__() -> list[str]:
    """Return the public names with those that are loaded."""
    return sorted({*globals(), *__all__})
