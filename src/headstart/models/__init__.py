"""Trained networks that describe themselves: model.json written, checked and read, networks rebuilt from it."""
