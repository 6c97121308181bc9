"""Test that model.json comes back as it was written, and that a damaged or hostile one ends in one sentence."""

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALLEST, TINY

from headstart.cli import main
from headstart.errors import DataError, HeadstartError
from headstart.models.builders import BUILDERS
from headstart.models.description import MOST_SCORES, description_of, read_description, shortened
from headstart.models.loading import load_model

NONSENSE: list[Any] = [None, True, -1, 0, 1e300, float("nan"), "", "../..", "x" * 5000, [], [None], {}, {"a": 1}, 2**70]


@pytest.fixture
def folder(capsys: pytest.CaptureFixture[str]) -> Path:
    """Return the folder of a small model."""
    settings = ["strategy=linear_probe", "dataset.counts=[6,4,4]", "logger=csv", "output_dir=o"]
    assert main(["train", *TINY, *SMALLEST, *settings]) == 0
    capsys.readouterr()
    (found,) = Path("o").rglob("model.json")
    return found.parent


def content_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "model.json").read_text())
    return content


def put(folder: Path, content: Any) -> None:
    (folder / "model.json").write_text(json.dumps(content))


def places(value: Any, *keys: Any) -> list[tuple[Any, ...]]:
    """Return the place of every value, at any depth."""
    entries = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    return [keys] * bool(keys) + [place for key, one in entries for place in places(one, *keys, key)]


def test_it_comes_back_as_it_was_written(folder: Path) -> None:
    text = (folder / "model.json").read_text()
    assert read_description(folder).text() == text
    assert str(Path.cwd()) not in text  # nothing of this machine


def test_it_names_classes_input_weights_and_run(folder: Path) -> None:
    found = read_description(folder)
    run = json.loads((folder.parent / "run.json").read_text())
    assert found.output.names == run["classes"]
    assert (found.training["id"], found.training["config_hash"]) == (run["id"], run["config_hash"])
    assert found.training["metrics"]["test/accuracy"] == run["metrics"]["test/accuracy"]
    assert found.input.image_size == 32
    assert len(found.calibration[""].scores[0]) == run["pictures"]["validation"]
    assert found.network["backbone"].settings["name"] == "test_efficientnet"


@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_value_ends_in_one_sentence_or_loads(folder: Path, seed: int) -> None:
    """Each value is replaced by nonsense; reading never raises anything but a HeadstartError."""
    whole, rng = content_of(folder), random.Random(seed)
    refused: list[str] = []
    for keys in places(whole):
        content = copy.deepcopy(whole)
        parent = content
        for key in keys[:-1]:
            parent = parent[key]
        if rng.random() < 0.2 and isinstance(parent, dict):
            del parent[keys[-1]]
        else:
            parent[keys[-1]] = rng.choice(NONSENSE)
        try:
            description_of(content)
        except HeadstartError as error:
            refused.append(str(error))
    assert len(refused) > 50
    assert all(text.startswith("model.json cannot be read (") and "\n" not in text for text in refused)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("format",), "pickle", "it does not describe a model of headstart"),
        (("version",), 99, "it has version 99, and this headstart reads 1"),
        (("input", "image_size"), 10**6, "input.image_size is 1000000, expected a whole number from 1 to 4,096"),
        (("input", "std"), [0, 0, 0], "input.std is [0, 0, 0], expected as many numbers above 0 as there are means"),
        (("output", "names"), ["a", "a"], "output.names is ['a', 'a'], expected names that are all different"),
        (("weights", "file"), "/etc/passwd", "weights.file is '/etc/passwd', expected one of best.ckpt, model.safet"),
        (
            ("network", "task", "builder"),
            "os.system('x')",
            "network.task.builder is \"os.system('x')\", expected the n",
        ),
        (("unlike", "distances"), [2, 1], "unlike.distances is [2, 1], expected numbers in rising order"),
    ],
)
def test_what_is_wrong_is_said(folder: Path, place: tuple[str, ...], value: Any, message: str) -> None:
    content = parent = content_of(folder)
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = value
    with pytest.raises(HeadstartError) as caught:
        description_of(content)
    assert message in str(caught.value)


@pytest.mark.parametrize("group", ["backbone", "strategy", "head", "task"])
@pytest.mark.parametrize("builder", ["os.system", "torch.load", "headstart.files.write_atomically", "subprocess.Popen"])
def test_no_code_runs_that_a_model_names(folder: Path, group: str, builder: str, tmp_path: Path) -> None:
    """Also if its arguments fit."""
    content = content_of(folder)
    content["network"][group] = {"builder": builder, "settings": {"command": f"touch {tmp_path / 'owned'}"}}
    put(folder, content)
    with pytest.raises(HeadstartError, match=r"is .*, code of another package: if you trust it, add --trust"):
        load_model(folder)
    assert not (tmp_path / "owned").exists()


def test_a_decoder_is_code_too(folder: Path) -> None:
    content = content_of(folder)
    content["input"]["decoder"]["builder"] = "pickle.loads"
    put(folder, content)
    with pytest.raises(HeadstartError, match="add --trust pickle"):
        load_model(folder)


@pytest.mark.parametrize(
    ("group", "part", "message"),
    [
        ("head", {"builder": "mlp", "settings": {"hidden": [10**9]}}, "layers that are larger than every tensor"),
        ("task", {"builder": "regression", "settings": {"bins": 10**9, "loss": "bins"}}, "layers that are larger"),
        ("backbone", {"builder": "timm_backbone", "settings": {"name": "hf-hub:a/b"}}, "which is read from elsewhere"),
    ],
)
def test_what_would_take_the_memory_or_the_network_is_refused(
    folder: Path, group: str, part: dict[str, Any], message: str
) -> None:
    content = content_of(folder)
    content["network"][group] = part
    put(folder, content)
    with pytest.raises(HeadstartError, match=message):
        load_model(folder)


def test_an_unknown_builder_has_a_nearest_one(folder: Path) -> None:
    content = content_of(folder)
    content["network"]["strategy"]["builder"] = "linear_prob"
    put(folder, content)
    with pytest.raises(
        HeadstartError, match=r"strategy is 'linear_prob', which is unknown. Did you mean 'linear_probe'"
    ):
        load_model(folder)


def test_other_weights_are_refused(folder: Path) -> None:
    state = torch.load(folder / "best.ckpt", weights_only=True)
    state["state_dict"]["head.weight"] += 1
    torch.save(state, folder / "best.ckpt")
    with pytest.raises(
        HeadstartError, match=r"best.ckpt is not the file that model.json describes: its sha256 differs"
    ):
        load_model(folder)


@pytest.mark.parametrize(("group", "name", "value"), [("backbone", "name", "test_vit"), ("head", "stages", ["stage1"])])
def test_a_network_that_does_not_fit_its_weights_is_refused(folder: Path, group: str, name: str, value: Any) -> None:
    content = content_of(folder)
    content["network"][group]["settings"][name] = value
    put(folder, content)
    with pytest.raises(HeadstartError, match=r"does not fit the network|has no stage"):
        load_model(folder)


def test_a_safetensors_folder_is_a_model(folder: Path, tmp_path: Path) -> None:
    import hashlib

    from safetensors.torch import save_file

    before = load_model(folder)
    save_file(
        {name: of.contiguous() for name, of in before.strategy.state_dict().items()}, folder / "model.safetensors"
    )
    content = content_of(folder)
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    content["weights"] = {"file": "model.safetensors", "sha256": digest}
    put(folder, content)
    (folder / "best.ckpt").unlink()
    after = load_model(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(DataError, match=rf"'{folder}/model\.safetensors' is missing: model\.json is there, but not"):
        load_model(folder)
    for name, tensor in before.strategy.state_dict().items():
        assert torch.equal(tensor, after.strategy.state_dict()[name])


@pytest.mark.parametrize("damage", [lambda content: content[:100], lambda content: b"", lambda content: b"x" * 1000])
def test_damaged_features_are_refused(folder: Path, damage: Any) -> None:
    file = folder / "model_features.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(HeadstartError, match=r"model_features.safetensors cannot be read \("):
        load_model(folder)


def test_builders_are_those_of_the_shipped_settings() -> None:
    from headstart.settings.configs import choices

    assert set(choices("strategy")) <= set(BUILDERS["strategy"])
    assert set(choices("head")) == set(BUILDERS["head"])
    assert set(choices("task")) == set(BUILDERS["task"])


def test_many_scores_are_shortened_without_their_ends() -> None:
    values = [float(number) for number in range(50_000)]
    short = shortened(values)
    assert len(short) == MOST_SCORES
    assert (short[0], short[-1]) == (0, 49_999)
    assert shortened([3, 1, 2]) == [1, 2, 3]
