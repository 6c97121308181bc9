"""How far a target is from what a network has learned: mathematics on arrays of features, in float64."""
