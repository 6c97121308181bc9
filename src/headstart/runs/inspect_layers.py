"""headstart inspect layers: accuracy against depth, a linear probe a stage; torch is loaded for that alone."""

import csv
import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from headstart.errors import ConfigError
from headstart.files import check_writable, write_atomically
from headstart.runs.command import answered
from headstart.runs.configs import composed
from headstart.runs.early_checks import named_well
from headstart.runs.identity import make_run_directory, readable_name
from headstart.runs.inspect import reason
from headstart.settings import augmentation_names
from headstart.sources import short_name
from headstart.tables import table_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from headstart.runs.layer_probes import StageProbe

JOINED = "all joined"
STRATEGY = "linear_probe"
LIMITS = ("limit_train_batches", "limit_val_batches", "limit_test_batches")
VALIDATION, TEST, CHOSEN = "#0072B2", "#E69F00", "#000000"  # of Okabe & Ito's palette; the first two differ in grey
HELP = """headstart inspect layers: which stage of a network transfers best to a data set

  headstart inspect layers backbone=resnet50 dataset=dtd
  headstart inspect layers dataset=image_folder dataset.root=PICTURES head.pooling=gem strategy.l2=[10,1,0.1]

It takes every setting of headstart train. The pictures go through the frozen network once; a linear classifier is
fitted to the average-pooled output of each stage (of the last one, to the network's own features), and one to all of
them joined. The L2 strength of each and the best stage are chosen on validation. Features are kept: a second call takes
seconds. Table, figure and settings are written to OUTPUT_DIR/DATE/DATASET-BACKBONE-layers.

  head.stages=[stage2,stage3]  only these stages
  head.pooling=avg|max|avgmax|gem (with head.gem_p) for every stage, instead of the above
  strategy.l2, strategy.loss, strategy.batch_norm  as for strategy=linear_probe
"""


def inspect_layers(arguments: Sequence[str]) -> int:
    """Probe every stage of the backbone that the arguments, settings of ``headstart train``, describe; the exit code.

    2: a wrong setting, told in one sentence; 130: interrupted.
    """
    return answered(arguments, HELP, lambda: _probe_and_tell(arguments), lambda error: reason(error, arguments))


def _probe_and_tell(arguments: Sequence[str]) -> None:
    config, choices = _settings(arguments)
    output = Path(str(config.output_dir))
    check_writable(output, "choose another output_dir")
    from headstart.runs.compose import make_data
    from headstart.runs.console import quieten, talking
    from headstart.runs.layer_probes import probe_stages
    from headstart.runs.run import settle_on_the_cpu, settled

    quieten()
    settle_on_the_cpu()
    config = OmegaConf.create(settled(config))
    with talking():
        probes = probe_stages(config, output)
    print(f"\n{probes_table(probes)}\n\n{verdict(probes)}", flush=True)
    backbone = str(config.backbone.get("name") or choices["backbone"])
    dataset = str(make_data(config).name)
    folder = make_run_directory(
        output / time.strftime("%Y-%m-%d"), readable_name(dataset, short_name(backbone), "layers")
    )
    write_atomically(folder / "config.yaml", OmegaConf.to_yaml(config))
    write_atomically(folder / "layers.csv", probes_csv(probes))
    write_figure(folder, probes, f"{backbone} on {dataset}")
    print(f"written to {folder}")


def _settings(arguments: Sequence[str]) -> tuple[DictConfig, dict[str, str]]:
    """The settings of a run of strategy=linear_probe, and the names of the chosen groups.

    Raises ConfigError for what probing every stage leaves no room for.
    """
    named = any(argument.split("=")[0].lstrip("+~") == "strategy" for argument in arguments)
    config, choices = composed([*arguments] if named else [*arguments, f"strategy={STRATEGY}"])
    if choices.get("strategy") != STRATEGY:
        raise ConfigError(
            f"strategy={choices.get('strategy')}: inspect layers fits linear probes; leave it out, or use"
            f" strategy={STRATEGY}."
        )
    if names := augmentation_names(config.get("augmentation")):
        raise ConfigError(
            f"augmentation={','.join(names)}: inspect layers passes over the pictures once, as"
            " they are; use augmentation=none."
        )
    for name in LIMITS:
        if name in config.trainer:
            raise ConfigError(
                f"trainer.{name}: inspect layers looks at all pictures; leave it out, or take fewer with"
                " dataset.labels_per_class."
            )
    config = named_well(config, arguments)
    # Neither epochs nor a run directory: nothing to log, nobody to call back.
    config.logger, config.callbacks = {}, {}
    whole = {"_target_": "headstart.tasks.LinearHead", "stages": None}
    config.head = OmegaConf.merge(whole, config.get("head") or {})
    return config, choices


def best_stage(probes: "Sequence[StageProbe]") -> "StageProbe":
    """The stage with the best validation accuracy, then the lowest validation loss."""
    stages = [probe for probe in probes if probe.stage is not None]
    return max(stages, key=lambda probe: (probe.validation_accuracy, -probe.validation_loss))


def verdict(probes: "Sequence[StageProbe]") -> str:
    """Which stage transfers best, in a line."""
    best = best_stage(probes)
    return (
        f"{best.stage} transfers best: validation {100 * best.validation_accuracy:.1f} %,"
        f" test {100 * best.test_accuracy:.1f} %"
    )


def probes_table(probes: "Sequence[StageProbe]") -> str:
    """A row a stage, for people."""
    header = ["stage", "features", "l2", "validation accuracy", "test accuracy"]
    rows = [
        [
            probe.stage or JOINED,
            str(probe.features),
            f"{probe.l2:g}",
            f"{100 * probe.validation_accuracy:.1f} %",
            f"{100 * probe.test_accuracy:.1f} %",
        ]
        for probe in probes
    ]
    return table_text(header, rows, [name != "stage" for name in header])


def probes_csv(probes: "Sequence[StageProbe]") -> str:
    """A row a stage; accuracies as fractions of 1, the loss in nats."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["stage", "features", "l2", "validation/accuracy", "validation/loss", "test/accuracy"])
    for probe in probes:
        scores = [probe.validation_accuracy, probe.validation_loss, probe.test_accuracy]
        table.writerow([probe.stage or JOINED, probe.features, probe.l2, *scores])
    return text.getvalue()


def write_figure(folder: Path, probes: "Sequence[StageProbe]", title: str) -> None:
    """layers.png and layers.pdf in the folder."""
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = draw(probes, title)
        for kind, metadata in (("png", {}), ("pdf", {"CreationDate": None})):
            picture = io.BytesIO()
            figure.savefig(picture, format=kind, dpi=150, metadata=metadata)
            write_atomically(folder / f"layers.{kind}", picture.getvalue())


def draw(probes: "Sequence[StageProbe]", title: str) -> "Figure":
    """Accuracy against depth; what all stages give together as level lines."""
    from matplotlib.figure import Figure

    stages = [probe for probe in probes if probe.stage is not None]
    figure = Figure(figsize=(max(6.4, 2.6 + 0.7 * len(stages)), 3.8), layout="constrained")
    axes = figure.subplots()
    _draw_line(axes, "validation", VALIDATION, "-", "o", [probe.validation_accuracy for probe in stages])
    _draw_line(axes, "test", TEST, "--", "s", [probe.test_accuracy for probe in stages])
    for probe in probes:
        if probe.stage is None:
            axes.axhline(100 * probe.validation_accuracy, color=VALIDATION, ls=":", lw=1.4, label="validation, joined")
            axes.axhline(100 * probe.test_accuracy, color=TEST, ls="-.", lw=1.4, label="test, joined")
    best = best_stage(probes)
    axes.plot(
        stages.index(best), 100 * best.validation_accuracy,
        ls="", marker="o", ms=12, mfc="none", mec=CHOSEN, mew=1.4, label=f"chosen: {best.stage}",
    )  # fmt: skip
    axes.set(title=title, xlabel="stage, from the input upward", ylabel="accuracy of a linear probe (%)")
    axes.set_xticks(range(len(stages)), [str(probe.stage) for probe in stages], rotation=30 if len(stages) > 8 else 0)
    axes.margins(x=0.06, y=0.12)
    axes.grid(axis="y", color="#E5E5E5")
    axes.set_axisbelow(True)
    figure.legend(frameon=False, fontsize=8, loc="outside right center")
    return figure


def _draw_line(axes: "Axes", label: str, colour: str, style: str, marker: str, shares: Sequence[float]) -> None:
    axes.plot(
        range(len(shares)), [100 * share for share in shares],
        color=colour, ls=style, marker=marker, ms=5, lw=1.8, label=label,
    )  # fmt: skip
