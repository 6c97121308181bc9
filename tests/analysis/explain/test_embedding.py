"""Test the embedding of features: the chosen images, their points, and the styles of classes."""

import importlib.util
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from headstart.analysis.explain.embedding import check_method, draw_embedding, embed, stratified, style_of
from headstart.errors import ConfigError, DataError
from headstart.kinds.class_predictions import ClassPredictions


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=300), st.integers(1, 100))
def test_every_class_in_its_share(labels: list[int], most: int) -> None:
    targets = np.array(labels)
    rows = stratified(targets, most)
    assert len(rows) == min(len(targets), most)
    assert (np.diff(rows) > 0).all()
    for label in range(6):
        share = (targets == label).sum() * len(rows) / len(targets)
        assert abs((targets[rows] == label).sum() - share) <= 1


def test_principal_components() -> None:
    """The components of a rotated cross give its distances from the middle, and its shares of variance."""
    rng = np.random.default_rng(0)
    cross = np.array([[3.0, 0], [-3, 0], [0, 1], [0, -1]])
    turned = cross @ np.linalg.qr(rng.normal(size=(6, 6)))[0][:2]
    found = embed((turned + 5).astype(np.float32), np.arange(4), "pca")
    np.testing.assert_allclose(np.abs(found.points), np.abs(cross), atol=1e-5)
    assert found.labels == (
        "principal component 1 (90.0 % of variance)",
        "principal component 2 (10.0 % of variance)",
    )
    assert embed(np.ones((4, 3), dtype=np.float32), np.arange(4), "pca").points.tolist() == [[0, 0]] * 4
    with pytest.raises(DataError, match="two images and two features"):
        embed(np.ones((1, 3), dtype=np.float32), np.arange(1), "pca")


def test_eighty_classes_look_different() -> None:
    assert len({style_of(label) for label in range(80)}) == 80
    for label in range(79):
        assert all(one != other for one, other in zip(style_of(label), style_of(label + 1), strict=True))


@pytest.mark.parametrize("classes", [3, 100])
def test_mistakes_are_hollow(classes: int) -> None:
    targets = np.array([0, 0, 1, 2])
    predicted = np.array([0, 1, 1, 0])
    names = [f"class ${number}" for number in range(classes)]
    predictions = ClassPredictions(list("abcd"), targets, predicted, np.zeros((4, classes)), names)
    points = embed(np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32), np.arange(4), "pca")
    figure = draw_embedding(predictions, points, "a run")
    drawn = [(len(np.asarray(c.get_offsets())), np.size(c.get_facecolor()) > 0) for c in figure.axes[0].collections]
    assert sum(count for count, filled in drawn if filled) == 2
    assert sum(count for count, filled in drawn if not filled) == 2
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(legend) == (classes + 2 if classes <= 80 else 2)
    assert "2 of them wrong" in figure.axes[0].get_title()


def test_wrong_methods_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    check_method("pca")
    with pytest.raises(ConfigError, match=r"no such embedding\. Did you mean 'umap'"):
        check_method("umaps")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'headstart\[umap\]'"):
        check_method("umap")


def test_umap_leaves_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run after it in the same process must round its results as before."""

    def fit_transform(features: NDArray[np.float32]) -> NDArray[np.float32]:
        torch.set_num_threads(before + 1)
        return features[:, :2]

    before = torch.get_num_threads()
    reducer = SimpleNamespace(fit_transform=fit_transform)
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=lambda **settings: reducer))
    embed(np.zeros((6, 3), np.float32), np.arange(6), "umap")
    assert torch.get_num_threads() == before


def test_umap_repeats_and_keeps_clusters_apart() -> None:
    pytest.importorskip("umap")
    rng = np.random.default_rng(0)
    middles = np.repeat([[0.0] * 8, [30.0] * 8], 12, axis=0)
    features = (middles + rng.normal(size=(24, 8))).astype(np.float32)
    one, two = (embed(features, np.arange(24), "umap") for _ in range(2))
    assert (one.points == two.points).all()
    distance = np.linalg.norm(one.points[:, None] - one.points, axis=2) + 1e9 * np.eye(24)
    assert ((distance.argmin(axis=1) < 12) == (np.arange(24) < 12)).all()
    with pytest.raises(DataError, match="at least 5"):
        embed(features[:4], np.arange(4), "umap")
