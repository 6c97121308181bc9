"""Find the example of own parts, as modules beside the settings or as an installed package."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headstart.kinds import own
from headstart.settings import packages

EXAMPLE = Path(__file__).parents[1] / "examples" / "own_parts"
QUICK = [
    "dataset=dots", "backbone=three_convolutions", "dataset.num_workers=0", "trainer.max_epochs=2",
    "trainer.accelerator=cpu",
]  # fmt: skip


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Let modules be imported from a folder, inside this context only; forget what they left behind."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        forget()


def forget() -> None:
    """Forget the example, as a new process would."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "own_parts"]:
        del sys.modules[name]
    own._LOADED.clear()
    packages._TRUSTED.clear()
    packages._code_of.cache_clear()
    packages._installed.cache_clear()


def install(folder: Path) -> Path:
    """Copy the example to a folder as pip would install it, and return the folder."""
    shutil.copytree(EXAMPLE / "own_parts", folder / "own_parts", ignore=shutil.ignore_patterns("__pycache__"))
    info = folder / "own_parts-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-parts\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[headstart]\nown_parts = own_parts\n")
    return folder
