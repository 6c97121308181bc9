"""Compare linear_probe as a whole command with a probe written by hand, and with the time of its imports."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measured import Row, fresh, median


def linear_probe(settings: Sequence[str], rounds: int) -> list[Row]:
    """Compare whole commands, including start-up, and their test accuracies."""
    values = dict(setting.split("=", 1) for setting in settings)
    if values["backbone"] != "efficientnet_lite0" or "dataset.root" not in values:
        return []
    ours, theirs, accuracies = [], [], []
    for _ in range(rounds):
        with fresh([*settings, "strategy=linear_probe"]) as place:
            run = place.train()
            ours.append(run.wall)
            result = place.folder / "result.json"
            script = str(Path(__file__).with_name("by_hand.py"))
            theirs.append(
                place.run([sys.executable, script, values["dataset.root"], values["dataset.image_size"], str(result)])
            )
            accuracies.append((run.accuracy, json.loads(result.read_text())["accuracy"]))
    one, other = accuracies[0]
    return [
        Row(
            "linear_probe, whole command, cold / timm + scikit-learn",
            f"{median(theirs) / median(ours):.1f}",
            "3",
            f"{median(theirs):.1f} s / {median(ours):.1f} s; test accuracy {100 * other:.1f} % / {100 * one:.1f} %",
        )
    ]


def first_result(settings: Sequence[str], rounds: int) -> list[Row]:
    """Compare the whole command, with nothing cached and again, with importing PyTorch alone."""
    seconds: dict[str, list[float]] = {"torch": [], "torch, torchvision, pytorch_lightning": [], "cold": [], "warm": []}
    for _ in range(rounds):
        with fresh([*settings, "strategy=linear_probe"]) as place:
            for name, taken in seconds.items():
                if name in ("cold", "warm"):
                    taken.append(place.train().wall)
                else:
                    taken.append(place.run([sys.executable, "-c", f"import {name}"]))
    torch, libraries, cold, warm = map(median, seconds.values())
    imports = f"importing torch {torch:.1f} s, with torchvision and Lightning {libraries:.1f} s; medians of {rounds}"
    return [
        Row(
            "linear_probe, whole command, nothing cached / importing torch",
            f"{cold / torch:.1f}",
            "",
            f"{cold:.1f} s; {imports}",
        ),
        Row("the same command again / importing torch", f"{warm / torch:.1f}", "", f"{warm:.1f} s"),
    ]
