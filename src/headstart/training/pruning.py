"""A run that is a trial of a search reports its epochs to the study, and ends early where the pruner says so."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl

from headstart.errors import Pruned
from headstart.kinds import Metric
from headstart.sweeps.trials import make_pruner, open_storage


class Pruning(pl.Callback):
    """Reports the primary metric on validation after each epoch; raises Pruned before the next one starts.

    After the last epoch there is nothing left to save, so such a run finishes. Strategies without epochs are never
    pruned.
    """

    def __init__(self, number: int, study: str, storage: str, primary: Metric) -> None:
        import optuna

        self.primary, self.monitor = primary, f"validation/{primary.name}"
        opened = open_storage(storage)
        told = optuna.load_study(study_name=study, storage=opened)
        name, options = told.user_attrs["pruner"]
        self.study = optuna.load_study(
            study_name=study,
            storage=opened,
            pruner=make_pruner(name, options),
            sampler=optuna.samplers.RandomSampler(seed=0),  # nothing is proposed here
        )
        self.trial = optuna.trial.Trial(self.study, self.study.get_trials(deepcopy=False)[number]._trial_id)
        self.number = number

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the epoch, once: a run that was resumed may come by again."""
        from optuna.trial import TrialState

        told = self._told()
        if trainer.sanity_checking or self.monitor not in trainer.callback_metrics or told.state != TrialState.RUNNING:
            return
        if trainer.current_epoch not in told.intermediate_values:
            self.trial.report(float(trainer.callback_metrics[self.monitor]), trainer.current_epoch)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End here, if the epochs so far promise too little."""
        from optuna.trial import TrialState

        told = self._told()
        if told.state == TrialState.RUNNING and told.intermediate_values and self.trial.should_prune():
            self.study.tell(self.number, state=TrialState.PRUNED)
        elif told.state != TrialState.PRUNED:  # by this process, or by one that was killed right after it had said so
            return
        epoch, value = max(told.intermediate_values.items())
        raise Pruned(
            f"Pruned after epoch {epoch + 1}: validation {self.primary.name} {self.primary.text(value)} was behind that"
            " of other trials."
        )

    def _told(self) -> Any:
        """What the study knows of this trial."""
        return self.study.get_trials(deepcopy=False)[self.number]


def pruning_callbacks(sweep: Mapping[str, Any] | None, primary: Metric) -> list[pl.Callback]:
    """One, where the settings under ``sweep`` say which trial this run is."""
    trial = (sweep or {}).get("trial")
    return [Pruning(int(trial["number"]), str(trial["study"]), str(trial["storage"]), primary)] if trial else []
