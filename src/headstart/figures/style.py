"""How a series looks wherever it is drawn: colour, marker and dash; knows no drawing library.

The colours are Okabe and Ito's, which readers who do not see all colours tell apart ("Color Universal Design", 2008).
Two series that are drawn together never share both marker and dash, so lines are told apart in grey as well.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
REFERENCE = "#7F7F7F"
"""For what is no series: references, zero lines."""
SYMBOLS = {
    "o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down", "P": "cross", "X": "x",
    "*": "star", "<": "triangle-left", ">": "triangle-right",
}  # fmt: skip
"""Markers by matplotlib's name, with plotly's."""
SOLID, DASHED, DASHDOT, LONG = "solid", "6px,2px", "6px,2px,1.5px,2px", "12px,3px"
DASHES = (SOLID, DASHED, DASHDOT, LONG)
"""Dots are left for training curves."""


@dataclass(frozen=True)
class Style:
    """Colour as #RRGGBB, a marker of SYMBOLS, and a dash: "solid", or lengths of line and gap as in "6px,2px".

    The dash is what plotly takes for ``line.dash`` (and SVG for ``stroke-dasharray``); ``linestyle`` and ``symbol`` are
    the same for the library that spells it otherwise.
    """

    colour: str
    marker: str
    dash: str

    @property
    def linestyle(self) -> str | tuple[float, tuple[float, ...]]:
        """The dash as matplotlib takes it for ``linestyle``."""
        if self.dash == SOLID:
            return SOLID
        return 0.0, tuple(float(length.removesuffix("px")) for length in self.dash.split(","))

    @property
    def symbol(self) -> str:
        """The marker as plotly takes it for ``marker.symbol``."""
        return SYMBOLS[self.marker]


BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK = COLOURS
STRATEGIES = {
    # the six that the others are measured against
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
"""More series than this share markers and dashes: colour alone tells some of them from others."""


def styles_of(labels: Sequence[str]) -> dict[str, Style]:
    """Return a style a label: up to seven differ in colour and in marker, up to 40 in the pair of marker and dash.

    A shipped strategy has its style of ``STRATEGIES`` unless an earlier one there took its colour or marker; the first
    six always have theirs. Other labels follow by alphabet. Beyond ``ALIKE_FROM`` pairs come again, in other colours.
    """
    named = dict.fromkeys(labels)
    shipped = [label for label in STRATEGIES if label in named]
    found: dict[str, Style] = {}
    for label in (*shipped, *sorted(label for label in named if label not in STRATEGIES)):
        found[label] = _next_style(list(found.values()), STRATEGIES.get(label))
    return {label: found[label] for label in named}


def reference_styles(labels: Sequence[str]) -> dict[str, Style]:
    """Return a grey style a label, no solid one; up to ten differ in their marker."""
    dashes = DASHES[1:]
    return {
        label: Style(REFERENCE, tuple(SYMBOLS)[-1 - number % len(SYMBOLS)], dashes[number % len(dashes)])
        for number, label in enumerate(dict.fromkeys(labels))
    }


def _next_style(taken: Sequence[Style], wanted: Style | None) -> Style:
    """Return the style that differs most from those taken; of equal ones the wanted one, then the first."""
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
