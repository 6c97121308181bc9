"""Find images that are in two splits: exact duplicates and, on request, near duplicates."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

from headstart.inputs.decoding import PixelArray, decode_each
from headstart.inputs.images import Images

PAIRS = (("train", "test"), ("train", "validation"), ("validation", "test"))
EXAMPLES = 5  # pairs of names recorded for each pair of splits
NAMED = 2  # pairs of names in the warning
SIDE, BITS = 32, 64  # pixels of the reduced image's side, and length of its hash
# Two unrelated images differ in 32 of 64 bits on average. On 15-Scene and CIFAR-10, at most 6 bits differ for at least
# 99 % of copies that were halved, saved as JPEG of quality 30 or brightened by 15 %, but only for 2 of 9 million pairs
# of dissimilar images (whose grey values correlate by less than 0.95).
THRESHOLD = 6
FLAT = 2.0  # standard deviation in grey levels; flatter images have no recognisable structure
ROWS = 1024  # hashes compared with all others at once

Bits = NDArray[np.float32]


def leakage(splits: Mapping[str, Images], near: bool = False) -> dict[str, dict[str, Any]]:
    """Return the images that two splits share, by keys such as "train-test"; pairs without shared images are left out.

    "duplicates" counts the images of the second split whose bytes are also in the first split; "examples" lists pairs
    of names, first and second. ``near`` adds "near_duplicates", which exclude the duplicates, and "near_examples".
    """
    hashes = {name: perceptual_hashes(images, name) for name, images in splits.items()} if near else {}
    shared = {}
    for first, second in PAIRS:
        one, two = splits[first], splits[second]
        same = same_contents(one.contents, two.contents)
        found = _entry(one, two, same, "")
        if near:
            alike = near_pairs(hashes[first], hashes[second])
            found |= _entry(one, two, {second: first for second, first in alike.items() if second not in same}, "near_")
        if any(found.values()):
            shared[f"{first}-{second}"] = found
    return shared


def leakage_text(shared: Mapping[str, Mapping[str, Any]]) -> str:
    """Return one sentence on the result of ``leakage``; empty if it found nothing."""
    parts = []
    for pair, found in shared.items():
        first, second = pair.split("-")
        for prefix, how in (("", "are also in"), ("near_", "are nearly the same as one in")):
            if count := found.get(f"{prefix}duplicates"):
                examples = [f"'{two}' = '{one}'" for one, two in found[f"{prefix}examples"][:NAMED]]
                more = ", ..." if count > NAMED else ""
                parts.append(f"{count} of {second} {how} {first} ({', '.join(examples)}{more})")
    return f"splits share images, so scores are too optimistic: {'; '.join(parts)}" if parts else ""


def same_contents(first: Sequence[bytes], second: Sequence[bytes]) -> dict[int, int]:
    """Map each position in ``second`` whose content is also in ``first`` to its first position there."""
    if not set(first) & set(second):
        return {}
    places: dict[bytes, int] = {}
    for position, content in enumerate(first):
        places.setdefault(content, position)
    return {position: places[content] for position, content in enumerate(second) if content in places}


def perceptual_hash(image: PixelArray) -> Bits:
    """Return the signs, +1 or -1, of the 64 lowest frequencies of an image (H, W, 3) as (64,); all 0 if it is flat.

    The frequencies are those of the cosine transform of the image in grey at 32 x 32 pixels, without the mean. Size,
    encoding, brightness and contrast hardly change a sign (after Zauner 2010, who thresholds at the median).
    """
    small = Image.fromarray(image).convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    grey = np.asarray(small, dtype=np.float32)
    if grey.std() < FLAT:
        return np.zeros(BITS, dtype=np.float32)
    return np.where(dctn(grey, norm="ortho")[_LOWEST] > 0, 1, -1).astype(np.float32)


def perceptual_hashes(images: Images, what: str) -> Bits:
    """Return the perceptual hashes of all images (N, 64), computed in threads."""
    for_display = images.decoder.signature.for_display
    one = lambda index: perceptual_hash(for_display(images[index]))  # noqa: E731
    hashes = list(decode_each(one, len(images), f"comparing {what} images"))
    return np.stack(hashes) if hashes else np.zeros((0, BITS), dtype=np.float32)


def near_pairs(first: Bits, second: Bits, threshold: int = THRESHOLD) -> dict[int, int]:
    """Map positions in ``second`` to the nearest hash in ``first``, if at most ``threshold`` bits differ.

    The product of two hashes is 64 minus twice the number of differing bits; with a flat image it is 0.
    """
    pairs: dict[int, int] = {}
    if not len(first):
        return pairs
    for start in range(0, len(second), ROWS):
        products = second[start : start + ROWS] @ first.T
        nearest = products.argmax(axis=1)
        best = products[np.arange(len(products)), nearest]
        for row in np.flatnonzero(best >= BITS - 2 * threshold):
            pairs[start + int(row)] = int(nearest[row])
    return pairs


def _entry(one: Images, two: Images, pairs: Mapping[int, int], prefix: str) -> dict[str, Any]:
    examples = [[one.ids[first], two.ids[second]] for second, first in list(pairs.items())[:EXAMPLES]]
    return {f"{prefix}duplicates": len(pairs), f"{prefix}examples": examples}


def _lowest() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of the 64 lowest frequencies after the mean, diagonal by diagonal."""
    rows, columns = np.indices((SIDE, SIDE)).reshape(2, -1)
    order = np.lexsort((rows, rows + columns))[1 : BITS + 1]
    return rows[order], columns[order]


_LOWEST = _lowest()
