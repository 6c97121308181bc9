"""Join a backbone and a head into one network that scores and predicts."""

from collections.abc import Mapping, Sequence

import pytorch_lightning as pl
import torch
from torch import Tensor

from headstart import ranks
from headstart.backbones import Backbone
from headstart.inputs.batch import Batch
from headstart.inputs.signature import reconcile
from headstart.strategies.plan import TrainingPlan
from headstart.tasks import EpochScores, Task
from headstart.tasks.scores import kept_of


class HeadedBackbone(pl.LightningModule):
    """A backbone and a new head, which can be tested and can predict; ``plan`` has the frozen prefix."""

    pixel_scale: Tensor
    pixel_shift: Tensor
    plan: TrainingPlan
    batch_norm: str

    def __init__(self, backbone: Backbone, task: Task, channels_last: bool, head_seed: int) -> None:
        super().__init__()
        self.backbone = backbone = task.head.read(backbone)
        self.task = task
        self.head = task.make_head(backbone.feature_dim, head_seed)
        self.channels_last = channels_last
        self.normalisation = reconcile(backbone.signature, backbone.preprocessing)
        self.register_buffer("pixel_scale", self.normalisation.scale, persistent=False)
        self.register_buffer("pixel_shift", self.normalisation.shift, persistent=False)
        self.validation_scores, self.test_scores = EpochScores(task), EpochScores(task)
        self.test_outputs = torch.empty(0)
        self.tested: dict[str, float] = {}  # the scores of the test pass
        self._test_batches: list[tuple[Tensor, Tensor]] = []

    def forward(self, inputs: Tensor, entry: int = 0) -> Tensor:
        """Return outputs (N, K); inputs enter stage ``entry``: images at 0, features at the number of stages."""
        return self.head(self.features(inputs, entry))

    def features(self, inputs: Tensor, entry: int = 0) -> Tensor:
        """Return features (N, D); inputs enter stage ``entry``, as in ``forward``."""
        if entry == 0:
            return self.normalised_features(self.normalise(inputs))
        x = inputs if self.channels_last else inputs.contiguous()
        return x if entry == len(self.backbone.stages) else self.backbone(x, entry)

    def normalise(self, images: Tensor) -> Tensor:
        """Return images in the value range that the weights were learned on."""
        x = images.to(self.pixel_scale.dtype)
        x = x.contiguous(memory_format=torch.channels_last if self.channels_last else torch.contiguous_format)
        return x * self.pixel_scale + self.pixel_shift

    def normalised_features(self, x: Tensor) -> Tensor:
        """Return features (N, D) of normalised inputs."""
        end = self.plan.prefix_end
        with torch.no_grad():  # the frozen prefix needs no activations for a backward pass
            if end == len(self.backbone.stages):
                return self.backbone(x)
            x = self.backbone.forward_stages(x, 0, end)
        return self.backbone(x, end)

    def evaluate(self, batch: Batch, scores: EpochScores) -> Tensor:
        """Return the outputs (N, K) of a batch, and add them to the scores."""
        outputs = self.over_views(batch)
        scores.update(outputs, batch.targets, self.task.loss(outputs, batch.targets))
        return outputs

    def over_views(self, batch: Batch) -> Tensor:
        """Return outputs (N, K) of a batch, averaged over the views of each item."""
        inputs, views = batch.inputs, batch.views
        if views == 1:
            return self(inputs, batch.entry)
        # Passing one view of all images at a time saves memory. With batch statistics, all views pass together.
        parts = [inputs] if self.batch_norm == "batch" else inputs.chunk(views)
        outputs = torch.cat([self(part, batch.entry) for part in parts])
        return self.task.mean_over_views(outputs.unflatten(0, (views, -1)))

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Score a batch of the validation split; return its outputs, for callbacks."""
        return self.evaluate(batch, self.validation_scores)

    def on_validation_epoch_end(self) -> None:
        """Log the validation scores."""
        self.log_scores("validation", self.validation_scores.compute())

    def on_test_epoch_start(self) -> None:
        """Clear the outputs of an earlier pass."""
        self._test_batches = []

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Score a batch of the test split and store its outputs."""
        outputs = self.evaluate(batch, self.test_scores)
        self._test_batches.append((kept_of(self.task, outputs), batch.positions.cpu()))

    def on_test_epoch_end(self) -> None:
        """Log the test scores, and sort the outputs into the order of the images."""
        self.test_outputs = in_order(ranks.gathered(self._test_batches))
        scores = self.test_scores.compute()
        self.tested = {f"test/{name}": float(value) for name, value in scores.items()}
        self.log_scores("test", scores)

    def log_scores(self, split: str, scores: Mapping[str, Tensor]) -> None:
        """Log the scores of a split under its name."""
        self.log_dict({f"{split}/{name}": value for name, value in scores.items()})

    def predict_step(self, batch: Batch, batch_idx: int = 0) -> tuple[Tensor, Tensor]:
        """Return what is kept of the outputs of a batch, and the positions of its images."""
        return kept_of(self.task, self.over_views(batch)), batch.positions.cpu()


def in_order(batches: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Return outputs (N, ...) in the order of the images, from batches of outputs and positions."""
    outputs, positions = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return outputs[positions.argsort()]
