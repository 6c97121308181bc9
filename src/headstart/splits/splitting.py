"""Complete the source's splits to train, validation and test by splitting off train."""

from dataclasses import dataclass

from headstart.errors import DataError, nearest
from headstart.inputs.collection import Collection, Targets, joined
from headstart.splits.grouped_splits import check_class_groups, grouped_fold_of, grouped_text, split_off_groups
from headstart.splits.label_splits import label_fold_of, split_off_labels
from headstart.splits.splits import fold_of, split_off
from headstart.targets.rules import TargetRules

Splits = dict[str, Collection]


@dataclass(frozen=True)
class Splitting:
    """Split off missing splits by fraction and seed, and keep groups together.

    ``completed`` and ``folded`` also return a text that describes the new splits. They raise DataError for images that
    cannot be split this way.
    """

    name: str  # of the data set
    class_names: list[str]
    rules: TargetRules
    seed: int
    validation_fraction: float
    test_fraction: float

    def completed(self, found: Splits, test_split: str | None) -> tuple[Splits, str]:
        """Return the source's splits, with ``test_split`` as test and missing ones split off train."""
        given = dict(found)
        train = given.pop("train")
        if test_split is not None:
            if test_split not in given:
                raise DataError(
                    f"dataset.test_split={test_split}: {self.name} has no such split beside train."
                    + nearest(test_split, given)
                )
            test: Collection | None = given[test_split]
            validation = given.get("validation") if test_split != "validation" else None
        else:
            test, validation = given.get("test"), given.get("validation")
        made = [name for name, split in (("validation", validation), ("test", test)) if split is None]
        notes = [f"{' and '.join(made)} split off train, as the source has none"] if made else []
        if made and train.groups is not None:
            self._check_groups(train, 1 + len(made), f"to split off {' and '.join(made)}")
        if test is None:
            train, test, text = self._split_off(train, self.test_fraction, "test", keep=len(made))
            notes += text
        if validation is None:
            train, validation, text = self._split_off(train, self.validation_fraction, "validation")
            notes += text
        return {"train": train, "validation": validation, "test": test}, "; ".join(notes)

    def folded(self, found: Splits, folds: int, fold: int) -> tuple[Splits, str]:
        """Return one fold of the training and validation images as test; the source's test images are not read."""
        pooled = joined([found["train"], *(split for name, split in found.items() if name == "validation")])
        if pooled.groups is None and self.rules.several_labels:
            stay, off = label_fold_of(pooled.targets, folds, fold, self.seed)
        elif pooled.groups is None:
            strata, names = self._strata(pooled)
            stay, off = fold_of(strata, folds, fold, self.seed, names)
        else:
            self._check_groups(pooled, 3, "to be in train, validation and test")
            strata, names = self._strata(pooled)
            stay, off = grouped_fold_of(strata, pooled.groups, folds, fold, self.seed, names)
        train, validation, text = self._split_off(pooled.take(stay), self.validation_fraction, "validation")
        notes = [f"test is fold {fold} of {folds} of the images; validation split off the rest", *text]
        return {"train": train, "validation": validation, "test": pooled.take(off)}, "; ".join(notes)

    def _split_off(
        self, train: Collection, fraction: float, what: str, keep: int = 1
    ) -> tuple[Collection, Collection, list[str]]:
        """Return the images that stay, the images that are split off, and notes; ``keep`` groups of each class stay."""
        if train.groups is None and self.rules.several_labels:
            stay, off = split_off_labels(train.targets, fraction, self.seed, what)
            return train.take(stay), train.take(off), []
        strata, names = self._strata(train)
        if train.groups is None:
            stay, off = split_off(strata, fraction, self.seed, names, what)
            return train.take(stay), train.take(off), []
        stay, off = split_off_groups(strata, train.groups, fraction, self.seed, names, what, keep)
        made = train.take(off)
        return (
            train.take(stay),
            made,
            [grouped_text(what, made, len(train), self.class_names if self.rules.from_folders else [])],
        )

    def _check_groups(self, images: Collection, needed: int, why: str) -> None:
        strata, names = self._strata(images)
        check_class_groups(strata, images.groups or [], names, needed, why)

    def _strata(self, images: Collection) -> tuple[Targets, list[str]]:
        return self.rules.strata(images.targets, self.class_names)
