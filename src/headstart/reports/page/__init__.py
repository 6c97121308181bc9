"""One self-contained HTML page about a sweep: what is on it, and how it is written."""

from headstart.reports.page.content import Chart, FigureImage, Page, RunCard, Series
from headstart.reports.page.render import render

__all__ = ["Chart", "FigureImage", "Page", "RunCard", "Series", "render"]
