"""headstart advise: find the backbone, the stage and the strategy for a data set, before any training."""

from collections.abc import Sequence

from omegaconf import DictConfig

from headstart.advice.asked import (
    OF_TRAINING,
    AskedBackbone,
    refuse_idle,
    split_backbones,
    split_trained,
    without_training,
)
from headstart.commands.measuring import ResultFolder, probe_settings, settings_and_out
from headstart.commands.train import answered
from headstart.settings.configs import composed
from headstart.settings.early_checks import resolved_and_checked

FILES = ("advice.json", "candidates.csv", "forecast.csv")
ESTIMATED = "finetune_all"  # the strategy whose time is estimated if none is trained
HELP = """headstart advise: find the backbone, the stage and the strategy for a data set, before any training

  headstart advise dataset=image_folder dataset.root=IMAGES
  headstart advise dataset=dtd backbones=[efficientnet_lite0,resnet50] --out ADVICE
  headstart advise dataset=dtd trained=[finetune_all,lp_ft] trainer.max_epochs=5

It accepts the settings of headstart train for backbone, dataset, features and trainer; backbones= names several.
The images pass through each frozen network once; features are cached.
Every strategy that solves its head (linear_probe, ridge, knn, nearest_centroid) is tried,
at every stage and at all stages joined.
Validation images decide, or folds if these are few and drawn from training images; test images are not used.
A strength, number of neighbours or epoch is scored on images that did not choose it.
Fits on fewer labels give a learning curve, which forecasts the accuracy with 2 and 4 times the labels.

trained= names strategies that train by gradient steps. Each is trained once a fold, with the backbone of the best
solved candidate and the settings of a run: augmentation, strategy.lr, optimizer and trainer.max_epochs apply to it.
Without it, the time that finetune_all would take is estimated.
Files are written to OUTPUT_DIR/DATE/DATASET-advice, or to --out.
"""


def advise(arguments: Sequence[str]) -> int:
    """Try strategies on a data set and write the advice; return the exit code.

    The arguments are settings of ``headstart train``, ``backbones`` and ``trained``. Exit codes: 2 for a wrong setting,
    130 if interrupted.
    """
    return answered(arguments, HELP, _try_and_print)


def _try_and_print(arguments: Sequence[str]) -> None:
    given, out = settings_and_out(arguments, "advise")
    names, settings = split_backbones(given)
    trained, settings = split_trained(settings)
    refuse_idle(settings, OF_TRAINING if trained else ())
    asked = []
    for name in names:
        own = [*settings, f"backbone={name}"] if name else settings
        config, choices = probe_settings(without_training(own) if trained else own, "advise")
        asked.append(
            AskedBackbone(
                choices["backbone"], config, {one: _training_settings(own, one) for one in trained or [ESTIMATED]}
            )
        )
    results = ResultFolder(asked[0].solved, out, FILES)
    from headstart.advice.advising import run_advice

    advice = run_advice(asked, settings, bool(trained))
    folder = results.make(advice.target, "advice")
    advice.write(folder)
    print(f"\nwritten to {folder}")


def _training_settings(arguments: Sequence[str], strategy: str) -> DictConfig:
    """Return the settings of a run with a strategy, on one device and without loggers."""
    config = resolved_and_checked(composed([*arguments, f"strategy={strategy}"])[0], arguments)
    config.logger, config.trainer.devices = {}, 1
    config.trainer.pop("strategy", None)
    return config
