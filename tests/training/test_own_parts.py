"""The example of own parts trains, is compared and repeated, from a config folder and as an installed package."""

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from own_parts_example import EXAMPLE, QUICK, forget, importable, install

from headstart.cli import main

BY_FOLDER = [f"--config-dir={EXAMPLE / 'own_parts' / 'conf'}", "allow_targets=[own_parts]"]


def records() -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(Path().rglob("runs/**/run.json"))]


def test_a_sweep_and_its_report_by_folder(capsys: pytest.CaptureFixture[str]) -> None:
    with importable(EXAMPLE):
        sweep = ["train", "-m", *BY_FOLDER, *QUICK, "strategy=keep_lowest,scratch", "task=counting"]
        assert main([*sweep, "output_dir=runs"]) == 0
        assert "frozen     stage1" in capsys.readouterr().out
        for run in records():
            assert run["status"] == "finished"
            assert (run["task"], run["primary"]["name"]) == ("own_parts.kinds.CountKind", "exact")
            assert len(run["provenance"]["own_code"]["own_parts"]) == 64
            assert run["provenance"]["command_line"].startswith(f"headstart train {BY_FOLDER[0]} ")
        assert main([*sweep, "output_dir=runs"]) == 0
        assert capsys.readouterr().out.count("skipped: finished before") == 2
        forget()
        assert main(["report", "runs"]) == 2
        said = capsys.readouterr().err
        assert "no installed package has its kind of target, own_parts.kinds.CountKind" in said
        assert "add --trust own_parts" in said
        assert main(["report", "runs", "--trust", "own_parts", "--no-figures"]) == 0
        assert "share of exact counts" in capsys.readouterr().out
    assert main(["report", "runs", "--trust", "own_parts"]) == 2
    assert "there is no module 'own_parts'; if it is in the working directory" in capsys.readouterr().err


def test_an_installed_package_needs_no_argument(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with importable(install(tmp_path / "site")):
        assert main(["train", *QUICK, "strategy=keep_lowest", "task=counting"]) == 0
        forget()
        (path,) = Path("runs").rglob("run.json")
        assert main(["reproduce", str(path.parent)]) == 0
        assert "verdict: bit-equal" in capsys.readouterr().out


def test_classes_of_own_images_are_tested_again(capsys: pytest.CaptureFixture[str]) -> None:
    with importable(EXAMPLE):
        assert main(["train", *BY_FOLDER, *QUICK, "strategy=keep_lowest"]) == 0
        (path,) = Path("runs").rglob("run.json")
        assert main(["evaluate", str(path.parent)]) == 2
        assert "if you trust this one, add --trust own_parts" in capsys.readouterr().err
        assert main(["evaluate", str(path.parent), "--trust", "own_parts"]) == 0


def test_a_sweep_repeats_runs_whose_code_has_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = ["train", "-m", *QUICK, "strategy=keep_lowest", "output_dir=runs"]
    with importable(install(tmp_path / "site")):
        assert main(sweep) == 0
        file = tmp_path / "site" / "own_parts" / "strategies.py"
        file.write_text(file.read_text().replace("self.keep :", "self.keep + 1 :"))
        forget()
        capsys.readouterr()
        assert main(sweep) == 0
        assert "runs again: the code of own_parts has changed" in capsys.readouterr().out
        forget()
        assert main(sweep) == 0
        assert "skipped: finished before" in capsys.readouterr().out
        first, second = (path.parent for path in Path("runs").rglob("run.json"))
        assert main(["diff", str(first), str(second)]) == 0
        assert "own_code.own_parts" in capsys.readouterr().out


def test_an_error_in_an_own_part_shows_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with importable(install(tmp_path / "site")):
        file = tmp_path / "site" / "own_parts" / "strategies.py"
        file.write_text(file.read_text().replace("stage_names", "stage_nam"))
        assert main(["train", *QUICK, "strategy=keep_lowest"]) == 2
        assert f"of {file}: return self.backbone.stage_nam[self.keep :])." in capsys.readouterr().err


def test_the_package_of_the_example_has_the_entry_point_that_is_tested() -> None:
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["headstart"] == {"own_parts": "own_parts"}
    assert "own_parts" not in sys.modules


STOPS = """
    def on_train_epoch_start(self):
        super().on_train_epoch_start()
        if self.current_epoch == 1:
            raise OSError
"""


def test_a_stopped_run_resumes_only_with_the_same_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = ["train", "-m", *QUICK, "strategy=keep_lowest", "output_dir=runs", "sweep.checkpoint_share=1"]
    with importable(install(tmp_path / "site")):
        file = tmp_path / "site" / "own_parts" / "strategies.py"
        whole = file.read_text()
        file.write_text(whole + STOPS)
        assert main([*sweep, "sweep.retry=0"]) == 1
        assert list(Path("runs").rglob("resume.ckpt"))
        file.write_text(whole)
        forget()
        capsys.readouterr()
        assert main([*sweep, "sweep.retry=1"]) == 0
        assert "the checkpoint has another code; training starts from the beginning" in capsys.readouterr().out
