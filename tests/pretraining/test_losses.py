"""Test the losses of objective=contrast against plain loops, and the monitors of a collapse."""

import math

import pytest
import torch
from torch.nn import functional as F

from headstart.pretraining.contrast import Contrast, simclr_loss, vicreg_loss
from headstart.pretraining.monitor import EmbeddingMonitor, deviation_of, probe_accuracy, rank_me, watched


def pairs(count: int = 5, width: int = 4) -> torch.Tensor:
    return torch.randn(count, 2, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_simclr_equals_a_loop_over_pairs() -> None:
    given, total = pairs(), 0.0
    views = [(image, view) for image in range(5) for view in range(2)]

    def cosine(a: tuple[int, int], b: tuple[int, int]) -> float:
        return float(F.cosine_similarity(given[a], given[b], dim=0))

    for image, view in views:
        one = (image, view)
        others = sum(math.exp(cosine(one, other) / 0.3) for other in views if other != one)
        total -= math.log(math.exp(cosine(one, (image, 1 - view)) / 0.3) / others)
    assert float(simclr_loss(given, 0.3)) == pytest.approx(total / 10)


def test_vicreg_equals_a_loop_over_coordinates() -> None:
    given, (count, width) = pairs(), (5, 4)
    similar = sum(float((given[n, 0, k] - given[n, 1, k]) ** 2) for n in range(count) for k in range(width))
    spread = covariance = 0.0
    for view in range(2):
        columns = [[float(given[n, view, k]) for n in range(count)] for k in range(width)]
        centred = [[value - sum(column) / count for value in column] for column in columns]
        for i in range(width):
            variance = sum(value**2 for value in centred[i]) / (count - 1)
            spread += max(0.0, 1 - math.sqrt(variance + 1e-4)) / width / 2
            for j in range(width):
                if i != j:
                    shared = sum(a * b for a, b in zip(centred[i], centred[j], strict=True)) / (count - 1)
                    covariance += shared**2 / width
    expected = 25 * similar / (count * width) + 25 * spread + covariance
    assert float(vicreg_loss(given)) == pytest.approx(expected)


def test_equal_views_that_differ_between_images_have_a_lower_loss_than_a_collapse() -> None:
    apart = torch.eye(4)[:, None].repeat(1, 2, 1) * 4
    collapsed = torch.ones(4, 2, 4)
    assert simclr_loss(apart, 0.1) < 0.01 < simclr_loss(collapsed, 0.1)
    assert vicreg_loss(apart) < vicreg_loss(collapsed)


def test_the_metric_is_the_share_of_views_that_find_their_other_view() -> None:
    embeddings = torch.eye(4)[:, None].repeat(1, 2, 1)
    embeddings[0, 1] = embeddings[1, 1]  # the other view of the first image looks like the second image
    task = Contrast()
    rows = task.tally(embeddings, torch.arange(4))
    assert (rows[:, 1] > rows[:, 0]).tolist() == [False, False, True, True]
    assert task.primary_of(rows[2:]) == 1
    assert task.score(rows, torch.zeros(4)) == {"accuracy": pytest.approx(task.primary_of(rows))}


def test_a_collapse_finds_no_other_view() -> None:
    for collapsed in (torch.ones(4, 2, 4), torch.zeros(4, 2, 4)):
        task = Contrast()
        assert task.primary_of(task.tally(collapsed, torch.arange(4))) == 0


def test_rank_me_counts_directions() -> None:
    line = torch.arange(1, 9)[:, None] * torch.ones(1, 6)
    assert rank_me(line) == pytest.approx(1, abs=1e-4)
    assert rank_me(torch.eye(6)) == pytest.approx(6, abs=1e-4)


def test_the_deviation_is_0_for_a_point_and_1_for_all_directions() -> None:
    assert deviation_of(torch.ones(50, 8)) == pytest.approx(0, abs=1e-7)
    assert deviation_of(torch.randn(4000, 8, generator=torch.Generator().manual_seed(0))) == pytest.approx(1, abs=0.02)


def test_the_probe_finds_separate_classes_and_no_others() -> None:
    labels = torch.arange(40) // 2 % 2
    noise = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    assert probe_accuracy(noise + 10 * labels[:, None], labels) == 1
    assert probe_accuracy(noise, labels) < 0.8
    alternating = torch.arange(40) % 2
    assert probe_accuracy(noise + 10 * alternating[:, None], alternating) == 1


def test_the_monitor_forgets_after_each_epoch() -> None:
    monitor = EmbeddingMonitor()
    for width in (4, 1):
        for _ in range(2):
            monitor.see(torch.arange(4), torch.eye(4), torch.eye(4)[:, :width], torch.tensor([0, 0, 1, 1]))
        found = monitor.compute()
        assert found["rank_me"] == pytest.approx(width, abs=1e-3)
        assert set(found) == {"rank_me", "embedding_deviation", "probe_accuracy"}


@pytest.mark.parametrize("labels", [[0, 1], [1, 1, 1], [0, 1, 1]])
def test_the_numbers_that_exist_are_known_from_the_labels(labels: list[int]) -> None:
    monitor, given = EmbeddingMonitor(), torch.tensor(labels)
    monitor.see(torch.arange(len(labels)), torch.eye(len(labels)), torch.eye(len(labels)), given)
    assert list(monitor.compute()) == watched(given)


def test_only_simclr_has_a_temperature() -> None:
    def logits(method: str, temperature: float) -> torch.Tensor:
        return Contrast(method, temperature).tally(pairs(), torch.arange(5))

    assert torch.equal(logits("vicreg", 0.1), logits("vicreg", 0.5))
    assert not torch.equal(logits("simclr", 0.1), logits("simclr", 0.5))
