"""Learning curves: metrics.csv for reading, TensorBoard for looking."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

# The tab Custom Scalars: titles, charts and the tags of each, as regular expressions that match from the start.
# TensorBoard draws a chart for all runs that are ticked, so the sub-runs of one run lie over each other.
RATES = {"learning rate of each group": ["Multiline", ["learning_rate/"]]}


@dataclass(frozen=True)
class Histogram:
    """How often values fall between edges: ``counts[i]`` of them from ``edges[i]`` to ``edges[i + 1]``."""

    counts: NDArray[np.float64]  # (bins,)
    edges: NDArray[np.float64]  # (bins + 1,), rising
    total: float  # the sum of the values
    squares: float  # the sum of their squares


class Curves(Logger):
    """One row of numbers an epoch (or an L2 strength), gathered from however many calls Lightning makes.

    Test scores are no curve: they come once, through ``finish``.
    """

    keeps_images = False  # whether images and histograms have a place here: they cost time to make

    def __init__(self, folder: Path | str) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.rows: dict[int, dict[str, float]] = {}
        self.muted = False  # while a run that is taken up repeats what it has logged before

    def state(self) -> dict[str, Any]:
        """What ``take_up`` needs to go on from here: plain values."""
        return {"rows": {epoch: dict(row) for epoch, row in self.rows.items()}}

    def take_up(self, state: Mapping[str, Any] | None) -> None:
        """Go back to that state, or to nothing, whatever was logged later; then say nothing until training begins."""
        self.rows = {int(epoch): dict(row) for epoch, row in state["rows"].items()} if state else {}
        self.muted = state is not None

    @property
    def name(self) -> str:
        """What Lightning asks of a logger."""
        return type(self).__name__

    @property
    def version(self) -> str:
        """What Lightning asks of a logger."""
        return ""

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """config.yaml holds them."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Numbers of one epoch, counted from 0; ``step`` (batches) is not used."""
        epoch = int(metrics["epoch"])
        fresh = {name: float(value) for name, value in metrics.items() if name != "epoch" and not _is_test(name)}
        if fresh and not self.muted:
            self.rows.setdefault(epoch, {}).update(fresh)
            self.write(epoch, fresh)

    def write(self, epoch: int, fresh: Mapping[str, float]) -> None:
        """Put down what is new in an epoch's row."""
        raise NotImplementedError

    def log_steps(self, what: str, steps: Sequence[tuple[int, dict[str, float]]]) -> None:
        """Numbers of single steps, by name, for each step counted from 0 over all epochs; kept where there is room."""

    def log_range_test(self, rates: NDArray[np.float64], losses: NDArray[np.float64], found: float) -> None:
        """The curve of a learning-rate range test, and the rate that was taken; kept where there is room."""

    def log_images(self, tag: str, images: NDArray[np.uint8]) -> None:
        """One image (H, W, 3) of the training, such as a grid of many; kept where there is room."""

    def log_histograms(self, epoch: int, histograms: Mapping[str, Histogram]) -> None:
        """Histograms of the network after an epoch, counted from 0, by name; kept where there is room."""

    def finish(self, epoch: int, settings: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """The chosen epoch, the settings and the final scores, once."""


class UnwrittenCurves(Curves):
    """Rows in memory only: for a process that trains along and leaves writing to another."""

    def __init__(self, folder: Path | str, keeps_images: bool = False) -> None:
        super().__init__(folder)
        self.keeps_images = keeps_images

    def write(self, epoch: int, fresh: Mapping[str, float]) -> None:
        """Nothing."""


class CsvCurves(Curves):
    """``folder/metrics.csv``: the column epoch (from 0), then one a number."""

    def write(self, epoch: int, fresh: Mapping[str, float]) -> None:
        """Write the table anew: it is small, and so it is whole at any time."""
        names = sorted({name for row in self.rows.values() for name in row})
        text = io.StringIO()
        table = csv.DictWriter(text, ["epoch", *names], lineterminator="\n")
        table.writeheader()
        for number, row in sorted(self.rows.items()):
            table.writerow({"epoch": number, **row})
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / "metrics.csv", text.getvalue())


class TensorBoardCurves(Curves):
    """``folder/tensorboard/{train,validation,test}``: sub-runs that share tags, so that one chart overlays them."""

    keeps_images = True

    def __init__(self, folder: Path | str) -> None:
        super().__init__(folder)
        self.writers: dict[str, SummaryWriter] = {}
        self.laid_out = False

    def state(self) -> dict[str, Any]:
        """The rows, and how long each file is."""
        self.save()
        files = self.folder.glob("tensorboard/*/*")
        lengths = {file.relative_to(self.folder).as_posix(): file.stat().st_size for file in files}
        return {**super().state(), "files": lengths}

    def take_up(self, state: Mapping[str, Any] | None) -> None:
        """Cut the files back to their lengths then, and remove later ones: no number is there twice."""
        super().take_up(state)
        lengths = state["files"] if state else {}
        for file in list(self.folder.glob("tensorboard/*/*")):
            length = lengths.get(file.relative_to(self.folder).as_posix())
            if length is None:
                file.unlink()
            else:
                os.truncate(file, length)
        self.laid_out = bool(lengths)

    def writer(self, split: str) -> SummaryWriter:
        """The sub-run of a split, opened when first written to."""
        if split not in self.writers:
            self.writers[split] = SummaryWriter(str(self.folder / "tensorboard" / split))
        return self.writers[split]

    def _lay_out(self, fresh: Mapping[str, float]) -> None:
        """Write the charts of the scores of the first epoch, the loss last."""
        parts = (name.partition("/") for name in fresh)
        scores = {score for split, _, score in parts if split in SPLITS}
        if self.laid_out or not scores:
            return
        # TensorBoard merges the layouts of all runs; one a run is enough, wherever it opens the folder.
        self.laid_out = True
        order = sorted(scores, key=lambda score: (score == "loss", score))
        curves = {f"{score} (train, validation)": ["Multiline", [f"epoch_{score}$"]] for score in order}
        self.writer("train").add_custom_scalars({"learning curves": curves, "learning rates": RATES})

    def write(self, epoch: int, fresh: Mapping[str, float]) -> None:
        """Scores go to their split, all else (speed, strengths) to train; learning rates come by step."""
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
        """One scalar a name, ``what/name``, over steps."""
        if self.muted:
            return
        writer = self.writer("train")
        for step, values in steps:
            for name, value in values.items():
                writer.add_scalar(f"{what}/{name}", value, step)

    def log_range_test(self, rates: NDArray[np.float64], losses: NDArray[np.float64], found: float) -> None:
        """The smoothed loss and the rate over steps, and both as an image."""
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
        """An image of the sub-run train; flushed, as processes may be forked off soon."""
        if self.muted:
            return
        height, width, channels = images.shape
        content = io.BytesIO()  # add_image would compress four times as long, to save a hundredth
        Image.fromarray(images).save(content, format="PNG", compress_level=1)
        image = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=content.getvalue())
        writer = self.writer("train")
        writer._get_file_writer().add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), 0)
        writer.flush()

    def log_histograms(self, epoch: int, histograms: Mapping[str, Histogram]) -> None:
        """Histograms of the sub-run train, a slice an epoch."""
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

    def finish(self, epoch: int, settings: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Test scores at the chosen epoch, and a line of the HParams tab.

        No description of the experiment is written (SummaryWriter.add_hparams and Keras do): TensorBoard takes its
        columns from the first that it finds, and would drop what only other runs have. Without one it takes those of
        all runs, and shows the settings that differ first.
        """
        writer = self.writer("test")
        final = {f"final/{name.replace('/', '_')}": value for name, value in metrics.items()}
        for name, value in metrics.items():
            if _is_test(name):
                writer.add_scalar(f"epoch_{name.partition('/')[2]}", value, epoch)
        told = {k: v if isinstance(v, bool | int | float) else str(v) for k, v in settings.items()}
        file = writer._get_file_writer()
        file.add_summary(hparams_pb(told, trial_id=self.folder.absolute().name))
        file.add_summary(hparams({}, {})[2])  # the session has ended well
        for name, value in final.items():
            writer.add_scalar(name, value, epoch)

    def save(self) -> None:
        """Flush, so that a board that is open shows each epoch."""
        for writer in self.writers.values():
            writer.flush()

    def finalize(self, status: str) -> None:
        """Called by Lightning after fit and after test; the writers open again when needed."""
        self.close()

    def close(self) -> None:
        """Close the files; a later number opens new ones."""
        for writer in self.writers.values():
            writer.close()
        self.writers = {}


def _is_test(name: str) -> bool:
    return name.startswith("test/")
