"""headstart advise: find the backbone, the stage and the strategy for a data set, before any training."""

import time
from collections.abc import Sequence
from pathlib import Path

from headstart.advice.asked import refuse_idle, split_backbones
from headstart.commands.explain import Parser
from headstart.commands.inspect_layers import probe_settings
from headstart.commands.train import answered
from headstart.files import check_writable
from headstart.settings.identity import make_run_directory, readable_name

FILES = ("advice.json", "candidates.csv", "forecast.csv")
HELP = """headstart advise: find the backbone, the stage and the strategy for a data set, before any training

  headstart advise dataset=image_folder dataset.root=IMAGES
  headstart advise dataset=dtd backbones=[efficientnet_lite0,resnet50] --out ADVICE

It accepts the settings of headstart train for backbone, dataset, features and trainer; backbones= names several.
The images pass through each frozen network once; features are cached.
Every strategy that solves its head (linear_probe, ridge, knn, nearest_centroid) is tried at every stage.
Validation images decide, or folds if these are few and drawn from training images; test images are not used.
Fits on fewer labels give a learning curve, which forecasts the accuracy with 2 and 4 times the labels.
Strategies that train the backbone are not compared.
Files are written to OUTPUT_DIR/DATE/DATASET-advice, or to --out.
"""


def advise(arguments: Sequence[str]) -> int:
    """Try solved strategies on a data set and write the advice; return the exit code.

    The arguments are settings of ``headstart train``, and ``backbones``. Exit codes: 2 for a wrong setting, 130 if
    interrupted.
    """
    return answered(arguments, HELP, _try_and_print)


def _try_and_print(arguments: Sequence[str]) -> None:
    parser = Parser(prog="headstart advise", add_help=False, allow_abbrev=False)
    parser.add_argument("settings", nargs="*")
    parser.add_argument("--out", type=Path)
    options = parser.parse_intermixed_args(list(arguments))
    names, settings = split_backbones(options.settings)
    refuse_idle(settings)
    configs = []
    for name in names:
        config, choices = probe_settings([*settings, f"backbone={name}"] if name else settings, "advise")
        configs.append((choices["backbone"], config))
    output = Path(options.out or str(configs[0][1].output_dir))
    check_writable(output, f"choose another {'--out' if options.out else 'output_dir'}", FILES if options.out else ())
    from headstart.advice.advising import run_advice

    advice = run_advice(configs, settings)
    folder = options.out or make_run_directory(
        output / time.strftime("%Y-%m-%d"), readable_name(advice.target, "advice")
    )
    advice.write(folder)
    print(f"\nwritten to {folder}")
