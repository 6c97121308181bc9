"""Predictions of several labels: written, read, scored."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve

from headstart.errors import DataError
from headstart.kinds import KINDS
from headstart.kinds.label_set_predictions import LabelSetPredictions, thresholds_of
from headstart.records.predictions import read_predictions, write_predictions

KIND = KINDS["multilabel"]
NAMES = ["car", "a;b", "sign, old"]
HEAD = "number,id,labels,car,sign\n"


def drawn(count: int = 60, seed: int = 0) -> LabelSetPredictions:
    rng = np.random.default_rng(seed)
    targets = rng.random((count, 3)) < (0.6, 0.3, 0.1)
    values = 1 / (1 + np.exp(-rng.normal(2 * targets - 1.0, 1.5)))
    return LabelSetPredictions([f"{n}, 'x'.jpg" for n in range(count)], targets, values, NAMES)


def test_files_come_back_bit_for_bit(tmp_path: Path) -> None:
    made = drawn()
    logits = torch.tensor(made.values).logit()
    write_predictions(tmp_path / "p.csv", made.ids, made.targets.astype(np.float32), logits, NAMES, KIND)
    found = read_predictions(tmp_path / "p.csv", KIND)
    assert isinstance(found, LabelSetPredictions)
    assert (list(found.ids), list(found.labels)) == (list(made.ids), NAMES)
    assert (found.targets == made.targets).all()
    assert (found.values == logits.sigmoid().numpy()).all()
    assert found.images == made.images != drawn(59).images


def test_scores_agree_with_scikit_learn() -> None:
    test, validation = drawn(), drawn(60, 2)
    assert validation.targets.any(axis=0).all()
    expected = average_precision_score(test.targets, test.values, average="macro")
    assert test.per_image.mean() == pytest.approx(expected, abs=1e-12)
    limits = thresholds_of(validation, 3)
    for label in range(3):
        precision, recall, tried = precision_recall_curve(validation.targets[:, label], validation.values[:, label])
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        best = f1_score(validation.targets[:, label], validation.values[:, label] >= limits[label])
        assert best == pytest.approx(f1.max())
        assert limits[label] == max(tried[f1[:-1] >= f1.max() - 1e-12])
    said = test.values >= limits
    found = KIND.further(test, validation).numbers
    assert found == pytest.approx(
        {name: f1_score(test.targets, said, average=name[:5]) for name in ("macro_f1", "micro_f1")}
    )
    plain = KIND.further(test, None).numbers
    assert plain["micro_f1"] == pytest.approx(f1_score(test.targets, test.values >= 0.5, average="micro"))


def test_labels_that_do_not_occur_are_left_out() -> None:
    test = drawn()
    test.targets[:, 1] = False
    kept = [0, 2]
    expected = average_precision_score(test.targets[:, kept], test.values[:, kept], average="macro")
    assert test.per_image.mean() == pytest.approx(expected, abs=1e-12)
    labels, errors = KIND.details(test, None)
    assert labels.texts[1][1:] == ["0", "0.0", "–", "–", "0.5"]
    assert len(errors.rows) == 60
    test.targets[:] = False
    assert np.isnan(test.per_image).all()
    assert not math.isnan(KIND.further(test, None).numbers["micro_f1"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,labels,car\n1,x,0.5\n", "does not begin with the columns"),
        ("number,id,labels\n0,a,\n", "does not begin with the columns"),
        ("number,id,labels,car,car\n0,a,car,0.5,0.5\n", "names a label twice"),
        (HEAD, "holds no image"),
        (f"{HEAD}0,a,car,much,0.5\n", "cannot be read"),
        (f"{HEAD}0,a,car,1.5,0.5\n", "probabilities outside 0 to 1"),
        (f"{HEAD}0,a,car,,0.5\n", "probabilities outside 0 to 1|cannot be read"),
        (f"{HEAD}1,a,car,0.5,0.5\n", "number its rows from 0"),
        (f"{HEAD}0,a,tree,0.5,0.5\n", "a label that has no column"),
        (f'{HEAD}0,a,"[""car",0.5,0.5\n', "cannot be read"),
    ],
)
def test_damage_is_told(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        read_predictions(tmp_path / "p.csv", KIND)
