"""Fit models to arrays of features, and score them."""
