"""Measure how well pretrained networks suit a data set, before any training."""
