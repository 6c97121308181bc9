"""Test which direction of a watched number is better."""

import pytest

from headstart.settings.configs import composed
from headstart.training.prepare import run_settings


@pytest.mark.parametrize(
    ("watched", "mode", "settings"),
    [
        ("null", "max", []),
        ("validation/accuracy", "max", []),
        ("train/loss", "min", []),
        ("train/jsd", "min", ["augmentation=augmix_jsd"]),
        ("validation/rank_me", "max", []),
        ("validation/r2", "max", ["objective=autoencoder"]),
    ],
)
def test_better_direction(watched: str, mode: str, settings: list[str]) -> None:
    watching = ["callbacks=early_stopping", f"callbacks.early_stopping.monitor={watched}"]
    config, _ = composed([*watching, *settings], "pretrain" if "objective=autoencoder" in settings else "train")
    assert run_settings(config)["callbacks"]["early_stopping"]["mode"] == mode
