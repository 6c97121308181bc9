"""Write the suggestions of an audit: summary, CSV files and page."""

import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from headstart.analysis.audit.audit import FAR, AuditResult, labels_text
from headstart.analysis.audit.duplicates import COSINE, DuplicateCluster
from headstart.inputs.leakage import BITS, THRESHOLD
from headstart.tables import csv_cell

HEADER = ["kind", "id", "path", "split", "label", "suggested", "score", "cluster", "keep", "reason"]
LABEL, DUPLICATE, OUTLIER = "label", "duplicate", "outlier"
KEPT = ("test", "validation", "train")  # of duplicates in several splits, so that scores stay comparable


@dataclass(frozen=True)
class Suggestion:
    """Something to look at: a row of audit.csv."""

    kind: str
    index: int  # of the pooled image
    suggested: str  # a class name, or empty
    score: float  # the higher, the more suspicious, within its kind
    cluster: int | None  # of duplicates, counted from 1
    keep: str  # "yes" or "no"; empty where somebody has to look
    reason: str


def suggestions(result: AuditResult) -> list[Suggestion]:
    """Return all suggestions: wrong labels, duplicates, outliers; the most suspicious first within each."""
    names, scores = result.images.class_names, result.scores
    found = [
        Suggestion(
            LABEL, index, names[int(result.suggested[index])], float(scores[index]), None, "",
            labels_text(names, result, index),
        )
        for index in result.wrong.tolist()
    ]  # fmt: skip
    for number, cluster in enumerate(result.clusters, 1):
        found += _of_cluster(result, number, cluster)
    far = "robust standard deviations farther from its neighbours than usual"
    found += [
        Suggestion(OUTLIER, index, "", float(result.isolated[index]), None, "", f"{result.isolated[index]:.1f} {far}")
        for index in result.outliers.tolist()
    ]
    return found


def cluster_text(cluster: DuplicateCluster) -> str:
    """Return what is known about a cluster of duplicates."""
    parts = ["the same file content" if cluster.exact else "nearly the same image"]
    parts += [f"{cluster.labels} different labels"] if cluster.labels > 1 else []
    parts += [f"in {cluster.splits} splits"] if cluster.splits > 1 else []
    return ", ".join(parts)


def _of_cluster(result: AuditResult, number: int, cluster: DuplicateCluster) -> Iterator[Suggestion]:
    kept = min(cluster.members, key=lambda index: KEPT.index(result.images.splits[index]))
    for index in cluster.members:
        keep = "" if cluster.labels > 1 else "yes" if index == kept else "no"
        score = float(cluster.labels - 1 + cluster.splits - 1 + len(cluster.members) - 1)
        yield Suggestion(DUPLICATE, index, "", score, number, keep, cluster_text(cluster))


def summary_lines(result: AuditResult) -> list[str]:
    """Return the summary, the number first in each line."""
    images, wrong = result.images, len(result.wrong)
    members = sum(len(cluster.members) for cluster in result.clusters)
    counts = {name: images.splits.count(name) for name in dict.fromkeys(images.splits)}
    lines = [
        f"{len(images):,} images pooled ({', '.join(f'{count:,} {name}' for name, count in counts.items())})",
        f"{_counted(wrong, 'label is', 'labels are')} likely wrong ({100 * wrong / len(images):.1f} %)",
        f"{_counted(len(result.clusters), 'cluster', 'clusters')} of duplicates ({members:,} images)",
    ]
    for clusters, what in ((result.contradicting, "different labels"), (result.leaking, "images in several splits")):
        lines += [f"{_counted(len(clusters), 'cluster has', 'clusters have')} {what}"] if clusters else []
    return [*lines, _counted(len(result.outliers), "outlier", "outliers")]


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def method_lines() -> list[str]:
    """Return how the suggestions were found, for the page."""
    return [
        "A cross-fitted linear probe judged each image: its fit saw neither the image nor its duplicates.",
        "Wrong labels: the geometric mean of the probe and the nearest neighbours, cut by confident learning.",
        f"Near-duplicates: at most {THRESHOLD} of {BITS} bits of their perceptual hashes differ, and the cosine of"
        f" their features is at least {COSINE}. Flipped or strongly cropped copies are not found.",
        f"Outliers: their distance to their neighbours is more than {FAR:g} robust standard deviations above that of"
        " all images, and above that of these neighbours.",
        "Suggestions are no verdicts: look at each image.",
    ]


def audit_csv(result: AuditResult, rows: Iterable[Suggestion]) -> str:
    """Return the CSV text with a row for each suggestion."""
    images = result.images
    return _csv(
        HEADER,
        (
            [
                row.kind, images.ids[row.index], images.path(row.index), images.splits[row.index],
                images.class_names[int(images.targets[row.index])], row.suggested, f"{row.score:.6g}",
                "" if row.cluster is None else row.cluster, row.keep, row.reason,
            ]
            for row in rows
        ),
    )  # fmt: skip


def images_csv(result: AuditResult) -> str:
    """Return the CSV text with a row for each image, which dataset=csv reads; empty if the images are not files.

    Paths are relative to the folder that contains all of them, which is the ``dataset.pictures`` of the list.
    """
    images = result.images
    paths = [images.path(index) for index in range(len(images))]
    if not all(paths):
        return ""
    above = pictures_folder(result)
    rows = (
        [os.path.relpath(path, above), images.class_names[int(label)], split, images.class_names[int(other)], score]
        for path, label, split, other, score in zip(
            paths,
            images.targets,
            images.splits,
            result.suggested,
            (f"{score:.6g}" for score in result.scores),
            strict=True,
        )
    )
    return _csv(["path", "label", "split", "suggested", "score"], rows, escaped=False)


def pictures_folder(result: AuditResult) -> str:
    """Return the folder that contains all images."""
    return os.path.commonpath([os.path.dirname(result.images.path(index)) for index in range(len(result.images))])  # noqa: PTH120


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]], escaped: bool = True) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header)
    table.writerows(map(csv_cell, row) if escaped else row for row in rows)
    return text.getvalue()
