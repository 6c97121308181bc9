"""Find the folders of config files: of headstart, of --config-dir and of installed packages."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import headstart
from headstart.errors import ConfigError
from headstart.settings.packages import installed_packages

FLAGS = ("--config-dir", "-cd")
_CHOSEN: list[Path] = []
"""The folders of --config-dir in the present command."""


def conf_folder() -> Path:
    """Return the folder of the Hydra groups: in the installed package, or at the top of the checkout."""
    package = Path(headstart.__file__).resolve().parent
    shipped = package / "conf"
    return shipped if shipped.is_dir() else package.parents[1] / "conf"


def further_folders() -> list[Path]:
    """Return the folders of --config-dir, then those of installed packages."""
    return [*_CHOSEN, *(one.config_folder for one in installed_packages() if one.config_folder is not None)]


def config_folders() -> list[Path]:
    """Return all folders. If two have a file of the same name, Hydra reads the one in the first folder."""
    return [conf_folder(), *further_folders()]


def chosen_flags() -> list[str]:
    """Return the --config-dir arguments of the present command."""
    here = Path.cwd()
    return [f"{FLAGS[0]}={of.relative_to(here) if of.is_relative_to(here) else of}" for of in _CHOSEN]


def split_config_dir(arguments: Sequence[str]) -> tuple[list[str], list[Path]]:
    """Return the arguments without --config-dir, and its folders. Raises ConfigError if it has no folder."""
    others: list[str] = []
    folders: list[Path] = []
    left = iter(arguments)
    for argument in left:
        name, equals, value = argument.partition("=")
        if name not in FLAGS:
            others.append(argument)
            continue
        folder = value if equals else next(left, "")
        if not folder:
            raise ConfigError(f"{name}: expected a folder of config files, as in {FLAGS[0]}=conf.")
        folders.append(Path(folder).absolute())
    return others, folders


@contextmanager
def using_folders(folders: Iterable[Path]) -> Iterator[None]:
    """Use folders of config files inside this context.

    Raises ConfigError for a folder that is missing, or that has a file with the name of one of headstart's.
    """
    chosen = list(folders)
    for folder in chosen:
        _check(folder)
    before = list(_CHOSEN)
    _CHOSEN[:] = chosen
    try:
        yield
    finally:
        _CHOSEN[:] = before


def _check(folder: Path) -> None:
    if not folder.is_dir():
        raise ConfigError(f"{FLAGS[0]}={folder}: there is no such folder.")
    shipped = conf_folder()
    if folder.resolve() == shipped.resolve():
        return
    for file in sorted(folder.rglob("*.yaml")):
        if (shipped / file.relative_to(folder)).is_file():
            raise ConfigError(f"'{file}' has the name of a file of headstart, which would be read instead; rename it.")
