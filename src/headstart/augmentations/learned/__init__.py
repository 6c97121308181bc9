"""A learned augmentation policy and the gradient search that finds it."""
