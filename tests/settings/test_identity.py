"""Test that hashes depend on everything that determines a result and nothing else."""

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.settings.effects import ADDED
from headstart.settings.identity import config_hash, make_run_directory, readable_name, run_id, source_key

CONFIG: dict[str, Any] = {
    "seed": 0,
    "seeds": {"split": 0, "head": 0},
    "references": [],
    "output_dir": "runs",
    "dataset": {"_target_": "x.Ants", "root": "a", "num_workers": "auto", "image_size": 64, "batch_size": 32},
    "backbone": {"name": "resnet18", "weights": "imagenet"},
    "augmentation": {"crop_resize": {"flip": 0.5}, "mixup": {"alpha": 0.2}},
    "strategy": {"_target_": "x.HeadOnly"},
    "task": {"_target_": "x.Classification"},
    "optimizer": {"lr": 0.1},
    "trainer": {"max_epochs": 10, "accelerator": "auto", "devices": 1, "precision": "32-true"},
    "callbacks": {"progress": {"_target_": "x.Progress"}},
    "features": {"precision": "float32"},
    "logger": {},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    config = copy.deepcopy(CONFIG)
    *groups, name = path.split(".")
    place = config
    for group in groups:
        place = place[group]
    place[name] = value
    return config


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("output_dir", "elsewhere"),
        ("dataset.root", "b"),
        ("dataset.num_workers", 3),
        ("trainer.accelerator", "gpu"),
        ("trainer.devices", 2),
        ("callbacks.progress", {}),
        ("logger", {"tensorboard": {}}),
        ("references", ["raw_pixels"]),
    ],
)
def test_places_loggers_and_devices_do_not_count(path: str, value: Any) -> None:
    assert config_hash(changed(path, value)) == config_hash(CONFIG)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seeds.head", 1),
        ("dataset.image_size", 65),
        ("dataset.batch_size", 16),
        ("backbone.weights", None),
        ("augmentation", {"mixup": {"alpha": 0.2}, "crop_resize": {"flip": 0.5}}),
        ("strategy._target_", "x.Scratch"),
        ("optimizer.lr", 0.2),
        ("trainer.max_epochs", 9),
        ("trainer.precision", "bf16-mixed"),
        ("callbacks.early_stopping", {"patience": 3}),
    ],
)
def test_what_determines_the_result_counts(path: str, value: Any) -> None:
    assert config_hash(changed(path, value)) != config_hash(CONFIG)


def test_a_weights_file_counts_by_content(tmp_path: Path) -> None:
    for name, content in (("a.pt", b"one"), ("b.pt", b"one"), ("c.pt", b"two")):
        (tmp_path / name).write_bytes(content)
    one, same, other = (config_hash(changed("backbone.weights", str(tmp_path / n))) for n in ("a.pt", "b.pt", "c.pt"))
    assert one == same != other


def test_an_id_follows_settings_data_and_weights() -> None:
    ids = {run_id(*parts) for parts in (("c", "d", "w"), ("x", "d", "w"), ("c", "x", "w"), ("c", "d", "x"))}
    assert len(ids) == 4


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_names_are_fit_for_any_file_system(parts: list[str]) -> None:
    name = readable_name(*parts)
    assert name
    assert not set(name) & set('/\\:*?"<>|\0\n ')
    assert not name.startswith(".")


def test_a_second_run_gets_a_directory_of_its_own(tmp_path: Path) -> None:
    made = [make_run_directory(tmp_path / "new", "run") for _ in range(3)]
    assert [path.name for path in made] == ["run", "run-2", "run-3"]


@pytest.mark.parametrize("path", ADDED)
def test_a_setting_that_earlier_runs_had_not_counts_only_where_it_does_something(path: str) -> None:
    plain = config_hash(CONFIG)
    assert config_hash(changed(path, ADDED[path])) == plain
    assert config_hash(changed(path, "something else")) != plain


def test_batch_norm_that_adapts_is_another_run_than_before_its_estimate_had_a_number_of_images() -> None:
    before = changed("strategy.batch_norm", "adapt")
    now = copy.deepcopy(before)
    now["strategy"]["batch_norm_images"] = ADDED["strategy.batch_norm_images"]
    assert config_hash(now) != config_hash(before)


def test_the_column_that_is_looked_for_by_itself_is_the_one_of_earlier_runs() -> None:
    plain = config_hash(changed("dataset.split_column", "split"))
    assert config_hash(changed("dataset.split_column", None)) == plain
    assert config_hash(changed("dataset.split_column", "subset")) != plain


def test_the_key_of_a_source_follows_what_names_it_alone() -> None:
    dataset = {"_target_": "x.Csv", "root": "a", "label_column": "label", "fold": 0, "split_seed": 0}
    key = source_key(dataset)
    assert key == source_key(dataset | {"fold": 1, "split_seed": 3, "batch_size": 8})
    assert key != source_key(dataset | {"label_column": "site"})
