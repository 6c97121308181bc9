"""headstart reproduce: repeat a run from its config.yaml, and compare the results.

The repeat is marked in its run.json, so that report, board, status and sweeps do not confuse it with the original.
"""

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from headstart.analysis.reproduction import BIT_EQUAL, THEN_NOW, seed_lines, verdict
from headstart.commands.diff import describe, section_lines
from headstart.commands.trusting import add_trust
from headstart.comparison.diff import circumstances, compare_results
from headstart.errors import ConfigError, DataError
from headstart.files import check_writable, expanded, hint_beside, write_atomically
from headstart.kinds import kind_of, metric_of
from headstart.records.names import REPRODUCTION_FILE, RUN_FILE, TEST_PREDICTIONS
from headstart.records.predictions import read_predictions
from headstart.records.record import RunRecord, read_record, record_of
from headstart.records.settings_file import check_images_are_there, read_config
from headstart.settings.configs import CONFIG_ERRORS, error_text
from headstart.settings.effects import augmentation_names, flatten
from headstart.settings.foreign import keep_inside, places_read
from headstart.settings.leaves import is_whole
from headstart.settings.targets import check_targets


def reproduce(arguments: Sequence[str]) -> int:
    """Repeat a run, compare it with the original, and return the exit code.

    Exit codes: 0 if the results are bit-equal or within the interval, 1 if they are different. Raises HeadstartError if
    the run cannot be repeated. The original is never changed.
    """
    options = _parser().parse_args(arguments)
    try:
        return _reproduced(options)
    except CONFIG_ERRORS as error:
        raise ConfigError(error_text(error)) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="headstart reproduce",
        description="Repeat a finished run from its config.yaml, and compare the results.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory (a folder with a run.json)")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", default=Path("reproduced"), help="folder to use (default: reproduced/)"
    )
    parser.add_argument("--root", type=Path, metavar="DIR", help="the folder of the images (dataset.root), if moved")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="the weights file (backbone.weights), if moved")
    add_trust(parser)
    return parser


def _reproduced(options: argparse.Namespace) -> int:
    original = _original(options.run)
    config = read_config(original.directory)
    output = options.output
    set_places(config, original, output, options.root, options.weights)
    check_targets(OmegaConf.to_container(config), options.trust)
    changes = keep_inside(config, output.absolute(), options.trust)
    check_writable(output, "choose another --output")

    print(f"original: {describe(original)}")
    if found := places_read(config):
        print(f"reads:    {', '.join(found)}")
    print(*(f"note: {change}" for change in changes), sep="\n")
    repeated = _repeated(original, config, output)
    result = verdict(original, repeated)
    reasons = [*result.reasons, *seed_lines(original, repeated)]
    content = {"run": str(original.directory.resolve()), "id": original.content.get("id"), "verdict": result.word}
    text = json.dumps({**content, "reasons": reasons}, indent=2, ensure_ascii=False)
    write_atomically(repeated.directory / REPRODUCTION_FILE, f"{text}\n")
    if result.word != BIT_EQUAL:
        print(*section_lines([replace(compare_results(original, repeated), notes=())], THEN_NOW), "", sep="\n")
    print(*reasons, sep="\n")
    print(f"\nreproduced in: {repeated.directory}\nverdict: {result.word}")
    return result.exit_code


def _repeated(original: RunRecord, config: DictConfig, output: Path) -> RunRecord:
    """Print what has changed since the original, and run it again."""
    from headstart.training.run import run  # loads torch

    if config.get("features") is not None and config.features.get("engine") == "auto":
        config.features.engine = engine_of(original) or "auto"
    with _threads_of(original):
        now = current_record(config, output)
        for line in section_lines(circumstances(original, now), THEN_NOW):
            print(line)
        if original.content.get("config_hash") != now.content["config_hash"]:
            print(
                "\nwarning: config.yaml and the data do not give the config_hash of run.json. Either one of them was"
                " changed\nafter the run, or this version of headstart computes the hash from other settings."
            )
        print(flush=True)
        before = set(output.iterdir()) if output.is_dir() else set()
        choices = {name: original.content[name] for name in ("backbone", "dataset", "strategy")}
        repeats = {"run": str(original.directory.resolve()), "id": original.content.get("id")}
        run(config, output, choices, _overrides(original), repeats)
    return _made_since(before, output, now.content["config_hash"])


def _original(path: Path) -> RunRecord:
    """Return the run to repeat. Raises DataError if it is not finished, or lacks names, accuracy or predictions."""
    record = read_record(path)
    if not record.finished:
        raise DataError(
            f"'{record.directory}' is {record.content.get('status')} and has no result to reproduce; expected a"
            " finished run."
        )
    for name in ("backbone", "dataset", "strategy"):
        if not isinstance(record.content.get(name), str):
            raise DataError(f"'{record.directory / RUN_FILE}' does not name the {name}.")
    try:
        name = f"test/{metric_of(record.content).name}"
    except DataError as error:
        raise DataError(f"'{record.directory}' has nothing to compare with: {error}.") from None
    if name not in record.metrics:
        raise DataError(f"'{record.directory / RUN_FILE}' has no {name} to compare with.")
    try:
        read_predictions(record.directory / TEST_PREDICTIONS, kind_of(record.content))
    except DataError as error:
        raise DataError(f"'{record.directory}' has no predictions to compare with: {error}.") from None
    return record


def set_places(config: DictConfig, original: RunRecord, output: Path, root: Path | None, weights: Path | None) -> None:
    """Change the paths in ``config``, and nothing that determines the result.

    Features are computed again, because reading an earlier run's features would prove little.
    """
    config.output_dir = str(output)
    config.pop("sweep", None)  # it does not determine the result
    if config.get("features") is not None:
        config.features.dir = None
    if weights is not None:
        config.backbone.weights = str(weights)
    if root is None:
        check_images_are_there(config)
        return
    if config.dataset.get("root") is None:
        raise ConfigError(f"--root {root}: the images of {original.content['dataset']} do not come from a folder.")
    config.dataset.root = str(root)
    config.dataset.name = original.content["dataset"]  # the default is the folder's name
    if not expanded(str(root)).exists():
        raise DataError(f"--root {root}: there is no such folder.{hint_beside(root, Path.is_dir)}")


def engine_of(original: RunRecord) -> str | None:
    """Return the engine that computed the original's features, or None if it cannot be used here.

    Without it, another engine might be chosen because it is faster today.
    """
    from headstart.features.engines import engine_version
    from headstart.records import provenance

    name, now = original.get("features", "engine"), provenance.hardware()
    same_kind = bool(original.get("provenance", "hardware", "gpus")) == bool(now.get("gpus"))
    there = name == "torch" or (name == "onnxruntime" and engine_version(name)) or name == "compile"
    return str(name) if same_kind and there else None


@contextmanager
def _threads_of(original: RunRecord) -> Iterator[None]:
    """Use the original's number of threads if there are enough cores, because rounding depends on it."""
    import torch

    wanted, before = original.get("provenance", "hardware", "threads"), torch.get_num_threads()
    if not is_whole(wanted) or not 1 <= wanted <= (os.cpu_count() or 1):
        wanted = before
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def current_record(config: DictConfig, output: Path) -> RunRecord:
    """Return the record of the run as it would start now: reads data and weights, and trains nothing."""
    from headstart.inputs.facts import Facts
    from headstart.records import provenance
    from headstart.settings import identity
    from headstart.training.prepare import prepare, run_settings, settle_process

    settle_process()
    settings = run_settings(config)
    parts = prepare(OmegaConf.create(settings), output)
    data = parts.data
    data_hash = data.source_hash(Facts(None))
    content = {
        "config_hash": identity.config_hash(settings, data_hash),
        "augmentation": augmentation_names(settings["augmentation"]),
        "seed": settings.get("seed"),
        "classes": data.class_names,
        "pictures": {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)},
        "skipped": data.skipped,
        "provenance": {
            **provenance.git_state(),
            **provenance.code_of_parts(settings),
            "packages": provenance.packages(),
            "hardware": provenance.hardware(),
            "dataset_fingerprint": data.fingerprint,
            "split_fingerprints": data.split_fingerprints,
            "weights": asdict(parts.strategy.backbone.weights),
        },
    }
    return RunRecord(output, content, planned=flatten(settings))


def _overrides(original: RunRecord) -> list[str]:
    found = original.get("provenance", "overrides")
    return [str(override) for override in found] if isinstance(found, list) else []


def _made_since(before: set[Path], output: Path, wanted: str) -> RunRecord:
    """Return the latest new run with this config_hash; other processes may write to the folder, too."""
    fresh = map(record_of, set(output.iterdir()) - before)
    own = [record for record in fresh if record.content.get("config_hash") == wanted]
    return max(own, key=lambda record: str(record.content.get("started_at")))
