"""Find likely wrong labels, duplicates and outliers in a data set."""
