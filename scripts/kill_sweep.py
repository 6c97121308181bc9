"""Kill a sweep at random moments, restart it until it is done, and compare it with an undisturbed one.

    python scripts/kill_sweep.py --kills 30

Prints the number of kills, where they happened, and whether every run's metrics are bit-equal. The exit code is 1 if
metrics differ, a run is lost, or a run was trained twice.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

SWEEP = [
    "-m", "strategy=finetune_all,finetune_upper", "seed=0,1,2", "augmentation=crop_resize", "callbacks=ema",
    "dataset.counts=[24,8,8]", "dataset.image_size=32", "dataset.num_workers=0", "backbone.weights=null",
    "trainer.accelerator=cpu", "sweep.checkpoint_share=1",
]  # fmt: skip


Killed = tuple[Counter[str], int]


def main() -> int:
    """Compare both sweeps in a temporary folder; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("settings", nargs="*", help="more settings of the sweep, such as hydra/launcher=joblib")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return compare(Path(folder), options)


def compare(folder: Path, options: argparse.Namespace) -> int:
    """Run both sweeps in a folder and print the comparison; return the exit code."""
    script = str(Path(__file__).with_name("train.py"))
    command = [sys.executable, script, *SWEEP, f"trainer.max_epochs={options.epochs}", *options.settings]
    start = time.perf_counter()
    subprocess.run([*command, "output_dir=undisturbed"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    alone = time.perf_counter() - start
    kills, changed = killed_sweep([*command, "output_dir=killed"], folder, options, alone)
    expected, found = finished_metrics(folder / "undisturbed"), finished_metrics(folder / "killed")
    equal = sum(found.get(name) == metrics for name, metrics in expected.items())
    lost = len(expected) - len(found.keys() & expected.keys())
    twice = len(list((folder / "killed").rglob("run.json"))) - len(found) + changed
    print(f"undisturbed: {len(expected)} runs in {alone:.0f} s")
    print(f"killed {sum(kills.values())} times: {', '.join(f'{count} {where}' for where, count in kills.items())}")
    print(f"metrics bit-equal: {equal} of {len(expected)}; runs lost: {lost}; trained twice or left over: {twice}")
    return 0 if equal == len(expected) and not lost and not twice else 1


def killed_sweep(command: list[str], folder: Path, options: argparse.Namespace, alone: float) -> Killed:
    """Start and kill the sweep until it ends by itself; return where it was killed, and the number of changed runs."""
    draw, kills, changed = random.Random(options.seed), Counter[str](), 0
    finished: dict[Path, bytes] = {}
    while True:
        process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            wait = draw.uniform(0.1, 0.5) * alone if sum(kills.values()) < options.kills else None
            code = process.wait(wait)
            if code != 0:
                raise SystemExit(f"the sweep ended with {code}")
            if sum(kills.values()) >= options.kills:
                return kills, changed
            # The sweep ended too early: delete a run, as if a disk had lost it, so that the sweep can be killed again.
            path = draw.choice(sorted((folder / "killed").rglob("run.json")))
            finished.pop(path, None)
            shutil.rmtree(path.parent)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills[where(folder / "killed")] += 1
        for path, content in finished.items():
            changed += path.read_bytes() != content
        finished = {path: path.read_bytes() for path in (folder / "killed").rglob("run.json") if is_finished(path)}


def where(folder: Path) -> str:
    """Return the phase of the sweep when it was killed."""
    for path in folder.rglob("run.json"):
        if json.loads(path.read_text())["status"] == "running":
            epochs = path.parent / "metrics.csv"
            return "within a run" if epochs.is_file() else "before a run's first epoch"
    return "between runs or at the start"


def is_finished(path: Path) -> bool:
    """Return whether a run.json has the status "finished"."""
    return bool(json.loads(path.read_text())["status"] == "finished")


def finished_metrics(folder: Path) -> dict[str, dict[str, float]]:
    """Return the metrics of each finished run, by the name of its directory."""
    contents = {path.parent.name: json.loads(path.read_text()) for path in folder.rglob("run.json")}
    return {name: content["metrics"] for name, content in contents.items() if content["status"] == "finished"}


if __name__ == "__main__":
    sys.exit(main())
