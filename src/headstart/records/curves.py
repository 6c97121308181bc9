"""Write learning curves: metrics.csv for programs, TensorBoard for people."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from pytorch_lightning.loggers import Logger
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from torch.utils.tensorboard.summary import hparams
from torch.utils.tensorboard.writer import SummaryWriter

from headstart.data.module import SPLITS
from headstart.files import write_atomically
from headstart.records.names import CURVE_FILE, TENSORBOARD_FOLDER

# The tab Custom Scalars: titles, charts, and regular expressions for the tags of each, which match from the start.
# TensorBoard draws one chart for all selected runs, so it overlays the sub-runs of one run.
RATES = {"learning rate of each group": ["Multiline", ["learning_rate/"]]}


@dataclass(frozen=True)
class Histogram:
    """A histogram: ``counts[i]`` values are between ``edges[i]`` and ``edges[i + 1]``."""

    counts: NDArray[np.float64]  # (bins,)
    edges: NDArray[np.float64]  # (bins + 1,), rising
    total: float  # the sum of the values
    squares: float  # the sum of their squares


class CurveLogger(Logger):
    """Collects one row of numbers for each epoch (or L2 strength), over any number of calls by Lightning.

    ``finish`` logs the test scores, once.
    """

    keeps_images = False  # whether images are written: they cost time to make
    keeps_histograms = False  # the same for histograms

    def __init__(self, folder: Path | str) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.rows: dict[int, dict[str, float]] = {}
        self.settings: Mapping[str, Any] = {}
        self.muted = False  # while a resumed run repeats what it has logged before

    def state(self) -> dict[str, Any]:
        """Return what ``resume`` needs to resume from here, as plain values."""
        return {"rows": {epoch: dict(row) for epoch, row in self.rows.items()}}

    def resume(self, state: Mapping[str, Any] | None) -> None:
        """Return to that state, or to no rows if it is None; log nothing until training begins."""
        self.rows = {int(epoch): dict(row) for epoch, row in state["rows"].items()} if state else {}
        self.muted = state is not None

    @property
    def name(self) -> str:
        """Return what Lightning requires of a logger."""
        return type(self).__name__

    @property
    def version(self) -> str:
        """Return what Lightning requires of a logger."""
        return ""

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: config.yaml holds the settings."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers of one epoch, counted from 0; ``step`` (batches) is not used."""
        epoch = int(metrics["epoch"])
        fresh = {name: float(value) for name, value in metrics.items() if name != "epoch" and not is_test(name)}
        if fresh and not self.muted:
            self.rows.setdefault(epoch, {}).update(fresh)
            self.write(epoch, fresh)

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Start logging, after ``resume``, for a run with these settings."""
        self.settings = settings

    def end(self, status: str) -> None:
        """Stop logging; ``status`` is that of run.json, also of a run that failed. By default nothing is done."""

    def write(self, epoch: int, fresh: Mapping[str, float]) -> None:
        """Write the new numbers of an epoch."""
        raise NotImplementedError

    def log_steps(self, what: str, steps: Sequence[tuple[int, dict[str, float]]]) -> None:
        """Log numbers of single steps by name. Steps are counted from 0 over all epochs. By default nothing is kept."""

    def log_range_test(self, rates: NDArray[np.float64], losses: NDArray[np.float64], found: float) -> None:
        """Log the curve of a learning-rate range test and the rate that it found. By default nothing is kept."""

    def log_images(self, tag: str, images: NDArray[np.uint8]) -> None:
        """Log one image (H, W, 3) of the training, such as a grid. By default nothing is kept."""

    def log_histograms(self, epoch: int, histograms: Mapping[str, Histogram]) -> None:
        """Log histograms of the network after an epoch, counted from 0, by name. By default nothing is kept."""

    def finish(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Log the chosen epoch, the settings and the final scores, once."""


class UnwrittenCurves(CurveLogger):
    """Curves in memory only, for a process that trains beside the one that writes, whose loggers are ``beside``."""

    def __init__(self, folder: Path | str, beside: Sequence[CurveLogger] = ()) -> None:
        super().__init__(folder)
        self.keeps_images = any(logger.keeps_images for logger in beside)
        self.keeps_histograms = any(logger.keeps_histograms for logger in beside)

    def write(self, epoch: int, fresh: Mapping[str, float]) -> None:
        """Do nothing."""


class CsvCurves(CurveLogger):
    """Writes metrics.csv: the column epoch (from 0), then one column for each number."""

    def write(self, epoch: int, fresh: Mapping[str, float]) -> None:
        """Replace the table. It is small, and this way it is always complete."""
        names = sorted({name for row in self.rows.values() for name in row})
        text = io.StringIO()
        table = csv.DictWriter(text, ["epoch", *names], lineterminator="\n")
        table.writeheader()
        for number, row in sorted(self.rows.items()):
            table.writerow({"epoch": number, **row})
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / CURVE_FILE, text.getvalue())


class TensorBoardCurves(CurveLogger):
    """Writes tensorboard/{train,validation,test}: sub-runs that share tags, so that one chart overlays them."""

    keeps_images = keeps_histograms = True

    def __init__(self, folder: Path | str) -> None:
        super().__init__(folder)
        self.writers: dict[str, SummaryWriter] = {}
        self.laid_out = False

    def state(self) -> dict[str, Any]:
        """Return the rows, the length of each file, and whether the charts are written."""
        self.save()
        files = self.folder.glob(f"{TENSORBOARD_FOLDER}/*/*")
        lengths = {file.relative_to(self.folder).as_posix(): file.stat().st_size for file in files}
        return {**super().state(), "files": lengths, "laid_out": self.laid_out}

    def resume(self, state: Mapping[str, Any] | None) -> None:
        """Cut the files to their lengths at that state and remove later files, so that no number appears twice."""
        super().resume(state)
        lengths = state["files"] if state else {}
        for file in list(self.folder.glob(f"{TENSORBOARD_FOLDER}/*/*")):
            length = lengths.get(file.relative_to(self.folder).as_posix())
            if length is None:
                file.unlink()
            else:
                os.truncate(file, length)
        self.laid_out = bool(state and state["laid_out"])

    def writer(self, split: str) -> SummaryWriter:
        """Return the writer of a split, opened at first use."""
        if split not in self.writers:
            self.writers[split] = SummaryWriter(str(self.folder / TENSORBOARD_FOLDER / split))
        return self.writers[split]

    def _lay_out(self, fresh: Mapping[str, float]) -> None:
        """Write the charts of the scores of the first epoch, the loss last."""
        parts = (name.partition("/") for name in fresh)
        scores = {score for split, _, score in parts if split in SPLITS}
        if self.laid_out or not scores:
            return
        # TensorBoard merges the layouts of all runs; one per run is enough, for any folder that is opened.
        self.laid_out = True
        order = sorted(scores, key=lambda score: (score == "loss", score))
        curves = {f"{score} (train, validation)": ["Multiline", [f"epoch_{score}$"]] for score in order}
        self.writer("train").add_custom_scalars({"learning curves": curves, "learning rates": RATES})

    def write(self, epoch: int, fresh: Mapping[str, float]) -> None:
        """Write scores to their split, other numbers (speed, strengths) to train. Learning rates are logged by step."""
        self._lay_out(fresh)
        for name, value in fresh.items():
            split, _, score = name.partition("/")
            if split == "learning_rate":
                continue
            if split in SPLITS:
                self.writer(split).add_scalar(f"epoch_{score}", value, epoch)
            else:
                self.writer("train").add_scalar(name, value, epoch)

    def log_steps(self, what: str, steps: Sequence[tuple[int, dict[str, float]]]) -> None:
        """Write one scalar for each name, ``what/name``, over steps."""
        if self.muted:
            return
        file = self.writer("train")._get_file_writer()  # add_scalar would write an event for each number
        for step, values in steps:
            numbers = [Summary.Value(tag=f"{what}/{name}", simple_value=value) for name, value in values.items()]
            file.add_summary(Summary(value=numbers), step)

    def log_range_test(self, rates: NDArray[np.float64], losses: NDArray[np.float64], found: float) -> None:
        """Write the smoothed loss and the rate over steps, and a figure of both."""
        if self.muted:
            return
        writer = self.writer("train")
        for step, (rate, loss) in enumerate(zip(rates.tolist(), losses.tolist(), strict=True)):
            writer.add_scalar("lr_finder/loss", loss, step)
            writer.add_scalar("lr_finder/learning_rate", rate, step)
        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.subplots()
        axes.semilogx(rates, losses, color="#0072B2")
        axes.axvline(found, color="#D55E00", linestyle="--", label=f"taken: {found:.2g}")
        axes.set(xlabel="learning rate of the head", ylabel="smoothed training loss (nats)")
        axes.legend()
        writer.add_figure("lr_finder", figure)

    def log_images(self, tag: str, images: NDArray[np.uint8]) -> None:
        """Write an image to train, and flush, because processes may be forked soon."""
        if self.muted:
            return
        height, width, channels = images.shape
        content = _png(images.tobytes(), images.shape)
        image = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=content)
        writer = self.writer("train")
        writer._get_file_writer().add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), 0)
        writer.flush()

    def log_histograms(self, epoch: int, histograms: Mapping[str, Histogram]) -> None:
        """Write histograms to train, one slice per epoch."""
        writer = self.writer("train")
        for name, histogram in histograms.items():
            edges = histogram.edges
            writer.add_histogram_raw(
                name,
                min=float(edges[0]),
                max=float(edges[-1]),
                num=int(histogram.counts.sum()),
                sum=histogram.total,
                sum_squares=histogram.squares,
                bucket_limits=edges[1:].tolist(),
                bucket_counts=histogram.counts.tolist(),
                global_step=epoch,
            )

    def finish(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Write test scores at the chosen epoch, and a line of the HParams tab.

        Unlike SummaryWriter.add_hparams, this writes no description of the experiment. TensorBoard takes its columns
        from the first description, so settings of other runs would be missing. Without one it takes those of all runs.
        """
        writer = self.writer("test")
        final = {f"final/{name.replace('/', '_')}": value for name, value in metrics.items()}
        for name, value in metrics.items():
            if is_test(name):
                writer.add_scalar(f"epoch_{name.partition('/')[2]}", value, epoch)
        plain = plain_settings(self.settings)
        file = writer._get_file_writer()
        file.add_summary(hparams_pb(plain, trial_id=self.folder.absolute().name))
        file.add_summary(hparams({}, {})[2])  # the session has succeeded
        for name, value in final.items():
            writer.add_scalar(name, value, epoch)

    def save(self) -> None:
        """Flush, so that an open board shows each epoch."""
        for writer in self.writers.values():
            writer.flush()

    def finalize(self, status: str) -> None:
        """Close the files. Lightning calls this after fit and after test."""
        self.close()

    def close(self) -> None:
        """Close the files. Later numbers open new ones."""
        for writer in self.writers.values():
            writer.close()
        self.writers = {}


@lru_cache(maxsize=1)
def _png(pixels: bytes, shape: tuple[int, ...]) -> bytes:
    """Return an image (H, W, 3) as PNG; most runs of a sweep log the same one."""
    content = io.BytesIO()  # add_image would compress four times as long, to save a hundredth
    Image.fromarray(np.frombuffer(pixels, np.uint8).reshape(shape)).save(content, format="PNG", compress_level=1)
    return content.getvalue()


def is_test(name: str) -> bool:
    """Return whether a number is a score on the test images."""
    return name.startswith("test/")


def plain_settings(settings: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """Return settings as values that every tracker accepts."""
    return {name: value if isinstance(value, bool | int | float) else str(value) for name, value in settings.items()}
