"""Report the epochs of a search's trial to the study, and end the run early if the pruner decides so."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl

from headstart.errors import Pruned
from headstart.kinds import Metric
from headstart.sweeps.trials import make_pruner, open_storage


class Pruning(pl.Callback):
    """A report of the primary metric on validation after each epoch; raises Pruned before the next epoch.

    A run is not pruned after its last epoch, as that saves nothing. Strategies without epochs are never pruned.
    """

    def __init__(self, number: int, study: str, storage: str, primary: Metric) -> None:
        import optuna

        self.primary, self.monitor = primary, f"validation/{primary.name}"
        opened = open_storage(storage)
        name, options = optuna.load_study(study_name=study, storage=opened).user_attrs["pruner"]
        self.study = optuna.load_study(
            study_name=study,
            storage=opened,
            pruner=make_pruner(name, options),
            sampler=optuna.samplers.RandomSampler(seed=0),  # nothing is proposed here
        )
        self.trial = optuna.trial.Trial(self.study, self.study.get_trials(deepcopy=False)[number]._trial_id)
        self.number = number

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the epoch, only once, as a resumed run may repeat it."""
        from optuna.trial import TrialState

        trial = self._trial()
        if trainer.sanity_checking or self.monitor not in trainer.callback_metrics or trial.state != TrialState.RUNNING:
            return
        if trainer.current_epoch not in trial.intermediate_values:
            self.trial.report(float(trainer.callback_metrics[self.monitor]), trainer.current_epoch)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End the run if the pruner decides so from the epochs so far."""
        from optuna.trial import TrialState

        trial = self._trial()
        if trial.state == TrialState.RUNNING and trial.intermediate_values and self.trial.should_prune():
            self.study.tell(self.number, state=TrialState.PRUNED)
        elif trial.state != TrialState.PRUNED:  # an earlier process may have pruned it and been killed right after
            return
        epoch, value = max(trial.intermediate_values.items())
        raise Pruned(
            f"Pruned after epoch {epoch + 1}: validation {self.primary.words} {self.primary.text(value)} was behind"
            " that of other trials."
        )

    def _trial(self) -> Any:
        """Return the study's record of this trial."""
        return self.study.get_trials(deepcopy=False)[self.number]


def pruning_callbacks(sweep: Mapping[str, Any] | None, primary: Metric) -> list[pl.Callback]:
    """Return the callback if the settings under ``sweep`` give this run a trial, else no callback."""
    trial = (sweep or {}).get("trial")
    return [Pruning(int(trial["number"]), str(trial["study"]), str(trial["storage"]), primary)] if trial else []
