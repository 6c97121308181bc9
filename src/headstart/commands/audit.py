"""headstart audit: find likely wrong labels, duplicates and outliers in a data set."""

from collections.abc import Sequence

from omegaconf import OmegaConf

from headstart.commands.measuring import ResultFolder, probe_settings, settings_and_out
from headstart.commands.train import answered
from headstart.errors import ConfigError
from headstart.files import write_atomically
from headstart.records.names import SETTINGS_FILE
from headstart.settings.sources import short_name

FILES = (SETTINGS_FILE, "audit.csv", "audit.html", "images.csv")
HELP = """headstart audit: find likely wrong labels, duplicates and outliers in a data set

  headstart audit dataset=image_folder dataset.root=IMAGES
  headstart audit dataset=csv dataset.root=LIST.csv backbone=resnet50 --out AUDIT

It accepts every setting of headstart train, for data sets with one label an image.
The images of training, validation and test are pooled, and pass through the frozen network once.
A linear probe is cross-fitted: each image is judged by a fit that never saw it.
The probe and the nearest neighbours together rank the labels, and confident learning decides how many are shown.
Nothing is changed. Files are written to OUTPUT_DIR/DATE/DATASET-BACKBONE-audit, or to --out:

  audit.html   the images to look at
  audit.csv    a row for each suggestion
  images.csv   all images, as a list for dataset=csv: correct its labels, then train with it
"""


def audit(arguments: Sequence[str]) -> int:
    """Audit a data set and write the suggestions; return the exit code.

    The arguments are settings of ``headstart train``. Exit codes: 2 for a wrong setting or too few images, 130 if
    interrupted.
    """
    return answered(arguments, HELP, _audit_and_print)


def _audit_and_print(arguments: Sequence[str]) -> None:
    given, out = settings_and_out(arguments, "audit")
    if (task := _given_task(given)) not in ("classification", None):
        raise ConfigError(f"task={task}: an audit needs one label an image; use task=classification.")
    config, choices = probe_settings(given, "audit")
    results = ResultFolder(config, out, FILES)
    from headstart.analysis.audit.audit import audit_images
    from headstart.analysis.audit.duplicates import duplicate_pairs
    from headstart.analysis.audit.files import audit_csv, images_csv, pictures_folder, suggestions, summary_lines
    from headstart.analysis.audit.page import audit_page
    from headstart.analysis.audit.pooled import pooled_images
    from headstart.analysis.layer_probes import describe_parts
    from headstart.console import show_log
    from headstart.training.prepare import prepare, run_settings, settle_process

    settle_process()
    config = OmegaConf.create(run_settings(config))
    with show_log():
        parts = prepare(config, results.path)
        if parts.strategy.task.kind != "classification":
            raise ConfigError(f"An audit needs one label an image, and task={parts.data.task} has none.")
        describe_parts(parts)
        images = pooled_images(parts)
        result = audit_images(images, duplicate_pairs(images), int(config.seeds.split))
    lines = summary_lines(result)
    print("\n" + "\n".join(lines), flush=True)
    backbone = str(config.backbone.get("name") or choices["backbone"])
    dataset = str(parts.data.name)
    folder = results.make(dataset, short_name(backbone), "audit")
    found = suggestions(result)
    write_atomically(folder / SETTINGS_FILE, OmegaConf.to_yaml(config))
    write_atomically(folder / "audit.csv", audit_csv(result, found))
    write_atomically(folder / "audit.html", audit_page(result, found, f"Audit of {dataset} with {backbone}"))
    print(f"\nwritten to {folder}: open audit.html")
    if listed := images_csv(result):
        write_atomically(folder / "images.csv", listed)
        print(
            f"to train on corrected labels: dataset=csv dataset.root={folder / 'images.csv'}"
            f" dataset.pictures={pictures_folder(result)}"
        )


def _given_task(settings: Sequence[str]) -> str | None:
    """Return the task that the settings name, or None."""
    named = [setting.partition("=")[2] for setting in settings if setting.lstrip("+").startswith("task=")]
    return named[-1] if named else None
