"""Loss and accuracy agree with torch and torchmetrics; soft targets are scored by expectation."""

import torch
from torchmetrics.classification import MulticlassAccuracy

from headstart.tasks import Classification, Scores


def test_scores_over_uneven_batches_equal_the_whole() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(50, 7), torch.randint(7, (50,))
    task, scores = Classification(7), Scores()
    for part in (slice(0, 30), slice(30, 50)):
        scores.update(logits[part], targets[part], task.loss(logits[part], targets[part]))
    values = scores.compute()
    torch.testing.assert_close(values["accuracy"], MulticlassAccuracy(7, average="micro")(logits, targets))
    torch.testing.assert_close(values["loss"], torch.nn.functional.cross_entropy(logits, targets))


def test_soft_targets() -> None:
    task, scores = Classification(3), Scores()
    logits = torch.tensor([[5.0, 0.0, 0.0], [0.0, 5.0, 0.0]])
    soft = torch.tensor([[0.7, 0.3, 0.0], [0.4, 0.0, 0.6]])
    loss = task.loss(logits, soft)
    torch.testing.assert_close(loss, -(soft * logits.log_softmax(1)).sum(1).mean())
    scores.update(logits, soft, loss)
    torch.testing.assert_close(scores.compute()["accuracy"], torch.tensor(0.35))
    hard = torch.tensor([0, 2])
    torch.testing.assert_close(task.loss(logits, task.soft(hard)), task.loss(logits, hard))


def test_the_head_depends_on_its_seed_alone() -> None:
    task = Classification(5)
    one = task.make_head(8, 1)
    torch.manual_seed(99)
    assert torch.equal(one.weight, task.make_head(8, 1).weight)
    assert not torch.equal(one.weight, task.make_head(8, 2).weight)
