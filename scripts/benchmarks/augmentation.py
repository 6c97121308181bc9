"""Compare the speed of views with torchvision's on one core, and measure their cost in training."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from skimage.data import astronaut
from torchvision.transforms import v2

from benchmarks.measured import Row, compared, finetuned_in_turns, median
from headstart.augmentations import AugMix, ColorJitter, CropResize, Pipeline, View
from headstart.seeds import generator

SECONDS = 1.0  # of each measurement
BATCH = 64


def views(rounds: int) -> list[Row]:
    """Compare AugMix, and crop with flip and jitter, with torchvision on one thread, in turns."""
    rows = [row for size, aim in ((64, "5"), (224, "3")) for row in augmix(size, aim, rounds)]
    return [*rows, *(crop_and_jitter(size, rounds) for size in (64, 224)), *places(rounds)]


def augmix(size: int, aim: str, rounds: int) -> list[Row]:
    """Compare AugMix with torchvision's, with its own operations and with the paper's."""
    square = photograph(size, size)
    tensor = torch.from_numpy(square.copy()).permute(2, 0, 1)
    theirs, of_the_paper = v2.AugMix(), v2.AugMix(all_ops=False)
    ways: dict[str, Callable[[int], object]] = {
        "ours": by_the_loader([AugMix()], square, size),
        "theirs": lambda _: theirs(tensor),
        "of the paper": lambda _: of_the_paper(tensor),
    }
    speeds = in_turns(ways, rounds)
    same = f"the same / v2.AugMix(all_ops=False), which has the paper's operations, {size} px"
    return [
        compared(f"AugMix, {size} px: one core / torchvision's v2.AugMix", aim, speeds, "ours", "theirs"),
        compared(same, "", speeds, "ours", "of the paper"),
    ]


def crop_and_jitter(size: int, rounds: int) -> Row:
    """Compare crop, flip and jitter with torchvision's on a Pillow image; both give a tensor of bytes."""
    image = photograph(round(size / 0.875), round(size / 0.875 * 4 / 3))
    pil = Image.fromarray(image)
    theirs = v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=(0.35, 1), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(0.4, 0.4, 0.4, 0.05),
            v2.PILToTensor(),
        ]
    )
    ours = by_the_loader([CropResize(), ColorJitter()], image, size)
    speeds = in_turns({"ours": ours, "theirs": lambda _: theirs(pil)}, rounds)
    what = f"crop_resize with flip, color_jitter, {size} px: one core / torchvision v2 on PIL"
    return compared(what, "2", speeds, "ours", "theirs")


def places(rounds: int, sizes: Sequence[int] = (64, 224), seconds: float | None = None) -> list[Row]:
    """Compare batches of tensors, on the GPU or one thread, with single images in one process of the loader."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = []
    for size in sizes:
        square = photograph(size, size)
        for name, parts in (("AugMix", [AugMix()]), ("crop_resize, color_jitter", [CropResize(), ColorJitter()])):
            ways = {
                "device": in_batches(parts, square, size, device),
                "loader": by_the_loader(parts, square, size),
            }
            speeds = in_turns(ways, rounds, {"device": BATCH}, seconds)
            what = f"{name}, {size} px: batches of {BATCH} on {device.type} / one process of the loader"
            rows.append(compared(what, "", speeds, "device", "loader"))
    return rows


def training(settings: Sequence[str], rounds: int) -> list[Row]:
    """Compare the seconds of a fit with AugMix with those of a fit without, in turns."""
    outcomes = finetuned_in_turns(settings, "augmentation", ("none", "augmix"), rounds)
    seconds = {name: [one.train for one in of] for name, of in outcomes.items()}
    ratio = median([a / b for a, b in zip(seconds["augmix"], seconds["none"], strict=True)])
    figures = f"{median(seconds['augmix']):.1f} s / {median(seconds['none']):.1f} s, medians of {rounds}"
    return [Row("finetune_all with AugMix: fit / the same with none", f"{ratio:.3f}", "below 1.15", figures)]


def photograph(height: int, width: int) -> np.ndarray:
    """Return a real image (height, width, 3), because speed depends on the pixels."""
    return np.asarray(Image.fromarray(astronaut()).resize((width, height), Image.Resampling.BOX))


def by_the_loader(parts: Sequence[View], image: np.ndarray, size: int) -> Callable[[int], object]:
    """Return a function that draws and applies one view, as a process of the loader does."""
    pipeline, shape = Pipeline(parts), image.shape[:2]

    def one(number: int) -> object:
        return pipeline.apply(image, pipeline.draw(generator("augmentation", 0, 0, number), shape, size), size)

    return one


def in_batches(parts: Sequence[View], image: np.ndarray, size: int, device: torch.device) -> Callable[[int], object]:
    """Return a function that applies a batch of drawn views, as the training process does."""
    pipeline, shape = Pipeline(parts), image.shape[:2]
    packed = [
        pipeline.pack(
            [image] * BATCH,
            None,
            [pipeline.draw(generator("augmentation", 0, epoch, number), shape, size) for number in range(BATCH)],
            size,
        )[0]
        for epoch in range(8)
    ]

    def one(number: int) -> object:
        done = packed[number % len(packed)].to(device).done()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return done

    return one


def in_turns(
    ways: dict[str, Callable[[int], object]],
    rounds: int,
    made: dict[str, int] | None = None,
    seconds: float | None = None,
) -> dict[str, list[float]]:
    """Return the images per second of each function, one value per round; a call makes ``made`` images (default: 1).

    Each measurement takes ``seconds`` (None: ``SECONDS``).

    Without a GPU, this thread does all the work, and only its processor time counts.
    """
    torch.set_num_threads(1)
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way(0)
    for _ in range(rounds):
        for name, way in ways.items():
            start, number = clock(), 0
            while clock() - start < (seconds or SECONDS):
                way(number)
                number += 1
            speeds[name].append(number * (made or {}).get(name, 1) / (clock() - start))
    return speeds
