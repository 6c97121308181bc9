"""Show how far a target is from a network's weights: tables, and values for other programs."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from headstart.advice.similar import Similarity
from headstart.report_table import NOTHING, Cell, Column, ReportTable, count_cell, share_cell


def number_cell(value: float, digits: int = 3) -> Cell:
    """Return the cell of a number; "–" for NaN."""
    return Cell(NOTHING if math.isnan(value) else f"{value:.{digits}f}", value)


def stages_table(found: Similarity) -> ReportTable:
    """Return a row for each stage. Columns of measures that need labels are left out for a target without labels."""
    columns = [
        Column("stage", field="stage"),
        Column("features", "number", field="features"),
        Column("nearest neighbours", "number", "Accuracy of the five nearest other images, %.", "neighbours"),
        Column("linear probe", "number", "Accuracy on validation, %.", "probe"),
        Column("LogME", "number", "Mean log evidence of an image.", "log_evidence"),
        Column("H-score", "number", "With the covariance of Ledoit and Wolf.", "shrunk_h_score"),
        Column("H-score, not shrunk", "number", "Too high with few images.", "h_score", shown=False),
        Column("statistics", "number", "Distance of batch norm's statistics, in stored deviations.", "statistics"),
    ]
    rows = [
        [
            Cell(stage.stage),
            count_cell(stage.features),
            share_cell(stage.neighbours),
            share_cell(stage.probe),
            number_cell(stage.log_evidence),
            number_cell(stage.shrunk_h_score),
            number_cell(stage.h_score),
            number_cell(stage.statistics),
        ]
        for stage in found.stages
    ]
    table = ReportTable("stages", "By stage", "", columns, rows)
    labelled = ("nearest neighbours", "linear probe", "LogME", "H-score", "H-score, not shrunk")
    return table if found.classes else table.without(*labelled)


def measures_table(found: Similarity) -> ReportTable:
    """Return a row for each measure of the whole network, with a few words on how to read it."""
    rows: list[tuple[str, str, float, str]] = []
    if found.frechet is not None and found.kernel is not None:
        rows += [
            ("Fréchet distance", "frechet", found.frechet.value, "of these images, too large with few"),
            ("  for infinitely many images", "frechet_extrapolated", found.frechet.extrapolated, "0: same features"),
            (
                "  over the variance of the source",
                "frechet_relative",
                found.frechet.relative,
                "comparable across backbones",
            ),
            ("kernel distance", "kernel", found.kernel.mean, f"± {found.kernel.deviation:.3f} over random subsets"),
        ]
    rows.append(("batch-norm statistics", "statistics", found.statistics, "in stored deviations, 0: as in the source"))
    if found.source_classes:
        words = f"nats, by the source's {found.source_classes} classes; 0: they determine the label"
        rows += [("NCE", "nce", found.nce, words), ("LEEP", "leep", found.leep, "the same with probabilities")]
    columns = [
        Column("measure"),
        Column("", field="measure", shown=False),
        Column("value", "number", field="value"),
        Column("meaning"),
    ]
    cells = [[Cell(name), Cell(key, key), number_cell(value), Cell(words)] for name, key, value, words in rows]
    return ReportTable("similarity", "The whole network", "", columns, cells)


def title_of(found: Similarity) -> str:
    """Return a line that says what was compared."""
    against = f", source {found.source} ({found.source_images:,} images)" if found.source else ""
    return (
        f"{found.target} ({found.images:,} images) for {found.backbone} ({found.weights or 'random weights'}){against}"
    )


def similarity_json(found: Similarity) -> str:
    """Return all values as JSON; null stands for what could not be measured."""
    return json.dumps(without_nan(asdict(found)), indent=2, ensure_ascii=False) + "\n"


def without_nan(value: Any) -> Any:
    """Return JSON values with null in place of NaN and infinity."""
    if isinstance(value, dict):
        return {name: without_nan(one) for name, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [without_nan(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
