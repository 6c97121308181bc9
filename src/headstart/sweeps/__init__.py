"""Track many runs: which are done, which are left, which cores each gets. Knows no torch."""
