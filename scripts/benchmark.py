"""Measure speed and memory as ratios: python scripts/benchmark.py [QUESTION ...] [--root FOLDER].

Both sides of a ratio are measured in the same call, as whole commands in separate processes; figures are medians of
--rounds. docs/benchmarks.md shows the printed table. Runs use a GPU if there is one, as with
--backbone resnet50 --size 224 --set trainer.precision=bf16-mixed.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.measured import Row


def main() -> None:
    """Answer the named questions (default: all) and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ["head_only", "linear_probe", "finetune_upper", "sweep", "memory", "overhead", "report"]
    names += ["views", "augmented", "scale"]
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help=f"any of {', '.join(names)} (default: all)")
    parser.add_argument("--root", help="class folders below train and test; default: the embedded textures")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--size", type=int, default=128, help="side of the images in pixels")
    parser.add_argument("--batch", type=int, default=32, help="images per batch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="more settings of headstart train")
    options = parser.parse_args()
    if unknown := [name for name in options.questions if name not in names]:
        parser.error(f"there is no question {unknown[0]}; choose from {', '.join(names)}")
    import torch  # takes seconds, so only after the arguments are checked
    from benchmarks import augmentation, frozen, memory, overhead, probe, report, scale

    from headstart.records.provenance import hardware

    data = ["dataset=textures"]
    if options.root:
        data = ["dataset=image_folder", f"dataset.root={Path(options.root).resolve()}"]
    settings = [*data, f"backbone={options.backbone}", f"dataset.image_size={options.size}"]
    settings += [f"dataset.batch_size={options.batch}", *options.set]
    questions: dict[str, Callable[[], list[Row]]] = {
        "head_only": partial(frozen.head_only, settings, options.rounds),
        "linear_probe": partial(probe.linear_probe, settings, options.rounds),
        "finetune_upper": partial(frozen.finetune_upper, settings, options.rounds),
        "sweep": partial(frozen.sweep, settings, options.rounds),
        "memory": partial(memory.flat, settings, options.rounds),
        "views": partial(augmentation.views, max(3, options.rounds)),
        "augmented": partial(augmentation.training, settings, options.rounds),
        "scale": partial(scale.probes, options.rounds),
        "report": partial(report.speed, settings, options.rounds),
        "overhead": partial(overhead.finetune_all, options.size, options.batch, max(2, options.rounds)),
    }
    machine = hardware()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{machine['threads']} threads, no GPU"
    print(f"{options.backbone}, {options.size} px; {machine['processor']}, {device}; torch {torch.__version__}\n")
    print("| ratio | measured | aim | figures |\n|---|---:|---:|---|")
    for name in options.questions or names:
        for row in questions[name]():
            print(f"| {row.what} | {row.ratio} | {row.aim} | {row.figures} |")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
