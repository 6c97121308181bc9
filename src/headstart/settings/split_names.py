"""Recognise names, of folders or in lists, that mean train, validation or test."""

import re
from collections import defaultdict
from collections.abc import Iterable

SPLITS = ("train", "validation", "test")
WORDS = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), "train"),
    **dict.fromkeys("val valid validation validate validating".split(), "validation"),
    **dict.fromkeys("dev devel development eval evaluation".split(), "validation"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}  # fmt: skip
# Words that do not change the meaning, as in train_images, seg_test, ValidationSet, test2017.
FILLERS = frozenset(
    "set sets data dataset datasets image images img imgs pic pics picture pictures photo photos seg split splits"
    " folder dir file files crop cropped crops resized raw full all new final small mini part my the"
    " x jpg jpeg png".split()
)


def split_of(name: str) -> str | None:
    """Return train, validation or test for a name that means one of them; None for other names."""
    split, rest = _split_and_rest(name)
    return split if all(_is_filler(word) for word in rest) else None


def split_name(name: str) -> str:
    """Return train, validation or test for a name that means one of them; other names unchanged."""
    return split_of(name) or name


def split_folders(names: Iterable[str]) -> dict[str, str]:
    """Return the split of each name that means one, by itself or beside the other names.

    ``flowers_train`` may be a class; beside ``flowers_test`` it is a split.
    """
    found = {}
    alike: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    for name in names:
        split, rest = _split_and_rest(name)
        if split is None:
            continue
        if all(_is_filler(word) for word in rest):
            found[name] = split
        else:
            alike[tuple(rest)][name] = split
    for named in alike.values():
        if len(set(named.values())) > 1:
            found |= named
    return found


def words_of(name: str) -> list[str]:
    """Return the lower-case words of a name, split at signs, numbers and changes of case."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+", name)]


def _split_and_rest(name: str) -> tuple[str | None, list[str]]:
    """Return the one split that the words of a name mean, and its other words."""
    words = [part for word in words_of(name) for part in _split_compound(word)]
    meant = {WORDS[word] for word in words if word in WORDS}
    return (meant.pop() if len(meant) == 1 else None), [word for word in words if word not in WORDS]


def _split_compound(word: str) -> list[str]:
    """Return "trainset" as "train" and "set"; return another word unchanged."""
    for split in sorted(WORDS, key=len, reverse=True):
        for parts in ((split, word.removeprefix(split)), (word.removesuffix(split), split)):
            if "".join(parts) == word and (parts[0] in FILLERS or parts[1] in FILLERS):
                return list(parts)
    return [word]


def _is_filler(word: str) -> bool:
    return word in FILLERS or word.isdigit()
