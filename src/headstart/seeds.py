"""Named streams of random numbers: one seed, many uses that do not disturb each other."""

import hashlib

import numpy as np


def stream(name: str, *numbers: int) -> int:
    """A 63-bit seed from a name and numbers; equal inputs give equal seeds, different ones unrelated seeds."""
    digest = hashlib.sha256(f"{name} {' '.join(str(int(number)) for number in numbers)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def for_torch(name: str, seed: int) -> int:
    """Return the seed itself where torch takes it, else one made of it."""
    return seed if abs(seed) < 2**63 else stream(name, seed)


def generator(name: str, *numbers: int) -> np.random.Generator:
    """NumPy's generator on the stream of that name."""
    return np.random.default_rng(stream(name, *numbers))
