"""Test the real packages, where they are installed, with their local back ends: pip install '.[wandb,mlflow,trackio]'.

A run stops in its third epoch and is resumed. Its record must have every point once.
"""

import csv
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALLEST, TINY, runs_below

pytestmark = pytest.mark.slow
EPOCHS = 5
RUN = [*TINY, *SMALLEST, "strategy=finetune_all", "output_dir=o", "sweep.checkpoint_share=1"]


def trained(package: str, stop: int | None, *settings: str) -> str:
    """Train in a new process without terminal and network settings; return its output. ``stop`` is a signal."""
    code = "from headstart.cli import main; import sys; sys.exit(main(sys.argv[1:]))"
    if stop is not None:
        code = (
            "import os\n"
            "from headstart.strategies import GradientStrategy as S\n"
            "old = S.on_train_epoch_end\n"
            "def new(self):\n"
            "    old(self)\n"
            f"    self.current_epoch == 2 and os.kill(os.getpid(), {int(stop)})\n"
            f"S.on_train_epoch_end = new\n{code}"
        )
    arguments = ["train", *RUN, f"logger={package}", f"trainer.max_epochs={EPOCHS}", *settings]
    environment = {**os.environ, "HOME": str(Path.cwd() / "home"), "PYTHONPATH": os.pathsep.join(sys.path)}
    for name in ("WANDB_API_KEY", "WANDB_MODE", "MLFLOW_TRACKING_URI", "TRACKIO_DIR", "NETRC"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120, env=environment,
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    expected = {None: 0, signal.SIGTERM: 143, signal.SIGKILL: -9}[stop]
    assert done.returncode == expected, done.stdout + done.stderr
    assert "has stopped" not in done.stdout + done.stderr
    return done.stdout


def entries(content: bytes) -> Iterator[bytes]:
    """Yield the entries of a LevelDB log, in blocks of 32 KiB; a part is checksum, length and kind, then bytes."""
    place, whole = 7, b""
    while place + 7 <= len(content):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        if kind == 0:
            return
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a full entry, or the last part of one
            yield whole
            whole = b""


def wandb_points(folder: Path) -> tuple[set[str], list[tuple[str, int, float]], str]:
    """Return the ids, points and exit status in the offline files of a run."""
    import json

    from wandb.proto.wandb_internal_pb2 import Record

    identities, points, status = set(), [], ""
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        for data in entries(path.read_bytes()):
            record = Record()
            record.ParseFromString(data)
            if record.HasField("run"):
                identities.add(record.run.run_id)
            if record.HasField("exit"):
                status = "finished" if record.exit.exit_code == 0 else "failed"
            items = {
                ("/".join(item.nested_key) or item.key): json.loads(item.value_json) for item in record.history.item
            }
            points += [(k, items["epoch"], v) for k, v in items.items() if isinstance(v, int | float)]
    return identities, points, status


def mlflow_points(folder: Path) -> tuple[set[str], list[tuple[str, int, float]], str]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder.parents[1].absolute()}/mlflow/mlflow.db")
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    points = [
        (key, one.step, one.value)
        for run in runs
        for key in run.data.metrics
        for one in client.get_metric_history(run.info.run_id, key)
    ]
    assert {len(client.list_artifacts(run.info.run_id)) for run in runs} == {1}
    status = {"FINISHED": "finished", "KILLED": "failed"}.get(runs[0].info.status, "running")
    return {run.info.run_id for run in runs}, points, status


def trackio_points(folder: Path) -> tuple[set[str], list[tuple[str, int, float]], str]:
    import json
    import sqlite3

    with sqlite3.connect(folder.parents[1] / "trackio" / "headstart.db") as base:
        rows = base.execute("SELECT run_id, step, metrics FROM metrics").fetchall()
        alerts = base.execute("SELECT * FROM alerts").fetchall()
    points = [
        (name, step, value)
        for _, step, numbers in rows
        for name, value in json.loads(numbers).items()
        if isinstance(value, int | float)
    ]
    return {run for run, _, _ in rows}, points, "failed" if alerts else "finished"


READ: dict[str, Any] = {"wandb": wandb_points, "mlflow": mlflow_points, "trackio": trackio_points}


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("package", READ)
def test_a_resumed_run_is_one_record_without_doubled_points(package: str, stop: signal.Signals) -> None:
    pytest.importorskip(package)
    trained(package, stop)
    (folder,) = (path.parent for path in Path("o").rglob("run.json"))
    if stop == signal.SIGTERM:
        assert READ[package](folder)[2] == "failed"
    trained(package, None)
    identities, points, status = READ[package](folder)
    assert len(identities) == 1
    if package != "trackio":  # its alert about the first part stays
        assert status == "finished"
    (run,) = runs_below(Path("o"))
    with (folder / "metrics.csv").open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == EPOCHS
    for name in ("train/loss", "validation/accuracy", "learning_rate/head"):
        found = sorted((epoch, value) for key, epoch, value in points if key == name)
        rows = [(int(row["epoch"]), float(row[name])) for row in table]
        if stop == signal.SIGKILL and package == "trackio":  # loses what its thread has not written
            rows = [row for row in rows if row[0] != 2 or row in found]
        assert found == rows
    test = [(epoch, value) for key, epoch, value in points if key == "test/accuracy"]
    assert test == [(run["best_epoch"], run["metrics"]["test/accuracy"])]
    assert not {path.name for path in Path().iterdir()} - {"o", "cache", "home"}
