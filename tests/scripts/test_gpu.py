"""Test that the questions for a GPU run at toy size without one."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from conftest import CHECKOUT
from forking import Server

SCRIPTS = CHECKOUT / "scripts"


@pytest.mark.slow
def test_every_row_is_filled_at_toy_size(
    warm: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The measured times mean nothing here, as the commands run in copied processes."""
    monkeypatch.syspath_prepend(SCRIPTS)
    import benchmark
    from benchmarks import gpu, measured

    compiled: list[str] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, backend: compiled.append(backend))  # 2 s to import
    monkeypatch.setattr(gpu, "TOY", replace(gpu.TOY, trainers=("fsdp",)))
    monkeypatch.setattr(measured, "subprocess", SimpleNamespace(run=warm.run))
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    monkeypatch.setattr("sys.argv", ["benchmark.py", "gpu", "--toy"])
    benchmark.main()
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("|")][2:]
    kinds = ["compile", "autocast", "cold cache", "warm cache", "command, cold"]
    kinds += ["process of the loader"] * 2 + ["fsdp on one device / the default"]
    assert len(rows) == len(kinds)
    assert compiled == ["eager"] * 2  # a round that warms up, and one that counts
    for row, kind in zip(rows, kinds, strict=True):
        assert kind in row[0]
        assert float(row[1]) > 0


def test_a_machine_without_a_gpu_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(SCRIPTS)
    import benchmark

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["benchmark.py", "gpu"])
    with pytest.raises(SystemExit) as ended:
        benchmark.main()
    assert ended.value.code == 2
    expected = "gpu: this machine has no GPU; --toy runs the same code at toy size without one.\n"
    assert capsys.readouterr().err == expected
