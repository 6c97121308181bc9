"""Test which mistakes are shown, and their captions."""

import csv
import io

import numpy as np
import pytest

from headstart.analysis.explain.drawing import percent, plain
from headstart.analysis.explain.mistakes import choose, draw_mistakes, mistakes_csv
from headstart.kinds.class_predictions import ClassPredictions

SHARES = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.05, 0.95], [0.3, 0.7]])


def predictions(targets: list[int]) -> ClassPredictions:
    ids = [f"image{number}" for number in range(len(targets))]
    return ClassPredictions(ids, np.array(targets), SHARES.argmax(axis=1), SHARES, ["ants", "bees"])


def test_the_most_confident_mistakes_come_first() -> None:
    found = choose(predictions([1, 0, 0, 1, 0]), 3)
    assert found.wrong
    assert found.rows.tolist() == [0, 1, 4]
    assert choose(predictions([1, 0, 0, 1, 0]), 9).rows.tolist() == [0, 1, 4, 2]
    assert "4 most confident mistakes" in choose(predictions([1, 0, 0, 1, 0]), 9).title


def test_of_equal_ones_the_earlier_comes_first() -> None:
    shares = np.full((6, 2), 0.5)
    same = ClassPredictions(list("abcdef"), np.ones(6, dtype=np.int64), np.zeros(6, dtype=np.int64), shares, ["x", "y"])
    assert choose(same, 4).rows.tolist() == [0, 1, 2, 3]


def test_without_mistakes_the_least_confident_right_ones() -> None:
    found = choose(predictions([0, 1, 1, 1, 1]), 2)
    assert not found.wrong
    assert found.rows.tolist() == [2, 4]
    assert found.title == "No mistakes: the 2 least confident right predictions"


def test_the_table() -> None:
    made = predictions([1, 0, 0, 1, 0])
    rows = list(csv.DictReader(io.StringIO(mistakes_csv(made, choose(made, 2)))))
    assert rows[1] == {
        "number": "2", "id": "image1", "target": "ants", "prediction": "bees",
        "probability_of_prediction": "0.8", "probability_of_target": "0.2",
    }  # fmt: skip


@pytest.mark.parametrize("count", [1, 4, 5])
def test_the_grid_shows_the_images_and_both_classes(count: int) -> None:
    made = predictions([1, 0, 0, 0, 0])
    chosen = choose(made, count)
    images = [np.full((8, 8, 3), 10 * row, dtype=np.uint8) for row in chosen.rows]
    figure = draw_mistakes(made, chosen, images, "costs 5 $ and $ more")
    shown = [axes for axes in figure.axes if axes.images]
    assert [int(np.asarray(axes.images[0].get_array())[0, 0, 0]) // 10 for axes in shown] == chosen.rows.tolist()
    texts = {text.get_text() for text in shown[-1].texts}
    row = int(chosen.rows[-1])
    other = int(made.targets[row])
    assert f"true {made.classes[other]} {percent(SHARES[row, other])}" in texts
    assert any(text.startswith(f"{count}  predicted") for text in texts)
    figure.canvas.draw()  # dollar signs are no mathematics


def test_words() -> None:
    assert [percent(share) for share in (0, 0.0001, 0.034, 0.9991, 0.99999, 1)] == [
        "0 %", "<0.1 %", "3.4 %", "99.9 %", ">99.9 %", "100 %",
    ]  # fmt: skip
    assert plain("5 $") == r"5 \$"
