"""Find and compose the Hydra groups, and turn Hydra's errors into one sentence. Needs no torch."""

import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from string import Template
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.plugins.sweeper import Sweeper
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, MissingMandatoryValue, OmegaConfBaseException

from headstart.config_memory import remembering_choices
from headstart.errors import ConfigError, HeadstartError, nearest
from headstart.files import expanded
from headstart.settings.effects import flatten
from headstart.settings.folders import conf_folder, config_folders
from headstart.settings.samples import sample_jobs
from headstart.settings.targets import check_hydra
from headstart.typed import key_of

COMMANDS = ("train", "pretrain")
"""Commands with every config group, by their config files."""
CONFIG_ERRORS = (HydraException, OmegaConfBaseException)


def composed(arguments: Sequence[str], name: str = "train") -> tuple[DictConfig, dict[str, str]]:
    """Return the settings of one run, to which keys may be added, and the names of the chosen files by group.

    ``arguments`` are key=value; ``name`` is the config file that the command starts from. Raises ConfigError for an
    argument that is not a setting, and one of ``CONFIG_ERRORS`` for wrong names and values.
    """
    for argument in arguments:
        if argument.startswith("-") or "=" not in argument:
            raise ConfigError(f"'{argument}' is not a setting; expected key=value, as in backbone=resnet50.")
    refuse_parts(arguments)
    config = _composed(name, arguments)
    choices = {str(group): str(name) for group, name in config.hydra.runtime.choices.items()}
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    return config, choices


def _composed(name: str, arguments: Sequence[str]) -> DictConfig:
    """Return the settings with those of Hydra itself, under the key "hydra"."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"), remembering_choices():
        return compose(name, list(arguments), return_hydra_config=True)


def help_text(arguments: Sequence[str], name: str = "train") -> str:
    """Return the text of ``--help``: the groups, and the settings that the arguments choose.

    ``name`` is the config file that the command starts from.

    The text is that of Hydra, but it takes a second less: Hydra 1.3.8 reads every file once for each group.
    """
    config = _composed(name, arguments)
    template = Template(config.hydra.help.template)
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    groups = [f"{group}: {', '.join(choices(group))}" for group in group_names(name)]
    return template.safe_substitute(APP_CONFIG_GROUPS="\n".join(groups) + "\n", CONFIG=OmegaConf.to_yaml(config))


def group_names(name: str = "train") -> list[str]:
    """Return the names of the config groups of a command that starts from the config file ``name``."""
    found = {entry.name for folder in config_folders() for entry in folder.iterdir() if entry.is_dir()}
    return sorted(found - (set() if name == "pretrain" else {"objective"}))


def is_group(name: str) -> bool:
    """Return whether a config group, such as hydra/launcher, has this name."""
    return any((folder / name).is_dir() for folder in config_folders())


def choices(group: str) -> list[str]:
    """Return the names to choose from in a config group, without files that other files include (_name.yaml)."""
    found = {file.stem for folder in config_folders() for file in (folder / group).glob("*.yaml")}
    return sorted(name for name in found if not name.startswith("_"))


MOST_AHEAD = 1000  # settings of jobs, of about 100 kB each
Check = Callable[[DictConfig, list[str]], object]


def refuse_parts(arguments: Sequence[str]) -> None:
    """Raise ConfigError if an argument chooses a file that is only for inclusion in others (_name.yaml)."""
    for argument in arguments:
        group, _, value = argument.lstrip("+").partition("=")
        for name in re.findall(r"[^][,'\s]+", value):
            if name.startswith("_") and re.fullmatch(r"[a-z/]+", group) and is_group(group):
                raise ConfigError(f"There is no {group} '{name}'.{nearest(name, choices(group))}")


@contextmanager
def checking_settings(check: Check | None = None, multirun: bool = False) -> Iterator[None]:
    """Check the settings inside this context before Hydra creates any object that they name.

    Hydra creates callbacks and log handlers before it calls our function, so the check runs in its config loader.
    ``check`` gets the settings of a run, or of some jobs of a sweep, and the typed arguments. ``multirun`` is true for
    a command with -m.
    """
    plain = ConfigLoaderImpl.load_configuration
    refused: dict[tuple[str, ...], Exception] = {}  # Hydra composes twice, and ignores the error of the first time
    passed: set[tuple[str, ...]] = set()
    composed_once: dict[tuple[str, ...], DictConfig] = {}  # Hydra composes the first time only to read the mode
    # Hydra composes each job of a sweep before the first one starts, to see whether it can, and again when it starts.
    composed_ahead: dict[tuple[str, ...], DictConfig] = {}
    looking_ahead = [False]
    plain_look = Sweeper.validate_batch_is_legal

    def look(sweeper: Sweeper, batch: Sequence[Sequence[str]]) -> None:
        looking_ahead[0] = True
        try:
            plain_look(sweeper, batch)
        finally:
            looking_ahead[0] = False

    def checked(loader: ConfigLoaderImpl, *, overrides: list[str], **settings: Any) -> DictConfig:
        asked = tuple(override for override in overrides if not override.startswith("hydra.mode="))
        if asked in refused:
            raise refused[asked]
        if not looking_ahead[0] and asked in composed_ahead:
            return composed_ahead.pop(asked)
        if overrides[-1:] == ["hydra.mode=RUN"] and tuple(overrides[:-1]) in composed_once:
            config = composed_once.pop(tuple(overrides[:-1]))
            config.hydra.mode = RunMode.RUN
            config.hydra.overrides.hydra.append(overrides[-1])
            return config
        try:
            config = plain(loader, overrides=overrides, **settings)
            check_hydra(OmegaConf.to_container(config.hydra, resolve=False), overrides)
            if check is not None and asked not in passed:
                with suppress(OmegaConfBaseException):  # Hydra sets some values only later
                    if not multirun and config.hydra.mode != RunMode.MULTIRUN:
                        check(without_hydra(config), overrides)
                    elif settings["run_mode"] == RunMode.MULTIRUN:  # else it is a single job
                        one = settings | {"run_mode": RunMode.RUN}
                        jobs = sample_jobs(config, overrides, loader)
                        check_jobs(((plain(loader, overrides=job, **one), job) for job in jobs), check)
                passed.add(asked)
            if config.hydra.mode is None and not _depends_on_mode(config, overrides):
                composed_once[tuple(overrides)] = config
            if looking_ahead[0] and len(composed_ahead) < MOST_AHEAD:
                composed_ahead[asked] = config
        except Exception as error:
            refused[asked] = error
            raise
        return config

    ConfigLoaderImpl.load_configuration = checked  # type: ignore[method-assign, assignment]
    Sweeper.validate_batch_is_legal = look  # type: ignore[method-assign, assignment]
    try:
        with remembering_choices():
            yield
    finally:
        ConfigLoaderImpl.load_configuration = plain  # type: ignore[method-assign]
        Sweeper.validate_batch_is_legal = plain_look  # type: ignore[method-assign]


def _depends_on_mode(config: DictConfig, overrides: list[str]) -> bool:
    """Return whether settings are valid only in a sweep: swept values, or groups without a choice."""
    swept = any(override.is_sweep_override() for override in OverridesParser.create().parse_overrides(overrides))
    return swept or bool(OmegaConf.missing_keys(config.hydra.runtime.choices))


def check_jobs(jobs: Iterable[tuple[DictConfig, list[str]]], check: Check) -> None:
    """Raise the error of these jobs if all of them fail with the same sentence.

    Such an error does not depend on the swept settings. Otherwise each job reports its own error later.
    """
    first: HeadstartError | None = None
    for config, typed in jobs:
        try:
            check(without_hydra(config), typed)
        except HeadstartError as error:
            if first is not None and str(error) != str(first):
                return
            first = error
        else:
            return
    if first is not None:
        raise first


def without_hydra(config: DictConfig) -> DictConfig:
    """Return the settings of a run without those of Hydra itself."""
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def error_text(error: Exception, arguments: Sequence[str] = (), name: str = "train") -> str:
    """Return one sentence about an error in the settings, with the nearest valid choice.

    ``arguments`` are those of the command; ``name`` is the config file that it starts from.
    """
    if isinstance(error, MissingConfigException):
        return _no_such_choice(error)
    if "You must specify 'objective'" in str(error):
        return f"objective is not set; choose one: {', '.join(choices('objective'))}."
    if isinstance(error, OverrideParseException):
        return f"'{error.override}' cannot be read as a setting; expected key=value, as in optimizer.lr=0.01."
    if isinstance(error, MissingMandatoryValue):
        key = getattr(error, "full_key", None) or _quoted(str(error)) or "a setting"
        return f"{key} is not set; give it a value, as in {key}=..."
    if isinstance(error, InterpolationResolutionError):
        key = getattr(error, "full_key", None) or "A setting"
        return f"{key} refers to something that does not exist: {_line(error)}."
    unknown = re.search(r"Could not (?:override|delete from config\.)\s*'([^']+)'", str(error))
    if unknown:
        key = unknown.group(1)
        return f"There is no setting '{key}'.{nearest(key, known_keys(arguments, key, name), limit=8)}"
    if str(error).startswith("Ambiguous value for argument"):
        setting = _quoted(str(error)) or ""
        point = re.sub(r"=(-?\d+),(0\d+)$", r"=\1.\2", setting)  # 01 is no value of its own
        hint = f", or write a decimal point: {point}" if point != setting else ""
        return f"'{setting}' names several values: add -m to run each of them{hint}."
    return f"{_line(error)}."


def raised_by_hydra(error: BaseException) -> bool:
    """Return whether Hydra or OmegaConf raised an error, which means that a setting has a wrong form."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and not {"hydra", "omegaconf"}.isdisjoint(Path(frames[-1].filename).parts)


def missing_plugin(error: Exception) -> Exception:
    """Return a ConfigError for a Hydra plugin that is not installed, and other errors unchanged."""
    found = re.search(r"Unknown plugin class : 'hydra_plugins\.hydra_(\w+?)_launcher\.\w+\.(\w+)'", str(error))
    if not found:
        return error
    name = {"LocalLauncher": "submitit_local", "SlurmLauncher": "submitit_slurm"}.get(found.group(2), found.group(1))
    return ConfigError(f"hydra/launcher={name} needs the extra: pip install 'headstart[sweep]'.")


def known_keys(arguments: Sequence[str], without: str, name: str = "train") -> list[str]:
    """Return the names of the groups and the dotted keys of the settings that the arguments choose.

    The argument that sets ``without``, which does not exist, is left out.
    """
    settings = [argument for argument in arguments if "=" in argument and not argument.startswith("-")]
    kept = [setting for setting in settings if key_of(setting) != without]
    for overrides in (kept, []):
        try:
            config = OmegaConf.to_container(without_hydra(_composed(name, overrides)), resolve=False)
        except (*CONFIG_ERRORS, HeadstartError):
            continue
        groups = [group for group in group_names(name) if name in COMMANDS or group in config]  # type: ignore[operator]
        return [*groups, *flatten(config)]  # type: ignore[arg-type]
    return []


def _no_such_choice(error: MissingConfigException) -> str:
    missing = error.missing_cfg_file or ""
    if "/" not in missing:
        return f"There is no config '{missing}'." + nearest(missing, error.options or [])
    *groups, name = missing.split("/", 2 if missing.startswith("hydra/") else 1)
    group, place = "/".join(groups), expanded(name)
    if group == "dataset" and place.exists():
        word, kind = ("file", "csv") if place.is_file() else ("folder", "image_folder")
        return f"dataset={name} is a {word}; use dataset={kind} dataset.root={name}."
    options = [option for option in error.options or choices(group) if not option.startswith("_")]
    return f"There is no {group} '{name}'.{nearest(name, options)}"


def _quoted(text: str) -> str | None:
    found = re.search(r"'([^']+)'|Missing mandatory value: (\S+)", text)
    return (found.group(1) or found.group(2)) if found else None


def _line(error: Exception) -> str:
    """Return the first two informative lines of a message, joined."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = [line for line in lines if not line.startswith(("full_key:", "object_type="))]
    return " ".join(kept[:2]).rstrip(".") if kept else type(error).__name__
