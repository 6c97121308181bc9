"""Read files from others: only regular files inside a folder, of limited size, and without running code."""
