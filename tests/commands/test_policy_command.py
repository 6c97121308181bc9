"""Test headstart policy: it writes a file that a run can use, and refuses wrong settings in one sentence."""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import SMALLEST, TINY, answer_of, runs_below

from headstart.augmentations.learned.policy import OperationChoice, Policy, read_policy, write_policy
from headstart.augmentations.learned.search import SearchSettings
from headstart.cli import main
from headstart.commands.policy import both_sides, search_settings
from headstart.settings.configs import composed

SMALL = [
    "dataset.counts=[6,4,4]",
    "policy.epochs=2",
    "policy.batches=2",
    "policy.batch_size=8",
    "policy.measure_steps=2",
]
SMALL += ["policy.operations=[rotate,brightness,invert,identity]", "policy.image_size=12"]


def test_a_policy_is_written_repeated_and_trained_with(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", *SMALL]) == 0
    output = capsys.readouterr().out
    assert (
        "textures: searching a policy that makes 72 training images like 48 validation images, at 12 x 12 pixels"
        in output
    )
    assert "epoch 1 of 2: distance " in output
    assert "epoch 2 of 2: distance " in output
    policy = read_policy("policy.json")
    for name, share in policy.use().items():
        row = next(line for line in output.splitlines() if line.split()[:1] == [name])
        assert abs(float(row.split()[1]) / 100 - share) < 0.01

    sentence = policy.provenance
    assert len(sentence["dataset_fingerprint"]) == 64
    assert sentence["settings"]["epochs"] == 2
    assert sentence["seed"] == 0
    assert set(sentence["distance"]) == {"before", "after"}
    assert main(["policy", *SMALL, "policy.output=deep/again.json"]) == 0
    assert Path("deep/again.json").read_bytes() == Path("policy.json").read_bytes()
    assert main(["policy", *SMALL, "policy.output=other.json", "seed=1"]) == 0
    assert read_policy("other.json").sub_policies != policy.sub_policies


def test_a_run_trains_with_a_policy(capsys: pytest.CaptureFixture[str]) -> None:
    write_policy(Path("a.json"), Policy((((OperationChoice("rotate", 1.0, 1.0, 20.0),),),)))
    fast = [*TINY, *SMALLEST, "strategy=finetune_all", "logger=csv", "trainer.max_epochs=1", "augmentation=learned"]
    assert main(["train", *fast, "augmentation.policy=a.json", "output_dir=o"]) == 0
    (run,) = runs_below(Path("o"))
    assert run["status"] == "finished"
    assert "learned" in run["augmentation"]
    capsys.readouterr()
    assert main(["train", *fast, "augmentation.policy=c.json"]) == 2
    assert "augmentation.policy=c.json: there is no such file" in capsys.readouterr().err
    assert main(["train", *fast]) == 2
    assert "augmentation.policy is not set" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["policy.epochs=0"], "policy.epochs=0: expected a whole number above 0"),
        (["policy.epoch=1"], "no setting 'policy.epoch'. Did you mean 'policy.epochs'"),
        (["+policy.epoch=1"], "no setting 'policy.epoch'. Did you mean 'epochs'"),
        (["backbone=resnet18"], "no setting 'backbone'. Choose one of: dataset"),
        (["policy.real=test"], "policy.real=test: expected validation or train"),
        (["policy.operations=rotate"], "policy.operations=rotate: expected a list"),
        (["policy.operations=[rotat,invert]"], "no operation 'rotat'. Did you mean 'rotate'"),
        (["policy.image_size=4"], "policy.image_size=4: expected a whole number of 8 or more"),
        (["policy.output=."], "policy.output=. is a folder"),
        (["policy.output=there/is/a_file/p.json"], "Nothing can be written below 'there/is/a_file'"),
        (["seed=a"], "policy.seed=a: expected a whole number"),
        (["seeds.split=a"], "seeds.split=a: expected a whole number"),
        (["dataset=textres"], "no dataset 'textres'. Did you mean 'textures'"),
        (["dataset=image_folder", "dataset.root=gone"], "there is no such folder"),
        (["dataset._target_=os.system"], "a config file may only name classes"),
        (["policy.lr=1,2"], "one value for each setting"),
        (["--now"], "'--now' is not a setting"),
    ],
)
def test_what_is_refused(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("there/is").mkdir(parents=True)
    Path("there/is/a_file").touch()
    plain = [one for one in SMALL if not one.startswith("dataset") or not any("dataset=" in word for word in arguments)]
    assert main(["policy", *plain, *arguments]) == 2
    output = capsys.readouterr().err
    assert re.search(sentence, output), output
    assert len(output.strip().splitlines()) == 1
    assert not Path("policy.json").exists()


class Ramp:
    """Images whose pixels hold their position."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def without_views(self) -> "Ramp":
        return self

    def __getitems__(self, positions: list[int]) -> Any:
        numbers = torch.tensor(positions)
        return numbers.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 8, 8), numbers % 3, numbers


class Data:
    """A data set whose test images must not be read."""

    name = "ramp"
    train, validation = Ramp(20), Ramp(9)

    @property
    def test(self) -> None:
        raise AssertionError("test images are not for searching")


def test_which_images_are_compared() -> None:
    data: Any = Data()
    train, real = both_sides(data, "validation", 100, 0)
    assert (len(train.images), len(real.images)) == (20, 9)
    first, second = both_sides(data, "train", 100, 0)
    halves = [sorted(part.images[:, 0, 0, 0].tolist()) for part in (first, second)]
    assert sorted(halves[0] + halves[1]) == list(range(20)), "each training image on one side"
    few, _ = both_sides(data, "validation", 5, 0)
    assert len(set(few.images[:, 0, 0, 0].tolist())) == 5
    other, _ = both_sides(data, "validation", 5, 1)
    assert not torch.equal(few.images, other.images)


def test_settings_are_those_of_the_config() -> None:
    config, _ = composed([], "policy")
    assert search_settings(config) == SearchSettings(), "the defaults stand in two places"
    assert set(asdict(SearchSettings())) <= set(config.policy)


def test_help_and_settings_need_no_torch() -> None:
    code = "import sys; from headstart.cli import main; main(['policy', *{}]); print('torch' in sys.modules)"
    for arguments in (["--help"], ["--cfg", "job"]):
        assert answer_of(code.format(arguments)).strip().endswith("False")


def test_the_settings_shown_are_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "seed=3", "--cfg", "job"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["seed"] == 3
    assert shown["policy"]["real"] == "validation"


def test_the_file_says_what_it_is() -> None:
    assert main(["policy", *SMALL, "policy.real=train"]) == 0
    content = json.loads(Path("policy.json").read_text())
    assert content["schema"] == 1
    assert content["provenance"]["real"] == "train"
    assert content["provenance"]["pictures"] == {"train": 36, "real": 36}
