"""Understand the settings of similarity and advise that Hydra does not know. Needs no torch."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from headstart.errors import ConfigError
from headstart.files import expanded
from headstart.settings.configs import choices
from headstart.settings.early_checks import SOLVED
from headstart.typed import group_of, key_of

IDLE = ("strategy", "head", "optimizer", "scheduler", "callbacks", "logger")
OF_TRAINING = ("augmentation", "strategy", "optimizer", "scheduler", "callbacks")  # no solved head uses them
OF_FOLDERS = ("image_size", "crop_fraction", "resize", "on_error", "batch_size", "num_workers")  # without labels
MIXING = "wise_ft"  # changes the network after its last epoch


@dataclass(frozen=True)
class AskedBackbone:
    """A backbone to try, by the name of its config."""

    name: str
    solved: DictConfig
    """The settings of the candidates that solve their head."""
    trained: Mapping[str, DictConfig]
    """The settings of a run for each strategy that trains."""


def split_source(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the settings of the target, and those of the source with "dataset" in place of "source".

    Raises ConfigError for settings of a source without its name.
    """
    of_source = [one for one in arguments if group_of(one) == "source"]
    own = [one for one in arguments if one not in of_source]
    if of_source and not any(key_of(one) == "source" for one in of_source):
        raise ConfigError(f"'{of_source[0]}' needs source=NAME, a data set, or source=FOLDER.")
    return own, [one.replace("source", "dataset", 1) for one in of_source]


def refuse_idle(arguments: Sequence[str], used: Collection[str] = ()) -> None:
    """Raise ConfigError for a setting that would have no effect; those of the groups in ``used`` have one."""
    for argument in arguments:
        if key_of(argument) == "dataset.balance" and not argument.endswith("=none"):
            raise ConfigError(f"{argument}: all images have the same weight here; leave this setting out.")
        if group_of(argument) in IDLE and (group_of(argument) not in used or key_of(argument) == "strategy"):
            raise ConfigError(
                f"{argument}: every stage is read with the backbone's own pooling and probed with the default"
                " strengths; leave this setting out."
            )


def without_training(arguments: Sequence[str]) -> list[str]:
    """Return the settings that candidates with a solved head use, too."""
    return [one for one in arguments if group_of(one) not in OF_TRAINING]


def folder_of(arguments: Sequence[str], word: str = "dataset") -> tuple[Path | None, list[str]]:
    """Return the folder that "dataset=" names, or None if it names a data set, and settings that Hydra understands.

    ``word`` is what the user typed for "dataset". Raises ConfigError for a file, and for settings that a folder
    without labels does not have.
    """
    named = [one.partition("=")[2] for one in arguments if one.startswith("dataset=")]
    if not named or named[-1] in choices("dataset"):
        return None, list(arguments)
    given, folder = f"{word}={named[-1]}", expanded(named[-1])
    if folder.is_file():
        raise ConfigError(
            f"{given}: expected a data set or a folder of images; for a list use {word}=csv {word}.root={named[-1]}."
        )
    if not folder.is_dir():
        return None, list(arguments)
    if len(named) > 1:
        raise ConfigError(f"{word}={named[0]} and {given}: expected one data set.")
    others = [one for one in arguments if not one.startswith("dataset=")]
    for one in others:
        if group_of(one) == "dataset" and key_of(one).removeprefix("dataset.") not in OF_FOLDERS:
            raise ConfigError(
                f"{word}{one.lstrip('+~').removeprefix('dataset')}: {given} reads all images below the folder, without"
                f" labels; leave this setting out, or use {word}=image_folder {word}.root={named[-1]}."
            )
    quoted = str(folder).replace("'", "\\'")
    return folder, [*others, "dataset=image_folder", f"dataset.root='{quoted}'"]


def split_backbones(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the names that "backbones=[a,b]" lists, "" for that of the settings, and the other settings.

    Raises ConfigError for an empty list, a name that occurs twice, and a backbone beside the list.
    """
    names, others = _split_list(arguments, "backbones", "[efficientnet_lite0,resnet50]")
    if names and any(one.startswith("backbone=") for one in others):
        raise ConfigError(f"backbones=[{','.join(names)}] lists all backbones: leave backbone= out.")
    return names or [""], others


def split_trained(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the strategies that "trained=[a,b]" lists, and the other settings.

    Raises ConfigError for an empty list, a name that occurs twice, and a strategy whose epochs cannot be compared.
    """
    names, others = _split_list(arguments, "trained", "[finetune_all,lp_ft]")
    for name in names:
        if name in SOLVED.values():
            raise ConfigError(f"trained=[{name}]: {name} solves its head, so it is compared already; leave it out.")
        if name == MIXING:
            raise ConfigError(
                f"trained=[{name}]: {name} chooses a mix of weights on held-out images after its last epoch, and only"
                " epochs are compared; use lp_ft, which trains the same network."
            )
    if names and any(key_of(one) == "trainer.auto_batch" for one in others):
        raise ConfigError("trainer.auto_batch: advise trains whole batches; use a smaller dataset.batch_size instead.")
    return names, others


def _split_list(arguments: Sequence[str], key: str, example: str) -> tuple[list[str], list[str]]:
    """Return the names of the last "key=[a,b]", none without one, and the other arguments."""
    listed = [one for one in arguments if one.startswith(f"{key}=")]
    if not listed:
        return [], list(arguments)
    names = [name.strip() for name in listed[-1].partition("=")[2].strip("[]").split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise ConfigError(f"{listed[-1]}: expected different names, as in {key}={example}.")
    return names, [one for one in arguments if one not in listed]
