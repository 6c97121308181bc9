"""Learning curves and test accuracies as one picture."""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from headstart.errors import DataError
from headstart.files import write_atomically
from headstart.reports.panels import Panel
from headstart.reports.read import TRIED
from headstart.reports.table import Group

# Okabe & Ito's palette, told apart by readers who do not see all colours; a strategy keeps its colour everywhere.
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F"]
STRATEGIES = ["finetune_all", "scratch", "linear_probe", "finetune_lower", "head_only", "finetune_upper"]
GREY = "#7F7F7F"


def draw(panels: Sequence[Panel], path: Path) -> None:
    """A column a panel: curves above (validation solid, training dotted), test accuracy below."""
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        width = 4.9 * len(panels) + 0.4
        figure, axes = plt.subplots(
            2, len(panels), figsize=(width, 6.6), squeeze=False, layout="constrained", height_ratios=[3, 2]
        )
        for panel, upper, lower in zip(panels, axes[0], axes[1], strict=True):
            colours = colours_of(panel)
            draw_curves(upper, panel, colours)
            draw_bars(lower, panel, colours)
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=120)
        plt.close(figure)
    write_atomically(path, picture.getvalue())


def colours_of(panel: Panel) -> dict[str, str]:
    """A colour a group: fixed for the strategies that are known, else by order."""
    fixed = {name: PALETTE[number] for number, name in enumerate(STRATEGIES)}
    labels = [panel.label(group) for group in panel.groups]
    free = [colour for colour in PALETTE if colour not in {fixed.get(label) for label in labels}] or PALETTE
    others = [label for label in sorted(labels) if label not in fixed]
    return {
        **{label: fixed[label] for label in labels if label in fixed},
        **{label: free[number % len(free)] for number, label in enumerate(others)},
    }


def curve_statistics(group: Group, column: str) -> pd.DataFrame:
    """Mean and deviation over the runs of a group, by epoch from 1; empty for fits that have no epochs."""
    curves = []
    for run in group.runs:
        try:
            curve = run.read_curve()
        except DataError:
            continue
        if column in curve and not set(TRIED) & set(curve):
            curves.append(curve.set_index("epoch")[column])
    if not curves:
        return pd.DataFrame(columns=["mean", "deviation"])
    table = pd.concat(curves, axis=1)
    table.index = table.index + 1
    return pd.DataFrame({"mean": table.mean(axis=1), "deviation": table.std(axis=1)})


def draw_curves(axes: Axes, panel: Panel, colours: dict[str, str]) -> None:
    """Accuracy over epochs, with a band of one deviation over seeds; fits without epochs as level lines."""
    levels = []
    for group in panel.groups:
        label = panel.label(group)
        colour = colours[label]
        validation = curve_statistics(group, "validation/accuracy")
        if validation.empty:
            levels.append((label, group.validation.mean, colour, "-"))
            continue
        mean, deviation = 100 * validation["mean"], 100 * validation["deviation"].fillna(0)
        axes.plot(validation.index, mean, color=colour, lw=1.8, label=label)
        axes.fill_between(validation.index, mean - deviation, mean + deviation, color=colour, alpha=0.18, lw=0)
        train = curve_statistics(group, "train/accuracy")
        if not train.empty:
            axes.plot(train.index, 100 * train["mean"], color=colour, lw=1, ls=":")
    levels += [(panel.label(group), group.validation.mean, GREY, "--") for group in panel.references]
    for label, level, colour, style in levels:
        if not math.isnan(level):
            axes.axhline(100 * level, color=colour, ls=style, lw=1.2, label=f"{label} (no epochs)")
    axes.set(title=panel.title, xlabel="epoch", ylabel="accuracy (%)", ylim=(0, 102))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color="#E5E5E5")
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=8, loc="best", title="validation (training dotted)", title_fontsize=8)


def draw_bars(axes: Axes, panel: Panel, colours: dict[str, str]) -> None:
    """Test accuracy, best on top, with one deviation over seeds."""
    groups = [*panel.groups, *panel.references]
    groups.sort(key=lambda group: group.test.mean)
    for position, group in enumerate(groups):
        colour = GREY if group.reference else colours[panel.label(group)]
        mean, deviation = 100 * group.test.mean, 100 * np.nan_to_num(group.test.deviation)
        axes.barh(position, mean, color=colour, height=0.62)
        if deviation:
            axes.errorbar(mean, position, xerr=deviation, color="#333333", capsize=3, lw=1)
        text = f"{mean:.1f}" + (f" ± {deviation:.1f}" if group.test.count > 1 else "")
        axes.text(mean + deviation + 1, position, text, va="center", fontsize=8)
    axes.set_yticks(range(len(groups)), [panel.label(group) for group in groups])
    axes.set(xlabel="test accuracy (%)", xlim=(0, 112))
    axes.set_xticks(range(0, 101, 20))
