"""Test that settings from remembered files equal those that Hydra reads and merges anew."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from headstart.config_memory import remembering_choices
from headstart.settings.configs import conf_folder

CHOICES = [
    [],
    ["strategy=lora", "seed=3"],
    ["strategy=lora", "seed=4", "strategy.rank=2"],
    ["augmentation=[augmix,mixup]", "dataset={name: a}"],
    ["experiment=strategies", "~logger", "+trainer.new=1"],
    ["experiment=strategies", "scale=full", "trainer.max_epochs=3"],
    ["hydra/launcher=joblib", "~callbacks"],
]


def settings(arguments: list[str], folder: Path, name: str = "train") -> DictConfig:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(folder), version_base="1.3"):
        return compose(name, arguments, return_hydra_config=True)


@pytest.mark.parametrize("arguments", CHOICES, ids=" ".join)
def test_settings_equal_hydras(arguments: list[str]) -> None:
    expected = settings(arguments, conf_folder())
    with remembering_choices():
        for _ in range(2):
            found = settings(arguments, conf_folder())
            assert OmegaConf.to_container(found) == OmegaConf.to_container(expected)
            assert OmegaConf.is_struct(found)
            OmegaConf.set_struct(found, False)
            found.dataset.image_size = "changed"  # changes no later settings


def test_files_of_chosen_groups_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    plain = OmegaConf.load
    monkeypatch.setattr(OmegaConf, "load", lambda file: loaded.append(file.name) or plain(file))
    with remembering_choices():
        settings(["strategy=lora"], conf_folder())
        loaded.clear()
        settings(["strategy=lora", "seed=5", "strategy.rank=3"], conf_folder())
        assert not loaded


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/small.yaml").write_text("width: 1\n")
    (tmp_path / "train.yaml").write_text("defaults: [_self_, model: small]\n")
    with remembering_choices():
        assert settings([], tmp_path).model.width == 1
        (tmp_path / "model/small.yaml").write_text("width: 20\n")
        assert settings([], tmp_path).model.width == 20
        (tmp_path / "model/large.yaml").write_text("width: 300\n")
        assert settings(["model=large"], tmp_path).model.width == 300
        (tmp_path / "model/large.yaml").unlink()
        with pytest.raises(HydraException, match="large"):
            settings(["model=large"], tmp_path)


def test_a_wrong_choice_is_refused_each_time() -> None:
    with remembering_choices():
        for _ in range(2):
            with pytest.raises(HydraException, match="strategy/nope"):
                settings(["strategy=nope"], conf_folder())
