"""headstart inspect augmentation: draw augmented training images in a grid, and list the steps in a table."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from headstart.commands.inspect import reason
from headstart.commands.train import answered
from headstart.errors import ConfigError
from headstart.files import check_writable, write_atomically
from headstart.records.names import SETTINGS_FILE
from headstart.settings.configs import composed
from headstart.settings.early_checks import check_settings, named_well
from headstart.settings.effects import augmentation_names
from headstart.settings.identity import make_run_directory, readable_name
from headstart.tables import table_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from headstart.augmentations import Augmentation
    from headstart.data import ImageData

ROWS, COLUMNS = 6, 7  # images, and augmented versions of each
INCH = 1.0  # side of an image in the figure
HELP = """headstart inspect augmentation: draw augmented training images in a grid

  headstart inspect augmentation augmentation=augmix
  headstart inspect augmentation 'augmentation=[crop_resize,mixup]' dataset=image_folder dataset.root=IMAGES
  headstart inspect augmentation augmentation=augmix augmentation.augmix.jsd=12 augmentation.augmix.severity=10

It accepts every setting of headstart train, and needs no weights.
Each row shows a training image, and then its views in the first epochs of a run with these settings.
Mixes combine the images of different rows.
The table lists the steps in their order, with their parameters.
Grid and table are written to OUTPUT_DIR/DATE/DATASET-augmentation.
"""


@dataclass(frozen=True)
class DrawnViews:
    """Images before and after augmentation, uint8."""

    plain: "NDArray"  # (rows, S, S, 3)
    views: "NDArray"  # (rows, columns, S, S, 3)
    titles: list[str]  # of the columns
    images_a_second: float  # augmented by one process


def inspect_augmentation(arguments: Sequence[str]) -> int:
    """Draw an augmentation and print its table; return the exit code.

    The arguments are settings of ``headstart train``. Exit codes: 2 for a wrong setting, 130 if interrupted.
    """
    return answered(arguments, HELP, lambda: _draw_and_print(arguments), lambda error: reason(error, arguments))


def _draw_and_print(arguments: Sequence[str]) -> None:
    config, _ = composed([*arguments, "backbone.weights=null"])
    config = named_well(config, arguments)
    check_settings(OmegaConf.to_container(config))  # type: ignore[arg-type]
    if not augmentation_names(config.augmentation):
        raise ConfigError("augmentation=none changes nothing; choose another, such as augmentation=crop_resize.")
    output = Path(str(config.output_dir))
    check_writable(output, "choose another output_dir")
    from headstart.augmentations import ManifoldMixup
    from headstart.training import compose
    from headstart.training.augmentation_plan import STEPS, augmentation_steps
    from headstart.training.console import quieten
    from headstart.training.prepare import settled

    quieten()
    config = OmegaConf.create(settled(config))
    augmentation = compose.make_augmentation(config)
    data, backbone = compose.make_data(config), compose.make_backbone(config)
    data.prepare(backbone.preprocessing, augmentation.views)
    backbone = compose.make_task(config, data).head.read(backbone)
    augmentation.settle(backbone.stage_names, backbone.taps[0])
    drawn = draw_views(data, augmentation, int(config.seeds.augmentation))
    on_device = compose.augments_on_device(config, _device(config))
    table = table_text(STEPS, augmentation_steps(config, augmentation, on_device), [False] * len(STEPS))
    print(table, flush=True)
    for mix in augmentation.mixes:
        if isinstance(mix, ManifoldMixup):
            print(f"manifold_mixup mixes at {', '.join(mix.stages or ())}; the grid shows mixes of images only")
    print(f"\n{drawn.images_a_second:,.0f} images per second in one process, without decoding")
    name = str(data.name)
    size = backbone.preprocessing.image_size
    title = f"{name}, {size} px: {' > '.join(augmentation.names)}"
    folder = make_run_directory(output / time.strftime("%Y-%m-%d"), readable_name(name, "augmentation"))
    write_atomically(folder / SETTINGS_FILE, OmegaConf.to_yaml(config))
    write_atomically(folder / "augmentation.txt", f"{table}\n")
    for file, content in _files(draw(drawn, title)).items():
        write_atomically(folder / file, content)
    print(f"written to {folder}")


def draw_views(data: "ImageData", augmentation: "Augmentation", seed: int) -> DrawnViews:
    """Return the first images of the first batch, and their augmented versions in the first epochs."""
    import numpy as np

    first = next(iter(data.train_batches()))
    positions = [position for _, position in first[:ROWS]]
    branches, size = data.train.branches, data.train.size
    plain = data.train.without_views().view_tensor([(0, position) for position in positions])
    data.train.source.load("images")
    columns, titles, start, made = [], [], time.perf_counter(), 0
    for epoch in range(max(1, COLUMNS // branches)):
        images = data.train.view_tensor([(epoch, position) for position in positions])
        made += len(images)
        views = images.permute(0, 2, 3, 1).numpy().reshape(branches, len(positions), size, size, -1)
        columns += list(views)
        names = [f", {number}" for number in range(1, branches + 1)] if branches > 1 else [""]
        titles += [f"epoch {epoch + 1}{name}" for name in names]
    rate = made / (time.perf_counter() - start)
    if augmentation.mixes:
        columns = [_mixed(column, augmentation, seed, number) for number, column in enumerate(columns)]
    shown = data.signature.drawn
    return DrawnViews(shown(plain.permute(0, 2, 3, 1).numpy()), shown(np.stack(columns, axis=1)), titles, rate)


def _mixed(images: "NDArray", augmentation: "Augmentation", seed: int, column: int) -> "NDArray":
    """Return images (N, S, S, C) as floats, after all mixes that work on images."""
    import torch

    from headstart.seeds import generator

    x, rng = torch.from_numpy(images).permute(0, 3, 1, 2).float(), generator("mix", seed, column, 0)
    for mix in augmentation.mixes:
        mixing = mix.draw(rng, len(x), (x.shape[-2], x.shape[-1]))
        x = mixing.inputs(x) if mixing.stage is None else x
    return x.permute(0, 2, 3, 1).numpy()


def _device(config: DictConfig) -> str:
    """Return the type of device on which a run with these settings would train here."""
    import pytorch_lightning as pl

    accelerator = str(config.trainer.get("accelerator", "auto"))
    trainer = pl.Trainer(accelerator=accelerator, devices=1, logger=False, enable_checkpointing=False)
    return str(trainer.strategy.root_device.type)


def draw(drawn: DrawnViews, title: str) -> "Figure":
    """Draw a row per image: the image, and then its augmented versions."""
    from matplotlib.figure import Figure

    rows, columns = drawn.views.shape[:2]
    figure = Figure(figsize=(INCH * (columns + 1.1), INCH * rows + 0.6), layout="constrained")
    figure.suptitle(title, fontsize=9)
    grid = figure.subplots(rows, columns + 1, squeeze=False)
    for row in range(rows):
        for column in range(columns + 1):
            axes = grid[row, column]
            axes.imshow(drawn.plain[row] if column == 0 else drawn.views[row, column - 1], interpolation="nearest")
            axes.set_axis_off()
            if row == 0:
                axes.set_title("original" if column == 0 else drawn.titles[column - 1], fontsize=8)
    return figure


def _files(figure: "Figure") -> dict[str, bytes]:
    from headstart.analysis.explain.drawing import files_of, style

    with style():
        return files_of(figure, "augmentation")
