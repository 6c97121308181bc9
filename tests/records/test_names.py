"""Test that one module names the files of a run directory, and all others use its constants."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import headstart
from headstart.records import names

SOURCE = Path(headstart.__file__).parent
NAMES = {value for name, value in vars(names).items() if name.isupper()}
FILES = {name for name in NAMES if "." in name}
# Files of other folders that share a name with one of a run directory.
OTHERS = {
    ("backbones/torchvision_backbones.py", "checkpoints"),  # where torch.hub keeps weights
    ("settings/sources.py", "model.safetensors"),  # where timm saves a network
    ("settings/rules.py", "best.ckpt"),  # checks of settings know no records
    ("sweeps/trials.py", ".lock"),  # the lock of Optuna's journal
}


def spelled_out(code: str) -> Iterator[str]:
    """Yield the texts of a module that name a file of a run directory, except sentences and docstrings."""
    tree = ast.parse(code)
    joined = {id(side) for node in ast.walk(tree) if isinstance(node, ast.BinOp) for side in (node.left, node.right)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or " " in node.value:
            continue
        parts = set(node.value.split("/"))
        is_path = "/" in node.value or id(node) in joined
        if parts & (NAMES if is_path else FILES):
            yield node.value


def test_no_other_room_spells_a_name_out() -> None:
    found = {
        (place, text)
        for path in SOURCE.rglob("*.py")
        if not (place := path.relative_to(SOURCE).as_posix()).startswith("records/")
        for text in spelled_out(path.read_text())
    }
    assert found == OTHERS


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('folder / "run.json"', ["run.json"]),
        ('f"{folder}/best.ckpt"', ["/best.ckpt"]),
        ('folder / "tensorboard"', ["tensorboard"]),
        ('glob("tensorboard/*")', ["tensorboard/*"]),
        ('Error(f"{folder} has no run.json.")', []),
        ('commands = ["explain"]', []),
    ],
)
def test_a_name_that_is_spelled_out_is_found(code: str, found: list[str]) -> None:
    assert list(spelled_out(code)) == found


def test_names_are_unique_and_meant_for_one_place() -> None:
    values = [value for name, value in vars(names).items() if name.isupper()]
    assert len(values) == len(set(values))
    assert not [value for value in values if Path(value).is_absolute() or ".." in Path(value).parts]
