"""Test that a resumed run ends like one that never stopped, for a stop at any step."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALLEST, TINY, runs_below
from forking import Server
from resuming import Killed, check_equal, only_run, stop_at

from headstart.cli import main
from headstart.interrupt import Interrupted, listening
from headstart.optimization import lr_finder
from headstart.training.checkpoints import drop_halves, drop_intermediate
from headstart.training.resume import KeepProgress, read_progress

STEPS = 3  # an epoch: 72 images in batches of 24
EPOCHS = 3
FAST = [*TINY[:4], *SMALLEST, "trainer.accelerator=cpu", f"trainer.max_epochs={EPOCHS}", "dataset.batch_size=24"]
SETTINGS = {
    "finetune_all": [],
    "head_only": ["+strategy.lr=0.05"],
    "views_and_mixes": ["augmentation=[crop_resize,mixup]", "dataset.num_workers=1", "dataset.balance=sampler"],
    "consistency": ["augmentation=[crop_resize,augmix]", "augmentation.augmix.jsd=12", "augmentation.where=device"],
    "ema": ["callbacks=[ema,histograms]", "scheduler=plateau"],
    "swa": ["callbacks=swa", "callbacks.swa.start=0.3", "scheduler=constant"],
    "gradual_unfreeze": ["strategy=gradual_unfreeze", "+trainer.accumulate_grad_batches=2"],
    "wise_ft": ["strategy=wise_ft"],
    "auto_rate": ["strategy.lr=auto", "scheduler=one_cycle", "head=mlp", "head.dropout=0.5"],
    "early_stopping": ["callbacks=early_stopping", "callbacks.early_stopping.patience=1", "optimizer.lr=1e-6"],
}


def command(name: str, folder: str) -> list[str]:
    strategy = [] if any(setting.startswith("strategy=") for setting in SETTINGS[name]) else ["strategy=finetune_all"]
    strategy = ["strategy=head_only"] if name == "head_only" else strategy
    return ["train", *FAST, *strategy, *SETTINGS[name], f"output_dir={folder}", "sweep.checkpoint_share=1"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_a_resumed_run_ends_as_if_it_never_stopped(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lr_finder, "STEPS", 25)  # a range test each time that the run goes on
    assert main(command(name, "a")) == 0
    # Stopped within an epoch, killed right after an epoch's last step, then at the end of what is left.
    for step, how in ((2, "SIGTERM"), (STEPS - 2, "killed"), (2, "SIGINT")):
        with monkeypatch.context() as patch:
            stop_at(patch, step, how)
            if how == "killed":
                with pytest.raises(Killed):
                    main(command(name, "b"))
                continue
            assert main(command(name, "b")) == {"SIGTERM": 143, "SIGINT": 130}[how]
        (found,) = runs_below(Path("b"))
        assert found["status"] == "interrupted"
        assert how in found["error"]["message"]
    assert main(command(name, "b")) == 0
    check_equal(only_run("a"), only_run("b"))


@pytest.mark.parametrize("step", [STEPS + 2, EPOCHS * STEPS])
def test_a_run_directory_may_move(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A move in the middle of a run, or before the test pass, keeps the same best epoch at its new place."""
    few = [*command("finetune_all", "b")[:-2], "optimizer.lr=0.01", "sweep.checkpoint_share=1"]
    assert main([*few, "output_dir=a"]) == 0
    with monkeypatch.context() as patch:
        stop_at(patch, step, "SIGTERM")
        assert main([*few, "output_dir=b"]) == 143
    Path("b").rename("c")
    assert main([*few, "output_dir=c"]) == 0
    assert not Path("b").exists()
    runs = [only_run(name) for name in "ac"]
    texts = [(run / "config.yaml").read_text().replace("output_dir: c", "output_dir: a") for run in runs]
    (runs[1] / "config.yaml").write_text(texts[1])
    check_equal(*runs)


def test_a_signal_while_the_last_checkpoint_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = KeepProgress._keep

    def keep(self: KeepProgress, *args: Any) -> None:
        if self._complete:
            patch.undo()
            signal.raise_signal(signal.SIGTERM)
        plain(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(KeepProgress, "_keep", keep)
        assert main(command("finetune_all", "b")) == 143
    assert [run["status"] for run in runs_below(Path("b"))] == ["interrupted"]
    assert (only_run("b") / "checkpoints" / "resume.ckpt").is_file()


@pytest.mark.parametrize("when", [0, 1])
def test_a_signal_after_the_end_changes_nothing(when: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(folder: Path) -> None:
        if json.loads((folder.parent / "run.json").read_text())["status"] != "finished":
            return
        patch.undo()
        if when:
            drop_intermediate(folder)
        signal.raise_signal(signal.SIGTERM)

    sweep = ["train", "-m", *command("head_only", "b")[1:]]
    with monkeypatch.context() as patch:
        patch.setattr("headstart.training.run.drop_intermediate", stopped)
        assert main(sweep) == 143
    (run,) = Path("b").rglob("run.json")
    before = run.read_text()
    assert json.loads(before)["status"] == "finished"
    assert main(sweep) == 0
    assert run.read_text() == before


def test_half_a_checkpoint_is_removed(tmp_path: Path) -> None:
    for name in (".resume.ckpt.ab12", ".best.ckpt.x", "resume.ckpt", "epoch.ckpt", "best.ckpt"):
        (tmp_path / name).touch()
    drop_halves(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.ckpt", "epoch.ckpt", "resume.ckpt"]


@pytest.mark.slow
def test_a_signal_to_all_processes_of_a_run_waits_for_the_step(warm: Server) -> None:
    """`timeout` and clusters also send the signal to the processes that load images."""
    settings = ["augmentation=crop_resize", "dataset.num_workers=2", "trainer.max_epochs=1000", "strategy=finetune_all"]
    few = [
        setting
        for setting in (*TINY, *SMALLEST)
        if not setting.startswith(("dataset.num_workers", "trainer.max_epochs"))
    ]
    call = f"main({['train', *few, *settings, 'output_dir=b']!r})"
    code = f"import os, sys; os.setsid(); from headstart.cli import main; sys.exit({call})"
    run = warm.popen([sys.executable, "-c", code])
    try:
        end = time.monotonic() + 120
        while not list(Path("b").rglob("metrics.csv")):
            assert time.monotonic() < end
            time.sleep(0.1)
        os.killpg(run.pid, signal.SIGTERM)
        assert run.wait(60) == 143
    finally:
        run.kill()
    assert [run["status"] for run in runs_below(Path("b"))] == ["interrupted"]


def test_a_checkpoint_of_other_images_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, 4, "SIGTERM")
        assert main(command("finetune_all", "b")) == 143
    folder = only_run("b") / "checkpoints"
    content = torch.load(folder / "resume.ckpt", weights_only=True)
    made_of = content["headstart"]["made_of"]
    assert read_progress(folder, made_of) is not None
    for name in made_of:
        assert read_progress(folder, {**made_of, name: "another"}) is None
    whole = (folder / "resume.ckpt").read_bytes()
    (folder / "resume.ckpt").write_bytes(whole[: len(whole) // 2])
    assert read_progress(folder, made_of) is None


def test_a_second_signal_ends_at_once() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with listening() as stop:
        stop.waiting = True
        signal.raise_signal(signal.SIGTERM)
        assert stop.asked
        with pytest.raises(Interrupted, match="SIGTERM"):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_signal_of_a_queue_is_passed_on_after_the_run() -> None:
    said: list[str] = []
    before = signal.signal(signal.SIGUSR2, lambda *args: said.append("requeued"))
    try:
        with pytest.raises(Interrupted):
            _stopped_by_the_queue(said)
        assert said == ["requeued"]
    finally:
        signal.signal(signal.SIGUSR2, before)


def _stopped_by_the_queue(said: list[str]) -> None:
    with listening() as stop:
        stop.waiting = True
        signal.raise_signal(signal.SIGUSR2)
        assert not said
        stop.end()
