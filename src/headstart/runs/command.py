"""headstart train: Hydra reads the settings, a run is made of each; torch is loaded only when one starts."""

import gc
import math
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from headstart.errors import HeadstartError
from headstart.runs.configs import CONFIG_ERRORS, conf_folder, explain

DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130  # exit codes
WITH_VALUE = (  # flags of Hydra's that take the next word
    "--cfg -c --package -p --config-path -cp --config-name -cn --config-dir -cd --experimental-rerun".split()
)
OPTIONAL_VALUE = ("--info", "-i")
TOLD = (HeadstartError, *CONFIG_ERRORS)  # what the user can mend: one sentence, no traceback


def train(arguments: Sequence[str]) -> int:
    """Run the experiment, or the sweep, that the arguments describe; the exit code.

    0: all went well; 2: a wrong setting, path or file, told in one sentence; 1: a failure, told with its traceback;
    130: interrupted. In a sweep the other runs go on.
    """
    outcomes: list[Exception | None] = []

    def task(config: DictConfig) -> float:
        try:
            result = start(config)
        except Exception as error:  # not handed to Hydra, which would print words of its own
            outcomes.append(error)
            _tell(error, arguments)
            return math.nan
        outcomes.append(None)
        return result

    command = hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="train")(task)
    with _command_line(["headstart train", *flags_first(arguments)]):
        try:
            command()
        except KeyboardInterrupt:
            print("headstart: interrupted; what was finished is kept.", file=sys.stderr)
            return INTERRUPTED
        except Exception as error:  # before any run: wrong settings, or flags that exclude each other
            return _tell(error, arguments, also=(ValueError,))
    failures = [error for error in outcomes if error is not None]
    if failures and len(outcomes) > 1:
        print(f"headstart: {len(failures)} of {len(outcomes)} runs failed; the others stand.", file=sys.stderr)
    if not failures:
        return DONE
    return WRONG if all(isinstance(error, TOLD) for error in failures) else FAILED


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


def start(config: DictConfig) -> float:
    """One run, in the folder that Hydra made for it; its validation accuracy."""
    with _importing():
        from headstart.runs.run import run

    told = HydraConfig.get()
    overrides: Any = OmegaConf.to_container(told.overrides.task, resolve=False)  # as they were typed
    return run(config, Path(told.runtime.output_dir), dict(told.runtime.choices), overrides)


@contextmanager
def _importing() -> Iterator[None]:
    """Do not search what imports leave behind for garbage, now or at the end: it all stays, and it is 2 s of 6."""
    if "headstart.runs.run" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _tell(error: Exception, arguments: Sequence[str], also: tuple[type[Exception], ...] = ()) -> int:
    if isinstance(error, CONFIG_ERRORS):
        print(f"headstart: {explain(error, arguments)}", file=sys.stderr)
    elif isinstance(error, (HeadstartError, *also)):
        print(f"headstart: {error}", file=sys.stderr)
    else:
        traceback.print_exception(error)
        return FAILED
    return WRONG


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
