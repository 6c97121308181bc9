import sys
from pathlib import Path

import pytest
from own_parts_example import EXAMPLE, forget, importable, install

from headstart.cli import main
from headstart.errors import ConfigError
from headstart.settings.configs import choices, composed
from headstart.settings.folders import chosen_flags, config_folders, split_config_dir, using_folders

CONF = EXAMPLE / "own_parts" / "conf"


def test_the_flag_and_its_folder_are_taken_out_of_the_arguments() -> None:
    for flag in (["--config-dir", "conf"], ["--config-dir=conf"], ["-cd", "conf"]):
        assert split_config_dir(["a=1", *flag, "b=2"]) == (["a=1", "b=2"], [Path("conf").absolute()])
    with pytest.raises(ConfigError, match="expected a folder of config files"):
        split_config_dir(["a=1", "--config-dir"])


def test_choices_include_those_of_the_folder_inside_the_context_only() -> None:
    with using_folders([CONF]):
        assert {"keep_lowest", "scratch"} <= set(choices("strategy"))
        assert composed(["strategy=keep_lowest"])[0].strategy.keep == 1
        assert chosen_flags() == [f"--config-dir={CONF}"]
    assert "keep_lowest" not in choices("strategy")
    assert chosen_flags() == []


def test_a_folder_that_is_missing_or_has_files_of_headstart_is_refused() -> None:
    with pytest.raises(ConfigError, match="there is no such folder"), using_folders([Path("gone")]):
        pass
    Path("conf", "strategy").mkdir(parents=True)
    Path("conf", "strategy", "scratch.yaml").write_text("keep: 1\n")
    with pytest.raises(ConfigError, match=r"scratch\.yaml' has the name"), using_folders([Path("conf")]):
        pass


def test_installed_packages_add_their_folder_without_being_imported(tmp_path: Path) -> None:
    with importable(install(tmp_path / "site")):
        forget()
        assert config_folders()[1:] == [tmp_path / "site" / "own_parts" / "conf"]
        assert "dots" in choices("dataset")
        assert "own_parts" not in sys.modules
    assert "dots" not in choices("dataset")


def test_help_lists_own_choices_and_wrong_names_suggest_them(capsys: pytest.CaptureFixture[str]) -> None:
    flag = f"--config-dir={CONF}"
    assert main(["train", flag, "--help"]) == 0
    assert "keep_lowest, knn" in capsys.readouterr().out
    assert main(["train", flag, "strategy=keep_lowes"]) == 2
    assert "Did you mean 'keep_lowest'?" in capsys.readouterr().err
    with importable(EXAMPLE):
        assert main(["train", flag, "allow_targets=[own_parts]", "strategy=keep_lowest", "strategy.kep=1"]) == 2
    assert "Did you mean 'strategy.keep'?" in capsys.readouterr().err
    assert main(["inspect", flag, "backbone=three_convolution"]) == 2
    assert "Did you mean 'three_convolutions'?" in capsys.readouterr().err
    assert main(["policy", flag, "dataset=dot"]) == 2
    assert "'dots'" in capsys.readouterr().err


def test_inspect_shows_own_strategies_on_an_own_backbone(capsys: pytest.CaptureFixture[str]) -> None:
    with importable(EXAMPLE):
        arguments = [f"--config-dir={CONF}", "backbone=three_convolutions", "allow_targets=[own_parts]"]
        assert main(["inspect", *arguments]) == 0
    (row,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith(" keep_lowest"))
    assert row.split()[1:] == ["–", "100", "%", "100", "%", "100", "%"]
