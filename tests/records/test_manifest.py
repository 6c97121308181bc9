"""Test that run.json is always complete, and valid JSON for any numbers."""

import json
from pathlib import Path

from headstart.records.manifest import Manifest


def read(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text(), parse_constant=lambda name: 1 / 0)


def test_every_status_is_on_disk(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path, {"id": "x"})
    assert read(tmp_path)["status"] == "running"
    manifest.update(metrics={"validation/loss": float("nan"), "test/loss": float("inf"), "test/accuracy": 0.5})
    assert read(tmp_path)["metrics"] == {"validation/loss": None, "test/loss": None, "test/accuracy": 0.5}
    manifest.finish("failed", ValueError("no"))
    assert read(tmp_path)["status"] == "failed"
    assert read(tmp_path)["error"] == {"type": "ValueError", "message": "no"}
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
