"""Share colours, text fitting and file formats between the figures that explain a run."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PREDICTED, TRUE = "#B34700", "#00664B"  # vermilion and green of Okabe & Ito, darker so that text can be read
DPI = 160
TITLE = 9.0
"""Size of titles, in points."""
LINE = 1.25 * TITLE / 72
"""Height of a title's line, in inches."""
UNDATED = {"CreationDate": None}


@contextmanager
def style() -> Iterator[None]:
    """Use small text and few lines, and embed TrueType fonts in PDFs, because journals refuse Type 3."""
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "pdf.fonttype": 42}):
        yield


def files_of(figure: "Figure", name: str) -> dict[str, bytes]:
    """Return name.png, name.pdf and name-dark.png (for dark pages) of a figure: the same bytes every time."""
    from headstart.figures.canvas import dark_file
    from headstart.figures.dark import darkened

    png = Path(f"{name}.png")
    files = {png.name: _drawn(figure, format="png"), f"{name}.pdf": _drawn(figure, format="pdf", metadata=UNDATED)}
    with darkened(figure):
        files[dark_file(png).name] = _drawn(figure, format="png")
    return files


def _drawn(figure: "Figure", **options: Any) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, dpi=DPI, **options)
    return content.getvalue()


def frame(axes: "Axes", colour: str) -> None:
    """Remove the ticks of an image's axes and draw a thin frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(visible=True, color=colour, linewidth=1.2)


def percent(share: float) -> str:
    """Return a probability from 0 to 1 as text: 3.4 %, 99.9 %; 0 % and 100 % only if exact."""
    if share in (0, 1):
        return f"{100 * share:.0f} %"
    text = f"{100 * share:.1f}"
    return {"0.0": "<0.1 %", "100.0": ">99.9 %"}.get(text, f"{text} %")


def fitted(text: str, width: float, size: float, before: str = "", after: str = "") -> str:
    """Return ``before``, the text and ``after``, shortened to a line of ``width`` inches at ``size`` points.

    "…" replaces the middle of a text that is too long, because names often differ at an end.
    """
    from headstart.figures.canvas import text_width

    kept = len(text)
    line = f"{before}{text}{after}"
    while kept > 2 and text_width([line], size) > width:
        kept -= 1
        line = f"{before}{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}{after}"
    return line


def title_lines(lines: Sequence[str], width: float, size: float = TITLE) -> list[str]:
    """Break lines at spaces to at most ``width`` inches; shorten a longer word in its middle."""
    from headstart.figures.canvas import text_width

    broken: list[str] = []
    for line in lines:
        current = ""
        for word in line.split():
            longer = f"{current} {word}".strip()
            if current and text_width([longer], size) > width:
                broken.append(current)
                longer = word
            current = fitted(longer, width, size) if longer == word else longer
        broken.append(current)
    return broken


def plain(text: str) -> str:
    """Escape dollar signs, so that matplotlib does not read a class name as mathematics."""
    return text.replace("$", r"\$")
