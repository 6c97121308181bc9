"""Test that a sweep whose jobs are all refused in the same words ends before its first job."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALLEST, TINY, runs_below
from omegaconf import OmegaConf

from headstart.cli import main
from headstart.settings.samples import MOST, sample_jobs


@pytest.mark.parametrize(
    ("params", "typed", "jobs"),
    [
        ({}, ["head=linear,mlp,cosine", "strategy=scratch,head_only", "optimizer.lr=1", "seed=3,4"],
         ["optimizer.lr=1 head=linear strategy=scratch seed=3", "optimizer.lr=1 head=mlp strategy=head_only seed=3",
          "optimizer.lr=1 head=cosine strategy=head_only seed=3"]),
        ({}, ["seed=one,1"], ["seed=one", "seed=1"]),
        ({"head": "linear,mlp"}, [], ["head=linear", "head=mlp"]),
        ({"head": "linear,mlp"}, ["head=cosine"], ["head=cosine"]),
        ({}, ["optimizer.lr=tag(log,interval(0.1,1))", "dataset.fold=range(1,3)"],
         ["optimizer.lr=0.1 dataset.fold=1", "optimizer.lr=0.1 dataset.fold=2"]),
        ({}, ["~head", "+trainer.min_epochs=1,2"], ["~head +trainer.min_epochs=1", "~head +trainer.min_epochs=2"]),
        ({}, ["augmentation=[mixup,cutmix],none"], ["augmentation=[mixup,cutmix]", "augmentation=none"]),
        ({}, ["seed=1", "hydra.mode=MULTIRUN"], ["seed=1"]),
    ],
)  # fmt: skip
def test_every_value_is_in_one_of_the_jobs(params: dict[str, str], typed: list[str], jobs: list[str]) -> None:
    config = OmegaConf.create({"hydra": {"sweeper": {"params": params}}})
    loader: Any = None
    assert [" ".join(job) for job in sample_jobs(config, typed, loader)] == jobs


def test_of_very_many_values_the_first_ones() -> None:
    loader: Any = None
    config = OmegaConf.create({"hydra": {"sweeper": {}}})
    assert len(sample_jobs(config, ["dataset.labels_per_class=range(1,10000)"], loader)) == MOST


GONE = ["dataset=image_folder", "dataset.root=gone"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-m", *GONE, "strategy=scratch,head_only", "seed=range(20)"], "dataset.root=gone: there is no such folder"),
        (["-m", *GONE, "seed=0,1", "hydra/launcher=joblib"], "dataset.root=gone: there is no such folder"),
        (["-m", *GONE, "hydra/sweeper=optuna", "optimizer.lr=interval(0.1,1)"], "dataset.root=gone: there is no such"),
        (["experiment=strategies"], "dataset.root=data/scene15: there is no such folder"),
        (["-m", "trainer.max_epochs=0", "seed=0,1"], "trainer.max_epochs=0: expected a whole number above 0"),
        (["-m", "dataset=_base", "seed=0,1"], "There is no dataset '_base'"),
    ],
)
def test_all_jobs_refused_alike(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *arguments]) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"headstart: {sentence}")
    assert len(said.err.splitlines()) == 1
    assert "run 1" not in said.out
    assert not [path for path in Path().rglob("*") if path.is_file()], "nothing is written"


def test_a_value_that_is_swept_fails_its_own_job_only(capsys: pytest.CaptureFixture[str]) -> None:
    sweep = ["-m", *SMALLEST, *TINY, "strategy=nearest_centroid", "task.label_smoothing=7,0.1", "output_dir=o"]
    assert main(["train", *sweep]) == 1
    assert "2 runs: 1 finished, 1 failed" in capsys.readouterr().out
    assert [run["status"] for run in runs_below(Path("o"))] == ["finished"]


def test_a_default_that_every_job_replaces_is_not_looked_at() -> None:
    sweep = ["-m", *SMALLEST, *TINY[1:], "dataset=image_folder", "dataset.root=one,two", "strategy=nearest_centroid"]
    assert main(["train", *sweep]) == 1  # each has a sentence of its own, and none is about dataset.root=null


@pytest.mark.parametrize("launcher", [[], ["hydra/launcher=joblib"]])
def test_data_that_all_jobs_share_end_the_sweep_at_its_first_job(
    launcher: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    sweep = ["-m", *GONE, "dataset.root=empty", "seed=range(20)", "output_dir=o", *launcher]
    assert main(["train", *sweep]) == 2
    said = capsys.readouterr()
    assert len(said.err.splitlines()) == 1
    assert "'empty' holds no image" in said.err.replace(f"{Path.cwd()}/", "")
    assert "run 2" not in said.out
    assert not [path for path in Path("o").rglob("*") if path.name != ".turn"], "nothing is left"


def test_data_of_one_job_fail_that_job_only(
    capsys: pytest.CaptureFixture[str], make_folder: Callable[..., Path]
) -> None:
    images = make_folder({"a": 6, "b": 6})
    Path("empty").mkdir()
    sweep = [
        "-m",
        *SMALLEST,
        *TINY[1:],
        "dataset=image_folder",
        f"dataset.root=empty,{images}",
        "strategy=nearest_centroid",
    ]
    assert main(["train", *sweep, "output_dir=o"]) == 1
    assert "2 runs: 1 finished, 1 failed" in capsys.readouterr().out


def test_data_that_are_refused_leave_no_folder_of_a_run() -> None:
    Path("empty").mkdir()
    assert main(["train", *GONE, "dataset.root=empty", "output_dir=o"]) == 2
    assert not list(Path("o").iterdir())
