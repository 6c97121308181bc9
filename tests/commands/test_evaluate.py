"""Test headstart evaluate on a tiny run: its figures, its cache, and what is measured again."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import trained_run

from headstart.analysis.explain.network import rebuild
from headstart.cli import main
from headstart.records.robustness_file import read_robustness
from headstart.records.runs import Run, read_run
from headstart.robustness import corrupt


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated")
    arguments = ["backbone=mobilenet_v3_small", "dataset.counts=[3,2,3]", "strategy=nearest_centroid"]
    return trained_run(folder, *arguments)


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def test_without_corruptions_the_run_is_tested_again(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run)]) == 0
    recorded = json.loads((run / "run.json").read_text())["metrics"]["test/accuracy"]
    assert f"test accuracy {100 * recorded:.2f} % on 36 images, as run.json says" in capsys.readouterr().out
    assert not (run / "robustness.json").exists()


def test_results_equal_those_of_single_images(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    twin = Path(shutil.copytree(run, run.with_name("twin")))
    cells = ["--corruptions", "contrast", "shot_noise", "--severities", "2", "5"]
    assert main(["evaluate", str(run), str(twin), *cells]) == 0
    output = capsys.readouterr().out
    assert (twin / "robustness.csv").read_bytes() == (run / "robustness.csv").read_bytes()
    found = read_run(run)
    assert isinstance(found, Run)
    rebuilt = rebuilt_errors(found)
    content = json.loads((run / "robustness.json").read_text())
    errors = {(name, int(at)): one["error"] for name, of in content["results"].items() for at, one in of.items()}
    assert errors == pytest.approx(rebuilt)
    clean = 1 - found.metrics["test/accuracy"]
    assert content["clean"]["error"] == pytest.approx(clean)
    assert content["mean_corruption_error"] == pytest.approx(np.mean(list(rebuilt.values())))
    assert content["relative_mean_corruption_error"] == pytest.approx(np.mean(list(rebuilt.values())) - clean, abs=1e-6)
    assert len(set(rebuilt.values())) > 1
    table = pd.read_csv(run / "robustness.csv")
    assert table.corruption.tolist() == ["none", "shot_noise", "shot_noise", "contrast", "contrast"]
    assert (1 - table.accuracy[1:]).tolist() == pytest.approx(list(errors.values()), abs=1e-5)
    assert f"mean corruption error {100 * content['mean_corruption_error']:.1f} %" in output


def rebuilt_errors(run: Run) -> dict[tuple[str, int], float]:
    network = rebuild(run)
    targets = network.predictions.targets
    errors = {}
    for name in ("shot_noise", "contrast"):
        for severity in (2, 5):
            wrong = 0
            for position, target in zip(network.positions.tolist(), targets.tolist(), strict=True):
                image = corrupt(network.data.test.image(position), name, severity)
                with torch.inference_mode():
                    logits = network.strategy(torch.from_numpy(image).permute(2, 0, 1)[None])
                wrong += int(logits.argmax()) != target
            errors[name, severity] = wrong / len(targets)
    return errors


def test_only_what_is_missing_is_measured(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["evaluate", str(run), "--corruptions", "fog", "--severities", "1"]) == 0
    before = (run / "robustness.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("headstart.analysis.explain.network.rebuild", lambda *_: pytest.fail("a network was rebuilt"))
        assert main(["evaluate", str(run), "--corruptions", "fog", "--severities", "1"]) == 0
    assert (run / "robustness.json").read_bytes() == before
    assert main(["evaluate", str(run), "--corruptions", "fog", "brightness", "--severities", "1"]) == 0
    known = read_robustness(run)
    assert known is not None
    assert list(known.results) == [("fog", 1), ("brightness", 1)]
    assert main(["evaluate", str(run), "--corruptions", "fog", "--severities", "1", "--again"]) == 0
    again = read_robustness(run)
    assert again is not None
    assert again.text() == known.text()
    with (run / "checkpoints/best.ckpt").open("ab") as file:  # other weights, as far as the file tells
        file.write(b"0")
    assert main(["evaluate", str(run), "--corruptions", "brightness", "--severities", "1"]) == 0
    fresh = read_robustness(run)
    assert fresh is not None
    assert list(fresh.results) == [("brightness", 1)]


def test_finished_corruptions_are_kept_after_a_kill(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from headstart.robustness import measuring

    def killed_at_fog(image: np.ndarray, name: str, *more: int) -> np.ndarray:
        if name == "fog":
            raise KeyboardInterrupt
        return corrupt(image, name, *more)

    monkeypatch.setattr(measuring, "corrupt", killed_at_fog)
    assert main(["evaluate", str(run), "--corruptions", "frost", "fog", "--severities", "3"]) == 130
    known = read_robustness(run)
    assert known is not None
    assert list(known.results) == [("frost", 3)]


def test_fewer_images_keep_the_shares_of_classes_and_other_results_stay_separate(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = ["--corruptions", "pixelate", "--severities", "4"]
    assert main(["evaluate", str(run), *cells, "--images", "12"]) == 0
    known = read_robustness(run)
    assert known is not None
    assert (known.count, known.total) == (12, 36)
    assert "on 12 images of 36" in capsys.readouterr().out
    assert main(["evaluate", str(run), *cells, "--images", "24"]) == 2
    assert "was measured on 12 images, not 24; use --images 12, or --again" in capsys.readouterr().err
    assert main(["evaluate", str(run), *cells, "--images", "24", "--again"]) == 0
    replaced = read_robustness(run)
    assert replaced is not None
    assert replaced.count == 24


def test_relative_to_itself_is_one(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = ["--corruptions", "contrast", "jpeg_compression", "--severities", "5"]
    assert main(["evaluate", str(run), *cells, "--relative-to", str(run)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith((" contrast", " mean"))]
    assert [row[-1] for row in rows] == ["100.0", "100.0"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--corruptions", "fogg"], "--corruptions fogg: there is no such corruption. Did you mean 'fog'?"),
        (["--corruptions", "--severities", "0"], "--severities 0: expected whole numbers from 1 to 5."),
        (["--corruptions", "--images", "0"], "--images 0: expected a whole number of 1 or more."),
        (["--severities", "1"], "--severities needs --corruptions."),
        (["--colour"], "unrecognized arguments: --colour; see headstart evaluate --help."),
    ],
)
def test_wrong_arguments_are_one_sentence(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(tmp_path), *arguments]) == 2
    assert capsys.readouterr().err == f"headstart: {sentence}\n"


def test_one_run_that_cannot_be_tested_does_not_stop_the_others(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed = Path(shutil.copytree(run, run.with_name("failed")))
    (failed / "run.json").write_text(json.dumps({"schema": 1, "status": "failed", "error": "out of memory"}))
    damaged = Path(shutil.copytree(run, run.with_name("damaged")))
    (damaged / "robustness.json").write_text("{")
    assert main(["evaluate", str(failed), str(damaged), str(run), "--corruptions", "fog", "--severities", "1"]) == 2
    output = capsys.readouterr().err.splitlines()
    assert output[0].startswith("headstart: failed: only finished runs can be tested again, but this one is failed")
    assert output[1].startswith("headstart: damaged: robustness.json cannot be read")
    assert (run / "robustness.json").is_file()
