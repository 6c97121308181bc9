"""Fine-tune with fastai: ImageDataLoaders and Learner, with fastai's own AdamW."""

from functools import partial
from typing import Any

from fastai.vision.all import (
    Adam,
    CrossEntropyLossFlat,
    ImageDataLoaders,
    Learner,
    Normalize,
    ParamScheduler,
    Resize,
    accuracy,
    combined_cos,
)
from PIL.Image import Resampling

from peers.work import WARMUP, WORKERS, Work


class CentreResize(Resize):  # type: ignore[misc]
    """Crops the centre in training, too, where fastai crops at random."""

    def before_call(self, image: Any, split_idx: int) -> None:
        """Prepare each image as one of validation."""
        super().before_call(image, 1)


def main(path: str) -> None:
    """Train and validate for all epochs, and report the accuracy; ``path`` is a file that describes the work."""
    work = Work.read(path)
    interpolation = Resampling[work.interpolation.upper()]
    loaders = ImageDataLoaders.from_folder(
        work.folder,
        train="train",
        valid="val",
        item_tfms=CentreResize(work.size, resamples=(interpolation, Resampling.NEAREST)),
        batch_tfms=Normalize.from_stats(work.mean, work.std),
        bs=work.batch,
        num_workers=WORKERS,
    )
    learner = Learner(
        loaders,
        work.network(),
        loss_func=CrossEntropyLossFlat(),
        opt_func=partial(Adam, decouple_wd=True),
        metrics=accuracy,
        wd=work.decay,
    )
    schedule = combined_cos(WARMUP, work.rate / 10, work.rate, 0)
    with learner.no_bar():
        learner.fit(work.epochs, work.rate, cbs=ParamScheduler({"lr": schedule}))
    work.report(float(learner.recorder.values[-1][-1]))
