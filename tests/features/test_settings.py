"""Test sizes such as 20GB, and one sentence for wrong ones."""

from pathlib import Path

import pytest

from headstart.errors import ConfigError
from headstart.features import FeatureSettings
from headstart.features.settings import bytes_of, free_memory


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (0, 0),
        ("512", 512),
        ("2GB", 2 * 10**9),
        ("2 GiB", 2 * 1024**3),
        ("1.5MiB", 1572864),
        ("3k", 3072),
        ("1tb", 10**12),
    ],
)
def test_sizes(text: int | str, expected: int) -> None:
    assert bytes_of(text) == expected


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"enabled": "maybe"}, "features.enabled=maybe: expected true or false"),
        ({"engine": "onnxruntim"}, "features.engine=onnxruntim: .*Did you mean 'onnxruntime'"),
        ({"views": 0}, "features.views=0: expected the number of"),
        ({"views": True}, "features.views=True"),
        ({"max_size": "big"}, "features.max_size=big: expected a size such as 2GB"),
        ({"memory_limit": "-3"}, "features.memory_limit=-3"),
    ],
)
def test_wrong_settings_get_a_sentence(wrong: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FeatureSettings(**wrong)


def test_where_and_how_much() -> None:
    assert FeatureSettings().folder("runs") == Path("runs/.features")
    assert FeatureSettings(dir="/x/y").folder("runs") == Path("/x/y")
    assert 0 < FeatureSettings().memory_bytes() <= free_memory()
    assert FeatureSettings(memory_limit="1MB").memory_bytes() == 10**6
