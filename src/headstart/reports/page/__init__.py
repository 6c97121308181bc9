"""One self-contained HTML page about a sweep: what is on it, and how it is written."""

from headstart.reports.page.content import Cell, Chart, Column, FigureImage, Page, PageTable, RunCard, Series
from headstart.reports.page.render import render

__all__ = ["Cell", "Chart", "Column", "FigureImage", "Page", "PageTable", "RunCard", "Series", "render"]
