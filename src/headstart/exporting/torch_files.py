"""Write a model for PyTorch: as safetensors with its description, as TorchScript, or as a library's state dict."""

import hashlib
import io
import json
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save

from headstart.errors import DataError
from headstart.exporting.exported_network import (
    Arrays,
    ExportedNetwork,
    expected_answers,
    export_facts,
    largest_differences,
    square_of,
)
from headstart.exporting.library_weights import library_weights
from headstart.exporting.onnx_file import CLOSE, CheckImages
from headstart.files import write_atomically
from headstart.models.description import model_folder, read_description
from headstart.models.loading import load_model, read_tensors
from headstart.models.model import Model
from headstart.records.names import MODEL_FEATURES, MODEL_FILE, MODEL_TENSORS

TORCHSCRIPT, LOADER = "model.pt", "load.py"


def write_safetensors(path: Path, folder: Path, allowed: list[str]) -> Iterator[str]:
    """Write model.safetensors and model.json, which ``headstart predict`` loads; yield sentences on them."""
    source = model_folder(path)
    described = read_description(source)
    state = {name: tensor.clone().contiguous() for name, tensor in read_tensors(source, described).items()}
    content = save(state)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / MODEL_TENSORS, content)
    if described.unlike is not None:
        shutil.copyfile(source / MODEL_FEATURES, folder / MODEL_FEATURES)
    weights = {"file": MODEL_TENSORS, "sha256": hashlib.sha256(content).hexdigest()}
    replace(described, weights=weights).write(folder)
    load_model(folder, "cpu", allowed)
    yield f"Use it with: headstart predict {folder} IMAGE"


def write_torchscript(model: Model, folder: Path, check: CheckImages) -> Iterator[str]:
    """Write model.pt, from resized squares to answers, with its facts inside; yield sentences on it.

    Raises DataError if its answers differ from those of the model.
    """
    network = ExportedNetwork(model)
    example = torch.zeros(2, model.image_size, model.image_size, 3, dtype=torch.uint8)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(network, (example,), check_trace=False)
    facts = json.dumps(export_facts(model, network))
    texts = {"export": facts, MODEL_FILE: model.description.text()}
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # TorchScript is deprecated, and still what C++ programs load
        torch.jit.save(traced, buffer, _extra_files=texts)
        buffer.seek(0)
        loaded = torch.jit.load(buffer)
    gives = {output.name: output.gives for output in network.outputs}
    worst = dict.fromkeys(gives, 0.0)
    for image in check.images:
        square = square_of(model, image)[None]
        with torch.inference_mode():
            tensors = loaded(torch.from_numpy(square))
        found: Arrays = {name: tensor.numpy() for name, tensor in zip(gives, tensors, strict=True)}
        wanted = expected_answers(model, network, square)
        for name, value in largest_differences(found, wanted, gives).items():
            worst[name] = max(worst[name], value)
    for name, value in worst.items():
        if gives[name] != "labels" and not value <= CLOSE:
            raise DataError(
                f"The exported network is not written: its {name} differ from those of the model by {value:.2g} on"
                f" {check.words}, more than {CLOSE:g}."
            )
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / TORCHSCRIPT, buffer.getvalue())
    side = model.image_size
    yield f"Input: images (N, {side}, {side}, 3) of bytes, resized by Pillow as the file's text 'export' says."
    yield f"Outputs, a tuple: {', '.join(gives)}."
    yield f"Checked on {check.words}: the largest difference from the model is {max(worst.values()):.1e}."


def write_library_weights(model: Model, folder: Path, library: str) -> Iterator[str]:
    """Write model.safetensors with a library's names, and load.py; yield the lines that load it."""
    found = library_weights(model, library)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / MODEL_TENSORS, save(found.state))
    text = "\n".join(found.lines) + "\n"
    write_atomically(folder / LOADER, text)
    yield text.rstrip()
    if not found.has_head:
        yield "The trained head is not linear, so it is not included: the network gives features."
