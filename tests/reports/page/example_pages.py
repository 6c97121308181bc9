"""Make pages of invented sweeps, which look like reports, without any run."""

import io
import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from PIL import Image, ImageDraw

from headstart.report_table import Cell, Column, ReportTable
from headstart.reports.page import Chart, FigureImage, Page, RunCard, Series

STRATEGIES = {
    "finetune_all": ("#0072B2", 93.1),
    "finetune_upper": ("#56B4E9", 92.2),
    "linear_probe": ("#009E73", 89.4),
    "head_only": ("#E69F00", 88.0),
    "scratch": ("#D55E00", 54.7),
}
DATASETS = {"caltech101": 0.0, "scene15": -6.2}
EPOCHS = 15
CONFIG = """\
seed: {seed}
seeds:
  split: 0
  subset: {seed}
  head: {seed}
  order: {seed}
references: []
output_dir: runs
dataset:
  _target_: headstart.data.ImageFolder
  root: /data/{dataset}
  image_size: 224
  batch_size: 32
  labels_per_class: 10
  validation_fraction: 0.2
  subset_seed: {seed}
backbone:
  _target_: headstart.backbones.efficientnet_lite
  name: efficientnet_lite0
  weights: imagenet
strategy:
  _target_: headstart.strategies.{strategy}
  channels_last: true
optimizer:
  _target_: torch.optim.AdamW
  _partial_: true
  lr: {lr}
  weight_decay: 0.01
trainer:
  _target_: pytorch_lightning.Trainer
  max_epochs: 15
  precision: 32-true
  deterministic: warn
"""


def run_card(dataset: str, strategy: str, seed: int, lr: float, accuracy: float) -> RunCard:
    """Return a run with this accuracy, as a fraction of 1."""
    short_hash = random.Random(f"{dataset}{strategy}{seed}{lr}").getrandbits(32)
    name = f"{dataset}-efficientnet_lite0-{strategy}-seed{seed}-{short_hash:08x}"
    directory = f"/home/ada/experiments/runs/strategies/{name}"
    return RunCard(
        name=name,
        directory=directory,
        repeat_command=f"headstart repeat {directory}",
        train_command=f"headstart train dataset={dataset} strategy={strategy} seed={seed} optimizer.lr={lr} "
        "dataset.labels_per_class=10 experiment=strategies",
        config=CONFIG.format(dataset=dataset, strategy=strategy, seed=seed, lr=lr),
        facts={
            "data set": dataset,
            "strategy": strategy,
            "backbone": "efficientnet_lite0",
            "augmentation": "crop_resize",
            "seed": str(seed),
            "lr": str(lr),
            "epochs": str(EPOCHS),
            "training": f"{40 + 90 * (1 - accuracy):.1f} s",
        },
        metrics={
            "train/accuracy": min(1.0, accuracy + 0.06),
            "validation/accuracy": accuracy + 0.006,
            "test/accuracy": accuracy,
            "test/loss": -math.log(accuracy),
        },
    )


def sweep(seeds: int = 3, rates: Sequence[float] = (0.002,)) -> list[RunCard]:
    """Return runs of every data set, strategy, rate and seed, in this order."""
    chance = random.Random(0)
    return [
        run_card(dataset, strategy, seed, lr, (STRATEGIES[strategy][1] + shift + chance.gauss(0, 0.6)) / 100)
        for (dataset, shift), strategy, lr, seed in product(DATASETS.items(), STRATEGIES, rates, range(seeds))
    ]


def results(runs: Sequence[RunCard]) -> ReportTable:
    """Return a row for each data set, strategy and rate."""
    rows = []
    groups: dict[tuple[str, ...], list[int]] = {}
    for number, run in enumerate(runs):
        groups.setdefault(tuple(run.facts[name] for name in ("data set", "strategy", "lr")), []).append(number)
    for (dataset, strategy, lr), members in groups.items():
        cells = [Cell(dataset), Cell(strategy), Cell(lr, float(lr))]
        for metric in ("test/accuracy", "validation/accuracy"):
            values = [100 * runs[member].metrics[metric] for member in members]
            mean, deviation = statistics.mean(values), statistics.stdev(values)
            cells.append(Cell(f"{mean:.1f} ± {deviation:.1f}", mean, tuple(members), bold=strategy == "finetune_all"))
        seconds = None if strategy == "scratch" else 4.0 + len(strategy) * 9
        cells += [Cell(str(len(members)), len(members)), Cell("–" if seconds is None else f"{seconds:.0f}", seconds)]
        rows.append(cells)
    return ReportTable(
        "results",
        "Test accuracy by strategy",
        "Means over 3 seeds in percent, ± one sample deviation. Bold: the best, and those that a paired test "
        "cannot tell from it (Holm, 5 %).",
        [
            Column("data set"),
            Column("strategy", help="Where weights start, and what is trained."),
            Column("lr", "number", "Learning rate of the head."),
            Column("test (%)", "number", "Accuracy on the test split, which is read once, at the chosen epoch."),
            Column("validation (%)", "number", "Accuracy on which the epoch was chosen."),
            Column("runs", "number"),
            Column("train (s)", "number", "Seconds of training and validation, mean over the runs."),
        ],
        rows,
    )


def curves(dataset: str, shift: float) -> Chart:
    """Return training and validation accuracy over epochs, with bands."""
    series = []
    for strategy, (colour, top) in STRATEGIES.items():
        x = list(range(1, EPOCHS + 1))
        for kind, gap in (("train", 5.5), ("validation", 0.0)):
            end = min(100.0, top + shift + gap)
            y = [end - (end - 20) * math.exp(-epoch / (2.0 if strategy != "scratch" else 6.0)) for epoch in x]
            band = [2.5 * math.exp(-epoch / 9) for epoch in x]
            low, high = ([v - b for v, b in zip(y, band, strict=True)], [v + b for v, b in zip(y, band, strict=True)])
            series.append(Series(strategy, colour, "solid", x, y, low, high, kind))  # type: ignore[arg-type]
    return Chart(f"curves-{dataset}", f"Learning curves, {dataset}", "epoch", "accuracy (%)", series)


def budget() -> Chart:
    """Return accuracy over labels a class, on a logarithmic axis."""
    x = [1, 2, 5, 10, 20, 50]
    series = []
    for number, (strategy, (colour, top)) in enumerate(STRATEGIES.items()):
        y = [top - (50 - 6 * number) / value**0.7 for value in x]
        dash = "6px,2px" if number % 2 else "solid"
        series.append(
            Series(strategy, colour, dash, x, y, [v - 1.2 for v in y], [v + 1.2 for v in y], "test", "square")
        )
    return Chart("labels", "Accuracy by labels a class", "labels a class", "test accuracy (%)", series, log_x=True)


def image() -> FigureImage:
    """Return bars, in place of a figure of matplotlib."""
    image = Image.new("RGB", (1000, 420), "white")
    pen = ImageDraw.Draw(image)
    for number, (name, (colour, top)) in enumerate(STRATEGIES.items()):
        pen.rectangle((160, 30 + 74 * number, 160 + 8 * top, 78 + 74 * number), fill=colour)
        pen.text((20, 46 + 74 * number), name, fill="black")
    data = io.BytesIO()
    image.save(data, "PNG")
    return FigureImage(
        "Test accuracy", "Bars are means over 3 seeds.", data.getvalue(), ["accuracy.pdf", "accuracy.svg"]
    )


def small_page() -> Page:
    """Return a page of five strategies, three seeds and two data sets."""
    runs = sweep()
    return Page(
        title="Comparison of 5 strategies on caltech101 and scene15",
        summary=[
            "30 finished runs: 5 strategies on 2 data sets with 3 seeds each, all with efficientnet_lite0 and 10 "
            "labels a class.",
            "caltech101: finetune_all is the best strategy with 93.4 %, 38.5 points above scratch (95 % interval 36.9 "
            "to 40.1).",
            "scene15: finetune_all and finetune_upper are not significantly different (0.9 points, p = 0.21).",
        ],
        tables=[results(runs)],
        charts=[*(curves(*item) for item in DATASETS.items()), budget()],
        images=[image()],
        runs=runs,
        notes=[
            "scene15-efficientnet_lite0-head_only-seed3-17aa02c4: failed, out of memory; not counted.",
            "caltech101-efficientnet_lite0-scratch-seed1-09fe1b7c: finished, 2 images were unreadable and skipped.",
        ],
    )


def large_page() -> Page:
    """Return a page of 500 runs: two data sets, five strategies, ten rates, five seeds."""
    runs = sweep(5, [round(0.0005 * 1.6**step, 5) for step in range(10)])
    return Page("A sweep of 500 runs", ["Ten learning rates."], [results(runs)], [], [], runs)


EVIL = [
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    '"><svg onload=window.hacked=1>',
    "<!--<script>",
    "' onclick='window.hacked=1' x='",
    "$title ${data} %{y} {{7*7}} &amp; &lt;b&gt;",
    "\u2028\u2029\u202e\ufeff",
    "javascript:window.hacked=1",
    "</title></style></textarea></dialog>-->",
    "日本語 ñ \N{PARTY POPPER}",
]


def evil_page() -> Page:
    """Return a page in which every text tries to break out of its place."""
    bad = "".join(EVIL)
    card = RunCard(
        name=bad,
        directory=f"/runs/{bad}",
        repeat_command=f"headstart repeat '{bad}'",
        train_command=bad,
        config=f"a: {bad}\n{bad}: 1\n",
        facts={"data set": EVIL[1], bad: bad, "1": "2"},
        metrics={bad: 0.5, f"{bad}accuracy": 0.5},
    )
    other = replace(card, facts={**card.facts, "data set": "plain"})
    broken = replace(card, name="a\x00b\x1b\ud800", directory="/runs/\udcff")
    values = [1.0, 2.0, 3.0]
    rows = [[Cell(bad, runs=(0,), bold=True), Cell(bad, bad)]]
    return Page(
        title=bad,
        summary=[bad],
        tables=[
            ReportTable(
                "results",
                bad,
                bad,
                [Column(bad, help=bad), Column("n", "number")],
                rows,
            ),
            ReportTable(bad, bad, bad, [Column(bad)], [[Cell(bad, bad, (0, 1, 2))], [Cell("other")], [Cell(bad)]]),
        ],
        charts=[Chart(bad, bad, bad, bad, [Series(bad, bad, bad, values, values, values, values, "test", bad)])],
        images=[replace(image(), title=bad, note=bad, files=[bad, "a\ud800.svg"])],
        runs=[card, other, broken],
        notes=[bad],
    )
