"""Decode the images of a split, or reuse the result of an earlier run."""

import contextlib
from collections.abc import Sequence

import numpy as np

from headstart.inputs.collection import Collection
from headstart.inputs.content import contents_of
from headstart.inputs.decoding import Decoder
from headstart.inputs.deep import UnreadableError
from headstart.inputs.images import content_digest
from headstart.inputs.reading import DecodedCollection, decode_all
from headstart.inputs.seen import SeenImages
from headstart.splits.splits import few_per_class


def decode_or_hash(
    collection: Collection, decoder: Decoder, keep: bool, what: str, seen: SeenImages | None
) -> DecodedCollection:
    """Decode a split, or only hash it if ``seen`` shows that it has not changed since it was decoded.

    ``keep`` keeps the decoded images; ``what`` names them in the progress.
    """
    known = seen.known(collection, decoder) if seen is not None else None
    if known is not None:
        with contextlib.suppress(UnreadableError):  # decode_all reports each image
            contents = contents_of(collection.images, what)
            if content_digest(collection.ids, collection.plain_targets, contents) == known[0]:
                return DecodedCollection(np.arange(len(collection)), None, contents, {}, known[1])
    decoded = decode_all(collection, decoder, keep, what)
    if seen is not None and not decoded.unreadable:
        digest = content_digest(collection.ids, collection.plain_targets, decoded.contents)
        seen.note(collection, decoder, digest, decoded.notes)
    return decoded


def few_readable(
    split: Collection, count: int, seed: int, class_names: Sequence[str], name: str, decoder: Decoder | None
) -> tuple[Collection, list[str]]:
    """Return ``count`` images per class of a split, and the names of the unreadable images that were skipped.

    A ``decoder`` checks each image; None checks none. Raises DataError for a class with too few images.
    """
    unreadable: set[int] = set()
    skipped: list[str] = []
    while True:
        few = few_per_class(split.targets, count, seed, list(class_names), unreadable, name)
        chosen = split.take(few)
        if decoder is None:
            return chosen, skipped
        decoded = decode_all(chosen, decoder, False, f"{name} images")
        if not decoded.unreadable:
            return chosen, skipped
        skipped += decoded.unreadable
        unreadable |= set(few[np.setdiff1d(np.arange(len(few)), decoded.kept)].tolist())
