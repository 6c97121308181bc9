"""headstart train: Hydra reads the settings, a run is made of each; torch is loaded only when one starts."""

import gc
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from headstart.errors import ConfigError, CrashError, DataError, HeadstartError, RunError
from headstart.guard import DONE, FAILED, INTERRUPTED, TERMINATED, WRONG, tell
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
from headstart.settings.configs import (
    CONFIG_ERRORS,
    conf_folder,
    explain,
    from_hydra,
    guarded,
    help_text,
    refuse_parts,
    told_of_plugin,
)
from headstart.settings.early_checks import TRUST, check_early, closed
from headstart.sweeps.beginning import Sweep, ended, follows, jobs_of, own_settings, process_of
from headstart.sweeps.share import is_parallel, known_at_once, remember_gpus, shared
from headstart.training.crashes import crash_of

if TYPE_CHECKING:
    from headstart.commands.jobs import Result

WITH_VALUE = (  # flags of Hydra's that take the next word
    "--cfg -c --package -p --config-path -cp --config-name -cn --config-dir -cd --experimental-rerun".split()
)
LOOKING = "--cfg -c --resolve --package -p --info -i --help -h --hydra-help --version".split()  # nothing is run
OPTIONAL_VALUE = ("--info", "-i")
_ALONE: list[JobOutcome] = []  # of a command that is no sweep
TOLD = (HeadstartError, *CONFIG_ERRORS)  # what the user can mend: one sentence, no traceback


def answered(
    arguments: Sequence[str], help_text: str, work: Callable[[], object], reason: Callable[[Exception], str]
) -> int:
    """Print a command's help if asked to, else do its work; the exit code.

    Raises ConfigError, in the words of ``reason``, for settings that Hydra refuses.
    """
    if {"-h", "--help"} & set(arguments):
        print(help_text, end="")
        return DONE
    try:
        work()
    except CONFIG_ERRORS as error:
        raise ConfigError(reason(error)) from error
    return DONE


def train(arguments: Sequence[str]) -> int:
    """Run the experiment, or the sweep, that the arguments describe; the exit code.

    0: all went well; 2: a wrong setting, path or file, told in one sentence; 1: a failure, told with its traceback,
    or a sweep in which runs failed, however; 130 or 143: interrupted. In a sweep the other runs go on.
    """
    _ALONE.clear()
    remember_gpus()
    words = flags_first(arguments)
    command = hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="train")(job)
    looks = any(word.partition("=")[0] in LOOKING for word in words)
    sweeps = not {"-m", "--multirun"}.isdisjoint(words)
    with _command_line(["headstart train", *words]), guarded(None if looks else check_early, sweeps):
        try:
            _refuse_pickles(words)
            if (asked := asks_for_help(words)) is not None:
                print(help_text(asked))
                return DONE
            command()
        except KeyboardInterrupt as error:
            print("headstart: interrupted; what was finished is kept, the same command goes on.", file=sys.stderr)
            _conclude(ended())
            return TERMINATED if "SIGTERM" in str(error) else INTERRUPTED
        except _NoData as refused:
            ended()
            return _tell(refused.error, arguments)
        except Exception as error:  # before any run: wrong settings, or flags that exclude each other
            ended()
            if from_hydra(error) and isinstance(error, TypeError | AttributeError | KeyError):
                error = ConfigError(
                    f"These settings cannot be put together ({error}); check what each group is set to."
                )
            return _tell(told_of_plugin(error), arguments, also=(ValueError,))
    return _conclude(ended())


def _conclude(sweep: Sweep | None) -> int:
    """What a command says in the end; its exit code."""
    if sweep is None:
        return DONE if all(outcome.good for outcome in _ALONE) else WRONG if _ALONE[-1].told else FAILED
    outcomes = read_outcomes(sweep.folder)
    failed = any(outcome.word == "failed" for outcome in outcomes)
    print(f"headstart: {summary(outcomes, sweep.jobs)}: {sweep.folder}")
    if failed:
        search = any(is_trial(outcome.settings) for outcome in outcomes)
        then = "count as failed trials" if search else "are tried again by the same command"
        print(f"\n{failures_table(outcomes)}\n\nThe others stand; these {then}.", file=sys.stderr)
    return FAILED if failed else DONE


class _NoData(BaseException):
    """Ends a sweep whose jobs all read the same data, and cannot; launchers would go on after an Exception."""

    def __init__(self, error: DataError) -> None:
        super().__init__(error)
        self.error = error


def job(config: DictConfig) -> float:
    """One run of a command, in whatever process a launcher starts: its validation score, NaN where it failed.

    What it came to is left for the command that waits for it. Errors are not handed to Hydra, which would print words
    of its own; only an interruption is.
    """
    told = HydraConfig.get()
    sweep = Path(told.sweep.dir) if told.mode == RunMode.MULTIRUN else None
    overrides: Any = OmegaConf.to_container(told.overrides.task, resolve=False)  # as they were typed
    trial = OmegaConf.select(config, "sweep.trial.number")
    number = 0 if sweep is None else int(told.job.num) if trial is None else int(trial)

    def leave(word: str, directory: Path | None, error: BaseException | None = None) -> None:
        told_once = isinstance(error, TOLD) and not isinstance(error, CrashError)
        outcome = JobOutcome(
            number, tuple(overrides), word, None if directory is None else str(directory), told_once,
            None if error is None else explain(error, overrides) if isinstance(error, CONFIG_ERRORS) else str(error),
            time.monotonic() - begun,
        )  # fmt: skip
        if sweep is None or follows():
            _ALONE.append(outcome)
        else:
            write_outcome(sweep, outcome)

    place: AbstractContextManager[None] = nullcontext()
    if sweep is not None and not follows():
        which, left = _place_in(sweep, number, told, trial is not None)
        print(f"headstart: {which}{left}: {' '.join(own_settings(sweep, overrides)) or 'as it is'}", flush=True)
        end_with(process_of(sweep))
        place = within(which, only_lines=is_parallel(told))
    begun = time.monotonic()
    try:
        with shared(told, config.get("trainer")), place:
            begun = time.monotonic()  # the turn has come
            folder, choices = Path(told.runtime.output_dir), dict(told.runtime.choices)
            result = start(config, folder, choices, overrides, sweep is not None)
    except KeyboardInterrupt as error:
        leave("interrupted", None, error)
        raise
    except Exception as error:
        if sweep is None:
            with suppress(OSError):  # it holds something
                Path(told.runtime.output_dir).rmdir()
        elif isinstance(error, DataError) and _data_are_shared(sweep, overrides):
            raise _NoData(error) from error
        cause = error.__cause__ if isinstance(error, RunError) and error.__cause__ is not None else error
        leave("failed", error.directory if isinstance(error, RunError) else None, cause)
        _tell(cause, overrides)
        return math.nan
    leave(result.word, result.directory)
    return result.score


def _place_in(sweep: Path, number: int, hydra: Any, searching: bool) -> tuple[str, str]:
    """Return "run 21 of 42" and ", about 1:02:05 left" of the whole sweep, as far as they are known.

    Trials of a search have the numbers of Optuna, from 0.
    """
    jobs, at_once = jobs_of(sweep), known_at_once(hydra)
    which = f"trial {number}" if searching else f"run {number + 1}"
    if jobs is None or jobs <= number:
        return which, ""
    seconds = seconds_left(read_outcomes(sweep), jobs - number, at_once) if at_once else None
    return (
        which if searching else f"{which} of {jobs}",
        f", about {duration(seconds)} left" if seconds is not None else "",
    )


def _data_are_shared(sweep: Path, overrides: Sequence[str]) -> bool:
    """Return whether no job of a sweep has a data set of its own, and none has come to anything so far."""
    own = [override.lstrip("+~") for override in own_settings(sweep, overrides)]
    return not any(setting.startswith(("dataset", "experiment")) for setting in own) and not read_outcomes(sweep)


def flags_first(arguments: Sequence[str]) -> list[str]:
    """Hydra's parser takes settings in one block only; people write -m anywhere."""
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
    """The settings of a command that wants help and nothing else of Hydra's flags; None for any other."""
    flags = [word for word in words if word.startswith("-")]
    return list(words[len(flags) :]) if flags and set(flags) <= {"--help", "-h"} else None


def _refuse_pickles(words: Sequence[str]) -> None:
    """Hydra's --experimental-rerun, which may be shortened, unpickles a file, and so runs whatever is in it."""
    for word in words:
        if word.startswith("--e"):
            raise ConfigError(f"{word}: a file of settings may hold code; 'headstart reproduce RUN' repeats a run.")


def start(
    config: DictConfig, folder: Path, choices: Mapping[str, Any], overrides: Sequence[str], in_sweep: bool
) -> "Result":
    """One run in a folder: anew, from where it was, or not at all."""
    refuse_parts(overrides)
    config = closed(config)
    trusted = check_early(config, overrides)
    with _importing():
        from headstart.commands.jobs import do
        from headstart.settings.targets import check_targets

        check_targets(OmegaConf.to_container(config), trusted, TRUST)
    return do(config, folder, choices, overrides, in_sweep)


@contextmanager
def _importing() -> Iterator[None]:
    """Do not search what imports leave behind for garbage, now or at the end: it all stays, and it is 2 s of 6."""
    if "headstart.training.run" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _tell(error: BaseException, arguments: Sequence[str], also: tuple[type[Exception], ...] = ()) -> int:
    if isinstance(error, CONFIG_ERRORS):
        error = ConfigError(explain(error, arguments))
    elif isinstance(error, also):
        error = ConfigError(str(error))
    return tell(crash_of(error) or error)


@contextmanager
def _command_line(argv: list[str]) -> Iterator[None]:
    """Hydra reads sys.argv, and hands errors on untouched only if this variable is set."""
    before_argv, before = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = argv, "1"
    try:
        yield
    finally:
        sys.argv = before_argv
        os.environ.pop("HYDRA_FULL_ERROR")
        if before is not None:
            os.environ["HYDRA_FULL_ERROR"] = before
