"""Understand the settings of similarity and advise that Hydra does not know. Needs no torch."""

from collections.abc import Sequence
from pathlib import Path

from headstart.errors import ConfigError
from headstart.files import expanded
from headstart.settings.configs import choices

IDLE = ("strategy", "head", "optimizer", "scheduler", "callbacks", "logger", "references")


def split_source(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the settings of the target, and those of the source with "dataset" in place of "source".

    Raises ConfigError for settings of a source without its name.
    """
    of_source = [one for one in arguments if one.startswith(("source=", "source."))]
    own = [one for one in arguments if one not in of_source]
    if of_source and not any(one.startswith("source=") for one in of_source):
        raise ConfigError(f"'{of_source[0]}' needs source=NAME, a data set, or source=FOLDER.")
    return own, [f"dataset{one.removeprefix('source')}" for one in of_source]


def refuse_idle(arguments: Sequence[str]) -> None:
    """Raise ConfigError for a setting that would have no effect."""
    for argument in arguments:
        if argument.lstrip("+~").partition("=")[0].partition(".")[0] in IDLE:
            raise ConfigError(
                f"{argument}: every stage is read with the backbone's own pooling and probed with the default"
                " strengths; leave this setting out."
            )


def folder_of(arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Return the folder that "dataset=" names, or None if it names a data set, and settings that Hydra understands."""
    named = [one.partition("=")[2] for one in arguments if one.startswith("dataset=")]
    if not named or named[-1] in choices("dataset") or not expanded(named[-1]).is_dir():
        return None, list(arguments)
    folder = expanded(named[-1])
    quoted = str(folder).replace("'", "\\'")
    others = [one for one in arguments if not one.startswith("dataset=")]
    return folder, [*others, "dataset=image_folder", f"dataset.root='{quoted}'"]


def split_backbones(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the names that "backbones=[a,b]" lists, "" for that of the settings, and the other settings.

    Raises ConfigError for an empty list, a name that occurs twice, and a backbone beside the list.
    """
    listed = [one for one in arguments if one.startswith("backbones=")]
    others = [one for one in arguments if one not in listed]
    if not listed:
        return [""], others
    names = [name.strip() for name in listed[-1].partition("=")[2].strip("[]").split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise ConfigError(f"{listed[-1]}: expected different names, as in backbones=[efficientnet_lite0,resnet50].")
    if any(one.startswith("backbone=") for one in others):
        raise ConfigError(f"{listed[-1]} lists all backbones: leave backbone= out.")
    return names, others
