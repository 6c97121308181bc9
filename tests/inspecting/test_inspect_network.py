"""Test the tables of headstart inspect."""

import re
from contextlib import redirect_stdout
from io import StringIO

import pytest
import torch
from conftest import answer_of

from headstart.cli import main
from headstart.inspecting.network import amount
from headstart.settings.configs import choices
from headstart.tables import share_text

SMALL = ["backbone=resnet18", "dataset.image_size=32"]
STAGES = ["stem", "stage1", "stage2", "stage3", "stage4"]


@pytest.fixture(scope="module")
def printed() -> str:
    text = StringIO()
    with redirect_stdout(text):
        assert main(["inspect", *SMALL, "strategy=finetune_upper", "strategy.stages=1"]) == 0
    return text.getvalue()


def rows(text: str) -> dict[str, list[str]]:
    """Return the cells of each line by the first cell."""
    lines = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    return {line[0]: line[1:] for line in lines}


def test_the_anatomy(printed: str) -> None:
    assert "resnet18: one image of 32 x 32 pixels" in printed
    table = rows(printed.split("What each strategy")[0])
    assert table["stage"] == ["output", "stride", "receptive field", "parameters", "multiply-adds"]
    assert table["stem"] == ["64 x 8 x 8", "4", "11", "9,536", "2.41 M"]
    assert table["stage4"] == ["512 x 1 x 1", "32", "435", "8,393,728", "8.39 M"]
    assert table["pooling"] == ["512", "–", "whole image", "–", "–"]
    assert table["classifier (1000 classes)"] == ["1000", "–", "whole image", "513,000", "512 k"]
    assert table["total"] == ["11,689,512", "37.5 M"]


def test_what_strategies_train(printed: str) -> None:
    table = rows(printed.split("What each strategy")[1])
    assert table["strategy"] == [*STAGES, "head"]
    assert table["finetune_all"] == ["100 %"] * 6
    assert table["head_only"] == ["–"] * 5 + ["100 %"]
    assert table["finetune_lower"] == ["100 %"] * 2 + ["–"] * 3 + ["100 %"]
    assert table["finetune_upper"] == ["–"] * 4 + ["100 %"] * 2, "as the settings say, and not by default"
    for name in set(choices("strategy")) - set(table):  # refused: its reason instead, one sentence
        assert re.search(rf"^{name}: .+\.$", printed, re.MULTILINE), name


def test_a_strategy_that_refuses_the_network_gives_its_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from headstart.errors import ConfigError
    from headstart.inspecting import network

    def shares(name: str, arguments: list[str]) -> network.Shares:
        if name == "scratch":
            raise ConfigError("It does not suit.")
        return network.Shares(name, {"stem": 1.0, "extra": 0.5, "head": 1.0})

    monkeypatch.setattr(network, "_shares", shares)
    assert main(["inspect", *SMALL]) == 0
    output = capsys.readouterr()
    assert "\nscratch: It does not suit.\n" in output.out
    table = rows(output.out.split("What each strategy")[1])
    assert table["strategy"] == ["stem", "extra", "head"]
    assert table["head_only"] == ["100 %", "50 %", "100 %"]


def test_the_size_is_that_of_the_weights_unless_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from headstart.inspecting import network

    monkeypatch.setattr(network, "_shares", lambda name, arguments: network.Shares(name, {"head": 1.0}))
    for setting, size in (("seed=1", 224), ("dataset=digits", 64), ("backbone.image_size=96", 96)):
        assert main(["inspect", "backbone=resnet18", setting]) == 0
        assert f"{size} x {size} pixels" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["backbone=resnet5"], r"There is no backbone 'resnet5'. Did you mean 'resnet50'\?"),
        (["bakbone=resnet50"], r"no setting 'bakbone'. Did you mean 'backbone'\?"),
        (["resnet50"], r"'resnet50' is not a setting; expected key=value, as in backbone=resnet50"),
        (["-m", "backbone=resnet18"], r"'-m' is not a setting"),
        (["backbone=resnet18,resnet50"], r"one value for each setting"),
        (["backbone=timm"], r"backbone.name is not set"),
        (["backbone=vit_b_16", "dataset.image_size=100"], r"needs a multiple of its patch size"),
        (["backbone.weights=gone.pt"], r"backbone.weights=gone.pt: there is no such file"),
        ([*SMALL, "strategy=finetune_upper", "strategy.stages=9"], r"strategy.stages=9: resnet18 has 5 stages"),
    ],
)
def test_wrong_settings(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", *arguments]) == 2
    output = capsys.readouterr()
    assert re.search(sentence, output.err), output.err
    assert len(output.err.strip().splitlines()) == 1
    assert output.err.startswith("headstart: ")


def test_help_answers_without_torch() -> None:
    code = (
        "import sys; from headstart.cli import main\n"
        "assert main(['inspect', '--help']) == 0; assert main(['inspect', 'backbone=resnet5']) == 2\n"
        "assert 'torch' not in sys.modules"
    )
    assert "headstart inspect backbone=resnet50" in answer_of(code)


def test_inspecting_leaves_the_global_generator_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from headstart.inspecting import network

    monkeypatch.setattr(network, "_shares", lambda name, arguments: network.Shares(name, {"head": 1.0}))
    state = torch.get_rng_state()
    assert main(["inspect", *SMALL]) == 0
    assert torch.equal(torch.get_rng_state(), state)


def test_numbers_for_people() -> None:
    assert [amount(n) for n in (15_470_264_320, 386_900_000, 1_230_080, 999_600, 42, 0)] == [
        "15.5 G", "387 M", "1.23 M", "1.00 M", "42", "–",
    ]  # fmt: skip
    assert [share_text(share) for share in (0, 1e-5, 0.004, 0.0996, 0.45, 0.999, 1)] == [
        "–", "<0.1 %", "0.4 %", "10 %", "45 %", "99 %", "100 %",
    ]  # fmt: skip
