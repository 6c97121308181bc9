"""Measure what the feature store saves: a cold and a warm run, a partly frozen network, a sweep."""

from collections.abc import Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measured import Row, fresh, median
from benchmarks.networks import make_backbone


def head_only(settings: Sequence[str], rounds: int, epochs: int = 20) -> list[Row]:
    """Compare training of the head with and without the store: the cold and warm fit, and the whole command."""
    settings = [*settings, "strategy=head_only", f"trainer.max_epochs={epochs}"]
    cold, warm = [], []
    for _ in range(rounds):
        with fresh(settings) as place:
            cold.append(place.train())
            warm.append(place.train())
    with fresh(settings) as place:
        plain = place.train("features.enabled=false")
    difference = max(abs(plain.runs[0]["metrics"][k] - cold[0].runs[0]["metrics"][k]) for k in plain.runs[0]["metrics"])
    cold_fit, warm_fit = median([run.train for run in cold]), median([run.train for run in warm])
    cold_wall, warm_wall = median([run.wall for run in cold]), median([run.wall for run in warm])
    engine = cold[0].runs[0]["features"]["engine"]
    return [
        Row(
            f"head_only, {epochs} epochs: fit, cold cache",
            f"{plain.train / cold_fit:.1f}",
            "20",
            f"{plain.train:.1f} s / {cold_fit:.2f} s ({engine}; metrics differ by {difference:.0e} at most)",
        ),
        Row("the same, warm cache", f"{plain.train / warm_fit:.3g}", "100", f"{plain.train:.1f} s / {warm_fit:.2f} s"),
        Row(
            "the same, whole command, cold",
            f"{plain.wall / cold_wall:.1f}",
            "12",
            f"{plain.wall:.1f} s / {cold_wall:.1f} s (warm: {warm_wall:.1f} s)",
        ),
    ]


def finetune_upper(settings: Sequence[str], rounds: int) -> list[Row]:
    """Compare 10 epochs of the last stage and the head with and without the store, and give the arithmetic bound."""
    settings = [*settings, "strategy=finetune_upper", "strategy.stages=1", "trainer.max_epochs=10"]
    with fresh(settings) as place:
        plain = place.train("features.enabled=false")
    cold, warm = [], []
    for _ in range(rounds):
        with fresh(settings) as place:
            cold.append(place.train())
            warm.append(place.train())
    cold_fit, warm_fit = median([run.train for run in cold]), median([run.train for run in warm])
    same = plain.runs[0]["metrics"] == cold[0].runs[0]["metrics"]
    return [
        Row(
            "finetune_upper, last stage, 10 epochs: fit, cold cache",
            f"{plain.train / cold_fit:.2f}",
            "2.5 or the bound",
            f"{plain.train:.1f} s / {cold_fit:.1f} s; warm {plain.train / warm_fit:.2f}; bound by arithmetic"
            f" {_bound(settings):.2f}; metrics {'equal bit for bit' if same else 'differ'}",
        )
    ]


def sweep(settings: Sequence[str], rounds: int) -> list[Row]:
    """Compare 24 runs (head_only and linear_probe, 3 seeds, 4 learning rates) with one cold run."""
    grid = ["strategy=head_only,linear_probe", "seed=0,1,2", "optimizer.lr=0.0005,0.001,0.002,0.004"]
    single, total = [], []
    for _ in range(rounds):
        with fresh(settings) as place:
            single.append(place.train("strategy=head_only"))
        with fresh(settings) as place:
            total.append(place.train("-m", *grid))
    hits = sum(run["features"]["hit"] for run in total[-1].runs)
    rows = []
    for what, seconds in (
        ("24 runs (2 strategies, 3 seeds, 4 rates) / one cold head_only, 10 epochs", lambda one: one.wall),
        ("the same in processor time", lambda one: one.processor),
    ):
        many, one = (median([seconds(outcome) for outcome in outcomes]) for outcomes in (total, single))
        figures = f"{many:.1f} s / {one:.1f} s; {hits} of 24 found all features"
        rows.append(Row(what, f"{many / one:.2f}", "below 1.5", figures))
    return rows


def _bound(settings: Sequence[str]) -> float:
    """Return (prefix + trained stage) / trained stage in multiplications; a backward pass counts as two forward."""
    values = dict(setting.split("=", 1) for setting in settings)
    name, size = values["backbone"], int(values["dataset.image_size"])
    backbone = make_backbone(name, size).eval()
    x = torch.zeros(1, 3, size, size)
    costs = []
    for stop in (len(backbone.stage_names) - 1, len(backbone.stage_names)):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            backbone.forward_stages(x, 0, stop)
        costs.append(counter.get_total_flops())
    below, whole = costs
    trained, validated = 0.8, 0.2  # fractions of the images
    above = (whole - below) * (3 * trained + validated)
    return (below + above) / above
