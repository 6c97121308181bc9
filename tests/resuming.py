"""Stop a run at any step, and compare its result after a resume with an undisturbed run."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

from headstart.training.resume import KeepProgress

TIMES = ("samples_per_second",)


class Killed(BaseException):
    """Raised to end a run as if its process had been killed."""


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int, how: str) -> None:
    """Stop the run after this many training steps of this process: "killed", or by the name of a signal."""
    plain, seen = KeepProgress.on_train_batch_end, [0]

    def counting(keep: KeepProgress, *args: Any) -> None:
        seen[0] += 1
        if how != "killed" and seen[0] == step:
            signal.raise_signal(getattr(signal, how))
        plain(keep, *args)
        if how == "killed" and seen[0] == step:
            raise Killed

    monkeypatch.setattr(KeepProgress, "on_train_batch_end", counting)


def scalars(run: Path) -> list[tuple[Any, ...]]:
    """Return all values that TensorBoard reads, in its order, without times."""
    found = []
    for file in sorted(run.glob("tensorboard/*/events*"), key=lambda file: (file.parent.name, file.name)):
        for event in LegacyEventFileLoader(str(file)).Load():
            for value in event.summary.value:
                kind = value.WhichOneof("value")
                content = value.SerializeToString() if kind != "simple_value" else value.simple_value
                if value.tag not in TIMES and not value.tag.startswith("_hparams_"):
                    found.append((file.parent.name, event.step, value.tag, content))
    return found


def rows(run: Path) -> list[str]:
    """Return the rows of metrics.csv without times."""
    header, *lines = (run / "metrics.csv").read_text().splitlines()
    dropped = [number for number, name in enumerate(header.split(",")) if name in TIMES]
    return [",".join(cell for number, cell in enumerate(line.split(",")) if number not in dropped) for line in lines]


def check_equal(one: Path, other: Path) -> None:
    """Assert that two run directories are equal except for times and paths."""
    contents = [json.loads((run / "run.json").read_text()) for run in (one, other)]
    assert [content["status"] for content in contents] == ["finished"] * 2
    for name in ("id", "metrics", "best_epoch", "selected", "selection", "classes", "pictures"):
        assert contents[0][name] == contents[1][name], name
    assert rows(one) == rows(other)
    for name in ("predictions.csv", "validation_predictions.csv", "config.yaml"):
        texts = [(run / name).read_text().replace("output_dir: a", "output_dir: b") for run in (one, other)]
        assert texts[0] == texts[1], name
    states = [torch.load(run / "checkpoints/best.ckpt", weights_only=True)["state_dict"] for run in (one, other)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    assert sorted(scalars(one), key=repr) == sorted(scalars(other), key=repr)
    models = [json.loads((run / "checkpoints/model.json").read_text()) for run in (one, other)]
    for model in models:
        del model["weights"]["sha256"]  # of the file, which is an archive with a name in it
    assert models[0] == models[1]
    files = ["best.ckpt", "model.json", *(["model_features.safetensors"] if models[0]["unlike"] else [])]
    assert sorted(path.name for path in (other / "checkpoints").iterdir()) == files


def only_run(folder: str) -> Path:
    """Return the directory of the only run below a folder."""
    (found,) = Path(folder).rglob("run.json")
    return found.parent
