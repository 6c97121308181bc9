"""Names of networks that are a place: local-dir:FOLDER, or hf-hub:USER/MODEL on the Hugging Face hub."""

from pathlib import Path

from headstart.errors import ConfigError, WeightsError
from headstart.files import expanded

FOLDER, HUB = "local-dir", "hf-hub"
SOURCES = {"local-dir": FOLDER, "hf-hub": HUB, "hf_hub": HUB}
DESCRIPTION = "config.json"
# Weights that a folder may hold; the first that is found is taken.
WEIGHTS = ("model.safetensors", "pytorch_model.bin", "*.safetensors", "*.pth", "*.pth.tar", "*.bin")


def source_of(name: object) -> str | None:
    """Return ``FOLDER`` or ``HUB`` where a name says that the network comes from there; None for other names."""
    before, colon, _ = str(name).partition(":")
    return SOURCES.get(before.lower()) if colon else None


def place_of(name: str) -> str:
    """Return what a name says after its source."""
    return name.partition(":")[2]


def folder_of(name: str) -> Path:
    """Return the folder that a name says."""
    return expanded(place_of(name))


def short_name(name: str) -> str:
    """Return the last part of a place, and other names as they are."""
    return (Path(place_of(name)).name or name) if source_of(name) else name


def check_source(name: str) -> None:
    """Refuse a folder that is not there or that describes no network, and an empty name. Raises ConfigError."""
    if not place_of(name).strip("/ "):
        raise ConfigError(f"backbone.name={name}: expected {FOLDER}:FOLDER or {HUB}:USER/MODEL.")
    if source_of(name) == FOLDER:
        try:
            found = folder_of(name).is_dir(), (folder_of(name) / DESCRIPTION).is_file()
        except OSError as error:
            raise ConfigError(f"backbone.name={name}: the folder cannot be read ({error.strerror}).") from error
        if not found[0]:
            raise ConfigError(f"backbone.name={name}: there is no folder '{place_of(name)}'.")
        if not found[1]:
            raise ConfigError(f"backbone.name={name}: the folder holds no {DESCRIPTION}, as timm saves it.")


def weights_in(name: str) -> Path:
    """Return the file of weights in the folder that a name says. Raises WeightsError where there is none."""
    for pattern in WEIGHTS:
        if found := sorted(folder_of(name).glob(pattern)):
            return found[0]
    raise WeightsError(
        f"backbone.name={name}: the folder holds no weights (expected {WEIGHTS[0]} or {WEIGHTS[1]}); set"
        " backbone.weights=FILE, or backbone.weights=null for random weights."
    )
