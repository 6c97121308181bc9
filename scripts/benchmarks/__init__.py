"""Measure the ratios of scripts/benchmark.py, one file per group of questions."""
