"""One self-contained HTML page about a sweep: its content and its renderer."""

from headstart.reports.page.content import Chart, FigureImage, Page, RunCard, Series
from headstart.reports.page.render import render

__all__ = ["Chart", "FigureImage", "Page", "RunCard", "Series", "render"]
