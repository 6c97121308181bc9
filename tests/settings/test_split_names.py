"""Test which names mean splits, and which are only similar."""

import pytest

from headstart.settings.split_names import split_folders, split_name, split_of

MEANT = {
    "train": "train Training training_set TRAIN trainset seg_train train_images Train-Set train2017 TrainData trainval",
    "validation": "val valid validation dev devset eval Evaluation val_set imgs_val VALID validate",
    "test": "test testing Testing_Set test_images seg_test test1 TestSet img_test",
}


@pytest.mark.parametrize(("name", "split"), [(name, split) for split in MEANT for name in MEANT[split].split()])
def test_a_name_that_means_a_split(name: str, split: str) -> None:
    assert split_of(name) == split_name(name) == split


@pytest.mark.parametrize(
    "name",
    "cat train_station steam_train test_tube pretrain evaluate_me holdout extra seg_pred train_masks contest detest"
    " train_val_test validity trainer 2019 images set __unknown__ tra\u00een".split(),
)
def test_a_name_that_means_none(name: str) -> None:
    assert split_of(name) is None
    assert split_name(name) == name


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["flowers_train", "flowers_test"], {"flowers_train": "train", "flowers_test": "test"}),
        (["flowers_train", "birds_test"], {}),
        (["steam_train", "model_train", "bus"], {}),
        (["train", "val", "holdout"], {"train": "train", "val": "validation"}),
    ],
)
def test_names_beside_one_another(names: list[str], expected: dict[str, str]) -> None:
    assert split_folders(names) == expected
