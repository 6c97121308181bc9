"""Test that predictions are read back as written, and that damage is named in one sentence."""

from pathlib import Path

import numpy as np
import pytest
import torch

from headstart.errors import DataError
from headstart.kinds import KINDS
from headstart.records.predictions import read_class_predictions, write_predictions

CLASSES = KINDS["classification"]


def test_the_files_of_a_run_are_read_back(tmp_path: Path) -> None:
    classes = ["id", "target", "a, b", "NA"]  # names that a careless reader would mistake
    targets = np.array([0, 3, 2, 1])
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    write_predictions(tmp_path / "p.csv", ["a,1.jpg", 'q"2.jpg', "3\n4", "NA"], targets, logits, classes, CLASSES)
    found = read_class_predictions(tmp_path / "p.csv")
    assert list(found.ids) == ["a,1.jpg", 'q"2.jpg', "3\n4", "NA"]
    assert list(found.classes) == classes
    assert found.targets.tolist() == targets.tolist()
    assert found.predicted.tolist() == logits.argmax(1).tolist()
    np.testing.assert_allclose(found.probabilities, logits.double().softmax(1).numpy(), rtol=1e-10)
    other = read_class_predictions(tmp_path / "p.csv")
    assert found.images == other.images
    write_predictions(
        tmp_path / "p.csv",
        ["a,1.jpg", 'q"2.jpg', "3\n4", "NA"],
        targets[::-1].copy(),
        logits,
        classes,
        CLASSES,
    )
    assert read_class_predictions(tmp_path / "p.csv").images != found.images


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "is missing"),
        ("a,b,c\n", "does not begin with"),
        ("id,target,prediction,x,y\n", "holds no image"),
        ("id,target,prediction,x,y\n1,x,z,0.5,0.5\n", "a class that has no column"),
        ("id,target,prediction,x,y\n1,x,x,0.5,much\n", "cannot be read"),
        ("id,target,prediction,x,y\n1,x,x,1.5,-0.5\n", "probabilities outside 0 to 1"),
        ("id,target,prediction,x,x\n1,x,x,0.5,0.5\n", "a class twice"),
    ],
)
def test_damage_is_named(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "p.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        read_class_predictions(tmp_path / "p.csv")
