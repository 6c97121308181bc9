"""Parse the arguments of each command and call the functions that do the work."""
