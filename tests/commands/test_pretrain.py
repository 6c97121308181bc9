"""Test headstart pretrain: weights move, resume, and are taken by later runs; wrong settings are refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALLEST, TINY, runs_below, trained_run
from PIL import Image
from resuming import only_run, rows, scalars, stop_at

from headstart.cli import main
from headstart.data import ImageData
from headstart.inspecting import network
from headstart.records.record import name_of_source
from headstart.settings.configs import choices, group_names
from headstart.training import jobs

OBJECTIVES = {
    "autoencoder": ["task.noise=0.2", "task.masked=0.5", "task.decoder=transposed"],
    "contrast": ["task.method=vicreg"],
    "relative_patches": [],
}
FAST = [*TINY, *SMALLEST, "dataset.batch_size=24", "sweep.checkpoint_share=1"]


def pretrained(objective: str, folder: str, *settings: str) -> int:
    return main(
        ["pretrain", f"objective={objective}", *OBJECTIVES[objective], *FAST, f"output_dir={folder}", *settings]
    )


def state_of(run: Path) -> dict[str, torch.Tensor]:
    content = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    return {name: tensor for name, tensor in content["state_dict"].items() if name.startswith("backbone.")}


def test_every_objective_that_ships_is_tested() -> None:
    assert set(choices("objective")) == {*OBJECTIVES, "supervised"}
    assert "objective" not in group_names()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_stopped_pretraining_ends_as_if_it_never_stopped(objective: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pretrained(objective, "a") == 0
    for step in (2, 2):  # within the first epoch, and within the second
        with monkeypatch.context() as patch:
            stop_at(patch, step, "SIGTERM")
            assert pretrained(objective, "b") == 143
    assert pretrained(objective, "b") == 0
    one, other = only_run("a"), only_run("b")
    contents = [json.loads((run / "run.json").read_text()) for run in (one, other)]
    assert contents[0]["metrics"] == contents[1]["metrics"]
    assert rows(one) == rows(other)
    assert (one / "predictions.csv").read_text() == (other / "predictions.csv").read_text()
    assert sorted(scalars(one), key=repr) == sorted(scalars(other), key=repr)
    states = [state_of(run) for run in (one, other)]
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_weights_move_and_a_later_run_takes_them(objective: str) -> None:
    assert pretrained(objective, "source", "optimizer.lr=0.01") == 0
    source = only_run("source")
    found = json.loads((source / "run.json").read_text())
    assert (found["task"], found["strategy"]) == (objective, objective)
    assert found["provenance"]["command_line"].startswith(f"headstart pretrain objective={objective}")
    assert not (source / "checkpoints/model.json").exists()
    start = trained_run(Path("start"), *SMALLEST, "strategy=linear_probe")
    used = trained_run(Path("used"), *SMALLEST, "strategy=linear_probe", f"backbone.weights={source}")
    learned, taken, random = state_of(source), state_of(used), state_of(start)
    assert taken.keys() <= learned.keys()
    assert all(torch.equal(tensor, learned[name]) for name, tensor in taken.items())
    moved = [name for name, tensor in taken.items() if not torch.equal(tensor, random[name])]
    assert len(moved) == len(taken)
    weights = json.loads((used / "run.json").read_text())["provenance"]["weights"]
    assert weights["name"] == f"{objective} on textures {found['config_hash'][:4]}"
    assert weights["source"] == str(source / "checkpoints/best.ckpt")
    assert not weights["missing"]


def test_a_later_run_reads_the_bottleneck_and_predicts() -> None:
    assert pretrained("autoencoder", "source", "task.bottleneck=16", "trainer.max_epochs=1") == 0
    source = only_run("source")
    reads = ["strategy=linear_probe", "head.stages=[bottleneck]"]
    used = trained_run(Path("used"), *SMALLEST, *reads, f"backbone.weights={source}")
    again = trained_run(Path("again"), *SMALLEST, *reads, f"backbone.weights={used}")
    assert json.loads((again / "run.json").read_text())["provenance"]["weights"]["unused"] == []
    learned = torch.load(source / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    for run in (used, again):
        state = state_of(run)
        for name in ("weight", "bias"):
            taken = state[f"backbone.stages.bottleneck.bottleneck.{name}"]
            assert torch.equal(taken, learned[f"head.bottleneck.{name}"])
    predictions = [(run / "predictions.csv").read_text() for run in (used, again)]
    assert predictions[0] == predictions[1]
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save("image.png")
    assert main(["predict", str(used), "image.png"]) == 0
    assert main(["evaluate", str(used)]) == 0  # compares with the accuracy of the run


def test_inspect_shows_the_bottleneck_and_the_strategies_that_a_run_refuses(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "choices", lambda group: ["finetune_all", "layer_transfer", "scratch"])
    assert pretrained("autoencoder", "source", "task.bottleneck=16", "trainer.max_epochs=1") == 0
    capsys.readouterr()
    reads = ["head.stages=[bottleneck]", "dataset.image_size=32", f"backbone.weights={only_run('source')}"]
    assert main(["inspect", *SMALLEST, *reads]) == 0
    stages, strategies = capsys.readouterr().out.split("What each strategy")
    lines = {line.split()[0]: line.split() for line in stages.splitlines() if line.strip()}
    assert lines["bottleneck"][1] == "16"
    assert f"{1000 * 17:,}" in lines["classifier"]
    refused = {line.partition(": ")[0] for line in strategies.splitlines() if ": head.stages: " in line}
    assert refused == {"scratch", "layer_transfer"}


def test_a_run_with_an_adapter_behind_the_bottleneck_is_evaluated() -> None:
    assert pretrained("autoencoder", "source", "task.bottleneck=16", "trainer.max_epochs=1") == 0
    reads = ["strategy=adapters", "head.stages=[bottleneck]", "trainer.max_epochs=1"]
    used = trained_run(Path("used"), *SMALLEST, *reads, f"backbone.weights={only_run('source')}")
    assert main(["evaluate", str(used)]) == 0


def test_embeddings_are_watched_each_epoch_and_images_are_drawn() -> None:
    for objective, tags in (
        ("contrast", set()),
        ("autoencoder", {"reconstructions"}),
        ("relative_patches", {"accuracy_by_position", "patches"}),
    ):
        assert pretrained(objective, objective) == 0
        assert tags <= {tag for _, _, tag, _ in scalars(only_run(objective))}
    header, *lines = (only_run("contrast") / "metrics.csv").read_text().splitlines()
    watched = {"validation/rank_me", "validation/embedding_deviation", "validation/probe_accuracy"}
    assert watched <= set(header.split(","))
    assert len(lines) == 2
    assert all("" not in line.split(",") for line in lines)


def test_a_callback_watches_the_numbers_of_embeddings(capsys: pytest.CaptureFixture[str]) -> None:
    stops = ["callbacks=early_stopping", "callbacks.early_stopping.patience=1", "+callbacks.early_stopping.min_delta=9"]
    keeps = ["+callbacks.best._target_=pytorch_lightning.callbacks.ModelCheckpoint", "+callbacks.best.dirpath=kept"]
    keeps += ["+callbacks.best.monitor=validation/rank_me", "+callbacks.best.mode=max"]
    stops += ["callbacks.early_stopping.monitor=validation/probe_accuracy"]
    assert pretrained("contrast", "a", *stops, *keeps, "trainer.max_epochs=3") == 0
    assert len((only_run("a") / "metrics.csv").read_text().splitlines()) == 3  # a header and two epochs
    assert len(list(Path("kept").iterdir())) == 1
    assert pretrained("autoencoder", "b", *stops) == 2
    assert "validation/probe_accuracy: this run logs no such number" in capsys.readouterr().err


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_averaged_weights_get_the_statistics_of_what_the_objective_shows(objective: str) -> None:
    assert pretrained(objective, "a", "callbacks=swa", "callbacks.swa.start=0", "trainer.max_epochs=1") == 0
    state = state_of(only_run("a"))
    assert 0 < float(state["backbone.stages.stem.network.bn1.running_var"].mean()) < 10  # as of normalised pixels


@pytest.mark.parametrize("objective", ["autoencoder", "relative_patches"])
def test_several_views_of_an_image_are_separate_images(objective: str) -> None:
    views = ["augmentation=crop_resize", "augmentation.crop_resize.copies=2"]
    assert pretrained(objective, "a", *views, "trainer.max_epochs=1") == 0


def test_a_supervised_source_is_a_plain_run() -> None:
    assert main(["pretrain", "objective=supervised", *FAST, "output_dir=a"]) == 0
    assert main(["train", "strategy=scratch", *FAST, "output_dir=b"]) == 0
    (one,), (other,) = runs_below(Path("a")), runs_below(Path("b"))
    assert one["config_hash"] == other["config_hash"]
    assert one["metrics"] == other["metrics"]


def test_pretraining_starts_from_given_weights() -> None:
    assert pretrained("contrast", "first") == 0
    first = only_run("first")
    assert pretrained("autoencoder", "second", f"backbone.weights={first}", "optimizer.lr=1e-9") == 0
    one, other = state_of(first), state_of(only_run("second"))
    layers = [name for name in one if name.endswith("weight")]
    assert all(torch.allclose(one[name], other[name], atol=1e-6) for name in layers)


def test_sources_are_an_axis_of_a_sweep_and_reports_name_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", "-m", "objective=autoencoder,relative_patches", *FAST, "output_dir=sources"]) == 0
    sources = sorted(path.parent for path in Path("sources").rglob("run.json"))
    names = [name_of_source(source / "checkpoints/best.ckpt") for source in sources]
    given = [*map(str, sources), "null"]
    arguments = ["-m", "strategy=linear_probe", f"backbone.weights={','.join(given)}"]
    settings = [setting for setting in FAST if not setting.startswith("backbone.weights")]
    assert main(["train", *settings, *arguments, "output_dir=used"]) == 0
    capsys.readouterr()
    assert main(["report", "used", "--no-figures"]) == 0
    shown = capsys.readouterr().out
    rows = [line.strip() for line in shown.splitlines()]
    assert all(any(row.startswith(f"{name} ") for row in rows) for name in (*names, "random"))
    assert "sources/" not in shown
    assert main(["report", "sources", "--no-figures"]) == 0
    assert "lists other images" not in capsys.readouterr().out


def test_the_name_of_other_files_stays() -> None:
    Path("checkpoints").mkdir()
    Path("checkpoints/best.ckpt").write_bytes(b"")
    assert name_of_source(Path("checkpoints/best.ckpt")) is None
    assert name_of_source(Path("model.pth")) is None


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([], "objective is not set; choose one"),
        (["objective=autoencodr"], "Did you mean 'autoencoder'?"),
        (["objective=autoencoder", "strategy=ridge"], "has no strategy"),
        (["objective=autoencoder", "task=regression"], "has no task"),
        (["objective=autoencoder", "task.masked=1"], "task.masked=1: expected"),
        (["objective=autoencoder", "task.nois=1"], "There is no setting 'task.nois'. Did you mean 'task.noise'"),
        (["objective=autoencoder", "augmentation=mixup"], "mixes and augmix.jsd do not fit"),
        (["objective=contrast", "augmentation=crop_resize"], "contrast compares 2 views of each image, and there is 1"),
        (["objective=contrast", "task.method=byol"], "task.method=byol"),
        (["objective=contrast", "trainer.auto_batch=true"], "contrast compares the images of a whole batch"),
        (["objective=contrast", "dataset.batch_size=1"], "one of the training images would be alone in its batch"),
        (["objective=contrast", "dataset.batch_size=47"], "one of the validation images would be alone in its batch"),
        (["objective=contrast", "backbone.weights=runs/none"], "there is no such file"),
        (["objective=relative_patches", "dataset.image_size=16"], "three patches of 6 pixels"),
        (["objective=autoencoder", "task.masked=0.5", "task.cell=32"], "task.cell=32: a cell hides the whole image"),
    ],
)
def test_wrong_settings_are_refused_in_one_sentence(
    settings: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pretrain", *FAST, *settings]) == 2
    shown = [line for line in capsys.readouterr().err.splitlines() if line.startswith("headstart:")]
    assert len(shown) == 1
    assert expected in shown[0]


@pytest.mark.parametrize("size", ["32", "null"])  # null: the size of the network, 160
@pytest.mark.parametrize(
    ("objective", "settings", "expected"),
    [
        ("relative_patches", ["task.patch=60"], "three patches of 60 pixels"),
        ("autoencoder", ["task.cell=160"], "task.cell=160: a cell hides the whole image"),
    ],
)
def test_images_that_are_too_small_are_refused_before_one_is_read(
    size: str,
    objective: str,
    settings: list[str],
    expected: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ImageData, "prepare", lambda *arguments: pytest.fail("images are read"))
    if size != "null":
        monkeypatch.setattr(jobs, "run_or_skip", lambda *arguments: pytest.fail("a run is made"))
    assert pretrained(objective, "a", f"dataset.image_size={size}", *settings) == 2
    assert expected in capsys.readouterr().err


def test_train_has_no_objective(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "objective=contrast"]) == 2
    assert "There is no setting 'objective'" in capsys.readouterr().err


def test_commands_that_use_predictions_say_what_a_pretraining_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrained("relative_patches", "a", "trainer.max_epochs=1") == 0
    run = only_run("a")
    Path("image.png").write_bytes(b"")
    capsys.readouterr()
    for words in (
        ["predict", str(run), "image.png"],
        ["export", str(run), "--to", "onnx"],
        ["evaluate", str(run)],
        ["evaluate", str(run), "--corruptions", "fog"],
        ["explain", str(run)],
    ):
        assert main(words) == 2, words
        (shown,) = capsys.readouterr().err.splitlines()
        assert "this is a pretraining, which gives weights only" in shown
        assert f"{run.name}, and use that run." in shown
    assert main(["card", str(run)]) == 0
    card = capsys.readouterr().out
    assert "headstart train backbone.weights=" in card
    assert not [words for words in ("headstart predict", "headstart evaluate", "Outputs") if words in card]
