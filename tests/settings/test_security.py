"""Test that files from strangers run no code: each would make a folder if any of it were run."""

import ast
import io
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CHECKOUT, TINY

from headstart.backbones.torchvision_backbones import torchvision_backbone
from headstart.backbones.weights import read_tensors
from headstart.cli import main
from headstart.errors import WeightsError
from headstart.training.checkpoints import AtomicCheckpoints
from headstart.training.resume import read_progress

SOURCES = [*(CHECKOUT / "src").rglob("*.py"), *(CHECKOUT / "scripts").rglob("*.py")]


class Evil:
    """An object that makes the folder owned when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.folder,)


@pytest.fixture
def evil(tmp_path: Path) -> Evil:
    return Evil(tmp_path / "owned")


@pytest.fixture(autouse=True)
def _nothing_is_carried_out(tmp_path: Path) -> Any:
    yield
    assert not (tmp_path / "owned").exists()


def in_torch_file(content: Any, path: Path) -> None:
    torch.save({"state_dict": {"conv.weight": torch.zeros(3)}, "extra": content}, path)


def as_pickle(content: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


def in_zip(content: Any, path: Path) -> None:
    """Return a file in the layout of torch.save with another pickle."""
    whole = io.BytesIO()
    torch.save({"conv.weight": torch.zeros(3)}, whole)
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            new.writestr(name, pickle.dumps(content) if name.endswith("data.pkl") else old.read(name))


def in_old_torch_file(content: Any, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


WAYS = [in_torch_file, as_pickle, in_zip, in_old_torch_file]


def test_the_bait_works(evil: Evil, tmp_path: Path) -> None:
    """Each file does harm if it is read without care, so the tests below can fail."""
    for way in WAYS:
        way(evil, tmp_path / "file")
        if way is as_pickle:
            pickle.loads((tmp_path / "file").read_bytes())
        else:
            torch.load(tmp_path / "file", weights_only=False)
        (tmp_path / "owned").rmdir()


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    assert main(arguments) == code
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) == 1, said
    assert said.startswith("headstart: ")
    return said


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["w.pt", "w.bin", "w.safetensors", "w.ckpt"])
def test_weights(way: Callable[[Any, Path], None], name: str, evil: Evil, tmp_path: Path) -> None:
    way(evil, tmp_path / name)
    with pytest.raises(WeightsError, match=rf"{name} is not a weights file: expected a state dict .*tensors only"):
        read_tensors(tmp_path / name)


@pytest.mark.parametrize("way", WAYS)
def test_weights_of_a_command(
    way: Callable[[Any, Path], None], evil: Evil, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    way(evil, tmp_path / "w.pt")
    tiny = [setting for setting in TINY if not setting.startswith("backbone.weights")]
    assert "w.pt is not a weights file" in refused(["train", *tiny, f"backbone.weights={tmp_path / 'w.pt'}"], capsys)


def test_weights_that_torchvision_keeps(evil: Evil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    in_torch_file(evil, tmp_path / "checkpoints" / "resnet18-f37072fd.pth")
    with pytest.raises(WeightsError, match="holds more than tensors"):
        torchvision_backbone("resnet18", "imagenet")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    assert main(["train", *TINY, "dataset.counts=[4,2,2]", "debug=fast", f"output_dir={folder}"]) == 0
    (found,) = (path.parent for path in folder.rglob("run.json"))
    return found


@pytest.mark.parametrize("way", WAYS)
def test_checkpoints(
    way: Callable[[Any, Path], None],
    evil: Evil,
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    way(evil, run / "checkpoints" / "best.ckpt")
    way(evil, run / "checkpoints" / "resume.ckpt")
    with pytest.raises(pickle.UnpicklingError):
        AtomicCheckpoints().load_checkpoint(run / "checkpoints" / "best.ckpt", weights_only=False)
    assert read_progress(run / "checkpoints", {}) is None
    capsys.readouterr()
    assert main(["explain", str(run)]) == 2
    said = capsys.readouterr().err
    assert "best.ckpt" in said
    assert "Traceback" not in said
    refused(["reproduce", str(run), "--weights", str(run / "checkpoints" / "best.ckpt")], capsys)


def test_settings_of_a_run(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    config = run / "config.yaml"
    config.write_text(config.read_text() + f"\nextra: !!python/object/apply:os.mkdir ['{tmp_path / 'owned'}']\n")
    refused(["reproduce", str(run)], capsys)
    for command in (["report", str(run)], ["status", str(run)], ["diff", str(run), str(trained)]):
        main(command)


def test_kept_features(evil: Evil, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", *TINY, "dataset.counts=[4,2,2]", "strategy=linear_probe", "features.dir=kept"]
    assert main([*command, "output_dir=first"]) == 0
    parts = list(Path("kept").rglob("*.npy"))
    assert {"rows.npy", "values.npy"} <= {path.name for path in parts}
    hostile = np.empty(3, dtype=object)
    hostile[:] = [evil] * 3
    for path in parts:
        np.save(path, hostile, allow_pickle=True)
    assert main([*command, "output_dir=second"]) == 0
    assert "Traceback" not in capsys.readouterr().err
    first, second = (next(Path(name).rglob("predictions.csv")).read_bytes() for name in ("first", "second"))
    assert first == second, "computed anew"


def test_a_hydra_pickle(evil: Evil, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    as_pickle(evil, tmp_path / "config.pickle")
    for flag in ("--experimental-rerun", "--experimental", "--exp"):
        said = refused(["train", flag, str(tmp_path / "config.pickle")], capsys)
        assert "may run code" in said
        refused(["train", f"{flag}={tmp_path / 'config.pickle'}"], capsys)


def calls(tree: ast.AST) -> list[tuple[str, dict[str, str]]]:
    """Yield the dotted names of called functions, with their keyword arguments as text."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [(ast.unparse(one.func), {str(word.arg): ast.unparse(word.value) for word in one.keywords}) for one in found]


def test_no_source_reads_files_without_care() -> None:
    seen = 0
    for path in SOURCES:
        for name, words in calls(ast.parse(path.read_text())):
            where = f"{path}: {name}"
            last = name.rpartition(".")[2]
            if name == "torch.load":
                seen += 1
                assert words.get("weights_only") == "True", where
            assert words.get("allow_pickle", "False") == "False", where
            assert words.get("weights_only", "True") == "True", where
            assert words.get("shell", "False") == "False", where
            assert name not in ("eval", "exec", "compile", "os.system", "os.popen"), where
            assert not (last in ("load", "loads", "Unpickler") and name.startswith(("pickle", "joblib", "dill"))), where
            assert last not in ("read_pickle", "unsafe_load", "full_load"), where
            if name == "yaml.load":
                seen += 1
                assert words.get("Loader") == "YAML_LOADER", where
    assert seen >= 5, "the names have changed, and nothing is looked at"
