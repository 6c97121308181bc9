"""Test the estimated time of a training."""

import pytest
from conftest import SMALLEST, TINY

from headstart.advice.training_time import TrainingTime, estimate_time
from headstart.errors import ConfigError
from headstart.settings.configs import composed


def test_steps_of_a_training_are_timed() -> None:
    config, _ = composed([*TINY, *SMALLEST, "strategy=finetune_all", "dataset.batch_size=20"])
    found = estimate_time("finetune_all", config)
    assert (found.epochs, found.steps, found.images) == (2, 4, 18)  # 72 images in even batches
    assert 0 < found.seconds_a_step < 60
    assert TrainingTime("", 3, 5, 32, 0.5).seconds == 7.5
    config.trainer.max_epochs = -1
    with pytest.raises(ConfigError, match="max_epochs=-1 does not limit"):
        estimate_time("finetune_all", config)
