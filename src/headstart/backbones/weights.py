"""Weights from files: tensors only, and only if they fit."""

import hashlib
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from headstart.backbones.backbone import WeightsInfo
from headstart.errors import WeightsError
from headstart.files import expanded
from headstart.rules import existing_weights

Adapt = Callable[[dict[str, Tensor]], dict[str, Tensor]]
ENOUGH = 0.9  # a file that fills less than this share of the backbone's tensors is for another network
_TRACED = re.compile(r"^backbone\.stages\.[^.]+\.network\.")
_NESTS = ("state_dict", "model_state_dict", "model", "model_state", "net")
_PREFIXES = ("module.", "model.", "backbone.", "encoder.", "network.", "_orig_mod.")


def file_sha256(path: Path) -> str:
    """Hash of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state_sha256(state: dict[str, Tensor]) -> str:
    """Hash of names, shapes and values, in hex."""
    digest = hashlib.sha256()
    for name, tensor in state.items():
        array = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tuple(array.shape)} {array.dtype}".encode())
        digest.update(array.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A state dict from a ``.safetensors`` file or one written by ``torch.save``; nothing but tensors is unpickled."""
    existing_weights(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise WeightsError(_not_tensors(path)) from error
    except Exception as error:  # safetensors raises its own class, which has no public parent
        raise WeightsError(_not_tensors(path)) from error
    for nest in _NESTS:
        if isinstance(content, dict) and isinstance(content.get(nest), dict):
            content = content[nest]
    entries = content.items() if isinstance(content, dict) else ()
    tensors = {name: value for name, value in entries if isinstance(name, str) and isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(_not_tensors(path))
    for name, tensor in tensors.items():
        if tensor.is_meta or tensor.is_nested or tensor.layout != torch.strided:
            kind = "is without values" if tensor.is_meta else "is not dense"
            raise WeightsError(
                f"backbone.weights={path}: its tensor {name} {kind}; expected dense tensors with values."
            )
    return tensors


def load_weights_file(network: nn.Module, path: str, backbone: str) -> WeightsInfo:
    """Fill a network from a file, in place; see ``fill``."""
    file = expanded(path)
    return fill_from(network, read_tensors(file), file, backbone)


def fill_from(
    network: nn.Module, found: dict[str, Tensor], file: Path, backbone: str, adapt: Adapt | None = None
) -> WeightsInfo:
    """Fill a network from the tensors of a file, whatever wrapper's names they go by."""
    # A traced network's checkpoint holds the network's own names; its stages may be called otherwise at another size.
    candidates = [{_TRACED.sub("", name): tensor for name, tensor in found.items()}]
    candidates += [_stripped(found, prefix) for prefix in sorted(_prefixes(found))]
    candidates = [adapt(candidate) for candidate in candidates] if adapt else candidates
    best = max(candidates, key=lambda candidate: len(network.state_dict().keys() & candidate.keys()))
    matched, missing = fill(network, best, f"backbone.weights={file}", backbone)
    return WeightsInfo(file.name, file_sha256(file), str(file), matched, missing)


def fill(network: nn.Module, tensors: dict[str, Tensor], what: str, backbone: str) -> tuple[float, tuple[str, ...]]:
    """Copy tensors into a network by name; the share that was filled and the names that were not.

    Refused are tensors that fill less than 90 % of the network, and one of the right name and the wrong shape: it
    would stay random; and one of complex or boolean values where the network has others. The counters of batch norm do
    not count: old files lack them, and nothing here reads them.
    """
    wanted = network.state_dict()
    fitting = {k: v for k, v in tensors.items() if k in wanted and v.shape == wanted[k].shape}
    needed = [name for name in wanted if not name.endswith("num_batches_tracked")]
    missing = tuple(name for name in needed if name not in fitting)
    share = 1 - len(missing) / max(len(needed), 1)
    if share < ENOUGH:
        raise WeightsError(
            f"{what} fills {share:.0%} of the tensors of {backbone} ({len(needed) - len(missing)} of"
            f" {len(needed)}), at least {ENOUGH:.0%} are needed: is it for another network?"
        )
    misshapen = next((name for name in missing if name in tensors), None)
    if misshapen is not None:
        raise WeightsError(
            f"{what}: its tensor {misshapen} has shape {tuple(tensors[misshapen].shape)}, {backbone}"
            f" needs {tuple(wanted[misshapen].shape)}; was it made for another dataset.image_size?"
        )
    for name, tensor in fitting.items():
        if any(kind(tensor) != kind(wanted[name]) for kind in (torch.is_complex, _is_bool)):
            raise WeightsError(
                f"{what}: its tensor {name} holds {str(tensor.dtype).removeprefix('torch.')}, {backbone} needs"
                f" {str(wanted[name].dtype).removeprefix('torch.')}."
            )
    try:
        network.load_state_dict(fitting, strict=False)
    except RuntimeError as error:
        detail = (str(error).strip().splitlines() or [""])[-1].strip().rstrip(".")
        raise WeightsError(f"{what} cannot be put into {backbone} ({detail}); is it for another network?") from error
    return share, missing


def goes_by_stages(found: dict[str, Tensor]) -> bool:
    """Whether tensors are the checkpoint of a run whose network was cut by hand: they are numbered by stage."""
    return any(name.startswith("backbone.stages.") and not _TRACED.match(name) for name in found)


def failed_download(name: str, what: str, where: str, error: BaseException) -> WeightsError:
    """The error for weights that cannot be fetched."""
    return WeightsError(
        f"The weights of {name} could not be downloaded ({type(error).__name__}): fetch {what} and put it at"
        f" {where}, or set backbone.weights=FILE, or backbone.weights=null for random weights."
    )


def _is_bool(tensor: Tensor) -> bool:
    return tensor.dtype == torch.bool


def _stripped(found: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in found.items() if name.startswith(prefix)}


def _prefixes(found: dict[str, Tensor]) -> set[str]:
    """Every chain of wrapper prefixes that occurs, the empty one included."""
    chains = {""}
    for name in found:
        chain = ""
        while (step := next((p for p in _PREFIXES if name[len(chain) :].startswith(p)), None)) is not None:
            chain += step
            chains.add(chain)
    return chains


def _not_tensors(path: Path) -> str:
    return (
        f"backbone.weights={path} is not a weights file: expected a state dict saved by torch.save (tensors only)"
        " or a safetensors file."
    )
