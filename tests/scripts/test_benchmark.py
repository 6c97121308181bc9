"""Test that the benchmark measures both sides and prints a table of ratios."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import SMALLEST
from forking import Server

from headstart.reports import analyse, read_runs

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmark.py"


def printed_by(server: Server, code: str) -> str:
    """Return what Python code prints that imports the benchmarks."""
    done = server.run([sys.executable, "-c", code], cwd=SCRIPT.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_training_is_compared_with_a_plain_loop(warm: Server) -> None:
    code = "from benchmarks import overhead; print(*overhead.finetune_all(32, 24, 1, labels=4), sep='\\n')"
    rows = re.findall(
        r"what='finetune_all, 32 px, batches of 24: (.*?)', ratio='(\d\.\d{3})', aim='(.*?)'", printed_by(warm, code)
    )
    assert [(what, aim) for what, _, aim in rows] == [
        ("headstart / plain loop", "0.95"),
        ("plain loop / the same without channels_last", ""),
    ]
    assert all(float(ratio) > 0 for _, ratio, _ in rows)


@pytest.mark.slow
def test_commands_are_measured_with_a_cold_and_a_warm_cache(
    warm: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The measured times mean nothing here, as the commands run in copied processes."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    import benchmark
    from benchmarks import measured

    monkeypatch.setattr(measured, "subprocess", SimpleNamespace(run=warm.run))
    tiny = ["--set", "dataset.counts=[4,2,2]", "backbone.weights=null", "dataset.num_workers=0", *SMALLEST]
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "head_only", "--size", "32", "--rounds", "1", *tiny])
    benchmark.main()
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")][2:]
    assert [row.split(" | ")[0] for row in rows] == [
        "| head_only, 20 epochs: fit, cold cache",
        "| the same, warm cache",
        "| the same, whole command, cold",
    ]
    ratios = [float(row.split(" | ")[1]) for row in rows]
    assert all(ratio > 0 for ratio in ratios)
    differs = re.search(r"metrics differ by (\S+) at most", rows[0])
    assert differs
    assert float(differs[1]) < 1e-5


def test_made_up_runs_are_reported(tmp_path: Path, warm: Server) -> None:
    code = f"from pathlib import Path; from benchmarks.report import make_runs; make_runs(Path({str(tmp_path)!r}), 12)"
    printed_by(warm, code)
    found = read_runs([tmp_path])
    assert len(found.runs) == 12
    assert not found.problems
    analysis = analyse(found)
    assert len(analysis.evidence) == 12
    (panel,) = analysis.panels
    assert len(panel.groups) == 10


def test_an_unknown_question_is_refused() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "speed"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "there is no question speed" in done.stderr


@pytest.mark.slow
def test_views_are_compared_with_torchvisions(warm: Server) -> None:
    code = "from benchmarks import augmentation as a; a.SECONDS = 0.05; print(*a.views(1), sep='\\n')"
    rows = re.findall(r"what='(.*?)', ratio='(.*?)', aim='(.*?)'", printed_by(warm, code).replace('"', "'"))
    assert [aim for _, _, aim in rows if aim] == ["5", "3", "2", "2"]
    assert len(rows) == 10
    assert all(float(ratio) > 0 for _, ratio, _ in rows)


@pytest.mark.slow
def test_bfloat16_is_compared_with_full_precision(warm: Server) -> None:
    code = (
        "from benchmarks import bf16; bf16.fast_bf16 = lambda device: True;"
        " print(*bf16.frozen(['test_efficientnet'], [32], 1, 0.01), sep='\\n')"
    )
    pattern = r"'test_efficientnet, 32 px: bfloat16 / (torch|onnxruntime) at float32', ratio='(.*?)'.*error (.*?)'"
    [(_, ratio, error)] = re.findall(pattern, printed_by(warm, code))
    assert float(ratio) > 0
    assert 1e-6 < float(error) < 0.03


@pytest.mark.slow
def test_the_first_result_is_compared_with_its_imports(warm: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The measured times mean nothing here, as the commands run in copied processes."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    from benchmarks import measured, probe

    monkeypatch.setattr(measured, "subprocess", SimpleNamespace(run=warm.run))
    tiny = ["dataset=textures", "dataset.image_size=32", "dataset.counts=[4,2,2]", "dataset.num_workers=0"]
    tiny += [*SMALLEST, "backbone.weights=null"]
    cold, again = probe.first_result(tiny, 1)
    assert cold.what == "linear_probe, whole command, nothing cached / importing torch"
    assert float(cold.ratio) > 0
    assert float(again.ratio) > 0
