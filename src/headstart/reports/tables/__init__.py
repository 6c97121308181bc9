"""The tables of a report: one function builds each of them from the analysis."""
