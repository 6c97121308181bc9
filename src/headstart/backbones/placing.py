"""Which tensors of a file go where in a network: by names, shapes and types alone."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

Tensors = Mapping[str, Tensor]
Adapt = Callable[[dict[str, Tensor]], dict[str, Tensor]]

ENOUGH = 0.9  # a file that fills less than this share of the backbone's tensors is for another network
SHOWN = 3  # names of each side in a refusal
TRIED = 4  # prefixes of a sub-dictionary that are tried, those of most names first
COUNTER = "num_batches_tracked"  # old files lack it, and nothing here reads it
MASK = "mask_token"  # of pretraining only: networks that classify never see it
# First components of names that belong to output layers, which are not taken.
HEAD = re.compile(r"(fc\d*|classif\w*|heads?|head_\w+|\w+_head|last_linear|logits|output|aux\w*|linear|pred\w*)$", re.I)
# Sub-networks that fit equally well are taken in this order: averages first, those that only follow others last.
ORDER = (r"ema|averaged?|avg", r"teacher", r"", r"student", r"encoder_k|key|momentum|target")


@dataclass(frozen=True)
class Placement:
    """How the tensors of a file fit into a network."""

    fitting: Mapping[str, Tensor]
    missing: tuple[str, ...]  # of the network, not in the file or of another shape there
    misshapen: tuple[str, ...]  # of those, the ones of another shape
    extra: tuple[str, ...]  # of the file: of parts that the network has, but not there
    unused: tuple[str, ...]  # of the file: of other parts, its classifier left out
    share: float  # of the network's tensors that fit


@dataclass(frozen=True)
class Candidate:
    """Tensors of a file that may be those of the network: of one sub-dictionary, names without a prefix."""

    path: tuple[str, ...]
    prefix: str
    tensors: Mapping[str, Tensor]

    @property
    def rank(self) -> int:
        """Its place in ``ORDER``."""
        words = re.split(r"[./]", "/".join((*self.path, self.prefix)).lower())
        found = [number for number, role in enumerate(ORDER) if role and _plays(role, words)]
        return found[0] if found else ORDER.index("")

    def overlaps(self, other: "Candidate") -> bool:
        """Return whether both hold some of the same tensors."""
        nested = self.prefix.startswith(other.prefix) or other.prefix.startswith(self.prefix)
        return self.path == other.path and nested

    def __str__(self) -> str:
        where = [f"'{'.'.join(self.path)}'"] if self.path else []
        return ", ".join(where + ([f"names without '{self.prefix}'"] if self.prefix else []))


def place(wanted: Tensors, found: Tensors) -> Placement:
    """Give each tensor of a network, by name, that of a file, and judge those that are left over.

    Only names, shapes and types matter, so both may be without values.
    """
    fitting = {name: tensor for name, tensor in found.items() if name in wanted and tensor.shape == wanted[name].shape}
    needed = [name for name in wanted if not name.endswith(COUNTER)]
    missing = tuple(name for name in needed if name not in fitting)
    left = [name for name in found if name not in wanted]
    parts = {_part(name) for name in wanted}
    left = [name for name in left if not HEAD.match(name.partition(".")[0])]
    extra = tuple(name for name in left if _part(name) in parts)
    if all(_is_bookkeeping(name, found[name]) for name in extra):
        extra = ()
    return Placement(
        fitting=fitting,
        missing=missing,
        misshapen=tuple(name for name in missing if name in found),
        extra=extra,
        unused=tuple(name for name in left if name not in extra and not _is_bookkeeping(name, found[name])),
        share=1 - len(missing) / max(len(needed), 1),
    )


def refusal(placed: Placement, wanted: Tensors, found: Tensors, what: str, backbone: str) -> str | None:
    """Say in one sentence why tensors are not those of the network; None where they are."""
    if placed.share >= ENOUGH and (channels := _channels(placed, wanted, found)):
        return f"{what}: its first layer {channels} channels, {backbone} takes images of 3."
    if placed.share < ENOUGH:
        needed = sum(not name.endswith(COUNTER) for name in wanted)
        return (
            f"{what} fills {placed.share:.0%} of the tensors of {backbone} ({needed - len(placed.missing)} of"
            f" {needed}), at least {ENOUGH:.0%} are needed: is it for another network?"
            f" {backbone} lacks {_some(placed.missing, wanted)}; the file has"
            f" {_some((*placed.misshapen, *placed.extra, *placed.unused), found) or 'no others'}."
        )
    if placed.extra:
        count = len(placed.extra)
        return (
            f"{what} holds {count} tensor{'s' * (count > 1)} for which {backbone} has no place, such as"
            f" {_some(placed.extra, found)}: is it for a bigger network? {backbone}"
            f" {f'lacks {_some(placed.missing, wanted)}' if placed.missing else f'ends with {_last(wanted)}'}."
        )
    if placed.misshapen:
        return (
            f"{what}: its tensors have other shapes than those of {backbone}: "
            + "; ".join(
                f"{name} has shape {tuple(found[name].shape)}, {backbone} needs {tuple(wanted[name].shape)}"
                for name in placed.misshapen[:SHOWN]
            )
            + "."
        )
    return None


def candidates(groups: Mapping[tuple[str, ...], Tensors], wanted: Collection[str]) -> list[Candidate]:
    """List what may be the network's tensors in the sub-dictionaries of a file.

    A prefix is what stands before a name of the network in so many names of the file. The whole sub-dictionary, and
    all of it without what its names have in common, are tried too, as libraries know other names for some networks.
    """
    listed: dict[tuple[tuple[str, ...], str], Candidate] = {}
    for path, tensors in groups.items():
        common = Counter(prefix for name in tensors for prefix in _prefixes(name, wanted))
        prefixes = [prefix for prefix, _ in common.most_common(TRIED)]
        for prefix in dict.fromkeys([*prefixes, "", _in_common(tensors)]):
            rest = {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
            listed[path, prefix] = Candidate(path, prefix, rest)
    return list(listed.values())


def _is_bookkeeping(name: str, tensor: Tensor) -> bool:
    """Return whether a tensor is a counter or an index, which no output depends on."""
    return name == MASK or tensor.numel() <= 1 or not (tensor.is_floating_point() or tensor.is_complex())


def _part(name: str) -> str:
    """Return the part of a network that a tensor belongs to, numbers left out: layer3.0.bn1.bias is of layer#.

    Tensors of the network itself go by their last word: cls_token and reg_token are of one kind.
    """
    first, dot, _ = name.partition(".")
    return re.sub(r"\d+", "#", first) if dot else f"({first.rpartition('_')[2]})"


def _channels(placed: Placement, wanted: Tensors, found: Tensors) -> str | None:
    """Say which tensor is the first layer of images that have other channels than three."""
    for name in placed.misshapen:
        own, other = tuple(wanted[name].shape), tuple(found[name].shape)
        if len(own) == len(other) == 4 and own[1] == 3 and own[:1] + own[2:] == other[:1] + other[2:]:
            return f"{name} was made for images of {other[1]}"
    return None


def _prefixes(name: str, wanted: Collection[str]) -> Iterable[str]:
    """Return what stands before a name of the network in this one, if it ends in one."""
    start = 0
    while True:
        if name[start:] in wanted:
            yield name[:start]
        start = name.find(".", start) + 1
        if not start:
            return


def _in_common(names: Iterable[str]) -> str:
    """Return the dotted beginning that all names share."""
    split = [name.split(".")[:-1] for name in names]
    shared = []
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return "".join(f"{part}." for part in shared)


def _plays(role: str, words: Iterable[str]) -> bool:
    return any(re.search(rf"(^|_)({role})(_|$)", word) for word in words)


def _last(wanted: Tensors) -> str:
    """Return the last names of a network, counters left out."""
    return _some([name for name in wanted if not name.endswith(COUNTER)][-SHOWN:], wanted)


def _some(names: Iterable[str], tensors: Tensors) -> str:
    shown = [f"{name} {tuple(tensors[name].shape)}" for name in dict.fromkeys(names)]
    return ", ".join(shown[:SHOWN])
