"""Search for good settings: Optuna proposes, Hydra's launcher runs, validation decides. Test is never read.

The settings of a trial depend on the seed, its number and the trials before it, not on interruptions: each trial has
its own sampler. A trial that was running when the search was killed runs again with its number and its settings.
"""

import json
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from omegaconf import DictConfig, OmegaConf

from headstart.errors import ConfigError, nearest
from headstart.files import write_atomically
from headstart.kinds import Metric
from headstart.records.names import HYDRA_FILE, SEARCH_FILE, STUDY_FILE
from headstart.records.outcomes import TRIAL, JobOutcome, read_outcomes
from headstart.records.record import record_of
from headstart.seeds import stream
from headstart.settings.effects import is_indifferent, is_seed
from headstart.settings.leaves import is_whole
from headstart.sweeps import share
from headstart.sweeps.beginning import set_job_count

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

SAMPLERS = ("tpe", "random", "grid")
PRUNERS = {
    "median": "MedianPruner",
    "halving": "SuccessiveHalvingPruner",
    "hyperband": "HyperbandPruner",
    "threshold": "ThresholdPruner",
    "none": "NopPruner",
}
RUN, LOSS = "run", "validation/loss"  # the study keeps them beside the score of a trial
LUCK = {"dataset.fold"}  # settings, besides seeds, whose best value is luck


class Search(Protocol):
    """The parts of Hydra's sweeper that a search needs."""

    config: DictConfig | None
    launcher: Any
    hydra_context: Any

    def check(self, batch: Sequence[Sequence[str]]) -> None:
        """Compose the settings of each job. Raises Hydra's errors."""

    def metrics(self, batch: Sequence[Sequence[str]]) -> list[Metric]:
        """Return the primary metrics by which these jobs are judged, each once."""

    def data_hashes(self, batch: Sequence[Sequence[str]]) -> list[str]:
        """Return a hash of the data of each of these jobs."""


@dataclass(frozen=True)
class Space:
    """The searched settings, by the key as it was typed, and the settings that all trials share."""

    searched: "dict[str, BaseDistribution]"
    fixed: dict[str, str]

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        """Return the settings of one trial as a command line takes them."""
        return [*(f"{k}={v}" for k, v in self.fixed.items()), *(f"{k}={v}" for k, v in values.items())]

    def record(self) -> dict[str, str]:
        """Return the settings that determine the results of the study, as text by key."""
        fixed = {key: value for key, value in self.fixed.items() if not is_indifferent(key.lstrip("+~"))}
        return {key: str(values) for key, values in self.searched.items()} | fixed


def search(sweeper: Search, settings: Mapping[str, Any], arguments: Sequence[str]) -> None:
    """Run trials until there are ``n_trials``, print the best, and write optimization_results.yaml.

    Raises ConfigError for a search that cannot be made, before a trial starts.
    """
    _need_optuna()
    assert sweeper.config is not None
    _check(settings)
    overrides = OverridesParser.create(config_loader=sweeper.hydra_context.config_loader).parse_overrides(
        list(arguments)
    )
    space = parse_space(overrides)
    samples = _samples(space)
    sweeper.check(samples)
    metric, *others = sweeper.metrics(samples)
    if others:
        names = ", ".join(one.words for one in (metric, *others))
        raise ConfigError(f"A search compares trials by one metric, not by several ({names}): give one task.")
    folder = Path(str(sweeper.config.hydra.sweep.dir))
    folder.mkdir(parents=True, exist_ok=True)
    storage = str(settings["storage"] or folder / STUDY_FILE)
    storage = storage if "://" in storage else str(Path(storage).absolute())
    study = _open_study(
        storage, settings, metric, {**space.record(), "the data": ",".join(sweeper.data_hashes(samples))}
    )
    OmegaConf.save(sweeper.config, folder / HYDRA_FILE)

    total = int(settings["n_trials"])
    if settings["sampler"] == "grid":
        total = min(total, len(_grid(space)))
    settled = sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))
    set_job_count(folder, total, max(0, total - settled))
    at_once = int(settings["n_jobs"] or share.at_once(sweeper.config.hydra.launcher))
    while batch := _next_batch(study, settings, space, total, at_once):
        jobs = [
            [*space.overrides(values), trial_override(storage, study.study_name, number)] for number, values in batch
        ]
        returned = sweeper.launcher.launch(jobs, initial_job_idx=batch[0][0])
        outcomes = {outcome.job: outcome for outcome in read_outcomes(folder)}
        for (number, values), job in zip(batch, returned, strict=True):
            _settle(study, metric, number, values, job, outcomes.get(number))
    _conclude(study, metric, folder)


def parse_space(overrides: Sequence[Override]) -> Space:
    """Return what is searched: comma lists, choice(), range() and interval(). All trials share the other settings.

    Raises ConfigError if nothing is searched, or something that cannot be.
    """
    searched: dict[str, BaseDistribution] = {}
    fixed: dict[str, str] = {}
    for override in overrides:
        key = override.get_key_element()
        if not override.is_sweep_override():
            searched.pop(key, None)
            fixed[key] = "" if override.is_delete() else override.get_value_element_as_str()
            continue
        if is_seed(key.lstrip("+")) or key.lstrip("+") in LUCK:
            raise ConfigError(
                f"{override.input_line}: a search over this would pick a lucky value; give one here, and run the found"
                " settings with several in a separate sweep."
            )
        fixed.pop(key, None)
        searched[key] = _distribution(override)
    if not searched:
        raise ConfigError(
            "hydra/sweeper=optuna: no setting has several values; give some, as in"
            " 'optimizer.lr=tag(log,interval(1e-4,1e-1))'."
        )
    return Space(searched, fixed)


def _distribution(override: Override) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    line, value = override.input_line, override.value()
    tags = set(getattr(value, "tags", ()))
    if tags - {"log"} or (tags and not isinstance(value, IntervalSweep)):
        raise ConfigError(f"{line}: a search knows only the tag log, on an interval.")
    if isinstance(value, IntervalSweep):
        low, high, log = value.start, value.end, "log" in tags
        assert low is not None
        assert high is not None
        if low > high or (log and low <= 0):
            raise ConfigError(f"{line}: expected the lower end first{', above 0 on a log scale' if log else ''}.")
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, log=log)
        return FloatDistribution(low, high, log=log)
    if isinstance(value, RangeSweep):
        numbers = sorted(value.range())
        if not numbers:
            raise ConfigError(f"{line}: the range is empty.")
        step = abs(value.step)
        if all(isinstance(number, int) for number in numbers):
            return IntDistribution(int(numbers[0]), int(numbers[-1]), step=int(step))
        return FloatDistribution(float(numbers[0]), float(numbers[-1]), step=float(step))
    return CategoricalDistribution(list(dict.fromkeys(override.sweep_string_iterator())))


def _samples(space: Space) -> list[list[str]]:
    """Return the settings of a few trials with every choice, so that wrong ones are refused before the first trial."""
    from optuna.distributions import CategoricalDistribution

    values = {
        key: list(d.choices) if isinstance(d, CategoricalDistribution) else [getattr(d, "low")]  # noqa: B009
        for key, d in space.searched.items()
    }
    longest = max(len(choices) for choices in values.values())
    return [
        space.overrides({key: choices[min(row, len(choices) - 1)] for key, choices in values.items()})
        for row in range(longest)
    ]


def _check(settings: Mapping[str, Any]) -> None:
    for name, valid in (("sampler", SAMPLERS), ("pruner", tuple(PRUNERS))):
        if settings[name] not in valid:
            raise ConfigError(f"There is no {name} '{settings[name]}'.{nearest(settings[name], valid)}")
    for name in ("n_trials", "n_jobs"):
        value = settings[name]
        if (value is not None or name == "n_trials") and (not is_whole(value) or value < 1):
            raise ConfigError(f"hydra.sweeper.{name}={value}: expected a whole number above 0.")
    if not is_whole(settings["seed"]):
        raise ConfigError(f"hydra.sweeper.seed={settings['seed']}: expected a whole number.")


def _need_optuna() -> None:
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("hydra/sweeper=optuna needs the extra: pip install 'headstart[sweep]'.") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)


# --- the study


def open_storage(storage: str) -> "optuna.storages.BaseStorage | str":
    """Return the storage as Optuna takes it: a URL unchanged, a path as a journal."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return storage if "://" in storage else JournalStorage(JournalFileBackend(storage))


def make_pruner(name: str, options: Mapping[str, Any]) -> "optuna.pruners.BasePruner":
    """Return the pruner of that name. Raises ConfigError for wrong arguments."""
    import optuna

    return _made(getattr(optuna.pruners, PRUNERS[name]), options, f"hydra.sweeper.pruner_options of {name}")


def _made(cls: Callable[..., Any], options: Mapping[str, Any], name: str, **given: Any) -> Any:
    try:
        return cls(**options, **given)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name}: {str(error).rstrip('.')}.") from error


def _make_sampler(settings: Mapping[str, Any], number: int, at_once: int) -> "optuna.samplers.BaseSampler":
    """Return the sampler of one trial. Grid search does not use it."""
    import optuna

    seed = stream("optuna", settings["seed"], number) % 2**32
    options, name = settings["sampler_options"], f"hydra.sweeper.sampler_options of {settings['sampler']}"
    if settings["sampler"] == "tpe":
        # Parallel trials should not be close to one that is still running.
        options = {"constant_liar": at_once > 1, **options}
        return _made(optuna.samplers.TPESampler, options, name, seed=seed)
    return _made(optuna.samplers.RandomSampler, options, name, seed=seed)


def _open_study(storage: str, settings: Mapping[str, Any], metric: Metric, now: Mapping[str, str]) -> "optuna.Study":
    import optuna

    _make_sampler(settings, 0, 1)
    pruner = make_pruner(settings["pruner"], settings["pruner_options"])
    if "://" not in storage:
        mend_journal(Path(storage))
    study = optuna.create_study(
        storage=open_storage(storage),
        study_name=str(settings["study_name"]),
        direction=metric.direction,
        pruner=pruner,
        load_if_exists=True,
    )
    earlier = study.user_attrs.get("settings")
    turned = study.direction.name.lower() != metric.direction
    if earlier is not None and (earlier != now or turned):
        changed = sorted(key for key in {*earlier, *now} if earlier.get(key) != now.get(key)) or ["task"]
        raise ConfigError(
            f"The study '{study.study_name}' in {storage} was made with other values of {', '.join(changed)}: use the"
            " same, or another hydra.sweeper.study_name or hydra.sweep.dir."
        )
    study.set_user_attr("settings", now)
    study.set_user_attr("pruner", [settings["pruner"], dict(settings["pruner_options"])])
    return study


def mend_journal(path: Path) -> None:
    """Remove an incomplete last line, left by a kill or a full disk: Optuna cannot read a journal that has one."""
    from optuna.storages.journal import JournalFileSymlinkLock

    left = path.with_name(f"{path.name}.lock")
    if left.is_symlink() and not left.exists():  # the journal has moved: Optuna would wait for this lock for ever
        left.unlink()
    if not path.exists():
        return
    lock = JournalFileSymlinkLock(str(path))
    lock.acquire()
    try:
        content = path.read_bytes()
        if content and not content.endswith(b"\n"):
            with path.open("r+b") as file:
                file.truncate(content.rfind(b"\n") + 1)
    finally:
        lock.release()


def _next_batch(
    study: "optuna.Study", settings: Mapping[str, Any], space: Space, total: int, at_once: int
) -> list[tuple[int, dict[str, Any]]]:
    """Return numbers and values of the next trials: first those that were interrupted, then new ones."""
    from optuna.trial import Trial, TrialState

    trials = study.get_trials(deepcopy=False)
    batch = []
    for old in [trial for trial in trials if trial.state == TrialState.RUNNING][:at_once]:
        study.sampler = _make_sampler(settings, old.number, at_once)
        batch.append((old.number, _propose(Trial(study, old._trial_id), space)))
    started = sum(trial.state != TrialState.WAITING for trial in trials)
    while len(batch) < at_once and started < total:
        study.sampler = _make_sampler(settings, started, at_once)
        if settings["sampler"] == "grid" and not study.get_trials(states=(TrialState.WAITING,)):
            study.enqueue_trial(_grid(space)[started])
        trial = study.ask()
        batch.append((trial.number, _propose(trial, space)))
        started += 1
    return batch


def _propose(trial: "optuna.Trial", space: Space) -> dict[str, Any]:
    """Return a value for each key. Values that the trial already has stay."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    values: dict[str, Any] = {}
    for key, values_of in space.searched.items():
        if isinstance(values_of, CategoricalDistribution):
            values[key] = trial.suggest_categorical(key, values_of.choices)
        elif isinstance(values_of, IntDistribution):
            values[key] = trial.suggest_int(key, values_of.low, values_of.high, step=values_of.step, log=values_of.log)
        elif isinstance(values_of, FloatDistribution):
            values[key] = trial.suggest_float(
                key, values_of.low, values_of.high, step=values_of.step, log=values_of.log
            )
    return values


def _grid(space: Space) -> list[dict[str, Any]]:
    """Return every combination of values; the last key varies fastest."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    values: list[list[Any]] = []
    for key, values_of in space.searched.items():
        if isinstance(values_of, CategoricalDistribution):
            values.append(list(values_of.choices))
        elif isinstance(values_of, IntDistribution) and not values_of.log:
            values.append(list(range(values_of.low, values_of.high + 1, values_of.step)))
        elif isinstance(values_of, FloatDistribution) and values_of.step is not None:
            values.append(
                [
                    values_of.low + values_of.step * i
                    for i in range(round((values_of.high - values_of.low) / values_of.step) + 1)
                ]
            )
        else:
            raise ConfigError(f"hydra.sweeper.sampler=grid: {key} has infinitely many values; give a list or a range.")
    return [dict(zip(space.searched, row, strict=True)) for row in product(*values)]


# --- one trial


def trial_override(storage: str, study: str, number: int) -> str:
    """Return the setting that gives a job its trial. It does not count as a setting of the run."""
    return f"{TRIAL}{{number:{number},study:{json.dumps(study)},storage:{json.dumps(storage)}}}"


def _settle(
    study: "optuna.Study",
    metric: Metric,
    number: int,
    values: Mapping[str, Any],
    job: Any,
    outcome: JobOutcome | None,
) -> None:
    """Report the score of a trial to the study, unless its job has done so. Without a finite score it has failed."""
    from hydra.core.utils import JobStatus
    from optuna.trial import Trial, TrialState

    trial = study.get_trials(deepcopy=False)[number]
    if trial.state == TrialState.RUNNING:
        if outcome is not None and outcome.directory is not None:
            live = Trial(study, trial._trial_id)
            live.set_user_attr(RUN, outcome.directory)
            live.set_user_attr(LOSS, record_of(Path(outcome.directory)).number("metrics", LOSS))
        score = job.return_value if job.status == JobStatus.COMPLETED else None
        if isinstance(score, int | float) and math.isfinite(score):
            study.tell(number, float(score))
        else:
            study.tell(number, state=TrialState.FAIL)
    trial = study.get_trials(deepcopy=False)[number]
    result = {
        TrialState.COMPLETE: f"validation {metric.words} {metric.text(trial.value or 0.0)}",
        TrialState.PRUNED: f"pruned after epoch {(trial.last_step or 0) + 1}",
    }.get(trial.state, "failed")
    print(f"trial {number}: {_typed(values)}: {result}", flush=True)


def _typed(values: Mapping[str, Any]) -> str:
    return " ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in values.items()
    )


def best_trial(trials: "Sequence[optuna.trial.FrozenTrial]", metric: Metric) -> "optuna.trial.FrozenTrial":
    """Return the best trial on validation: by the primary metric, then by loss, then the first."""

    def rank(trial: "optuna.trial.FrozenTrial") -> tuple[float, float, int]:
        loss = trial.user_attrs.get(LOSS)
        return metric.gain(trial.value or 0.0), -math.inf if loss is None else -loss, -trial.number

    return max(trials, key=rank)


def _conclude(study: "optuna.Study", metric: Metric, folder: Path) -> None:
    """Print and write the best trial, without its test score: nothing may be chosen by that."""
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    count = {state: sum(trial.state == state for trial in trials) for state in TrialState}
    finished, pruned, failed = (count[state] for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
    result: dict[str, Any] = {"name": "optuna", "best_params": {}, "best_value": None, "best_trial": None}
    text = f"{len(trials)} trials: {finished} finished, {pruned} pruned, {failed} failed"
    if finished:
        best = best_trial([trial for trial in trials if trial.state == TrialState.COMPLETE], metric)
        result |= {"best_params": dict(best.params), "best_value": best.value, "best_trial": best.number}
        result |= {"best_run": best.user_attrs.get(RUN)}
        assert best.value is not None
        text += f"; the best is trial {best.number}, validation {metric.words} {metric.text(best.value)}: " + " ".join(
            f"{key}={value}" for key, value in best.params.items()
        )
        if run := best.user_attrs.get(RUN):
            text += f"\nfor its test {metric.words}, after all choices are made: headstart report {shlex.quote(run)}"
    result["trials"] = {"finished": finished, "pruned": pruned, "failed": failed}
    write_atomically(folder / SEARCH_FILE, OmegaConf.to_yaml(result))
    print(text, flush=True)
