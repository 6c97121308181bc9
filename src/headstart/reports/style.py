"""How a series looks wherever it is drawn: colour, marker and dash; knows no drawing library.

The colours are Okabe and Ito's, which readers who do not see all colours tell apart ("Color Universal Design", 2008).
Two series that are drawn together never share both marker and dash, so lines are told apart in grey as well.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice, product

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


def styles_of(labels: Sequence[str]) -> dict[str, Style]:
    """A style a label: fixed for the strategies that ship, else by alphabet, with colours that are not taken first.

    Up to 40 labels share no pair of marker and dash; beyond, pairs come again.
    """
    named = dict.fromkeys(labels)
    fixed = {label: STRATEGIES[label] for label in named if label in STRATEGIES}
    others = sorted(label for label in named if label not in fixed)
    free = dict(zip(others, islice(_free(list(fixed.values())), len(others)), strict=True))
    return {label: fixed.get(label) or free[label] for label in named}


def _free(taken: Sequence[Style]) -> Iterator[Style]:
    """Endless styles: colours in turn, another dash after each round of colours, and the next marker free with it."""
    used = {style.colour for style in taken}
    colours = sorted(COLOURS, key=lambda colour: colour in used)  # stable: those not taken come first, in order
    markers = tuple(SYMBOLS)
    pairs = {(style.marker, style.dash) for style in taken}
    for number in count():
        if len(pairs) == len(markers) * len(DASHES):
            pairs.clear()
        ordered = product(_from(DASHES, number // len(colours)), _from(markers, number))
        marker, dash = next((marker, dash) for dash, marker in ordered if (marker, dash) not in pairs)
        pairs.add((marker, dash))
        yield Style(colours[number % len(colours)], marker, dash)


def _from(values: tuple[str, ...], start: int) -> tuple[str, ...]:
    """The values in turn, from that one on."""
    first = start % len(values)
    return values[first:] + values[:first]
