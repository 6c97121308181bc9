"""Test headstart features: list and remove cached features."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from headstart.cli import main
from headstart.features.keeping import Writer
from headstart.features.store import Entry, Store, row_names


def kept(folder: Path, backbone: str, pooled: bool = True) -> Entry:
    key = {
        "backbone": backbone,
        "stages": ["stem", "stage1"],
        "pooled": pooled,
        "image_size": 64,
        "engine": ["onnxruntime", "1"],
    }
    entry = Store(folder, 10**9).entry(key)
    names = row_names([bytes([number]) * 16 for number in range(5)])
    Writer(entry, names, (50_000,), np.dtype(np.float32)).put(np.ones((5, 50_000), np.float32))
    return entry


def test_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("runs/.features")
    assert main(["features", "list"]) == 2
    assert "There is no folder runs/.features; name the folder" in capsys.readouterr().err
    entries = [kept(folder, "resnet18"), kept(folder, "vit", pooled=False)]
    assert main(["features", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split() for line in lines if "onnxruntime" in line}
    assert rows[entries[0].name][1:7] == ["resnet18", "pooled", "64", "onnxruntime", "no", "5"]
    assert rows[entries[1].name][1:4] == ["vit", "stage1", "64"]
    assert lines[-1] == "2 entries, 2.0 MB in runs/.features"


def test_clear(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "kept"
    entries = [kept(folder, name) for name in ("a", "b", "c")]
    assert main(["features", "clear", "nothing", "--dir", str(folder)]) == 2
    assert "There is no entry 'nothing'" in capsys.readouterr().err
    assert main(["features", "clear", entries[0].name[:9], "--dir", str(folder)]) == 0
    assert "1 entry removed, 1.0 MB freed" in capsys.readouterr().out
    assert not entries[0].folder.exists()
    assert entries[1].folder.exists()
    (folder / "pictures").mkdir()
    (folder / "2026-11-24" / "run").mkdir(parents=True)  # somebody's runs: the folder was named by mistake
    assert main(["features", "clear", "--dir", str(folder)]) == 0
    assert "2 entries removed, 2.0 MB freed" in capsys.readouterr().out
    assert [path.name for path in folder.iterdir()] == ["2026-11-24"]
    assert (folder / "2026-11-24" / "run").is_dir()
    assert main(["features", "list", "--dir", str(folder)]) == 0
    assert "no features" in capsys.readouterr().out


def test_it_starts_without_torch() -> None:
    code = "import sys, headstart.commands.features; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
