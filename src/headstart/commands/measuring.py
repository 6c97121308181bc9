"""Read the arguments of commands that pass once over all images, and make the folder of their results."""

import time
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from headstart.commands.explain import Parser
from headstart.errors import ConfigError
from headstart.files import check_writable
from headstart.settings.configs import composed
from headstart.settings.early_checks import resolved_and_checked
from headstart.settings.effects import augmentation_names
from headstart.settings.identity import make_run_directory, readable_name
from headstart.typed import key_of

STRATEGY = "linear_probe"
WITHOUT_USE = {"references": "[]", "test_views": "null"}  # settings, and their values that change nothing
LIMITS = ("limit_train_batches", "limit_val_batches", "limit_test_batches")


class ResultFolder:
    """The folder of --out, or a new folder in OUTPUT_DIR/DATE, which ``make`` creates."""

    def __init__(self, config: DictConfig, out: Path | None = None, files: Sequence[str] = ()) -> None:
        """Raise an error before the work starts if ``files`` cannot be written to --out, or nothing to output_dir."""
        self.out, self.path = out, out or Path(str(config.output_dir))
        check_writable(self.path, f"choose another {'--out' if out else 'output_dir'}", files if out else ())

    def make(self, *words: str) -> Path:
        """Create and return the folder; a new one is named after ``words``."""
        if self.out is None:
            return make_run_directory(self.path / time.strftime("%Y-%m-%d"), readable_name(*words))
        self.out.mkdir(parents=True, exist_ok=True)
        return self.out


def settings_and_out(arguments: Sequence[str], command: str) -> tuple[list[str], Path | None]:
    """Return the settings among the arguments of a command, and the folder that --out names. Raises ConfigError."""
    parser = Parser(prog=f"headstart {command}", add_help=False, allow_abbrev=False)
    parser.add_argument("settings", nargs="*")
    parser.add_argument("--out", type=Path)
    options = parser.parse_intermixed_args(list(arguments))
    return options.settings, options.out


def probe_settings(arguments: Sequence[str], command: str) -> tuple[DictConfig, dict[str, str]]:
    """Return the settings of a run with strategy=linear_probe, and the names of the chosen groups.

    Raises ConfigError for a setting that does not suit a command that passes once over all images.
    """
    named = "strategy" in map(key_of, arguments)
    config, choices = composed([*arguments] if named else [*arguments, f"strategy={STRATEGY}"])
    if choices.get("strategy") != STRATEGY:
        raise ConfigError(
            f"strategy={choices.get('strategy')}: {command} fits linear probes; leave it out, or use"
            f" strategy={STRATEGY}."
        )
    if names := augmentation_names(config.get("augmentation")):
        raise ConfigError(
            f"augmentation={','.join(names)}: {command} passes over the images once, without augmentation; use"
            " augmentation=none."
        )
    for name, nothing in WITHOUT_USE.items():
        if config.get(name):
            raise ConfigError(f"{name}={config[name]}: {command} makes no use of it; use {name}={nothing}.")
    for name in LIMITS:
        if name in config.trainer:
            raise ConfigError(
                f"trainer.{name}: {command} uses all images; leave it out, or use fewer images with"
                " dataset.labels_per_class."
            )
    config = resolved_and_checked(config, arguments)
    # Without epochs and a run directory, loggers and callbacks have nothing to do.
    config.logger, config.callbacks = {}, {}
    return config, choices
