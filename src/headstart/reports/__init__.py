"""Run directories in; tables, figures and pages out. Reads files only and never imports torch."""

from headstart.comparison.table import RunGroup, Statistic, group_runs
from headstart.records.runs import Problem, Run, RunSet, read_runs
from headstart.reports.analysis import Analysis, Options, analyse
from headstart.reports.write import Report, write_report

__all__ = [
    "Analysis",
    "Options",
    "Problem",
    "Report",
    "Run",
    "RunGroup",
    "RunSet",
    "Statistic",
    "analyse",
    "group_runs",
    "read_runs",
    "write_report",
]
