"""Compare an epoch of pretraining by contrast with two plain passes over the same images."""

from collections.abc import Sequence

from benchmarks.measured import Row, fresh, median

ONE_VIEW = ["strategy=scratch", "augmentation=two_crops", "augmentation.crop_resize.copies=1"]


def epoch(settings: Sequence[str], rounds: int) -> list[Row]:
    """Compare the time of training of the second epochs, in turns.

    A plain pass trains the same network on one view of each image, drawn in the same way, with a linear classifier.
    """
    settings = [*settings, "backbone.weights=null", "trainer.max_epochs=2", "dataset.labels_per_class=20"]
    contrast, plain = [], []
    for _ in range(rounds):
        with fresh(settings) as place:
            contrast.append(place.train("objective=contrast", command="pretrain").last_speed)
            plain.append(place.train(*ONE_VIEW).last_speed)
    ratio = median([one / (2 * pair) for pair, one in zip(contrast, plain, strict=True)])
    figures = f"{median(contrast):.1f} / {median(plain):.1f} images/s, medians of {rounds}"
    return [Row("contrast: an epoch / two plain passes, one view each", f"{ratio:.2f}", "at most 1.1", figures)]
