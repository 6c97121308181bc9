"""Run headstart on damaged images, settings and run directories: no case may hang or end in a traceback.

python scripts/fuzz.py --images 200 --configs 200 --runs 456 --seed 0. A case depends only on the seed and its number,
so ``--first 17 --images 1 --configs 0 --runs 0`` repeats image 17. Each case runs in a separate process with limits on
time and memory. Five commands read each damaged run directory (see scripts/damage.py), which is beside a whole one.
POSIX only. The exit code is 1 if any case failed.
"""

import argparse
import contextlib
import importlib
import io
import json
import os
import re
import resource
import shutil
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
from damage import catalogue, damage
from omegaconf import OmegaConf
from PIL import Image

from headstart.cli import main as command
from headstart.data import ImageFolder
from headstart.errors import DataError
from headstart.settings.configs import choices, composed
from headstart.settings.effects import flatten
from headstart.tables import table_text

MEMORY = 6 * 1024**3  # memory limit of one case, in bytes
BROKEN = 70  # exit code of a case that ended in an exception
FORMATS = {"jpg": "JPEG", "png": "PNG", "gif": "GIF", "webp": "WEBP", "bmp": "BMP", "tif": "TIFF"}
# A run that takes a second: twelve classes of a few small images, a network with random weights, two batches.
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
# Large numbers are valid for these settings, but mean long work or many processes.
LASTING = re.compile(r"epoch|steps|batches|iter|workers|counts|device|nodes|trials|repeats|views|patience")
GROUPS = ("strategy", "optimizer", "scheduler", "head", "augmentation", "callbacks", "logger", "features", "task")


BESIDE = ("report", "status")  # commands that also read the whole run beside the damaged one
READERS = (*BESIDE, "diff")  # commands that only read
COMMANDS = (*READERS, "explain", "reproduce")
WRONG = 2  # exit code of a refusal in one sentence
READING = 5.0  # limit of processor time for a refusal or a reading command, in seconds
GROWTH = 500 * 1024**2  # memory limit for reading, in bytes
NOBODY = 65534  # user id of commands if we are root, because root may read every file


@dataclass(frozen=True)
class Outcome:
    """How a case ended: its exit code (None: stopped at the time limit; negative: a signal) and its output."""

    code: int | None
    text: str
    seconds: float = 0.0
    """Processor time."""
    memory: int = 0
    """Peak bytes beyond those of the process that it was forked from."""


def limited(work: Callable[[], int], seconds: float, user: int | None = None) -> Outcome:
    """Do work in a child process, in an empty folder; kill it and all its children at the time limit."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as output:
        sys.stdout.flush()
        sys.stderr.flush()
        before = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
        child = os.fork()
        if not child:
            _work_and_exit(work, Path(folder), output.fileno(), user)
        code, used = _wait(child, seconds)
        output.seek(0)
        text = output.read().decode(errors="replace")
        return Outcome(code, text, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 - before)


def _work_and_exit(work: Callable[[], int], folder: Path, output: int, user: int | None) -> None:
    code = BROKEN
    try:
        os.setsid()
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        deep = folder / "a/b/c"  # a path such as ../.. stays in the folder
        deep.mkdir(parents=True)
        os.chdir(deep)
        os.environ |= {"HOME": str(deep), "XDG_CACHE_HOME": str(deep)}
        if user is not None:
            for place in (folder, *folder.rglob("*")):
                os.chown(place, user, user)
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
        code = work()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(child: int, seconds: float) -> tuple[int | None, resource.struct_rusage]:
    end = time.monotonic() + seconds
    done = 0
    while time.monotonic() < end and not done:
        done, status, used = os.wait4(child, os.WNOHANG)
        if not done:
            time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if not done:
        return None, os.wait4(child, 0)[2]
    return os.waitstatus_to_exitcode(status), used


def seed_image(rng: np.random.Generator) -> tuple[bytes, str]:
    """Return an intact image file and its suffix.

    Some images are animated, transparent, rotated, of 16 bits, or have a palette.
    """
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
    """Return the content with random damage, such as flipped bits, a cut, a changed header or a zeroed part."""
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
        else:  # sizes and offsets have four bytes
            data[one : one + 4] = int(rng.choice([0, 1, 2**15, 2**31 - 1, 2**32 - 1])).to_bytes(4, "big")
    return bytes(data)


def read_among_others(content: bytes, suffix: str) -> int:
    """Check that a data set with nine intact images and this one decodes all, or refuses this one by name; return 0."""

    class Preprocessing:
        image_size, interpolation, crop_fraction = 16, "bilinear", 0.875

    for index in range(9):
        place = Path("images", "ab"[index % 2], f"{index}.png")
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (20, 20), index).save(place)
    name = f"a/new.{suffix}"
    Path("images", name).write_bytes(content)
    sentence = name
    try:
        ImageFolder(root="images").prepare(Preprocessing)
        refused = False
    except DataError as error:
        refused, sentence = True, str(error)
    assert name in sentence, sentence
    assert len(sentence.splitlines()) == 1, sentence
    data = ImageFolder(root="images", on_error="skip")
    data.prepare(Preprocessing)
    assert data.skipped == [name] * refused, data.skipped
    splits = (data.train, data.validation, data.test)
    assert sum(len(split) for split in splits) == 10 - refused
    for split in splits:
        for index in range(len(split)):
            assert split.image(index).shape == (16, 16, 3)
    print("refused" if refused else "decoded")
    return 0


def settings_case(rng: np.random.Generator) -> list[str]:
    """Return arguments of headstart train: tiny images, sometimes other groups, and one or two odd settings."""
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
    """Return what was wrong with the end of a case, such as a hang, a crash or a traceback, or None."""
    if outcome.code is None:
        return "hang"
    if outcome.code < 0:
        return f"killed by {signal.Signals(-outcome.code).name}"
    if "Traceback (most recent call last)" in outcome.text:
        return f"traceback: {outcome.text.strip().splitlines()[-1]}"
    if outcome.code in (1, 2) and not re.search("^headstart(: | train: error: ).", outcome.text, re.MULTILINE):
        return f"exit code {outcome.code} without a sentence"
    return None if outcome.code in (0, 1, 2) else f"exit code {outcome.code}"


def images(first: int, count: int, seed: int, seconds: float) -> Iterator[tuple[str, Outcome]]:
    """Yield the name and outcome of each damaged image."""
    for number in range(first, first + count):
        rng = np.random.default_rng([seed, 0, number])
        content, suffix = seed_image(rng)
        content = mutated(content, rng)
        yield f"image {number} (.{suffix})", limited(lambda c=content, s=suffix: read_among_others(c, s), seconds)  # type: ignore[misc]


def configs(first: int, count: int, seed: int, seconds: float) -> Iterator[tuple[str, Outcome]]:
    """Yield the name and outcome of each odd command."""
    for name in ("headstart.commands.train", "headstart.training.jobs", "skimage.io", "timm"):  # once for all children
        importlib.import_module(name)

    for number in range(first, first + count):
        arguments = settings_case(np.random.default_rng([seed, 1, number]))
        shown = " ".join(repr(word[:80]) for word in arguments[len(TINY) :])
        yield f"config {number}: {shown}", limited(lambda a=arguments: command(["train", *a]), seconds)  # type: ignore[misc]


def whole_runs(folder: Path, seconds: float) -> None:
    """Make two small runs, one with all optional files, and import the modules that commands on them need."""
    for name in (
        "headstart.training.jobs",
        "headstart.commands.reproduce",
        "headstart.commands.report",
        "skimage.io",
        "timm",
    ):
        importlib.import_module(name)
    small = [*TINY, "backbone=timm", "backbone.name=test_efficientnet", f"output_dir={folder}"]
    for arguments in ([*small], [*small, "seed=1", "strategy=knn"]):
        _made(lambda a=arguments: command(["train", *a]), folder, seconds)  # type: ignore[misc]
    first, second = sorted(path.parent for path in folder.rglob("run.json"))
    first.rename(folder / "damaged")
    second.rename(folder / "whole")
    run = folder / "damaged"
    for arguments in (
        ["explain", str(run), "--images", "2"],
        ["evaluate", str(run), "--corruptions", "contrast", "--severities", "1"],
        ["report", str(folder), "--out", str(folder / "out")],
        ["status", str(folder)],
        ["diff", str(run), str(folder / "whole")],
        ["reproduce", str(run), "--output", str(folder / "out")],
    ):
        _made(lambda a=arguments: command(a), folder, seconds)  # type: ignore[misc]
    shutil.rmtree(folder / "out")
    for events in run.glob("tensorboard/validation/*"):
        events.rename(events.with_name("events.out.tfevents.0"))
    content = {"schema": 1, "command": ["headstart", "train"], "overrides": ["seed=0,1"], "jobs": 2}
    (folder / "sweep.json").write_text(json.dumps(content))
    (folder / ".outcomes").mkdir()
    outcome = {
        "job": 0,
        "settings": ["seed=0"],
        "word": "finished",
        "directory": "damaged",
        "told": False,
        "error": None,
    }
    (folder / ".outcomes" / "000000.json").write_text(json.dumps(outcome))


def _made(work: Callable[[], int], folder: Path, seconds: float) -> None:
    """Do work in a child, and import its modules here too, so that later children start with them."""
    modules = folder / "modules"

    def work_and_list_modules() -> int:
        code = work()
        modules.write_text("\n".join(sys.modules))
        return code

    outcome = limited(work_and_list_modules, seconds)
    if outcome.code:
        raise RuntimeError(f"a whole run cannot be made or read: {outcome.text}")
    for name in set(modules.read_text().splitlines()) - set(sys.modules):
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    modules.unlink()


def read_damaged(whole: Path, number: int, seed: int, seconds: float) -> tuple[str, dict[str, Outcome]]:
    """Damage a copy of a run and let each command read it; return the name of the damage and the outcomes."""
    user = NOBODY if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        folder = Path(place, "runs")
        shutil.copytree(whole, folder)
        name = damage(folder / "damaged", number, seed)
        if user is not None:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, user, user, follow_symlinks=False)
        run = str(folder / "damaged")
        words = {
            "report": [str(folder), "--no-figures", "--out", "out"],
            "status": [str(folder)],
            "diff": [run, str(folder / "whole")],
            "explain": [run, "--images", "2"],
            "reproduce": [run, "--output", "out"],
        }
        found = {}
        for word in COMMANDS:
            found[word] = limited(lambda w=word: command([w, *words[w]]), seconds, user)  # type: ignore[misc]
            if Path("/tmp/owned").exists():
                raise RuntimeError(f"{name}: {word} followed a hostile setting and wrote a file")
        if (folder / "damaged").is_dir():
            (folder / "damaged").chmod(0o755)
        return name, found


def complaint_about_reading(word: str, outcome: Outcome) -> str | None:
    """Return what was wrong with the end of a command that read a damaged run, or None."""
    if word == "reproduce" and outcome.code == 1 and "\nverdict: " in outcome.text:
        return None
    if wrong := complaint(outcome):
        return wrong
    if word in BESIDE and outcome.code:
        return f"one damaged run stopped the command: {outcome.text.strip()}"
    if outcome.code == WRONG or word in READERS:
        if outcome.seconds > READING:
            return f"{outcome.seconds:.1f} s"
        if outcome.memory > GROWTH:
            return f"{outcome.memory / 1024**2:.0f} MB"
    return None


def damaged_runs(first: int, count: int, seed: int, seconds: float) -> tuple[str, int]:
    """Print each failure on damaged runs; return a table of the commands' outcomes and the number of failures."""
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, "whole")
        whole.mkdir()
        whole_runs(whole, 10 * seconds)
        shares = [range(first, first + count)[part::2] for part in range(2)]  # one per core
        files = [Path(folder, f"share{part}") for part in range(2)]
        for share, file in zip(shares, files, strict=True):
            sys.stdout.flush()
            if not os.fork():
                try:
                    file.write_text(json.dumps([_ends(whole, number, seed, seconds) for number in share]))
                finally:
                    os._exit(0)
        for _ in shares:
            os.wait()
        found = [case for file in files if file.is_file() for case in json.loads(file.read_text())]
    kinds = ("answered", "refused", "tracebacks", "hangs", "killed", "other")
    rows = []
    for word in COMMANDS:
        ends = [case[word] for case in found]
        only_read = [(took, memory) for kind, took, memory in ends if kind == "refused" or word in READERS]
        most = [max(values, default=0) for values in zip(*only_read, strict=True)] or [0, 0]
        counts = [sum(kind == one for kind, *_ in ends) for one in kinds]
        rows.append([word, *map(str, counts), f"{most[0]:.1f}", f"{most[1] / 1024**2:.0f}"])
    header = ["command", *kinds, "most seconds", "most MB"]
    failures = sum(kind not in ("answered", "refused") for case in found for kind, *_ in case.values())
    return table_text(header, rows, [False, *[True] * (len(header) - 1)]), failures + count - len(found)


def _ends(whole: Path, number: int, seed: int, seconds: float) -> dict[str, tuple[str, float, int]]:
    """Print each failure on one damaged run; return the kind of outcome, seconds and bytes of each command."""
    name, found = read_damaged(whole, number, seed, seconds)
    ends = {}
    for word, outcome in found.items():
        wrong = complaint_about_reading(word, outcome)
        if wrong:
            print(f"run {number} ({name}), {word}: {wrong}", flush=True)
        kind = _kind(wrong) if wrong else "refused" if outcome.code == WRONG else "answered"
        ends[word] = kind, outcome.seconds, outcome.memory
    return ends


def _kind(wrong: str) -> str:
    return {"hang": "hangs", "kill": "killed", "trac": "tracebacks"}.get(wrong[:4], "other")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cases, and print the figures and every failure; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--configs", type=int, default=200)
    parser.add_argument("--runs", type=int, default=len(catalogue()))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seconds", type=float, default=60, help="time limit of one case")
    parser.add_argument("--keep", type=Path, help="folder for the output of failing cases")
    given = parser.parse_args(argv)
    failed = 0
    for what, cases in (
        ("images", images(given.first, given.images, given.seed, given.seconds)),
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
    if given.runs:
        table, failures = damaged_runs(given.first, given.runs, given.seed, given.seconds)
        print(f"runs: {given.runs} damaged directories, {failures} failures\n{table}")
        failed += failures
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
