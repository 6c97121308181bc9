"""Test that wrong settings are refused before torch is imported and before anything is written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, answer_of
from hypothesis import HealthCheck, given
from hypothesis import settings as with_settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from headstart.cli import main
from headstart.data import CsvFile, Digits, ImageFolder
from headstart.errors import ConfigError, DataError, HeadstartError, WeightsError
from headstart.references.computing import REFERENCES as COMPUTED
from headstart.settings.configs import composed
from headstart.settings.early_checks import REFERENCES, check_early, check_settings
from headstart.settings.leaves import is_number, is_whole
from headstart.settings.rules import check_dataset, existing_folder, existing_images, existing_table, existing_weights

WRONG = {
    "seed=one": r"seed=one: expected a whole number",
    "seed=true": r"seed=True: expected a whole number",
    "seeds.head=0.5": r"seeds.head=0.5: expected a whole number",
    "optimizer.lr=0": r"optimizer.lr=0: expected a number above 0",
    "optimizer.lr=null": r"optimizer.lr=None: expected a number above 0",
    "optimizer.lr=nan": r"optimizer.lr=nan: expected a number above 0",
    "+trainer.max_epoch=7": r"There is no setting 'trainer.max_epoch'. Did you mean 'max_epochs'\?",
    "+trainer.min_epochs=11": r"trainer.min_epochs=11 is above trainer.max_epochs=2",
    "+trainer.check_val_every_n_epoch=5": r"have to be 1: validation runs once",
    "+trainer.val_check_interval=0": r"have to be 1: validation runs once",
    "+trainer.fast_dev_run=-1": r"trainer.fast_dev_run=-1: expected false, .* use debug=fast",
    "+trainer.overfit_batches=2": r"trainer.overfit_batches=2: expected 0, .* use limit_train_batches",
    "+trainer.enable_checkpointing=false": r"expected true, as the best epoch is chosen among checkpoints",
    "+trainer.model_registry=[]": r"trainer.model_registry=\[\]: expected a name",
    "+callbacks.mine.patience=5": r"callbacks.mine: expected the path of a class in callbacks.mine._target_",
    "+callbacks.mine._target_=pytorch_lightning.callbacks.LearningRateFinder": r"change nothing .*strategy.lr=auto",
    "+callbacks.mine._target_=pytorch_lightning.callbacks.BatchSizeFinder": r"change nothing .*trainer.auto_batch=true",
    "+trainer.max_steps=7": r"trainer.max_steps: a run is validated after whole epochs; use trainer.max_epochs",
    "optimizer.lr=inf": r"optimizer.lr=inf: expected a number above 0",
    "output_dir=' '": r"output_dir= : expected the path of a folder",
    "trainer.max_epochs=-1": r"trainer.max_epochs=-1: expected a whole number above 0",
    "trainer.max_epochs=1.5": r"trainer.max_epochs=1.5: expected a whole number above 0",
    "trainer.gradient_clip_val=0": r"trainer.gradient_clip_val=0: expected a number above 0",
    "dataset.image_size=0": r"dataset.image_size=0: expected a whole number above 0",
    "dataset.batch_size=null": r"dataset.batch_size=None: expected a whole number above 0",
    "dataset.labels_per_class=0": r"dataset.labels_per_class=0: expected a whole number above 0",
    "dataset.validation_labels_per_class=0": r"dataset.validation_labels_per_class=0: expected a whole number above 0",
    "dataset.balance=weights": r"dataset.balance=weights: expected none, loss or sampler",
    "dataset.balance=true": r"dataset.balance=True: expected none, loss or sampler",
    "dataset.validation_fraction=1": r"dataset.validation_fraction=1: expected a fraction between 0 and 1",
    "dataset.test_fraction=0": r"dataset.test_fraction=0: expected a fraction between 0 and 1",
    "dataset.folds=1": r"dataset.folds=1: expected a whole number above 1",
    "dataset.fold=2": r"dataset.fold=2 needs dataset.folds",
    "dataset.on_error=ignore": r"dataset.on_error=ignore: expected raise or skip",
    "dataset.num_workers=-1": r"dataset.num_workers=-1: expected auto, or a whole number",
    "dataset.root=0": r"dataset.root=0: textures comes with the package and reads no folder",
    "dataset.groups='('": r"dataset.groups=\(: expected a regular expression; missing \)",
    "dataset.crop_fraction=2": r"dataset.crop_fraction=2: expected a fraction above 0 and at most 1",
    "dataset.resize=squash": r"dataset.resize=squash: expected crop, squish or pad. Did you mean 'squish'\?",
    "dataset.bits=0": r"dataset.bits=0: expected a whole number from 1 to 32",
    "references=[raw]": r"There is no reference 'raw'",
    "references=[sift_pyramids]": r"Did you mean 'sift_pyramid'",
    "backbone.weights=gone.pt": r"backbone.weights=gone.pt: there is no such file",
    "allow_targets=mine": r"allow_targets=mine: expected a list of packages",
    "task._target_=mine.Task": r"task._target_=mine.Task: .*add allow_targets=\[mine\]",
}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["strategy=knn", "dataset.balance=sampler"], r"strategy=knn has none: use dataset.balance=loss"),
        (["strategy=layer_transfer", "head.stages=[bottleneck]"], r"choose another strategy"),
        (["strategy=layer_transfer", "head.stages=bottleneck"], r"choose another strategy"),
        (
            ["strategy=linear_probe", "dataset.balance=sampler"],
            r"strategy=linear_probe has none: use dataset.balance=loss",
        ),
        (["strategy=nearest_centroid", "dataset.balance=loss"], r"nearest_centroid takes the mean of each class"),
        (["strategy=ridge", "strategy.refit=yes_please"], r"strategy.refit=yes_please: expected true or false"),
    ],
)
def test_what_classifiers_on_features_do_not_take(settings: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        check_early(composed([*TINY, *settings])[0], settings)


def test_sift_words_predict_one_label() -> None:
    settings = ["references=[sift_pyramid]", "task=regression"]
    sentence = r"^references=\[sift_pyramid\] needs task=classification, not headstart.tasks.Regression; use raw_pixels"
    with pytest.raises(ConfigError, match=sentence):
        check_early(composed([*TINY, *settings])[0], settings)


@pytest.mark.parametrize("setting", WRONG)
def test_one_sentence_and_no_run_directory(setting: str, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = [word for word in TINY if word.split("=")[0] != setting.split("=")[0]]
    assert main(["train", *tiny, setting]) == 2
    said = capsys.readouterr().err
    with pytest.raises(AssertionError, match=WRONG[setting]):
        raise AssertionError(said)
    assert len(said.strip().splitlines()) == 1
    assert said.startswith("headstart: ")
    assert not [path for path in Path().rglob("*") if path.is_file()], "nothing is written"


@pytest.mark.parametrize(
    "arguments",
    [
        ["optimizer.lr=-1"],
        ["dataset=image_folder", "dataset.root=gone"],
        ["strategy._target_=os.system"],
        ["optimizer.lrr=1"],
        ["backbone=timm"],
        ["-m", "seed=one,two"],
    ],
)
def test_without_torch(arguments: list[str]) -> None:
    code = (
        "import sys; from headstart.cli import main\n"
        f"code = main(['train', *{arguments!r}])\n"
        "print(code, 'torch' in sys.modules, 'numpy' in sys.modules)"
    )
    code_, torch, _ = answer_of(code).splitlines()[-1].split()
    assert code_ == ("1" if "-m" in arguments else "2")
    assert torch == "False"


def test_what_is_named_has_to_be_there(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    root = make_folder({"train/red": 1, "train/blue": 1})
    table, weights = tmp_path / "list.csv", tmp_path / "weights.pt"
    for file in (table, weights):
        file.write_text("")
    assert existing_folder(str(root)) == root
    assert existing_table(str(table)) == table
    assert existing_weights(weights) == weights
    with pytest.raises(DataError, match=r"dataset.root=.*image: there is no such folder. Did you mean .*images'\?"):
        existing_folder(str(root)[:-1])
    for name in ("list", "photographs"):  # list.csv is no folder, and no name is like photographs
        with pytest.raises(DataError, match=rf"/{name}: there is no such folder\.$"):
            existing_folder(str(tmp_path / name))
    with pytest.raises(DataError, match=r"list.csv is a file; expected a folder .* use dataset=csv"):
        existing_folder(str(table))
    with pytest.raises(DataError, match=r"images is a folder; .* use dataset=image_folder"):
        existing_table(str(root))
    with pytest.raises(DataError, match=r" is a folder; dataset=csv reads a CSV file: name one, such as list.csv"):
        existing_table(str(tmp_path))
    with pytest.raises(DataError, match=r"There is no file .* Did you mean '.*list.csv'\?"):
        existing_table(str(tmp_path / "lsit.csv"))
    with pytest.raises(DataError, match=r"dataset.pictures=.*list.csv is a file; expected the folder"):
        existing_images(str(table))
    with pytest.raises(DataError, match=r"dataset.pictures=.*pics: there is no such folder"):
        existing_images(str(tmp_path / "pics"))
    with pytest.raises(WeightsError, match="this is a folder"):
        existing_weights(root)
    for place in (existing_folder, existing_table):
        with pytest.raises(ConfigError, match=r"dataset\.root is not set"):
            place(None)


def test_an_own_data_set_has_its_own_rules() -> None:
    settings: Any = OmegaConf.to_container(composed([])[0], resolve=True)
    settings["dataset"] = {"_target_": "mine.Data", "batch_size": "many", "root": "gone"}
    check_settings(settings)
    settings["dataset"]["_target_"] = "headstart.data.Digits"
    with pytest.raises(ConfigError, match="batch_size=many"):
        check_settings(settings)


def test_what_is_not_given_is_not_missed() -> None:
    check_dataset({})
    check_early(composed([])[0], [])


def test_a_folder_that_is_not_utf_8_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / b"caf\xe9".decode(errors="surrogateescape")
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert main(["train", *TINY]) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert "TensorBoard needs a path in UTF-8" in sentence
    assert "caf\\xe9/runs' is not; choose another folder." in sentence
    assert not list(folder.rglob("run.json"))


@pytest.mark.parametrize("experiment", ["demo", "demo_digits"])
def test_shipped_experiments_pass(experiment: str) -> None:
    assert check_early(composed([f"experiment={experiment}"])[0], []) == []


def test_references_are_those_that_can_be_computed() -> None:
    assert set(REFERENCES) == set(COMPUTED)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 9),
    st.floats(-1, 2),
    st.text(max_size=4),
    st.just("auto"),
    st.just("skip"),
    st.just("pad"),
)
KEYS = ["image_size", "batch_size", "labels_per_class", "validation_fraction", "test_fraction", "folds", "fold",
        "num_workers", "on_error", "crop_fraction", "test_split", "balance", "validation_labels_per_class",
        "groups", "resize", "bits"]  # fmt: skip


@with_settings(suppress_health_check=[HealthCheck.too_slow])  # other tests may run beside it
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4))
def test_the_early_check_and_the_data_set_agree(settings: dict[str, Any]) -> None:
    def answer(check: Callable[[], Any]) -> str | None:
        try:
            check()
        except HeadstartError as error:
            return str(error)
        return None

    early = answer(lambda: check_dataset(settings))
    assert answer(lambda: Digits(**settings)) == early
    if early is None:
        assert is_whole(settings.get("batch_size", 32))
        assert is_number(settings.get("test_fraction", 0.2))


def test_folders_and_lists_are_looked_up_by_the_same_rule(tmp_path: Path) -> None:
    for made, place in ((ImageFolder, existing_folder), (CsvFile, existing_table)):
        gone = str(tmp_path / "gone")
        with pytest.raises(DataError) as early:
            place(gone)
        with pytest.raises(DataError) as late:
            made(root=gone).collect()
        assert str(early.value) == str(late.value)
