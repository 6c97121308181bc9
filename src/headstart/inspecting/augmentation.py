"""headstart inspect augmentation: draw augmented training images in a grid, and list the steps in a table."""

from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

from headstart.commands.measuring import ResultFolder
from headstart.commands.train import answered
from headstart.errors import ConfigError
from headstart.files import write_atomically
from headstart.records.names import SETTINGS_FILE
from headstart.settings.configs import composed
from headstart.settings.early_checks import check_settings, resolved_and_checked
from headstart.settings.effects import augmentation_names
from headstart.tables import table_text

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


def inspect_augmentation(arguments: Sequence[str]) -> int:
    """Draw an augmentation and print its table; return the exit code.

    The arguments are settings of ``headstart train``. Exit codes: 2 for a wrong setting, 130 if interrupted.
    """
    return answered(arguments, HELP, _draw_and_print)


def _draw_and_print(arguments: Sequence[str]) -> None:
    config, _ = composed([*arguments, "backbone.weights=null"])
    config = resolved_and_checked(config, arguments)
    check_settings(OmegaConf.to_container(config))  # type: ignore[arg-type]
    if not augmentation_names(config.augmentation):
        raise ConfigError("augmentation=none changes nothing; choose another, such as augmentation=crop_resize.")
    results = ResultFolder(config)
    from headstart.analysis.augmented_images import draw_views, grid_files
    from headstart.augmentations import ManifoldMixup
    from headstart.training import compose
    from headstart.training.augmentation_plan import STEP_COLUMNS, augmentation_steps
    from headstart.training.prepare import run_settings, settle_process

    settle_process()
    config = OmegaConf.create(run_settings(config))
    augmentation = compose.make_augmentation(config)
    data, backbone = compose.make_data(config), compose.make_backbone(config)
    data.prepare(backbone.preprocessing, augmentation.views)
    backbone = compose.make_task(config, data).head.read(backbone)
    augmentation.settle(backbone.stage_names, backbone.taps[0])
    drawn = draw_views(data, augmentation, int(config.seeds.augmentation))
    on_device = compose.augments_on_device(config, _device(config))
    table = table_text(STEP_COLUMNS, augmentation_steps(config, augmentation, on_device), [False] * len(STEP_COLUMNS))
    print(table, flush=True)
    for mix in augmentation.mixes:
        if isinstance(mix, ManifoldMixup):
            print(f"manifold_mixup mixes at {', '.join(mix.stages or ())}; the grid shows mixes of images only")
    print(f"\n{drawn.images_a_second:,.0f} images per second in one process, without decoding")
    name = str(data.name)
    size = backbone.preprocessing.image_size
    title = f"{name}, {size} px: {' > '.join(augmentation.names)}"
    folder = results.make(name, "augmentation")
    write_atomically(folder / SETTINGS_FILE, OmegaConf.to_yaml(config))
    write_atomically(folder / "augmentation.txt", f"{table}\n")
    for file, content in grid_files(drawn, title).items():
        write_atomically(folder / file, content)
    print(f"written to {folder}")


def _device(config: DictConfig) -> str:
    """Return the type of device on which a run with these settings would train here."""
    import pytorch_lightning as pl

    accelerator = str(config.trainer.get("accelerator", "auto"))
    trainer = pl.Trainer(accelerator=accelerator, devices=1, logger=False, enable_checkpointing=False)
    return str(trainer.strategy.root_device.type)
