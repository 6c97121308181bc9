"""Add the sweeper optuna and headstart's launcher settings to Hydra. Imported at every start."""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from headstart.kinds import Metric
from headstart.settings.folders import conf_folder, further_folders
from headstart.sweeps import share

for _name, _resolver in (("jobs", share.jobs_at_once), ("cores", share.cores_a_job), ("gpus_a_job", share.gpus_a_job)):
    OmegaConf.register_new_resolver(f"headstart.{_name}", _resolver, replace=True)


class OurLaunchers(SearchPathPlugin):
    """Adds folders of config files, and lets conf/hydra/launcher replace settings that the launchers' packages store.

    Hydra 1.3 reads our files first, but warns about every name that it finds in both places.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Remove the stored settings that conf/hydra/launcher replaces, and add further folders of config files.

        This happens only in headstart's own commands.
        """
        folder = conf_folder()
        if not any(entry.path.removeprefix("file://") == str(folder) for entry in search_path.get_path()):
            return
        stored = ConfigStore.instance().repo.get("hydra", {}).get("launcher", {})
        for file in (folder / "hydra" / "launcher").glob("*.yaml"):
            stored.pop(file.name, None)
        for folder in further_folders():
            search_path.append("headstart", f"file://{folder}")


class OptunaSweeper(Sweeper):
    """Searches for the settings with the best primary metric on validation; see ``headstart.sweeps.trials``."""

    def __init__(
        self,
        n_trials: int,
        n_jobs: int | None,
        sampler: str,
        pruner: str,
        seed: int,
        study_name: str,
        storage: str | None,
        sampler_options: Mapping[str, Any],
        pruner_options: Mapping[str, Any],
        params: Mapping[str, Any],
    ) -> None:
        self.settings = {
            "n_trials": n_trials,
            "n_jobs": n_jobs,
            "sampler": sampler,
            "pruner": pruner,
            "seed": seed,
            "study_name": study_name,
            "storage": storage,
            "sampler_options": dict(sampler_options),
            "pruner_options": dict(pruner_options),
        }
        self.params = dict(params)
        self.config: DictConfig | None = None
        self.launcher: Launcher | None = None
        self.hydra_context: HydraContext | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store what a sweep needs, and create its launcher."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Run the search; ``arguments`` are the settings of the command line, in Hydra's syntax for sweeps."""
        from headstart.sweeps.trials import search

        search(self, self.settings, [*(f"{key}={value}" for key, value in self.params.items()), *arguments])

    def check(self, batch: Sequence[Sequence[str]]) -> None:
        """Compose the settings of each job to check them. Raises Hydra's errors."""
        self.validate_batch_is_legal(batch)

    def metrics(self, batch: Sequence[Sequence[str]]) -> list[Metric]:
        """Return the primary metrics by which these jobs are judged, each once. Loads torch."""
        from headstart.training.compose import kind_of

        return list(dict.fromkeys(kind_of(self._composed(overrides)).primary for overrides in batch))

    def _composed(self, overrides: Sequence[str]) -> DictConfig:
        """Return the settings of one job."""
        assert self.hydra_context is not None
        assert self.config is not None
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])

    def data_hashes(self, batch: Sequence[Sequence[str]]) -> list[str]:
        """Return hashes of what the data sets of these jobs hold, each once, sorted; loads torch."""
        from headstart.inputs.facts import Facts
        from headstart.settings.early_checks import check_settings, resolved_and_checked
        from headstart.training.compose import make_data
        from headstart.training.prepare import facts_folder, run_settings

        found = set()
        for overrides in batch:
            config = OmegaConf.create(run_settings(resolved_and_checked(self._composed(overrides), overrides)))
            check_settings(config)
            found.add(str(make_data(config).source_hash(Facts(facts_folder(config)))))
        return sorted(found)
