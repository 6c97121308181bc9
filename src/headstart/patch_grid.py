"""Fit a grid of nine patches, with gaps and room for jitter, into a square image."""

from headstart.errors import ConfigError

LEAST_PATCH = 6  # pixels


def patch_sizes(side: int, patch: int | None, gap: float, jitter: float) -> tuple[int, int, int]:
    """Return patch, gap and jitter in pixels for images of ``side`` pixels. Raises ConfigError if nothing fits.

    ``gap`` and ``jitter`` are divided by the side of a patch; a ``patch`` of None is the largest that fits.
    """
    found = patch or int(side / (3 + 2 * gap + 2 * jitter))
    while True:
        between, shift = round(gap * found), round(jitter * found)
        if 3 * found + 2 * between + 2 * shift <= side and found >= LEAST_PATCH:
            return found, between, shift
        if patch or found < LEAST_PATCH:
            raise ConfigError(
                f"dataset.image_size={side}: three patches of {max(found, LEAST_PATCH)} pixels with their gaps do"
                " not fit; choose larger images, or smaller task.patch and task.gap."
            )
        found -= 1
