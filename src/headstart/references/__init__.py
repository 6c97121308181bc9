"""Scores that need no network, for comparison with a run."""
