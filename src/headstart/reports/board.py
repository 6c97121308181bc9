"""Write a comparison as event files for TensorBoard: means and bands over seeds, final scores, images."""

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

SUFFIX = ".headstart"  # marks the event files that ``clear`` may remove
SPLITS = ("train", "validation")
SIDES = ("low", "high")
Curve = Mapping[int, float]  # by epoch from 0, as in the event files of the runs


@dataclass
class SubRun:
    """The content of one event file."""

    scalars: Mapping[str, Curve] = field(default_factory=dict)
    summaries: list[Summary] = field(default_factory=list)


def write_board(panels: Sequence[Panel], directory: Path, images: Mapping[str, Path] | None = None) -> Path:
    """Write the comparison below ``directory``, for ``tensorboard --logdir``, and return it.

    - ``<panel>/<label>/train`` and ``validation`` hold ``epoch_<primary metric>`` and ``epoch_loss``, means over runs
      by epoch from 0. Single runs have the same tags, so one chart overlays strategies. The filter ``validation``
      leaves one curve per strategy. An epoch is averaged over the runs that reached it. Fits without epochs are level
      lines.
    - ``spread/...`` is the band, one sample deviation below and above; the tab Custom Scalars shades it. That tab needs
      the band in the same sub-run as the mean. This also saves sub-runs: TensorBoard shows none by default above 40.
    - ``<panel>/<label>/test`` is a row of the tab HParams, with the mean (``final/test_<primary metric>``) and the
      deviation.
    - ``figures`` holds ``images``, PNG files by name.

    Event files of an earlier call are removed.
    """
    content = dict(_sub_runs(panels))
    if images:
        content["figures"] = SubRun(summaries=[_image(name, path) for name, path in images.items()])
    clear(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for name, sub_run in content.items():
        _write(directory / name, sub_run)
    prune(directory)  # last, as most folders are written again
    return directory


def clear(directory: Path) -> None:
    """Remove the event files that ``write_board`` wrote below the directory; other files stay."""
    for folder, _, files in os.walk(directory):  # does not follow links
        for name in files:
            if "tfevents" in name and name.endswith(SUFFIX):
                (Path(folder) / name).unlink()


def prune(directory: Path) -> None:
    """Remove the empty folders below the directory."""
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
                scores = _curve_names(group)
                curves = {score: drawn[split, score] for score in scores if (split, score) in drawn}
                if curves:
                    yield f"{name}/{split}", _series(curves, scores)


def _curve_names(group: RunGroup) -> tuple[str, str]:
    """Return the names of the scores that have curves."""
    return group.metric.name, "loss"


def _series(curves: Mapping[str, Mapping[str, Curve]], scores: Sequence[str]) -> SubRun:
    """Return means and bands of one group and split, by score."""
    means = {f"epoch_{score}": lines["mean"] for score, lines in curves.items()}
    sides = {f"spread/{score}_{side}": lines[side] for score, lines in curves.items() for side in SIDES}
    return SubRun(means | sides, [_layout(scores)])


def _bands(group: RunGroup) -> dict[tuple[str, str], dict[str, Curve]]:
    """Return mean, low and high for each split and score; empty for references and fits without epochs."""
    if group.reference:
        return {}
    found = {(split, score): band(group, f"{split}/{score}") for split in SPLITS for score in _curve_names(group)}
    return {
        key: {
            name: dict(zip((one.epochs - 1).tolist(), values.tolist(), strict=True))
            for name, values in (("mean", one.mean), ("low", one.low), ("high", one.high))
        }
        for key, one in found.items()
        if one is not None
    }


def _levels(group: RunGroup, last: int) -> dict[tuple[str, str], dict[str, Curve]]:
    """Return level bands from the first epoch to the last, at the scores of the choice on validation."""
    statistics = {("validation", group.metric.name): group.validation}
    if not group.reference:
        statistics = {
            (split, score): _over_runs(group, f"{split}/{score}") for split in SPLITS for score in _curve_names(group)
        }
    return {
        key: {
            name: dict.fromkeys((0, last), one.mean + sign * (0.0 if math.isnan(one.deviation) else one.deviation))
            for name, sign in (("mean", 0), ("low", -1), ("high", 1))
        }
        for key, one in statistics.items()
        if one.count
    }


def _over_runs(group: RunGroup, metric: str) -> Statistic:
    return Statistic.of(run.metrics[metric] for run in group.runs if metric in run.metrics)


def _scores(name: str, group: RunGroup) -> SubRun:
    """Return a row of the HParams tab: the group's settings and the statistics of its final scores."""
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb

    metric = group.metric.name
    statistics = {f"test_{metric}": group.test, f"validation_{metric}": group.validation}
    if not group.reference:
        statistics |= {f"{split}_loss": _over_runs(group, f"{split}/loss") for split in ("test", "validation")}
    scalars: dict[str, Curve] = {"final/runs": {0: group.test.count}}
    for score, statistic in statistics.items():
        for label, value in ((score, statistic.mean), (f"{score}_deviation", statistic.deviation)):
            if not math.isnan(value):
                scalars[f"final/{label}"] = {0: value}
    mixed = averaged_over([group])
    key = {key: value for key, value in {**group.key, **group.tuned}.items() if value is not None and key not in mixed}
    settings = {key: value if isinstance(value, bool | int | float) else setting(value) for key, value in key.items()}
    return SubRun(scalars, [hparams_pb(settings, trial_id=name)])


def _layout(scores: Sequence[str]) -> Summary:
    """Return the charts of the tab Custom Scalars; it draws equal charts of many sub-runs once."""
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
    """Write one event file at once, without the queue and the thread of TensorBoard's writer."""
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
    """Return a name for one folder, without characters that are special in TensorBoard's filter (a pattern)."""
    return re.sub(r"[^\w.,=+-]+", " ", str(name)).strip(" .") or "all"


def unique_name(name: str, taken: set[str]) -> str:
    """Return the name, with a number if it is taken, and add it to ``taken``."""
    number, unique = 1, name
    while unique.lower() in taken:  # some file systems ignore case
        number += 1
        unique = f"{name} {number}"
    taken.add(unique.lower())
    return unique
