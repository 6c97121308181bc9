"""Test headstart advise: its candidates are runs, and its forecast has an interval."""

import csv
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SMALLEST, TINY, answer_of, runs_below
from omegaconf import OmegaConf

from headstart.advice.candidates import try_stages
from headstart.advice.reading import StageReader, read_data_set
from headstart.analysis.layer_report import JOINED
from headstart.cli import main
from headstart.commands.measuring import probe_settings
from headstart.training import compose
from headstart.training.prepare import run_settings

SETTINGS = [
    *(setting for setting in TINY if "counts" not in setting),
    *SMALLEST,
    "dataset.counts=[10,8,4]",
    "output_dir=out",
]


def test_a_candidate_is_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["advise", *SETTINGS, "--out", "advice"]) == 0
    output = capsys.readouterr().out
    with Path("advice/candidates.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["strategy"] for row in rows} == {"linear_probe", "ridge", "knn", "nearest_centroid"}
    accuracies = [float(row["accuracy"]) for row in rows]
    assert accuracies == sorted(accuracies, reverse=True)
    assert all(float(row["low"]) < float(row["accuracy"]) < float(row["high"]) for row in rows)
    config = OmegaConf.create(run_settings(probe_settings(SETTINGS, "advise")[0]))
    network = compose.make_backbone(config)
    target = read_data_set(config, network)
    reader = StageReader(config, network, target.signature)
    test = reader.by_stage("test", target.test, joined=True)
    tried = try_stages(reader, target, "smallest")
    assert len(tried.candidates) == len(rows)
    last = [one for one in tried.candidates if not one.read]
    assert len(last) == 4
    for one in [*last, *(one for one in tried.candidates if one.stage == JOINED and one.strategy in ("ridge", "knn"))]:
        own = f"{one.strategy}-{len(one.read)}"
        assert main(["train", *SETTINGS, *one.settings[1:], f"output_dir={own}", "logger=csv"]) == 0
        (run,) = runs_below(Path(own))
        for split, features in (("validation", tried.features[one.stage][1]), ("test", test[one.stage])):
            right = one.fit()(features.values).argmax(dim=1) == features.targets
            assert float(right.double().mean()) == pytest.approx(run["metrics"][f"{split}/accuracy"]), one

    content = json.loads(Path("advice/advice.json").read_text())
    assert content["accuracy"]["expected"] <= accuracies[0] + 0.02
    assert content["accuracy"]["low"] < content["accuracy"]["expected"] < content["accuracy"]["high"]
    assert [one["labels_per_class"] for one in content["forecast"]] == [20, 40]
    assert all(one["low"] <= one["accuracy"] <= one["high"] for one in content["forecast"])
    with Path("advice/forecast.csv").open(newline="") as file:
        assert [row["kind"] for row in csv.DictReader(file)] == ["measured"] * 3 + ["forecast"] * 2
    (command,) = re.findall("^headstart train .*$", output, re.MULTILINE)
    assert shlex.split(command)[2 : -len(content["settings"])] == [one for one in SETTINGS if one[:9] != "backbone="]
    assert shlex.split(command)[-len(content["settings"]) :] == content["settings"]
    assert "With 10 more labels a class you would gain about" in output


def test_several_backbones_and_too_few_labels(capsys: pytest.CaptureFixture[str]) -> None:
    base = [setting for setting in TINY if "weights" not in setting]
    names = "backbones=[efficientnet_lite0,efficientnet_lite1]"
    assert main(["advise", *base, "output_dir=out", names]) == 0
    output = capsys.readouterr().out
    assert "A forecast needs 8 labels in each class or more, and the smallest class has 6." in output
    (file,) = Path("out").rglob("candidates.csv")
    with file.open(newline="") as lines:
        assert {row["backbone"] for row in csv.DictReader(lines)} == {"efficientnet_lite0", "efficientnet_lite1"}
    assert file.parent.name == "textures-advice"
    assert not (file.parent / "forecast.csv").exists()
    assert "were not compared; add trained=[finetune_all] for that." in output
    assert re.search(r"finetune_all would train for about \d+ s, in 2 epochs of 3 steps of .* of 24 images", output)
    assert not list(Path("out").rglob("*.ckpt"))


def test_strategies_that_train_are_compared_on_the_same_folds(
    make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_folder({"red": 12, "blue": 12})
    settings = [*(one for one in TINY if "counts" not in one), *SMALLEST, "dataset=image_folder", "output_dir=out"]
    settings += [
        f"dataset.root={folder}",
        "augmentation=flip_crop",
        "strategy.lr=0.01",
        "dataset.validation_fraction=0.5",
    ]
    assert main(["advise", *settings, "--out", "advice", "trained=[head_only,finetune_all]"]) == 0
    output = capsys.readouterr().out
    assert "would train" not in output
    assert re.search("(head_only|finetune_all) is .* points (better|worse) than ", output)
    assert "finetune_all, fold 2 of 2: trained in " in output
    content = json.loads(Path("advice/advice.json").read_text())
    assert content["folds"] == 2
    with Path("advice/candidates.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["strategy"] in ("head_only", "finetune_all")]
    assert [row["strategy"] for row in rows] == [one["settings"][1][9:] for one in content["trained"]]
    for row, one in zip(rows, content["trained"], strict=True):
        assert (float(row["accuracy"]), float(row["seconds"])) == pytest.approx((one["accuracy"], one["seconds"]))
        assert float(row["seconds"]) > 0
    assert {path.name for path in Path("advice").iterdir()} == {"advice.json", "candidates.csv"}
    assert {path.name for path in Path("out").iterdir()} == {".features"}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["backbones=[]"], r"backbones=\[\]: expected different names"),
        (["backbones=[resnet18,resnet18]"], r"expected different names"),
        (["backbones=[resnet18]", "backbone=resnet18"], r"leave backbone= out"),
        (["backbones=[resnet5]"], r"There is no backbone 'resnet5'. Did you mean 'resnet50'\?"),
        (["strategy=ridge"], r"strategy=ridge: every stage is read"),
        (["dataset.balance=loss"], r"dataset.balance=loss: all images have the same weight here"),
        (["trainer.accelerator=gpu"], r"trainer.accelerator=gpu: PyTorch finds no CUDA GPU here; use auto or cpu"),
        (["strategy.lr=0.1"], r"strategy.lr=0.1: every stage is read"),
        (["trained=[]"], r"trained=\[\]: expected different names"),
        (["trained=[ridge]"], r"ridge solves its head, so it is compared already"),
        (["trained=[wise_ft]"], r"use lp_ft"),
        (["trained=[finetune_al]"], r"There is no strategy 'finetune_al'. Did you mean 'finetune_all'\?"),
        (["trained=[finetune_all]", "strategy=lp_ft"], r"strategy=lp_ft: every stage is read"),
        (["trained=[finetune_all]", "head=mlp"], r"head=mlp: every stage is read"),
        (["trained=[finetune_all]", "trainer.auto_batch=true"], r"trainer.auto_batch: advise trains whole batches"),
    ],
)
def test_wrong_settings(
    settings: list[str], sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["advise", *TINY, *settings]) == 2
    output = capsys.readouterr()
    assert re.search(sentence, output.err), output.err
    assert len(output.err.strip().splitlines()) == 1


def test_help_needs_no_torch() -> None:
    code = (
        "import sys; from headstart.cli import main\n"
        "assert main(['advise', '--help']) == 0\n"
        "assert main(['advise', 'backbones=[a,a]']) == 2\n"
        "assert 'torch' not in sys.modules"
    )
    assert "headstart advise dataset=" in answer_of(code)
