"""Test that one sweep gives the same numbers with every launcher."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALLEST, TINY, answer_of, runs_below
from forking import Server

STRATEGIES = ("scratch", "finetune_all")
COMMAND = "import sys; from headstart.cli import main; sys.exit(main(sys.argv[1:]))"


def sweep(
    launcher: str, tmp_path: Path, warm: Server, strategies: Sequence[str] = STRATEGIES
) -> tuple[dict[str, Any], str]:
    """Run a sweep in a copied process; return the metrics of each strategy and the output."""
    started = time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path), "RAY_TMPDIR": "/tmp"}
    settings = [*TINY, *SMALLEST, "-m", f"strategy={','.join(strategies)}", f"hydra/launcher={launcher}"]
    command = [sys.executable, "-c", COMMAND, "train", *settings, f"output_dir={launcher}"]
    done = warm.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    runs = runs_below(Path(launcher))
    print(f"{launcher}: {len(runs)} runs in {time.perf_counter() - started:.0f} s")
    assert {run["status"] for run in runs} == {"finished"}
    return {run["strategy"]: run["metrics"] for run in runs}, done.stderr


@pytest.mark.slow
def test_every_launcher_gives_the_same_numbers(tmp_path: Path, warm: Server) -> None:
    expected, _ = sweep("basic", tmp_path, warm)
    assert set(expected) == set(STRATEGIES)
    for launcher, strategies in (("joblib", STRATEGIES), ("submitit_local", STRATEGIES[:1]), ("ray", STRATEGIES[1:])):
        found, said = sweep(launcher, tmp_path, warm, strategies)
        assert found == {name: expected[name] for name in strategies}, launcher
        assert "ConfigStore schema" not in said  # Hydra warns where a name is told in two places
    assert not re.search("raylet", subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout)


@pytest.mark.parametrize(
    ("package", "launcher"),
    [("joblib", "joblib"), ("submitit", "submitit_local"), ("submitit", "submitit_slurm"), ("ray", "ray")],
)
def test_a_launcher_that_is_not_installed(package: str, launcher: str) -> None:
    code = (
        f"import sys; sys.modules['hydra_plugins.hydra_{package}_launcher'] = None; sys.stderr = sys.stdout\n"
        "from headstart.cli import main\n"
        f"print(main(['train', '-m', 'seed=0,1', 'hydra/launcher={launcher}']), 'torch' in sys.modules)"
    )
    assert (
        answer_of(code)
        == f"headstart: hydra/launcher={launcher} needs the extra: pip install 'headstart[sweep]'.\n2 False\n"
    )


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "submitit_slurm", "ray"])
def test_our_settings_take_the_place_of_the_packages(launcher: str) -> None:
    code = (
        "import warnings; warnings.simplefilter('error')\n"
        "from headstart.cli import main\n"
        f"main(['train', '--cfg', 'hydra', 'hydra/launcher={launcher}'])"
    )
    said = answer_of(code)
    assert "${headstart." in said or "max_num_timeout: 20" in said


def test_settings_fit_what_the_packages_take() -> None:
    """Our settings for a launcher are exactly those that its package accepts."""
    from hydra_plugins.hydra_joblib_launcher.config import JobLibLauncherConf
    from hydra_plugins.hydra_submitit_launcher.config import LocalQueueConf, SlurmQueueConf
    from omegaconf import OmegaConf

    from headstart.settings.configs import conf_folder

    for name, known in {
        "joblib": JobLibLauncherConf,
        "submitit_local": LocalQueueConf,
        "submitit_slurm": SlurmQueueConf,
    }.items():
        ours = OmegaConf.load(conf_folder() / "hydra" / "launcher" / f"{name}.yaml")
        assert set(ours) == set(OmegaConf.structured(known)), name


def test_help_names_the_launchers_without_loading_them() -> None:
    code = (
        "import sys; from headstart.cli import main\n"
        "main(['train', '--cfg', 'job'])\n"
        "print(sorted({'torch', 'optuna', 'ray', 'submitit'} & set(sys.modules)))"
    )
    assert answer_of(code).splitlines()[-1] == "[]"
