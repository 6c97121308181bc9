"""Rebuild networks from run directories to test, explain and repeat them."""
