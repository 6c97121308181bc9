"""headstart explain: draw figures that explain finished runs."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from headstart.boundary.opening import check_stays_inside
from headstart.commands.trusting import add_trust
from headstart.errors import ConfigError, CrashError, DataError, HeadstartError
from headstart.files import check_writable, write_atomically
from headstart.guard import DONE, print_error
from headstart.records.explained import EXPLAIN_FILES
from headstart.records.finding import find_run_directories
from headstart.records.names import EXPLAIN_FOLDER, RUN_FILE
from headstart.records.runs import Run, read_run
from headstart.settings.configs import CONFIG_ERRORS, error_text

IMAGES, MOST_IMAGES = 12, 60


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence, as in all commands."""

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError with the message."""
        raise ConfigError(f"{message.rstrip('.')}; see {self.prog} --help.")


def explain(arguments: Sequence[str]) -> int:
    """Write RUN/explain for each run that the arguments name; return the exit code.

    Exit codes: 0 if done, 2 if a run cannot be explained, 1 if the machine failed. An error of one run is printed as
    one sentence, and the other runs continue. Raises HeadstartError for a wrong argument.
    """
    code = DONE
    options = _parser().parse_args(list(arguments))
    _check(options)
    directories = [run_directory(path) for path in options.runs]
    for directory in dict.fromkeys(directories):
        try:
            _explain_run(directory, options)
        except (HeadstartError, *CONFIG_ERRORS) as error:
            code = print_run_error(directory, error)
    return code


def print_run_error(directory: Path, error: Exception) -> int:
    """Print an error of one run, a HeadstartError or one of Hydra's; return the exit code."""
    text = str(error) if isinstance(error, HeadstartError) else error_text(error)
    kind = CrashError if isinstance(error, CrashError) else DataError
    return print_error(kind(f"{directory.name}: {text}{'' if text.endswith(('.', '?')) else '.'}"))


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="headstart explain",
        description="Draw the most confident mistakes of finished runs, Grad-CAM maps of them, and the features of the"
        " test images in two dimensions. Writes to RUN/explain; the same run gives the same bytes.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directories")
    parser.add_argument(
        "--images",
        "--pictures",
        type=int,
        default=IMAGES,
        metavar="K",
        help=f"number of mistakes to show (default: {IMAGES})",
    )
    parser.add_argument(
        "--stage",
        metavar="NAME",
        help="the stage for Grad-CAM (default: the last stage with a map of 4 x 4 or more)",
    )
    parser.add_argument("--embedding", default="pca", metavar="pca|umap", help="method of the embedding (default: pca)")
    parser.add_argument("--root", type=Path, metavar="DIR", help="the folder of the images (dataset.root), if moved")
    add_trust(parser)
    return parser


def _check(options: argparse.Namespace) -> None:
    from headstart.analysis.explain.embedding import check_method

    if not 1 <= options.images <= MOST_IMAGES:
        raise ConfigError(f"--images {options.images}: expected a whole number from 1 to {MOST_IMAGES}.")
    check_method(options.embedding)


def run_directory(path: Path) -> Path:
    """Return the directory of the run at ``path``, or at its run.json. Raises DataError for anything else."""
    found = find_run_directories([path])
    itself = path.parent if path.name == RUN_FILE and path.is_file() else path
    if found == [itself.resolve()]:
        return itself
    below = f" but holds {len(found)}; name one, such as '{found[0]}'" if found else ""
    raise DataError(f"'{path}' is not a run directory{below or ': it has no run.json'}.")


def finished_run(directory: Path, use: str) -> Run:
    """Return a finished run with predictions. Raises DataError for another; ``use`` is a word such as "explained"."""
    run = read_run(directory)
    if not isinstance(run, Run):
        raise DataError(f"only finished runs can be {use}, but this one is {run.status} ({run.reason}).")
    if run.weights_only:
        raise DataError(f"{run.weights_only}.")
    return run


def _explain_run(directory: Path, options: argparse.Namespace) -> None:
    run = finished_run(directory, "explained")
    check_stays_inside(directory, EXPLAIN_FOLDER)
    folder = directory / EXPLAIN_FOLDER
    check_writable(folder, "the figures are written there, so make it writable", EXPLAIN_FILES)
    from headstart.analysis.explain.files import explaining_files
    from headstart.analysis.explain.network import rebuild

    rebuilt = rebuild(run, options.root, options.trust)
    files = explaining_files(rebuilt, options.images, options.stage, options.embedding)
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        write_atomically(folder / name, content)
    for name in files:
        print(folder / name, flush=True)
