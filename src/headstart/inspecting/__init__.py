"""The commands of ``headstart inspect``: one file a command."""
