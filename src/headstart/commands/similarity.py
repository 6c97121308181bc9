"""headstart similarity: measure how far a data set is from what the weights of a backbone know."""

from collections.abc import Sequence

from omegaconf import DictConfig

from headstart.advice.asked import folder_of, refuse_idle, split_source
from headstart.commands.measuring import ResultFolder, probe_settings, settings_and_out
from headstart.commands.train import answered
from headstart.records.names import SETTINGS_FILE
from headstart.typed import group_of

FILES = (SETTINGS_FILE, "similarity.json", "similarity.csv", "stages.csv")
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
    given, out = settings_and_out(arguments, "similarity")
    own, of_source = split_source(given)
    refuse_idle(own)
    target_folder, own = folder_of(own)
    config, _ = probe_settings(own, "similarity")
    source_folder, source_config = None, None
    if of_source:
        source_folder, of_source = folder_of(of_source, "source")
        beside = [argument for argument in own if group_of(argument) != "dataset"]
        source_config, _ = probe_settings([*beside, *_resizing(config.dataset), *of_source], "similarity")
    results = ResultFolder(config, out, FILES)
    from headstart.advice.similarity_run import run_similarity

    found = run_similarity(config, source_config, (target_folder, source_folder))
    folder = results.make(found.target, found.backbone, "similarity")
    found.write(folder)
    print(f"\nwritten to {folder}")


def _resizing(target: DictConfig) -> list[str]:
    """Return settings that resize and crop the images of the source as those of the target."""
    found = {"image_size": target.image_size, **{name: target.get(name) for name in ("crop_fraction", "resize")}}
    given = {name: value for name, value in found.items() if name == "image_size" or value not in (None, "crop")}
    return [f"dataset.{name}={'null' if value is None else value}" for name, value in given.items()]
