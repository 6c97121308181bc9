"""headstart features: list or remove cached features. Starts without torch."""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from headstart.errors import HeadstartError, nearest
from headstart.features.store import Entry, Store, remove
from headstart.guard import DONE
from headstart.tables import table_text

DEFAULT = Path("runs/.features")


def features(arguments: Sequence[str]) -> int:
    """List or remove the features cached below a folder; return the exit code."""
    parser = argparse.ArgumentParser(prog="headstart features", description="List or remove cached features.")
    actions = parser.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="list cached features, their networks and their sizes")
    clearing = actions.add_parser("clear", help="remove the named entries (default: all); runs compute them again")
    clearing.add_argument("entries", nargs="*", help="names in the list, or the first letters of names")
    for action in (listing, clearing):
        action.add_argument("--dir", type=Path, default=DEFAULT, help=f"folder of the cache (default: {DEFAULT})")
    options = parser.parse_args(arguments)
    if not options.dir.is_dir():
        raise HeadstartError(f"There is no folder {options.dir}; name the folder of the cache with --dir.")
    store = Store(options.dir, 0)
    if options.action == "list":
        print(entries_table(store))
    else:
        print(clear_entries(store, options.entries))
    return DONE


def entries_table(store: Store) -> str:
    """Return a table with a row per cache entry."""
    header = ["entry", "backbone", "up to", "pixels", "engine", "views", "rows", "MB", "used"]
    rows, total = [], 0
    for entry in store.entries():
        parts = entry.parts()
        size = sum(part.size for part in parts)
        total += size
        key = entry.key
        rows.append(
            [
                entry.name,
                str(key.get("backbone")),
                "pooled" if key.get("pooled") else str((key.get("stages") or ["?"])[-1]),
                str(key.get("image_size")),
                str((key.get("engine") or ["?"])[0]),
                "yes" if key.get("views") else "no",
                str(sum(part.rows for part in parts)),
                f"{size / 1e6:.1f}",
                ago(max((part.used for part in parts), default=None)),
            ]
        )
    if not rows:
        return f"no features in {store.folder}"
    right = [name in ("pixels", "rows", "MB") for name in header]
    return f"{table_text(header, rows, right)}\n{counted(len(rows))}, {total / 1e6:.1f} MB in {store.folder}"


def clear_entries(store: Store, wanted: Sequence[str]) -> str:
    """Remove the named entries, or everything; return a sentence about the freed space."""
    entries = store.entries()
    if wanted:
        chosen: dict[str, Entry] = {}
        for name in wanted:
            fitting = [entry for entry in entries if entry.name.startswith(name)]
            if not fitting:
                names = [entry.name for entry in entries]
                raise HeadstartError(f"There is no entry '{name}' in {store.folder}.{nearest(name, names)}")
            chosen |= {entry.name: entry for entry in fitting}
        entries = list(chosen.values())
        freed = sum(remove(entry.folder) for entry in entries)
    else:
        freed = sum(remove(path) for path in [*(entry.folder for entry in entries), *store.leftovers()])
    return f"{counted(len(entries))} removed, {freed / 1e6:.1f} MB freed in {store.folder}"


def counted(number: int) -> str:
    """Return "1 entry", "2 entries"."""
    return f"{number} {'entry' if number == 1 else 'entries'}"


def ago(moment: float | None) -> str:
    """Return how long ago a time was, in one unit."""
    if moment is None:
        return "–"
    seconds = max(0.0, time.time() - moment)
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return "just now"
