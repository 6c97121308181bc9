"""headstart inspect layers: fit a linear probe to each stage, and show accuracy against depth."""

import time
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from headstart.analysis.layer_report import layer_verdict, probes_csv, probes_table, write_layer_figure
from headstart.commands.train import answered
from headstart.errors import ConfigError
from headstart.files import check_writable, write_atomically
from headstart.records.names import SETTINGS_FILE
from headstart.settings.configs import composed
from headstart.settings.early_checks import resolved_and_checked
from headstart.settings.effects import augmentation_names
from headstart.settings.identity import make_run_directory, readable_name
from headstart.settings.sources import short_name

STRATEGY = "linear_probe"
LIMITS = ("limit_train_batches", "limit_val_batches", "limit_test_batches")
HELP = """headstart inspect layers: find the stage of a network that transfers best to a data set

  headstart inspect layers backbone=resnet50 dataset=dtd
  headstart inspect layers dataset=image_folder dataset.root=IMAGES head.pooling=gem strategy.l2=[10,1,0.1]

It accepts every setting of headstart train.
The images pass through the frozen network once.
A linear classifier is fitted to the average-pooled output of each stage, and one to all these outputs joined.
The last stage has the network's own pooling.
The L2 strength of each classifier and the best stage are chosen on validation.
Features are cached, so a second call takes seconds.
Table, figure and settings are written to OUTPUT_DIR/DATE/DATASET-BACKBONE-layers.

  head.stages=[stage2,stage3]      probe only these stages
  head.pooling=avg|max|avgmax|gem  use this pooling (gem with head.gem_p) for every stage
  strategy.l2, strategy.loss, strategy.batch_norm  as for strategy=linear_probe
"""


def inspect_layers(arguments: Sequence[str]) -> int:
    """Probe every stage of a backbone and write the results; return the exit code.

    The arguments are settings of ``headstart train``. Exit codes: 2 for a wrong setting, 130 if interrupted.
    """
    return answered(arguments, HELP, _probe_and_print)


def _probe_and_print(arguments: Sequence[str]) -> None:
    config, choices = probe_settings(arguments, "inspect layers")
    whole = {"_target_": "headstart.tasks.LinearHead", "stages": None}
    config.head = OmegaConf.merge(whole, config.get("head") or {})
    output = Path(str(config.output_dir))
    check_writable(output, "choose another output_dir")
    from headstart.analysis.layer_probes import probe_stages
    from headstart.console import show_log
    from headstart.training.compose import make_data
    from headstart.training.prepare import run_settings, settle_process

    settle_process()
    config = OmegaConf.create(run_settings(config))
    with show_log():
        probes = probe_stages(config, output)
    print(f"\n{probes_table(probes)}\n\n{layer_verdict(probes)}", flush=True)
    backbone = str(config.backbone.get("name") or choices["backbone"])
    dataset = str(make_data(config).name)
    folder = make_run_directory(
        output / time.strftime("%Y-%m-%d"), readable_name(dataset, short_name(backbone), "layers")
    )
    write_atomically(folder / SETTINGS_FILE, OmegaConf.to_yaml(config))
    write_atomically(folder / "layers.csv", probes_csv(probes))
    write_layer_figure(folder, probes, f"{backbone} on {dataset}")
    print(f"written to {folder}")


def probe_settings(arguments: Sequence[str], command: str) -> tuple[DictConfig, dict[str, str]]:
    """Return the settings of a run with strategy=linear_probe, and the names of the chosen groups.

    Raises ConfigError for a setting that does not suit a command that passes once over all images.
    """
    named = any(argument.split("=")[0].lstrip("+~") == "strategy" for argument in arguments)
    config, choices = composed([*arguments] if named else [*arguments, f"strategy={STRATEGY}"])
    if choices.get("strategy") != STRATEGY:
        raise ConfigError(
            f"strategy={choices.get('strategy')}: {command} fits linear probes; leave it out, or use"
            f" strategy={STRATEGY}."
        )
    if names := augmentation_names(config.get("augmentation")):
        raise ConfigError(
            f"augmentation={','.join(names)}: {command} passes over the images once, without augmentation; use"
            " augmentation=none."
        )
    for name in LIMITS:
        if name in config.trainer:
            raise ConfigError(
                f"trainer.{name}: {command} uses all images; leave it out, or use fewer images with"
                " dataset.labels_per_class."
            )
    config = resolved_and_checked(config, arguments)
    # Without epochs and a run directory, loggers and callbacks have nothing to do.
    config.logger, config.callbacks = {}, {}
    return config, choices
