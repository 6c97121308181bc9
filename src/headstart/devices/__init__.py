"""Run one training on several devices."""
