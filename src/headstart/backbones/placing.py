"""Match the tensors of a file to those of a network by name, shape and type."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

Tensors = Mapping[str, Tensor]
Adapt = Callable[[dict[str, Tensor]], dict[str, Tensor]]

ENOUGH = 0.9  # a file that fills a smaller fraction of the backbone's tensors is for another network
SHOWN = 3  # names of each side in an error message
TRIED = 4  # prefixes tried in each sub-dictionary, most frequent first
COUNTER = "num_batches_tracked"  # old files lack it, and nothing here reads it
MASK = "mask_token"  # used in pretraining only
# First components of names of output layers, which are not loaded.
HEAD = re.compile(r"(fc\d*|classif\w*|heads?|head_\w+|\w+_head|last_linear|logits|output|aux\w*|linear|pred\w*)$", re.I)
# The preference among sub-networks that fit equally well: averaged weights first, momentum copies last.
ORDER = (r"ema|averaged?|avg", r"teacher", r"", r"student", r"encoder_k|key|momentum|target")


@dataclass(frozen=True)
class Placement:
    """How the tensors of a file fit into a network."""

    fitting: Mapping[str, Tensor]
    missing: tuple[str, ...]  # in the network, but absent or of another shape in the file
    misshapen: tuple[str, ...]  # the missing ones that have another shape in the file
    extra: tuple[str, ...]  # in the file, within a part that the network has, but unknown to it
    unused: tuple[str, ...]  # in the file, within other parts, without the classifier
    fraction: float  # of the network's tensors that fit


@dataclass(frozen=True)
class Candidate:
    """Tensors of a file that may be the network's: one sub-dictionary, names without a prefix."""

    path: tuple[str, ...]
    prefix: str
    tensors: Mapping[str, Tensor]

    @property
    def rank(self) -> int:
        """Return its place in ``ORDER``."""
        words = re.split(r"[./]", "/".join((*self.path, self.prefix)).lower())
        found = [number for number, role in enumerate(ORDER) if role and _has_role(role, words)]
        return found[0] if found else ORDER.index("")

    def overlaps(self, other: "Candidate") -> bool:
        """Return whether both hold some of the same tensors."""
        nested = self.prefix.startswith(other.prefix) or other.prefix.startswith(self.prefix)
        return self.path == other.path and nested

    def __str__(self) -> str:
        where = [f"'{'.'.join(self.path)}'"] if self.path else []
        return ", ".join(where + ([f"names without '{self.prefix}'"] if self.prefix else []))


def place(wanted: Tensors, found: Tensors) -> Placement:
    """Match a network's tensors by name with a file's, and sort the rest.

    Only names, shapes and types matter, so both may be on the meta device.
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
        fraction=1 - len(missing) / max(len(needed), 1),
    )


def refusal(placed: Placement, wanted: Tensors, found: Tensors, what: str, backbone: str) -> str | None:
    """Return one sentence on why the tensors do not fit the network; None if they fit."""
    if placed.fraction >= ENOUGH and (channels := _channels(placed, wanted, found)):
        return f"{what}: its first layer {channels} channels, but {backbone} takes images of 3."
    if placed.fraction < ENOUGH:
        needed = sum(not name.endswith(COUNTER) for name in wanted)
        return (
            f"{what} fills {placed.fraction:.0%} of the tensors of {backbone} ({needed - len(placed.missing)} of"
            f" {needed}), but at least {ENOUGH:.0%} are needed: is it for another network?"
            f" {backbone} lacks {_examples(placed.missing, wanted)}; the file has"
            f" {_examples((*placed.misshapen, *placed.extra, *placed.unused), found) or 'no others'}."
        )
    if placed.extra:
        count = len(placed.extra)
        return (
            f"{what} has {count} tensor{'s' * (count > 1)} that {backbone} lacks, such as"
            f" {_examples(placed.extra, found)}: is it for a bigger network? {backbone}"
            f" {f'lacks {_examples(placed.missing, wanted)}' if placed.missing else f'ends with {_ending(wanted)}'}."
        )
    if placed.misshapen:
        return (
            f"{what}: some tensors do not have the shape that {backbone} needs: "
            + "; ".join(
                f"{name} has shape {tuple(found[name].shape)} instead of {tuple(wanted[name].shape)}"
                for name in placed.misshapen[:SHOWN]
            )
            + "."
        )
    return None


def candidates(groups: Mapping[tuple[str, ...], Tensors], wanted: Collection[str]) -> list[Candidate]:
    """List the tensors that may be the network's in each sub-dictionary of a file.

    It tries the most frequent prefixes before known names. It also tries unchanged names, and names without their
    common prefix, because libraries may use other names for a network.
    """
    listed: dict[tuple[tuple[str, ...], str], Candidate] = {}
    for path, tensors in groups.items():
        common = Counter(prefix for name in tensors for prefix in _prefixes(name, wanted))
        prefixes = [prefix for prefix, _ in common.most_common(TRIED)]
        for prefix in dict.fromkeys([*prefixes, "", _common_prefix(tensors)]):
            rest = {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
            listed[path, prefix] = Candidate(path, prefix, rest)
    return list(listed.values())


def _is_bookkeeping(name: str, tensor: Tensor) -> bool:
    """Return whether a tensor is a counter or an index that no output depends on."""
    return name == MASK or tensor.numel() <= 1 or not (tensor.is_floating_point() or tensor.is_complex())


def _part(name: str) -> str:
    """Return the part of a network that a tensor belongs to, without numbers: layer3.0.bn1.bias gives layer#.

    A tensor of the network itself gives its last word: cls_token and reg_token are of one kind.
    """
    first, dot, _ = name.partition(".")
    return re.sub(r"\d+", "#", first) if dot else f"({first.rpartition('_')[2]})"


def _channels(placed: Placement, wanted: Tensors, found: Tensors) -> str | None:
    """Describe a first layer whose images do not have three channels; None without one."""
    for name in placed.misshapen:
        own, other = tuple(wanted[name].shape), tuple(found[name].shape)
        if len(own) == len(other) == 4 and own[1] == 3 and own[:1] + own[2:] == other[:1] + other[2:]:
            return f"{name} was made for images of {other[1]}"
    return None


def _prefixes(name: str, wanted: Collection[str]) -> Iterable[str]:
    """Yield the beginnings of a name that are followed by a name of the network."""
    start = 0
    while True:
        if name[start:] in wanted:
            yield name[:start]
        start = name.find(".", start) + 1
        if not start:
            return


def _common_prefix(names: Iterable[str]) -> str:
    """Return the dotted prefix that all names share."""
    split = [name.split(".")[:-1] for name in names]
    shared = []
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return "".join(f"{part}." for part in shared)


def _has_role(role: str, words: Iterable[str]) -> bool:
    return any(re.search(rf"(^|_)({role})(_|$)", word) for word in words)


def _ending(wanted: Tensors) -> str:
    """Return the last names of a network, without counters."""
    return _examples([name for name in wanted if not name.endswith(COUNTER)][-SHOWN:], wanted)


def _examples(names: Iterable[str], tensors: Tensors) -> str:
    shown = [f"{name} {tuple(tensors[name].shape)}" for name in dict.fromkeys(names)]
    return ", ".join(shown[:SHOWN])
