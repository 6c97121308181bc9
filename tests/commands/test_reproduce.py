"""Test headstart reproduce: a run is repeated bit for bit from its own directory, and differences are reported."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from complete_runs import write_complete_run
from conftest import CHECKOUT, SMALLEST, TINY, answer_of
from made_runs import write_regression_run

from headstart.analysis.reproduction import seed_lines, verdict
from headstart.cli import main
from headstart.commands.reproduce import engine_of
from headstart.errors import ConfigError
from headstart.records.record import read_record
from headstart.settings.targets import check_hydra, check_targets

SMALL = [*TINY, *SMALLEST, "dataset.counts=[4,2,2]", "trainer.max_epochs=1"]


def train(*arguments: str, into: Path | str = "runs") -> Path:
    assert main(["train", *SMALL, f"output_dir={into}", *arguments]) == 0
    return max(Path(into).rglob("run.json"), key=lambda path: path.stat().st_mtime).parent


def contents(folder: Path) -> dict[str, str]:
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def changed_config(run: Path, **changes: Any) -> None:
    """Change settings of a run, by dotted keys in which two underscores replace each dot."""
    file = run / "config.yaml"
    config = yaml.safe_load(file.read_text())
    for key, value in changes.items():
        *groups, name = key.split("__")
        place = config
        for group in groups:
            place = place[group]
        place[name] = value
    file.write_text(yaml.safe_dump(config, sort_keys=False))


@pytest.mark.parametrize(
    "settings",
    [
        ["strategy=head_only", "features.enabled=true"],
        ["strategy=head_only", "features.enabled=false"],
        ["strategy=finetune_upper", "augmentation=[crop_resize,mixup]", "seed=3", "references=[raw_pixels]"],
    ],
    ids=["features", "no features", "augmented"],
)
def test_a_run_is_reproduced_bit_for_bit(settings: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run = train(*settings)
    before = contents(run)
    capsys.readouterr()
    assert main(["reproduce", str(run)]) == 0
    output = capsys.readouterr().out
    assert output.rstrip().endswith("verdict: bit-equal")
    for title in ("seeds", "code", "data", "weights", "packages", "hardware"):
        assert f"the same: {title} (" in output
    assert output.index("the same: code") < output.index("validation accuracy"), "told before the first step"
    assert contents(run) == before
    (again,) = Path("reproduced").glob(f"{run.name}*")
    assert again.name == run.name
    then, now = (json.loads((folder / "run.json").read_text()) for folder in (run, again))
    for name in (
        "id",
        "config_hash",
        "backbone",
        "dataset",
        "strategy",
        "augmentation",
        "seed",
        "metrics",
        "selection",
    ):
        assert then[name] == now[name], name
    assert now["provenance"]["overrides"] == then["provenance"]["overrides"]
    content = json.loads((again / "reproduction.json").read_text())
    assert (content["verdict"], content["id"]) == ("bit-equal", then["id"])


def test_features_kept_by_other_runs_change_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    train("strategy=head_only", "dataset.labels_per_class=3")
    run = train("strategy=linear_probe", "dataset.labels_per_class=4")
    assert json.loads((run / "run.json").read_text())["features"]["splits"]["test"]["hit"], "found, not computed"
    assert main(["reproduce", str(run), "--output", "fresh"]) == 0
    assert "verdict: bit-equal" in capsys.readouterr().out


def test_images_that_moved(make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    root = make_folder({f"{split}/{name}": 4 for split in ("train", "val", "test") for name in ("red", "blue")})
    own = [setting for setting in SMALL if not setting.startswith("dataset.counts")]
    assert main(["train", *own, "output_dir=runs", "dataset=image_folder", f"dataset.root={root}"]) == 0
    (run,) = (path.parent for path in Path("runs").rglob("run.json"))
    moved = root.rename(root.with_name("elsewhere"))
    capsys.readouterr()
    for command in ("reproduce", "evaluate", "explain"):
        assert main([command, str(run)]) == 2
        assert f"The images are no longer at '{root}'; give their folder with --root DIR." in capsys.readouterr().err
    assert not Path("reproduced").exists()
    assert main(["reproduce", str(run), "--root", "nowhere"]) == 2
    assert "--root nowhere: there is no such folder" in capsys.readouterr().err
    assert main(["reproduce", str(run), "--root", str(moved), "--output", "again"]) == 0
    assert "verdict: bit-equal" in capsys.readouterr().out
    (again,) = Path("again").glob("*/run.json")
    assert json.loads(again.read_text())["dataset"] == "images", "not the new folder's name"

    (moved / "train/red/0.jpg").write_bytes((moved / "train/red/1.jpg").read_bytes())
    assert main(["reproduce", str(run), "--root", str(moved), "--output", "other"]) == 1
    output = capsys.readouterr().out
    assert output.index("split_fingerprints.train") < output.index("validation accuracy"), "told before the first step"
    assert "split_fingerprints.test" not in output
    assert "The data are not the same" in output
    assert output.rstrip().endswith("verdict: different")


def test_a_run_without_a_folder_takes_none(capsys: pytest.CaptureFixture[str]) -> None:
    run = train("debug=fast")
    assert main(["reproduce", str(run), "--root", "x"]) == 2
    assert "--root x: the images of textures do not come from a folder" in capsys.readouterr().err


def test_a_changed_config_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    run = train("strategy=finetune_all")
    changed_config(run, optimizer__lr=0.3, seeds__head=5, strategy__head_seed=5)
    code = main(["reproduce", str(run), "--output", "again"])
    output = capsys.readouterr().out
    assert "do not give the config_hash of run.json" in output
    assert "verdict: bit-equal" not in output
    assert code == ("verdict: different" in output)


def test_verdicts(tmp_path: Path) -> None:
    original = write_complete_run(tmp_path / "a", [True] * 60 + [False] * 40)
    cases = {
        "same": ([True] * 60 + [False] * 40, {}, "bit-equal"),
        "loss": ([True] * 60 + [False] * 40, {"test/loss": 0.50001}, "within the interval"),
        "swapped": ([True] * 59 + [False, True] + [False] * 39, {}, "within the interval"),
        "three": ([True] * 57 + [False] * 43, {}, "within the interval"),
        "twelve": ([True] * 48 + [False] * 52, {}, "different"),
        "better": ([True] * 72 + [False] * 28, {}, "different"),
    }
    for name, (right, metrics, word) in cases.items():
        folder = write_complete_run(tmp_path / name, right)
        content = json.loads((folder / "run.json").read_text())
        content["metrics"] |= metrics
        (folder / "run.json").write_text(json.dumps(content | {"cost": {"wall_seconds": len(name)}}))
        found = verdict(read_record(original), read_record(folder))
        assert found.word == word, name
        assert found.exit_code == (word == "different")
        assert verdict(read_record(folder), read_record(original)).word == word, "whichever came first"
    reasons = verdict(read_record(original), read_record(tmp_path / "twelve")).reasons
    assert "60.00 % then, 48.00 % now, -12.00 points" in reasons[0]
    assert "12 of 100 test images are predicted differently; 12 are right only then, 0 only now" in reasons[1]


def test_a_run_that_contradicts_itself_is_different(tmp_path: Path) -> None:
    a, b = write_complete_run(tmp_path / "a"), write_complete_run(tmp_path / "b", metrics={"test/accuracy": 1.0})
    found = verdict(read_record(a), read_record(b))
    assert found.word == "different"
    assert "has a test accuracy of 100.00 %, but predictions.csv gives 75.00 %" in found.reasons[0]
    other = verdict(
        read_record(a), read_record(write_complete_run(tmp_path / "c", (True, False, False, False), prefix="x"))
    )
    assert other.word == "different"
    assert "cannot be compared one by one" in other.reasons[0]
    data = write_complete_run(tmp_path / "d", provenance={"dataset_fingerprint": "e" * 64})
    assert verdict(read_record(a), read_record(data)).word == "different", "equal figures of other data are chance"


def test_sisters_are_those_that_differ_in_seeds_only(tmp_path: Path) -> None:
    other: list[dict[str, Any]] = [
        {},
        {"seed": 1, "seeds": {"head": 1}, "backbone": {"seed": 1}, "output_dir": "x"},
        {"seed": 2, "seeds": {"head": 2}},
        {"seed": 3, "optimizer": {"lr": 0.2}},
    ]
    rights = [(True, True, True, False), (True, True, False, False), (True, True, True, True), (False,) * 4]
    runs = [
        write_complete_run(tmp_path / str(n), right, config)
        for n, (right, config) in enumerate(zip(rights, other, strict=True))
    ]
    write_complete_run(tmp_path / "again", (False,) * 4)  # no other seed
    write_complete_run(tmp_path / "failed", (False,) * 4, {"seed": 4, "seeds": {"head": 4}}, status="failed")
    again = read_record(write_complete_run(tmp_path / "reproduced" / "0", (True, True, True, True)))
    assert seed_lines(read_record(runs[0]), again) == [
        "Over 3 seeds, including the original's: 75.00 ± 25.00 %; the difference is 1 of this standard deviation."
    ]
    assert seed_lines(read_record(runs[3]), again) == []


def test_a_run_that_cannot_be_reproduced_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(run: Path, reason: str) -> None:
        assert main(["reproduce", str(run), "--output", "never"]) == 2
        err = capsys.readouterr().err
        assert reason in err
        assert len(err.strip().splitlines()) == 1
        assert not Path("never").exists()

    refused(tmp_path / "gone", "There is no folder")
    refused(write_complete_run(tmp_path / "a", status="interrupted"), "is interrupted and has no result to reproduce")
    refused(write_complete_run(tmp_path / "b", schema=7), "schema 7; this version reads 1")
    refused(write_complete_run(tmp_path / "c", metrics={}), "no test/accuracy")
    run = write_complete_run(tmp_path / "d")
    (run / "predictions.csv").unlink()
    refused(run, "has no predictions to compare with: predictions.csv is missing")
    run = write_complete_run(tmp_path / "e")
    for text, reason in (
        ("{half", "cannot be read"),
        ("- 1\n", "does not hold a mapping"),
        ("seed: 1\n", "is damaged: it has no group 'dataset'"),
        ("", "is damaged"),
    ):
        (run / "config.yaml").write_text(text)
        refused(run, reason)
    (run / "config.yaml").unlink()
    refused(run, "is missing, and without it the run cannot be repeated")


HOSTILE = [
    "os.system",
    "builtins.exec",
    "torch.os.system",
    "torch.load",
    "torch.hub.load",
    "torch.distributed.elastic.multiprocessing.subprocess_handler.SubprocessHandler",
    "torch.optim.optimizer.functools.partial",
    "torch.nn.Module.apply",
    "timm.models._helpers.load_state_dict",
    "torchvision.transforms.transforms.Sequence",
    "pytorch_lightning.cli.LightningCLI",
    "headstart.files.write_atomically",
    "headstart.data.image_folder.Path",
    "headstart.records.provenance.subprocess.run",
    "headstart.strategies.HeadOnly.load_from_checkpoint",
    "headstartling.Evil",
    "headstart.data.Missing",
    7,
]


@pytest.mark.parametrize("target", HOSTILE)
def test_foreign_targets_are_refused(target: Any) -> None:
    for nested in ({"_target_": target}, {"a": {"b": [1, {"c": {"_target_": target, "command": "x"}}]}}):
        with pytest.raises(ConfigError, match=r"_target_=") as refusal:
            check_targets(nested)
        assert len(str(refusal.value).splitlines()) == 1


def test_a_hostile_config_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    run = train("debug=fast")
    evil = {"_target_": "os.system", "command": "touch owned"}
    for changes in (
        {"strategy__extra": [{"deep": evil}]},
        {"callbacks": {"x": evil}},
        {"trainer___target_": "torch.os.system"},
        {"dataset___target_": "${oc.env:HOME}"},
    ):
        text = (run / "config.yaml").read_text()
        changed_config(run, **changes)
        assert main(["reproduce", str(run)]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
        (run / "config.yaml").write_text(text)
    assert not Path("owned").exists()


def test_shipped_and_usual_targets_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_hydra, conf = CHECKOUT / "conf" / "hydra", CHECKOUT / "conf"
    for path in of_hydra.rglob("*.yaml"):
        check_hydra({path.parent.name: yaml.safe_load(path.read_text())})
    files = [path for path in conf.rglob("*.yaml") if of_hydra not in path.parents]
    shipped = [yaml.safe_load(path.read_text().replace("_target_: ???", "")) for path in files]
    assert sum("_target_" in str(config) for config in shipped) > 50
    for config in shipped:
        check_hydra(config.pop("hydra", {}))
    check_targets(shipped)
    for target in ("torch.optim.lr_scheduler.OneCycleLR", "torch.nn.GELU", "pytorch_lightning.callbacks.Timer"):
        check_targets({"_target_": target})
    (tmp_path / "my_package.py").write_text("class Own: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="--trust my_package"):
        check_targets({"_target_": "my_package.Own"})
    check_targets({"_target_": "my_package.Own"}, ["my_package"])


def test_wrong_input_is_refused_without_torch() -> None:
    code = "import sys; from headstart.cli import main; main(['reproduce', 'gone']); print('torch' in sys.modules)"
    assert answer_of(code).strip() == "False"


def test_the_repeat_uses_the_same_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    before = torch.get_num_threads()
    wanted = 3 - min(before, 2)
    torch.set_num_threads(wanted)
    try:
        run = train("debug=fast")
    finally:
        torch.set_num_threads(before)
    assert main(["reproduce", str(run)]) == 0
    assert torch.get_num_threads() == before
    (again,) = Path("reproduced").glob("*/run.json")
    assert json.loads(again.read_text())["provenance"]["hardware"]["threads"] == wanted


@pytest.mark.slow
def test_repeats_change_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    """A repeat may be in its own folder, beside the runs of the sweep, or below it."""
    sweep = [*SMALL, "output_dir=runs", "hydra.sweep.dir=runs/sweep", "strategy=head_only,linear_probe,finetune_all"]
    assert main(["train", "-m", *sweep, "seed=0,1"]) == 0
    runs = sorted(path.parent for path in Path("runs/sweep").glob("*/run.json"))
    assert len(runs) == 6

    def shown() -> dict[str, str]:
        capsys.readouterr()
        assert main(["report", "runs", "--no-figures", "--out", "compared"]) == 0
        assert main(["status", "runs"]) == 0
        files = [
            path for path in sorted(Path("compared").rglob("*")) if path.suffix in (".csv", ".tex", ".md", ".html")
        ]
        assert len(files) > 3
        return {"terminal": capsys.readouterr().out, **{file.name: file.read_text() for file in files}}

    before = shown()
    places = [[], ["--output", "runs/sweep"], ["--output", "runs/sweep/again"]]
    for number, place in enumerate(places):
        assert main(["reproduce", str(runs[2 * number + number % 2]), *place]) == 0
    assert len(list(Path().rglob("run.json"))) == 9
    after = shown()
    assert after.keys() == before.keys()
    for file in before:
        assert after[file].splitlines() == before[file].splitlines(), file
    assert main(["train", "-m", *sweep, "seed=0,1"]) == 0
    assert "6 had finished before" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("then", "gpus", "expected"), [("torch", False, "torch"), ("torch", True, None), (None, False, None)]
)
def test_features_are_computed_by_the_same_engine(
    then: str | None, gpus: bool, expected: str | None, tmp_path: Path
) -> None:
    if torch.cuda.is_available():
        gpus = not gpus
    hardware = {"hardware": {"gpus": ["H100"]} if gpus else {}}
    run = write_complete_run(tmp_path / "a", provenance=hardware, features=then and {"engine": then})
    assert engine_of(read_record(run)) == expected


def test_verdicts_on_numbers(tmp_path: Path) -> None:
    errors = np.random.default_rng(0).normal(0, 2, 50)
    noise = np.random.default_rng(1).normal(0, 0.2, 50)
    original = read_record(write_regression_run(tmp_path / "a", "ridge", 0, errors))
    for name, of, word in (("b", errors, "bit-equal"), ("c", errors + noise, "within the interval"),
                           ("d", 2 * errors, "different")):  # fmt: skip
        found = verdict(original, read_record(write_regression_run(tmp_path / name, "ridge", 0, of)))
        assert found.word == word
        assert found.reasons[0].startswith("Every metric" if name == "b" else "Test mae: ")
    folder = write_regression_run(tmp_path / "e", "ridge", 0, errors + noise, metrics={"test/mae": 5.0})
    found = verdict(original, read_record(folder))
    assert found.word == "different"
    assert "run.json has a test mae of 5, but predictions.csv gives" in found.reasons[0]
    for seed in (1, 2):
        write_regression_run(tmp_path / "a", "ridge", seed, errors * (1 + seed / 100))
    (line,) = seed_lines(original, read_record(folder))
    assert line.startswith("Over 3 seeds, including the original's: ")
    assert "%" not in line
