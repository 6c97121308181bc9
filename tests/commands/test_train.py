"""Test headstart train: wrong settings and images end in one sentence and exit code 2, before training."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALLEST, TINY, answer_of, runs_below

from headstart.cli import main
from headstart.commands.train import flags_first

FOLDER = ["dataset=image_folder", "dataset.image_size=32", "dataset.num_workers=0", "backbone.weights=null"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["strategy=finetune_al"], r"There is no strategy 'finetune_al'. Did you mean 'finetune_all'\?"),
        (["augmentation=[crop_resize,mixupp]"], r"There is no augmentation 'mixupp'. Did you mean 'mixup'\?"),
        (["experiment=demoo"], r"no experiment 'demoo'"),
        (["dataset=images"], r"dataset=images is a folder; use dataset=image_folder dataset.root=images."),
        (["dataset=./notes.txt"], r"dataset=./notes.txt is a file; use dataset=csv dataset.root=./notes.txt."),
        (["strategy=/a/b"], r"There is no strategy '/a/b'. Choose one of"),
        (["stratgy=scratch"], r"no setting 'stratgy'. Did you mean 'strategy'\?"),
        (["optimizer.lrr=1"], r"no setting 'optimizer.lrr'. Did you mean 'optimizer.lr'\?"),
        (["strategy=scratch", "strategy.head_lr_multiplyer=1"], r"Did you mean 'strategy.head_lr_multiplier'\?"),
        (["strategy=scratch,head_only"], r"several values: add -m to run each of them\.$"),
        (["trainer.max_epochs=1,2"], r"several values: add -m to run each of them\.$"),
        (["optimizer.lr=0,01"], r"add -m to run each of them, or write a decimal point: optimizer\.lr=0\.01\.$"),
        (["scratch"], r"'scratch' cannot be read as a setting; expected key=value"),
        (["seed=${nothing}"], r"seed refers to something that does not exist"),
        (["seed=one"], r"seed=one: expected a whole number"),
        (["dataset.image_size=0"], r"dataset.image_size=0: expected a whole number above 0"),
        (["dataset.batch_size=many"], r"dataset.batch_size=many: expected a whole number"),
        (["dataset.labels_per_class=5000"], r"labels_per_class=5000: class 'brick' has only 6"),
        (["optimizer.lr=-1"], r"optimizer.lr=-1: expected a number above 0"),
        (["optimizer.lr=fast"], r"optimizer.lr=fast: expected a number"),
        (["+optimizer.lrate=1"], r"optimizer: .*unexpected keyword argument 'lrate'"),
        (["scheduler.warmup=2"], r"scheduler.warmup=2"),
        (["+strategy.depth=3"], r"strategy: .*unexpected keyword argument 'depth'"),
        (["strategy._target_=headstart.strategies.Nothing"], r"strategy.*Nothing"),
        (["trainer.max_epochs=0"], r"trainer.max_epochs=0"),
        (["trainer.accelerator=quantum"], r"trainer: .*quantum"),
        (["trainer.devices=2"], r"trainer=default takes one device, not 2"),
        (["+trainer.fast_dev_run=true"], r"debug=fast"),
        (["+trainer.limit_val_batches=0"], r"limit_val_batches=0"),
        (["+trainer.val_check_interval=0.5"], r"val_check_interval .* have to be 1"),
        (["dataset.counts=[6,4]"], r"counts=\[6, 4\]: expected three"),
        (["dataset.labels_per_class=all"], r"labels_per_class=all: expected a whole number"),
        (["references=[raw]"], r"no reference 'raw'"),
        (["strategy=linear_probe", "augmentation=mixup"], r"linear_probe .*cannot augment"),
        (["strategy=finetune_lower", "strategy.stages=9"], r"strategy.stages=9: .* expected 1 to 4"),
        (["backbone=timm"], r"backbone.name is not set"),
        (["backbone=timm", "backbone.name=resnet81x"], r"timm has no network 'resnet81x'. Did you mean 'resnet18"),
        (["backbone.weights=gone.pt"], r"backbone.weights=gone.pt: there is no such file"),
        (["backbone.weights=notes.txt"], r"backbone.weights=notes.txt is not a weights file"),
        (["dataset=image_folder", "dataset.root=gone"], r"dataset.root=.*gone: there is no such folder"),
        (["--resolve"], r"--resolve"),
    ],
)
def test_wrong_settings(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("notes.txt").write_text("these are no weights")
    Path("images").mkdir()
    changed = {argument.lstrip("+").split("=")[0] for argument in arguments}
    tiny = [setting for setting in TINY if setting.split("=")[0] not in changed]
    if "dataset=image_folder" in arguments:
        tiny = [setting for setting in tiny if not setting.startswith("dataset.counts")]
    assert main(["train", *tiny, *arguments]) == 2
    _check_one_sentence(capsys.readouterr(), sentence)


@pytest.mark.parametrize("sentence", ["holds no image", "Class 'c' of test is missing in train", "cannot be read"])
def test_wrong_images(sentence: str, make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    counts = {"train/a": 6, "train/b": 6, "test/a": 2, "test/b": 2}
    counts |= {"holds no image": {"train/c": 0}, "Class 'c' of test is missing in train": {"test/c": 2}}.get(
        sentence, {}
    )
    root = make_folder(counts)
    if sentence == "cannot be read":
        whole = (root / "train/a/1.jpg").read_bytes()
        (root / "train/a/1.jpg").write_bytes(whole[: len(whole) // 2])
    assert main(["train", *FOLDER, f"dataset.root={root}"]) == 2
    _check_one_sentence(capsys.readouterr(), sentence)
    if sentence == "cannot be read":
        fast = ["debug=fast", "trainer.accelerator=cpu"]
        assert main(["train", *FOLDER, *fast, f"dataset.root={root}", "dataset.on_error=skip", "output_dir=o"]) == 0
        assert runs_below(Path("o"))[0]["skipped"] == ["train/a/1.jpg"]


def _check_one_sentence(output: Any, sentence: str) -> None:
    assert re.search(sentence, output.err), output.err
    assert len(output.err.strip().splitlines()) == 1, output.err
    assert output.err.startswith("headstart: ")
    assert "epoch" not in output.out
    for found in runs_below(Path("runs")) if Path("runs").exists() else []:
        assert found["status"] == "failed"
        assert found["error"]["message"] in output.err


def test_a_sweep_continues_after_a_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # wide enough for names in one piece
    sweep = ["-m", "strategy=linear_probe,scratch", "augmentation=mixup", "output_dir=o", "debug=fast"]
    assert main(["train", *TINY, *SMALLEST, *sweep]) == 1
    assert {run["strategy"]: run["status"] for run in runs_below(Path("o"))} == {
        "linear_probe": "failed",
        "scratch": "finished",
    }
    output = capsys.readouterr()
    assert "2 runs: 1 finished, 1 failed" in output.out
    table = output.err[output.err.index("what went wrong") :]
    assert "strategy=linear_probe" in table
    assert "dataset.counts" not in table  # the same in all jobs
    assert "textures-test_efficientnet-linear_probe" in table


def test_a_bug_shows_its_traceback_and_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("deep inside")

    monkeypatch.setattr("headstart.tasks.Classification.loss", broken)
    assert main(["train", *TINY, *SMALLEST, "output_dir=o"]) == 1
    assert "Traceback" in capsys.readouterr().err
    (found,) = runs_below(Path("o"))
    assert found["status"] == "failed"
    assert found["error"] == {"type": "ZeroDivisionError", "message": "deep inside"}
    assert "ZeroDivisionError" in next(Path("o").rglob("run.log")).read_text()


def test_an_interrupted_run_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("headstart.strategies.GradientStrategy.on_train_epoch_end", stop)
    monkeypatch.setattr("signal.signal", lambda *args: None)  # Lightning would ignore Ctrl-C from here on
    assert main(["train", *TINY, *SMALLEST, "output_dir=o"]) == 130
    (found,) = runs_below(Path("o"))
    assert found["status"] == "interrupted"
    assert found["error"]["type"] == "Interrupted"


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"], ["--cfg", "job", "strategy=scratch", "--resolve"]])
def test_help_and_cfg_answer_without_torch(arguments: list[str]) -> None:
    code = (
        "import sys; from headstart.cli import main\n"
        f"try: main(['train', *{arguments!r}])\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert 'torch' not in sys.modules; assert 'headstart.training.run' not in sys.modules"
    )
    output = answer_of(code)
    assert "finetune_lower" in output or "strategy:" in output


def test_flags_may_stand_anywhere() -> None:
    assert flags_first(["a=1", "-m", "b=2"]) == ["-m", "a=1", "b=2"]
    assert flags_first(["a=1", "--cfg", "job", "b=2"]) == ["--cfg", "job", "a=1", "b=2"]
    assert flags_first(["a=1", "--info", "defaults"]) == ["--info", "defaults", "a=1"]
    assert flags_first(["--info", "b=2"]) == ["--info", "b=2"]


def test_nothing_that_was_on_disk_is_lost() -> None:
    for _ in range(2):
        assert main(["train", *TINY, *SMALLEST, "debug=fast", "output_dir=o"]) == 0
    found = runs_below(Path("o"))
    assert len(found) == 2
    assert found[0]["id"] == found[1]["id"]
    assert json.dumps(found[0]["metrics"]) == json.dumps(found[1]["metrics"])


def test_the_global_generator_does_not_matter() -> None:
    metrics = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        assert main(["train", *TINY, *SMALLEST, "strategy=scratch", "debug=fast", f"output_dir=o{seed}"]) == 0
        metrics.append(runs_below(Path(f"o{seed}"))[0]["metrics"])
    assert metrics[0] == metrics[1]
