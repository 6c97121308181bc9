"""Test groups, statistics, page and figures of run directories made by hand."""

import statistics
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import answer_of
from made_runs import write_run
from PIL import Image

from headstart.cli import main
from headstart.commands.report import summary
from headstart.errors import ConfigError
from headstart.records.keys import sort_value
from headstart.reports import group_runs, read_runs
from headstart.reports.analysis import Options, analyse
from headstart.settings.effects import ADDED, INDIFFERENT


def test_groups_over_seeds(tmp_path: Path) -> None:
    accuracies = [0.9, 0.85, 0.95]
    for seed, accuracy in enumerate(accuracies):
        write_run(tmp_path, "head_only", seed, accuracy)
    write_run(tmp_path, "scratch", 0, 0.4)
    best, scratch = group_runs(read_runs([tmp_path]).runs)
    assert best.key["strategy"] == "head_only"
    assert best.test.count == 3
    assert best.test.mean == pytest.approx(statistics.mean(accuracies))
    assert best.test.deviation == pytest.approx(statistics.stdev(accuracies))
    assert scratch.test.count == 1


def test_a_setting_that_differs_makes_rows_of_its_own(tmp_path: Path) -> None:
    for lr in (0.1, 0.2):
        write_run(tmp_path, "scratch", 0, lr, lr=lr)
    runs = read_runs([tmp_path]).runs
    assert sorted(group.key["optimizer.lr"] for group in group_runs(runs)) == [0.1, 0.2]
    assert len(group_runs(runs, by=["strategy"])) == 1
    with pytest.raises(ConfigError, match="No run has a setting 'lrx'"):
        group_runs(runs, by=["lrx"])


def test_the_command_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = tmp_path / "runs"
    for seed in (0, 1):
        write_run(runs, "finetune_all", seed, 0.9 + 0.02 * seed, references={"raw_pixels": {"test/accuracy": 0.3}})
        write_run(runs, "scratch", seed, 0.5)
    write_run(runs, "head_only", 0, 0.8, status="failed", error="out of memory")
    assert main(["report", str(runs)]) == 0
    said = capsys.readouterr().out
    for expected in (
        "finetune_all",
        "91.0 ± 1.4",
        "raw pixels",
        "30.0",
        "41.0 points above scratch",
        f"headstart board {runs}",
    ):
        assert expected in said
    page = (runs / "report/report.md").read_text()
    assert "| finetune_all" in page
    assert "out of memory" in page
    assert "![" in page
    table = pd.read_csv(runs / "report/report.csv")
    assert table.loc[table.strategy == "finetune_all", "test_accuracy_mean"].item() == pytest.approx(0.91)
    assert len(pd.read_csv(runs / "report/runs.csv")) == 4
    with Image.open(runs / "report/report.png") as image:
        assert image.width > 400
        assert len(set(image.convert("RGB").resize((200, 200)).getdata())) > 50
    before = page
    assert main(["report", str(runs)]) == 0
    assert (runs / "report/report.md").read_text() == before


def test_images_that_headstart_explain_left_in_runs_are_shown(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs", "scratch", 0, 0.5) / "explain"
    folder.mkdir()
    for ending in ("png", "pdf"):
        Image.new("RGB", (8, 8)).save(folder / f"mistakes.{ending}")
    assert main(["report", str(tmp_path / "runs"), "--no-figures"]) == 0
    page = (tmp_path / "runs/report/report.md").read_text()
    (link,) = [line.partition("](")[2].rstrip(")") for line in page.splitlines() if "mistakes.png" in line]
    assert (tmp_path / "runs/report" / link).samefile(folder / "mistakes.png")
    assert "../scratch-0-0.1/explain/mistakes.pdf" in (tmp_path / "runs/report/report.html").read_text()


def test_damage_is_named_and_not_fatal(tmp_path: Path) -> None:
    write_run(tmp_path, "scratch", 0, 0.5)
    (write_run(tmp_path, "scratch", 1, 0.5) / "run.json").write_text("{half")
    (write_run(tmp_path, "scratch", 2, 0.5, skipped=["a.jpg"]) / "metrics.csv").unlink()
    write_run(tmp_path, "scratch", 3, 0.5, schema=2)
    found = read_runs([tmp_path])
    assert len(found.runs) == 2
    reasons = " ".join(problem.reason for problem in found.problems)
    for expected in ("cannot be read", "schema 2", "1 image was unreadable", "metrics.csv is missing"):
        assert expected in reasons


def test_a_repeated_run_counts_once(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "scratch", 0, 0.5, finished_at="2026-01-01T00:00:00+00:00")
    write_run(tmp_path / "b", "scratch", 0, 0.6, finished_at="2026-01-02T00:00:00+00:00")
    found = read_runs([tmp_path])
    assert [run.metrics["test/accuracy"] for run in found.runs] == [0.6]
    assert len(found.repeated) == 1


def test_a_repeat_of_headstart_reproduce_never_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "a", "scratch", 0, 0.5, finished_at="2026-01-01T00:00:00+00:00")
    mark = {"run": str(run), "id": run.name}
    write_run(tmp_path / "b", "scratch", 0, 0.6, repeats=mark, finished_at="2026-01-02T00:00:00+00:00")
    write_run(tmp_path / "c", "scratch", 1, 0.6, repeats=mark, status="failed")
    found = read_runs([tmp_path])
    assert ([one.directory for one in found.runs], found.problems, found.repeated) == ([run], (), ())
    assert found.checks == 2
    assert main(["report", str(tmp_path / "b")]) == 2
    assert "no finished run here (1 by 'headstart reproduce' not counted)" in capsys.readouterr().err


INDIFFERENT_KEYS = [f"{group}.{name}".lstrip(".") for group, names in INDIFFERENT.items() for name in sorted(names)]


@pytest.mark.parametrize("key", [*INDIFFERENT_KEYS, "callbacks.own.verbose", "seeds.head", "dataset.fold"])
def test_what_cannot_change_a_result_splits_no_row(key: str, tmp_path: Path) -> None:
    for number, value in enumerate(("one", "other")):
        config: dict[str, Any] = {}
        *groups, name = key.split(".")
        place = config
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = value
        source = {"source": {"hash": "d" * 64}}  # so that places of the same data are no difference
        write_run(tmp_path, "scratch", number, 0.5, config=config, **source)
    assert len(group_runs(read_runs([tmp_path]).runs)) == 1


@pytest.mark.parametrize("key", ADDED)
def test_a_setting_that_earlier_runs_had_not_splits_no_row_at_its_neutral_value(key: str, tmp_path: Path) -> None:
    *groups, name = key.split(".")
    for number, value in enumerate((ADDED[key], "other")):
        config = {groups[0]: {name: value}} if groups else {name: value}
        write_run(
            tmp_path, "scratch", 2 * number, 0.5, config={"x": {"y": 0}}
        )  # of before, with the same settings else
        write_run(tmp_path, "scratch", 2 * number + 1, 0.5, config={"x": {"y": 0}, **config})
        assert len(group_runs(read_runs([tmp_path]).runs)) == 1 + number


def test_nothing_to_report_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert main(["report", str(tmp_path / "gone")]) == 2
    run = write_run(tmp_path / "runs", "scratch", 0, 0.5)
    assert main(["report", str(tmp_path / "runs"), "--output", str(run / "run.json")]) == 2
    said = capsys.readouterr().err
    assert "no finished run" in said
    assert "There is no folder" in said
    assert "Nothing can be written below" in said
    assert len(said.strip().splitlines()) == 3
    assert main(["report", str(run / "run.json")]) == 0
    assert (run / "report" / "report.md").is_file()


def test_settings_stand_side_by_side_and_are_filtered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for dataset in ("ants", "birds"):
        for seed in (0, 1):
            for strategy, accuracy in (("lp_ft", 0.9), ("scratch", 0.5)):
                name = f"{dataset}{strategy}{seed}"
                write_run(tmp_path / dataset, strategy, seed, accuracy + 0.01 * seed, dataset=dataset, id=name)
    arguments = ["--by", "strategy", "--compare", "dataset", "--where", "seed=0,1", "--out", str(tmp_path / "paper")]
    assert main(["report", str(tmp_path), *arguments]) == 0
    said = capsys.readouterr().out
    header = next(line for line in said.splitlines() if line.strip().startswith("strategy"))
    assert header.split() == ["strategy", "ants", "birds"]
    written = {path.name for path in (tmp_path / "paper").iterdir()}
    assert {"report.html", "report.md", "report.tex", "report.csv", "runs.csv", "comparisons.csv", "figures"} <= written
    latex = (tmp_path / "paper/report.tex").read_text()
    assert r"strategy & ants & birds \\" in latex
    assert r"$\mathbf{90.5} \pm 0.7$" in latex
    page = (tmp_path / "paper/report.html").read_text()
    assert "headstart reproduce" in page
    assert main(["report", str(tmp_path), "--where", "strategy=none_such"]) == 2
    assert "leaves no run" in capsys.readouterr().err


def test_reading_and_comparing_load_no_torch() -> None:
    modules = "headstart.reports, headstart.reports.drawing, headstart.reports.board, headstart.comparison.diff"
    assert answer_of(f"import sys, {modules}; print('torch' in sys.modules)").strip() == "False"


@pytest.mark.parametrize(
    "changes",
    [
        {"provenance": {"overrides": -1}},
        {"provenance": {"overrides": [1, None]}},
        {"provenance": {"split_fingerprints": {"test": [1]}}},
        {"metrics": {"test/accuracy": 0.5, "test/loss": 10**400}},
        {"cost": {"wall_seconds": 10**400}},
        {"finished_at": 10**400},
        {"config": {"dataset": {"batch_size": 10**400}}},
        {"config": {"seeds": {"split": {"a": [1]}}}},
        {"config": {"dataset": {"fold": [1], "folds": [2]}}},
    ],
)
def test_odd_values_do_not_end_a_report(changes: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path, "head_only", 0, 0.8)
    write_run(tmp_path, "head_only", 1, 0.8, **changes)
    write_run(tmp_path, "scratch", 1, 0.5, **changes)
    assert main(["report", str(tmp_path), "--no-figures"]) == 0
    assert "scratch" in capsys.readouterr().out


def test_seeds_that_are_lists_are_named(tmp_path: Path) -> None:
    write_run(tmp_path, "scratch", 0, 0.5, config={"seeds": {"split": [1]}})
    reasons = [problem.reason for problem in read_runs([tmp_path]).problems]
    assert "config.yaml has a seeds.split that is neither a number nor a word" in reasons


def test_numbers_of_any_size_are_sorted() -> None:
    values = [10**400, 2.5, -(10**400), 1, None, "x"]
    assert sorted(values, key=sort_value) == [-(10**400), 1, 2.5, 10**400, "x", None]


def test_a_spreadsheet_runs_nothing_that_a_report_writes(tmp_path: Path) -> None:
    for strategy, accuracy in (("=1+1", 0.9), ("scratch", 0.5)):
        write_run(tmp_path, strategy, 0, accuracy)
    assert main(["report", str(tmp_path), "--no-figures"]) == 0
    for name, column in (("report", "strategy"), ("runs", "strategy"), ("comparisons", "a")):
        assert pd.read_csv(tmp_path / f"report/{name}.csv")[column].tolist()[0] == "'=1+1"


def test_the_table_fits_into_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long labels are wrapped, so 80 columns are enough."""
    for number, stages in enumerate((["stage1", "stage2"], ["stage2", "stage3"], None)):
        write_run(tmp_path, "scratch", 0, 0.5 + 0.1 * number, lr=0.1 + number, config={"head": {"stages": stages}})
    analysis = analyse(read_runs([tmp_path]), Options(by=["head.stages"]))
    assert max(map(len, summary(analysis).splitlines()[:6])) > 80
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    lines = summary(analysis).splitlines()
    table = lines[: lines.index("")]
    assert max(map(len, table)) <= 80
    assert sum("stage3" in line for line in table) == 1
