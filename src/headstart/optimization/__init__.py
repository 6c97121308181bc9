"""Learning rates over steps: schedules, a range test, and a check for divergence."""
