"""Sample-level views and batch-level mixing, composable in a list."""

from collections.abc import Iterable

from headstart.augmentations.learned.view import Learned
from headstart.augmentations.mixes import CutMix, Mix, Mixup
from headstart.augmentations.views import AugMix, CropResize, FlipCrop, View

__all__ = ["AugMix", "CropResize", "CutMix", "FlipCrop", "Learned", "Mix", "Mixup", "View", "split_views_and_mixes"]


def split_views_and_mixes(items: Iterable[View | Mix]) -> tuple[list[View], list[Mix]]:
    """Views run on single pictures in the loader, mixes on whole batches on the device; each in the order given."""
    items = list(items)
    return [item for item in items if isinstance(item, View)], [item for item in items if isinstance(item, Mix)]
