"""headstart advise: find the backbone, the stage and the strategy for a data set, before any training."""

from collections.abc import Sequence

from headstart.advice.asked import refuse_idle, split_backbones
from headstart.commands.measuring import ResultFolder, probe_settings, settings_and_out
from headstart.commands.train import answered

FILES = ("advice.json", "candidates.csv", "forecast.csv")
HELP = """headstart advise: find the backbone, the stage and the strategy for a data set, before any training

  headstart advise dataset=image_folder dataset.root=IMAGES
  headstart advise dataset=dtd backbones=[efficientnet_lite0,resnet50] --out ADVICE

It accepts the settings of headstart train for backbone, dataset, features and trainer; backbones= names several.
The images pass through each frozen network once; features are cached.
Every strategy that solves its head (linear_probe, ridge, knn, nearest_centroid) is tried,
at every stage and at all stages joined.
Validation images decide, or folds if these are few and drawn from training images; test images are not used.
A strength or number of neighbours is scored on images that did not choose it.
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
    given, out = settings_and_out(arguments, "advise")
    names, settings = split_backbones(given)
    refuse_idle(settings)
    configs = []
    for name in names:
        config, choices = probe_settings([*settings, f"backbone={name}"] if name else settings, "advise")
        configs.append((choices["backbone"], config))
    results = ResultFolder(configs[0][1], out, FILES)
    from headstart.advice.advising import run_advice

    advice = run_advice(configs, settings)
    folder = results.make(advice.target, "advice")
    advice.write(folder)
    print(f"\nwritten to {folder}")
