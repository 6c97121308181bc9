"""Check that memory and open files stop growing over many short runs in one process.

    python scripts/soak.py --runs 200

Prints resident memory and open files over the runs, and their growth over the second half. The exit code is 1 if either
grows by more than 5 %.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

LIMIT = 0.05
WINDOW = 10  # runs of which the median is taken
SWEEP = [
    "strategy=finetune_all,head_only", "dataset.counts=[6,4,4]", "dataset.image_size=32", "dataset.num_workers=0",
    "backbone.weights=null", "trainer.accelerator=cpu", "trainer.max_epochs=1", "augmentation=crop_resize",
]  # fmt: skip
Sample = tuple[int, int]  # resident bytes, open files


def main() -> int:
    """Run the sweep and watch its process; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("settings", nargs="*", help="more settings of the sweep")
    options = parser.parse_args()
    script = str(Path(__file__).with_name("train.py"))
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, script, "-m", *SWEEP, f"seed=range({options.runs // 2})", *options.settings]
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
        samples = watch(process, Path(folder))
        seconds = time.perf_counter() - start
    if process.returncode != 0:
        print(f"the sweep ended with {process.returncode}")
        return 1
    print(f"{len(samples)} runs in one process, {seconds / len(samples):.2f} s each")
    return report(samples)


def watch(process: subprocess.Popen[bytes], folder: Path) -> list[Sample]:
    """Return a sample after each run."""
    samples: list[Sample] = []
    while process.poll() is None:
        ended = len(list(folder.glob("runs/*/.outcomes/*.json")))
        if ended > len(samples) and (sample := look(process.pid)):
            samples += [sample] * (ended - len(samples))
        time.sleep(0.02)
    return samples


def look(process: int) -> Sample | None:
    """Return resident memory and open files of a process, or None if it has ended."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE"), len(list(Path(f"/proc/{process}/fd").iterdir()))
    except OSError:
        return None


def report(samples: list[Sample]) -> int:
    """Print memory and open files over the runs, and their growth; return the exit code."""
    marks = sorted({WINDOW, *(len(samples) * part // 4 for part in (1, 2, 3)), len(samples)})
    means = {
        mark: [median(sample[i] for sample in samples[max(0, mark - WINDOW) : mark]) for i in (0, 1)] for mark in marks
    }
    for mark, (memory, files) in means.items():
        print(f"after {mark:4d} runs: {memory / 1e6:7.1f} MB, {files:3.0f} open files")
    half, end = means[len(samples) // 2], means[len(samples)]
    growth = [after / before - 1 for before, after in zip(half, end, strict=True)]
    print(
        f"growth over the second half: memory {100 * growth[0]:+.1f} %, open files {100 * growth[1]:+.1f} % (limit 5 %)"
    )
    return int(max(growth) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
