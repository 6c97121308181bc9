"""Images that explain a finished run: its most confident mistakes, where the network looked, how its features lie."""
