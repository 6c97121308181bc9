"""Networks that timm builds from a folder or from the Hugging Face hub: local-dir:FOLDER, hf-hub:USER/MODEL."""

from dataclasses import replace
from pathlib import Path

from torch import nn

from headstart.backbones.adapting import timm_adapt
from headstart.backbones.backbone import WeightsInfo
from headstart.backbones.weights import fill_from, load_weights_file, state_sha256
from headstart.errors import ConfigError, HeadstartError, WeightsError
from headstart.files import expanded

FOLDER, HUB = "local-dir", "hf-hub"
SOURCES = {"local-dir": FOLDER, "hf-hub": HUB, "hf_hub": HUB}
# What a folder may hold, the first one found is taken.
FILES = ("model.safetensors", "pytorch_model.bin", "*.safetensors", "*.pth", "*.pth.tar", "*.bin")


def source_of(name: object) -> str | None:
    """Return where a name says that the network comes from; None for timm's own names."""
    before, colon, _ = str(name).partition(":")
    return SOURCES.get(before.lower()) if colon else None


def check_source(name: str) -> None:
    """Refuse a folder that is not there or that describes no network, and an empty name."""
    place = _place(name)
    if not place:
        raise ConfigError(f"backbone.name={name}: expected {FOLDER}:FOLDER, or {HUB}:USER/MODEL.")
    if source_of(name) == FOLDER:
        if not _folder(name).is_dir():
            raise ConfigError(f"backbone.name={name}: there is no folder '{place}'.")
        if not (_folder(name) / "config.json").is_file():
            raise ConfigError(f"backbone.name={name}: the folder holds no config.json, as timm saves it.")


def timm_name(name: str) -> str:
    """Return a name as timm takes it: a folder without ~."""
    return f"{FOLDER}:{_folder(name)}" if source_of(name) == FOLDER else name


def unreadable(name: str, error: BaseException) -> HeadstartError:
    """Return the error for a network that cannot be built: not downloaded, or described wrongly."""
    if source_of(name) == HUB:
        return _not_fetched(name, error)
    return ConfigError(
        f"backbone.name={name}: its config.json does not describe a network of timm's"
        f" ({type(error).__name__}: {(str(error).splitlines() or [''])[0].rstrip('.')})."
    )


def source_weights(name: str, network: nn.Module) -> WeightsInfo:
    """Fill a network with the weights beside its description; refused where they do not fit."""
    adapt = timm_adapt(network)
    if source_of(name) == FOLDER:
        return load_weights_file(network, _weights_file(name), name, adapt)
    from timm.models import load_state_dict_from_hf

    try:
        state = load_state_dict_from_hf(_place(name), weights_only=True)
    except Exception as error:  # the hub's client and urllib each raise their own
        raise _not_fetched(name, error) from error
    info = fill_from(network, {(): state}, f"The weights of {name}", name, adapt)
    return replace(info, name=name, sha256=state_sha256(network.state_dict()), source=name)


def _weights_file(name: str) -> Path:
    for pattern in FILES:
        if found := sorted(_folder(name).glob(pattern)):
            return found[0]
    raise WeightsError(
        f"backbone.name={name}: the folder holds no weights (expected {FILES[0]} or {FILES[1]}); set"
        " backbone.weights=FILE, or backbone.weights=null for random weights."
    )


def _not_fetched(name: str, error: BaseException) -> WeightsError:
    return WeightsError(
        f"The network {name} could not be downloaded ({type(error).__name__}): fetch config.json and model.safetensors"
        f" from https://huggingface.co/{_place(name)} into a folder, and set backbone.name={FOLDER}:FOLDER."
    )


def _place(name: str) -> str:
    return name.partition(":")[2]


def _folder(name: str) -> Path:
    return expanded(_place(name))
