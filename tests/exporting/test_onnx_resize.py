"""Test that the ONNX graph resizes and crops as the decoder does."""

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from headstart.data.image_split import centre_crop
from headstart.exporting.onnx_resize import resize_graph
from headstart.inputs.decoding import Decoder

SIZES = [(375, 500), (500, 375), (64, 64), (73, 73), (40, 300), (7, 90), (90, 7), (20, 30), (131, 97)]


@pytest.mark.parametrize("resize", ["crop", "squish", "pad"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_images_are_those_of_the_decoder(interpolation: str, resize: str) -> None:
    """Bit for bit, but for one or two grey levels where Pillow resizes the other axis first."""
    decoder = Decoder(73, interpolation, resize)
    session = onnxruntime.InferenceSession(resize_graph(decoder, 64).SerializeToString())
    rng = np.random.default_rng(0)
    equal = 0
    for height, width in SIZES:
        patches = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        image = np.asarray(patches.resize((width, height), Image.Resampling.BICUBIC))
        (found,) = session.run(None, {"images": image[None]})[0]
        wanted = centre_crop(decoder(image), 64)
        assert found.shape == wanted.shape
        assert np.abs(found.astype(int) - wanted).max() <= 2
        equal += int((found == wanted).all())
    assert equal >= len(SIZES) - 2


def test_a_batch_is_resized_as_each_image() -> None:
    session = onnxruntime.InferenceSession(resize_graph(Decoder(40), 32).SerializeToString())
    images = np.random.default_rng(0).integers(0, 256, (3, 60, 90, 3), dtype=np.uint8)
    (together,) = session.run(None, {"images": images})
    alone = [session.run(None, {"images": image[None]})[0] for image in images]
    assert (together == np.concatenate(alone)).all()
