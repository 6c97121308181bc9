"""Fit classifiers to arrays of features."""
