"""Check that a change of structure changes no result, with a matrix of small runs before and after it.

    python scripts/same_results.py keep before.json       # at the commit before the change
    python scripts/same_results.py compare before.json    # after it, on the same machine

Each case is a real command in a separate process. The file keeps every metric of run.json to the last bit, the curves
of metrics.csv without speeds, both files of predictions, the selection, and a digest of every tensor of best.ckpt.
The second call prints the differences, and its exit code is 1 if there are any. ``--only WORD`` runs the cases whose
names contain the word. ``--jobs N`` runs N cases at once (default: one per core).
"""

import argparse
import csv
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

COMMON = [
    "dataset.image_size=32", "dataset.num_workers=0", "backbone.weights=null",
    "trainer.accelerator=cpu", "trainer.max_epochs=2", "output_dir=runs",
]  # fmt: skip
SMALL = ["backbone=timm", "backbone.name=test_efficientnet"]
STRATEGIES = [
    "scratch", "finetune_all", "finetune_lower", "finetune_upper", "surgical strategy.train_stages=[stage2]",
    "gradual_unfreeze strategy.epochs_per_stage=1", "head_only", "bias_only", "norm_only", "lora", "adapters",
    "truncate", "l2_sp", "lp_ft", "wise_ft", "layer_transfer strategy.stages=2", "linear_probe",
    "linear_probe strategy.loss=hinge", "ridge", "knn", "nearest_centroid",
]  # fmt: skip
# Besides a case per strategy: backbones, augmentations, the feature store, statistics, heads, two processes, a resume.
RESUME = "resume"  # a case that is stopped after its first epoch and resumed
OTHERS = {
    "resnet18": ["backbone=resnet18", "strategy=finetune_upper"],
    "vit": ["backbone=timm", "backbone.name=test_vit", "dataset.image_size=160", "strategy=finetune_all"],
    "lite0": ["backbone=efficientnet_lite0", "backbone.weights=imagenet", "strategy=linear_probe"],
    "views": [*SMALL, "strategy=finetune_all", "augmentation=[crop_resize,color_jitter]"],
    "augmix": [*SMALL, "strategy=finetune_upper", "augmentation=augmix"],
    "mixes": [*SMALL, "strategy=finetune_all", "augmentation=[crop_resize,mixup_or_cutmix]"],
    "manifold": [*SMALL, "strategy=finetune_all", "augmentation=manifold_mixup"],
    "consistency": [*SMALL, "strategy=finetune_all", "augmentation=augmix_jsd"],
    "device_views": [*SMALL, "strategy=head_only", "augmentation=crop_resize", "augmentation.where=device"],
    "test_views": [*SMALL, "strategy=head_only", "test_views=flip"],
    "kept_views": [*SMALL, "strategy=head_only", "augmentation=crop_resize", "features.views=2"],
    "probe_views": [*SMALL, "strategy=linear_probe", "augmentation=crop_resize", "strategy.views=2"],
    "no_store": [*SMALL, "strategy=head_only", "features.enabled=false"],
    "adapt": [*SMALL, "strategy=head_only", "strategy.batch_norm=adapt"],
    "batch": [*SMALL, "strategy=finetune_upper", "strategy.batch_norm=batch"],
    "head": [*SMALL, "strategy=head_only", "head=mlp", "head.stages=[stage2,stage3]", "head.pooling=gem"],
    "averages": [*SMALL, "strategy=finetune_all", "callbacks=[ema,early_stopping]", "scheduler=one_cycle"],
    "digits": [*SMALL, "dataset=digits", "dataset.labels_per_class=5", "strategy=finetune_all"],
    "balance": [*SMALL, "strategy=head_only", "dataset.balance=sampler"],
    "refit": [*SMALL, "strategy=ridge", "strategy.refit=true"],
    "folds": [*SMALL, "strategy=ridge", "dataset.folds=3", "dataset.fold=1"],
    "bf16": [*SMALL, "strategy=finetune_all", "trainer.precision=bf16-mixed"],
    "workers": [*SMALL, "strategy=finetune_all", "augmentation=crop_resize", "dataset.num_workers=2"],
    RESUME: [*SMALL, "strategy=finetune_all", "augmentation=crop_resize", "trainer.max_epochs=20"],
    "ddp": [*SMALL, "strategy=finetune_upper", "trainer=ddp", "trainer.devices=2"],
}  # fmt: skip
FEW = "dataset.counts=[12,6,6]"  # for textures, the default data set
SPEEDS = ("samples_per_second", "seconds")


def main() -> int:
    """Run the matrix, and keep or compare the results; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=["keep", "compare"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    chosen = {name: settings for name, settings in cases().items() if options.only in name}
    with ThreadPoolExecutor(options.jobs) as pool:
        results = dict(zip(chosen, pool.map(result, chosen, chosen.values()), strict=True))
    failed = [name for name, kept in results.items() if "failed" in kept]
    for name in failed:
        print(f"{name}: {results[name]['failed']}")
    if options.what == "keep":
        options.file.write_text(json.dumps(results, indent=1, sort_keys=True))
        print(f"{len(results) - len(failed)} of {len(results)} cases kept in {options.file}")
        return int(bool(failed))
    before = json.loads(options.file.read_text())
    changed = [line for name in chosen for line in differences(name, before.get(name, {}), results[name])]
    print(*changed, sep="\n")
    equal = len(chosen) - len({line.split(":")[0] for line in changed})
    print(f"{equal} of {len(chosen)} cases bit-equal")
    return int(bool(changed or failed))


def cases() -> dict[str, list[str]]:
    """Return the settings of each case, by name."""
    named = {words.replace(" ", "_"): [*SMALL, *f"strategy={words}".split()] for words in STRATEGIES}
    return {**named, **OTHERS}


def result(name: str, settings: list[str]) -> dict[str, Any]:
    """Run one case in a temporary folder and return its result."""
    command = [
        sys.executable,
        str(Path(__file__).with_name("train.py")),
        *COMMON,
        *([] if "dataset=digits" in settings else [FEW]),
        *settings,
    ]
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": folder}
        if name == RESUME:
            stop_after_first_epoch(command, Path(folder), environment)
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
        found = list(Path(folder).glob("runs/*/*/run.json"))
        if done.returncode or len(found) != 1:
            return {"failed": (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]}
        return kept(found[0].parent)


def stop_after_first_epoch(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    """Start a run, and send it SIGTERM when it has written the first epoch."""
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not list(folder.glob("runs/*/*/metrics.csv")):
        time.sleep(0.02)
    process.terminate()
    process.wait(60)


def kept(run: Path) -> dict[str, Any]:
    """Return the result in a run directory, in a form that can be compared."""
    import torch

    content = json.loads((run / "run.json").read_text())
    with (run / "metrics.csv").open(newline="") as file:
        curves = [{key: row[key] for key in row if not key.endswith(SPEEDS)} for row in csv.DictReader(file)]
    weights = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    return {
        "metrics": content["metrics"],
        "selected": content.get("selected"),
        "curves": curves,
        "predictions": digest((run / "predictions.csv").read_bytes()),
        "validation_predictions": digest((run / "validation_predictions.csv").read_bytes()),
        "weights": {
            key: digest(value.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
            for key, value in weights.items()
        },
    }


def digest(content: bytes) -> str:
    """Return the first 16 digits of the SHA-256 of bytes."""
    return hashlib.sha256(content).hexdigest()[:16]


def differences(name: str, before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return a line for each part of a case that differs."""
    return [
        f"{name}: {part} differ" for part in sorted(before.keys() | now.keys()) if before.get(part) != now.get(part)
    ]


if __name__ == "__main__":
    sys.exit(main())
