"""Read settings as they are typed, such as "trainer.max_epochs=5" or "+backbone.depth=3"."""


def key_of(argument: str) -> str:
    """Return the key of a setting: "trainer.max_epochs" for "trainer.max_epochs=5"."""
    return argument.lstrip("+~").partition("=")[0]


def group_of(argument: str) -> str:
    """Return the group of a setting: "trainer" for "trainer.max_epochs=5"."""
    return key_of(argument).partition(".")[0]
