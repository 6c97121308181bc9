"""Define the decisions of a strategy: where weights start, what is trained, how fast, and in which mode."""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from headstart import ranks
from headstart.augmentations.mixes import BatchMixing, Mix
from headstart.backbones import Backbone
from headstart.optimization.clock import EpochClock
from headstart.optimization.plain_steps import put_back, set_aside
from headstart.progress import counted_batches
from headstart.seeds import generator
from headstart.settings.leaf_table import check_parameters
from headstart.solvers.features import Features
from headstart.strategies import modes
from headstart.strategies.frozen import FrozenCheck
from headstart.strategies.network import HeadedBackbone
from headstart.strategies.plan import make_plan
from headstart.strategies.rates import Rates
from headstart.tasks import Task

log = logging.getLogger(__name__)
RANDOM = "random"


class Strategy(HeadedBackbone):
    """A backbone and a new head, trained as the subclass decides.

    The decisions determine one ``TrainingPlan``. Two classes fit it: ``GradientStrategy`` by gradient steps,
    ``SolvedStrategy`` by computing the head from features. Derive from one of them.

    ``batch_norm`` is "frozen" (stored statistics), "update" (moving), "adapt" (estimated again on at most
    ``batch_norm_images`` training images, in passes of ``modes.PASS``, then stored), "batch" (always those of the
    batch), or "auto": update in stages that are trained from random weights, frozen elsewhere, because statistics that
    fit the weights are better than those of a few batches.
    """

    by_gradient = True  # whether it takes gradient steps
    solver = ""  # what computes the head, if no optimizer trains it
    pretrained = True  # whether the backbone starts from weights learned elsewhere
    wants_random = False  # whether it also needs a second backbone, from random weights
    in_phases = False  # whether some trained weights are frozen in some epochs
    by_stage = False  # whether each stage is its own group, whatever its learning rate
    gives_weights_only = False  # whether the head is of no use after the run, which bears the name of the task
    averaged_views: int | None = None  # features are means over this many views of an image

    def __init__(
        self,
        backbone: Backbone,
        task: Task,
        mixes: Sequence[Mix] = (),
        augmented: bool = False,
        batch_norm: str = "auto",
        batch_norm_images: int = 4096,
        channels_last: bool = True,
        head_seed: int = 0,
        noise_seed: int = 0,
        rates: Rates | None = None,
        decay_norm_bias: bool = False,
    ) -> None:
        check_parameters("strategy", locals())
        super().__init__(backbone, task, channels_last, head_seed)
        self.mixes, self.augmented, self.noise_seed = list(mixes), augmented, noise_seed
        self.rates, self.decay_norm_bias = rates, decay_norm_bias
        modes.check_mode(batch_norm, self.backbone, backbone.name)
        self.batch_norm, self.batch_norm_images = batch_norm, batch_norm_images
        self.change_layers()
        if channels_last:
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.plan = make_plan(self)
        self.clock, self.frozen = EpochClock(), FrozenCheck()
        self.selected: dict[str, Any] = {}  # choices of validation besides the epoch, for run.json
        self._adapted = False

    # --- decisions of a subclass

    def trained_stages(self) -> list[str]:
        """Return the names of the stages of which at least some weights are trained."""
        raise NotImplementedError

    def trains(self, layer: torch.nn.Module, name: str) -> bool:
        """Return whether a trained stage trains this parameter of this layer."""
        return True

    def change_layers(self) -> None:
        """Insert the strategy's own layers, before the plan is made."""

    def started_from(self, stage: str) -> str:
        """Return where the weights of a stage come from."""
        return (self.backbone.weights.name if self.pretrained else None) or RANDOM

    def head_started_from(self) -> str:
        """Return where the weights of the head come from."""
        init = self.task.head.init
        return "random" if init == "default" else init.replace("_", " ")

    def own_statistics(self, stage: str, frozen: bool) -> str:
        """Return the mode of batch norm that suits a stage."""
        return "update" if not frozen and self.started_from(stage) == RANDOM else "frozen"

    def decay(self) -> float:
        """Return the weight decay of everything that is trained."""
        return self.rates.weight_decay if self.rates else 0.0

    def trained_since(self, stage: str) -> int:
        """Return the first epoch, counted from 1, in which a trained stage is trained."""
        return 1

    def frozen_now(self) -> Sequence[str]:
        """Return the stages that are frozen in this epoch."""
        return self.plan.frozen_stages

    def open_phase(self) -> None:
        """Set what is trained in this epoch, if that changes between epochs."""

    def penalty(self) -> Tensor | None:
        """Return a term that is added to the training loss, if any."""
        return None

    @property
    def wants_start_features(self) -> bool:
        """Return whether the start of the head is computed from features of the training images."""
        return self.task.head.init == "class_means"

    def start_head(self, train: Features, validation: Callable[[], Features]) -> None:
        """Compute the start of the head from features of the untrained network."""
        self.task.start_head(self.head, train)

    def finish(self, trainer: pl.Trainer, data: Any) -> None:
        """Change the network after the fit, when it has the weights of the best epoch."""

    def restore(self, state: Mapping[str, Tensor], chosen: Callable[[str], float]) -> None:
        """Load the tensors of a finished run; ``chosen`` returns a score of its chosen row by name.

        Raises RuntimeError if they do not fit.
        """
        self.load_state_dict(state)

    def refit(self) -> None:
        """Change the network between its predictions on validation and those on test."""

    def describe_choice(self, number: int, row: dict[str, float], tried: int) -> str:
        """Return text for the log that names the chosen one of ``tried`` rows of scores."""
        return f"epoch {number + 1} of {tried}, the best on validation"

    def choices(self, tried: int) -> dict[str, int]:
        """Return the number of candidates of each choice on validation; ``tried`` is the number of rows of scores."""
        return {"epoch": tried}

    # --- consequences of the decisions

    @classmethod
    def config_name(cls) -> str:
        """Return the name of the strategy in settings: linear_probe for LinearProbe."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()

    def mixings(self, count: int, shape: tuple[int, int], epoch: int, batch_idx: int) -> list[BatchMixing]:
        """Return how the images of a batch are mixed, in order."""
        rng = generator("mix", self.noise_seed, epoch, batch_idx, *ranks.key())
        return [mix.draw(rng, count, shape) for mix in self.mixes]

    def fit(self, trainer: pl.Trainer, data: Any, start: Any = None, resume: Any = None, parts: int = 1) -> int:
        """Fit the plan to data; return the number, counted from 0, of the best row of scores on validation."""
        raise NotImplementedError

    def begin(self, data: Any, device: torch.device) -> None:
        """Estimate the statistics of batch norm for ``batch_norm=adapt``, once, before all other computation."""
        if self._adapted or self.batch_norm != "adapt":
            return
        self._adapted = True
        self.to(device)
        with ranks.alone():  # all processes agree up to rounding; the leader's result is used
            batches = counted_batches(
                data.mixed_dataloader(self.batch_norm_images, modes.PASS), "statistics of batch norm"
            )
            images = ((self.normalise(batch.inputs.to(device)),) for batch in batches)
            modes.estimate_statistics(self.backbone, modes.batch_norms(self.backbone), images)
        ranks.copy_from_leader(self.backbone)
        count = min(len(data.train), self.batch_norm_images)
        log.info("batch norm: statistics estimated on %d training images", count)

    def train(self, mode: bool = True) -> "Strategy":
        """Set modes: frozen stages stay in eval mode, and batch norm follows its own mode."""
        super().train(mode)
        if "backbone" not in self._modules:  # set aside: only the pooling, which has no weights, changes its mode
            self.backbone.pool.train(mode)
            return self
        frozen = self.frozen_now()
        stored = frozen if self.batch_norm == "auto" else ()
        statistics = {name: "frozen" if name in stored else own for name, own in self.plan.statistics.items()}
        modes.set_modes(self.backbone.stages, frozen, statistics, mode)
        return self

    def setup(self, stage: str) -> None:
        """Set a frozen backbone aside before a pass without training."""
        if stage != "fit":
            set_aside(self)

    def teardown(self, stage: str) -> None:
        """Put the backbone back."""
        put_back(self)

    def frozen_tensors(self) -> dict[str, Tensor]:
        """Return, by name, the parameters that are not trained and the statistics that do not change."""
        return self.plan.frozen_tensors(self.backbone)
