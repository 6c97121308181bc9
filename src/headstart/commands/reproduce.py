"""headstart reproduce: a run once more, from its own config.yaml, and whether the same comes out.

The repeat is marked in its run.json, so that no report, no board, no status and no sweep takes it for the original.
"""

import argparse
import json
import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from headstart.commands.diff import describe, section_lines
from headstart.comparison.diff import (
    Record,
    circumstances,
    compare_predictions,
    compare_results,
    pairs_text,
    read_record,
    same_bytes,
)
from headstart.errors import ConfigError, DataError, nearest
from headstart.files import check_writable, expanded, write_atomically
from headstart.kinds import kind_of, metric_of, task_name
from headstart.records.predictions import read_predictions
from headstart.records.repeats import is_repeat
from headstart.records.settings_file import read_config
from headstart.settings.configs import CONFIG_ERRORS, explain
from headstart.settings.effects import augmentation_names, flatten, is_indifferent, is_seed
from headstart.settings.foreign import keep_inside, reads
from headstart.settings.rules import is_whole
from headstart.settings.targets import check_targets

BIT_EQUAL, WITHIN, DIFFERENT = "bit-equal", "within the interval", "different"
SAME, OTHER = 0, 1  # exit codes
THEN_NOW = ("then", "now")
ROUNDING = 1e-5  # metrics in run.json of early runs are of single precision


@dataclass(frozen=True)
class Verdict:
    """One of the three words, and the figures that it rests on, a sentence each."""

    word: str
    reasons: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """0 where the run was reproduced, else 1."""
        return OTHER if self.word == DIFFERENT else SAME


def reproduce(arguments: Sequence[str]) -> int:
    """Run what a run directory describes once more and compare; the exit code.

    0: bit-equal, or the difference is within its interval; 1: different. Raises a HeadstartError where there is nothing
    to reproduce; the original stays as it is, whatever happens.
    """
    options = _parser().parse_args(arguments)
    try:
        return _reproduced(options)
    except CONFIG_ERRORS as error:
        raise ConfigError(explain(error)) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="headstart reproduce",
        description="Run a finished run once more, from its own config.yaml, and say whether the same comes out.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory (a folder with a run.json)")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", default=Path("reproduced"), help="where to run (default: reproduced/)"
    )
    parser.add_argument("--root", type=Path, metavar="DIR", help="where the images are now (dataset.root)")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="where the weights file is now (backbone.weights)")
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="a package of your own that config.yaml may name",
    )
    return parser


def _reproduced(options: argparse.Namespace) -> int:
    original = _original(options.run)
    config = read_config(original.directory)
    output = options.output
    place(config, original, output, options.root, options.weights)
    check_targets(OmegaConf.to_container(config), options.trust)
    changes = keep_inside(config, output.absolute(), options.trust)
    check_writable(output, "choose another --output")

    print(f"original: {describe(original)}")
    if found := reads(config):
        print(f"reads:    {', '.join(found)}")
    print(*(f"note: {change}" for change in changes), sep="\n")
    repeated = _repeated(original, config, output)
    result = verdict(original, repeated)
    reasons = [*result.reasons, *sister_lines(original, repeated)]
    told = {"run": str(original.directory.resolve()), "id": original.content.get("id"), "verdict": result.word}
    text = json.dumps({**told, "reasons": reasons}, indent=2, ensure_ascii=False)
    write_atomically(repeated.directory / "reproduction.json", f"{text}\n")
    if result.word != BIT_EQUAL:
        print(*section_lines([replace(compare_results(original, repeated), notes=())], THEN_NOW), "", sep="\n")
    print(*reasons, sep="\n")
    print(f"\nreproduced in: {repeated.directory}\nverdict: {result.word}")
    return result.exit_code


def _repeated(original: Record, config: DictConfig, output: Path) -> Record:
    """Say what is not as it was, then run."""
    from headstart.training.run import run  # from here on with torch

    if config.get("features") is not None and config.features.get("engine") == "auto":
        config.features.engine = engine_of(original) or "auto"
    with _threads_of(original):
        now = today(config, output)
        for line in section_lines(circumstances(original, now), THEN_NOW):
            print(line)
        if original.content.get("config_hash") != now.content["config_hash"]:
            print(
                "\nwarning: config.yaml and the data do not give the config_hash of run.json: one of them was changed"
            )
            print("after the run, or this version of headstart counts other settings than the one that wrote it.")
        print(flush=True)
        before = set(output.iterdir()) if output.is_dir() else set()
        choices = {name: original.content[name] for name in ("backbone", "dataset", "strategy")}
        repeats = {"run": str(original.directory.resolve()), "id": original.content.get("id")}
        run(config, output, choices, _overrides(original), repeats)
    return _made_since(before, output, now.content["config_hash"])


def _original(path: Path) -> Record:
    """The run to repeat: finished, with its names and predictions."""
    record = read_record(path)
    if not record.finished:
        raise DataError(
            f"'{record.directory}' is {record.content.get('status')}, so there is no result to reproduce; expected a"
            " finished run."
        )
    for name in ("backbone", "dataset", "strategy"):
        if not isinstance(record.content.get(name), str):
            raise DataError(f"'{record.directory / 'run.json'}' has no name of the {name}.")
    try:
        name = f"test/{metric_of(record.content).name}"
    except DataError as error:
        raise DataError(f"'{record.directory}' has nothing to compare with: {error}.") from None
    if name not in record.metrics:
        raise DataError(f"'{record.directory / 'run.json'}' has no {name} to compare with.")
    try:
        read_predictions(record.directory / "predictions.csv", kind_of(record.content))
    except DataError as error:
        raise DataError(f"'{record.directory}' has nothing to compare with: {error}.") from None
    return record


def place(config: DictConfig, original: Record, output: Path, root: Path | None, weights: Path | None) -> None:
    """Change, in place, where things are; nothing that determines the result.

    Features are computed anew, in ``output``: a run that only repeats what an earlier one kept would prove little.
    """
    config.output_dir = str(output)
    config.pop("sweep", None)  # how runs were found, and which trial of a search this was
    if config.get("features") is not None:
        config.features.dir = None
    if weights is not None:
        config.backbone.weights = str(weights)
    given = config.dataset.get("root")
    if root is not None and given is None:
        raise ConfigError(f"--root {root}: the images of {original.content['dataset']} are in no folder.")
    if root is not None:
        config.dataset.root = str(root)
        config.dataset.name = original.content["dataset"]  # which may come from the folder's name
    now = config.dataset.get("root")
    if now is None or expanded(str(now)).exists() or (root is None and config.dataset.get("download")):
        return
    if root is not None:
        near = nearest(str(root), [str(entry) for entry in root.parent.iterdir()]) if root.parent.is_dir() else ""
        raise DataError(f"--root {root}: there is no such folder.{near if near.startswith(' Did') else ''}")
    raise DataError(f"The images are no longer at '{now}': say where they are now, with --root DIR.")


def engine_of(original: Record) -> str | None:
    """What computed the features then, where it can do so now: left to choose, another might be faster today."""
    from headstart.features.engines import engine_version
    from headstart.records import provenance

    name, now = original.get("features", "engine"), provenance.hardware()
    same_kind = bool(original.get("provenance", "hardware", "gpus")) == bool(now.get("gpus"))
    there = name == "torch" or (name == "onnxruntime" and engine_version(name)) or name == "compile"
    return str(name) if same_kind and there else None


@contextmanager
def _threads_of(original: Record) -> Iterator[None]:
    """As many threads as then, where there are cores for them: sums over other parts round differently."""
    import torch

    wanted, before = original.get("provenance", "hardware", "threads"), torch.get_num_threads()
    if not is_whole(wanted) or not 1 <= wanted <= (os.cpu_count() or 1):
        wanted = before
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def today(config: DictConfig, output: Path) -> Record:
    """What the run would be made of if it began now: its data and weights are read, nothing is trained."""
    from headstart.inputs.facts import Facts
    from headstart.records import provenance
    from headstart.settings import identity
    from headstart.training.console import quieten
    from headstart.training.run import prepare, settle_on_the_cpu, settled

    quieten()
    settle_on_the_cpu()
    settings = settled(config)
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
            "packages": provenance.packages(),
            "hardware": provenance.hardware(),
            "dataset_fingerprint": data.fingerprint,
            "split_fingerprints": data.split_fingerprints,
            "weights": asdict(parts.strategy.backbone.weights),
        },
    }
    return Record(output, content, flatten(settings))


def _overrides(original: Record) -> list[str]:
    found = original.get("provenance", "overrides")
    return [str(override) for override in found] if isinstance(found, list) else []


def _made_since(before: set[Path], output: Path, wanted: str) -> Record:
    """Return the run with this config_hash that was just written; others may write into the folder meanwhile."""
    fresh = [read_record(folder) for folder in set(output.iterdir()) - before if (folder / "run.json").is_file()]
    own = [record for record in fresh if record.content.get("config_hash") == wanted]
    return max(own, key=lambda record: str(record.content.get("started_at")))


def verdict(original: Record, repeated: Record) -> Verdict:
    """Whether a finished run came out the same once more.

    ``bit-equal``: every metric is equal and the predictions are, byte by byte. ``within the interval``: they are not,
    but the 95 % interval of the difference in the primary metric on test, paired over test images, includes 0.
    ``different``: it does not, or the data were others, or what is compared contradicts itself.
    """
    data = [record.get("provenance", "dataset_fingerprint") for record in (original, repeated)]
    figures = [_figures(original, repeated)]
    if all(data) and data[0] != data[1]:
        return Verdict(DIFFERENT, ("The data are not the same, so the results cannot be expected to be.", *figures))
    then, now = (record.directory / "predictions.csv" for record in (original, repeated))
    if original.metrics == repeated.metrics and same_bytes(then, now):
        return Verdict(BIT_EQUAL, ("Every metric and every prediction is equal to the last bit.", *figures))
    try:
        for record in (original, repeated):
            _check_agreement(record)
        metric = metric_of(original.content)
        pairs = compare_predictions(then, now, kind_of(original.content))
    except DataError as error:
        return Verdict(DIFFERENT, (f"The test images cannot be compared one by one: {error}.", *figures))
    low, high = pairs.interval
    return Verdict(WITHIN if low <= 0 <= high else DIFFERENT, (*figures, pairs_text(pairs, metric, THEN_NOW)))


def _check_agreement(record: Record) -> None:
    """run.json and predictions.csv have to tell of the same result. Raises DataError."""
    kind, metric = kind_of(record.content), metric_of(record.content)
    counted = float(read_predictions(record.directory / "predictions.csv", kind).per_image.mean())
    stated = _score_of(record)
    if abs(counted - stated) > ROUNDING * (1 if metric.is_share else max(counted, stated)):
        raise DataError(
            f"in '{record.directory}' run.json states a test {metric.words} of {metric.exact(stated)}, predictions.csv"
            f" counts {metric.exact(counted)}"
        )


def _score_of(record: Record) -> float:
    """Return the primary metric on test. Raises DataError where run.json does not say."""
    name = f"test/{metric_of(record.content).name}"
    if name not in record.metrics:
        raise DataError(f"run.json has no {name}")
    return record.metrics[name]


def _figures(original: Record, repeated: Record) -> str:
    then, now, metric = _score_of(original), _score_of(repeated), metric_of(original.content)
    what = f"Test {metric.words}"
    if then == now:
        return f"{what}: {metric.exact(then)}, then and now."
    return f"{what}: {metric.exact(then)} then, {metric.exact(now)} now, {metric.exact_difference(now - then)}."


def sister_lines(original: Record, repeated: Record) -> list[str]:
    """How much the seeds alone move the result, where runs that differ in nothing else stand beside the original."""
    metric = metric_of(original.content)
    scores = [_score_of(record) for record in (original, *sisters(original))]
    if len(scores) < 2:
        return []
    mean, deviation = statistics.fmean(scores), statistics.stdev(scores)
    line = f"Over {len(scores)} seeds, the original's among them: {metric.exact_pair(mean, deviation)}"
    difference = _score_of(repeated) - _score_of(original)
    if difference and deviation:
        line += f"; the difference is {abs(difference) / deviation:.2g} of that deviation"
    return [f"{line}."]


def sisters(original: Record) -> list[Record]:
    """Finished runs in the same folder whose settings are those of the original but for the seeds, one a seed."""
    home = original.directory.resolve()
    wanted, found = _settings(original.config), {_seeds(original.config): original}
    for folder in sorted(home.parent.iterdir()):
        if folder == home or not (folder / "run.json").is_file():
            continue
        try:
            record = read_record(folder)
        except DataError:
            continue
        if is_repeat(record.content):
            continue
        same_task = task_name(record.content) == task_name(original.content)
        scored = f"test/{metric_of(original.content).name}" in record.metrics
        if record.finished and same_task and scored and _settings(record.config) == wanted:
            found.setdefault(_seeds(record.config), record)
    return list(found.values())[1:]


def _settings(config: Mapping[str, Any]) -> str:
    """What determines a result beside the seeds."""
    kept = [(key, value) for key, value in config.items() if not is_seed(key) and not is_indifferent(key)]
    augmentations = [key for key, _ in kept if key.startswith("augmentation")]  # whose order counts
    return json.dumps([sorted(kept, key=lambda pair: pair[0]), augmentations], default=str)


def _seeds(config: Mapping[str, Any]) -> str:
    return json.dumps(sorted((key, value) for key, value in config.items() if is_seed(key)), default=str)
