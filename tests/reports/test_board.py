"""Test the event files of a comparison, and the command that serves them."""

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pytest
from conftest import answer_of
from made_runs import write_regression_run, write_run
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data

from headstart.cli import main
from headstart.commands.board import Links
from headstart.comparison.panels import make_panels
from headstart.comparison.table import group_runs
from headstart.records.runs import read_runs
from headstart.reports.board import write_board

ACCURACIES = {"head_only": [0.8, 0.9], "scratch": [0.4]}
RAW = {"raw_pixels": {"test/accuracy": 0.3, "validation/accuracy": 0.35}}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for strategy, accuracies in ACCURACIES.items():
        for seed, accuracy in enumerate(accuracies):
            write_run(tmp_path / "runs", strategy, seed, accuracy, references=RAW)
    probe = write_run(tmp_path / "runs", "linear_probe", 0, 0.7)
    (probe / "metrics.csv").write_text("epoch,l2,validation/accuracy\n0,0.1,0.5\n1,1,0.69\n")
    return tmp_path / "runs"


def write(runs: Path, directory: Path, **images: Path) -> Path:
    return write_board(make_panels(group_runs(read_runs([runs]).runs)), directory, images)


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def curve(events: EventAccumulator, tag: str) -> dict[int, Any]:
    return {event.step: pytest.approx(event.value, abs=1e-6) for event in events.Scalars(tag)}


def event_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*tfevents*"))


def test_means_and_bands_over_seeds_share_the_tags_of_runs(runs: Path, tmp_path: Path) -> None:
    folder = write(runs, tmp_path / "board") / "ants/head_only"
    validation, train = read(folder / "validation"), read(folder / "train")
    curves = [[accuracy - 0.05 * (2 - epoch) for accuracy in ACCURACIES["head_only"]] for epoch in range(3)]
    assert curve(validation, "epoch_accuracy") == {epoch: mean(values) for epoch, values in enumerate(curves)}
    for side, sign in (("low", -1), ("high", 1)):
        expected = {epoch: mean(values) + sign * stdev(values) for epoch, values in enumerate(curves)}
        assert curve(validation, f"spread/accuracy_{side}") == expected
    assert curve(train, "epoch_accuracy") == {0: 0.5, 1: 0.6, 2: 0.7}
    assert "epoch_loss" not in train.Tags()["scalars"]  # these runs have none
    alone = read(folder.parent / "scratch/validation")
    assert curve(alone, "spread/accuracy_low") == curve(alone, "epoch_accuracy")


def test_losses_are_averaged_where_there_are_some(tmp_path: Path) -> None:
    for seed, loss in enumerate([1.0, 2.0]):
        run = write_run(tmp_path / "runs", "scratch", seed, 0.5)
        epochs = [f"{epoch},0.5,{loss}" for epoch in range(2 - seed)]  # the second stops early
        (run / "metrics.csv").write_text("\n".join(["epoch,train/accuracy,train/loss", *epochs]))
    train = read(write(tmp_path / "runs", tmp_path / "board") / "ants/scratch/train")
    assert curve(train, "epoch_loss") == {0: 1.5, 1: 1.0}


def test_fits_without_epochs_and_references_are_level_lines(runs: Path, tmp_path: Path) -> None:
    folder = write(runs, tmp_path / "board") / "ants"
    assert curve(read(folder / "linear_probe/validation"), "epoch_accuracy") == {0: 0.69, 2: 0.69}
    assert curve(read(folder / "raw pixels/validation"), "epoch_accuracy") == {0: 0.35, 2: 0.35}


def test_a_line_of_hparams_a_series(runs: Path, tmp_path: Path) -> None:
    folder = write(runs, tmp_path / "board") / "ants"
    assert {path.name for path in folder.iterdir()} == {*ACCURACIES, "linear_probe", "raw pixels"}
    events = read(folder / "head_only/test")
    accuracies = ACCURACIES["head_only"]
    assert curve(events, "final/test_accuracy") == {0: mean(accuracies)}
    assert curve(events, "final/test_accuracy_deviation") == {0: stdev(accuracies)}
    assert curve(events, "final/runs") == {0: 2}
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    start = parse_session_start_info_plugin_data(content)
    assert start.group_name == "ants/head_only"
    assert start.hparams["strategy"].string_value == "head_only"
    alone = read(folder / "scratch/test").Tags()["scalars"]
    assert "final/test_accuracy" in alone
    assert "final/test_accuracy_deviation" not in alone


def test_tags_are_those_of_the_primary_metric(tmp_path: Path) -> None:
    for seed in range(2):
        write_regression_run(tmp_path / "runs", "scratch", seed, np.full(4, 1.0 + seed))
    events = read(write(tmp_path / "runs", tmp_path / "board") / "ants/scratch/validation")
    assert {"epoch_mae", "epoch_loss", "spread/mae_low", "spread/mae_high"} <= set(events.Tags()["scalars"])
    [event] = events.Tensors("custom_scalars__config__")
    [category] = Layout.FromString(event.tensor_proto.string_val[0]).category
    assert [chart.margin.series[0].value for chart in category.chart] == ["epoch_mae", "epoch_loss"]
    final = read(tmp_path / "board/ants/scratch/test")
    assert curve(final, "final/test_mae") == {0: 1.5}
    assert "final/test_accuracy" not in final.Tags()["scalars"]


def test_the_layout_shades_the_band(runs: Path, tmp_path: Path) -> None:
    events = read(write(runs, tmp_path / "board") / "ants/head_only/validation")
    [event] = events.Tensors("custom_scalars__config__")
    [category] = Layout.FromString(event.tensor_proto.string_val[0]).category
    [series] = category.chart[0].margin.series
    assert {series.value, series.lower, series.upper} <= set(events.Tags()["scalars"])


def test_images_of_the_report_are_images(runs: Path, tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "x.png")
    [event] = read(write(runs, tmp_path / "board", curves=tmp_path / "x.png") / "figures").Images("curves")
    assert (event.width, event.height) == (30, 20)
    assert event.encoded_image_string == (tmp_path / "x.png").read_bytes()


def test_only_our_own_files_are_removed(runs: Path, tmp_path: Path) -> None:
    directory = tmp_path / "board"
    write(runs, directory)
    foreign = [
        directory / "ants/scratch/train/events.out.tfevents.1.other",
        directory / "ants/head_only/notes.headstart",
        tmp_path / "elsewhere/events.out.tfevents.1.headstart",
    ]
    for path in foreign:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (directory / "link").symlink_to(tmp_path / "elsewhere")
    for run in runs.glob("linear_probe*"):
        run.rename(tmp_path / run.name)
    before = {path for path in event_files(directory) if "linear_probe" not in str(path)}
    for path in before - set(foreign):  # names go by seconds
        path.rename(path.with_name("events.out.tfevents.0000000001.headstart"))
    write(runs, directory)
    assert all(path.exists() for path in foreign)
    assert not (directory / "ants/linear_probe").exists()
    assert len(event_files(directory)) == len(before)
    assert {path.parent for path in event_files(directory)} == {path.parent for path in before}


def test_names_that_are_no_folders_are_made_plain_and_stay_apart(tmp_path: Path) -> None:
    for seed, strategy in enumerate(["a/../b", "a:.. b"]):
        path = write_run(tmp_path / "runs", "plain", seed, 0.5) / "run.json"
        path.write_text(path.read_text().replace('"strategy": "plain"', f'"strategy": "{strategy}"'))
    folder = write(tmp_path / "runs", tmp_path / "board")
    assert sorted(path.name for path in (folder / "ants").iterdir()) == ["a .. b", "a .. b 2"]


def test_a_place_that_cannot_be_written_is_one_sentence(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (runs / "report").write_text("")
    assert main(["board", str(runs)]) == 2
    told = f"headstart: Nothing can be written below '{runs}/report/tensorboard' (a file of that name exists)"
    assert capsys.readouterr().err.startswith(told)


def test_neither_torch_nor_tensorflow_is_needed(runs: Path, tmp_path: Path) -> None:
    code = f"""
import sys
from headstart.commands.board import aggregate
assert not {{"torch", "tensorboard", "pandas"}} & set(sys.modules)
from pathlib import Path
print(aggregate([Path({str(runs)!r})]))
assert not {{"torch", "tensorflow", "matplotlib"}} & set(sys.modules)
"""
    assert answer_of(code).strip() == str(runs / "report/tensorboard")


def test_links_are_named_by_runs_and_new_ones_are_added(runs: Path, tmp_path: Path) -> None:
    for run in (runs / "scratch-0-0.1", runs / "head_only-0-0.1"):
        (run / "tensorboard/train").mkdir(parents=True)
    (tmp_path / "links").mkdir()
    links = Links(tmp_path / "links", [runs, runs / "scratch-0-0.1"], runs)
    links.renew()
    names = {"scratch seed=0", "head_only seed=0", "comparison"}
    assert {path.name for path in (tmp_path / "links").iterdir()} == names
    (write_run(runs / "later", "scratch", 0, 0.5) / "tensorboard").mkdir()
    (write_run(runs / "repeat", "head_only", 0, 0.5, repeats={"run": "x"}) / "tensorboard").mkdir()
    links.renew()
    assert {path.name for path in (tmp_path / "links").iterdir()} == {*names, "scratch seed=0 2"}
    assert {(tmp_path / f"links/scratch seed=0{end}").resolve() for end in ("", " 2")} == {
        runs / f"{place}scratch-0-0.1/tensorboard" for place in ("", "later/")
    }


def test_links_follow_the_settings_that_differ(tmp_path: Path) -> None:
    stages = {"head": {"stages": ["stage1", "stage2"]}}
    (tmp_path / "links").mkdir()
    links = Links(tmp_path / "links", [tmp_path / "runs"], None)

    def names_with(strategy: str, seed: int, **changes: Any) -> dict[str, str]:
        (write_run(tmp_path / "runs", strategy, seed, 0.5, **changes) / "tensorboard").mkdir(exist_ok=True)
        links.renew()
        return {path.name: path.resolve().parent.name for path in (tmp_path / "links").iterdir()}

    assert names_with("scratch", 0) == {"scratch seed=0": "scratch-0-0.1"}
    assert names_with("scratch", 1, lr=0.2, config=stages) == {
        "scratch lr=0.1 seed=0": "scratch-0-0.1",
        "scratch lr=0.2 seed=1": "scratch-1-0.2",
    }
    assert names_with("scratch", 0, lr=0.3) == {
        "scratch lr=0.1 seed=0": "scratch-0-0.1",
        "scratch lr=0.2 stages=stage1,stage2 seed=1": "scratch-1-0.2",
        "scratch lr=0.3 seed=0": "scratch-0-0.3",
    }


def test_runs_that_cannot_be_shown_are_refused_in_one_sentence(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main(["board", str(runs), "--port", port]) == 2
    assert main(["board", str(tmp_path / "gone")]) == 2
    assert main(["board", str(tmp_path / "empty")]) == 2
    assert main(["board", str(runs), "--port", "70000"]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 4
    for line, expected in zip(said, ("is taken", "There is no folder", "There is no run", "65535"), strict=True):
        assert line.startswith("headstart: ")
        assert expected in line


@contextmanager
def served(*arguments: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Return the address that the command prints, and its process."""
    code = "import sys; from headstart.cli import main; sys.exit(main(['board', *sys.argv[1:]]))"
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[1], process
        finally:
            process.kill()


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_here_only_and_ends_cleanly(runs: Path, signal_number: signal.Signals) -> None:
    with served(str(runs)) as (address, process):
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{address}data/environment", timeout=10) as answer:
            folder = Path(json.load(answer)["data_location"])
        assert (folder / "comparison").resolve() == runs / "report/tensorboard"
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert "runFilter=comparison/.*validation&tagFilter=epoch_" in answer.url
            assert b"TensorBoard" in answer.read()
        assert listening(process.pid) == {"127.0.0.1"}
        process.send_signal(signal_number)
        assert process.wait(20) == 0
        assert process.stdout is not None
        assert process.stderr is not None
        assert "runFilter" in process.stdout.read()
        assert not process.stderr.read()
        assert not folder.exists()


def test_without_means_none_are_written(runs: Path) -> None:
    with served(str(runs), "--no-aggregate") as (_, process):
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert not (runs / "report").exists()


def listening(pid: int) -> set[str]:
    """Return the addresses at which a process listens."""
    own = {str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            parts = line.split()
            if parts[3] == "0A" and f"socket:[{parts[9]}]" in own:
                packed = parts[1].split(":")[0]
                found.add(socket.inet_ntoa(np.uint32(int(packed, 16)).tobytes()) if len(packed) == 8 else packed)
    return found
