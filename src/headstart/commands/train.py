"""headstart train: let Hydra compose the settings, and run each job. Loads torch only when a job starts."""

import gc
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from headstart.crashes import crash_of
from headstart.errors import ConfigError, CrashError, DataError, HeadstartError, RunError
from headstart.guard import DONE, FAILED, INTERRUPTED, TERMINATED, WRONG, print_error
from headstart.orphans import end_with
from headstart.progress import duration, within
from headstart.records.outcomes import (
    JobOutcome,
    failures_table,
    is_trial,
    read_outcomes,
    seconds_left,
    summary,
    write_outcome,
)
from headstart.records.sweep_file import sweep_record
from headstart.settings.configs import (
    CONFIG_ERRORS,
    checking_settings,
    error_text,
    help_text,
    missing_plugin,
    raised_by_hydra,
    refuse_parts,
)
from headstart.settings.early_checks import TRUST, check_early, check_resolved, resolved
from headstart.settings.folders import conf_folder, split_config_dir, using_folders
from headstart.sweeps.beginning import Sweep, SweepRefused, end_sweep, follows, own_settings
from headstart.sweeps.share import is_parallel, known_at_once, remember_gpus, shared

if TYPE_CHECKING:
    from headstart.training.jobs import Result

WITH_VALUE = (  # Hydra's flags that take the next word
    "--cfg -c --package -p --config-path -cp --config-name -cn --config-dir -cd --experimental-rerun".split()
)
WITHOUT_RUN = "--cfg -c --resolve --package -p --info -i --help -h --hydra-help --version".split()  # no run starts
OPTIONAL_VALUE = ("--info", "-i")
_ALONE: list[JobOutcome] = []  # the outcomes of a command that is not a sweep
_ERRORS: list[BaseException] = []  # the error of its run
USER_ERRORS = (HeadstartError, *CONFIG_ERRORS)  # shown as one sentence, without a traceback


def answered(
    arguments: Sequence[str], help_text: str, work: Callable[[list[str]], object], config: str = "train"
) -> int:
    """Print a command's help if the arguments ask for it, or else do its work; return the exit code.

    ``work`` gets the arguments without --config-dir; ``config`` is the config file that it starts from. Raises
    ConfigError for settings that Hydra refuses.
    """
    if {"-h", "--help"} & set(arguments):
        print(help_text, end="")
        return DONE
    settings, folders = split_config_dir(arguments)
    with using_folders(folders):
        try:
            work(settings)
        except CONFIG_ERRORS as error:
            raise ConfigError(reason(error, settings, config)) from error
    return DONE


def reason(error: Exception, arguments: Sequence[str], config: str = "train") -> str:
    """Return one sentence about wrong arguments of a command that makes no sweep."""
    if str(error).startswith("Ambiguous value for argument"):
        return "This command takes one value for each setting."
    return error_text(error, arguments, config) if isinstance(error, CONFIG_ERRORS) else str(error)


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    ``error`` ended it as a whole, or is that of its only run: in one sentence unless it is a bug.
    """

    outcomes: Sequence[JobOutcome]
    sweep: Sweep | None = None
    error: BaseException | None = None


def train(arguments: Sequence[str], config: str = "train") -> int:
    """Run the experiment or sweep that the arguments describe; return the exit code.

    ``config`` is the config file that the command starts from, which has the name of the command.

    Exit codes: 0 if done; 2 for a wrong setting, path or file; 1 for another failure, or a sweep with failed runs; 130
    or 143 if interrupted. A failed run does not stop a sweep.
    """
    ended = carry_out(arguments, config)
    if isinstance(ended.error, KeyboardInterrupt):
        print("headstart: interrupted; run the same command again to resume.", file=sys.stderr)
        print_summary(ended)
        return TERMINATED if "SIGTERM" in str(ended.error) else INTERRUPTED
    code = DONE if ended.error is None else print_error(ended.error)
    if ended.sweep is None and ended.outcomes:
        return DONE if all(one.good for one in ended.outcomes) else WRONG if ended.outcomes[-1].correctable else FAILED
    print_summary(ended)
    return FAILED if any(one.word == "failed" for one in ended.outcomes) else code


def pretrain(arguments: Sequence[str]) -> int:
    """Learn weights by an objective, in runs like those of ``train``; return the exit code, as ``train`` does."""
    return train(arguments, "pretrain")


def carry_out(arguments: Sequence[str], config: str = "train") -> Ended:
    """Carry out the jobs that the arguments of a command such as ``headstart train`` describe.

    Raises ConfigError for a folder of --config-dir that cannot be used.
    """
    _ALONE.clear()
    _ERRORS.clear()
    remember_gpus()
    words = flags_first(arguments)
    asking, folders = split_config_dir(words)
    with using_folders(folders):
        error = _run_jobs(words, asking, arguments, config)
    sweep = end_sweep()
    if error is not None and not isinstance(error, KeyboardInterrupt):
        return Ended((), error=error)
    if sweep is None:
        return Ended(tuple(_ALONE), error=error or (_ERRORS[-1] if _ERRORS else None))
    return Ended(read_outcomes(sweep.folder), sweep, error)


def _run_jobs(words: list[str], asking: Sequence[str], arguments: Sequence[str], config: str) -> BaseException | None:
    """Let Hydra call ``job`` for each job; return the error that ended the command, or None."""
    command = hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=config)(job)
    runs_nothing = any(word.partition("=")[0] in WITHOUT_RUN for word in words)
    sweeps = not {"-m", "--multirun"}.isdisjoint(words)
    with (
        _command_line([f"headstart {config}", *words]),
        checking_settings(None if runs_nothing else check_early, sweeps),
    ):
        try:
            _refuse_pickles(words)
            if (asked := asks_for_help(asking)) is not None:
                print(help_text(asked, config))
                return None
            command()
        except KeyboardInterrupt as error:
            return error
        except SweepRefused as refused:
            return _known(refused.error, arguments, config)
        except Exception as error:  # before any run: wrong settings, or flags that exclude each other
            if raised_by_hydra(error) and isinstance(error, TypeError | AttributeError | KeyError):
                error = ConfigError(f"These settings cannot be combined ({error}); check the value of each group.")
            return _known(missing_plugin(error), arguments, config, also=(ValueError,))
    return None


def print_summary(ended: Ended) -> None:
    """Print how the jobs of a sweep ended, and a table of those that failed; nothing for a single run."""
    if ended.sweep is None:
        return
    print(f"headstart: {summary(ended.outcomes, ended.sweep.jobs)}: {ended.sweep.folder}")
    if any(outcome.word == "failed" for outcome in ended.outcomes):
        search = any(is_trial(outcome.settings) for outcome in ended.outcomes)
        then = "These count as failed trials." if search else "Run the same command again to retry these."
        print(f"\n{failures_table(ended.outcomes)}\n\n{then}", file=sys.stderr)


def job(config: DictConfig) -> float:
    """Carry out one job in the process of a launcher; return its validation score, or NaN if it failed.

    The outcome is recorded for the command that waits for it. Only an interruption is raised to Hydra, which would
    print its own message about other errors.
    """
    with using_folders(_folders_of(HydraConfig.get())):
        return _job(config)


def _folders_of(hydra_config: Any) -> list[Path]:
    """Return the folders of --config-dir, which the process of a launcher does not know otherwise."""
    return [Path(source.path) for source in hydra_config.runtime.config_sources if source.provider == "command-line"]


def _job(config: DictConfig) -> float:
    hydra_config = HydraConfig.get()
    sweep = Path(hydra_config.sweep.dir) if hydra_config.mode == RunMode.MULTIRUN else None
    overrides: Any = OmegaConf.to_container(hydra_config.overrides.task, resolve=False)  # as they were typed
    trial = OmegaConf.select(config, "sweep.trial.number")
    number = 0 if sweep is None else int(hydra_config.job.num) if trial is None else int(trial)

    def record(word: str, directory: Path | None, error: BaseException | None = None) -> None:
        in_one_sentence = isinstance(error, USER_ERRORS) and not isinstance(error, CrashError)
        outcome = JobOutcome(
            number, tuple(overrides), word, None if directory is None else str(directory), in_one_sentence,
            None if error is None else error_text(error, overrides) if isinstance(error, CONFIG_ERRORS) else str(error),
            time.monotonic() - begun,
        )  # fmt: skip
        if sweep is None or follows():
            _ALONE.append(outcome)
        else:
            write_outcome(sweep, outcome)

    place: AbstractContextManager[None] = nullcontext()
    if sweep is not None and not follows():
        which, left = _place_in(sweep, number, hydra_config, trial is not None)
        print(f"headstart: {which}{left}: {' '.join(own_settings(sweep, overrides)) or 'no changes'}", flush=True)
        end_with(sweep_record(sweep).process)
        place = within(which, only_lines=is_parallel(hydra_config))
    begun = time.monotonic()
    try:
        with shared(hydra_config, config.get("trainer")), place:
            begun = time.monotonic()  # without the wait for a free device
            folder, choices = Path(hydra_config.runtime.output_dir), dict(hydra_config.runtime.choices)
            result = start(config, folder, choices, overrides, sweep is not None)
    except KeyboardInterrupt as error:
        record("interrupted", None, error)
        raise
    except Exception as error:
        if sweep is None:
            with suppress(OSError):  # it is not empty
                Path(hydra_config.runtime.output_dir).rmdir()
        elif isinstance(error, DataError) and _data_are_shared(sweep, overrides):
            raise SweepRefused(error) from error  # no job can read the data that all jobs share
        cause = error.__cause__ if isinstance(error, RunError) and error.__cause__ is not None else error
        record("failed", error.directory if isinstance(error, RunError) else None, cause)
        if sweep is None:
            _ERRORS.append(_known(cause, overrides))
        else:
            print_error(_known(cause, overrides))
        return math.nan
    record(result.word, result.directory)
    return result.score


def _place_in(sweep: Path, number: int, hydra: Any, searching: bool) -> tuple[str, str]:
    """Return "run 21 of 42" and ", about 1:02:05 left" for the whole sweep, as far as they are known.

    Trials of a search have Optuna's numbers, from 0.
    """
    jobs, at_once = sweep_record(sweep).jobs, known_at_once(hydra)
    which = f"trial {number}" if searching else f"run {number + 1}"
    if jobs is None or jobs <= number:
        return which, ""
    seconds = seconds_left(read_outcomes(sweep), jobs - number, at_once) if at_once else None
    return (
        which if searching else f"{which} of {jobs}",
        f", about {duration(seconds)} left" if seconds is not None else "",
    )


def _data_are_shared(sweep: Path, overrides: Sequence[str]) -> bool:
    """Return whether all jobs of a sweep share the data set, and none has ended yet."""
    own = [override.lstrip("+~") for override in own_settings(sweep, overrides)]
    return not any(setting.startswith(("dataset", "experiment")) for setting in own) and not read_outcomes(sweep)


def flags_first(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with flags before settings, because Hydra's parser needs all settings in one block."""
    flags: list[str] = []
    settings: list[str] = []
    value_wanted = False
    for argument in arguments:
        is_flag = argument.startswith("-")
        taken = value_wanted and not ("=" in argument and flags[-1] in OPTIONAL_VALUE)
        (flags if is_flag or taken else settings).append(argument)
        value_wanted = argument in (*WITH_VALUE, *OPTIONAL_VALUE)
    return [*flags, *settings]


def asks_for_help(words: Sequence[str]) -> list[str] | None:
    """Return the settings of a command whose only flag is --help, or None for any other command."""
    flags = [word for word in words if word.startswith("-")]
    return list(words[len(flags) :]) if flags and set(flags) <= {"--help", "-h"} else None


def _refuse_pickles(words: Sequence[str]) -> None:
    """Refuse Hydra's --experimental-rerun, also if abbreviated, because it unpickles a file and so may run any code."""
    for word in words:
        if word.startswith("--e"):
            raise ConfigError(f"{word}: the file may run code; use 'headstart reproduce RUN' to repeat a run.")


def start(
    config: DictConfig, folder: Path, choices: Mapping[str, Any], overrides: Sequence[str], in_sweep: bool
) -> "Result":
    """Start, resume or skip one run in a folder."""
    refuse_parts(overrides)
    config = resolved(config)
    settings = OmegaConf.to_container(config)
    trusted = check_resolved(settings, overrides)
    with _importing():
        from headstart.settings.targets import check_targets
        from headstart.training.jobs import run_or_skip

        check_targets(settings, trusted, TRUST)
    return run_or_skip(config, folder, choices, overrides, in_sweep)


@contextmanager
def _importing() -> Iterator[None]:
    """Turn garbage collection off during imports, and exclude imported objects from it: this saves 2 s of 6."""
    if "headstart.training.run" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _known(
    error: BaseException, arguments: Sequence[str], config: str = "train", also: tuple[type[Exception], ...] = ()
) -> BaseException:
    """Return an error of one sentence where the cause is known, and the error itself for a bug."""
    if isinstance(error, CONFIG_ERRORS):
        error = ConfigError(error_text(error, arguments, config))
    elif isinstance(error, also):
        error = ConfigError(str(error))
    return crash_of(error) or error


@contextmanager
def _command_line(argv: list[str]) -> Iterator[None]:
    """Set sys.argv, which Hydra reads, and HYDRA_FULL_ERROR, which makes Hydra raise errors unchanged."""
    before_argv, before = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = argv, "1"
    try:
        yield
    finally:
        sys.argv = before_argv
        os.environ.pop("HYDRA_FULL_ERROR")
        if before is not None:
            os.environ["HYDRA_FULL_ERROR"] = before
