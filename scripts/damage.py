"""Damage a run directory in many ways, to test the commands that read it.

``catalogue`` lists the kinds of damage; ``damage`` applies one to a copy of a run. Random choices depend only on the
generator. Nothing depends on the version of headstart: files are read as bytes, JSON, YAML, CSV or zip.
"""

import csv
import io
import json
import os
import pickle
import socket
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

Change = Callable[[Path, np.random.Generator], None]
MANIFEST, SETTINGS = "run.json", "config.yaml"
CURVES, PREDICTED, VALIDATED = "metrics.csv", "predictions.csv", "validation_predictions.csv"
NETWORK, EVENTS = "checkpoints/best.ckpt", "tensorboard/validation/events.out.tfevents.0"
FILES = (
    MANIFEST, SETTINGS, CURVES, PREDICTED, VALIDATED, NETWORK, EVENTS, "robustness.json", "explain/mistakes.png",
    "explain/mistakes.pdf", "../sweep.json", "../.outcomes/000000.json", ".lock",
)  # fmt: skip
STRIDE = 67
"""Step between the entries of consecutive cases; coprime to their number, so that a few cases are a sample of all."""
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 3, 0.5, 1e200, -1e200, 1e308, float("inf"), float("nan"), 2**63, 10**400, "", "word", "1e999",
    "x" * 10_000, "x" * 1_000_000, "\ud800", "a\0b", "\x1b[2J\x07", "a\nb", "../../..", "/etc/passwd", "/dev/zero",
    "2026-99-99", "${seed}", [], {}, [None], [[1]], {"a": {"b": 1}}, ["x"] * 20_000,
    {"_target_": "os.system", "command": "touch owned"},
)  # fmt: skip
CELLS = (
    "",
    "nan",
    "inf",
    "1e200",
    "-1e200",
    "1e999",
    "9" * 5000,
    "word",
    "x" * 200_000,
    '"',
    "-1",
    "1.5",
    "\x1b[2J",
    "0x1",
)
LIGHTNING = "pytorch_lightning"
# Hostile settings, which write a file or run code if they are followed.
EVIL: tuple[tuple[str, Any], ...] = (
    ("callbacks.x", {"_target_": f"{LIGHTNING}.callbacks.ModelCheckpoint", "dirpath": "/tmp/owned"}),
    ("callbacks.x", {"_target_": f"{LIGHTNING}.callbacks.ModelCheckpoint", "filename": "../../owned"}),
    ("callbacks.x", {"_target_": f"{LIGHTNING}.callbacks.OnExceptionCheckpoint", "dirpath": "/tmp/owned"}),
    ("callbacks.x", {"_target_": f"{LIGHTNING}.callbacks.LambdaCallback", "on_fit_start": {"_target_": "os.abort"}}),
    ("callbacks.x", {"_target_": "os.system", "command": "touch owned"}),
    ("callbacks.x", {"_target_": "headstart.records.curves.CsvCurves", "folder": "/tmp/owned"}),
    ("logger.x", {"_target_": f"{LIGHTNING}.loggers.CSVLogger", "save_dir": "/tmp/owned"}),
    ("trainer.profiler", {"_target_": f"{LIGHTNING}.profilers.SimpleProfiler", "dirpath": "/tmp/owned"}),
    ("trainer.default_root_dir", "/tmp/owned"),
    ("trainer.logger", {"_target_": f"{LIGHTNING}.loggers.CSVLogger", "save_dir": "/tmp/owned"}),
    ("trainer.model_registry", "owned"),
    ("features.dir", "/tmp/owned"),
    ("output_dir", "/tmp/owned"),
    ("hydra", {"run": {"dir": "/tmp/owned"}, "callbacks": {"x": {"_target_": "os.system", "command": "touch owned"}}}),
    ("strategy._args_", ["/tmp/owned"]),
    ("optimizer.foreach", {"_target_": "torch.load", "f": "/dev/zero"}),
    ("dataset.root", "/dev/zero"),
    ("backbone.weights", "/dev/zero"),
    ("backbone.name", "hf-hub:../../owned"),
    ("augmentation.policy", "/dev/zero"),
    ("allow_targets", ["os"]),
)  # fmt: skip


def catalogue() -> list[tuple[str, str, Change]]:
    """Return every entry: the file, the kind of damage, and the function that damages the file."""
    found = [(file, kind, change) for file in FILES for kind, change in ANY.items()]
    for files, kinds in (
        ((MANIFEST,), {f"value {number}": json_value for number in range(51)} | JSONS),
        ((SETTINGS,), {f"value {number}": yaml_value for number in range(40)} | YAMLS),
        ((SETTINGS,), {f"evil {key}": _evil(key, value) for key, value in EVIL}),
        (
            ("robustness.json", "../sweep.json", "../.outcomes/000000.json"),
            {f"value {n}": json_value for n in range(8)},
        ),
        ((CURVES, PREDICTED, VALIDATED), {f"cell {number}": csv_cell for number in range(8)} | CSVS),
        ((NETWORK,), NETWORKS),
        (("explain/mistakes.png",), {"huge image": huge_image}),
        ((".",), {"closed folder": lambda path, rng: path.chmod(0), "no checkpoints": _without("checkpoints")}),
    ):
        found += [(file, kind, change) for file in files for kind, change in kinds.items()]
    return found


def damage(run: Path, number: int, seed: int) -> str:
    """Apply one entry of the catalogue to a run directory, and return its name."""
    entries = catalogue()
    file, kind, change = entries[STRIDE * number % len(entries)]
    path = run / file
    path.parent.mkdir(parents=True, exist_ok=True)
    change(path, np.random.default_rng([seed, 2, number]))
    return f"{file}: {kind}"


# --- of any file


def replaced(content: bytes | Callable[[np.random.Generator], bytes]) -> Change:
    """Return a change that writes other content."""

    def change(path: Path, rng: np.random.Generator) -> None:
        path.write_bytes(content(rng) if callable(content) else content)

    return change


def linked(target: str) -> Change:
    """Return a change that replaces the file by a link."""

    def change(path: Path, rng: np.random.Generator) -> None:
        path.unlink(missing_ok=True)
        path.symlink_to(target)

    return change


def instead(make: Callable[[Path], object]) -> Change:
    """Return a change that replaces the file by something that is not a file."""

    def change(path: Path, rng: np.random.Generator) -> None:
        path.unlink(missing_ok=True)
        make(path)

    return change


def changed(edit: Callable[[bytes, np.random.Generator], bytes]) -> Change:
    """Return a change that edits the content."""

    def change(path: Path, rng: np.random.Generator) -> None:
        path.write_bytes(edit(path.read_bytes() if path.is_file() else b"", rng))

    return change


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # because the path of a socket must be short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def _sparse(path: Path, rng: np.random.Generator) -> None:
    with path.open("ab") as file:
        file.truncate(10 * 2**30)


def _closed(path: Path, rng: np.random.Generator) -> None:
    path.touch()
    path.chmod(0)


def _cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(0, max(1, len(content))))]


def _bits(content: bytes, rng: np.random.Generator) -> bytes:
    data = bytearray(content)
    for place in rng.integers(0, max(1, len(data)), 8 if data else 0):
        data[place] ^= 1 << int(rng.integers(8))
    return bytes(data)


def _put_in(what: bytes) -> Callable[[bytes, np.random.Generator], bytes]:
    def edit(content: bytes, rng: np.random.Generator) -> bytes:
        place = int(rng.integers(0, len(content) + 1))
        return content[:place] + what + content[place:]

    return edit


ANY: dict[str, Change] = {
    "missing": instead(lambda path: None),
    "empty": replaced(b""),
    "folder": instead(lambda path: path.mkdir()),
    "pipe": instead(lambda path: os.mkfifo(path)),
    "socket": instead(_socket),
    "link to zeros": linked("/dev/zero"),
    "link out": linked("/etc/passwd"),
    "link to nothing": linked("nothing"),
    "link to itself": changed(lambda content, rng: content),  # replaced below, because it needs its name
    "ten gigabytes": _sparse,
    "closed": _closed,
    "cut": changed(_cut),
    "bits": changed(_bits),
    "nul": changed(_put_in(b"\0")),
    "no utf-8": changed(_put_in(b"\xff\xfe\x80")),
    "noise": replaced(lambda rng: rng.bytes(5000)),
    "one long line": replaced(b"x" * 3_000_000),
    "brackets": replaced(b"[" * 200_000),
    "doubled": changed(lambda content, rng: content + content),
}
ANY["link to itself"] = instead(lambda path: path.symlink_to(path.name))


# --- of JSON and YAML


def _places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(found for key, entry in below for found in _places(entry, (*place, key)))]


def _with_other_value(content: Any, rng: np.random.Generator) -> Any:
    """Replace one value by an odd one, remove one entry, or rename one key."""
    places = _places(content)
    *way, last = places[int(rng.integers(1, len(places)))] if len(places) > 1 else [None]
    value, kind = VALUES[int(rng.integers(len(VALUES)))], rng.random()
    if last is None:
        return value
    home = content
    for key in way:
        home = home[key]
    if kind < 0.1:
        del home[last]
    elif kind < 0.2 and isinstance(home, dict):
        home[str(rng.choice(["", "x" * 5000, "\0", "a.b", "_target_", "_args_"]))] = home.pop(last)
    else:
        home[last] = value
    return content


def json_value(path: Path, rng: np.random.Generator) -> None:
    """Change one value of a JSON file."""
    path.write_text(json.dumps(_with_other_value(json.loads(path.read_text()), rng)))


def yaml_value(path: Path, rng: np.random.Generator) -> None:
    """Change one value of a YAML file."""
    content = _with_other_value(yaml.safe_load(path.read_text()), rng)
    path.write_bytes(yaml.safe_dump(content, sort_keys=False, allow_unicode=False).encode(errors="surrogatepass"))


def _evil(key: str, value: Any) -> Change:
    def change(path: Path, rng: np.random.Generator) -> None:
        content = home = yaml.safe_load(path.read_text())
        *way, last = key.split(".")
        for name in way:
            home = home.setdefault(name, {})
        home[last] = value
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    return change


def _without(name: str) -> Change:
    def change(path: Path, rng: np.random.Generator) -> None:
        (path / name).rename(path / f"no {name}")

    return change


JSONS = {
    "a list": replaced(b"[]"),
    "a number": replaced(b"1" * 5000),
    "deep": replaced(b'{"a":' * 900 + b"1" + b"}" * 900),
    "many values": replaced(b"[" + b"[]," * 2_000_000 + b"[]]"),
    "other schema": replaced(b'{"schema": 2, "status": "finished"}'),
    "bare": replaced(b'{"schema": 1, "status": "finished"}'),
    "seconds": changed(lambda content, rng: content.replace(b'"wall_seconds": ', b'"wall_seconds": 1e200, "x": ')),
    "running": changed(lambda content, rng: content.replace(b'"finished"', b'"running"')),
}
ALIASES = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
YAMLS = {
    "aliases": replaced(ALIASES.encode()),
    "itself": replaced(b"a: &a [*a]"),
    "dashes": replaced(b"- " * 200_000),
    "tag": replaced(b"a: !!python/object/apply:os.mkdir [owned]"),
    "directives": replaced(b"".join(b"%%TAG !a%d! b\n" % number for number in range(50_000)) + b"--- a"),
    "long number": replaced(b"a: " + b"1:" * 200_000 + b"1.0"),
    "references": changed(lambda content, rng: content.replace(b"seed: 0", b"seed: ${seeds.split}", 1)),
    "other keys": replaced(b"1: {null: 2}\n2.5: {true: 1}\n[1]: 2\n"),
}


# --- of CSV


def csv_cell(path: Path, rng: np.random.Generator) -> None:
    """Replace one cell of a CSV file, which may be in the header, by an odd one."""
    rows = list(csv.reader(io.StringIO(path.read_text())))
    row = rows[int(rng.integers(len(rows)))]
    row[int(rng.integers(len(row)))] = str(rng.choice(CELLS))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    path.write_text(text.getvalue())


def _header_and(rows: bytes) -> Change:
    return changed(lambda content, rng: content.partition(b"\n")[0] + b"\n" + rows)


CSVS = {
    "no rows": _header_and(b""),
    "short rows": _header_and(b"1\n" * 1_000_000),
    "empty cells": _header_and((b"," * 20 + b"\n") * 100_000),
    "an open quote": changed(_put_in(b'"')),
    "many columns": replaced(b"epoch," * 500_000 + b"\n" + b"1\n" * 1000),
    "one column less": changed(
        lambda content, rng: b"\n".join(line.rpartition(b",")[0] for line in content.split(b"\n"))
    ),
    "one column more": changed(lambda content, rng: content.replace(b"\n", b",1\n")),
    "a column twice": changed(lambda content, rng: content.replace(b"\n", b",validation/accuracy\n", 1)),
}


# --- of checkpoints and images


def _archive(edit: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> Change:
    """Return a change that edits the entries of a zip archive."""

    def change(path: Path, rng: np.random.Generator) -> None:
        made = io.BytesIO()
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(made, "w", compression) as new:
            for name in old.namelist():
                new.writestr(name, edit(name, old.read(name)))
        path.write_bytes(made.getvalue())

    return change


def _pickled(content: bytes) -> Change:
    return _archive(lambda name, old: content if name.endswith("data.pkl") else old)


def _end_that_lies(content: bytes, rng: np.random.Generator) -> bytes:
    place = content.rindex(b"PK\x05\x06")
    return content[: place + 12] + struct.pack("<L", 2**31) + content[place + 16 :]


class _Code:
    def __reduce__(self) -> Any:
        return os.mkdir, ("owned",)


NETWORKS = {
    "storages cut": _archive(lambda name, old: old[:4] if "/data/" in name else old),
    "storages of zeros": _archive(lambda name, old: bytes(len(old)) if "/data/" in name else old),
    "storages of noise": _archive(lambda name, old: bytes(b ^ 0x7F for b in old) if "/data/" in name else old),
    "a bomb": _archive(lambda name, old: old + bytes(300_000_000) * name.endswith("/data/0"), zipfile.ZIP_DEFLATED),
    "a list of entries with a wrong length": changed(_end_that_lies),
    "code": _pickled(pickle.dumps(_Code(), 2)),
    "no mapping": _pickled(pickle.dumps([1, 2], 2)),
    "no tensors": _pickled(pickle.dumps({"epoch": 0, "state_dict": {}}, 2)),
    "memory": _pickled(b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R."),
    "a long memo": _pickled(b"\x80\x02Nr\xff\xff\xff\x7f."),
    "plain pickle": replaced(pickle.dumps(_Code(), 2)),
}


def huge_image(path: Path, rng: np.random.Generator) -> None:
    """Set the size in a PNG's header to 100,000 x 100,000 pixels."""
    content = path.read_bytes()
    path.write_bytes(content[:16] + struct.pack(">II", 100_000, 100_000) + content[24:])
