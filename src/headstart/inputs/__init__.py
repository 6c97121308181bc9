"""Find, decode and describe the images that enter a network."""
