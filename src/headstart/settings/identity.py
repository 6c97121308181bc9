"""What a run is: a hash of the settings that determine its result, and names made of it."""

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

# Settings of a data set that change nothing in what its source holds.
OF_USE = frozenset(
    "name image_size batch_size num_workers labels_per_class validation_labels_per_class balance validation_fraction"
    " test_fraction folds fold crop_fraction resize bits on_error near_duplicates download split_seed subset_seed"
    " order_seed augmentation_seed".split()
)
# Settings whose null does what another value did in earlier runs.
NULL_BEFORE = {"dataset.split_column": "split"}


def determining(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that determine the result, in their order; what the data hold is not among them.

    A file of weights or of a policy, or a folder with a network, counts by its content, not by its place.
    """
    kept = _kept(config)
    backbone = kept.get("backbone")
    if isinstance(backbone, dict) and isinstance(weights := backbone.get("weights"), str) and Path(weights).is_file():
        backbone["weights"] = _content(Path(weights))
    if isinstance(backbone, dict) and source_of(backbone.get("name")) == FOLDER:
        backbone["name"] = _network(str(backbone["name"]), weights=backbone.get("weights") == "imagenet")
    augmentation = kept.get("augmentation")
    if isinstance(augmentation, dict) and isinstance(augmentation.get("policy"), str):
        _by_content(augmentation, augmentation["policy"])
    return kept


def _kept(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings without those that are indifferent, or new and at their neutral value."""
    kept: dict[str, Any] = {}
    for name, value in settings.items():
        key = f"{prefix}{name}"
        if is_indifferent(key) or (_does_nothing(key, value) and not _adapts(key, settings)):
            continue
        if isinstance(value, Mapping):
            kept[name] = _kept(value, f"{key}.")
        else:
            kept[name] = NULL_BEFORE.get(key) if value is None else value
            if name == "_target_":  # a class that has moved keeps the hash of its runs
                kept[name] = MOVED.get(value, value)
    return kept


def _does_nothing(key: str, value: object) -> bool:
    """Return whether a setting of this dotted key is a new one at its neutral value."""
    return key in ADDED and value == ADDED[key] and type(value) is type(ADDED[key])


def _adapts(key: str, settings: Mapping[str, Any]) -> bool:
    """Return whether a setting is the number of images of an estimate that takes place.

    Earlier runs with batch_norm=adapt estimated in another way, so no value is neutral for them.
    """
    return key == "strategy.batch_norm_images" and settings.get("batch_norm") == "adapt"


def _by_content(augmentation: dict[str, Any], policy: str) -> None:
    """In place of the policy's path, wherever the augmentation has it, what the file holds."""
    if (path := expanded(policy)).is_file():
        content = _content(path)
        for name, value in augmentation.items():
            if isinstance(value, Mapping):
                augmentation[name] = {key: content if one == policy else one for key, one in value.items()}
        augmentation["policy"] = content


def _network(name: str, weights: bool) -> str:
    """What a folder holds of a network: its description and, if they count, its weights."""
    try:
        files = [folder_of(name) / DESCRIPTION, *([weights_in(name)] if weights else [])]
        return f"{FOLDER}:{' '.join(_content(file) for file in files)}"
    except (OSError, HeadstartError):
        return name


def _content(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def config_hash(config: Mapping[str, Any], data: str | None = None) -> str:
    """Return 64 hex digits of what determines a result: the settings, and ``data``, a hash of what the source holds.

    The order of settings does not matter, the order of augmentations does.
    """
    kept = determining(config)
    kept["augmentation"] = list((kept.get("augmentation") or {}).items())
    return _digest(kept if data is None else {**kept, "data": data})


def source_key(dataset: Mapping[str, Any]) -> str:
    """Return 64 hex digits of the settings that name a source of data: its place, columns, splits and the like.

    Two runs with the same digits read the same source, though it may have been changed in between.
    """
    return _digest({name: value for name, value in dataset.items() if name not in OF_USE})


def run_id(config: str, fingerprint: str | None, weights: str | None) -> str:
    """64 hex digits from the hashes of settings, data and weights."""
    return _digest([config, fingerprint, weights])


def readable_name(*parts: str) -> str:
    """Parts joined by hyphens, with nothing that a file system could mind."""
    return "-".join(re.sub(r"[^\w.+]+", "_", part).strip("._") or "_" for part in parts)


def make_run_directory(parent: Path, name: str) -> Path:
    """A new folder; a second run of the same name gets a number, so that nothing is written over."""
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
