"""Keep what the chosen files of the groups give, because most runs of a process choose the same files. Needs no torch.

Reading and merging these files is nine tenths of the time in which Hydra composes the settings of a run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from pickle import dumps, loads
from typing import Any

from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository, IConfigRepository
from hydra._internal.defaults_list import DefaultsList
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.default_element import ResultDefault
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import DictConfig

MOST = 100  # choices, of about 25 kB each
_FILES: dict[tuple[Any, ...], bytes] = {}  # pickled, as settings are read from a pickle six times as fast as copied
_LISTS: dict[tuple[Any, ...], DefaultsList] = {}
_MERGED: dict[int, bytes] = {}
"""The merged content of the files, pickled, by the id of their list."""


@contextmanager
def remembering_choices() -> Iterator[None]:
    """Let Hydra read and merge the files of a choice once, until one of them changes."""
    plain_list = config_loader_impl.create_defaults_list
    plain_merge = ConfigLoaderImpl._compose_config_from_defaults_list
    plain_cached = CachingConfigRepository.__init__
    Plugins.instance()  # registers the sources
    files_class = SourcesRegistry.instance().resolve("file")  # Hydra imports the module of this class a second time
    plain_file = files_class.load_config

    def read(source: ConfigSource, config_path: str) -> ConfigResult:
        file = Path(source.path) / source._normalize_file_name(config_path)
        key = (source.provider, *(_stamp(file) if file.is_file() else (str(file),)))
        if key not in _FILES:
            _FILES[key] = dumps(plain_file(source, config_path))
        found: ConfigResult = loads(_FILES[key])
        return found

    def files(repo: IConfigRepository, config_name: str, overrides_list: list[Override], **how: bool) -> DefaultsList:
        fixed = [one for one in overrides_list if not one.is_sweep_override()]
        chosen = [one for one in fixed if repo.group_exists(one.key_or_group) and not isinstance(one.value(), dict)]
        key = (config_name, *how.values(), *(one.input_line for one in chosen), _state(repo))
        if key not in _LISTS:
            found = plain_list(repo=repo, config_name=config_name, overrides_list=overrides_list, **how)
            if len(_LISTS) == MOST:
                _MERGED.pop(id(_LISTS.pop(next(iter(_LISTS))).defaults), None)
            _LISTS[key] = found
        kept = copy(_LISTS[key])
        kept.config_overrides = [one for one in fixed if one not in chosen]
        return kept

    def merged(loader: ConfigLoaderImpl, defaults: list[ResultDefault], repo: IConfigRepository) -> DictConfig:
        if not any(kept.defaults is defaults for kept in _LISTS.values()):
            return plain_merge(loader, defaults, repo)
        if id(defaults) not in _MERGED:
            _MERGED[id(defaults)] = dumps(plain_merge(loader, defaults, repo))
        config: DictConfig = loads(_MERGED[id(defaults)])
        return config

    def cached(caching: CachingConfigRepository, delegate: ConfigRepository) -> None:
        # Hydra copies all sources, only to leave theirs unchanged by initialize_sources; their list is enough.
        caching.delegate = copy(delegate)
        caching.cache = {}

    files_class.load_config = read  # type: ignore[method-assign, assignment]
    config_loader_impl.create_defaults_list = files  # type: ignore[assignment]
    ConfigLoaderImpl._compose_config_from_defaults_list = merged  # type: ignore[method-assign, assignment]
    CachingConfigRepository.__init__ = cached  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        files_class.load_config = plain_file  # type: ignore[method-assign]
        config_loader_impl.create_defaults_list = plain_list
        ConfigLoaderImpl._compose_config_from_defaults_list = plain_merge  # type: ignore[method-assign]
        CachingConfigRepository.__init__ = plain_cached  # type: ignore[method-assign]


def _state(repo: IConfigRepository) -> tuple[Any, ...]:
    """Return the sources of config files, with the stamp of each file in their folders."""
    state: list[Any] = []
    for source in repo.get_sources():
        state.append((source.scheme(), source.path))
        if source.scheme() == "file":
            state += map(_stamp, sorted(Path(source.path).rglob("*.yaml")))
    return tuple(state)


def _stamp(file: Path) -> tuple[Any, ...]:
    stat = file.stat()
    return str(file), stat.st_mtime_ns, stat.st_size, stat.st_ino
