"""Test that settings of a stranger's run write nothing outside the output and call nothing."""

import importlib
import inspect
import pkgutil
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import SMALLEST, trained_run
from omegaconf import OmegaConf

from headstart.cli import main
from headstart.errors import ConfigError
from headstart.settings.foreign import keep_inside, places_read
from headstart.settings.targets import OTHERS

CALLBACKS, PROFILERS = "pytorch_lightning.callbacks", "pytorch_lightning.profilers"
OUT = Path("/out")


def settings(**groups: Any) -> Any:
    return OmegaConf.create({"dataset": {"root": None}, "backbone": {"name": "a"}, "trainer": {}, **groups})


def callback(name: str, **arguments: Any) -> dict[str, Any]:
    return {"callbacks": {"x": {"_target_": f"{CALLBACKS}.{name}", **arguments}}}


@pytest.mark.parametrize(
    "groups",
    [
        callback("OnExceptionCheckpoint", _args_=["/etc"]),
        callback("ModelCheckpoint", _args_=["/etc"]),
        callback("ModelCheckpoint", _args_=[None, "../x"]),
        callback("ModelCheckpoint", dirpath={"_target_": "torch.nn.Identity"}, _args_=["/etc"]),
        callback("ModelSummary", x={"deep": [{"_target_": f"{PROFILERS}.PyTorchProfiler", "trace_file": "/etc"}]}),
        callback("LambdaCallback", on_fit_start={"_target_": "headstart.augmentations.learned.policy.read_policy"}),
        callback("LambdaCallback", _args_=[{"_target_": "torch.nn.Identity", "_partial_": True}]),
        callback("ModelPruning", pruning_fn={"_target_": "torch.nn.Identity"}),
        {"callbacks": {"x": {"_target_": "headstart.records.curves.CsvCurves", "folder": "/etc"}}},
        {"callbacks": {"x": {"_target_": "headstart.records.curves.CsvCurves", "_args_": ["/etc"]}}},
        {"callbacks": {"x": {"_target_": "headstart.augmentations.learned.policy.write_policy", "path": "/etc/x"}}},
        {"callbacks": {"x": {"_target_": "headstart.augmentations.learned.policy.write_policy", "_args_": ["/etc/x"]}}},
        {"optimizer": {"_target_": "torch.optim.SGD", "_partial_": True, "log_file": "/etc/x"}},
    ],
)
def test_what_is_refused(groups: dict[str, Any]) -> None:
    with pytest.raises(
        ConfigError, match=r"a run from elsewhere may not (choose this path|name code to call); .* --trust \w+\.$"
    ):
        keep_inside(settings(**groups), OUT)


def test_what_is_replaced() -> None:
    config = settings(
        callbacks={
            "a": {"_target_": f"{CALLBACKS}.ModelCheckpoint", "dirpath": "/etc", "filename": "../../x", "mode": "max"},
            "b": {"_target_": f"{CALLBACKS}.ModelCheckpoint", "filename": "{epoch}-{validation/accuracy:.2f}"},
            "c": {"_target_": f"{CALLBACKS}.OnExceptionCheckpoint", "dirpath": "~"},
            "d": {"_target_": f"{CALLBACKS}.ModelCheckpoint", "filename": "{epoch:9999999999}"},
            "e": {"_target_": f"{CALLBACKS}.ModelCheckpoint", "dirpath": None},
        },
        hydra={"run": {"dir": "/etc"}},
        trainer={
            "profiler": {"_target_": f"{PROFILERS}.AdvancedProfiler", "dirpath": "/etc", "filename": "/etc/x"},
            "default_root_dir": "/etc", "model_registry": "name", "logger": None,
        },
    )  # fmt: skip
    said = keep_inside(config, OUT)
    plain: Any = OmegaConf.to_container(config)
    assert "/etc" not in str(plain)
    assert "hydra" not in plain
    assert plain["trainer"] == {"profiler": {"_target_": f"{PROFILERS}.AdvancedProfiler", "dirpath": "/out/files"}}
    parts = {name: {key: part[key] for key in part if key != "_target_"} for name, part in plain["callbacks"].items()}
    assert parts == {
        "a": {"dirpath": "/out/files", "mode": "max"},
        "b": {"filename": "{epoch}-{validation/accuracy:.2f}"},
        "c": {"dirpath": "/out/files"},
        "d": {},
        "e": {"dirpath": None},
    }
    assert len(said) == 9
    assert "callbacks.a.dirpath=/etc is changed to /out/files." in said
    assert keep_inside(config, OUT)[1:] == keep_inside(config, OUT)[1:], "nothing is left to change but to the same"


def test_where_nothing_is_written_no_place_is_taken() -> None:
    with pytest.raises(ConfigError, match=r"callbacks\.x\.dirpath=/etc"):
        keep_inside(settings(**callback("ModelCheckpoint", dirpath="/etc")), None)


def test_what_a_run_writes_passes_as_it_is() -> None:
    groups = callback("EarlyStopping", monitor="validation/accuracy", patience=5) | {
        "dataset": {"_target_": "headstart.data.CsvFile", "root": "/data", "path_column": "path", "pictures": "/p"},
        "backbone": {"_target_": "headstart.backbones.timm_backbone", "name": "a", "weights": "/w", "drop_path": 0.1},
        "features": {"_target_": "headstart.features.FeatureSettings", "dir": None},
        "optimizer": {"_target_": "torch.optim.AdamW", "_partial_": True, "betas": [0.9, 0.99]},
    }
    config = settings(**groups)
    before = OmegaConf.to_container(config)
    assert keep_inside(config, OUT) == []
    assert OmegaConf.to_container(config) == before
    assert places_read(config) == ["dataset.root=/data", "dataset.pictures=/p", "backbone.weights=/w"]


def test_a_trusted_package_says_where_it_writes() -> None:
    config = settings(callbacks={"x": {"_target_": "json.JSONEncoder", "file": "/mine"}})
    with pytest.raises(ConfigError):
        keep_inside(config, OUT)
    assert keep_inside(config, OUT, ["json"]) == []


@pytest.mark.parametrize(("there", "root"), [(True, None), (False, "/out/data")])
def test_downloads_go_into_the_output(there: bool, root: str | None, tmp_path: Path) -> None:
    named = str(tmp_path if there else tmp_path / "none")
    config = settings(dataset={"_target_": "headstart.data.TorchvisionSet", "root": named, "download": True})
    assert len(keep_inside(config, OUT)) == (not there)
    assert (config.dataset.root, config.dataset.download) == (root or named, not there)


def classes() -> Iterator[type]:
    """Return the classes of other packages that settings may name."""
    for name in OTHERS:
        module = importlib.import_module(name)
        names = [name, *(below.name for below in pkgutil.iter_modules(getattr(module, "__path__", []), f"{name}."))]
        for place in names:
            try:
                found = vars(importlib.import_module(place)).values()
            except ImportError:
                continue
            yield from (one for one in found if inspect.isclass(one) and one.__module__.startswith(name))


def test_no_class_has_a_place_that_passes() -> None:
    """Each parameter gets a path; those that pass must have names that mean no path."""
    seen, passed = 0, set()
    words = ("dir", "path", "file", "folder", "root", "url", "log_", "save_to", "trace", "export")
    for cls in set(classes()):
        try:
            parameters = inspect.signature(cls).parameters
        except (TypeError, ValueError):
            continue
        for name in filter(lambda name: any(word in name for word in words), parameters):
            config = settings(callbacks={"x": {"_target_": f"{cls.__module__}.{cls.__qualname__}", name: "/etc/x"}})
            seen += 1
            try:
                keep_inside(config, OUT)
            except (ConfigError, AttributeError, ImportError):
                continue
            if config.callbacks.x.get(name) == "/etc/x":
                passed.add(name)
    assert seen > 25
    assert {"log_momentum", "profiler"} <= passed
    assert passed <= {
        "log_momentum", "log_weight_decay", "log_rank_zero_only", "log_every_n_steps", "log_input", "save_top_k",
        "enable_autolog_hparams", "export_to_chrome", "export_to_flame_graph", "exportable", "bidirectional",
        "log_target", "profiler", "profiler_kwargs",
    }  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_run(tmp_path_factory.mktemp("trained"), *SMALLEST, "debug=fast")


def test_settings_are_checked_before_a_network_is_rebuilt(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["dataset"]["counts"] = 10**400
    (run / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    for command in ("explain", "evaluate"):
        assert main([command, str(run)]) == 2
        assert capsys.readouterr().err.startswith("headstart: run: dataset.counts=1000")


def test_reproduce_writes_inside(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, outside = trained / "config.yaml", tmp_path / "outside"
    before = file.read_text()
    config = yaml.safe_load(before)
    checkpoints = callback("ModelCheckpoint", dirpath=str(outside), filename="../../x", monitor="validation/accuracy")
    config["callbacks"] |= checkpoints["callbacks"]
    profiler = {"_target_": f"{PROFILERS}.AdvancedProfiler", "dirpath": str(outside), "filename": "y"}
    config["trainer"] |= {"profiler": profiler, "default_root_dir": str(outside)}
    config["features"]["dir"] = config["output_dir"] = str(outside)
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    main(["reproduce", str(trained), "--output", "out"])
    said = capsys.readouterr()
    file.write_text(before)
    assert "verdict: " in said.out, said.err
    assert f"note: callbacks.x.dirpath={outside} is changed to {tmp_path / 'out' / 'files'}." in said.out
    assert "note: callbacks.x.filename=../../x is left out: it is not a plain file name." in said.out
    assert not outside.exists()
    assert {path.name for path in tmp_path.iterdir()} <= {"out", "cache"}
    assert list(Path("out/files").glob("*.ckpt"))
