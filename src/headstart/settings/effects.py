"""Flatten nested settings, and list the settings that do not affect the result."""

import re
from collections.abc import Mapping
from typing import Any

# Settings that do not affect the result, by group ("" for the top): places, speed, output on the terminal. The hash of
# a run, the tables of a report, `headstart diff` and `headstart reproduce` use this list.
INDIFFERENT: dict[str, frozenset[str]] = {
    "": frozenset(
        "output_dir logger references allow_targets sweep hydra seed".split()
    ),  # the seed acts through seeds.*
    "dataset": frozenset(
        "root name pictures allow_outside num_workers download on_error palette near_duplicates".split()
    ),
    "trainer": frozenset(
        "accelerator devices num_nodes logger default_root_dir profiler log_every_n_steps"
        " strategy use_distributed_sampler enable_progress_bar enable_model_summary enable_checkpointing"
        " auto_batch keep_memory benchmark detect_anomaly enable_autolog_hparams".split()
    ),
    "augmentation": frozenset({"where"}),
    "callbacks": frozenset({"progress", "histograms"}),
    "features": frozenset("_target_ enabled dir engine memory_limit max_size".split()),
}
# Settings of any callback that do not affect the result.
OF_CALLBACKS = frozenset({"verbose", "dirpath", "filename"})

# Settings that earlier runs did not have, with their neutral values. A neutral value does not change the hash.
ADDED: dict[str, Any] = {
    "test_views": None,
    "features.precision": "float32",
    "dataset.balance": "none",
    "dataset.validation_labels_per_class": None,
    "strategy.refit": False,
    "dataset.bits": None,
    "dataset.resize": "crop",
    "dataset.groups": None,
    "dataset.group_column": None,
    "dataset.splits": None,
    "dataset.classes": None,
    "dataset.targets": None,
    "task.bins": 20,
    "strategy.batch_norm_images": 4096,
}

# Classes that have moved: present name -> name in the settings of earlier runs.
MOVED = {
    "headstart.training.averaging.ExponentialAverage": "headstart.runs.averaging.ExponentialAverage",
    "headstart.training.averaging.StochasticAverage": "headstart.runs.averaging.StochasticAverage",
    "headstart.training.histograms.WeightHistograms": "headstart.runs.histograms.WeightHistograms",
    "headstart.training.progress.EpochProgress": "headstart.runs.progress.EpochProgress",
    "headstart.records.curves.TensorBoardCurves": "headstart.runs.curves.TensorBoardCurves",
}


def with_present_names(text: str) -> str:
    """Return the text of a config.yaml with the present names of classes that have moved."""
    for today, before in MOVED.items():
        text = re.sub(rf"(_target_:\s*){re.escape(before)}\b", rf"\g<1>{today}", text)
    return text


def augmentation_names(augmentation: Mapping[str, Any] | None) -> list[str]:
    """Return the names of views and mixes in order, without the group's other settings."""
    return [str(name) for name, settings in (augmentation or {}).items() if isinstance(settings, Mapping)]


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one mapping with dotted keys; an empty mapping stays a value."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{key}."))
        else:
            flat[key] = value
    return flat


def is_indifferent(key: str) -> bool:
    """Return whether a setting, by its dotted key, has no effect on the result."""
    group, *rest = key.split(".")
    if group in INDIFFERENT[""] or (rest and rest[0] in INDIFFERENT.get(group, ())):
        return True
    return group == "callbacks" and bool(rest) and rest[-1] in OF_CALLBACKS


def is_seed(key: str) -> bool:
    """Return whether a setting, by its dotted key, is a seed."""
    name = key.rsplit(".", 1)[-1]
    return key.startswith("seeds.") or name == "seed" or name.endswith("_seed")
