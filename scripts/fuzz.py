"""Mutated pictures and mutated settings against the real thing: none may hang or end in a traceback.

python scripts/fuzz.py --pictures 200 --configs 200 --seed 0. A case depends on the seed and its number only, so
``--first 17 --pictures 1 --configs 0`` makes picture 17 again. Each runs in a process of its own under a time limit.
POSIX only. The exit code is 1 if anything failed.
"""

import argparse
import contextlib
import importlib
import io
import os
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from PIL import Image

from headstart.cli import main as command
from headstart.data import ImageFolder
from headstart.errors import DataError
from headstart.runs.configs import choices, composed
from headstart.settings import flatten

MEMORY = 6 * 1024**3  # bytes that one case may take
BROKEN = 70  # exit code of a case that ended in an exception of its own
FORMATS = {"jpg": "JPEG", "png": "PNG", "gif": "GIF", "webp": "WEBP", "bmp": "BMP", "tif": "TIFF"}
# A run of a second: twelve classes of a few small pictures, a network with random weights, two batches.
TINY = (
    "debug=fast dataset.counts=[6,4,4] dataset.image_size=32 dataset.num_workers=0 backbone.weights=null"
    " trainer.accelerator=cpu"
).split()
VALUES = (
    f"{'x' * 5000}|null|true|false|0|-1|1|2|0.5|1.5|-0.0|1e308|1e-308|-1e9|1000000000000000000|99999999999999999999999|"
    "nan|inf|-inf|''|"
    "word|'two words'|'ünï😀'|'a\\nb'|'1'|[]|[1,2]|[[1],[2]]|[nan]|[null]|[word]|{}|{a:1}|{a:{b:[1]}}|???|${seed}|"
    "${seeds}|${nothing}|${oc.env:NO_SUCH_VARIABLE}|${oc.env:HOME}|${dataset}|../..|/dev/null/x|'.'|~/x|"
    "cosine|adamw|auto|'a=b'|'%s %d {x}'|'[bold]'"
).split("|")
HUGE = re.compile(r"\d{6}|e\d{2,}")
# Large numbers are valid here, and mean long work or many processes.
LASTING = re.compile(r"epoch|steps|batches|iter|workers|counts|device|nodes|trials|repeats|views|patience")
GROUPS = ("strategy", "optimizer", "scheduler", "head", "augmentation", "callbacks", "logger", "features", "task")


@dataclass(frozen=True)
class Outcome:
    """How a case ended: its exit code (None: it had to be stopped; negative: a signal) and what it wrote."""

    code: int | None
    text: str


def limited(work: Callable[[], int], seconds: float) -> Outcome:
    """Do work in a child process, in an empty folder; it is killed with all its children when the time is up."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as said:
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if not child:
            _work_and_exit(work, Path(folder), said.fileno())
        code = _wait(child, seconds)
        said.seek(0)
        return Outcome(code, said.read().decode(errors="replace"))


def _work_and_exit(work: Callable[[], int], folder: Path, said: int) -> None:
    code = BROKEN
    try:
        os.setsid()
        os.dup2(said, 1)
        os.dup2(said, 2)
        sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        deep = folder / "a/b/c"  # a path such as ../.. stays in the folder
        deep.mkdir(parents=True)
        os.chdir(deep)
        os.environ |= {"HOME": str(deep), "XDG_CACHE_HOME": str(deep)}
        code = work()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(child: int, seconds: float) -> int | None:
    end = time.monotonic() + seconds
    status = None
    while time.monotonic() < end and status is None:
        done, told = os.waitpid(child, os.WNOHANG)
        if done:
            status = told
        else:
            time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if status is None:
        os.waitpid(child, 0)
        return None
    return os.waitstatus_to_exitcode(status)


def seed_picture(rng: np.random.Generator) -> tuple[bytes, str]:
    """A whole picture, some of them animated, with a palette, transparent, of 16 bits or turned; and its suffix."""
    suffix = str(rng.choice(list(FORMATS)))
    pixels = rng.integers(0, 256, (int(rng.integers(1, 60)), int(rng.integers(1, 60)), 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    modes = {"jpg": ["RGB", "L", "CMYK"], "gif": ["P", "L"], "webp": ["RGB", "RGBA"], "bmp": ["RGB", "L", "1", "P"]}
    mode = str(rng.choice(modes.get(suffix, ["RGB", "L", "RGBA", "LA", "P", "1", "I;16"])))
    options: dict[str, object] = {}
    image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    if suffix in ("gif", "webp", "png", "tif") and mode != "I;16" and rng.random() < 0.3:
        options |= {"save_all": True, "append_images": [image.rotate(90), image.rotate(180)]}
    if suffix == "tif":
        options["compression"] = str(rng.choice(["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"]))
    if suffix == "jpg":
        exif = Image.Exif()
        exif[274] = int(rng.integers(0, 10))
        options |= {"exif": exif, "progressive": bool(rng.random() < 0.5)}
    file = io.BytesIO()
    image.save(file, FORMATS[suffix], **options)
    return file.getvalue(), suffix


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Bits flipped, the end cut off, the header changed, parts exchanged, doubled, zeroed or put in."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        size = len(data)
        if not size:
            return b""
        one, two = sorted(int(place) for place in rng.integers(0, size, 2))
        kind = rng.choice(["bits", "cut", "header", "exchange", "double", "zero", "insert", "number"])
        if kind == "bits":
            for place in rng.integers(0, size, int(rng.integers(1, 30))):
                data[place] ^= 1 << int(rng.integers(8))
        elif kind == "cut":
            del data[two:]
        elif kind == "header":
            for place in rng.integers(0, min(size, 64), int(rng.integers(1, 6))):
                data[place] = int(rng.choice([0, 1, 127, 128, 255, int(rng.integers(256))]))
        elif kind == "exchange":
            middle = (one + two) // 2
            data[one:two] = data[middle:two] + data[one:middle]
        elif kind == "double":
            data[two:two] = data[one:two]
        elif kind == "zero":
            data[one:two] = bytes(two - one)
        elif kind == "insert":
            data[one:one] = rng.bytes(int(rng.integers(1, 100)))
        else:  # sizes and offsets are numbers of four bytes
            data[one : one + 4] = int(rng.choice([0, 1, 2**15, 2**31 - 1, 2**32 - 1])).to_bytes(4, "big")
    return bytes(data)


def read_among_others(content: bytes, suffix: str) -> int:
    """Prepare a data set of nine whole pictures and this one: all ten, or one sentence that names it; 0 if so."""

    class Preprocessing:
        image_size, interpolation, crop_fraction = 16, "bilinear", 0.875

    for index in range(9):
        place = Path("pictures", "ab"[index % 2], f"{index}.png")
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (20, 20), index).save(place)
    name = f"a/new.{suffix}"
    Path("pictures", name).write_bytes(content)
    sentence = name
    try:
        ImageFolder(root="pictures").prepare(Preprocessing)
        refused = False
    except DataError as error:
        refused, sentence = True, str(error)
    assert name in sentence, sentence
    assert len(sentence.splitlines()) == 1, sentence
    data = ImageFolder(root="pictures", on_error="skip")
    data.prepare(Preprocessing)
    assert data.skipped == [name] * refused, data.skipped
    splits = (data.train, data.validation, data.test)
    assert sum(len(split) for split in splits) == 10 - refused
    for split in splits:
        for index in range(len(split)):
            assert split.picture(index).shape == (16, 16, 3)
    print("refused" if refused else "decoded")
    return 0


def settings_case(rng: np.random.Generator) -> list[str]:
    """Arguments of headstart train: tiny pictures, other groups now and then, one or two settings gone wrong."""
    chosen = []
    for group in rng.choice(GROUPS, int(rng.integers(0, 3)), replace=False):
        names = choices(str(group))
        chosen.append(f"{group}={rng.choice(names)}")
    config, _ = composed(chosen)
    settings: Any = OmegaConf.to_container(config, resolve=False)  # some have no value yet
    keys = [*flatten(settings), *settings]
    arguments = [*TINY, *chosen]
    for _ in range(int(rng.integers(1, 3))):
        key = str(rng.choice(keys))
        values = [value for value in VALUES if not (LASTING.search(key) and HUGE.search(value))]
        value = str(rng.choice(values))
        kind = rng.choice(["set"] * 8 + ["below", "unknown", "remove", "garbled"])
        arguments += {
            "set": [f"{'++' * bool(rng.integers(2))}{key}={value}"],
            "below": [f"++{key}.more={value}"],
            "unknown": [f"{'+' * bool(rng.integers(2))}{key}x={value}"],
            "remove": [f"~{key}"],
            "garbled": ["".join(rng.permutation(list(f"{key}={value[:40]}")))],
        }[str(kind)]
    return arguments


def complaint(outcome: Outcome) -> str | None:
    """What is wrong with how a case ended: a hang, a crash, a traceback; None if nothing is."""
    if outcome.code is None:
        return "hang"
    if outcome.code < 0:
        return f"killed by {signal.Signals(-outcome.code).name}"
    if "Traceback (most recent call last)" in outcome.text:
        return f"traceback: {outcome.text.strip().splitlines()[-1]}"
    if outcome.code in (1, 2) and not re.search("^headstart(: | train: error: ).", outcome.text, re.MULTILINE):
        return f"exit code {outcome.code} without a sentence"
    return None if outcome.code in (0, 1, 2) else f"exit code {outcome.code}"


def pictures(first: int, count: int, seed: int, seconds: float) -> Iterator[tuple[str, Outcome]]:
    """Each mutated picture and how it ended."""
    for number in range(first, first + count):
        rng = np.random.default_rng([seed, 0, number])
        content, suffix = seed_picture(rng)
        content = mutated(content, rng)
        yield f"picture {number} (.{suffix})", limited(lambda c=content, s=suffix: read_among_others(c, s), seconds)  # type: ignore[misc]


def configs(first: int, count: int, seed: int, seconds: float) -> Iterator[tuple[str, Outcome]]:
    """Each mutated command and how it ended."""
    for name in ("headstart.runs.command", "headstart.runs.again", "skimage.io", "timm"):  # once for all children
        importlib.import_module(name)

    for number in range(first, first + count):
        arguments = settings_case(np.random.default_rng([seed, 1, number]))
        shown = " ".join(repr(word[:80]) for word in arguments[len(TINY) :])
        yield f"config {number}: {shown}", limited(lambda a=arguments: command(["train", *a]), seconds)  # type: ignore[misc]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cases, print the figures and every failure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--configs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seconds", type=float, default=60, help="time limit of one case")
    parser.add_argument("--keep", type=Path, help="folder for what each failing case wrote")
    given = parser.parse_args(argv)
    failed = 0
    for what, cases in (
        ("pictures", pictures(given.first, given.pictures, given.seed, given.seconds)),
        ("configs", configs(given.first, given.configs, given.seed, given.seconds)),
    ):
        ends = {"well": 0, "refused": 0, "hangs": 0, "tracebacks": 0}
        for name, outcome in cases:
            wrong = complaint(outcome)
            refused = outcome.code != 0 or outcome.text.endswith("refused\n")
            ends["hangs" if wrong == "hang" else "tracebacks" if wrong else "refused" if refused else "well"] += 1
            if wrong:
                failed += 1
                print(f"{name}: {wrong}", flush=True)
                if given.keep:
                    given.keep.mkdir(parents=True, exist_ok=True)
                    (given.keep / f"{' '.join(name.split()[:2]).strip(':')}.txt").write_text(f"{name}\n{outcome.text}")
        if sum(ends.values()):
            print(f"{what}: {sum(ends.values())} cases, {', '.join(f'{count} {end}' for end, count in ends.items())}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
