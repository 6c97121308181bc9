"""Use headstart from Python and notebooks: the code of the commands, with values instead of printed text."""
