"""Compare the label audit with cleanlab on labels flipped at random.

    pip install cleanlab
    python scripts/compare_audit.py dataset=image_folder dataset.root=scene15 dataset.image_size=128

All settings of ``headstart audit`` apply. For each share of flipped labels and each seed, it prints the average
precision of the ranking and the F1 of the suggested set: of the audit, of cleanlab on the same out-of-fold
probabilities of the probe, and of cleanlab on the probabilities that the audit combines from probe and neighbours.
Without cleanlab it prints the audit alone.
"""

import dataclasses
import importlib.util
import sys
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf
from sklearn.metrics import average_precision_score, f1_score

from headstart.analysis.audit.audit import AuditResult, audit_images
from headstart.analysis.audit.duplicates import duplicate_pairs
from headstart.analysis.audit.pooled import pooled_images
from headstart.commands.measuring import probe_settings
from headstart.seeds import generator
from headstart.solvers.label_quality import Labels, Shares
from headstart.training.prepare import prepare, run_settings, settle_process

SHARES, SEEDS = (0.05, 0.1, 0.2), (0, 1, 2)
RANKINGS = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
FILTERS = ("prune_by_noise_rate", "prune_by_class", "both", "confident_learning", "low_self_confidence")


def flipped(targets: Labels, classes: int, share: float, seed: int) -> Labels:
    """Return the targets with a share of them replaced by another class, drawn at random."""
    rng = generator("flipped labels", seed)
    chosen = rng.choice(len(targets), round(share * len(targets)), replace=False)
    changed = targets.copy()
    changed[chosen] = (targets[chosen] + rng.integers(1, classes, len(chosen))) % classes
    return changed


def scores_of_audit(result: AuditResult, wrong: Labels) -> dict[str, float]:
    """Return the average precision and the F1 of the audit."""
    return {
        "AP audit": float(average_precision_score(wrong, result.scores)),
        "F1 audit": float(f1_score(wrong, np.isin(np.arange(len(wrong)), result.wrong))),
    }


def scores_of_cleanlab(probabilities: Shares, targets: Labels, wrong: Labels, what: str) -> dict[str, float]:
    """Return the average precision of each ranking, and the F1 of each filter, of cleanlab."""
    from cleanlab.filter import find_label_issues  # type: ignore[import-not-found]
    from cleanlab.rank import get_label_quality_scores  # type: ignore[import-not-found]

    scores = {}
    for name in RANKINGS:
        quality = get_label_quality_scores(targets, probabilities, method=name)
        scores[f"AP cleanlab, {what}: {name}"] = float(average_precision_score(wrong, -quality))
    for name in FILTERS:
        found = find_label_issues(targets, probabilities, filter_by=name, n_jobs=1)
        scores[f"F1 cleanlab, {what}: {name}"] = float(f1_score(wrong, found))
    return scores


def main() -> None:
    """Print a row for each score: mean, lowest and highest of the seeds, for each share."""
    config, _ = probe_settings(sys.argv[1:], "audit")
    settle_process()
    images = pooled_images(prepare(OmegaConf.create(run_settings(config)), Path(str(config.output_dir))))
    pairs = duplicate_pairs(images)
    with_cleanlab = importlib.util.find_spec("cleanlab") is not None
    table: dict[str, dict[float, list[float]]] = {}
    for share in SHARES:
        for seed in SEEDS:
            targets = flipped(images.targets, len(images.class_names), share, seed)
            wrong = (targets != images.targets).astype(np.int64)
            result = audit_images(dataclasses.replace(images, targets=targets), pairs, seed)
            scores = scores_of_audit(result, wrong)
            if with_cleanlab:
                scores |= scores_of_cleanlab(result.probabilities, targets, wrong, "probe")
                scores |= scores_of_cleanlab(result.combined, targets, wrong, "combined")
            for name, score in scores.items():
                table.setdefault(name, {}).setdefault(share, []).append(score)
            print(f"{share:.0%} flipped, seed {seed}: {scores['AP audit']:.4f} {scores['F1 audit']:.4f}", flush=True)
    for name, by_share in sorted(table.items()):
        cells = [f"{np.mean(found):.3f} ({min(found):.3f} to {max(found):.3f})" for found in by_share.values()]
        print(f"{name:50s} {'  '.join(cells)}")
    if not with_cleanlab:
        print("cleanlab is not installed; to compare with it: pip install cleanlab")


if __name__ == "__main__":
    main()
