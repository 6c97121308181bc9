"""Compare runs: groups, scores and findings, as data."""
