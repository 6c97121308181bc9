"""Read, check, split and describe targets; without torch."""
