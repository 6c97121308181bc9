"""Test training from Python: the same runs as the command's, errors as exceptions, nothing left changed."""

import logging
import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALLEST, TINY, answer_of
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

import headstart as hs
from headstart.cli import main
from headstart.commands import train as train_command
from headstart.errors import ConfigError, DataError, HeadstartError

FAST: dict[str, Any] = {
    "dataset": {"counts": [6, 4, 4], "image_size": 32, "num_workers": 0},
    "backbone": "timm",
    "backbone.name": "test_efficientnet",
    "backbone.weights": None,
    "trainer": {"max_epochs": 1, "accelerator": "cpu"},
    "logger": "csv",
}


def test_import_loads_no_library() -> None:
    code = (
        "import sys; import headstart as hs; dir(hs)\n"
        "heavy = {'torch', 'numpy', 'pandas', 'hydra', 'matplotlib', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert not hasattr(hs, 'trian')\n"
        "hs.runs, hs.run, hs.compare, hs.train, hs.Run\n"
        "assert 'torch' not in sys.modules\n"
        "print('light')"
    )
    assert answer_of(code) == "light\n"


def test_a_run_equals_that_of_the_command(tmp_path: Path) -> None:
    run = hs.train(FAST, "strategy=head_only", output_dir="python", seed=3)
    words = [*TINY, *SMALLEST, "trainer.max_epochs=1", "logger=csv", "strategy=head_only", "seed=3", "output_dir=shell"]
    assert main(["train", *words]) == 0
    (other,) = hs.runs("shell").directory
    assert run.id == hs.run(other).id
    assert run.metrics == hs.run(other).metrics
    assert run.directory.is_absolute()
    again = hs.train(FAST, "strategy=ridge", output_dir="python")
    assert again.status == "finished"


def test_values_reach_the_settings(make_folder: Any) -> None:
    root = make_folder({f"train/{name}": 8 for name in ("a", "b")}, "my, images = é 'x'")
    mine = {"dataset.root": root, "dataset.image_size": 32, "dataset.num_workers": 0}
    run = hs.train(FAST | {"dataset": "image_folder"}, mine, strategy="ridge")
    assert run.config["dataset.root"] == str(root)
    assert run.config["backbone.weights"] is None


def test_wrong_settings_raise_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    before = (sys.argv, os.environ.get("HYDRA_FULL_ERROR"))
    with pytest.raises(ConfigError, match=r"^There is no strategy 'linear_prob'\. Did you mean 'linear_probe'\?$"):
        hs.train(strategy="linear_prob")
    with pytest.raises(ConfigError, match=r"There is no setting 'optimizer\.lrr'") as refused:
        hs.train({"optimizer.lrr": 1})
    assert refused.value._render_traceback_() == [f"ConfigError: {refused.value}"]
    with pytest.raises(HeadstartError, match="there is no such folder"):
        hs.train(dataset="image_folder", **{"dataset.root": "gone"})
    with pytest.raises(HeadstartError, match="there is no such folder"):
        hs.train(FAST, config_dir="gone")
    assert not any(capsys.readouterr())
    assert (sys.argv, os.environ.get("HYDRA_FULL_ERROR")) == before
    assert not Path("runs").exists()


def test_an_error_of_the_run_is_raised_and_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    with pytest.raises(DataError, match=r"holds no class folders|no image"):
        hs.train(dataset="image_folder", **{"dataset.root": "empty", "backbone.weights": None})
    assert not capsys.readouterr().err


def test_a_sweep_gives_its_runs_in_order_and_skips_finished_ones(capsys: pytest.CaptureFixture[str]) -> None:
    runs = hs.sweep(FAST, strategy=["ridge", "nearest_centroid"], seed=[0, 1])
    named = [(run.config["seed"], run.directory.name.split("-")[2]) for run in runs]
    assert sorted(named) == [(0, "nearest_centroid"), (0, "ridge"), (1, "nearest_centroid"), (1, "ridge")]
    assert "4 runs: 4 finished" in capsys.readouterr().out
    again = hs.sweep(FAST, strategy=["ridge", "nearest_centroid"], seed=[0, 1])
    assert [run.id for run in again] == [run.id for run in runs]
    assert "4 had finished before" in capsys.readouterr().out
    assert len(runs[1:]) == 3
    assert list(runs.frame().seed) == [run.config["seed"] for run in runs]


def test_a_failed_run_of_a_sweep_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    runs = hs.sweep(FAST, strategy="ridge", **{"dataset.image_size": [32, -1]})
    assert [run.status for run in runs] == ["finished"]
    assert "what went wrong" in capsys.readouterr().err
    with pytest.raises(HeadstartError):
        hs.sweep(FAST, strategy="ridge", **{"dataset.image_size": [-2, -1]})


def test_inside_another_application_of_hydra() -> None:
    shared, settings = GlobalHydra.instance(), HydraConfig.instance()
    shared.hydra, settings.cfg = begun = (object(), object())  # type: ignore[assignment]
    try:
        assert hs.train(FAST, strategy="ridge").status == "finished"
        assert (shared.hydra, settings.cfg) == begun
    finally:
        shared.hydra = settings.cfg = None


def test_in_a_thread_no_signal_handler_changes() -> None:
    before = signal.getsignal(signal.SIGINT)
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(hs.train(FAST, strategy="ridge")))
    thread.start()
    thread.join()
    assert isinstance(found[0], hs.Run)
    assert signal.getsignal(signal.SIGINT) == before


def test_an_interruption_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt("stopped by SIGINT")

    monkeypatch.setattr(train_command, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        hs.train(FAST)
    with pytest.raises(KeyboardInterrupt):
        hs.sweep(FAST, seed=[0, 1])
    monkeypatch.undo()
    assert len(hs.sweep(FAST, strategy="ridge", seed=[0, 1])) == 2


def test_lines_are_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers = list(root.handlers)
    for _ in range(2):
        with warnings.catch_warnings():
            hs.train(FAST, strategy="ridge")
        assert capsys.readouterr().out.count("Ridge on") == 1
    assert root.handlers == handlers
