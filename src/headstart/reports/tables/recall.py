"""Make the tables of recall by class."""

from headstart.report_table import Cell, Column, ReportTable, share_cell
from headstart.reports.analysis import Analysis


def recall_tables(analysis: Analysis) -> list[ReportTable]:
    """Return one table per panel with means over runs: one row per class, one column per group."""
    tables = []
    for number, panel in enumerate(analysis.panels):
        known = [(group, found) for group in panel.groups if (found := analysis.recalls(group)) is not None]
        if not known:
            continue
        classes = known[0][1][0]
        known = [(group, found) for group, found in known if found[0] == classes]
        columns = [Column("class"), *(Column(group.label, "number") for group, _ in known)]
        rows = [
            [
                Cell(name),
                *(share_cell(float(recalls[index]), analysis.places(group.runs)) for group, (_, recalls) in known),
            ]
            for index, name in enumerate(classes)
        ]
        title, note = f"Recall by class: {panel.title}", "Share of a class's test images predicted right (%)."
        tables.append(ReportTable(f"recall-{number}", title, note, columns, rows))
    return tables
