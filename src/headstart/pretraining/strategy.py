"""Train a network by an objective: every stage, from random or given weights."""

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headstart import ranks
from headstart.augmentations.mixes import Mix
from headstart.backbones import Backbone
from headstart.errors import ConfigError
from headstart.inputs.batch import Batch
from headstart.precision import at_least_single
from headstart.pretraining.objective import Bytes, Draws, Objective, Sample
from headstart.records.curves import CurveLogger
from headstart.seeds import stream
from headstart.strategies.steps import GradientStrategy
from headstart.tasks import EpochScores

TRAINING, HELD_OUT = 0, 1
SHOWN = 6  # test images that are drawn


class Pretraining(GradientStrategy):
    """Training of every stage by an objective.

    The objective makes inputs and targets from the normalised images of each batch. What it draws depends on the seed,
    the epoch and the batch; for validation and test images, on the seed and the batch. Several processes draw the
    numbers of one.
    """

    gives_weights_only = True

    def __init__(
        self, backbone: Backbone, task: Any, mixes: Sequence[Mix] = (), consistency: float = 0.0, **settings: Any
    ) -> None:
        if not isinstance(task, Objective):
            raise ConfigError("strategy._target_: Pretraining needs an objective; use headstart pretrain objective=...")
        if mixes or consistency:
            raise ConfigError(
                f"augmentation: objective={task.kind} learns from images alone, so mixes and augmix.jsd do not fit;"
                " leave them out."
            )
        super().__init__(backbone, task, mixes=mixes, **settings)  # type: ignore[arg-type]
        self.objective: Objective = task
        self.monitor = task.make_monitor()
        self._samples: list[Sample] = []
        self._batches_tested = 0

    def trained_stages(self) -> list[str]:
        """Return all stages."""
        return self.backbone.stage_names

    def features(self, inputs: Tensor, entry: int = 0) -> Tensor:
        """Return features (N, D) of normalised inputs (N, C, S, S), or (N, V, D) of (N, V, C, S, S)."""
        if inputs.ndim == 4:
            return self.normalised_features(self._laid_out(inputs))
        flat = self.normalised_features(self._laid_out(inputs.flatten(0, 1)))
        return flat.unflatten(0, (len(inputs), -1))

    def _laid_out(self, inputs: Tensor) -> Tensor:
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return inputs.contiguous(memory_format=layout)

    @torch.no_grad()
    def posed(self, batch: Batch, *key: int) -> Batch:
        """Return a batch with the inputs and targets that the objective makes, drawn by the seed and ``key``.

        Without a key, the batch is one in order, and the position of its first image is the key.
        """
        batch = batch.carried_out()
        shares = ranks.counts(len(batch.positions), batch.inputs.device)
        first = sum(shares[: ranks.rank()])
        generator = torch.Generator(batch.inputs.device)
        key = key or (HELD_OUT, int(batch.positions[0]) - first)
        generator.manual_seed(stream("objective", self.noise_seed, *key))
        draws = Draws(generator, first, sum(shares), batch.views)
        inputs, targets = self.objective.pose(self.normalise(batch.inputs), draws)
        return batch._replace(inputs=inputs, targets=targets, views=1)

    def entering(self, batch: Batch, batch_idx: int) -> Batch:
        """Return a training batch with the inputs and targets that the objective makes."""
        return self.posed(batch, TRAINING, self.current_epoch, batch_idx)

    def evaluate(self, batch: Batch, scores: EpochScores) -> Tensor:
        """Return the tallies of a batch, and add them to the scores."""
        posed, features, outputs = self._passed(batch)
        scores.update(outputs, posed.targets, self.objective.loss(outputs, posed.targets))
        if self.monitor is not None and scores is self.validation_scores:
            self.monitor.see(batch.positions, features.flatten(1), outputs[:, 0], batch.targets)
        if scores is self.test_scores:
            self._keep_samples(posed.inputs, outputs, posed.targets)
        return self.objective.tally(outputs, posed.targets)

    def _keep_samples(self, *parts: Tensor) -> None:
        """Keep those of a test batch that are among ``SHOWN`` images spread over all test batches."""
        places = (np.arange(SHOWN) + 0.5) / SHOWN * sum(self.trainer.num_test_batches) - self._batches_tested
        chosen = (places[(places >= 0) & (places < 1)] * len(parts[0])).astype(int).tolist()
        self._batches_tested += 1
        if chosen:
            self._samples.append(Sample(*(part[chosen].detach() for part in parts)))

    def on_test_epoch_start(self) -> None:
        """Clear the outputs and images of an earlier pass."""
        super().on_test_epoch_start()
        self._samples, self._batches_tested = [], 0

    def _passed(self, batch: Batch) -> tuple[Batch, Tensor, Tensor]:
        posed = self.posed(batch)
        features = self.features(posed.inputs)
        return posed, features, self.head(features)

    def predict_step(self, batch: Batch, batch_idx: int = 0) -> tuple[Tensor, Tensor]:
        """Return the tallies of a batch, and the positions of its images."""
        posed, _, outputs = self._passed(batch)
        return self.objective.tally(outputs, posed.targets).cpu(), batch.positions.cpu()

    def on_validation_epoch_end(self) -> None:
        """Log the validation scores and what the monitor finds."""
        super().on_validation_epoch_end()
        if self.monitor is not None:
            found = self.monitor.compute()
            self.log_scores("validation", {name: torch.tensor(value).double() for name, value in found.items()})

    def on_test_epoch_end(self) -> None:
        """Log the test scores, and images of the result on test images."""
        super().on_test_epoch_end()
        keeping = [one for one in self.loggers if isinstance(one, CurveLogger) and one.keeps_images]
        if not keeping or not self._samples:
            return
        sample = Sample(*(torch.cat(parts) for parts in zip(*map(astuple, self._samples), strict=True)))
        for tag, image in self.objective.draw(self.test_outputs, sample, self._displayed).items():
            for logger in keeping:
                logger.muted = False  # still muted if nothing was left to train
                logger.log_images(tag, image)

    def _displayed(self, normalised: Tensor) -> Bytes:
        """Return normalised images (N, C, S, S) as bytes (N, S, S, 3)."""
        pixels = (normalised - self.pixel_shift) / self.pixel_scale
        shown: Any = self.backbone.signature.for_display(at_least_single(pixels).permute(0, 2, 3, 1).cpu().numpy())
        return np.asarray(shown)
