"""Read names of networks with a source: local-dir:FOLDER, or hf-hub:USER/MODEL on the Hugging Face hub."""

from pathlib import Path

from headstart.errors import ConfigError, WeightsError
from headstart.files import expanded

FOLDER, HUB = "local-dir", "hf-hub"
SOURCES = {"local-dir": FOLDER, "hf-hub": HUB, "hf_hub": HUB}
DESCRIPTION = "config.json"
# Names of weights files in a folder, best first.
WEIGHTS = ("model.safetensors", "pytorch_model.bin", "*.safetensors", "*.pth", "*.pth.tar", "*.bin")


def source_of(name: object) -> str | None:
    """Return ``FOLDER`` or ``HUB`` for a name with a source; None for other names."""
    before, colon, _ = str(name).partition(":")
    return SOURCES.get(before.lower()) if colon else None


def place_of(name: str) -> str:
    """Return the part of a name after its source."""
    return name.partition(":")[2]


def folder_of(name: str) -> Path:
    """Return the folder of a network whose source is ``FOLDER``."""
    return expanded(place_of(name))


def short_name(name: str) -> str:
    """Return the last part of a name with a source; other names unchanged."""
    return (Path(place_of(name)).name or name) if source_of(name) else name


def check_source(name: str) -> None:
    """Raise ConfigError for an empty name, and for a folder that does not exist or describes no network."""
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
    """Return the weights file in the folder of a network. Raises WeightsError if there is none."""
    for pattern in WEIGHTS:
        if found := sorted(folder_of(name).glob(pattern)):
            return found[0]
    raise WeightsError(
        f"backbone.name={name}: the folder holds no weights (expected {WEIGHTS[0]} or {WEIGHTS[1]}); set"
        " backbone.weights=FILE, or backbone.weights=null for random weights."
    )
