"""Read groups, whose images must stay in one split, from image names."""

import re
from dataclasses import replace

from headstart.errors import DataError
from headstart.inputs.collection import Collection


def grouped_by_name(collection: Collection, pattern: str) -> Collection:
    """Return the collection with each image's group: the match of the pattern in its name.

    A bracketed part of the pattern gives the group; without brackets, the whole match does. Raises DataError for a name
    without a match.
    """
    compiled = re.compile(pattern)
    groups = []
    for name in collection.ids:
        found = compiled.search(name)
        group = found[compiled.groups] if found is not None else None
        if not group:
            raise DataError(
                f"dataset.groups={pattern}: the pattern finds no group in the name '{name}'; expected one that fits"
                " every image, such as 'patient(\\d+)'."
            )
        groups.append(group)
    return replace(collection, groups=groups)
