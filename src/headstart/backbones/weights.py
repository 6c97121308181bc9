"""Load weights from files: tensors only, and only if they fit."""

import argparse
import hashlib
import pickle
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from headstart.backbones.adapting import adapted
from headstart.backbones.backbone import WeightsInfo
from headstart.backbones.placing import Adapt, Candidate, Placement, candidates, place, refusal
from headstart.errors import WeightsError
from headstart.files import expanded
from headstart.settings.rules import existing_weights

Rename = Callable[[str], str]
Groups = Mapping[tuple[str, ...], dict[str, Tensor]]  # named tensors in each sub-dictionary of a file

DEEPEST = 8  # levels of nested sub-dictionaries that are searched
# Compiling, sharding and activation checkpointing insert these into names.
WRAPPERS = re.compile(r"(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# A traced network's checkpoint holds the network's own names behind stage names, which may depend on the image size.
TRACED = re.compile(r"^backbone\.stages\.[^.]+\.network\.")
# A bottleneck that a run reads as a stage belongs to its output layers: only ``head.stages`` asks for it.
BOTTLENECK_STAGE = re.compile(r"^backbone\.stages\.(?=bottleneck\.)")


def file_sha256(path: Path) -> str:
    """Return the hash of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state_sha256(state: dict[str, Tensor]) -> str:
    """Return the hash of names, shapes and values, in hex."""
    digest = hashlib.sha256()
    for name, tensor in state.items():
        array = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tuple(array.shape)} {array.dtype}".encode())
        digest.update(array.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_tensors(path: Path) -> Groups:
    """Read the tensors of a ``.safetensors`` or ``torch.save`` file, by sub-dictionary.

    Only tensors and plain values are unpickled. Raises WeightsError.
    """
    existing_weights(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return {(): load_file(path)}
        with (
            warnings.catch_warnings(action="ignore"),  # about a traced program, which is refused below
            torch.serialization.safe_globals([argparse.Namespace]),
        ):  # many files hold the training command's arguments
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise WeightsError(_not_tensors(path)) from error
    except Exception as error:  # safetensors' error class has no public parent
        raise WeightsError(_not_tensors(path)) from error
    groups = dict(_groups(content, ()))
    if not groups:
        raise WeightsError(_not_tensors(path))
    return groups


def _groups(content: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Yield every sub-dictionary that holds named tensors, with the path of names that leads to it."""
    if not isinstance(content, dict) or len(path) > DEEPEST:
        return
    named = {name: value for name, value in content.items() if isinstance(name, str)}
    if tensors := {name: value for name, value in named.items() if isinstance(value, Tensor)}:
        yield path, tensors
    for name, value in named.items():
        yield from _groups(value, (*path, name))


def load_weights_file(
    network: nn.Module, path: str | Path, backbone: str, adapt: Adapt | None = None, rename: Rename = str
) -> WeightsInfo:
    """Fill a network in place from a file with any sub-dictionary and any prefix.

    The fitting sub-network that fills most tensors is loaded; ``placing.ORDER`` breaks ties.
    ``rename`` maps old tensor names to the network's. ``adapt`` converts a state dict as the network's library does,
    for example resizes positions. Raises WeightsError if nothing fits.
    """
    file = existing_weights(expanded(str(path)))
    info = fill_from(network, read_tensors(file), f"backbone.weights={file}", backbone, adapt, rename)
    return replace(info, name=file.name, sha256=file_sha256(file), source=str(file))


def fill_from(
    network: nn.Module, groups: Groups, what: str, backbone: str, adapt: Adapt | None = None, rename: Rename = str
) -> WeightsInfo:
    """Fill a network as ``load_weights_file`` does; messages name the source as ``what``."""
    wanted = network.state_dict()
    groups = _renamed(groups, rename)
    options = [_option(candidate, wanted, what, adapt) for candidate in candidates(groups, wanted)]
    best = max(options, key=lambda option: (option.fits, len(option.placed.fitting), -option.candidate.rank))
    matched, missing = fill(network, best.tensors, what, backbone)
    equal = [
        str(option.candidate)
        for option in options
        if option.fits
        and len(option.placed.fitting) == len(best.placed.fitting)
        and not option.candidate.overlaps(best.candidate)
    ]
    also = f" ({' and '.join(equal)} would fit as well)" if equal else ""
    return WeightsInfo(
        matched=matched,
        missing=missing,
        taken=f"{best.candidate}{also}" or None,
        changed=best.changed,
        unused=(*_counted_parts(best.placed.unused), *_unused_beside(best.candidate, groups)),
    )


@dataclass(frozen=True)
class _Option:
    """A sub-network of a file, adapted to the network."""

    candidate: Candidate
    tensors: dict[str, Tensor]  # adapted
    changed: tuple[str, ...]
    placed: Placement
    fits: bool


def _option(candidate: Candidate, wanted: Mapping[str, Tensor], what: str, adapt: Adapt | None) -> _Option:
    tensors, changed = adapted(dict(candidate.tensors), wanted, what, adapt)
    placed = place(wanted, tensors)
    return _Option(candidate, tensors, changed, placed, refusal(placed, wanted, tensors, what, "") is None)


def _renamed(groups: Groups, rename: Rename) -> Groups:
    """Remove the insertions of wrappers and traced networks from names, and map old names to current ones."""
    return {
        path: {
            rename(BOTTLENECK_STAGE.sub("head.", TRACED.sub("", WRAPPERS.sub("", name)))): tensor
            for name, tensor in tensors.items()
        }
        for path, tensors in groups.items()
    }


def _unused_beside(taken: Candidate, groups: Groups) -> tuple[str, ...]:
    """Return the sub-networks beside the loaded one, in its own sub-dictionary."""
    above = taken.prefix.rstrip(".").rpartition(".")[0]
    start = f"{above}." if above else ""
    others = [name for name in groups[taken.path] if not name.startswith(taken.prefix)]
    inside = tuple(name[len(start) :] for name in others if name.startswith(start))
    outside = tuple(name for name in others if not name.startswith(start))
    return (*(f"{start}{part}" for part in _counted_parts(inside)), *_counted_parts(outside))


def _counted_parts(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the first components of names, each with its number of tensors."""
    counts: dict[str, int] = {}
    for name in names:
        first = name.partition(".")[0]
        counts[first] = counts.get(first, 0) + 1
    return tuple(f"{first} ({count} tensor{'s' * (count > 1)})" for first, count in counts.items())


def fill(network: nn.Module, tensors: dict[str, Tensor], what: str, backbone: str) -> tuple[float, tuple[str, ...]]:
    """Copy tensors into a network by name; return the fraction filled and the names not filled.

    Raises WeightsError, with names, if less than 90 % of the network is filled, if a tensor has the wrong shape, if
    tensors of a bigger network are left over, if values are complex or boolean where the network's are not, or if there
    is NaN or infinity. Counters of batch norm are ignored.
    """
    wanted = network.state_dict()
    placed = place(wanted, tensors)
    if reason := refusal(placed, wanted, tensors, what, backbone):
        raise WeightsError(reason)
    for name, tensor in placed.fitting.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor.float()).all():
            raise WeightsError(f"{what}: its tensor {name} holds NaN or infinity; its training may have diverged.")
        if any(kind(tensor) != kind(wanted[name]) for kind in (torch.is_complex, _is_bool)):
            raise WeightsError(
                f"{what}: its tensor {name} holds {str(tensor.dtype).removeprefix('torch.')}, but {backbone} needs"
                f" {str(wanted[name].dtype).removeprefix('torch.')}."
            )
    try:
        network.load_state_dict(dict(placed.fitting), strict=False)
    except RuntimeError as error:
        detail = (str(error).strip().splitlines() or [""])[-1].strip().rstrip(".")
        raise WeightsError(f"{what} cannot be loaded into {backbone} ({detail}): is it for another network?") from error
    return placed.fraction, placed.missing


def failed_download(name: str, what: str, where: str, error: BaseException) -> WeightsError:
    """Return the error for weights that cannot be downloaded."""
    return WeightsError(
        f"The weights of {name} could not be downloaded ({type(error).__name__}): download {what} to"
        f" {where}, or set backbone.weights=FILE, or backbone.weights=null for random weights."
    )


def _is_bool(tensor: Tensor) -> bool:
    return tensor.dtype == torch.bool


def _not_tensors(path: Path) -> str:
    return (
        f"backbone.weights={path} is not a weights file: expected a state dict saved by torch.save (tensors only)"
        " or a safetensors file."
    )
