"""A comparison as event files, for TensorBoard: means and bands over seeds, final scores, images."""

from __future__ import annotations

import io
import math
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.comparison.curves import band
from headstart.comparison.formats import setting
from headstart.comparison.panels import Panel
from headstart.comparison.table import RunGroup, Statistic, averaged_over
from headstart.files import write_atomically

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

SUFFIX = ".headstart"  # ends the names of the files that are ours to remove
SPLITS = ("train", "validation")
SIDES = ("low", "high")
Curve = Mapping[int, float]  # by epoch from 0, as in the event files of the runs


@dataclass
class SubRun:
    """What one event file holds."""

    scalars: Mapping[str, Curve] = field(default_factory=dict)
    summaries: list[Summary] = field(default_factory=list)


def write_board(panels: Sequence[Panel], directory: Path, images: Mapping[str, Path] | None = None) -> Path:
    """Write the comparison below ``directory``, for ``tensorboard --logdir``, and return it.

    - ``<panel>/<label>/train`` and ``validation`` hold ``epoch_<primary metric>`` and ``epoch_loss``, means over runs
      by epoch from 0: the tags of single runs, so that one chart overlays strategies, and ``validation`` as a filter
      leaves one curve a strategy. An epoch that not every run has reached is averaged over those that have. Fits
      without epochs are level lines.
    - ``spread/...`` is the band, one sample deviation below and above: the tab Custom Scalars shades it. It stands in
      the same sub-runs, as that tab needs; and with more than 40 sub-runs TensorBoard ticks none of them.
    - ``<panel>/<label>/test`` is a line of the tab HParams: ``final/test_<primary metric>`` is the mean, beside it
      the deviation.
    - ``images``, PNG files by name, are images of ``figures``.

    What an earlier call left in the directory is removed.
    """
    content = dict(_sub_runs(panels))
    if images:
        content["figures"] = SubRun(summaries=[_image(name, path) for name, path in images.items()])
    clear(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for name, sub_run in content.items():
        _write(directory / name, sub_run)
    prune(directory)  # at the end: most are the same as before
    return directory


def clear(directory: Path) -> None:
    """Remove the event files that were written here; all else stays."""
    for folder, _, files in os.walk(directory):  # does not follow links
        for name in files:
            if "tfevents" in name and name.endswith(SUFFIX):
                (Path(folder) / name).unlink()


def prune(directory: Path) -> None:
    """Remove the folders below that are empty."""
    for folder, _, _ in os.walk(directory, topdown=False):
        if Path(folder) != directory and not any(Path(folder).iterdir()):
            Path(folder).rmdir()


def _sub_runs(panels: Sequence[Panel]) -> Iterator[tuple[str, SubRun]]:
    taken: set[str] = set()
    for panel in panels:
        groups = [*panel.groups, *panel.references]
        bands = [_bands(group) for group in groups]
        last = max((epoch for found in bands for curves in found.values() for epoch in curves["mean"]), default=0)
        for group, found in zip(groups, bands, strict=True):
            name = unique_name(f"{plain_name(panel.title)}/{plain_name(group.label)}", taken)
            yield f"{name}/test", _scores(name, group)
            drawn = found or _levels(group, max(last, 1))
            for split in SPLITS:
                scores = _names(group)
                curves = {score: drawn[split, score] for score in scores if (split, score) in drawn}
                if curves:
                    yield f"{name}/{split}", _series(curves, scores)


def _names(group: RunGroup) -> tuple[str, str]:
    """Return what curves are drawn of."""
    return group.metric.name, "loss"


def _series(curves: Mapping[str, Mapping[str, Curve]], scores: Sequence[str]) -> SubRun:
    """Means and bands of one series and split, by score."""
    means = {f"epoch_{score}": of["mean"] for score, of in curves.items()}
    sides = {f"spread/{score}_{side}": of[side] for score, of in curves.items() for side in SIDES}
    return SubRun(means | sides, [_layout(scores)])


def _bands(group: RunGroup) -> dict[tuple[str, str], dict[str, Curve]]:
    """Mean, low and high for each split and score; nothing for fits that have no epochs, and references."""
    if group.reference:
        return {}
    found = {(split, score): band(group, f"{split}/{score}") for split in SPLITS for score in _names(group)}
    return {
        key: {
            name: dict(zip((of.epochs - 1).tolist(), values.tolist(), strict=True))
            for name, values in (("mean", of.mean), ("low", of.low), ("high", of.high))
        }
        for key, of in found.items()
        if of is not None
    }


def _levels(group: RunGroup, last: int) -> dict[tuple[str, str], dict[str, Curve]]:
    """Level bands from the first epoch to the last one, of what was chosen on validation."""
    statistics = {("validation", group.metric.name): group.validation}
    if not group.reference:
        statistics = {
            (split, score): _over_runs(group, f"{split}/{score}") for split in SPLITS for score in _names(group)
        }
    return {
        key: {
            name: dict.fromkeys((0, last), of.mean + sign * (0.0 if math.isnan(of.deviation) else of.deviation))
            for name, sign in (("mean", 0), ("low", -1), ("high", 1))
        }
        for key, of in statistics.items()
        if of.count
    }


def _over_runs(group: RunGroup, metric: str) -> Statistic:
    return Statistic.of(run.metrics[metric] for run in group.runs if metric in run.metrics)


def _scores(name: str, group: RunGroup) -> SubRun:
    """A line of the HParams tab: the group's settings and the statistics of its final scores."""
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb

    metric = group.metric.name
    statistics = {f"test_{metric}": group.test, f"validation_{metric}": group.validation}
    if not group.reference:
        statistics |= {f"{split}_loss": _over_runs(group, f"{split}/loss") for split in ("test", "validation")}
    scalars: dict[str, Curve] = {"final/runs": {0: group.test.count}}
    for name_of, statistic in statistics.items():
        for label, value in ((name_of, statistic.mean), (f"{name_of}_deviation", statistic.deviation)):
            if not math.isnan(value):
                scalars[f"final/{label}"] = {0: value}
    mixed = averaged_over([group])
    key = {key: value for key, value in {**group.key, **group.tuned}.items() if value is not None and key not in mixed}
    settings = {key: value if isinstance(value, bool | int | float) else setting(value) for key, value in key.items()}
    return SubRun(scalars, [hparams_pb(settings, trial_id=name)])


def _layout(scores: Sequence[str]) -> Summary:
    """The charts of the tab Custom Scalars; equal ones of many sub-runs are drawn once."""
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.plugins.custom_scalar import layout_pb2, metadata
    from tensorboard.util.tensor_util import make_tensor_proto

    charts = []
    for score in scores:
        low, high = (f"spread/{score}_{side}" for side in SIDES)
        series = [layout_pb2.MarginChartContent.Series(value=f"epoch_{score}", lower=low, upper=high)]
        title = f"{score}: mean and one deviation over runs"
        charts.append(layout_pb2.Chart(title=title, margin=layout_pb2.MarginChartContent(series=series)))
    layout = layout_pb2.Layout(category=[layout_pb2.Category(title="comparison", chart=charts)])
    plugin = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME))
    tensor = make_tensor_proto(layout.SerializeToString())
    return Summary(value=[Summary.Value(tag=metadata.CONFIG_SUMMARY_TAG, metadata=plugin, tensor=tensor)])


def _image(name: str, path: Path) -> Summary:
    from PIL import Image
    from tensorboard.compat.proto.summary_pb2 import Summary

    content = path.read_bytes()
    with Image.open(io.BytesIO(content)) as pixel_rows:
        width, height, channels = *pixel_rows.size, len(pixel_rows.getbands())
    image = Summary.Image(width=width, height=height, colorspace=channels, encoded_image_string=content)
    return Summary(value=[Summary.Value(tag=name, image=image)])


def _write(folder: Path, sub_run: SubRun) -> None:
    """One event file, whole at once: what a writer with a queue and a thread would make, without them."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    now = time.time()
    content = io.BytesIO()
    records = RecordWriter(content)
    records.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
    for summary in sub_run.summaries:
        records.write(Event(wall_time=now, step=0, summary=summary).SerializeToString())
    for epoch in sorted({epoch for curve in sub_run.scalars.values() for epoch in curve}):
        values = [
            Summary.Value(tag=tag, simple_value=curve[epoch])
            for tag, curve in sub_run.scalars.items()
            if epoch in curve
        ]
        records.write(Event(wall_time=now, step=epoch, summary=Summary(value=values)).SerializeToString())
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"events.out.tfevents.{int(now):010d}{SUFFIX}", content.getvalue())


def plain_name(name: Any) -> str:
    """Return a name that is one folder, readable in TensorBoard's list and in a regular expression typed there."""
    return re.sub(r"[^\w.,=+-]+", " ", str(name)).strip(" .") or "all"


def unique_name(name: str, taken: set[str]) -> str:
    """Return the name, with a number where it is taken, and take it."""
    number, unique = 1, name
    while unique.lower() in taken:  # some file systems do not tell capitals
        number += 1
        unique = f"{name} {number}"
    taken.add(unique.lower())
    return unique
