"""Other libraries at the same work as headstart, for comparison."""
