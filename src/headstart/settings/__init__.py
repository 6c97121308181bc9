"""Read the settings and check them, before torch is loaded."""
