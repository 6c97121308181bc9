"""Test sources of variance on designs made by hand and simulated."""

import math

import numpy as np
import pytest

from headstart.statistics import variance_sources


def test_sources_by_hand() -> None:
    # Base 0.80. Split alone: 0.80, 0.84, 0.88, variance 0.0016. Order alone: 0.80, 0.82, variance 0.0002.
    # At split 9, order alone once more: 0.60, 0.68, variance 0.0032. Pooled order: (0.0002 + 0.0032)/2 = 0.0017.
    # Each run of a set differs from the others in one stream, so nothing else varies alone; head never varies.
    split = [0, 1, 2, 0, 9, 9]
    order = [0, 0, 0, 1, 5, 6]
    found = variance_sources([0.80, 0.84, 0.88, 0.82, 0.60, 0.68], {"split": split, "order": order, "head": [0] * 6})
    assert list(found.streams) == ["order", "split"]  # the strongest first; head is left out
    assert found.streams["split"].deviation == pytest.approx(0.04)
    assert (found.streams["split"].sets, found.streams["split"].runs) == (1, 3)
    assert found.streams["order"].deviation == pytest.approx(math.sqrt(0.0017))
    assert (found.streams["order"].sets, found.streams["order"].runs) == (2, 4)
    assert found.streams["order"].share == pytest.approx(17 / 33)
    assert sum(source.share for source in found.streams.values()) == pytest.approx(1)


def test_everything_at_once_prefers_the_runs_made_for_it() -> None:
    rng = np.random.default_rng(0)
    effects = {"split": 0.03, "head": 0.01, "order": 0.005}
    rows: list[tuple[int, ...]] = [(0, 0, 0)]
    rows += [
        tuple(value if place == stream else 0 for place in range(3)) for stream in range(3) for value in range(1, 40)
    ]
    rows += [(value, value, value) for value in range(1, 40)]
    tables = [size * rng.normal(size=40) for size in effects.values()]
    scores = [0.8 + sum(table[value] for table, value in zip(tables, row, strict=True)) for row in rows]
    settings = {name: [row[place] for row in rows] for place, name in enumerate(effects)}
    found = variance_sources(scores, settings)
    assert list(found.streams) == ["split", "head", "order"]
    for name, table in zip(effects, tables, strict=True):
        assert found.streams[name].deviation == pytest.approx(table.std(ddof=1))
        assert (found.streams[name].sets, found.streams[name].runs) == (1, 40)
    assert found.everything is not None
    assert found.everything.runs == 40
    assert found.everything.deviation == pytest.approx(np.std([scores[0], *scores[-39:]], ddof=1))
    assert found.everything.share == pytest.approx(1, abs=0.6)
    mixed = rng.permutation(len(rows))
    again = variance_sources([scores[i] for i in mixed], {k: [v[i] for i in mixed] for k, v in settings.items()})
    assert again.everything is not None
    assert again.everything.deviation == pytest.approx(found.everything.deviation)


def test_repeated_runs_count_once() -> None:
    # 0.80 and 0.82 repeat one setting: their mean 0.81 stands beside 0.85; variance 0.0008.
    found = variance_sources([0.80, 0.82, 0.85], {"order": [0, 0, 1]})
    assert found.streams["order"].runs == 2
    assert found.streams["order"].deviation == pytest.approx(math.sqrt(0.0008))
    assert found.everything is None  # one stream varies: everything at once is the same


def test_nothing_to_find() -> None:
    assert not variance_sources([0.8, 0.9], {}).streams
    assert not variance_sources([0.8, 0.9], {"order": [1, 1]}).streams
    together = variance_sources([0.8, 0.9], {"order": [0, 1], "head": [0, 1]})
    assert not together.streams
    assert together.everything is not None
    assert together.everything.deviation == pytest.approx(0.1 / math.sqrt(2))
    assert math.isnan(together.everything.share)
    same = variance_sources([0.8, 0.8], {"order": [0, 1]}).streams["order"]
    assert same.deviation == 0
    assert math.isnan(same.share)


def test_wrong_input() -> None:
    with pytest.raises(ValueError, match="'order' has 1 values for 2 scores"):
        variance_sources([0.8, 0.9], {"order": [1]})
    with pytest.raises(ValueError, match="NaN"):
        variance_sources([0.8, math.nan], {"order": [0, 1]})
