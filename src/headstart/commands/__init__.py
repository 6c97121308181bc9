"""Parse the arguments of each command and call what does its work."""
