"""Test predicted numbers: written, read, scored."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, mean_squared_error, median_absolute_error, r2_score

from headstart.errors import DataError
from headstart.kinds import KINDS
from headstart.kinds.number_predictions import NumberPredictions
from headstart.records.predictions import read_predictions, write_predictions

KIND = KINDS["regression"]
HEAD = "number,id,target,prediction\n"


def drawn(count: int = 50) -> NumberPredictions:
    rng = np.random.default_rng(0)
    targets = rng.normal(40, 10, (count, 1))
    return NumberPredictions([f"{n}, 'x'.jpg" for n in range(count)], targets, targets + rng.normal(0, 3, (count, 1)))


def test_floats_come_back_bit_for_bit(tmp_path: Path) -> None:
    made = drawn()
    made.targets[:4, 0], made.values[:4, 0] = (0.1, 1e-300, -3.0, 1e30), (1 / 3, 5e-324, 7.0, -0.0)
    write_predictions(tmp_path / "p.csv", made.ids, made.targets, torch.tensor(made.values), (), KIND)
    assert (tmp_path / "p.csv").read_text().splitlines()[:2] == [
        HEAD.strip(),
        "0,\"0, 'x'.jpg\",0.1,0.3333333333333333",
    ]
    found = read_predictions(tmp_path / "p.csv", KIND)
    assert isinstance(found, NumberPredictions)
    assert list(found.ids) == list(made.ids)
    assert found.targets.tobytes() == made.targets.tobytes()
    assert found.values.tobytes() == made.values.tobytes()
    assert found.images == made.images
    assert found.images != drawn(49).images


def test_scores_agree_with_scikit_learn() -> None:
    made = drawn()
    found = KIND.further(made, None).numbers
    assert found == pytest.approx(
        {
            "rmse": math.sqrt(mean_squared_error(made.targets, made.values)),
            "r2": r2_score(made.targets, made.values),
            "mae": mean_absolute_error(made.targets, made.values),
            "median_absolute_error": median_absolute_error(made.targets, made.values),
        }
    )
    assert set(found) <= set(KIND.beyond)
    assert made.per_image.mean() == pytest.approx(r2_score(made.targets, made.values), rel=1e-12)
    errors = KIND.per_image(made, "mae")
    assert errors is not None
    assert errors.mean() == pytest.approx(np.abs(made.targets - made.values).mean())
    assert KIND.per_image(made, "rmse") is None


def test_targets_that_do_not_vary_have_no_r2() -> None:
    made = NumberPredictions(["a", "b"], np.full((2, 1), 3.0), np.array([[2.0], [5.0]]))
    assert np.isnan(made.per_image).all()
    assert set(KIND.further(made, None).numbers) == {"mae", "rmse", "median_absolute_error"}


def test_the_largest_errors_come_first() -> None:
    made = NumberPredictions(["a", "b", "c"], np.array([[1.0], [2.0], [3.0]]), np.array([[1.5], [-3.0], [3.0]]))
    (section,) = KIND.details(made, None)
    assert section.id == "errors"
    assert section.texts == [["b", "2", "-3", "-5"], ["a", "1", "1.5", "0.5"], ["c", "3", "3", "0"]]
    assert [cell.value for cell in section.rows[0]] == [None, 2.0, -3.0, -5.0]
    assert [column.field for column in section.columns] == ["id", "target", "prediction", "error"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,target,prediction,x,y\n1,x,x,0.5,0.5\n", "does not have the columns"),
        (HEAD, "holds no image"),
        (f"{HEAD}0,a,1.0,much\n", "cannot be read"),
        (f"{HEAD}0,a,1.0,\n", "cannot be read"),
        (f"{HEAD}0,a,inf,1.0\n", "no number, or too large"),
        (f"{HEAD}0,a,1.0,1e300\n", "no number, or too large"),
        (f"{HEAD}1,a,1.0,1.0\n", "number its rows from 0"),
        (f"{HEAD}0,a,1.0,1.0\n2,b,1.0,1.0\n", "number its rows from 0"),
        (f"{HEAD}x,a,1.0,1.0\n", "cannot be read"),
    ],
)
def test_damage_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        read_predictions(tmp_path / "p.csv", KIND)
