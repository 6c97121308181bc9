"""Write small images and lists of targets that can be learned from them."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = ("red", "green", "blue")


def list_of_numbers(count: int = 60) -> None:
    """Write grey images, and a list with their brightness and darkness as the numbers to predict."""
    rng = np.random.default_rng(0)
    rows = [["path", "label", "dark"]]
    images = []
    for number in range(count):
        brightness = rng.uniform(20, 220)
        images.append(rng.normal(brightness, 20, (32, 32, 3)))
        rows.append([f"{number}.png", f"{brightness / 10:.3f}", f"{-brightness / 5:.3f}"])
    _write(images, rows)


def list_of_labels(count: int = 60) -> None:
    """Write images, and a list with the colours that are bright in them: as labels, and in columns of 0 and 1."""
    rng = np.random.default_rng(0)
    rows = [["path", "labels", *COLOURS]]
    images = []
    for number in range(count):
        has = rng.random(3) < 0.4
        images.append(rng.normal(80, 20, (32, 32, 3)) + 90 * has)
        names = ";".join(name for name, bright in zip(COLOURS, has, strict=True) if bright)
        rows.append([f"{number}.png", names, *map(str, has.astype(int))])
    _write(images, rows)


def list_of_classes(count: int = 60) -> None:
    """Write images, and a list with one bright colour for each."""
    rng = np.random.default_rng(0)
    rows = [["path", "label"]]
    images = []
    for number in range(count):
        images.append(rng.normal(80, 20, (32, 32, 3)) + 90 * (np.arange(3) == number % 3))
        rows.append([f"{number}.png", COLOURS[number % 3]])
    _write(images, rows)


def list_of_several(count: int = 60) -> None:
    """Write images, and a list with a bright colour, two numbers and the labels of each."""
    rng = np.random.default_rng(0)
    rows = [["path", "label", "light", "dark", "labels"]]
    images = []
    for number in range(count):
        light = rng.uniform(20, 140)
        images.append(rng.normal(light, 20, (32, 32, 3)) + 90 * (np.arange(3) == number % 3))
        labels = [name for name, has in (("bright", light > 80), ("even", number % 2 == 0)) if has]
        rows.append([f"{number}.png", COLOURS[number % 3], f"{light:.3f}", f"{-light / 5:.3f}", ";".join(labels)])
    _write(images, rows)


def _write(images: list[np.ndarray], rows: list[list[str]]) -> None:
    Path("images").mkdir()
    for number, pixels in enumerate(images):
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(f"images/{number}.png")
    with Path("images/list.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
