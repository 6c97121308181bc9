import sys
from pathlib import Path

import pytest
from own_parts_example import EXAMPLE, importable

from headstart.errors import ConfigError, DataError
from headstart.kinds import is_share, kind_in, kind_of
from headstart.settings.packages import trust

NAME = "own_parts.kinds.CountKind"


def test_a_run_makes_nothing_import_that_is_not_trusted(tmp_path: Path) -> None:
    with importable(EXAMPLE):
        with pytest.raises(DataError, match=r"no installed package has its kind of target.* add --trust own_parts"):
            kind_of({"task": NAME})
        assert "own_parts" not in sys.modules
        trust("own_parts")
        assert not is_share("test/exact")
        assert kind_of({"task": NAME}).primary.name == "exact"
        assert is_share("test/exact")


@pytest.mark.parametrize("name", ["own_parts.kinds.CountPredictions", "own_parts.kinds", "own_parts.kinds.Count"])
def test_only_a_class_with_its_own_path_as_name_is_a_kind(name: str) -> None:
    with importable(EXAMPLE):
        trust("own_parts")
        with pytest.raises(DataError, match=r"has no 'Count'\. Did you mean 'CountKind'|whose attribute 'name' is"):
            kind_of({"task": name})


def test_a_task_may_name_its_kind_without_further_trust() -> None:
    with importable(EXAMPLE):
        assert kind_in({}, NAME).name == NAME
        assert kind_of({"task": NAME}).name == NAME
        with pytest.raises(ConfigError, match="has no 'Kind'"):
            kind_in({}, "own_parts.kinds.Kind")
