"""Write a model as an ONNX file that maps decoded images of any size to calibrated answers, checked before."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import compose, helper

from headstart import __version__
from headstart.boundary.opening import first_line
from headstart.errors import DataError
from headstart.exporting import predict_onnx
from headstart.exporting.exported_network import (
    BY_PIXEL,
    Arrays,
    ExportedNetwork,
    expected_answers,
    export_facts,
    largest_differences,
    square_of,
)
from headstart.exporting.onnx_int8 import quantised_model
from headstart.exporting.onnx_resize import resize_graph
from headstart.features.engines import EngineError, onnx_model
from headstart.files import write_atomically
from headstart.inputs.collection import Undecoded
from headstart.models.model import Model
from headstart.progress import ProgressLine
from headstart.records.names import MODEL_FILE
from headstart.seeds import generator

ONNX_FILE, INT8_FILE, SCRIPT = "model.onnx", "model_int8.onnx", "predict_onnx.py"
CLOSE, OWN_RESIZE = 1e-4, 5e-3  # largest differences from the same pixels, and with the file's own resize
PIXELS = 1e-3  # share of pixels whose class may differ
RANDOM_IMAGES, MOST_CHECKED, MOST_CALIBRATED = 16, 1000, 100


@dataclass(frozen=True)
class CheckImages:
    """Images to check an export on, in words: "312 test images"; with the classes of some kinds of targets."""

    images: Sequence[Undecoded]
    words: str
    labels: NDArray[np.int64] | None = None  # (N,)
    calibration: Sequence[Undecoded] = ()  # other images, for quantisation


def random_images() -> CheckImages:
    """Return images of several sizes, of random colours in soft patches."""
    from PIL import Image

    rng = generator("export", 0)
    made: list[Undecoded] = []
    for _ in range(RANDOM_IMAGES):
        patches = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        width, height = (int(side) for side in rng.integers(48, 400, 2))
        made.append(np.asarray(Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC)))
    return CheckImages(made, f"{RANDOM_IMAGES} images of random colours")


def write_onnx(model: Model, folder: Path, check: CheckImages, int8: bool = False) -> Iterator[str]:
    """Write model.onnx and predict_onnx.py to a folder, and model_int8.onnx on request; yield sentences on them.

    The files are checked before. Raises DataError if their answers differ from those of the model.
    """
    network = ExportedNetwork(model)
    example = torch.zeros(2, model.image_size, model.image_size, 3, dtype=torch.uint8)
    try:
        plain = onnx_model(network, example, [output.name for output in network.outputs], dynamic=True)
    except EngineError as error:
        raise DataError(f"The model cannot be exported: {error}.") from error
    facts = export_facts(model, network)
    checker = OnnxCheck(model, network, check)
    content = assembled(model, plain, facts)
    found = checker.verify(content)
    facts["checked"] = found
    folder.mkdir(parents=True, exist_ok=True)
    if int8:
        quantised, how = quantised_model(
            plain, [square_of(model, image) for image in check.calibration[:MOST_CALIBRATED]]
        )
        loss = checker.loss(assembled(model, quantised, facts))
        facts8 = facts | {"precision": "int8", "int8": {"calibration": how, **loss}}
        write_atomically(folder / INT8_FILE, assembled(model, quantised, facts8))
        yield f"int8, {how}: " + ", ".join(f"{name} {value:.3g}" for name, value in loss.items()) + "."
    write_atomically(folder / ONNX_FILE, assembled(model, plain, facts))
    write_atomically(folder / SCRIPT, Path(predict_onnx.__file__).read_bytes())
    largest = max(found["largest_difference"].values())
    yield f"Checked on {check.words}: the largest difference from the model is {largest:.1e}."


def assembled(model: Model, plain: bytes, facts: dict[str, Any]) -> bytes:
    """Return an ONNX model of squares with the resize before it, and what it means in its metadata."""
    network = onnx.load_from_string(plain)
    before = resize_graph(model.decoder, model.image_size)  # type: ignore[arg-type]
    before.ir_version = network.ir_version
    before = compose.add_prefix(before, "resize/", rename_inputs=False, rename_outputs=False)
    network = compose.add_prefix(network, "network/", rename_outputs=False, rename_edges=True)
    for opset in network.opset_import:
        if opset.domain not in {one.domain for one in before.opset_import}:
            before.opset_import.append(opset)
    whole = compose.merge_models(before, network, io_map=[("squares", "network/images")])
    whole.producer_name, whole.producer_version = "headstart", __version__
    whole.doc_string = "From images (N, H, W, 3) of bytes to calibrated answers."
    names = list(model.description.output.names)
    texts = {"export": json.dumps(facts), "names": json.dumps(names), MODEL_FILE: model.description.text()}
    helper.set_model_props(whole, texts)
    return bytes(whole.SerializeToString())


class OnnxCheck:
    """Compares ONNX models with the network that they come from, on some images."""

    def __init__(self, model: Model, network: ExportedNetwork, check: CheckImages) -> None:
        self.model, self.network, self.check = model, network, check
        self.gives = {output.name: output.gives for output in network.outputs}
        self.by_pixel = any(what in BY_PIXEL for what in self.gives.values())
        self._wanted: list[Arrays] = []

    def verify(self, content: bytes) -> dict[str, Any]:
        """Return the largest differences. Raises DataError if one is too large, or if a label differs."""
        with loaded(content) as session:
            same = self._differences(session, own_resize=False)
            own = self._differences(session, own_resize=True)
            self._check_batches(session)
        self._refuse(same, CLOSE, "from the same pixels")
        self._refuse(own, OWN_RESIZE, "with its own resize")
        return {"images": self.check.words, "largest_difference": same, "largest_difference_with_own_resize": own}

    def loss(self, content: bytes) -> dict[str, float]:
        """Return how a quantised model differs: accuracies where labels are known, agreement, largest difference."""
        with loaded(content) as session:
            found = [session.run(image[None]) for image in self._read()]
        wanted = self._expected()
        differences = [largest_differences(a, b, self.gives) for a, b in zip(found, wanted, strict=True)]
        result = {f"largest difference of {name}": max(of[name] for of in differences) for name in self.gives}
        (first, what), *_ = self.gives.items()
        if what == "logits":
            here, before = ([int(of[first].argmax()) for of in each] for each in (found, wanted))
            result = {"same label": float(np.mean(np.equal(here, before)))} | result
            if self.check.labels is not None:
                accuracies = [float(np.mean(np.equal(of, self.check.labels))) for of in (before, here)]
                result = {"accuracy in float32": accuracies[0], "accuracy in int8": accuracies[1]} | result
        return result

    def _refuse(self, differences: dict[str, float], limit: float, when: str) -> None:
        for name, value in differences.items():
            most = PIXELS if self.gives[name] == "label image" else limit
            if self.gives[name] != "labels" and not value <= most:
                raise DataError(
                    f"The exported network is not written: {when}, its {name} differ from those of the model by"
                    f" {value:.2g} on {self.check.words}, more than {most:g}."
                )

    def _differences(self, session: predict_onnx.OnnxModel, own_resize: bool) -> dict[str, float]:
        """Return the largest differences over all images, and check labels whose margin is clear."""
        worst = dict.fromkeys(self.gives, 0.0)
        inputs = self._read() if own_resize else self._resized()
        with ProgressLine("checking the export", len(self.check.images)) as progress:
            for image, wanted in zip(inputs, self._expected(), strict=True):
                found = session.run(image[None])
                for name, value in largest_differences(found, wanted, self.gives).items():
                    worst[name] = max(worst[name], value)
                self._check_label(found, wanted)
                progress.advance(1)
        return worst

    def _check_label(self, found: Arrays, wanted: Arrays) -> None:
        for name, what in self.gives.items():
            if what != "class probabilities" or wanted[name].shape[1] < 2:
                continue
            ordered = np.sort(wanted[name][0])
            if ordered[-1] - ordered[-2] > 2 * OWN_RESIZE and found[name].argmax() != wanted[name].argmax():
                raise DataError("The exported network is not written: it gives another label than the model.")

    def _check_batches(self, session: predict_onnx.OnnxModel) -> None:
        """Raise DataError unless a batch of three images gives what each of them gives alone."""
        image = next(self._resized())
        three = np.stack([image, np.ascontiguousarray(image[::-1]), np.ascontiguousarray(image[:, ::-1])])
        together, alone = session.run(three), [session.run(one[None]) for one in three]
        joined = {name: np.concatenate([one[name] for one in alone]) for name in self.gives}
        if any(joined[name].shape != together[name].shape for name in self.gives):
            raise DataError("The exported network is not written: it does not take batches of every size.")
        self._refuse(largest_differences(together, joined, self.gives), CLOSE, "in a batch")

    def _read(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the images as predict_onnx.py reads them."""
        decoder: Any = self.model.decoder
        side = decoder.short_side if decoder.resize == "crop" else None
        for image in self.check.images:
            if not isinstance(image, Path):
                yield _as_array(image)
                continue
            try:
                yield predict_onnx.read_image(image, side)
            except ValueError:  # more than 8 bits, which the script refuses
                yield decoder(image)

    def _resized(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the images as Pillow resizes them; the file's own resize then changes nothing."""
        decoder: Any = self.model.decoder
        return (decoder(image) for image in self.check.images)

    def _expected(self) -> list[Arrays]:
        if not self._wanted:
            for image in self.check.images:
                self._wanted.append(expected_answers(self.model, self.network, square_of(self.model, image)[None]))
        return self._wanted


@contextmanager
def loaded(content: bytes) -> Iterator[predict_onnx.OnnxModel]:
    """Load an ONNX model as predict_onnx.py does. Raises DataError if ONNX Runtime cannot."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ONNX_FILE
        path.write_bytes(content)
        try:
            model = predict_onnx.OnnxModel(path)
        except Exception as error:  # its exceptions have no public base class
            raise DataError(f"ONNX Runtime cannot load the exported network ({first_line(error)}).") from error
        yield model


def _as_array(image: Any) -> NDArray[np.uint8]:
    """Return an image without a file as (H, W, 3)."""
    from PIL import Image

    opened = image if isinstance(image, Image.Image) else Image.fromarray(image)
    return np.asarray(opened.convert("RGB"))
