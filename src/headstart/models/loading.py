"""Rebuild a trained network from its folder: a run, its checkpoints folder, or an exported model."""

import hashlib
import pickle
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor

from headstart.backbones import bottleneck_in
from headstart.boundary.opening import MissingFileError, first_line, open_inside, unreadable
from headstart.boundary.tensors import MOST_CHECKPOINT, open_network
from headstart.console import silence_lightning
from headstart.errors import DataError
from headstart.inputs.deep import PixelRange
from headstart.inputs.signature import Signature
from headstart.models.builders import builder_of, built
from headstart.models.description import BuiltPart, ModelDescription, model_folder, read_description
from headstart.models.model import Model
from headstart.models.unlike import read_features
from headstart.optimization.schedules import constant
from headstart.records.names import BEST_CHECKPOINT, MODEL_FILE
from headstart.settings.sources import source_of
from headstart.strategies import Strategy

BROKEN = (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError, TypeError, OverflowError)
SMALL = 4096  # sizes that need no check


def load_model(path: Path, device: str | torch.device = "auto", allowed: Sequence[str] = ()) -> Model:
    """Return the network of a run or of an exported model, in eval mode.

    It needs neither the run's settings nor its data. Code of another package than headstart runs only if ``allowed``
    names the package. Raises DataError and ConfigError, in one sentence, for a damaged or foreign file.
    """
    folder = model_folder(path)
    described = read_description(folder)
    state = read_tensors(folder, described)
    check_sizes(described, state)
    strategy = rebuilt_network(described, state, allowed)
    try:
        strategy.restore(state, lambda name: chosen(described, name))
    except RuntimeError as error:
        detail = str(error).partition("\n")[2]
        raise DataError(
            f"{described.weights['file']} does not fit the network that {MODEL_FILE} describes"
            f" ({first_line(detail or error)})."
        ) from None
    strategy.requires_grad_(False)
    trainer = make_trainer(described, device)
    trainer.precision_plugin.convert_module(strategy)
    strategy.to(trainer.strategy.root_device).eval()  # type: ignore[arg-type]
    decoder = built("decoder", decoder_part(described), allowed)
    features = None if described.unlike is None else read_features(folder, described.unlike)
    if features is not None and features.shape[1] != strategy.backbone.feature_dim:
        raise DataError(f"{folder}: the features of training images have another length than those of the network.")
    return Model(described, strategy, trainer, decoder, features)


def check_sizes(described: ModelDescription, state: Mapping[str, Tensor]) -> None:
    """Raise DataError for a size that no tensor of the model has: building it could take the memory.

    Also for a backbone whose description lies in a folder or on a hub.
    """
    largest = max([SMALL, *(size for tensor in state.values() for size in tensor.shape)])
    network = described.network
    rank = network["strategy"].settings.get("rank")
    parts = [network["task"].settings, described.given, rank, network["head"].settings if "head" in network else None]
    if any(value > largest for value in whole_numbers(parts)):
        raise DataError(
            f"{MODEL_FILE} describes layers that are larger than every tensor of {described.weights['file']}."
        )
    name = network["backbone"].settings.get("name")
    if isinstance(name, str) and source_of(name):
        raise DataError(
            f"The model's backbone is {name[:80]}, which is read from elsewhere; such models are not loaded."
        )


def whole_numbers(value: Any) -> Iterator[int]:
    """Yield the whole numbers in nested lists and mappings."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from whole_numbers(one)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield value


def rebuilt_network(described: ModelDescription, state: Mapping[str, Tensor], allowed: Sequence[str] = ()) -> Strategy:
    """Return the network that a description builds, with random weights. Raises ConfigError and DataError.

    Of its tensors ``state`` only an autoencoder's bottleneck is used, whose width the description does not have.
    """
    parts, given = described.network, described.input
    backbone = built_backbone(described, allowed)
    backbone.bottleneck = bottleneck_in(state)
    backbone.take_inputs(signature_of(described))
    head = built("head", parts["head"], allowed) if "head" in parts else None
    task = built("task", parts["task"], allowed, head=head, **described.given)
    wanted: dict[str, Any] = {}
    kind = builder_of("strategy", parts["strategy"], allowed)
    if getattr(kind, "wants_random", False):
        wanted["random_backbone"] = built_backbone(described, allowed)
        wanted["random_backbone"].take_inputs(signature_of(described))
    if getattr(kind, "by_gradient", True):  # never called: the network is trained
        wanted |= {"optimizer": partial(torch.optim.SGD, lr=1.0), "scheduler": constant}
    strategy: Strategy = built(
        "strategy",
        parts["strategy"],
        allowed,
        **wanted,
        backbone=backbone,
        task=task,
        augmented=described.inference.averaged_views is not None,
    )
    if strategy.backbone.preprocessing.image_size != given.image_size:
        raise DataError(f"{MODEL_FILE} describes images of {given.image_size} pixels for a network of another size.")
    return strategy


def built_backbone(described: ModelDescription, allowed: Sequence[str] = ()) -> Any:
    """Return the backbone without learned weights, with the normalisation of the description."""
    part, given = described.network["backbone"], described.input
    settings = {"weights": None, "image_size": given.image_size}
    backbone = built("backbone", part, allowed, **settings)
    backbone.preprocessing = replace(
        backbone.preprocessing,
        mean=tuple(given.mean),
        std=tuple(given.std),
        interpolation=given.interpolation,
        crop_fraction=given.crop_fraction,
    )
    return backbone


def signature_of(described: ModelDescription) -> Signature:
    """Return what enters the network."""
    given = described.input
    dtype: torch.dtype = getattr(torch, given.dtype)
    return Signature(given.kind, given.channels, given.low, given.high, dtype, given.views)


def decoder_part(described: ModelDescription) -> BuiltPart:
    """Return the decoder's part with the range of pixels as its class has it."""
    part = described.input.decoder
    if "pixel_range" not in part.settings:
        return part
    limits = part.settings.get("pixel_range")
    pixel_range = (
        PixelRange(**limits) if isinstance(limits, Mapping) and set(limits) <= {"integers", "floats"} else None
    )
    return replace(part, settings={**part.settings, "pixel_range": pixel_range or PixelRange()})


def make_trainer(described: ModelDescription, device: str | torch.device = "auto") -> pl.Trainer:
    """Return a trainer that only gives device and precision."""
    accelerator, _, number = str(device).partition(":")
    accelerator = {"cuda": "gpu"}.get(accelerator, accelerator)
    if accelerator == "auto" and not torch.cuda.is_available():
        accelerator = "cpu"
    silence_lightning()
    devices: Any = [int(number)] if number.isdigit() else 1
    try:
        return pl.Trainer(
            accelerator=accelerator,
            devices=devices,
            precision=described.inference.precision,  # type: ignore[arg-type]
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tempfile.gettempdir(),
        )
    except Exception as error:  # Lightning raises its own errors for devices and precisions
        raise DataError(f"--device {device}: {first_line(error)}") from error


def read_tensors(folder: Path, described: ModelDescription) -> dict[str, Tensor]:
    """Return the tensors of a model by name, without unpickling code. Raises DataError if they are others."""
    name = described.weights["file"]
    try:
        with open_inside(folder, name, MOST_CHECKPOINT) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    except MissingFileError:
        raise DataError(f"'{folder / name}' is missing: {MODEL_FILE} is there, but not the weights.") from None
    if found != described.weights["sha256"]:
        raise DataError(f"{name} is not the file that {MODEL_FILE} describes: its sha256 differs.")
    if name == BEST_CHECKPOINT:
        return dict(read_checkpoint(folder, name)["state_dict"])
    with open_inside(folder, name, MOST_CHECKPOINT) as file:
        try:
            state: dict[str, Tensor] = load_safetensors(file.read())
        except Exception as error:  # the reader of safetensors raises its own errors
            raise unreadable(name, error) from None
    return state


def read_checkpoint(directory: Path, name: str) -> dict[str, Any]:
    """Return ``epoch`` and ``state_dict`` of a checkpoint without unpickling code. Raises DataError."""
    with open_network(directory, name) as file:
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
            epoch, state = int(content["epoch"]), dict(content["state_dict"])
            if not all(isinstance(key, str) for key in state):
                raise ValueError("its tensors have no names")
        except BROKEN as error:
            raise unreadable(name, error) from None
    return {"epoch": epoch, "state_dict": state}


def chosen(described: ModelDescription, name: str) -> float:
    """Return a number of at least 1 that training chose. Raises DataError where there is none."""
    found = described.chosen.get(name, 0.0)
    if not found >= 1:
        raise DataError(f"{MODEL_FILE} does not say which {name} training chose.")
    return found
