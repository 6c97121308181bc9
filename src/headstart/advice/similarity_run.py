"""Carry out headstart similarity: read the images, measure, print and write."""

from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from headstart.advice.reading import ImagesToMeasure, StageReader, read_data_set, read_folder
from headstart.advice.similar import Similarity, measure_similarity
from headstart.advice.similarity_tables import measures_table, similarity_json, stages_table, title_of
from headstart.backbones import Backbone
from headstart.console import show_log
from headstart.files import write_atomically
from headstart.records.names import SETTINGS_FILE
from headstart.reports.renderers.csv import csv_table
from headstart.reports.renderers.text import text_table
from headstart.training import compose
from headstart.training.prepare import run_settings, settle_process


@dataclass(frozen=True)
class SimilarityRun:
    """The measures of a target, and the settings that gave them."""

    config: DictConfig
    found: Similarity

    @property
    def target(self) -> str:
        """Return the name of the target."""
        return self.found.target

    @property
    def backbone(self) -> str:
        """Return the name of the backbone."""
        return self.found.backbone

    def write(self, folder: Path) -> None:
        """Write settings, JSON and CSV files to a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / SETTINGS_FILE, OmegaConf.to_yaml(self.config))
        write_atomically(folder / "similarity.json", similarity_json(self.found))
        write_atomically(folder / "similarity.csv", csv_table(measures_table(self.found)))
        write_atomically(folder / "stages.csv", csv_table(stages_table(self.found)))


def run_similarity(
    config: DictConfig, source_config: DictConfig | None, folders: tuple[Path | None, Path | None]
) -> SimilarityRun:
    """Measure a target, print the tables, and return what was measured.

    ``folders`` are those of target and source; None stands for the data set of the settings.
    """
    settle_process()
    config = OmegaConf.create(run_settings(config))

    def images(settings: DictConfig, folder: Path | None, backbone: Backbone) -> ImagesToMeasure:
        return read_folder(folder, settings, backbone) if folder else read_data_set(settings, backbone)

    with show_log():
        backbone = compose.make_backbone(config)
        target = images(config, folders[0], backbone)
        source = None
        if source_config is not None:
            source = images(OmegaConf.create(run_settings(source_config)), folders[1], backbone)
        found = measure_similarity(StageReader(config, backbone, target.signature), target, source)
    tables = "\n\n".join(text_table(table) for table in (stages_table(found), measures_table(found)))
    print(f"\n{title_of(found)}\n\n{tables}", flush=True)
    for note in found.notes:
        print(f"\n{note}")
    return SimilarityRun(config, found)
