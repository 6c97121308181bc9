"""Test that a table of runs shows the settings in which they differ, in any state."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import answer_of
from hypothesis import given, settings
from hypothesis import strategies as st
from test_status import make

from headstart.cli import main
from headstart.records.record import RunRecord
from headstart.sweeps.labels import run_names, setting_columns
from headstart.sweeps.status import overview


def configured(folder: Path, name: str, config: dict[str, Any], status: str = "finished", **changes: Any) -> Path:
    run = make(folder, name, status, **changes)
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    return run


def columns(folder: Path) -> dict[str, list[str]]:
    runs = overview([folder]).runs
    return setting_columns([run.record for run in runs])


def test_settings_that_differ_are_columns_of_runs_in_any_state(tmp_path: Path) -> None:
    common = {"optimizer": {"weight_decay": 0.1}, "trainer": {"max_epochs": 3}}
    configured(tmp_path, "a", {**common, "head": {"stages": ["stage1", "stage2"]}}, seed=0)
    configured(tmp_path, "b", {**common, "head": {"stages": ["stage2"]}}, "failed", seed=0)
    configured(tmp_path, "c", {**common, "head": {"stages": None}}, "running", seed=1, strategy="knn")
    (make(tmp_path, "d", "finished") / "run.json").write_text("{half")
    assert columns(tmp_path) == {
        "strategy": ["head_only", "head_only", "knn", "–"],
        "stages": ['["stage1", "stage2"]', '["stage2"]', "–", "–"],
        "seed": ["0", "0", "1", "–"],
    }


def test_streams_and_folds_are_shown_where_they_alone_differ(tmp_path: Path) -> None:
    for number in range(2):
        configured(tmp_path, f"s{number}", {"seeds": {"split": number, "order": number}}, seed=number)
    assert list(columns(tmp_path)) == ["seed"]
    for number in range(2):
        configured(tmp_path, f"t{number}", {"seeds": {"split": 5, "order": number}}, seed=0)
        configured(tmp_path, f"f{number}", {"dataset": {"fold": number}, "seeds": {"split": 9, "order": 9}}, seed=0)
    assert list(columns(tmp_path)) == ["seed", "fold", "order", "split"]


@pytest.mark.parametrize("text", ["", "[1", "a: &a {b: *a}", "- 1", "\x00", "seeds: {split: [1]}"])
def test_a_damaged_config_says_nothing(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configured(tmp_path, "a", {"optimizer": {"lr": 0.1}}, seed=0)
    configured(tmp_path, "b", {"optimizer": {"lr": 0.2}}, seed=1)
    (make(tmp_path, "c", "finished", seed={"x": 1}, augmentation={"y": 2}) / "config.yaml").write_text(text)
    assert main(["status", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:4] == ["a", "0.1", "0", "finished"] for line in lines), lines
    assert any(line.split()[0] == "c" for line in lines if line.strip())


def test_long_names_are_cut_where_their_ends_differ() -> None:
    home = Path("/runs")
    long = [home / f"sweep/textures-resnet18-head_only-seed{seed}-0000000{seed}" for seed in range(2)]
    assert run_names([home / "a", *long], home) == ["a", "…00000000", "…00000001"]
    same = [home / f"{number}/textures-resnet18-head_only-seed0" for number in range(2)]
    assert run_names(same, home) == [str(path.relative_to(home)) for path in same]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["seed", "dataset", "strategy", "augmentation", "source"]),
            st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()),
        )
    )
)
def test_any_record_is_a_row(records: list[dict[str, Any]]) -> None:
    found = setting_columns([RunRecord(Path(f"/gone/{number}"), one) for number, one in enumerate(records)])
    assert all(len(values) == len(records) for values in found.values())


def test_labels_load_no_torch() -> None:
    code = "import sys, headstart.sweeps.labels; print({'torch', 'pandas', 'matplotlib'} & set(sys.modules))"
    assert answer_of(code).strip() == "set()"
