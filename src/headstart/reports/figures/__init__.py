"""Figures of a report, each a function that returns a matplotlib figure; ``save`` writes it as PNG and PDF.

Importing this loads matplotlib, which takes a while.
"""

from headstart.reports.figures.by_number import draw_by_number
from headstart.reports.figures.canvas import dark_file, save
from headstart.reports.figures.confusion import draw_confusion
from headstart.reports.figures.cost import Point, draw_cost, pareto
from headstart.reports.figures.critical_difference import draw_critical_difference
from headstart.reports.figures.forest import draw_forest
from headstart.reports.figures.learning_curves import draw_learning_curves
from headstart.reports.figures.overview import draw, draw_overview
from headstart.reports.figures.reliability import draw_reliability

__all__ = [
    "Point",
    "dark_file",
    "draw",
    "draw_by_number",
    "draw_confusion",
    "draw_cost",
    "draw_critical_difference",
    "draw_forest",
    "draw_learning_curves",
    "draw_overview",
    "draw_reliability",
    "pareto",
    "save",
]
