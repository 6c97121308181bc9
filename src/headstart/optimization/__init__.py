"""Learning rates over steps: schedules, a range test, and a watch for divergence."""
