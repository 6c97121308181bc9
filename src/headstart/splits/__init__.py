"""Assign images to training, validation and test."""
