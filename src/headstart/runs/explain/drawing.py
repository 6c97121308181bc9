"""What the pictures of a run share: colours, words, files."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SAID, TRUE = "#B34700", "#00664B"  # vermilion and green of Okabe & Ito, darker: they also have to be read as words
DPI = 160


@contextmanager
def style() -> Iterator[None]:
    """Small words, few lines, fonts that stay letters in a PDF: journals refuse Type 3."""
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "pdf.fonttype": 42}):
        yield


def files_of(figure: "Figure", name: str) -> dict[str, bytes]:
    """The figure as name.png and name.pdf, the same bytes every time."""
    files = {}
    for kind, metadata in (("png", {}), ("pdf", {"CreationDate": None})):
        content = io.BytesIO()
        figure.savefig(content, format=kind, dpi=DPI, metadata=metadata)
        files[f"{name}.{kind}"] = content.getvalue()
    return files


def frame(axes: "Axes", colour: str) -> None:
    """A picture's axes without ticks, in a thin frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(visible=True, color=colour, linewidth=1.2)


def percent(share: float) -> str:
    """A probability of 0 to 1: 3.4 %, 99.9 %; 0 % and 100 % only where they are exact."""
    if share in (0, 1):
        return f"{100 * share:.0f} %"
    text = f"{100 * share:.1f}"
    return {"0.0": "<0.1 %", "100.0": ">99.9 %"}.get(text, f"{text} %")


def shortened(text: str, limit: int) -> str:
    """At most ``limit`` characters."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def plain(text: str) -> str:
    """Without mathematics: a dollar sign in the name of a class is one."""
    return text.replace("$", r"\$")
