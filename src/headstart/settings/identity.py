"""Identify a run: hash the settings that determine its result, and name its directory."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headstart.errors import HeadstartError
from headstart.files import expanded
from headstart.settings.effects import ADDED, MOVED, is_indifferent
from headstart.settings.sources import DESCRIPTION, FOLDER, folder_of, source_of, weights_in

# Settings of a data set that do not change the content of its source.
NOT_OF_SOURCE = frozenset(
    "name image_size batch_size num_workers labels_per_class validation_labels_per_class balance validation_fraction"
    " test_fraction folds fold crop_fraction resize bits on_error near_duplicates download split_seed subset_seed"
    " order_seed augmentation_seed".split()
)
# The values that null replaces: earlier runs had the value, so null gets the same hash.
HASHED_FOR_NULL = {"dataset.split_column": "split"}


def determining_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that determine the result, in their order.

    A file of weights or a policy, or the folder of a network, is replaced by the hash of its content.
    """
    kept = _kept(config)
    backbone = kept.get("backbone")
    if isinstance(backbone, dict) and isinstance(weights := backbone.get("weights"), str) and Path(weights).is_file():
        backbone["weights"] = _file_hash(Path(weights))
    if isinstance(backbone, dict) and source_of(backbone.get("name")) == FOLDER:
        backbone["name"] = _network_hash(str(backbone["name"]), weights=backbone.get("weights") == "imagenet")
    augmentation = kept.get("augmentation")
    if isinstance(augmentation, dict) and isinstance(augmentation.get("policy"), str):
        _hash_policy(augmentation, augmentation["policy"])
    return kept


def _kept(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings without those that have no effect on the result."""
    kept: dict[str, Any] = {}
    for name, value in settings.items():
        key = f"{prefix}{name}"
        if is_indifferent(key) or (_does_nothing(key, value) and not _adapts(key, settings)):
            continue
        if isinstance(value, Mapping):
            kept[name] = _kept(value, f"{key}.")
        else:
            kept[name] = HASHED_FOR_NULL.get(key) if value is None else value
            if name == "_target_":  # a class that has moved keeps the hash of its runs
                kept[name] = MOVED.get(value, value)
    return kept


def _does_nothing(key: str, value: object) -> bool:
    """Return whether a setting, by its dotted key, is in ``ADDED`` and has its neutral value."""
    return key in ADDED and value == ADDED[key] and type(value) is type(ADDED[key])


def _adapts(key: str, settings: Mapping[str, Any]) -> bool:
    """Return whether a setting is batch_norm_images of a run with batch_norm=adapt.

    Earlier runs with batch_norm=adapt estimated statistics in another way, so no value is neutral there.
    """
    return key == "strategy.batch_norm_images" and settings.get("batch_norm") == "adapt"


def _hash_policy(augmentation: dict[str, Any], policy: str) -> None:
    """Replace the path of a policy, in place, by a hash of the file."""
    if (path := expanded(policy)).is_file():
        content = _file_hash(path)
        for name, value in augmentation.items():
            if isinstance(value, Mapping):
                augmentation[name] = {key: content if one == policy else one for key, one in value.items()}
        augmentation["policy"] = content


def _network_hash(name: str, weights: bool) -> str:
    """Return a hash of the description in a network's folder and, with ``weights``, of its weights."""
    try:
        files = [folder_of(name) / DESCRIPTION, *([weights_in(name)] if weights else [])]
        return f"{FOLDER}:{' '.join(_file_hash(file) for file in files)}"
    except (OSError, HeadstartError):
        return name


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def config_hash(config: Mapping[str, Any], data: str | None = None) -> str:
    """Return the hash, 64 hex digits, of the settings that determine a result and of ``data``, the hash of the data.

    The order of settings does not matter, the order of augmentations does.
    """
    kept = determining_settings(config)
    kept["augmentation"] = list((kept.get("augmentation") or {}).items())
    return _digest(kept if data is None else {**kept, "data": data})


def source_key(dataset: Mapping[str, Any]) -> str:
    """Return the hash, 64 hex digits, of the settings that name a source of data, such as place, columns and splits.

    Two runs with the same hash read the same source, whose content may have changed between them.
    """
    return _digest({name: value for name, value in dataset.items() if name not in NOT_OF_SOURCE})


def run_id(config: str, fingerprint: str | None, weights: str | None) -> str:
    """Return the hash, 64 hex digits, of the hashes of settings, data and weights."""
    return _digest([config, fingerprint, weights])


def readable_name(*parts: str) -> str:
    """Return parts joined by hyphens, with only characters that every file system accepts."""
    return "-".join(re.sub(r"[^\w.+]+", "_", part).strip("._") or "_" for part in parts)


def make_run_directory(parent: Path, name: str) -> Path:
    """Create and return a new folder. If the name exists, add a number to it, so that nothing is overwritten."""
    parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        path = parent / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
            continue
        return path


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
