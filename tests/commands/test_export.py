"""Test that headstart export writes files that give the model's answers, without torch where they promise so."""

import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import SMALLEST
from made_lists import list_of_labels, list_of_numbers, list_of_several
from made_masks import write_masks, write_numbers
from PIL import Image
from safetensors.torch import load_file

from headstart.cli import main
from headstart.exporting import predict_onnx
from headstart.exporting.exported_network import square_of
from headstart.models.loading import load_model

FAST = [
    "dataset.image_size=32",
    "dataset.num_workers=0",
    "dataset.batch_size=8",
    "trainer.max_epochs=1",
    "trainer.accelerator=cpu",
    "logger=csv",
    "output_dir=made",
]
TINY = [*SMALLEST, "backbone.weights=null", *FAST]
FOLDERS = {f"train/{label}": 12 for label in ("ant", "bee", "wasp é")}
SEVERAL = [
    "task=several",
    "task.parts={colour: {kind: classification, column: label}, light: {kind: regression, columns: [light, dark]},"
    " more: {kind: multilabel, column: labels}}",
]


def train(*arguments: str) -> Path:
    """Train, and return the run directory."""
    assert main(["train", *arguments]) == 0
    (found,) = (path.parent for path in Path("made").rglob("run.json"))
    return found


def predicted(model: Path, *images: Path) -> list[dict[str, Any]]:
    """Return the answers of headstart predict."""
    assert main(["predict", str(model), *map(str, images), "--output", "answers.jsonl"]) == 0
    return [json.loads(line) for line in Path("answers.jsonl").read_text().splitlines()]


def close(one: Any, other: Any) -> bool:
    """Return whether the answers of ONNX are among those of predict, numbers up to rounding."""
    if isinstance(one, dict):
        return all(close(value, other[name]) for name, value in one.items())
    return one == other if isinstance(one, str | list) else bool(np.isclose(one, other, rtol=1e-4, atol=1e-4))


@pytest.fixture
def root(make_folder: Callable[..., Path]) -> Path:
    """Return a folder of three classes, with images of several sizes."""
    made = make_folder(FOLDERS)
    rng = np.random.default_rng(1)
    for number, path in enumerate(sorted(made.rglob("*.jpg"))[::3]):
        patches = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
        exif = Image.Exif()
        exif[274] = 1 + number % 8  # orientation
        image = Image.fromarray(patches).resize((40 + 17 * number, 200 - 9 * number), Image.Resampling.BICUBIC)
        image.save(path, exif=exif)
    return made


@pytest.mark.parametrize(
    ("strategy", "settings"),
    [
        ("finetune_all", ["dataset.resize=pad"]),
        ("ridge", ["dataset.resize=squish", "head.stages=[stage1,stage2]"]),
        ("knn", ["dataset.balance=loss"]),
        ("adapters", ["strategy.train_stages=[stage2]"]),
        ("truncate", ["strategy.stages=2"]),
    ],
)
def test_onnx_gives_the_answers_of_predict(strategy: str, settings: list[str], root: Path) -> None:
    run = train(*TINY, "dataset=image_folder", f"dataset.root={root}", f"strategy={strategy}", *settings)
    assert main(["export", str(run), "--to", "onnx", "--output", "out"]) == 0
    paths = sorted(root.rglob("*.jpg"))[:14]
    model = predict_onnx.OnnxModel(Path("out/model.onnx"))
    for path, wanted in zip(paths, predicted(run, *paths), strict=True):
        (found,) = model.answers(model.run(model.read(path)[None]))
        assert list(found) == ["label", "probability", "probabilities"]
        assert close(found, wanted)


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (list_of_numbers, ["task=regression", "task.loss=bins", "dataset.targets=[label,dark]"]),
        (list_of_labels, ["task=multilabel"]),
        (list_of_several, SEVERAL),
        (lambda: write_masks(Path("images")), ["dataset=image_mask", "dataset.root=images", "task=segmentation"]),
        (lambda: write_numbers(Path("images")), ["dataset=image_mask", "dataset.root=images", "task=dense_regression"]),
    ],
    ids=["bins", "multilabel", "several", "segmentation", "dense_regression"],
)
def test_onnx_of_other_tasks(make: Callable[[], Any], settings: list[str]) -> None:
    make()
    data = [] if "dataset=image_mask" in settings else ["dataset=csv", "dataset.root=images/list.csv"]
    run = train(*TINY, *data, "strategy=finetune_all", *settings)
    assert main(["export", str(run), "--to", "onnx", "--output", "out"]) == 0
    paths = [path for path in sorted(Path("images").rglob("*.png")) if "masks" not in path.parts][:8]
    model = predict_onnx.OnnxModel(Path("out/model.onnx"))
    for path, wanted in zip(paths, predicted(run, *paths), strict=True):
        outputs = model.run(model.read(path)[None])
        (found,) = model.answers(outputs)
        assert found
        assert close(found, wanted)
        if "task=segmentation" in settings:
            assert outputs["labels"].dtype == np.uint8
            assert outputs["labels"].shape == (1, 32, 32)


def test_the_file_describes_itself_and_takes_batches(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(*TINY, "dataset=image_folder", f"dataset.root={root}", "strategy=linear_probe")
    capsys.readouterr()
    assert main(["export", str(run), "--to", "onnx"]) == 0
    (folder,) = Path().glob("*-onnx")
    said = capsys.readouterr().out
    assert re.search(r"Checked on \d+ test images: the largest difference from the model is \d\.\de-\d\d\.", said)
    assert f"Written: {folder}: model.onnx, predict_onnx.py." in said
    texts = {one.key: one.value for one in onnx.load(folder / "model.onnx").metadata_props}
    assert json.loads(texts["names"]) == ["ant", "bee", "wasp é"]
    assert json.loads(texts["model.json"])["format"] == "headstart model"
    assert json.loads(texts["export"])["checked"]["images"].endswith(" test images")
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    images = np.random.default_rng(0).integers(0, 256, (5, 50, 70, 3), dtype=np.uint8)
    together = session.run(["probabilities"], {"images": images})[0]
    alone = [session.run(["probabilities"], {"images": images[place : place + 1]})[0] for place in range(5)]
    assert together.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert np.concatenate(alone) == pytest.approx(together, abs=1e-5)


def test_int8_says_what_it_loses(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(*TINY, "dataset=image_folder", f"dataset.root={root}", "strategy=linear_probe")
    capsys.readouterr()
    assert main(["export", str(run), "--to", "onnx", "--output", "out", "--int8"]) == 0
    said = capsys.readouterr().out
    assert "int8, ranges measured on " in said
    texts = {one.key: one.value for one in onnx.load("out/model_int8.onnx").metadata_props}
    facts = json.loads(texts["export"])
    assert facts["precision"] == "int8"
    assert 0 <= facts["int8"]["accuracy in int8"] <= 1
    assert 0 < facts["int8"]["largest difference of probabilities"] < 0.5
    assert predict_onnx.OnnxModel(Path("out/model_int8.onnx")).run(np.zeros((1, 40, 40, 3), np.uint8))


def test_a_wrong_network_is_not_written(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train(*TINY, "dataset=image_folder", f"dataset.root={root}", "strategy=ridge")
    monkeypatch.setattr(predict_onnx, "read_image", lambda path, side: 255 - np.asarray(Image.open(path)))
    assert main(["export", str(run), "--to", "onnx", "--output", "out"]) == 2
    assert not Path("out").exists()


def test_random_images_where_the_data_are_gone(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(*TINY, "dataset=image_folder", f"dataset.root={root}", "strategy=ridge")
    root.rename("elsewhere")
    capsys.readouterr()
    assert main(["export", str(run), "--to", "torchscript", "--output", "out"]) == 0
    said = capsys.readouterr()
    assert "The run's test images are not used (" in said.err
    assert "Checked on 16 images of random colours" in said.out
    assert main(["export", str(run), "--to", "onnx", "--output", "o2", "--images", "elsewhere/train/ant"]) == 0
    assert "Checked on 12 given images" in capsys.readouterr().out


def test_torchscript(root: Path) -> None:
    run = train(*TINY, "dataset=image_folder", f"dataset.root={root}", "strategy=finetune_all")
    assert main(["export", str(run), "--to", "torchscript", "--output", "out"]) == 0
    texts = {"export": ""}
    network = torch.jit.load("out/model.pt", _extra_files=texts)
    paths = sorted(root.rglob("*.jpg"))[:5]
    model = load_model(run)
    squares = torch.from_numpy(np.stack([square_of(model, path) for path in paths]))
    logits, probabilities = network(squares)
    assert [one["name"] for one in json.loads(texts["export"])["outputs"]] == ["logits", "probabilities"]
    for row, wanted in zip(probabilities.tolist(), predicted(run, *paths), strict=True):
        assert row == pytest.approx(list(wanted["probabilities"].values()), abs=1e-5)
    assert logits.shape == (5, 3)


@pytest.mark.parametrize("strategy", ["finetune_all", "knn", "lora"])
def test_safetensors_predict_as_the_run(strategy: str, root: Path) -> None:
    run = train(*TINY, "dataset=image_folder", f"dataset.root={root}", f"strategy={strategy}")
    assert main(["export", str(run), "--to", "safetensors", "--output", "out"]) == 0
    paths = sorted(root.rglob("*.jpg"))[:5]
    wanted = predicted(run, *paths)
    (run / "checkpoints/best.ckpt").unlink()
    assert predicted(Path("out"), *paths) == wanted


@pytest.mark.parametrize(
    ("library", "settings", "with_head"),
    [
        ("timm", [*SMALLEST, "strategy=lora"], True),
        ("timm", [*SMALLEST, "strategy=finetune_all", "head=mlp", "head.hidden=[8]"], False),
        ("timm", ["backbone=timm", "backbone.name=test_vit", "strategy=head_only"], True),
        ("torchvision", ["backbone=mobilenet_v3_small", "strategy=linear_probe"], True),
        ("torchvision", ["backbone=mobilenet_v3_small", "strategy=knn"], False),
    ],
)
def test_plain_pytorch_loads_the_weights(library: str, settings: list[str], with_head: bool, root: Path) -> None:
    run = train(*FAST, "backbone.weights=null", "dataset=image_folder", f"dataset.root={root}", *settings)
    assert main(["export", str(run), "--to", library, "--output", "out"]) == 0
    os.chdir("out")
    network = runpy.run_path("load.py")["network"]
    os.chdir("..")
    strategy = load_model(run).strategy
    x = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        features = strategy.backbone(x)
        wanted = strategy.head(features) if with_head else features
        assert torch.allclose(network(x), wanted, atol=1e-5, rtol=1e-5)
    assert set(load_file("out/model.safetensors")) == set(network.state_dict())


@pytest.mark.parametrize(
    ("settings", "to", "message"),
    [
        (["strategy=adapters", "strategy.train_stages=[stage2]"], "timm", "changed the layers of test_efficientnet"),
        (["strategy=truncate", "strategy.stages=2"], "timm", "use --to onnx or --to safetensors."),
        (["strategy=ridge"], "torchvision", "test_efficientnet is a network of timm: use --to timm."),
        (["strategy=finetune_all", "strategy.batch_norm=batch"], "onnx", "so that an image has no answer of its own"),
        (["strategy=ridge", "test_views=flip"], "onnx", "averages predictions over test_views=flip"),
        (["strategy=ridge"], "onxx", "--to onxx: there is no such format. Did you mean 'onnx'?"),
        (["strategy=ridge"], "timm --int8", "--int8 needs --to onnx."),
    ],
)
def test_refusals(settings: list[str], to: str, message: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(*TINY, "dataset=image_folder", f"dataset.root={root}", *settings)
    capsys.readouterr()
    assert main(["export", str(run), "--to", *to.split(), "--output", "out"]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert message in said[-1]
    assert not Path("out").exists()


@pytest.mark.slow
def test_the_script_needs_no_torch(root: Path) -> None:
    """It runs in an interpreter that cannot import torch or headstart."""
    run = train(*TINY, "dataset=image_folder", f"dataset.root={root}", "strategy=linear_probe")
    assert main(["export", str(run), "--to", "onnx", "--output", "out"]) == 0
    Path("block").mkdir()
    Path("block/sitecustomize.py").write_text(
        "import sys\nfor name in ('torch', 'torchvision', 'timm', 'headstart', 'onnx'):\n    sys.modules[name] = None\n"
    )
    environment = {**os.environ, "PYTHONPATH": "block"}
    blocked = subprocess.run([sys.executable, "-c", "import torch"], env=environment, capture_output=True, check=False)
    assert blocked.returncode
    paths = sorted(root.rglob("*.jpg"))[:9]
    Path("broken.jpg").write_bytes(b"no image")
    command = [sys.executable, "out/predict_onnx.py", *map(str, paths), "broken.jpg"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "unreadable: broken.jpg" in done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    for (path, label, probability), wanted in zip(rows, predicted(run, *paths), strict=True):
        assert path == wanted["path"]
        assert label == wanted["label"]
        assert float(probability) == pytest.approx(wanted["probability"], abs=1e-4)
