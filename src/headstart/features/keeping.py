"""Get the features of a split from the cache, or compute and cache them."""

import contextlib
import hashlib
import inspect
import itertools
import json
import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from headstart.data import ImageSplit
from headstart.errors import ConfigError, HeadstartError
from headstart.features.choice import EngineChoice, Work, relative_error
from headstart.features.compute import Key, compute, stacked
from headstart.features.engines import Engine, engine_version
from headstart.features.prefix import FrozenPrefix, own_entry, reference
from headstart.features.rows import InMemory, OnDisk, Rows, as_stored
from headstart.features.settings import FeatureSettings
from headstart.features.store import (
    DamagedError,
    Entry,
    Names,
    PartWriter,
    Store,
    StoredPart,
    TooLargeError,
    open_part,
    remove,
    row_names,
)
from headstart.inputs.decoding import RULES
from headstart.versions import code_version

log = logging.getLogger(__name__)
PART_BYTES = 1024**3  # a long computation is stored in parts of this size: a killed run loses at most one
PROBED, MOST_PROBED = 4, 16  # cached rows recomputed as a check, and most parts checked
_PROBED: set[Path] = set()  # parts that this process has checked


@dataclass(frozen=True)
class KeptFeatures:
    """Features of a split, and their cost."""

    rows: Rows | None  # None if they fit neither on disk nor in memory
    total: int
    found: int
    nbytes: int
    seconds: float  # spent on loading or computing
    seconds_a_row: float  # to compute one row with this engine
    kept: bool  # stored on disk


class Keeper:
    """Get the features of one frozen prefix from its store, or compute them with an engine and store them."""

    def __init__(
        self,
        prefix: FrozenPrefix,
        settings: FeatureSettings,
        store: Store,
        device: torch.device,
        autocast: torch.dtype | None,
        sample_from: ImageSplit,
        images: int,
    ) -> None:
        self.prefix, self.settings, self.store = prefix.to(device), settings, store
        self.device, self.autocast = device, autocast
        self.work = Work(
            prefix,
            device,
            autocast,
            images,
            lambda count: stacked(sample_from, [(0, i) for i in range(min(count, len(sample_from)))], count),
        )
        self.choice = EngineChoice(self.work, settings.engine, settings.precision)
        self.prefix_key = prefix.key()
        self.keeping = True

    def get(self, name: str, split: ImageSplit, views: int = 1) -> KeptFeatures:
        """Return features of all images, ``views`` each: the first view of every image, then the second, and so on.

        Raises HeadstartError if the cached features differ from the prefix's output.
        """
        start = time.perf_counter()
        keys = [(epoch, position) for epoch in range(views) for position in range(len(split))]
        names = row_names([row_digest(split, key) for key in keys])
        entry = self.entry(split)
        found = locate(entry, names)
        if found.missing.any():
            engine = self.choice.engine()
            entry = self.entry(split)  # the engine, and so the key, may have changed
            with self._alone(entry):
                found = locate(entry, names)  # another run may have computed them meanwhile
                self._probe(entry, found, split, keys)
                if found.missing.any():
                    return self._compute(name, split, keys, names, entry, found, engine, start)
        self._probe(entry, found, split, keys)
        rows, seconds = self._held(found), time.perf_counter() - start
        log.info(
            "%s: %s of %d images found in %s, %.1f MB; computing them takes %.1f s",
            name, self.prefix.label, len(keys), entry.folder, found.nbytes / 1e6, found.seconds_a_row * len(keys),
        )  # fmt: skip
        return KeptFeatures(rows, len(keys), len(keys), found.nbytes, seconds, found.seconds_a_row, True)

    def entry(self, split: ImageSplit) -> Entry:
        """Return the entry for these images; its key has everything that determines the rows except the images."""
        key = self.prefix_key | {
            "engine": [self.choice.name, engine_version(self.choice.name)],
            "precision": f"torch.{self.choice.computes_in}",
            "device": device_key(self.device),
            "decoder": [repr(split.source.decoder), RULES],
            **own_entry([split.source.decoder, *self.prefix.modules(), *(split.views or [])]),
        }
        if split.views:
            key["views"] = [view_key(view) for view in split.views]
            key["view_seed"] = split.view_seed
            key["view_code"] = [code_version("augmentations"), f"opencv {cv2.__version__}"]
        return self.store.entry(key)

    def _compute(
        self,
        name: str,
        split: ImageSplit,
        keys: Sequence[Key],
        names: Names,
        entry: Entry,
        found: "Located",
        engine: Engine,
        start: float,
    ) -> KeptFeatures:
        began = time.perf_counter()
        if split.views:
            split.source.load(f"{name} images")  # each image is needed once per view
        missing = np.flatnonzero(found.missing)
        batches = compute(split, [keys[int(i)] for i in missing], engine, f"{name} features")
        first = next(batches)
        shape, dtype = first.shape[1:], first.dtype
        nbytes = len(keys) * first[0].nbytes
        values = np.empty((len(keys), *shape), dtype) if nbytes <= self.settings.memory_bytes() else None
        writer = Writer(entry, names[missing], shape, dtype, found.parts) if self.keeping else None
        done = 0
        try:
            for batch in itertools.chain([first], batches):
                if values is not None:
                    values[missing[done : done + len(batch)]] = batch
                done += len(batch)
                if writer is not None:
                    try:
                        writer.put(batch)
                    except OSError as error:
                        self._cannot_keep(error)
                        writer.abandon()
                        writer = None
                if writer is None and values is None:
                    return self._given_up(name, len(keys), start)
        except BaseException:
            if writer is not None:
                writer.abandon()
            raise
        finally:
            batches.close()
        a_row = (time.perf_counter() - began) / len(missing)
        rows: Rows
        if values is not None:
            if len(here := np.flatnonzero(~found.missing)):
                values[here] = found.read(here)
            rows = self._on_device(InMemory(torch.from_numpy(values)))
        else:
            rows = located = locate(entry, names)
            if located.missing.any():  # evicted by another run meanwhile
                return self._given_up(name, len(keys), start)
        before = f"{len(keys) - len(missing)} found, " if len(missing) < len(keys) else ""
        log.info(
            "%s: %s of %d images, %s%d computed in %.1f s with %s; %.1f MB %s",
            name, self.prefix.label, len(keys), before, len(missing), time.perf_counter() - start, engine.name,
            nbytes / 1e6, f"kept in {entry.folder}" if writer is not None else "held in memory",
        )  # fmt: skip
        seconds = time.perf_counter() - start
        return KeptFeatures(rows, len(keys), len(keys) - len(missing), nbytes, seconds, a_row, writer is not None)

    def _given_up(self, name: str, total: int, start: float) -> KeptFeatures:
        log.warning("the features of %s fit neither in memory nor on disk, so they are not reused", name)
        return KeptFeatures(None, total, 0, 0, time.perf_counter() - start, 0.0, False)

    def check(self, split: ImageSplit) -> None:
        """Check a split's cached features against the current network before they are needed. Raises HeadstartError."""
        keys = [(0, position) for position in range(len(split))]
        entry = self.entry(split)
        self._probe(entry, locate(entry, row_names([row_digest(split, key) for key in keys])), split, keys)

    def _alone(self, entry: Entry) -> ExitStack:
        """Hold the entry's lock, waiting for it if needed; no lock if the folder cannot be written."""
        stack = ExitStack()
        if self.keeping:
            try:
                if not stack.enter_context(entry.locked(wait=False)):
                    log.info("another run is computing features of this network; waiting for it")
                    stack.enter_context(entry.locked())
                entry.clean()
            except OSError as error:
                self._cannot_keep(error)
        return stack

    def _cannot_keep(self, error: OSError) -> None:
        self.keeping = isinstance(error, TooLargeError)  # a smaller split may still fit
        log.warning("features cannot be stored in %s (%s): this run computes its own", self.store.folder, error)

    def _probe(self, entry: Entry, found: "Located", split: ImageSplit, keys: Sequence[Key]) -> None:
        """Recompute a few cached rows with PyTorch and compare; once per part and process."""
        unknown = [number for number, part in enumerate(found.parts) if part.path not in _PROBED][:MOST_PROBED]
        if not unknown:
            return
        rng = np.random.default_rng()  # different rows each time; no result depends on them
        each = max(1, PROBED // len(unknown))
        rows = [np.flatnonzero(found.part_of == number) for number in unknown]
        positions = np.concatenate([rng.choice(some, min(each, len(some)), replace=False) for some in rows])
        images = torch.from_numpy(stacked(split, [keys[int(p)] for p in positions], len(positions))).to(self.device)
        expected = as_stored(reference(self.prefix.to(self.device), images, self.autocast)).cpu().numpy()
        error = relative_error(found.read(positions), expected)
        if not error < min(10 * self.choice.tolerance, 0.1):
            raise HeadstartError(
                f"The features cached in {entry.folder} differ from the output of {self.prefix.name} (relative error"
                f" {error:.1e}): remove them with 'headstart features clear {entry.name} --dir {self.store.folder}'."
            )
        _PROBED.update(found.parts[number].path for number in unknown)

    def _held(self, found: "Located") -> Rows:
        """Load rows into memory if the settings allow it."""
        if found.nbytes > self.settings.memory_bytes():
            return found
        return self._on_device(InMemory(found.in_memory()))

    def _on_device(self, rows: InMemory) -> InMemory:
        if self.device.type == "cuda" and rows.values.nbytes < torch.cuda.mem_get_info(self.device)[0] // 4:
            return InMemory(rows.values.to(self.device))
        return rows


class Located(OnDisk):
    """Rows on disk, possibly incomplete."""

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Return which rows are not on disk."""
        return self.part_of < 0

    @property
    def seconds_a_row(self) -> float:
        """Return the time that computing one row took."""
        return sum(part.seconds for part in self.parts) / max(1, sum(len(part) for part in self.parts))


def locate(entry: Entry, names: Names) -> Located:
    """Find these rows in an entry; a damaged part is removed."""
    parts: list[StoredPart] = []
    part_of, row_of = np.full(len(names), -1), np.full(len(names), -1)
    for folder in entry.part_folders():
        wanted = np.flatnonzero(part_of < 0)
        if not len(wanted):
            break
        try:
            part = open_part(folder)
            rows = part.find(names[wanted])
            if (rows < 0).all():
                continue
            part.check()
        except FileNotFoundError:  # evicted by another run at this moment
            continue
        except DamagedError as error:
            log.warning("%s: removing it and computing its features again", error)
            with contextlib.suppress(OSError):
                remove(folder)
            continue
        except OSError as error:
            log.warning("%s cannot be read (%s): computing its features again", folder, error)
            continue
        part.touch()
        part_of[wanted[rows >= 0]], row_of[wanted[rows >= 0]] = len(parts), rows[rows >= 0]
        parts.append(part)
    return Located(parts, part_of, row_of)


class Writer:
    """Write rows in order into as many parts as needed."""

    def __init__(
        self, entry: Entry, names: Names, shape: tuple[int, ...], dtype: np.dtype[Any], found: Sequence[StoredPart] = ()
    ) -> None:
        self.entry, self.names, self.shape, self.dtype = entry, names, shape, dtype
        self.needed = [part.path for part in found]  # parts that must not be evicted to make room
        self.rows_a_part = max(1, PART_BYTES // (int(np.prod(shape, dtype=np.int64)) * dtype.itemsize))
        self.part: PartWriter | None = None
        self.start, self.room, self.done = 0.0, 0, 0

    def put(self, values: NDArray[Any]) -> None:
        """Write the next rows. Raises OSError if the disk does not take them."""
        while len(values):
            if not self.done and self.part is None:  # all or nothing
                row = int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize
                self.entry.store.make_room(len(self.names) * row, self.needed)
            if self.part is None:
                names = self.names[self.done : self.done + self.rows_a_part]
                self.part, self.room, self.start = self._open(names), len(names), time.perf_counter()
            now = values[: self.room]
            self.part.put(now)
            self.room, self.done = self.room - len(now), self.done + len(now)
            values = values[len(now) :]
            if not self.room:
                self.needed.append(self.part.commit(time.perf_counter() - self.start))
                self.part = None

    def _open(self, names: Names) -> PartWriter:
        return self.entry.writer(names, self.shape, self.dtype, self.needed)

    def abandon(self) -> None:
        """Remove the unfinished part; finished parts stay."""
        if self.part is not None:
            self.part.abandon()


def row_digest(split: ImageSplit, key: Key) -> bytes:
    """Return the hash that names a row: of the image's content, and for a view also of its epoch and position."""
    epoch, position = key
    content = split.images.contents[position]
    return hashlib.sha256(content + f" {epoch} {position}".encode()).digest() if split.views else content


def device_key(device: torch.device) -> list[Any]:
    """Return the properties of a device that may affect the last bits."""
    if device.type == "cuda":
        flags = [torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32]
        return [device.type, torch.cuda.get_device_name(device), *flags]
    return [device.type, torch.backends.cpu.get_cpu_capability()]


def view_key(view: Any) -> list[str]:
    """Return a view's class, source and settings. Raises ConfigError if they have no stable text."""
    kind = type(view)
    try:
        return [
            f"{kind.__module__}.{kind.__qualname__}",
            inspect.getsource(kind),
            json.dumps(vars(view), default=_as_text),
        ]
    except (TypeError, ValueError, OSError) as error:
        raise ConfigError(
            f"features.views: the settings of the view {kind.__name__} cannot be put into a key ({error}); use"
            " features.views=null."
        ) from error


def _as_text(value: Any) -> Any:
    """Return a value unknown to JSON as text; raise TypeError if the text is only its memory address."""
    text = repr(value)
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if " at 0x" in text:
        raise TypeError(f"the text of {type(value).__name__} does not show its value")
    return text
