"""Mean IoU and its parts by image, and how predictions of label images are written and read."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import jaccard_score

from headstart.errors import DataError
from headstart.kinds.label_predictions import LabelImagePredictions, overlap_scores, parse_labels
from headstart.solvers.overlaps import class_ious, image_ious, iou_by_image, mean_iou, tallies_of

NAMES = ["sky", "road", "a, b"]


def label_images(count: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return label images and predictions of them, right at a share of the pixels that differs between images."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(-1, 3, (count, 8, 9))
    targets[: count // 4] = 0
    right = rng.random((count, 8, 9)) < rng.uniform(0.2, 1, (count, 1, 1))
    return targets, np.where(right & (targets >= 0), targets, rng.integers(0, 3, targets.shape))


def test_mean_iou_is_that_of_all_pixels() -> None:
    targets, said = label_images()
    tallies, valid = tallies_of(said, targets, 3), targets >= 0
    expected = jaccard_score(targets[valid], said[valid], average=None)
    np.testing.assert_allclose(class_ious(tallies), expected, rtol=0, atol=1e-12)
    assert mean_iou(tallies) == pytest.approx(expected.mean(), abs=1e-12)
    with_one_more = np.concatenate([np.insert(part, 3, 0, axis=1) for part in np.split(tallies, 3, axis=1)], axis=1)
    assert mean_iou(with_one_more) == mean_iou(tallies)
    assert np.isnan(mean_iou(np.zeros((2, 9))))


def test_images_add_up_to_the_mean_iou() -> None:
    targets, said = label_images()
    tallies = tallies_of(said, targets, 3)
    assert iou_by_image(tallies).mean() == pytest.approx(mean_iou(tallies), abs=1e-12)
    with pytest.raises(DataError, match="no pixel"):
        iou_by_image(np.zeros((2, 9)))


def test_the_spread_over_images_is_that_of_a_bootstrap() -> None:
    targets, said = label_images(120, 3)
    tallies, rng = tallies_of(said, targets, 3), np.random.default_rng(0)
    drawn = [mean_iou(tallies[rng.integers(0, len(tallies), len(tallies))]) for _ in range(2000)]
    error = iou_by_image(tallies).std(ddof=1) / np.sqrt(len(tallies))
    assert error == pytest.approx(np.std(drawn), rel=0.08)


def test_paired_differences_have_the_spread_of_a_paired_bootstrap() -> None:
    targets, said = label_images(120, 3)
    other = np.where(np.random.default_rng(1).random(said.shape) < 0.2, 0, said)
    one, two = (tallies_of(of, targets, 3) for of in (said, other))
    rng, drawn = np.random.default_rng(0), []
    for _ in range(2000):
        rows = rng.integers(0, len(one), len(one))
        drawn.append(mean_iou(one[rows]) - mean_iou(two[rows]))
    differences = iou_by_image(one) - iou_by_image(two)
    assert differences.std(ddof=1) / np.sqrt(len(one)) == pytest.approx(np.std(drawn), rel=0.1)


def test_the_iou_of_an_image_alone() -> None:
    said = np.array([[[0, 0, 1]], [[2, 2, 2]]])
    true = np.array([[[0, 1, 1]], [[-1, -1, -1]]])
    ious = image_ious(tallies_of(said, true, 3))
    assert ious[0] == 0.5
    assert np.isnan(ious[1])


def predictions() -> LabelImagePredictions:
    targets, said = label_images()
    return LabelImagePredictions([f"test/{n}.png" for n in range(len(said))], tallies_of(said, targets, 3), NAMES)


def table(text: str) -> SimpleNamespace:
    first, *lines = text.splitlines()
    header = ["id", *(f"{part}:{name}" for part in ("both", "predicted", "true") for name in NAMES)]
    assert first.startswith("id,")
    return SimpleNamespace(file=io.BytesIO(text.encode()), header=header, lines=len(lines))


def test_predictions_come_back() -> None:
    found = predictions()
    again = parse_labels(table(found.text()), "predictions.csv")  # type: ignore[arg-type]
    assert (again.ids, again.names) == (found.ids, found.names)
    assert (again.tallies == found.tallies).all()
    assert again.images == found.images
    assert (again.per_image == found.per_image).all()


@pytest.mark.parametrize(
    ("new", "sentence"),
    [
        ("test/3.png,9999", "impossible counts of pixels"),
        ("test/3.png,-1", "impossible counts of pixels"),
    ],
)
def test_damaged_predictions_are_refused(new: str, sentence: str) -> None:
    text = predictions().text()
    first = next(line for line in text.splitlines() if line.startswith("test/3.png"))
    old = ",".join(first.split(",")[:2])
    with pytest.raises(DataError, match=sentence):
        parse_labels(table(text.replace(old, new)), "predictions.csv")  # type: ignore[arg-type]


def test_an_image_with_more_predicted_than_true_pixels_is_refused() -> None:
    found = predictions()
    found.tallies[2, 3] += 1
    with pytest.raises(DataError, match="numbers of predicted and true pixels differ"):
        parse_labels(table(found.text()), "predictions.csv")  # type: ignore[arg-type]


def test_further_scores() -> None:
    targets, said = label_images()
    valid = targets >= 0
    found = overlap_scores(predictions())
    assert found.pixel_accuracy == pytest.approx((said == targets)[valid].mean())
    recalls = [(said == targets)[targets == label].mean() for label in range(3)]
    assert found.mean_class_accuracy == pytest.approx(np.mean(recalls))
    assert set(found.numbers) == {"pixel_accuracy", "mean_class_accuracy"}
