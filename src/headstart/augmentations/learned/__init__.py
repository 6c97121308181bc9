"""Learned augmentation: a policy that gradients found, and the search for it."""
