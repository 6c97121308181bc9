"""Name and check the figures that ``headstart explain`` writes into a run directory."""

from pathlib import Path

from headstart.errors import DataError
from headstart.records.images import read_png
from headstart.records.names import EXPLAIN_FOLDER
from headstart.records.opening import MissingFileError, is_inside

EXPLAINED = {"mistakes": "Most confident mistakes", "grad_cam": "Grad-CAM", "embedding": "Embedding"}
"""The figures by the stems of their files, with their titles."""
EXPLAIN_FILES = tuple(f"{figure}{end}" for figure in EXPLAINED for end in (".png", "-dark.png", ".pdf", ".csv"))
"""The files that may be written."""


def explained_in(directory: Path) -> tuple[list[str], list[str]]:
    """Return which of ``EXPLAINED`` a run directory has, whole, and what is wrong with the others."""
    whole, wrong = [], []
    for name in EXPLAINED:
        try:
            read_png(directory, f"{EXPLAIN_FOLDER}/{name}.png")
        except MissingFileError:
            continue
        except DataError as error:
            wrong.append(str(error))
            continue
        if is_inside(directory, f"{EXPLAIN_FOLDER}/{name}.pdf"):
            whole.append(name)
    return whole, wrong
