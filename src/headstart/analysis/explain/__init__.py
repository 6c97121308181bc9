"""Draw figures that explain a finished run: confident mistakes, Grad-CAM maps, and an embedding of the features."""
