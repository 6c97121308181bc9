"""Choose the style of a series in all figures: colour, marker and dash, for any drawing library.

The colours are Okabe and Ito's, which colour-blind readers can distinguish ("Color Universal Design", 2008). Up to
``ALIKE_FROM`` series in one figure differ in marker or dash, so they can be distinguished in grey as well.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
REFERENCE = "#7F7F7F"
"""The colour of references and zero lines."""
SYMBOLS = {
    "o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down", "P": "cross", "X": "x",
    "*": "star", "<": "triangle-left", ">": "triangle-right",
}  # fmt: skip
"""matplotlib's names of markers, with plotly's."""
SOLID, DASHED, DASHDOT, LONG = "solid", "6px,2px", "6px,2px,1.5px,2px", "12px,3px"
DASHES = (SOLID, DASHED, DASHDOT, LONG)
"""Dots are reserved for training curves."""


@dataclass(frozen=True)
class Style:
    """A colour as #RRGGBB, a marker of SYMBOLS, and a dash: "solid", or lengths of line and gap as in "6px,2px".

    ``dash`` is in the form of plotly's ``line.dash`` (and SVG's ``stroke-dasharray``). ``linestyle`` gives the dash for
    matplotlib, and ``symbol`` the marker for plotly.
    """

    colour: str
    marker: str
    dash: str

    @property
    def linestyle(self) -> str | tuple[float, tuple[float, ...]]:
        """Return the dash for matplotlib's ``linestyle``."""
        if self.dash == SOLID:
            return SOLID
        return 0.0, tuple(float(length.removesuffix("px")) for length in self.dash.split(","))

    @property
    def symbol(self) -> str:
        """Return the marker for plotly's ``marker.symbol``."""
        return SYMBOLS[self.marker]


BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK = COLOURS
STRATEGIES = {
    # the six that others are compared with
    "finetune_all": Style(BLUE, "o", SOLID),
    "scratch": Style(VERMILION, "X", SOLID),
    "linear_probe": Style(GREEN, "s", SOLID),
    "finetune_lower": Style(PURPLE, "v", SOLID),
    "head_only": Style(ORANGE, "D", SOLID),
    "finetune_upper": Style(SKY, "^", SOLID),
    # other fits on fixed features
    "ridge": Style(BLACK, "s", DASHED),
    "knn": Style(VERMILION, "o", DASHED),
    "nearest_centroid": Style(PURPLE, "*", DASHED),
    # few parameters of a fixed network
    "lora": Style(BLACK, "P", DASHDOT),
    "adapters": Style(PURPLE, "D", DASHDOT),
    "bias_only": Style(VERMILION, "<", DASHDOT),
    "norm_only": Style(SKY, ">", DASHDOT),
    # other ways of training all or much of a network
    "lp_ft": Style(GREEN, "P", DASHED),
    "wise_ft": Style(ORANGE, "^", DASHED),
    "l2_sp": Style(SKY, "<", DASHED),
    "gradual_unfreeze": Style(BLACK, ">", LONG),
    "surgical": Style(ORANGE, "v", LONG),
    "layer_transfer": Style(GREEN, "X", LONG),
    "truncate": Style(BLUE, "*", LONG),
}


ALIKE_FROM = len(SYMBOLS) * len(DASHES)
"""Beyond this many series, some differ in colour only."""


def styles_of(labels: Sequence[str]) -> dict[str, Style]:
    """Return a style for each label: up to seven differ in colour and marker, up to 40 in marker or dash.

    A shipped strategy has its style of ``STRATEGIES`` unless an earlier one already uses its colour or marker; the
    first six always have theirs. Other labels follow in alphabetical order. Beyond ``ALIKE_FROM``, pairs of marker and
    dash repeat in other colours.
    """
    named = dict.fromkeys(labels)
    shipped = [label for label in STRATEGIES if label in named]
    found: dict[str, Style] = {}
    for label in (*shipped, *sorted(label for label in named if label not in STRATEGIES)):
        found[label] = _next_style(list(found.values()), STRATEGIES.get(label))
    return {label: found[label] for label in named}


def reference_styles(labels: Sequence[str]) -> dict[str, Style]:
    """Return a grey, dashed style for each label; up to ten differ in their marker."""
    dashes = DASHES[1:]
    return {
        label: Style(REFERENCE, tuple(SYMBOLS)[-1 - number % len(SYMBOLS)], dashes[number % len(dashes)])
        for number, label in enumerate(dict.fromkeys(labels))
    }


def _next_style(taken: Sequence[Style], wanted: Style | None) -> Style:
    """Return the style that differs most from those taken; ties go to the wanted style, then to the first."""
    colours, markers = (Counter(getattr(style, part) for style in taken) for part in ("colour", "marker"))
    whole, in_grey, as_points = (
        Counter(taken),
        Counter((style.marker, style.dash) for style in taken),
        Counter((style.marker, style.colour) for style in taken),
    )

    def rank(style: Style) -> tuple[int, ...]:
        parts = [style.colour, style.marker, style.dash]
        strange = 0 if wanted is None else sum(a != b for a, b in zip(parts, vars(wanted).values(), strict=True))
        seen = whole[style], in_grey[style.marker, style.dash], as_points[style.marker, style.colour]
        return *seen, colours[style.colour], markers[style.marker], strange

    return min((Style(*parts) for parts in _EVERY), key=rank)


_EVERY = [(colour, marker, dash) for dash in DASHES for colour in COLOURS for marker in SYMBOLS]
