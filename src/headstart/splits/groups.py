"""Groups of images that must stay in one split, read from the names of the images."""

import re
from dataclasses import replace

from headstart.errors import DataError
from headstart.inputs.collection import Collection


def grouped_by_name(collection: Collection, pattern: str) -> Collection:
    """Return the collection with the group of each image: what the pattern finds in its name.

    A part of the pattern in brackets is the group, else all that matches is. Raises DataError for a name without it.
    """
    compiled = re.compile(pattern)
    groups = []
    for name in collection.ids:
        found = compiled.search(name)
        group = found[compiled.groups] if found is not None else None
        if not group:
            raise DataError(
                f"dataset.groups={pattern}: it finds no group in the name '{name}'; expected a pattern that fits every"
                " image, such as 'patient(\\d+)'."
            )
        groups.append(group)
    return replace(collection, groups=groups)
