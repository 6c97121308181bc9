"""A ``_target_`` names what a run needs, or a package that the user typed; whatever else is refused, and not called."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import TINY, answer_of
from hypothesis import given
from hypothesis import strategies as st

from headstart.cli import main
from headstart.errors import ConfigError
from headstart.runs.configs import composed
from headstart.runs.early_checks import trusted_packages
from headstart.runs.identity import config_hash
from headstart.runs.targets import PACKAGES, check_hydra, check_packages, check_targets


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package of the user's own, which says so when it is imported."""
    (tmp_path / "mine.py").write_text(
        "from pathlib import Path\nfrom headstart.strategies import HeadOnly\n"
        "Path('imported').touch()\nclass Own(HeadOnly): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return "mine"


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["train", *TINY, "output_dir=o", *arguments]) == 2
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) == 1, said
    assert not list(Path().rglob("run.json"))
    return said


@pytest.mark.parametrize(
    "settings",
    [
        ["strategy._target_=os.system"],
        ["optimizer._target_=os.system"],
        ["+callbacks.x._target_=subprocess.run"],
        ["+strategy.deep=[{a:{_target_:builtins.exec}}]"],
        ["trainer._target_=torch.os.system"],
        ["scheduler._target_=torch.load"],
        ["dataset._target_=${oc.env:HOME}"],
        ["task._target_=headstart.files.write_atomically"],
        ["task._target_=headstart.runs.provenance.subprocess.run"],
        ["head._target_=7"],
    ],
)
def test_what_train_refuses(settings: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(settings, capsys)
    assert "_target_" in said
    assert "--trust" not in said


def test_a_package_of_ones_own_is_trusted_where_it_is_typed(package: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(["strategy._target_=mine.Own"], capsys)
    assert "strategy._target_=mine.Own" in said
    assert "add allow_targets=[mine]" in said
    assert not Path("imported").exists(), "foreign code is not even imported"
    typed = ["strategy._target_=mine.Own", "allow_targets=[mine]", "debug=fast"]
    assert main(["train", *TINY, "output_dir=o", *typed]) == 0
    assert Path("imported").exists()
    (run,) = Path("o").rglob("run.json")
    assert yaml.safe_load((run.parent / "config.yaml").read_text())["allow_targets"] == ["mine"]
    config: Any = yaml.safe_load((run.parent / "config.yaml").read_text())
    hashed = json.loads(run.read_text())["config_hash"]
    assert hashed == config_hash(config) == config_hash({**config, "allow_targets": []}), "no part of the result"


def test_a_file_cannot_vouch_for_itself(package: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "conf" / "experiment"
    folder.mkdir(parents=True)
    content = "# @package _global_\nallow_targets: [mine]\nstrategy:\n  _target_: mine.Own\n"
    (folder / "theirs.yaml").write_text(content)
    theirs = ["--config-dir", str(folder.parent), "experiment=theirs"]
    said = refused(theirs, capsys)
    assert "allow_targets=['mine'] stands in a config file, which cannot vouch for itself" in said
    assert "add allow_targets=[mine] to the command" in said
    assert not Path("imported").exists()
    assert main(["train", "--cfg", "job", *theirs, "allow_targets=[mine]"]) == 0


def test_trusted_packages() -> None:
    assert trusted_packages({}, []) == []
    assert trusted_packages({"allow_targets": ["a"]}, ["seed=1", "allow_targets=[a]"]) == ["a"]
    assert trusted_packages({"allow_targets": ["a"]}, ["+allow_targets=[a]"]) == ["a"]
    for wrong in ("os", [""], [1], {"a": 1}):
        with pytest.raises(ConfigError, match="expected a list of packages"):
            trusted_packages({"allow_targets": wrong}, ["allow_targets=x"])


@pytest.mark.parametrize(
    "settings",
    [
        ["+hydra.callbacks.x._target_=os.system"],
        ["+hydra.callbacks.x=${optimizer}"],
        ["+hydra.callbacks.x._target_=${optimizer._target_}"],
        ["hydra.launcher._target_=mine.Launcher"],
        ["hydra.sweeper._target_=hydra.utils.call"],
        ["hydra/job_logging=default", "hydra.job_logging.handlers.file.class=os.mkdir"],
        ["hydra/hydra_logging=default", "+hydra.hydra_logging.handlers.x=${optimizer}"],
    ],
)
@pytest.mark.parametrize("flags", [[], ["-m", "seed=0,1"], ["--cfg", "hydra"]])
def test_what_hydra_is_told_to_make(
    settings: list[str], flags: list[str], package: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused([*flags, *settings], capsys).startswith("headstart: hydra.")
    assert not Path("imported").exists()


def test_hydra_in_a_folder_of_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    evil = "hydra:\n  callbacks:\n    x:\n      _target_: os.mkdir\n      path: owned\n"
    (tmp_path / "conf" / "experiment" / "theirs.yaml").write_text(f"# @package _global_\n{evil}")
    said = refused(["--config-dir", str(tmp_path / "conf"), "experiment=theirs"], capsys)
    assert "hydra.callbacks.x._target_=os.mkdir" in said
    assert not Path("owned").exists()


@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local", "submitit_slurm", "ray"])
def test_hydras_own_plugins_pass(launcher: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--cfg", "hydra", f"hydra/launcher={launcher}", "hydra/job_logging=default"]) == 0
    assert "_target_" in capsys.readouterr().out


def test_hydras_settings_by_themselves() -> None:
    check_hydra({"callbacks": {"x": {"_target_": "hydra.experimental.callbacks.LogJobReturnCallback"}}})
    check_hydra({"job_logging": {"handlers": {"a": {"class": "logging.FileHandler", "filename": "${hydra.job.name}"}}}})
    check_hydra({"job_logging": {"format": "%(asctime)s costs $5", "dir": "${hydra.runtime.output_dir}/${now:%Y}"}})
    with pytest.raises(ConfigError, match=r"hydra.job_logging.filters.x.\(\)=os.mkdir: only classes of logging"):
        check_hydra({"job_logging": {"filters": {"x": {"()": "os.mkdir"}}}})
    for wrong in ("hydra.utils.call", "hydra_pluginsx.A", "hydra._internal.utils._locate", None, 3):
        with pytest.raises(ConfigError, match="only its own plugins"):
            check_hydra({"callbacks": {"x": {"_target_": wrong}}})


@given(st.text(min_size=1), st.sampled_from(["{}", "{}.x", "x.{}", "{}x", " {}"]))
def test_names_of_packages_count_whole(name: str, form: str) -> None:
    target = form.format(name)
    within = any(target == package or target.startswith(f"{package}.") for package in PACKAGES)
    with nullcontext() if within else pytest.raises(ConfigError, match=r"^\[0\]\.a\._target_="):
        check_packages([{"a": {"_target_": target}}])


def test_the_settings_of_a_plain_run_pass_without_torch() -> None:
    code = (
        "import sys; from headstart.runs.configs import composed; from omegaconf import OmegaConf\n"
        "from headstart.runs.early_checks import check_early\n"
        "print(check_early(composed(['augmentation=[crop_resize,mixup]'])[0], [])); print('torch' in sys.modules)"
    )
    assert answer_of(code).split() == ["[]", "False"]


def test_the_full_check_passes_what_a_plain_run_names() -> None:
    config: Any = composed(["augmentation=[crop_resize,augmix,mixup]", "callbacks=[ema,early_stopping]"])[0]
    check_targets(config)
