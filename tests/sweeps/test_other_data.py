"""Test that runs on two data sets are never mixed up, and that a moved copy is the same run."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SMALLEST, TINY, runs_below
from resuming import check_equal, stop_at

from headstart.cli import main
from headstart.records.outcomes import read_outcomes

SETTINGS = [*(setting for setting in TINY if not setting.startswith("dataset.counts")), *SMALLEST]


@pytest.fixture
def lists(make_folder: Callable[..., Path]) -> Path:
    """Write a folder with images, and two lists of them with different labels."""
    root = make_folder({"a": 8, "b": 8})
    paths = sorted(str(path.relative_to(root)) for path in root.rglob("*.jpg"))
    for name, label in (("right", lambda path: path[0]), ("shuffled", lambda path: "ab"[int(path[2]) % 2])):
        (root / f"{name}.csv").write_text("\n".join(["path,label", *(f"{path},{label(path)}" for path in paths)]))
    return root


def words(folder: str) -> list[str]:
    return [outcome.word for outcome in read_outcomes(Path(folder))]


def test_two_lists_are_two_runs_and_a_copy_is_the_same(lists: Path, tmp_path: Path) -> None:
    sweep = ["train", "-m", *SETTINGS, "dataset=csv", "strategy=linear_probe", "output_dir=o"]
    roots = [str(lists / f"{name}.csv") for name in ("right", "shuffled")]
    assert main([*sweep, f"dataset.root={','.join(roots)}", "hydra.sweep.dir=o/first"]) == 0
    assert words("o/first") == ["finished", "finished"]
    found = runs_below(Path("o"))
    assert {run["dataset"] for run in found} == {"right", "shuffled"}
    assert len({run["config_hash"] for run in found}) == len({run["id"] for run in found}) == 2

    shutil.copytree(lists, tmp_path / "copy")
    copies = [str(tmp_path / "copy" / "right.csv"), str(tmp_path / "another.csv")]
    shutil.copy(lists / "shuffled.csv", copies[1])
    assert (
        main([*sweep, f"dataset.pictures={lists}", f"dataset.root={','.join(copies)}", "hydra.sweep.dir=o/second"]) == 0
    )
    assert words("o/second") == ["skipped", "skipped"]
    shutil.copy(lists / "b" / "0.jpg", tmp_path / "copy" / "a" / "0.jpg")  # another folder of images
    other = [*sweep, f"dataset.pictures={tmp_path / 'copy'}", f"dataset.root={copies[1]}"]
    assert main([*other, "hydra.sweep.dir=o/third"]) == 0
    assert words("o/third") == ["finished"]


def test_a_stopped_run_waits_while_other_data_are_trained_on(lists: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["train", *SETTINGS, "dataset=csv", "strategy=finetune_all", "dataset.batch_size=4"]
    command += ["sweep.checkpoint_share=1", f"dataset.root={lists / 'labels.csv'}"]

    def with_list(name: str, folder: str) -> int:
        shutil.copy(lists / f"{name}.csv", lists / "labels.csv")  # the very same path
        return main([*command, f"output_dir={folder}"])

    assert with_list("right", "whole") == 0
    with monkeypatch.context() as patch:
        stop_at(patch, 4, "SIGTERM")
        assert with_list("right", "o") == 143
    (stopped,) = Path("o").rglob("resume.ckpt")
    kept = stopped.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("headstart.strategies.strategy.Strategy.finish", _broken, raising=True)
        assert with_list("shuffled", "o") == 1
    assert stopped.read_bytes() == kept
    assert with_list("shuffled", "o") == 0
    assert stopped.read_bytes() == kept
    assert with_list("right", "o") == 0
    assert len(runs_below(Path("o"))) == 2
    (whole,) = Path("whole").rglob("run.json")
    config = stopped.parent.parent / "config.yaml"
    config.write_text(config.read_text().replace("output_dir: o", "output_dir: whole"))
    check_equal(whole.parent, config.parent)


def test_a_stopped_run_resumes_after_its_data_were_moved(
    lists: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(root: Path) -> int:
        text = (root / "right.csv").read_text()
        (root / "whole.csv").write_text(text.replace("\na/", f"\n{root}/a/").replace("\nb/", f"\n{root}/b/"))
        settings = ["dataset=csv", "strategy=finetune_all", "dataset.batch_size=4", "sweep.checkpoint_share=1"]
        return main(["train", *SETTINGS, *settings, f"dataset.root={root / 'whole.csv'}", "output_dir=o"])

    with monkeypatch.context() as patch:
        stop_at(patch, 4, "SIGTERM")
        assert run(lists) == 143
    moved = lists.rename(lists.with_name("moved"))
    assert run(moved) == 0
    assert "resumes from its checkpoint: epoch 2" in capsys.readouterr().out
    assert len(runs_below(Path("o"))) == 1


def _broken(*args: object, **kwargs: object) -> None:
    raise ZeroDivisionError("deep inside")
