"""headstart inspect layers: fit a linear probe to each stage, and show accuracy against depth."""

from collections.abc import Sequence

from omegaconf import OmegaConf

from headstart.analysis.layer_report import layer_verdict, probes_csv, probes_table, write_layer_figure
from headstart.commands.measuring import ResultFolder, probe_settings
from headstart.commands.train import answered
from headstart.files import write_atomically
from headstart.records.names import SETTINGS_FILE
from headstart.settings.sources import short_name

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
    results = ResultFolder(config)
    from headstart.analysis.layer_probes import probe_stages
    from headstart.console import show_log
    from headstart.training.compose import make_data
    from headstart.training.prepare import run_settings, settle_process

    settle_process()
    config = OmegaConf.create(run_settings(config))
    with show_log():
        probes = probe_stages(config, results.path)
    print(f"\n{probes_table(probes)}\n\n{layer_verdict(probes)}", flush=True)
    backbone = str(config.backbone.get("name") or choices["backbone"])
    dataset = str(make_data(config).name)
    folder = results.make(dataset, short_name(backbone), "layers")
    write_atomically(folder / SETTINGS_FILE, OmegaConf.to_yaml(config))
    write_atomically(folder / "layers.csv", probes_csv(probes))
    write_layer_figure(folder, probes, f"{backbone} on {dataset}")
    print(f"written to {folder}")
