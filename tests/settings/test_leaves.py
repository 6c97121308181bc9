"""Test every setting with nonsense: it is refused in one sentence before training, or known to be valid."""

import math
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from conftest import toy_backbone
from omegaconf import DictConfig, OmegaConf

from headstart.errors import HeadstartError
from headstart.features.settings import bytes_of
from headstart.settings.configs import choices, composed, conf_folder
from headstart.settings.early_checks import check_packages, check_settings, trusted_packages
from headstart.strategies import cosine
from headstart.tasks import Classification
from headstart.training import compose

NONSENSE: dict[str, Any] = {
    "[]": [], "{}": {}, "true": True, "word": "abc", "nan": math.nan, "inf": math.inf, "-inf": -math.inf, "-1": -1,
    "1e99": 1e99, "empty": "", "huge": 10**22, "nested": [[1], [2]], "null": None, "mapping": {"a": 1}, "1.5": 1.5,
    "words": ["abc"],
}  # fmt: skip
TOP = ("seed", "seeds", "test_views", "references", "output_dir", "sweep", "allow_targets")
GROUPS = ("dataset", "backbone", "augmentation", "strategy", "task", "head", "optimizer", "scheduler", "trainer",
          "logger", "callbacks", "features")  # fmt: skip
NEEDED = {"backbone timm": {"name": "resnet18"}, "augmentation learned": {"policy": "policy.json"},
          "dataset csv": {"root": "list.csv"}, "dataset image_folder": {"root": "."},
          "dataset image_mask": {"root": "."},
          "task several": {"parts": {"b": {"kind": "regression", "column": "x", "bins": 9}}}}  # fmt: skip
# What may be so after all: any whole number is a seed, any text a name, and a large number of a loss or rate that the
# first step would tell of is a number still.
VALID = {
    "*seed -1 huge", "seeds.* -1 huge", "output_dir word -1 huge", "logger [] {} null",
    "logger.*.group null word -1 huge", "logger.*.project word -1 huge", "logger.*.dir word -1 huge",
    "dataset.name word -1 huge null", "task.dice huge 1.5", "dataset.targets null",
    "dataset.crop_fraction null", "dataset.near_duplicates true", "dataset.download true", "dataset.allow_outside true",
    "dataset.root null", "dataset.folds null", "dataset.*labels_per_class null", "dataset.bits null",
    "dataset.groups null word", "dataset.group_column null word", "dataset.splits null", "dataset.classes null",
    "dataset.ignore_index null", "dataset.palette null",
    "dataset.test_split null",
    "callbacks.*.monitor null", "callbacks.*.mode null",
    "dataset.pictures null", "dataset.split_column null word", "dataset.image_size null",
    "backbone.weights null", "backbone.image_size null", "backbone.drop_path null",
    "augmentation.augmix*.jsd huge 1.5", "augmentation.augmix*.severity 1.5", "augmentation.*.alpha 1.5",
    "augmentation.*_alpha 1.5", "augmentation.manifold_mixup.stages null", "augmentation.rand_augment.magnitude 1.5",
    "augmentation.policy null",
    "strategy.lr null huge 1.5", "strategy.*_multiplier huge 1.5", "strategy.head_bias_lr_multiplier null",
    "strategy.lr_factor huge 1.5", "strategy.stage_lr null {}", "strategy.decay_norm_bias true", "strategy.tuned true",
    "strategy.channels_last true", "strategy.views null", "strategy.stages null", "strategy.refit true",
    "strategy.temperature huge 1.5", "strategy.l2 huge 1.5",
    "strategy.alpha huge 1.5", "strategy.beta huge 1.5", "strategy.train_stages []",
    "task.weights null {}", "task.primary null", "task.parts.*.column word -1 huge",
    "head.stages null", "head.pooling null", "head.gem_p huge 1.5", "head.scale huge 1.5",
    "optimizer.lr huge 1.5", "optimizer.weight_decay huge 1.5", "optimizer.trust_coeff huge 1.5",
    "optimizer.nesterov true", "*._partial_ true",
    "trainer.auto_batch true", "trainer.keep_memory true", "trainer.precision null", "trainer.deterministic true null",
    "trainer.gradient_clip_val null huge 1.5", "trainer.gradient_clip_algorithm null", "trainer.enable_* true null",
    "trainer.strategy null", "trainer.use_distributed_sampler true", "trainer.devices -1",
    "features.enabled true", "features.views null", "features.memory_limit huge", "features.max_size huge",
    "features.dir word -1 huge null", "sweep.skip_finished true", "sweep.resume true", "references []",
    "allow_targets [] {} null empty", "test_views null",
}  # fmt: skip
# What the settings alone do not show: the class or the data say it, also in one sentence.
LATER = {
    "dataset.root", "dataset.*labels_per_class", "dataset.folds", "dataset.test_split",
    "dataset.set_name", "dataset.*_column", "dataset.targets", "dataset.pictures",
    "backbone.name", "augmentation.auto_augment.policy",
    "augmentation.learned.policy", "augmentation.manifold_mixup.stages", "strategy.train_stages", "strategy.stages",
    "strategy.stage_lr", "head.stages", "trainer.accelerator", "trainer.strategy",
}  # fmt: skip


def shipped(group: str, name: str) -> dict[str, Any]:
    """Return the settings of a file of conf/, with those that it builds on."""
    found = yaml.safe_load((conf_folder() / group / f"{name}.yaml").read_text()) or {}
    below: dict[str, Any] = {}
    for part in found.pop("defaults", []):
        below |= shipped(group, part) if part != "_self_" else {}
    return below | found


@cache
def base() -> Any:
    return OmegaConf.to_container(composed([])[0])


def settings_with(group: str, name: str) -> dict[str, Any]:
    settings = {**base(), group: shipped(group, name)} if group else dict(base())
    if group == "augmentation":
        settings[group]["where"] = "auto"
    if group:
        settings[group] |= NEEDED.get(f"{group} {name}", {})
    done: Any = OmegaConf.to_container(OmegaConf.create(settings), resolve=True)
    return done


def paths_of(settings: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            yield from paths_of(value, (*above, key))
        else:
            yield (*above, key)


def changed(settings: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Return the settings with one other value; unchanged parts are shared."""
    new = place = dict(settings)
    for key in path[:-1]:
        place[key] = dict(place[key])
        place = place[key]
    place[path[-1]] = value
    return new


def early(settings: dict[str, Any]) -> None:
    check_packages(settings, trusted_packages(settings, []))
    check_settings(settings)


def is_valid(key: str, label: str) -> bool:
    return any(label in words[1:] and fnmatchcase(key, words[0]) for words in map(str.split, VALID))


@pytest.fixture(autouse=True)
def _files() -> None:
    Path("list.csv").write_text("path,label\n1.png,a\n")


def cases(group: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the key, the name of the value and all settings, for each setting of a group and each value."""
    for name in choices(group) if group else [""]:
        settings = settings_with(group, name)
        early(settings)
        for path in paths_of({key: settings[key] for key in ((group,) if group else TOP)}):
            for label, value in NONSENSE.items():
                yield ".".join(path), label, changed(settings, path, value)


def refused(check: Callable[[], object]) -> str | None:
    """Return the sentence that refuses the settings, or None."""
    try:
        check()
    except HeadstartError as error:
        if len(str(error).splitlines()) != 1:
            raise
        return str(error)
    return None


@pytest.mark.parametrize("group", [*GROUPS, ""])
def test_nonsense_is_refused_by_the_settings_alone(group: str) -> None:
    for key, label, settings in cases(group):
        sentence = refused(lambda s=settings: early(s))
        later = any(fnmatchcase(key, pattern) for pattern in LATER)
        assert sentence is not None or later or is_valid(key, label), f"{key}={label} passes"
        if sentence is not None and label != "null":  # which is valid for some files of a group
            assert not is_valid(key, label), sentence


def build(group: str, config: DictConfig) -> None:
    """Make the part of a run that a group describes, for a network of four stages."""
    if group == "backbone":
        compose.make_backbone(config)
    if group == "augmentation":
        compose.make_augmentation(config).settle(toy_backbone().stage_names, 3)
    if group == "trainer":
        compose.make_trainer(config, Path("run"))
    if group == "head":
        data: Any = SimpleNamespace(num_classes=4, class_weights=None, gives_masks=False, task="classification")
        compose.make_task(config, data).head.read(toy_backbone())
    if group == "strategy":
        random = {"random_backbone": toy_backbone(1)} if "LayerTransfer" in config.strategy._target_ else {}
        given = {"backbone": toy_backbone(), "task": Classification(4), "scheduler": cosine, "augmented": True}
        compose.make(config, group, optimizer=partial(torch.optim.SGD, lr=0.1), **random, **given)


@pytest.mark.parametrize("group", ["backbone", "augmentation", "strategy", "head", "trainer"])
def test_what_passes_there_is_refused_when_the_parts_are_made(group: str) -> None:
    for key, label, settings in cases(group):
        if not is_valid(key, label) and refused(lambda s=settings: early(s)) is None:
            config = OmegaConf.create(settings)
            config.backbone.weights = None
            assert refused(lambda c=config: build(group, c)) is not None, f"{key}={label} passes"


LIGHTNING = "pytorch_lightning.callbacks"
ADDED = [  # what other libraries take beside the settings that ship
    ("trainer", "accumulate_grad_batches", [[], True, 0, 1.5, "abc", None]),
    ("trainer", "max_time", ["abc", 5, [], True, {"parsecs": 1}, "12:00", "00:00:00:00"]),
    ("trainer", "limit_train_batches", ["abc", True, -1, 0, 1.5, []]),
    ("trainer", "overfit_batches", ["abc", True, -1]),
    ("trainer", "min_epochs", [True, -1, 0.5]),
    ("trainer", "detect_anomaly", ["abc", 1, None]),
    ("trainer", "profiler", ["abc", 1, True]),
    ("trainer", "barebones", [True, "abc"]),
    ("trainer", "fast_dev_run", ["abc", True, 1]),
    ("trainer", "val_check_interval", ["abc", True, 0.5, []]),
    ("trainer", "check_val_every_n_epoch", ["abc", True, 2, None]),
    ("trainer", "max_steps", ["abc", 7]),
    ("trainer", "logger", [True, False, "abc"]),
    ("trainer", "default_root_dir", ["here"]),
    ("trainer", "callbacks", [[]]),
    ("trainer", "plugins", ["abc", 1]),
    ("trainer", "model_registry", [1]),
    ("trainer", "no_such_thing", [1]),
    ("optimizer", "betas", [[], [0.9], [0.9, 1.0], "abc", [0.9, True], 0.9]),
    ("optimizer", "eps", [-1, math.inf, True, []]),
    ("optimizer", "foreach", ["abc", 1]),
    ("optimizer", "capturable", [True, 1]),
    ("optimizer", "differentiable", [True, 1]),
    ("optimizer", "lr", [1e99, -1, 0, True, []]),
    ("optimizer", "weight_decay", [1e99, -1, True]),
    ("trainer", "gradient_clip_val", [-1, 0, "much", True]),
    ("trainer", "gradient_clip_algorithm", ["length", True]),
    ("optimizer", "no_such_thing", [1]),
    ("strategy", "no_such_thing", [1]),
]  # fmt: skip
CALLBACKS = [
    ({"_target_": f"{LIGHTNING}.EarlyStopping", "monitor": "validation/accuracy"},
     {"patience": [True, -1, "abc"], "mode": ["abc", True], "min_delta": ["abc", math.nan],
      "monitor": ["abc", []], "strict": [1], "stopping_threshold": ["abc", True], "no_such_thing": [1]}),
    ({"_target_": f"{LIGHTNING}.ModelCheckpoint", "monitor": "validation/loss"},
     {"save_top_k": [True, "abc", -5], "every_n_epochs": ["abc", -1], "save_last": ["abc", 3], "dirpath": [5, True]}),
    ({"_target_": f"{LIGHTNING}.LearningRateMonitor"}, {"logging_interval": ["abc", 5], "log_momentum": ["abc", 1]}),
    ({"_target_": f"{LIGHTNING}.GradientAccumulationScheduler"}, {"scheduling": [5, "abc", []]}),
    ({"_target_": f"{LIGHTNING}.DeviceStatsMonitor"}, {"cpu_stats": ["abc", 1]}),
    ({"_target_": "headstart.training.averaging.ExponentialAverage"}, {"decay": [[], True, 1, 0, None, "abc"]}),
    ({"_target_": "headstart.training.averaging.StochasticAverage"}, {"start": [[], True, 1, -1, None, "abc"]}),
]  # fmt: skip


def all_checks(settings: dict[str, Any]) -> None:
    """Check the settings, then make the trainer, its callbacks, the optimizer and the strategy."""
    early(settings)
    config = OmegaConf.create(settings)
    compose.check_optimizer(config)
    build("trainer", config)
    build("strategy", config)


@pytest.mark.parametrize(("group", "name", "values"), ADDED, ids=lambda value: str(value)[:30])
def test_added_arguments(group: str, name: str, values: list[Any]) -> None:
    for value in values:
        settings = changed(settings_with("", ""), (group, name), value)
        assert refused(lambda s=settings: all_checks(s)) is not None, f"{group}.{name}={value} passes"


@pytest.mark.parametrize(("callback", "wrong"), CALLBACKS, ids=lambda value: str(value.get("_target_", ""))[-20:])
def test_callbacks_that_are_added(callback: dict[str, Any], wrong: dict[str, list[Any]]) -> None:
    settings = changed(settings_with("", ""), ("callbacks", "mine"), callback)
    if "Gradient" not in callback["_target_"]:
        all_checks(settings)
    for name, values in wrong.items():
        for value in values:
            broken = changed(settings, ("callbacks", "mine", name), value)
            sentence = refused(lambda s=broken: all_checks(s))
            assert sentence is not None, f"{name}={value} passes"
            assert sentence.startswith("callbacks.mine"), sentence


def test_what_lightning_and_torch_take_beside_the_settings_that_ship() -> None:
    settings = settings_with("", "")
    settings["trainer"] |= {
        "accumulate_grad_batches": 2, "max_time": "00:12:00:00", "limit_train_batches": 0.5, "profiler": "simple",
        "detect_anomaly": False, "devices": "auto", "precision": "bf16-mixed", "overfit_batches": 0.0, "max_steps": -1,
        "val_check_interval": 1.0, "benchmark": None, "inference_mode": True,
    }  # fmt: skip
    settings["optimizer"] |= {"betas": [0.9, 0.95], "eps": 1e-6, "amsgrad": True, "foreach": None}
    settings["trainer"]["profiler"] = None
    all_checks(settings)


@pytest.mark.parametrize("size", [0, 500000, "2GB", "2gb", "1.5GiB", "300 MB", "7", "1T", "10b"])
def test_sizes_are_those_that_the_feature_store_reads(size: int | str) -> None:
    early(changed(settings_with("", ""), ("features", "max_size"), size))
    assert bytes_of(size) >= 0


def test_a_number_that_is_too_large_is_refused_with_the_limit() -> None:
    settings = changed(settings_with("", ""), ("trainer", "max_epochs"), 10**22)
    assert refused(lambda: early(settings)) == (
        f"trainer.max_epochs={10**22}: expected a whole number above 0, such as 10, below 2147483648."
    )
