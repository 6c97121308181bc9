"""Test that the differences between two run directories are found and named, and no others."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from complete_runs import write_complete_run
from conftest import SMALLEST, TINY, answer_of
from hypothesis import given
from hypothesis import strategies as st
from made_runs import write_regression_run
from scipy.stats import ttest_rel

from headstart.cli import main
from headstart.commands.diff import value_cells
from headstart.comparison.diff import (
    ClassPairs,
    DiffSection,
    ErrorPairs,
    compare_predictions,
    conclusion,
    differences,
    pairs_text,
)
from headstart.errors import DataError
from headstart.kinds import KINDS
from headstart.kinds.classification import ACCURACY
from headstart.kinds.regression import MAE
from headstart.records.record import read_record


def sections(a: Path, b: Path) -> dict[str, DiffSection]:
    return {section.title: section for section in differences(read_record(a), read_record(b))}


def names(section: DiffSection) -> list[str]:
    return [row.name for row in section.rows]


def told(a: Path, b: Path) -> str:
    return conclusion(differences(read_record(a), read_record(b)))


def test_equal_runs_differ_in_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write_complete_run(tmp_path / "a"), write_complete_run(tmp_path / "b")
    for section in sections(a, b).values():
        assert section.equal is True
        assert not section.rows
    assert main(["diff", str(a), str(b / "run.json")]) == 0
    said = capsys.readouterr().out
    for title in ("settings", "seeds", "code", "data", "weights", "packages", "hardware", "results"):
        assert f"the same: {title} (" in said
    assert said.rstrip().splitlines()[-1] == "The results should be equal, and they are."


def test_epochs_count_from_1_as_a_run_prints_them(tmp_path: Path) -> None:
    a = write_complete_run(tmp_path / "a", best_epoch=0)
    b = write_complete_run(tmp_path / "b", best_epoch=None)
    (row,) = sections(a, b)["results"].rows
    assert (row.name, row.a, row.b) == ("best epoch", 1, None)


# A change, the section it belongs to, the row's name, and whether it may change the result.
CHANGES: list[tuple[dict[str, Any], str, str, bool]] = [
    ({"config": {"optimizer": {"lr": 0.2}}}, "settings", "optimizer.lr", True),
    ({"config": {"optimizer": {"beta": 1}}}, "settings", "optimizer.beta", True),
    ({"config": {"output_dir": "elsewhere"}}, "settings", "output_dir", False),
    ({"config": {"dataset": {"num_workers": 3}}}, "settings", "dataset.num_workers", False),
    ({"config": {"dataset": {"root": "/other"}}}, "settings", "dataset.root", False),
    ({"config": {"backbone": {"weights": "/same/file.pt"}}}, "settings", "backbone.weights", False),
    ({"config": {"seeds": {"head": 1}}}, "seeds", "seeds.head", True),
    ({"config": {"strategy": {"head_seed": 7}}}, "seeds", "strategy.head_seed", True),
    ({"config": {"seed": 1}}, "seeds", "seed", False),
    ({"provenance": {"source_sha256": "6" * 64}}, "code", "source_sha256", True),
    ({"provenance": {"git_commit": "e" * 40}}, "code", "git_commit", False),
    ({"provenance": {"dataset_fingerprint": "e" * 64}}, "data", "dataset_fingerprint", True),
    ({"provenance": {"weights": {"sha256": "v" * 64}}}, "weights", "sha256", True),
    ({"provenance": {"weights": {"name": "a copy"}}}, "weights", "name", False),
    ({"provenance": {"packages": {"torch": "2.15.0"}}}, "packages", "torch", True),
    ({"provenance": {"packages": {"timm": "1.0"}}}, "packages", "timm", True),
    ({"provenance": {"hardware": {"cores": 4}}}, "hardware", "cores", False),
    ({"augmentation": ["b", "a"]}, "settings", "augmentation, in order", True),
]


@pytest.mark.parametrize(("change", "title", "row", "bears"), CHANGES)
def test_one_change_shows_in_one_section(
    change: dict[str, Any], title: str, row: str, bears: bool, tmp_path: Path
) -> None:
    a, b = write_complete_run(tmp_path / "a"), write_complete_run(tmp_path / "b", **change)
    for one, other in ((a, b), (b, a)):
        found = sections(one, other)
        assert [name for name, section in found.items() if section.rows] == [title]
        assert names(found[title]) == [row]
        assert found[title].equal is not bears
        assert told(one, other).startswith("The results may differ" if bears else "The results should be equal")
        assert bool(found[title].rows[0].note) is not bears


def test_swapped_runs_give_mirrored_differences(tmp_path: Path) -> None:
    changed: dict[str, Any] = {"config": {"optimizer": {"lr": 0.2}, "seeds": {"head": 1}}}
    a, b = (
        write_complete_run(tmp_path / "a"),
        write_complete_run(tmp_path / "b", (True, False, False, False), **changed),
    )
    there, back = sections(a, b), sections(b, a)
    for title in there:
        rows = {(row.name, json.dumps(row.a), json.dumps(row.b)) for row in there[title].rows}
        assert rows == {(row.name, json.dumps(row.b), json.dumps(row.a)) for row in back[title].rows}
        assert there[title].equal == back[title].equal


def test_streams_are_named_once(tmp_path: Path) -> None:
    changed = {"seed": 1, "seeds": {"head": 1}, "strategy": {"head_seed": 1}, "backbone": {"seed": 1}}
    found = sections(write_complete_run(tmp_path / "a"), write_complete_run(tmp_path / "b", config=changed))
    assert names(found["seeds"]) == ["seed", "seeds.head"]


def test_which_split_differs(tmp_path: Path) -> None:
    new = {"dataset_fingerprint": "e" * 64, "split_fingerprints": {"train": "9" * 64}}
    b = write_complete_run(tmp_path / "b", provenance=new, skipped=["x.jpg"], classes=["ant", "wasp"],
                pictures={"train": 9, "validation": 4, "test": 4})  # fmt: skip
    rows = {row.name: (row.a, row.b) for row in sections(write_complete_run(tmp_path / "a"), b)["data"].rows}
    assert rows.keys() == {"dataset_fingerprint", "split_fingerprints.train", "pictures.train", "classes", "skipped"}
    assert rows["classes"] == ("2, with bee", "2, with wasp")
    assert rows["skipped"] == ("0", "1, with x.jpg")


def test_predictions_are_compared_image_by_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write_complete_run(tmp_path / "a", [True] * 30 + [False] * 10)
    b = write_complete_run(tmp_path / "b", [True] * 20 + [False] * 10 + [True] * 2 + [False] * 8)
    pairs = compare_predictions(a / "predictions.csv", b / "predictions.csv", KINDS["classification"], ACCURACY)
    assert (pairs.images, pairs.changed, pairs.only_a, pairs.only_b, pairs.largest) == (40, 12, 10, 2, 0.5)
    assert pairs.p_value == pytest.approx(2 * sum(math.comb(12, k) for k in range(3)) / 2**12)
    assert main(["diff", str(a), str(b)]) == 0
    said = capsys.readouterr().out
    assert "12 of 40 test images are predicted differently; 10 are right only in A, 2 only in B" in said
    assert "-20.00 points" in said
    assert "The results should be equal, but they differ." in said


def test_order_of_images_and_classes_does_not_matter(tmp_path: Path) -> None:
    a = write_complete_run(tmp_path / "a") / "predictions.csv"
    head, *rows = a.read_text().splitlines()
    b = tmp_path / "b.csv"
    cells = [head.split(","), *(row.split(",") for row in reversed(rows))]
    b.write_text("".join(f"{i},{t},{p},{bee},{ant}\n" for i, t, p, ant, bee in cells))
    assert compare_predictions(a, b, KINDS["classification"], ACCURACY) == ClassPairs(4, 0, 0, 0, None)


def test_other_images_are_not_paired(tmp_path: Path) -> None:
    a, b = write_complete_run(tmp_path / "a"), write_complete_run(tmp_path / "b", prefix="others")
    with pytest.raises(DataError, match="4 and 4, 0 in common"):
        compare_predictions(a / "predictions.csv", b / "predictions.csv", KINDS["classification"], ACCURACY)
    result = sections(a, b)["results"]
    assert result.equal is False
    assert "cannot be compared" in result.notes[0]


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=200))
def test_the_interval_is_one(outcomes: list[tuple[bool, bool]]) -> None:
    first, second = np.array(outcomes).T
    only_a, only_b = int((first & ~second).sum()), int((second & ~first).sum())
    pairs = ClassPairs(len(outcomes), only_a + only_b, only_a, only_b)
    mirrored = ClassPairs(len(outcomes), only_a + only_b, only_b, only_a)
    low, high = pairs.interval
    assert low < high
    assert (-high, -low) == pytest.approx(mirrored.interval)
    assert pairs.difference == pytest.approx(second.mean() - first.mean())
    if only_a == only_b:
        assert low < 0 < high
    if pairs.p_value < 0.01:  # the exact test is the more cautious of the two
        assert not low <= 0 <= high


def test_the_interval_covers_what_it_should() -> None:
    rng = np.random.default_rng(0)
    cells = rng.multinomial(100, [0.08, 0.15, 0.77], size=4000)  # only the first right, only the second, else
    intervals = [ClassPairs(100, a + b, a, b).interval for a, b, _ in cells.tolist()]
    covered = np.mean([low <= 0.07 <= high for low, high in intervals])
    assert 0.94 < covered < 0.97


def test_unfinished_runs_are_compared_by_what_they_have(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write_complete_run(tmp_path / "a")
    b = write_complete_run(
        tmp_path / "b", status="failed", metrics={}, provenance={"dataset_fingerprint": None, "packages": None}
    )
    (b / "predictions.csv").unlink()
    (b / "config.yaml").write_text("{half")
    found = sections(a, b)
    for title in ("data", "weights", "packages", "results"):
        assert found[title].equal is None
    assert found["settings"].equal is True, "their hashes are equal"
    assert main(["diff", str(b), str(a)]) == 0
    said = capsys.readouterr().out
    assert "unknown whether they are, as A is failed" in said
    (a / "run.json").write_text(json.dumps({"schema": 1, "status": "running"}))
    assert all(section.equal is None for section in sections(a, b).values())


def test_code_that_was_not_recorded_is_not_called_the_same(tmp_path: Path) -> None:
    old = {"git_commit": None, "git_dirty": None, "source_sha256": None}
    a, b = (write_complete_run(tmp_path / name, provenance=old) for name in "ab")
    assert sections(a, b)["code"].equal is None
    assert told(a, b).endswith("the results should be equal (not recorded: code); they are equal.")
    dirty = {"git_dirty": True, "source_sha256": None}
    c, d = (
        write_complete_run(tmp_path / name, provenance=dirty | {"git_diff_sha256": diff})
        for name, diff in (("c", "1" * 64), ("d", "2" * 64))
    )
    assert sections(c, c)["code"].equal is True
    assert sections(c, d)["code"].equal is False


def test_hardware_only_rounds(tmp_path: Path) -> None:
    a, b = (
        write_complete_run(tmp_path / "a"),
        write_complete_run(tmp_path / "b", provenance={"hardware": {"threads": 2}}),
    )
    assert told(a, b) == "The results should be equal except for rounding, as only the hardware differs, and they are."


def test_values_that_look_like_markup_or_are_long_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = list(range(100))
    a = write_complete_run(tmp_path / "a", config={"dataset": {"root": "/data/[bold]x"}, "strategy": {"l2": long}})
    b = write_complete_run(
        tmp_path / "b", config={"dataset": {"root": "/data/[/]"}, "strategy": {"l2": [*long[:-1], 7]}}
    )
    assert main(["diff", str(a), str(b)]) == 0
    said = capsys.readouterr().out
    assert "/data/[bold]x" in said
    assert "/data/[/]" in said
    first, second = value_cells([*long], [*long[:-1], 7])
    assert first.endswith("98, 99]")
    assert second.endswith("98, 7]")
    assert len(first) < 60


@pytest.mark.parametrize(
    ("content", "reason"),
    [("{half", "cannot be read"), ("[]", "JSON object"), ('{"schema": 2}', "schema 2; this version reads 1")],
)
def test_a_folder_that_is_no_run_is_refused_in_one_sentence(
    content: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_complete_run(tmp_path / "runs" / "good")
    (write_complete_run(tmp_path / "runs" / "bad") / "run.json").write_text(content)
    for wrong, expected in (("bad", reason), ("goof", "Did you mean"), (".", "it holds 2 runs: name one, such as")):
        assert main(["diff", str(run), str(tmp_path / "runs" / wrong)]) == 2
        told = capsys.readouterr().err
        assert expected in told
        assert len(told.splitlines()) == 1


def test_real_runs(capsys: pytest.CaptureFixture[str]) -> None:
    for into, rest in (("a", []), ("b", ["optimizer.lr=0.01", "dataset.num_workers=1"])):
        assert main(["train", *TINY, *SMALLEST, "trainer.max_epochs=1", f"output_dir={into}", *rest]) == 0
    a, b = (next(Path(into).rglob("run.json")).parent for into in "ab")
    found = sections(a, b)
    assert {row.name: bool(row.note) for row in found["settings"].rows} == {
        "optimizer.lr": False,
        "dataset.num_workers": True,
        "output_dir": True,
    }
    for title in ("seeds", "code", "data", "weights", "packages", "hardware"):
        assert found[title].equal is True, title
    assert all(section.equal for section in sections(a, a).values())
    assert told(a, b).startswith("The results may differ, as settings differ, and")


def test_no_torch() -> None:
    assert (
        answer_of(
            "import sys, headstart.commands.diff as d; print('torch' in sys.modules, 'scipy' in sys.modules)"
        ).strip()
        == "False False"
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"augmentation": -1}, "its augmentation is -1; expected a list"),
        ({"classes": "ants"}, 'its classes is "ants"; expected a list'),
        ({"provenance": {"git_commit": -1}}, "its provenance.git_commit is -1; expected text"),
        ({"provenance": {"source_sha256": [1]}}, "its provenance.source_sha256 is [1]; expected text"),
        ({"provenance": {"dataset_fingerprint": -1}}, "its provenance.dataset_fingerprint is -1; expected text"),
    ],
)
def test_a_damaged_run_json_is_one_sentence(
    changes: dict[str, Any], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write_complete_run(tmp_path / "a"), write_complete_run(tmp_path / "b", **changes)
    assert main(["diff", str(a), str(b)]) == 2
    assert capsys.readouterr().err == f"headstart: '{b / 'run.json'}' is damaged: {sentence}.\n"


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({"classes": [["ants"], {"a": 1}]}, "data"),
        ({"config": {"seeds": {"split": [1]}}}, "seeds"),
        ({"config": {"dataset": {"split_seed": []}}}, "seeds"),
    ],
)
def test_odd_values_are_differences(changes: dict[str, Any], title: str, tmp_path: Path) -> None:
    found = sections(write_complete_run(tmp_path / "a"), write_complete_run(tmp_path / "b", **changes))
    assert [name for name, section in found.items() if section.rows] == [title]


def test_a_metric_that_no_float_holds_is_no_number(tmp_path: Path) -> None:
    a, b = write_complete_run(tmp_path / "a"), write_complete_run(tmp_path / "b", metrics={"test/accuracy": 10**400})
    assert "test/accuracy" in read_record(a).metrics
    assert "test/accuracy" not in read_record(b).metrics


def test_numbers_are_compared_image_by_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    errors = np.random.default_rng(0).normal(0, 2, 30)
    a, b = (write_regression_run(tmp_path / name, "ridge", 0, of) for name, of in (("a", errors), ("b", errors * 1.5)))
    pairs = compare_predictions(a / "predictions.csv", b / "predictions.csv", KINDS["regression"], MAE)
    assert isinstance(pairs, ErrorPairs)
    assert (pairs.images, pairs.changed) == (30, 30)
    assert pairs.largest == pytest.approx(np.abs(errors).max() / 2)
    expected = ttest_rel(np.abs(errors * 1.5), np.abs(errors)).confidence_interval(0.95)
    assert pairs.interval == pytest.approx((expected.low, expected.high))
    assert pairs.difference == pytest.approx(np.abs(errors).mean() / 2)
    assert main(["diff", str(a), str(b)]) == 0
    said = capsys.readouterr().out
    assert f"test mae {pairs.difference:+.4g}, 95 % interval {expected.low:+.4g} to {expected.high:+.4g}" in said
    assert main(["diff", str(a), str(a)]) == 0
    assert "every metric, and predictions for 30 images" in capsys.readouterr().out


def test_numbers_for_one_image_have_no_interval(tmp_path: Path) -> None:
    a, b = (write_regression_run(tmp_path / name, "ridge", 0, np.array([of])) for name, of in (("a", 1.0), ("b", -3.0)))
    pairs = compare_predictions(a / "predictions.csv", b / "predictions.csv", KINDS["regression"], MAE)
    assert pairs_text(pairs, MAE).endswith("by 4 at most: test mae +2.")


def test_other_targets_and_other_tasks_are_not_paired(tmp_path: Path) -> None:
    a = write_regression_run(tmp_path / "a", "ridge", 0, np.ones(3))
    (tmp_path / "other.csv").write_text((a / "predictions.csv").read_text().replace(",2.0,3.0", ",2.5,3.0"))
    with pytest.raises(DataError, match="the same images with different targets"):
        compare_predictions(a / "predictions.csv", tmp_path / "other.csv", KINDS["regression"], MAE)
    result = sections(a, write_complete_run(tmp_path / "b"))["results"]
    assert result.equal is False
    assert "the task of A is regression, mae, that of B classification" in result.notes[0]
