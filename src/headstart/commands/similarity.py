"""headstart similarity: measure how far a data set is from what the weights of a backbone know."""

import time
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from headstart.commands.explain import Parser
from headstart.commands.inspect_layers import probe_settings
from headstart.commands.train import answered
from headstart.errors import ConfigError
from headstart.files import check_writable, expanded, write_atomically
from headstart.records.names import SETTINGS_FILE
from headstart.settings.configs import choices
from headstart.settings.identity import make_run_directory, readable_name

FILES = (SETTINGS_FILE, "similarity.json", "similarity.csv", "stages.csv")
IDLE = ("strategy", "head", "optimizer", "scheduler", "callbacks", "logger", "references")
HELP = """headstart similarity: measure how far a data set is from what the weights of a backbone know

  headstart similarity dataset=image_folder dataset.root=IMAGES
  headstart similarity dataset=FOLDER source=textures backbone=resnet50 --out SIMILARITY

It accepts the settings of headstart train for backbone, dataset, features and trainer.
The images pass through the frozen network once; features are cached.
Test images are not used.

  dataset=NAME    a data set with classes: nearest neighbours, linear probe, LogME and H-score by stage; NCE and LEEP
  dataset=FOLDER  images without labels: only the distances
  source=NAME     a data set (source.root=... is its dataset.root): Fréchet distance and kernel distance
  source=FOLDER   the same with all images below a folder

Without source images, the statistics that batch norm has stored stand for them.
Files are written to OUTPUT_DIR/DATE/DATASET-BACKBONE-similarity, or to --out.
"""


def similarity(arguments: Sequence[str]) -> int:
    """Measure a target against a backbone and write the results; return the exit code.

    The arguments are settings of ``headstart train``, and ``source``. Exit codes: 2 for a wrong setting, 130 if
    interrupted.
    """
    return answered(arguments, HELP, _measure_and_print)


def _measure_and_print(arguments: Sequence[str]) -> None:
    parser = Parser(prog="headstart similarity", add_help=False, allow_abbrev=False)
    parser.add_argument("settings", nargs="*")
    parser.add_argument("--out", type=Path)
    options = parser.parse_intermixed_args(list(arguments))
    own, of_source = split_source(options.settings)
    refuse_idle(own)
    target_folder, own = folder_of(own)
    config, _ = probe_settings(own, "similarity")
    source_folder, source_config = None, None
    if of_source:
        source_folder, of_source = folder_of(of_source)
        beside = [argument for argument in own if not argument.lstrip("+~").startswith("dataset")]
        size = f"dataset.image_size={config.dataset.image_size}"
        source_config, _ = probe_settings([*beside, size, *of_source], "similarity")
    output = Path(options.out or str(config.output_dir))
    check_writable(output, f"choose another {'--out' if options.out else 'output_dir'}", FILES if options.out else ())
    from headstart.advice.reading import StageReader, read_data_set, read_folder
    from headstart.advice.similar import measure_similarity
    from headstart.advice.similarity_tables import measures_table, similarity_json, stages_table, title_of
    from headstart.console import show_log
    from headstart.reports.renderers.csv import csv_table
    from headstart.reports.renderers.text import text_table
    from headstart.training import compose
    from headstart.training.prepare import run_settings, settle_process

    def settled(settings: DictConfig) -> DictConfig:
        return OmegaConf.create(run_settings(settings))

    settle_process()
    config = settled(config)
    with show_log():
        backbone = compose.make_backbone(config)
        target = read_folder(target_folder, config, backbone) if target_folder else read_data_set(config, backbone)
        source = None
        if source_config is not None:
            source_config = settled(source_config)
            if source_folder:
                source = read_folder(source_folder, source_config, backbone)
            else:
                source = read_data_set(source_config, backbone)
        found = measure_similarity(StageReader(config, backbone, target.signature), target, source)
    stages, measures = stages_table(found), measures_table(found)
    print(f"\n{title_of(found)}\n\n{text_table(stages)}\n\n{text_table(measures)}", flush=True)
    for note in found.notes:
        print(f"\n{note}")
    folder = options.out or make_run_directory(
        output / time.strftime("%Y-%m-%d"), readable_name(found.target, found.backbone, "similarity")
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / SETTINGS_FILE, OmegaConf.to_yaml(config))
    write_atomically(folder / "similarity.json", similarity_json(found))
    write_atomically(folder / "similarity.csv", csv_table(measures))
    write_atomically(folder / "stages.csv", csv_table(stages))
    print(f"\nwritten to {folder}")


def split_source(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the settings of the target, and those of the source with "dataset" in place of "source".

    Raises ConfigError for settings of a source without its name.
    """
    of_source = [one for one in arguments if one.startswith(("source=", "source."))]
    own = [one for one in arguments if one not in of_source]
    if of_source and not any(one.startswith("source=") for one in of_source):
        raise ConfigError(f"'{of_source[0]}' needs source=NAME, a data set, or source=FOLDER.")
    return own, [f"dataset{one.removeprefix('source')}" for one in of_source]


def refuse_idle(arguments: Sequence[str]) -> None:
    """Raise ConfigError for a setting that would have no effect."""
    for argument in arguments:
        if argument.lstrip("+~").partition("=")[0].partition(".")[0] in IDLE:
            raise ConfigError(
                f"{argument}: every stage is read with the backbone's own pooling and probed with the default"
                " strengths; leave this setting out."
            )


def folder_of(arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Return the folder that "dataset=" names, or None if it names a data set, and settings that Hydra understands."""
    named = [one.partition("=")[2] for one in arguments if one.startswith("dataset=")]
    if not named or named[-1] in choices("dataset") or not expanded(named[-1]).is_dir():
        return None, list(arguments)
    folder = expanded(named[-1])
    others = [one for one in arguments if not one.startswith("dataset=")]
    return folder, [*others, "dataset=image_folder", f"dataset.root='{folder}'"]
