"""Quantise an ONNX network to 8 bits with ONNX Runtime."""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LAYERS = ["Conv", "Gemm", "MatMul"]


class SquaresReader:
    """Gives images one at a time, as ONNX Runtime's calibration reads them."""

    def __init__(self, squares: Sequence[NDArray[np.uint8]]) -> None:
        self._left = iter(squares)

    def get_next(self) -> dict[str, Any] | None:
        """Return the inputs for the next image, None after the last."""
        square = next(self._left, None)
        return None if square is None else {"images": square[None]}


def quantised_model(plain: bytes, squares: Sequence[NDArray[np.uint8]]) -> tuple[bytes, str]:
    """Return the network with 8-bit weights and activations, and how it was made, in words.

    Ranges of activations are measured on images (S, S, 3), if there are some; else they are computed for each input,
    which is slower.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    level = logging.root.level
    logging.root.setLevel(logging.ERROR)  # the library logs to the root
    try:
        with tempfile.TemporaryDirectory() as folder:
            source, ready, target = (str(Path(folder) / name) for name in ("a.onnx", "b.onnx", "c.onnx"))
            Path(source).write_bytes(plain)
            quant_pre_process(source, ready, skip_symbolic_shape=True)
            if not squares:
                quantize_dynamic(ready, target, op_types_to_quantize=LAYERS[1:], weight_type=QuantType.QInt8)
                return Path(target).read_bytes(), "ranges computed for each image"
            quantize_static(
                ready,
                target,
                SquaresReader(squares),  # type: ignore[arg-type]
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=LAYERS,
                per_channel=True,
                reduce_range=True,  # 8-bit sums overflow on processors without VNNI
                weight_type=QuantType.QInt8,
            )
            return Path(target).read_bytes(), f"ranges measured on {len(squares)} images"
    finally:
        logging.root.setLevel(level)
