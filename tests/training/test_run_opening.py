"""Test that the inputs of a data set reach the network, and that a run prints how they are adapted."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import SMALLEST, TINY

from headstart.errors import ConfigError
from headstart.inputs.decoding import Decoder
from headstart.inputs.signature import RGB
from headstart.settings.configs import composed
from headstart.training.compose import make_data
from headstart.training.opening import describe_run
from headstart.training.prepare import prepare

LINE = "inputs: first layer unchanged, values from 0 to 510"


@pytest.mark.parametrize("high", [255, 510])
def test_only_inputs_unlike_rgb_images_are_mentioned(
    high: int, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = composed([*TINY, *SMALLEST, "head.stages=[stage2]"])[0]
    data = make_data(config)
    given = replace(RGB, high=high)
    monkeypatch.setattr(Decoder, "signature", given)
    parts = prepare(config, tmp_path, data=data)
    assert parts.strategy.backbone.signature == data.signature == given
    scale = 1 / (parts.strategy.backbone.preprocessing.std[0] * high)
    assert float(parts.strategy.pixel_scale[0, 0]) == pytest.approx(scale)
    with caplog.at_level(logging.INFO, "headstart.training.opening"):
        describe_run(config, parts)
    assert (LINE in caplog.messages) == (high == 510)
    assert any(message.startswith("inputs:") for message in caplog.messages) == (high == 510)


@pytest.mark.parametrize("setting", ["augmentation=crop_resize", "test_views=flip"])
def test_views_are_refused_where_they_make_no_sense(
    setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = composed([*TINY, *SMALLEST, setting])[0]
    data = make_data(config)
    monkeypatch.setattr(Decoder, "signature", replace(RGB, views=False))
    with pytest.raises(ConfigError, match=r"views do not fit the images of"):
        prepare(config, tmp_path, data=data)
