"""Derive independent named random streams from one seed."""

import hashlib

import numpy as np


def stream(name: str, *numbers: int) -> int:
    """Return a 63-bit seed from a name and numbers: equal for equal inputs, unrelated for different ones."""
    digest = hashlib.sha256(f"{name} {' '.join(str(int(number)) for number in numbers)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def for_torch(name: str, seed: int) -> int:
    """Return the seed if torch accepts it, or else one derived from it."""
    return seed if abs(seed) < 2**63 else stream(name, seed)


def generator(name: str, *numbers: int) -> np.random.Generator:
    """Return a NumPy generator for the named stream."""
    return np.random.default_rng(stream(name, *numbers))
