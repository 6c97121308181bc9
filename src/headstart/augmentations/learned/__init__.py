"""Find an augmentation policy by a gradient search, and apply it."""
