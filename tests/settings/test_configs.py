"""Test that settings are composed once, as Hydra composes them."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.singleton import Singleton
from hydra.core.utils import JobRuntime, setup_globals
from hydra.errors import ConfigCompositionException
from hydra.plugins.sweeper import Sweeper
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from headstart.settings.configs import checking_settings, conf_folder

CHOSEN = ["strategy=lora", "seed=3"]


@pytest.fixture
def loader() -> Iterator[ConfigLoaderImpl]:
    """Return Hydra's loader of the shipped configs."""
    state = Singleton.get_state()
    setup_globals()
    JobRuntime().set("name", "train")
    yield ConfigLoaderImpl(create_config_search_path(str(conf_folder())))
    Singleton.set_state(state)


def as_hydra_asks(loader: ConfigLoaderImpl, overrides: list[str]) -> DictConfig:
    """Load the settings as Hydra does for a run: to know the mode, then to run."""
    first = {"run_mode": RunMode.MULTIRUN, "validate_sweep_overrides": False}
    loader.load_configuration(config_name="train", overrides=overrides, **first)
    return loader.load_configuration(
        config_name="train", overrides=[*overrides, "hydra.mode=RUN"], run_mode=RunMode.RUN
    )


@pytest.fixture
def composed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets an item whenever Hydra composes settings."""
    plain = ConfigLoaderImpl._load_configuration_impl
    times: list[int] = []
    monkeypatch.setattr(
        ConfigLoaderImpl, "_load_configuration_impl", lambda *args, **asked: times.append(1) or plain(*args, **asked)
    )
    return times


def test_settings_of_a_run_are_composed_once_and_equal_hydras(loader: ConfigLoaderImpl, composed: list[int]) -> None:
    expected = OmegaConf.to_container(as_hydra_asks(loader, CHOSEN))
    assert len(composed) == 2
    with checking_settings():
        assert OmegaConf.to_container(as_hydra_asks(loader, CHOSEN)) == expected
    assert len(composed) == 3


def as_a_sweep_asks(loader: ConfigLoaderImpl, jobs: list[list[str]]) -> list[Any]:
    """Load the settings of jobs as Hydra does in a sweep: to see that all can start, and to start each of them."""
    master = loader.load_configuration(
        config_name="train", overrides=["hydra.mode=MULTIRUN"], run_mode=RunMode.MULTIRUN
    )
    sweeper: Any = SimpleNamespace(hydra_context=SimpleNamespace(config_loader=loader), config=master)
    Sweeper.validate_batch_is_legal(sweeper, jobs)
    found = []
    for number, job in enumerate(jobs):
        config = loader.load_sweep_config(master, job)
        found.append(OmegaConf.to_container(config))
        OmegaConf.set_struct(config, False)
        config.hydra.job.num = number  # Hydra changes the settings of a job when it starts
    return found


def test_each_job_of_a_sweep_is_composed_once(loader: ConfigLoaderImpl, composed: list[int]) -> None:
    jobs = [["seed=1"], ["seed=2"], ["seed=1"]]
    expected = as_a_sweep_asks(loader, jobs)
    assert len(composed) == 7
    with checking_settings(multirun=True):
        assert as_a_sweep_asks(loader, jobs) == expected
    assert len(composed) == 7 + 1 + 3 + 1  # the sweep itself, its three jobs, and a job that starts twice


@pytest.mark.parametrize(("override", "sentence"), [("seed=1,2", "sweep"), ("strategy=???", "specify 'strategy'")])
def test_what_only_a_sweep_may_have_is_refused_for_a_run(
    loader: ConfigLoaderImpl, override: str, sentence: str
) -> None:
    with checking_settings(), pytest.raises(ConfigCompositionException, match=sentence):
        as_hydra_asks(loader, [override])
