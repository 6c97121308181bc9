"""Many runs: what is done, what is left, who gets which cores; knows no torch."""
