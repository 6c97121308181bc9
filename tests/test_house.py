"""Check the structure of the source: imports run one way, and no module, class or room grows too large."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "headstart"
BASE = "modules beside the rooms"
# Each room, lowest first: it imports the rooms before it, and none after it.
ROOMS = [
    BASE,
    "settings",
    "boundary",
    "solvers",
    "similarity",
    "statistics",
    "inputs",
    "targets",
    "kinds",
    "splits",
    "data",
    "masks",
    "backbones",
    "devices",
    "augmentations",
    "tasks",
    "features",
    "optimization",
    "strategies",
    "records",
    "pretraining",
    "trackers",
    "comparison",
    "figures",
    "reports",
    "sweeps",
    "robustness",
    "models",
    "exporting",
    "references",
    "training",
    "analysis",
    "advice",
    "commands",
    "inspecting",
    "api",
]
LARGEST_CLASS = 300  # lines
LARGEST_ROOM = 2600  # lines
LARGER_ROOMS = {"reports": 5500}


def modules() -> dict[str, Path]:
    """Return every module of headstart by its dotted name, "" for the package itself."""
    return {
        ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix("__init__").removesuffix("."): path
        for path in SOURCE.rglob("*.py")
    }


MODULES = modules()


def room_of(module: str) -> str:
    """Return the room of a module."""
    first = module.split(".")[0]
    return first if (SOURCE / first).is_dir() and first else BASE


def imported(module: str, when_loaded: bool = False) -> Iterator[str]:
    """Yield the modules of headstart that a module imports, or only those that it imports when it is loaded."""
    tree = ast.parse(MODULES[module].read_text())
    for node in _statements(tree) if when_loaded else ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "headstart":
            base = (node.module or "").removeprefix("headstart").lstrip(".")
            for alias in node.names:
                name = f"{base}.{alias.name}".lstrip(".")
                yield name if name in MODULES else base


def _statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """Yield the statements that run when a module is loaded, except those for type checkers."""
    for node in tree.body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node


# Words that begin a noun or a question, not an order.
NO_VERBS = "A All An Each Every How If In Its Mean No One The This To Two What Where Whether Which Why With".split()


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_docstring_of_a_function_starts_with_a_verb(module):
    """Such as "Return" or "Write"."""
    nodes = [node for node in ast.walk(ast.parse(MODULES[module].read_text())) if isinstance(node, ast.FunctionDef)]
    first = {node.name: text.split()[0] for node in nodes if (text := ast.get_docstring(node))}
    assert not {name: word for name, word in first.items() if word in NO_VERBS or not word[0].isupper()}


def test_every_room_is_listed():
    """A new folder needs a place in the order."""
    assert {room_of(module) for module in MODULES} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS[1:])
def test_a_room_imports_only_lower_rooms(room):
    """Imports inside functions and for type checkers count."""
    allowed = set(ROOMS[: ROOMS.index(room) + 1])
    wrong = [
        f"{module} imports {name}"
        for module in MODULES
        if room_of(module) == room
        for name in imported(module)
        if room_of(name) not in allowed
    ]
    assert not wrong


def test_no_circle_of_modules():
    """Any module can be loaded first."""
    edges = {module: set(imported(module, when_loaded=True)) - {module} for module in MODULES}
    left = dict(edges)
    while free := [module for module, targets in left.items() if not targets & left.keys()]:
        for module in free:
            del left[module]
    assert not left


@pytest.mark.parametrize("module", sorted(MODULES))
def test_no_class_is_too_large(module):
    """A larger class is two things."""
    tree = ast.parse(MODULES[module].read_text())
    sizes = {
        node.name: (node.end_lineno or 0) - node.lineno + 1 for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
    }
    assert not {name: size for name, size in sizes.items() if size > LARGEST_CLASS}


@pytest.mark.parametrize("room", ROOMS[1:])
def test_no_room_is_too_large(room):
    """A larger folder is two rooms."""
    lines = sum(len(path.read_text().splitlines()) for path in (SOURCE / room).rglob("*.py"))
    assert lines <= LARGER_ROOMS.get(room, LARGEST_ROOM)


def test_class_names_are_unique():
    """A name says which class is meant."""
    places: dict[str, list[str]] = {}
    for module, path in MODULES.items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(module)
    assert not {name: found for name, found in places.items() if len(found) > 1}
