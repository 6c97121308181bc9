"""Raise what commands print: each error that a user can correct is a HeadstartError of one sentence."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from headstart.errors import HeadstartError
from headstart.system_errors import system_error

P = ParamSpec("P")
T = TypeVar("T")


def in_one_sentence(function: Callable[P, T]) -> Callable[P, T]:
    """Return the function; errors of the operating system become a HeadstartError."""

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            known = None if isinstance(error, HeadstartError) else system_error(error)
            if known is None:
                raise
            raise known from error

    return guarded


@contextmanager
def own_hydra() -> Iterator[None]:
    """Let Hydra start again inside this context, and put back what another application of Hydra has begun."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig

    shared, settings = GlobalHydra.instance(), HydraConfig.instance()
    begun, config = shared.hydra, settings.cfg
    shared.clear()
    try:
        yield
    finally:
        shared.hydra, settings.cfg = begun, config
