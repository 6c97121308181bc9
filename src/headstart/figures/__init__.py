"""Draw the figures of a report: each function returns a matplotlib figure."""
