"""Test that a ``_target_`` names a known package or one that the user typed; others are never called."""

import json
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import SMALLEST, TINY, answer_of
from hypothesis import given
from hypothesis import strategies as st

from headstart.cli import main
from headstart.errors import ConfigError
from headstart.settings.configs import composed
from headstart.settings.early_checks import trusted_packages
from headstart.settings.identity import config_hash
from headstart.settings.targets import LOG_FILE, PACKAGES, check_hydra, check_packages, check_targets


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write a package of the user that leaves a file when it is imported."""
    (tmp_path / "mine.py").write_text(
        "from pathlib import Path\nfrom headstart.strategies import HeadOnly\n"
        "Path('imported').touch()\nclass Own(HeadOnly): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return "mine"


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["train", *SMALLEST, *TINY, "output_dir=o", *arguments]) == 2
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
        ["task._target_=headstart.records.provenance.subprocess.run"],
        ["head._target_=7"],
    ],
)
def test_what_train_refuses(settings: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(settings, capsys)
    assert "_target_" in said
    assert "--trust" not in said


def test_a_class_of_another_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *SMALLEST, *TINY, "+callbacks.x._target_=torch.nn.Identity"]) == 2
    assert capsys.readouterr().err == "headstart: callbacks.x: Identity is no callback of Lightning's.\n"


def test_a_package_of_ones_own_is_trusted_where_it_is_typed(package: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(["strategy._target_=mine.Own"], capsys)
    assert "strategy._target_=mine.Own" in said
    assert "add allow_targets=[mine]" in said
    assert not Path("imported").exists(), "foreign code is not even imported"
    typed = ["strategy._target_=mine.Own", "allow_targets=[mine]", "debug=fast"]
    assert main(["train", *SMALLEST, *TINY, "output_dir=o", *typed]) == 0
    assert Path("imported").exists()
    (run,) = Path("o").rglob("run.json")
    assert yaml.safe_load((run.parent / "config.yaml").read_text())["allow_targets"] == ["mine"]
    config: Any = yaml.safe_load((run.parent / "config.yaml").read_text())
    hashed = json.loads(run.read_text())["config_hash"]
    assert hashed == config_hash(config) == config_hash({**config, "allow_targets": []}), "no part of the result"


def test_a_file_cannot_trust_itself(package: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "conf" / "experiment"
    folder.mkdir(parents=True)
    content = "# @package _global_\nallow_targets: [mine]\nstrategy:\n  _target_: mine.Own\n"
    (folder / "theirs.yaml").write_text(content)
    theirs = ["--config-dir", str(folder.parent), "experiment=theirs"]
    said = refused(theirs, capsys)
    assert "allow_targets=['mine'] is set in a config file, where it has no effect" in said
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
def test_targets_of_hydra_itself_are_checked(
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
    check_hydra({"job_logging": {"handlers": {"a": {"class": "logging.FileHandler", "filename": LOG_FILE}}}})
    check_hydra({"job_logging": {"format": "%(asctime)s costs $5", "stream": "ext://sys.stdout"}})
    check_hydra({"job": {"env_copy": ["HOME"], "env_set": {"HOME": "/root"}}})
    for wrong in ("hydra.utils.call", "hydra_pluginsx.A", "hydra._internal.utils._locate", None, 3, *HIDDEN):
        with pytest.raises(ConfigError, match="only its own plugins"):
            check_hydra({"callbacks": {"x": {"_target_": wrong}}})


HIDDEN = ("headstart.records.outcomes.write_atomically", "hydra.experimental.callbacks.logging.os.mkdir")


@pytest.mark.parametrize(
    ("settings", "typed", "place"),
    [
        ({"job_logging": {"filters": {"x": {"()": "os.mkdir"}}}}, None, "job_logging.filters.x.()"),
        ({"job_logging": {"handlers": {"x": {"()": "logging.os.mkdir"}}}}, None, "job_logging.handlers.x.()"),
        ({"job_logging": {"handlers": {"x": {"class": "logging.handlers.SocketHandler"}}}}, None, "job_logging"),
        ({"job_logging": {"handlers": {"x": "${hydra.callbacks.x}"}}}, None, "job_logging.handlers.x"),
        ({"hydra_logging": "${hydra.mine}"}, None, "hydra_logging"),
        ({"job_logging": {"x": "ext://os.environ"}}, None, "job_logging.x"),
        ({"job_logging": {"handlers": {"x": {"filename": "here.log"}}}}, "hydra.job_logging.handlers.x.filename", ""),
        (
            {"callbacks": {"x": {"y": {"_target_": "headstart.sweeps.beginning.BeginSweep"}}}},
            None,
            "callbacks.x.y._target_",
        ),
        ({"launcher": {"x": {"_target_": "hydra_plugins.a.B"}}}, None, "launcher.x._target_"),
        ({"mine": {"_target_": "hydra_plugins.a.B"}}, None, "mine._target_"),
        ({"job": {"env_set": {"PATH": "/tmp"}}}, "hydra.job.env_set.PATH", "job.env_set.PATH"),
        ({"launcher": {"setup": ["date"]}}, "+hydra.launcher.setup", "launcher.setup[0]"),
        ({"launcher": {"additional_parameters": {"wrap": "a"}}}, "hydra.launcher.additional_parameters", "launcher"),
        ({"launcher": {"ray": {"init": {"runtime_env": {"a": 1}}}}}, "hydra.launcher.ray.init", "launcher.ray.init"),
        ({"sweeper": {"params": {"++hydra.job.name": "a"}}}, None, "sweeper.params"),
        ({"sweeper": {"params": {"allow_targets": "[torch]"}}}, None, "sweeper.params"),
        ({"overrides": {"task": ["allow_targets=[torch]"]}}, "allow_targets=[torch]", "overrides.task"),
        ({"overrides": {"hydra": ["hydra.job.env_set.A=1"]}}, "hydra.job.env_set.A=1", "overrides.hydra"),
    ],
)
def test_settings_of_hydra_in_a_file_are_refused(settings: dict[str, Any], typed: str | None, place: str) -> None:
    with pytest.raises(ConfigError, match=rf"^hydra\.{re.escape(place)}"):
        check_hydra(settings, ["seed=1"])
    if typed is not None:
        check_hydra(settings, [typed if "=" in typed else f"{typed}=1"])


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    """Return a folder of settings that would make the folder owned if anything in it were called."""
    folder = tmp_path / "evil"
    (folder / "experiment").mkdir(parents=True)
    (folder / "backbone").mkdir()
    call = "{_target_: torch.os.mkdir, path: owned}"
    typed = f"allow_targets: [torch]\ncallbacks: {{x: {call}}}"
    for name, content in {
        "overrides": f"hydra: {{overrides: {{task: ['allow_targets=[torch]']}}}}\n{typed}",
        "sweep_overrides": f"hydra: {{mode: MULTIRUN, overrides: {{hydra: ['allow_targets=[torch]']}}}}\n{typed}",
        "params": f"hydra: {{mode: MULTIRUN, sweeper: {{params: {{allow_targets: '[torch]'}}}}}}\n{typed}",
        "later": "map: {p: pytorch_lightning.callbacks.Timer}\ndataset: {name: p}\n"
        "callbacks: {x: {_target_: '${oc.select:map.${dataset.name},torch.os.mkdir}', path: owned}}",
        "twice": r"callbacks: {x: {_target_: '\${oc.select:nowhere,torch.os.mkdir}', path: owned}}",
        "environment": "hydra: {job: {env_set: {PATH: /nowhere}}}",
        "network": f"backbone: {call}",
    }.items():
        (folder / "experiment" / f"{name}.yaml").write_text(f"# @package _global_\n{content}\n")
    (folder / "backbone" / "net.yaml").write_text(
        f"_target_: headstart.backbones.efficientnet_lite\nname: {call}\nweights: null\nimage_size: null\n"
    )
    return folder


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("overrides", "was not typed"),
        ("sweep_overrides", "was not typed"),
        ("params", "cannot be swept"),
        ("later", "Timer"),
        ("twice", "no setting may hold"),
        ("environment", "if you trust it, type it"),
    ],
)
def test_a_folder_of_a_stranger(name: str, sentence: str, evil: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(
        ["train", "--config-dir", str(evil), f"experiment={name}", *SMALLEST, *TINY, "output_dir=o", "debug=fast"]
    ) in (
        1,
        2,
    )
    said = capsys.readouterr()
    assert sentence in said.err
    assert "Traceback" not in said.err
    assert not Path("owned").exists()


@pytest.mark.parametrize("command", [["inspect"], ["inspect", "layers"]])
@pytest.mark.parametrize("setting", ["backbone=net", "experiment=network"])
def test_looking_at_a_network_of_a_stranger(
    command: list[str], setting: str, evil: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, f"hydra.searchpath=[file://{evil}]", setting, "dataset.counts=[6,4,4]"]) == 2
    assert "torch.os.mkdir" in capsys.readouterr().err
    assert not Path("owned").exists()


@given(st.text(min_size=1), st.sampled_from(["{}", "{}.x", "x.{}", "{}x", " {}"]))
def test_names_of_packages_count_whole(name: str, form: str) -> None:
    target = form.format(name)
    within = any(target == package or target.startswith(f"{package}.") for package in PACKAGES)
    with nullcontext() if within else pytest.raises(ConfigError, match=r"^\[0\]\.a\._target_="):
        check_packages([{"a": {"_target_": target}}])


def test_the_settings_of_a_plain_run_pass_without_torch() -> None:
    code = (
        "import sys; from headstart.settings.configs import composed; from omegaconf import OmegaConf\n"
        "from headstart.settings.early_checks import check_early\n"
        "print(check_early(composed(['augmentation=[crop_resize,mixup]'])[0], [])); print('torch' in sys.modules)"
    )
    assert answer_of(code).split() == ["[]", "False"]


def test_the_full_check_passes_what_a_plain_run_names() -> None:
    config: Any = composed(["augmentation=[crop_resize,augmix,mixup]", "callbacks=[ema,early_stopping]"])[0]
    check_targets(config)
