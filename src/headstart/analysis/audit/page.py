"""Render the suggestions of an audit as a page of images."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from PIL import Image

from headstart.analysis.audit.audit import AuditResult
from headstart.analysis.audit.files import DUPLICATE, LABEL, Suggestion, cluster_text, method_lines, summary_lines
from headstart.reports.page.render import escaping_environment, page_style, policy

MOST_LABELS, MOST_OUTLIERS = 120, 24
MOST_CLUSTERS, MOST_MEMBERS = 40, 6
SIDE, QUALITY = 160, 80  # pixels of a thumbnail's long side; of JPEG


@dataclass(frozen=True)
class ImageCard:
    """A thumbnail and its texts."""

    source: str  # a data URL
    width: int
    height: int
    title: str
    lines: Sequence[str]


@dataclass(frozen=True)
class CardRow:
    """Cards that belong together."""

    title: str
    cards: Sequence[ImageCard]


@dataclass(frozen=True)
class PageSection:
    """A section of the page."""

    id: str
    title: str
    note: str  # how many are shown
    rows: Sequence[CardRow]


def audit_page(result: AuditResult, found: Sequence[Suggestion], title: str) -> str:
    """Return the HTML of a page that loads nothing; the number of its images is bounded."""
    return (
        escaping_environment(_asset)
        .get_template("audit.html")
        .render(
            title=title,
            summary=summary_lines(result),
            method=method_lines(),
            sections=[section for section in _sections(result, found) if section.rows],
            policy=policy([]),
            style=page_style(),
        )
    )


def _sections(result: AuditResult, found: Sequence[Suggestion]) -> list[PageSection]:
    labels = [row for row in found if row.kind == LABEL]
    outliers = [row for row in found if row.kind not in (LABEL, DUPLICATE)]
    clusters = result.clusters[:MOST_CLUSTERS]
    return [
        PageSection(
            "labels",
            "Likely wrong labels",
            _shown(len(labels), MOST_LABELS),
            [CardRow("", [_label_card(result, row) for row in labels[:MOST_LABELS]])] if labels else [],
        ),
        PageSection(
            "duplicates",
            "Duplicates",
            _shown(len(result.clusters), MOST_CLUSTERS),
            [
                CardRow(
                    f"{number}: {len(cluster.members)} images, {cluster_text(cluster)}",
                    [
                        _card(result, index, _label(result, index), result.images.splits[index])
                        for index in cluster.members[:MOST_MEMBERS]
                    ],
                )
                for number, cluster in enumerate(clusters, 1)
            ],
        ),
        PageSection(
            "outliers",
            "Outliers",
            _shown(len(outliers), MOST_OUTLIERS),
            [
                CardRow(
                    "",
                    [
                        _card(result, row.index, _label(result, row.index), f"{row.score:.1f} deviations")
                        for row in outliers[:MOST_OUTLIERS]
                    ],
                )
            ]
            if outliers
            else [],
        ),
    ]


def _shown(count: int, most: int) -> str:
    return f"{min(count, most)} of {count} are shown; audit.csv has all." if count > most else f"{count} in all."


def _label(result: AuditResult, index: int) -> str:
    return str(result.images.class_names[int(result.images.targets[index])])


def _label_card(result: AuditResult, row: Suggestion) -> ImageCard:
    return _card(result, row.index, f"{_label(result, row.index)} → {row.suggested}?", *row.reason.split("; "))


def _card(result: AuditResult, index: int, title: str, *lines: str) -> ImageCard:
    small = Image.fromarray(result.images.image(index))
    small.thumbnail((SIDE, SIDE))
    content = io.BytesIO()
    small.save(content, "JPEG", quality=QUALITY)
    source = f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
    return ImageCard(source, small.width, small.height, title, [*lines, result.images.ids[index]])


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
