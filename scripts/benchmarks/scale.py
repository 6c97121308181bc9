"""Compare linear probes on many images or classes with scikit-learn and with L-BFGS of torch, on synthetic features.

Other sizes: python -m benchmarks.scale --images 50000 --features 1280 --classes 10 --rounds 3, in the folder scripts.
"""

import argparse
import json
import resource
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from tempfile import TemporaryFile
from typing import Any

from benchmarks.measured import SCRIPTS, Row, median

SIZES = ((50_000, 1280, 10), (20_000, 1280, 1000))  # images, features, classes
STRENGTHS = (1.0, 0.1, 0.01, 0.001)
LONGEST = 600  # CPU seconds; a fit that takes more is ended and shown as unfinished


def probes(rounds: int, sizes: Sequence[tuple[int, int, int]] = SIZES) -> list[Row]:
    """Return time and memory of the fits of all strengths; each starts from the last, and rounds alternate."""
    return [row for size in sizes for row in compared(*size, rounds)]


def compared(images: int, features: int, classes: int, rounds: int, longest: int = LONGEST) -> list[Row]:
    """Compare fits of one size, each in a process of its own; others than ours end after ``longest`` CPU seconds."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in FITS}
    for _ in range(rounds):
        for name in FITS:
            command = [sys.executable, "-m", "benchmarks.scale", "--fit", name, "--images", str(images)]
            command += ["--features", str(features), "--classes", str(classes)]
            command += [] if name == "ours" else ["--longest", str(longest)]
            done = subprocess.run(command, cwd=SCRIPTS, capture_output=True, text=True)
            if done.returncode != -signal.SIGXCPU:
                done.check_returncode()
                found[name].append(json.loads(done.stdout.splitlines()[-1]))
    seconds = {name: median([run["seconds"] for run in runs]) for name, runs in found.items() if runs}
    size = f"{images:,} x {features:,}, {classes:,} classes"
    rows = []
    for name in ("scikit-learn", "torch"):
        what = f"linear probe, {size}: {name} / headstart"
        if name not in seconds:
            figures = f"unfinished after {longest} s / {seconds['ours']:.1f} s for {len(STRENGTHS)} strengths"
            rows.append(Row(what, f"above {longest / seconds['ours']:.1f}", "1.5", figures))
            continue
        gaps = [
            other / own - 1 for own, other in zip(*(found[one][0]["values"] for one in ("ours", name)), strict=True)
        ]
        rows.append(
            Row(
                what,
                f"{seconds[name] / seconds['ours']:.1f}",
                "1.5",
                f"{seconds[name]:.1f} s / {seconds['ours']:.1f} s for {len(STRENGTHS)} strengths; its objectives are"
                f" {min(gaps):.0e} to {max(gaps):.0e} higher; medians of {rounds}",
            )
        )
    held = images * features * 4 / 1e6
    peaks = {name: median([run["bytes"] for run in runs]) / 1e6 for name, runs in found.items() if runs}
    others = ", ".join(f"{name} {peak:.0f} MB" for name, peak in peaks.items() if name != "ours")
    return [
        *rows,
        Row(
            f"the same: memory of the fit / features of {held:.0f} MB",
            f"{peaks['ours'] / held:.2f}",
            "below 1",
            "; ".join(filter(None, [f"{peaks['ours']:.0f} MB", others])),
        ),
    ]


def made(images: int, features: int, classes: int) -> tuple[Any, Any]:
    """Return correlated features, as a memory map, and classes that overlap."""
    import torch

    draw = torch.Generator().manual_seed(0)
    spectrum = torch.arange(1, features + 1) ** -0.7  # deviations along the principal axes
    turned = 3 * torch.randn(features, features, generator=draw) / features**0.5
    apart = 0.06 * (classes / 10) ** 0.5  # so that more classes stay about as hard
    centres = apart * torch.randn(classes, features, generator=draw) * spectrum
    targets = torch.randperm(images, generator=draw) % classes
    with TemporaryFile() as file:
        file.truncate(images * features * 4)
        values = torch.from_file(f"/proc/self/fd/{file.fileno()}", True, images * features).view(images, features)
    for start in range(0, images, 1000):
        own = targets[start : start + 1000]
        noise = spectrum * torch.randn(len(own), features, generator=draw)
        values[start : start + 1000] = ((centres[own] + noise) @ turned).relu()
    return values, targets


def ours(values: Any, targets: Any, classes: int) -> list[Any]:
    """Return weight and bias of each strength."""
    from headstart.solvers.block_fit import BlockFits
    from headstart.solvers.features import Features
    from headstart.solvers.linear_fit import logistic

    train = Features(values, targets)
    fits, maps = BlockFits(train, train, classes, logistic), []
    for l2 in STRENGTHS:
        fits.fit(l2)
        maps.append(fits.linear_map())
    return maps


def scikit_learn(values: Any, targets: Any, classes: int) -> list[Any]:
    """Return weight and bias of each strength, fitted with its default tolerance to float32 features."""
    import torch
    from sklearn.linear_model import LogisticRegression

    mean, std = values.mean(dim=0), values.std(dim=0, correction=0)
    x, maps = ((values - mean) / std).numpy(), []
    fitted = LogisticRegression(max_iter=1000, warm_start=True)
    for l2 in STRENGTHS:
        fitted.set_params(C=1 / (l2 * len(x)))
        fitted.fit(x, targets.numpy())
        weight = torch.from_numpy(fitted.coef_).double() / std.double()
        maps.append((weight, torch.from_numpy(fitted.intercept_).double() - weight @ mean.double()))
    return maps


def plain_torch(values: Any, targets: Any, classes: int) -> list[Any]:
    """Return weight and bias of each strength, fitted by torch.optim.LBFGS with a strong Wolfe search in float32."""
    import torch
    from torch.nn import functional as F

    mean, std = values.mean(dim=0), values.std(dim=0, correction=0)
    x, maps = (values - mean) / std, []
    layer = torch.nn.Linear(values.shape[1], classes)
    torch.nn.init.zeros_(layer.weight), torch.nn.init.zeros_(layer.bias)
    for l2 in STRENGTHS:
        optimizer = torch.optim.LBFGS(
            layer.parameters(), max_iter=300, tolerance_grad=1e-5, tolerance_change=1e-7, line_search_fn="strong_wolfe"
        )

        def closure(l2: float = l2, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            loss = F.cross_entropy(layer(x), targets) + 0.5 * l2 * layer.weight.square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        weight = layer.weight.detach().double() / std.double()
        maps.append((weight, layer.bias.detach().double() - weight @ mean.double()))
    return maps


FITS: dict[str, Callable[[Any, Any, int], list[Any]]] = {
    "ours": ours, "scikit-learn": scikit_learn, "torch": plain_torch,
}  # fmt: skip


def measure(name: str, images: int, features: int, classes: int, longest: int | None) -> dict[str, Any]:
    """Return CPU seconds and peak memory of one fit, and the objective of each strength in float64.

    The process ends if the fit takes more than ``longest`` CPU seconds.
    """
    import sklearn.linear_model  # noqa: F401
    from torch.nn import functional as F

    import headstart.solvers.block_fit  # noqa: F401
    from headstart.records import provenance
    from headstart.solvers.centroids import standardisation

    warnings.simplefilter("ignore")
    values, targets = made(images, features, classes)
    provenance.reset_peak_memory()
    before = provenance.peak_memory("cpu")
    began, limits = time.process_time(), resource.getrlimit(resource.RLIMIT_CPU)  # other work may share the machine
    if longest is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (int(began) + longest, limits[1]))
    maps = FITS[name](values, targets, classes)
    seconds, peak = time.process_time() - began, provenance.peak_memory("cpu")
    resource.setrlimit(resource.RLIMIT_CPU, limits)
    std = standardisation(values)[1]
    objectives = []
    for l2, (weight, bias) in zip(STRENGTHS, maps, strict=True):
        losses = [
            F.cross_entropy(rows.double() @ weight.T + bias, own, reduction="sum")
            for rows, own in zip(values.split(1000), targets.split(1000), strict=True)
        ]
        objectives.append(float(sum(losses)) / images + 0.5 * l2 * float((weight * std).square().sum()))
    return {"seconds": seconds, "bytes": float(peak or 0) - float(before or 0), "values": objectives}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--fit", choices=FITS)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--features", type=int, default=1280)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--longest", type=int)
    options = parser.parse_args()
    size = (options.images, options.features, options.classes)
    if options.fit:
        print(json.dumps(measure(options.fit, *size, options.longest)))
    else:
        for row in compared(*size, options.rounds, options.longest or LONGEST):
            print(f"| {row.what} | {row.ratio} | {row.aim} | {row.figures} |")
