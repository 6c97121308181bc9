"""Set learning rates over steps by schedules or a range test, and check for divergence."""
