"""Images with several labels are split so that each part has its share of every label."""

import numpy as np
import pytest

from headstart.errors import DataError
from headstart.splits.label_splits import label_fold_of, split_off_labels

RNG = np.random.default_rng(0)
TARGETS = (RNG.random((200, 5)) < (0.7, 0.5, 0.2, 0.05, 0.02)).astype(np.float32)


def test_shares_of_labels_are_alike_and_the_seed_decides() -> None:
    stay, off = split_off_labels(TARGETS, 0.25, 0, "test")
    assert sorted([*stay, *off]) == list(range(200))
    assert 40 <= len(off) <= 60
    expected = TARGETS.sum(axis=0) * 0.25
    assert (np.abs(TARGETS[off].sum(axis=0) - expected) <= 2).all()
    assert split_off_labels(TARGETS, 0.25, 0, "test")[1].tolist() == off.tolist()
    assert split_off_labels(TARGETS, 0.25, 1, "test")[1].tolist() != off.tolist()
    assert split_off_labels(TARGETS, 0.25, 0, "validation")[1].tolist() != off.tolist()


def test_each_image_is_in_one_fold() -> None:
    parts = [label_fold_of(TARGETS, 4, fold, 0) for fold in range(4)]
    assert sorted(np.concatenate([off for _, off in parts]).tolist()) == list(range(200))
    for stay, off in parts:
        assert not set(stay) & set(off)
        assert (np.abs(TARGETS[off].sum(axis=0) - TARGETS.sum(axis=0) / 4) <= 2).all()


def test_one_label_and_few_images() -> None:
    stay, off = split_off_labels(TARGETS[:, :1], 0.2, 0, "test")
    assert abs(TARGETS[off, 0].mean() - TARGETS[stay, 0].mean()) < 0.05
    with pytest.raises(DataError, match="too few to split off a test set"):
        split_off_labels(TARGETS[:1], 0.2, 0, "test")
    with pytest.raises(DataError, match="each fold needs one"):
        label_fold_of(TARGETS[:2], 3, 0, 0)
