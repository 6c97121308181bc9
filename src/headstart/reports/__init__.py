"""Run directories in; tables, figures and pages out. Reads files only and never imports torch."""

from headstart.reports.analysis import Analysis, Options, analyse
from headstart.reports.read import Problem, Run, RunSet, read_runs
from headstart.reports.table import Group, Statistic, group_runs
from headstart.reports.write import Report, write_report

__all__ = [
    "Analysis",
    "Group",
    "Options",
    "Problem",
    "Report",
    "Run",
    "RunSet",
    "Statistic",
    "analyse",
    "group_runs",
    "read_runs",
    "write_report",
]
