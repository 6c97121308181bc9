"""Report which stage of a network transfers best: table, CSV and figure."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.files import write_atomically
from headstart.tables import table_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from headstart.analysis.layer_probes import StageProbe

VALIDATION, TEST, CHOSEN = "#0072B2", "#E69F00", "#000000"  # Okabe & Ito's palette; the first two differ in grey
JOINED = "all joined"


def best_stage(probes: "Sequence[StageProbe]") -> "StageProbe":
    """Return the stage with the best validation accuracy; ties go to the lowest validation loss."""
    stages = [probe for probe in probes if probe.stage is not None]
    return max(stages, key=lambda probe: (probe.validation_accuracy, -probe.validation_loss))


def layer_verdict(probes: "Sequence[StageProbe]") -> str:
    """Return a line that names the stage that transfers best."""
    best = best_stage(probes)
    return (
        f"{best.stage} transfers best: validation {100 * best.validation_accuracy:.1f} %,"
        f" test {100 * best.test_accuracy:.1f} %"
    )


def probes_table(probes: "Sequence[StageProbe]") -> str:
    """Return the table for the terminal, one row per probe."""
    header = ["stage", "features", "l2", "validation accuracy", "test accuracy"]
    rows = [
        [
            probe.stage or JOINED,
            str(probe.features),
            f"{probe.l2:g}",
            f"{100 * probe.validation_accuracy:.1f} %",
            f"{100 * probe.test_accuracy:.1f} %",
        ]
        for probe in probes
    ]
    return table_text(header, rows, [name != "stage" for name in header])


def probes_csv(probes: "Sequence[StageProbe]") -> str:
    """Return the CSV text, one row per probe; accuracies are fractions of 1, the loss is in nats."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["stage", "features", "l2", "validation/accuracy", "validation/loss", "test/accuracy"])
    for probe in probes:
        scores = [probe.validation_accuracy, probe.validation_loss, probe.test_accuracy]
        table.writerow([probe.stage or JOINED, probe.features, probe.l2, *scores])
    return text.getvalue()


def write_layer_figure(folder: Path, probes: "Sequence[StageProbe]", title: str) -> None:
    """Write layers.png and layers.pdf to the folder."""
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = draw_layers(probes, title)
        for kind, metadata in (("png", {}), ("pdf", {"CreationDate": None})):
            image = io.BytesIO()
            figure.savefig(image, format=kind, dpi=150, metadata=metadata)
            write_atomically(folder / f"layers.{kind}", image.getvalue())


def draw_layers(probes: "Sequence[StageProbe]", title: str) -> "Figure":
    """Draw accuracy against depth, with horizontal lines for all stages joined."""
    from matplotlib.figure import Figure

    stages = [probe for probe in probes if probe.stage is not None]
    figure = Figure(figsize=(max(6.4, 2.6 + 0.7 * len(stages)), 3.8), layout="constrained")
    axes = figure.subplots()
    _draw_line(axes, "validation", VALIDATION, "-", "o", [probe.validation_accuracy for probe in stages])
    _draw_line(axes, "test", TEST, "--", "s", [probe.test_accuracy for probe in stages])
    for probe in probes:
        if probe.stage is None:
            axes.axhline(100 * probe.validation_accuracy, color=VALIDATION, ls=":", lw=1.4, label="validation, joined")
            axes.axhline(100 * probe.test_accuracy, color=TEST, ls="-.", lw=1.4, label="test, joined")
    best = best_stage(probes)
    axes.plot(
        stages.index(best), 100 * best.validation_accuracy,
        ls="", marker="o", ms=12, mfc="none", mec=CHOSEN, mew=1.4, label=f"chosen: {best.stage}",
    )  # fmt: skip
    axes.set(title=title, xlabel="stage, from the input upward", ylabel="accuracy of a linear probe (%)")
    axes.set_xticks(range(len(stages)), [str(probe.stage) for probe in stages], rotation=30 if len(stages) > 8 else 0)
    axes.margins(x=0.06, y=0.12)
    axes.grid(axis="y", color="#E5E5E5")
    axes.set_axisbelow(True)
    figure.legend(frameon=False, fontsize=8, loc="outside right center")
    return figure


def _draw_line(axes: "Axes", label: str, colour: str, style: str, marker: str, shares: Sequence[float]) -> None:
    axes.plot(
        range(len(shares)), [100 * share for share in shares],
        color=colour, ls=style, marker=marker, ms=5, lw=1.8, label=label,
    )  # fmt: skip
