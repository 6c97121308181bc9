"""Measure speed and memory as ratios: python scripts/benchmark.py [QUESTION ...] [--root FOLDER].

Both sides of a ratio are measured in the same call, as whole commands in separate processes; figures are medians of
--rounds. docs/benchmarks.md shows the printed table. Runs use a GPU if there is one, as with
--backbone resnet50 --size 224 --set trainer.precision=bf16-mixed. The question gpu has networks of its own.
"""

import argparse
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from benchmarks.measured import Row

PEERS = ["plain", "fastai", "transformers", "timm", "arithmetic"]


def main() -> None:
    """Answer the named questions (default: all) and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usual = ["head_only", "linear_probe", "finetune_upper", "sweep", "memory", "overhead", "report"]
    usual += ["views", "augmented", "allocator", "contrast", "first"]
    names = [*usual, "peers", "gpu", "scale", "bf16"]
    by_default = "default: all but peers, gpu, scale and bf16"
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help=f"any of {', '.join(names)} ({by_default})")
    parser.add_argument("--root", help="class folders below train and test; default: the embedded textures")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--size", type=int, default=128, help="side of the images in pixels")
    parser.add_argument("--batch", type=int, default=32, help="images per batch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="more settings of headstart train")
    peers_only = parser.add_argument_group("options of peers, which takes --root, --batch, --rounds and --set, too")
    peers_only.add_argument("--peers", nargs="+", choices=PEERS, default=PEERS, help="libraries (default: all)")
    peers_only.add_argument(
        "--sizes", nargs="+", type=int, default=[64, 128, 224], help="sides of the images; also of bf16"
    )
    networks = ["efficientnet_lite0", "resnet18", "vit_tiny_patch16_224"]
    peers_only.add_argument("--backbones", nargs="+", default=networks, help="of headstart or timm; also of bf16")
    peers_only.add_argument("--images", type=int, default=640, help="training images at most")
    peers_only.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--toy", action="store_true", help="gpu: the same code at toy size, on any machine")
    options = parser.parse_args()
    if unknown := [name for name in options.questions if name not in names]:
        parser.error(f"there is no question {unknown[0]}; choose from {', '.join(names)}")
    import torch  # takes seconds, so only after the arguments are checked
    from benchmarks import augmentation, bf16, contrast, frozen, gpu, memory, overhead, peers, probe, report, scale

    from headstart.records.provenance import hardware

    if "gpu" in options.questions and not options.toy and not torch.cuda.is_available():
        parser.exit(2, "gpu: this machine has no GPU; --toy runs the same code at toy size without one.\n")
    data = ["dataset=textures"]
    if options.root:
        data = ["dataset=image_folder", f"dataset.root={Path(options.root).resolve()}"]
    settings = [*data, f"backbone={options.backbone}", f"dataset.image_size={options.size}"]
    settings += [f"dataset.batch_size={options.batch}", *options.set]
    questions: dict[str, Callable[[], Iterable[Row]]] = {
        "head_only": partial(frozen.head_only, settings, options.rounds),
        "linear_probe": partial(probe.linear_probe, settings, options.rounds),
        "first": partial(probe.first_result, settings, options.rounds),
        "finetune_upper": partial(frozen.finetune_upper, settings, options.rounds),
        "sweep": partial(frozen.sweep, settings, options.rounds),
        "memory": partial(memory.flat, settings, options.rounds),
        "views": partial(augmentation.views, max(3, options.rounds)),
        "augmented": partial(augmentation.training, settings, options.rounds),
        "scale": partial(scale.probes, options.rounds),
        "report": partial(report.speed, settings, options.rounds),
        "contrast": partial(contrast.epoch, settings, options.rounds),
        "allocator": partial(overhead.allocator, settings, options.rounds),
        "overhead": partial(overhead.finetune_all, options.size, options.batch, max(2, options.rounds)),
        "bf16": partial(bf16.frozen, options.backbones, options.sizes, options.rounds),
        "gpu": partial(gpu.all_rows, options.toy),
        "peers": partial(
            peers.finetune_all,
            options.root,
            options.peers,
            options.backbones,
            options.sizes,
            options.batch,
            options.images,
            options.epochs,
            options.rounds,
            options.set,
        ),
    }
    machine = hardware()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{machine['threads']} threads, no GPU"
    asked = options.questions or usual
    if not {"peers", "gpu", "bf16"}.issuperset(asked):  # their rows name their networks
        print(f"{options.backbone}, {options.size} px; ", end="")
    print(f"{machine['processor']}, {device}; torch {torch.__version__}\n")
    print("| ratio | measured | aim | figures |\n|---|---:|---:|---|")
    for name in asked:
        for row in questions[name]():
            print(f"| {row.what} | {row.ratio} | {row.aim} | {row.figures} |")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
