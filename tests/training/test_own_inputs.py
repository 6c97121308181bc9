"""Another kind of input trains, is cached, compared and drawn like images; it needs a source and a decoder."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALLEST
from own_inputs import BANDS

from headstart.cli import main
from headstart.seeds import generator

GROUP = "defaults: [_base]\n_target_: own_inputs.BandFolder\nroot: bands\nimage_size: 32\n"
QUICK = [
    "--config-dir=conf", *SMALLEST, "dataset=bands", "allow_targets=[own_inputs]", "dataset.num_workers=0",
    "backbone.weights=null", "trainer.max_epochs=2", "trainer.accelerator=cpu",
]  # fmt: skip


@pytest.fixture
def bands() -> Path:
    """Return a folder of two classes that differ in the fifth channel only; ``dataset=bands`` reads it."""
    Path("conf", "dataset").mkdir(parents=True)
    Path("conf", "dataset", "bands.yaml").write_text(GROUP)
    rng = generator("bands")
    for label, level in (("dim", 0.1), ("bright", 0.9)):
        folder = Path("bands") / label
        folder.mkdir(parents=True)
        for number in range(20):
            values = rng.random((40, 40, 5)).astype(np.float32) * 0.1
            values[..., 4] += level
            np.save(folder / f"{number}.npy", values.clip(0, 1))
    return Path("bands")


def trained(*settings: str) -> dict:
    """Return run.json of a run in a new folder."""
    folder = Path("out", str(len(list(Path().glob("out/*")))))
    assert main(["train", *QUICK, f"output_dir={folder}", *settings]) == 0
    (record,) = folder.rglob("run.json")
    return json.loads(record.read_text())


def test_gradient_steps_a_cached_probe_and_the_reference_on_band_arrays(
    bands: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tuned = trained("strategy=finetune_all", "references=[raw_pixels]")
    assert "first layer from 3 to 5 channels, values from 0 to 1" in capsys.readouterr().out
    assert tuned["references"]["raw_pixels"]["test/accuracy"] == 1
    stored = trained("strategy=ridge", "features.enabled=true")
    direct = trained("strategy=ridge", "features.enabled=false")
    assert stored["metrics"]["test/accuracy"] == direct["metrics"]["test/accuracy"] > 0.6


def test_what_fits_only_images_is_refused(bands: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *QUICK, "augmentation=crop_resize"]) == 2
    assert "views do not fit the band arrays of" in capsys.readouterr().err
    assert main(["train", *QUICK, "references=[sift_pyramid]"]) == 2
    assert "references=[sift_pyramid] reads images, and bandfolder has band arrays; use raw" in capsys.readouterr().err
    np.save(bands / "dim" / "grey.npy", np.zeros((4, 4), np.float32))
    assert main(["train", *QUICK]) == 2
    assert "'dim/grey.npy' cannot be read (it has the shape (4, 4), not (H, W, 5))" in capsys.readouterr().err


def test_more_channels_are_drawn_by_their_first_three() -> None:
    values = np.stack([np.full((2, 2), level, np.float32) for level in (0, 0.5, 1, 0.3, 0.3)], axis=-1)
    assert BANDS.for_display(values)[0, 0].tolist() == [0, 128, 255]
