#!/usr/bin/env python3
"""Predict images with a model.onnx of headstart; needs onnxruntime, numpy and Pillow only.

    python predict_onnx.py IMAGE ... [--model model.onnx] [--json] [--masks DIR]

Prints a line an image, with tabs: path, label, probability; or what the model's task gives. The preprocessing and the
names are read from the model file.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

Image.MAX_IMAGE_PIXELS = MOST_PIXELS = 2**28
DEEP_MODES = ("I;16", "I;16L", "I;16B", "I", "F")
BITS, SAMPLES = 258, 277  # tags of a TIFF


class OnnxModel:
    """A model file, and the answers that it gives."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        found = self.session.get_modelmeta().custom_metadata_map
        self.export: dict[str, Any] = json.loads(found["export"])

    def read(self, path: Path) -> Any:
        """Return the image of a file, (H, W, 3) uint8: upright, RGB, transparent pixels white. Raises ValueError."""
        side = self.export["short_side"] if self.export["resize"] == "crop" else None
        return read_image(path, side)

    def run(self, images: Any) -> dict[str, Any]:
        """Return the outputs by name, of images (N, H, W, 3) uint8 of any size."""
        names = [output["name"] for output in self.export["outputs"]]
        return dict(zip(names, self.session.run(names, {"images": images}), strict=True))

    def answers(self, outputs: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return an answer for each image: label, labels, values or shares of classes; by output if it has several."""
        found: list[dict[str, Any]] = [{} for _ in next(iter(outputs.values()))]
        for output in self.export["outputs"]:
            rows = outputs[output["name"]]
            for answer, row in zip(found, rows, strict=True):
                part = answer if not output["output"] else answer.setdefault(output["output"], {})
                part.update(answer_of(output["gives"], row, output["names"]))
        return found


def answer_of(gives: str, row: Any, names: list[str]) -> dict[str, Any]:
    """Return the answer that one output gives for one image."""
    if gives == "logits":
        return {"label": names[int(row.argmax())]}
    if gives == "class probabilities":
        return {"probability": float(row.max()), "probabilities": dict(zip(names, row.tolist(), strict=True))}
    if gives == "label probabilities":
        return {"probabilities": dict(zip(names, row.tolist(), strict=True))}
    if gives == "labels":
        return {"labels": [name for name, has in zip(names, row.tolist(), strict=True) if has]}
    if gives == "values":
        return {"values": dict(zip([name or "prediction" for name in names], row.tolist(), strict=True))}
    if gives == "label image":
        shares = np.bincount(row.ravel(), minlength=len(names)) / row.size
        return {"shares": dict(zip(names, shares.tolist(), strict=True))}
    return {"mean": float(row.mean()), "lowest": float(row.min()), "highest": float(row.max())}


def read_image(path: Path, short_side: int | None) -> Any:
    """Return (H, W, 3) uint8, decoded as headstart decodes images of 8 bits. Raises ValueError for others."""
    image: Image.Image = Image.open(path)
    tags = getattr(image, "tag_v2", {})
    if image.format == "EPS":
        raise ValueError("it is PostScript, a program, not an image")
    if not 0 < image.width * image.height <= MOST_PIXELS:
        raise ValueError(f"it has {image.width:,} x {image.height:,} pixels")
    if image.mode in DEEP_MODES or max(tags.get(BITS, (8,))) > 8 or _is_deep_png(path, image):
        raise ValueError("it has more than 8 bits; use headstart predict")
    if tags.get(SAMPLES, len(image.getbands())) not in (1, 3):
        raise ValueError("it is a TIFF with a further band; use headstart predict")
    if short_side is not None:
        image.draft("RGB", (2 * short_side, 2 * short_side))  # a JPEG is decoded at a half, a quarter or an eighth
    image.load()
    with contextlib.suppress(Exception):  # unreadable EXIF rotates nothing
        ImageOps.exif_transpose(image, in_place=True)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _is_deep_png(path: Path, image: Image.Image) -> bool:
    if image.format != "PNG":
        return False
    with path.open("rb") as file:
        return file.read(25)[24:] == b"\x10"


def cells(answer: Mapping[str, Any]) -> list[str]:
    """Return the cells of a line."""
    found: list[str] = []
    for name, value in answer.items():
        if isinstance(value, Mapping) and name not in ("probabilities", "values", "shares"):
            found += [f"{name}: {cell}" for cell in cells(value)]
        elif name == "labels":
            found.append(";".join(value))
        elif name == "probabilities" and "label" in answer:
            continue
        elif isinstance(value, Mapping):
            found += [f"{one}={number:.6g}" for one, number in value.items()]
        else:
            found.append(f"{value:.6f}" if isinstance(value, float) else str(value))
    return sorted(found, key=lambda cell: cell != answer.get("label"))  # the label comes first


def save_mask(folder: Path, number: int, path: Path, values: Any) -> None:
    """Write a label image (S, S) as PNG, or numbers (S, S) as TIFF of floats."""
    folder.mkdir(parents=True, exist_ok=True)
    suffix = "tiff" if values.dtype == np.float32 else "png"
    image = Image.fromarray(values if values.itemsize == 1 or suffix == "tiff" else values.astype(np.uint16))
    image.save(folder / f"{number:05d}_{path.stem}.{suffix}")


def main() -> int:
    """Predict the images that the arguments name; return 2 if one cannot be read, else 0."""
    parser = argparse.ArgumentParser(description="Predict images with a model.onnx of headstart.")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    parser.add_argument("--model", type=Path, default=Path(__file__).with_name("model.onnx"), metavar="FILE")
    parser.add_argument("--json", action="store_true", help="print a JSON object an image, with all probabilities")
    parser.add_argument("--masks", type=Path, metavar="DIR", help="write the predicted images of a model by pixel")
    options = parser.parse_args()
    if not options.model.is_file():
        parser.error(f"there is no model '{options.model}'")
    model = OnnxModel(options.model)
    unreadable = 0
    for number, path in enumerate(options.images):
        try:
            image = model.read(path)
        except Exception as error:  # a damaged file may raise anything
            print(f"unreadable: {path} ({error})", file=sys.stderr)
            unreadable += 1
            continue
        outputs = model.run(image[None])
        (answer,) = model.answers(outputs)
        if options.masks:
            for output in model.export["outputs"]:
                if output["gives"] in ("label image", "number image"):
                    save_mask(options.masks, number, path, outputs[output["name"]][0])
        if options.json:
            print(json.dumps({"path": str(path), **answer}, ensure_ascii=False))
        else:
            print("\t".join([str(path), *cells(answer)]))
    return 2 if unreadable else 0


if __name__ == "__main__":
    sys.exit(main())
