"""Name and fill networks that timm builds from a folder or from the Hugging Face hub."""

from dataclasses import replace

from torch import nn

from headstart.backbones.adapting import timm_adapt
from headstart.backbones.backbone import WeightsInfo
from headstart.backbones.weights import fill_from, load_weights_file, state_sha256
from headstart.errors import ConfigError, HeadstartError, WeightsError
from headstart.settings.sources import DESCRIPTION, FOLDER, HUB, folder_of, place_of, source_of, weights_in


def timm_name(name: str) -> str:
    """Return the name in the form that timm takes: with the full path of a folder."""
    return f"{FOLDER}:{folder_of(name)}" if source_of(name) == FOLDER else name


def failed_build(name: str, error: BaseException) -> HeadstartError:
    """Return the error for a network that cannot be downloaded or built from its description."""
    if source_of(name) == HUB:
        return _failed_fetch(name, error)
    return ConfigError(
        f"backbone.name={name}: its {DESCRIPTION} does not describe a timm network"
        f" ({type(error).__name__}: {(str(error).splitlines() or [''])[0].rstrip('.')})."
    )


def load_source_weights(name: str, network: nn.Module) -> WeightsInfo:
    """Fill a network with the weights beside its description. Raises WeightsError if they do not fit."""
    adapt = timm_adapt(network)
    if source_of(name) == FOLDER:
        return load_weights_file(network, weights_in(name), name, adapt)
    from timm.models import load_state_dict_from_hf

    try:
        state = load_state_dict_from_hf(place_of(name), weights_only=True)
    except Exception as error:  # the hub's client and urllib raise different errors
        raise _failed_fetch(name, error) from error
    info = fill_from(network, {(): state}, f"The weights of {name}", name, adapt)
    return replace(info, name=name, sha256=state_sha256(network.state_dict()), source=name)


def _failed_fetch(name: str, error: BaseException) -> WeightsError:
    return WeightsError(
        f"The network {name} could not be downloaded ({type(error).__name__}): fetch {DESCRIPTION} and"
        f" model.safetensors from https://huggingface.co/{place_of(name)} into a folder, and set"
        f" backbone.name={FOLDER}:FOLDER."
    )
