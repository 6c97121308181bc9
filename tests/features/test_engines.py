"""Test engines: each gives PyTorch's numbers, and the fastest is chosen once and remembered."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SIZE, toy_backbone
from numpy.typing import NDArray
from torch import Tensor, nn

from headstart.backbones import Backbone, efficientnet_lite, torchvision_backbone
from headstart.errors import ConfigError
from headstart.features import choice, engines
from headstart.features.choice import EngineChoice, Work, make_engine, relative_error
from headstart.features.engines import CompiledEngine, EngineError, OnnxEngine, TorchEngine
from headstart.features.prefix import FrozenPrefix, reference
from headstart.features.rows import as_stored

CPU = torch.device("cpu")


def prefix_of(backbone: Backbone, stop: int | None = None) -> FrozenPrefix:
    """Return a prefix with random statistics, so that folding changes the weights."""
    torch.manual_seed(1)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    scale, shift = (torch.full((1, 3, 1, 1), value) for value in (1 / 64, -2.0))
    return FrozenPrefix(backbone, len(backbone.stage_names) if stop is None else stop, scale, shift)


def images(count: int, size: int = SIZE) -> NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def work_of(prefix: FrozenPrefix, count: int = 10**6) -> Work:
    return Work(prefix, CPU, None, count, lambda n: images(n, prefix.image_size))


@pytest.mark.parametrize("stop", [4, 2])
@pytest.mark.parametrize("name", ["torch", "onnxruntime"])
def test_engines_agree_with_the_network(name: str, stop: int) -> None:
    prefix = prefix_of(toy_backbone(), stop)
    engine = make_engine(name, work_of(prefix))
    x = images(engine.batch)
    assert prefix.pooled == (stop == 4)
    with torch.no_grad():
        plain = toy_backbone().eval()
        plain.load_state_dict(toy_state(prefix, plain))
        expected = plain.forward_stages((torch.from_numpy(x).permute(0, 3, 1, 2).float() / 64 - 2), 0, stop)
        expected = plain.pool(expected) if prefix.pooled else expected.permute(0, 2, 3, 1)
    np.testing.assert_allclose(engine(x), expected.numpy(), rtol=1e-4, atol=1e-5)


def toy_state(prefix: FrozenPrefix, plain: Backbone) -> dict[str, Tensor]:
    state = plain.state_dict()
    for number, stage in enumerate(prefix.stages):
        state |= {f"stages.stage{number}.{key}": value for key, value in stage.state_dict().items()}
    return state


def test_an_engine_leaves_the_network_as_it_is() -> None:
    backbone = toy_backbone()
    prefix = prefix_of(backbone)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    flags = [p.requires_grad for p in backbone.parameters()]
    for engine in (TorchEngine(prefix, CPU), OnnxEngine(prefix)):
        engine(images(engine.batch))
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())
    assert [p.requires_grad for p in backbone.parameters()] == flags


def test_folding_leaves_no_batch_norm_and_unfolded_is_exact() -> None:
    folded, exact = (TorchEngine(prefix_of(toy_backbone(), stop), CPU) for stop in (4, 3))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.network.modules())
    prefix = prefix_of(toy_backbone(), 3)
    x = images(8)
    assert np.array_equal(exact(x), as_stored(reference(prefix, torch.from_numpy(x))).numpy())


@pytest.mark.parametrize("name", ["torch", "onnxruntime"])
def test_a_row_does_not_depend_on_its_batch(name: str) -> None:
    engine = make_engine(name, work_of(prefix_of(toy_backbone())))
    x, others = images(8), images(9)[:8]
    others[3] = x[0]
    assert np.array_equal(engine(x)[0], engine(others)[3])


def test_compiled_agrees() -> None:
    prefix = prefix_of(toy_backbone())
    engine = CompiledEngine(prefix, CPU)
    x = images(8)
    assert relative_error(engine(x), reference(prefix, torch.from_numpy(x)).numpy()) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        lambda: efficientnet_lite("efficientnet_lite0", weights=None, image_size=32),
        lambda: torchvision_backbone("resnet18", weights=None, image_size=64),
        lambda: torchvision_backbone("mobilenet_v3_small", weights=None, image_size=64),
        lambda: torchvision_backbone("swin_t", weights=None, image_size=64),
        lambda: torchvision_backbone("vit_b_16", weights=None, image_size=32),
        lambda: torchvision_backbone("densenet121", weights=None, image_size=64),
    ],
)
def test_families_of_networks_can_be_exported(make: Callable[[], Backbone]) -> None:
    work = work_of(prefix_of(make()))
    assert isinstance(make_engine("onnxruntime", work), OnnxEngine)  # raises where the numbers differ


def test_half_precision_is_close() -> None:
    work = Work(prefix_of(toy_backbone()), CPU, torch.bfloat16, 10, lambda n: images(n))
    engine = make_engine("torch", work)
    full = reference(work.prefix, torch.from_numpy(images(8)))
    assert 1e-5 < relative_error(engine(images(8)), full.numpy()) < 0.05
    with pytest.raises(EngineError, match="full precision only"):
        make_engine("onnxruntime", work)


class Fake:
    """An engine with a given speed and error."""

    batch, lanes = 8, 2

    def __init__(self, prefix: FrozenPrefix, name: str, error: float = 0.0) -> None:
        self.prefix, self.name, self.error = prefix, name, error

    def __call__(self, x: NDArray[np.uint8]) -> NDArray[Any]:
        return reference(self.prefix, torch.from_numpy(x)).numpy() * (1 + self.error)


def fake(monkeypatch: pytest.MonkeyPatch, speeds: dict[str, float], error: float = 0.0) -> list[str]:
    timed: list[str] = []
    monkeypatch.setattr(choice, "TorchEngine", lambda prefix, *_: Fake(prefix, "torch"))
    monkeypatch.setattr(choice, "OnnxEngine", lambda prefix: Fake(prefix, "onnxruntime", error))
    monkeypatch.setattr(choice, "speed", lambda engine, work: timed.append(engine.name) or speeds[engine.name])
    return timed


@pytest.mark.parametrize(("faster", "slower"), [("torch", "onnxruntime"), ("onnxruntime", "torch")])
def test_auto_takes_the_faster_and_remembers(
    faster: str, slower: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    prefix = prefix_of(toy_backbone())
    timed = fake(monkeypatch, {faster: 200.0, slower: 100.0})
    assert EngineChoice(work_of(prefix), "auto").name == faster
    assert sorted(timed) == ["onnxruntime", "torch"]
    assert f"auto chooses {faster} (images/s:" in caplog.text
    fake(monkeypatch, {faster: 1.0, slower: 2.0})  # today the other would win
    assert EngineChoice(work_of(prefix), "auto").name == faster
    assert EngineChoice(work_of(prefix_of(toy_backbone(), 3)), "auto").name == "torch"  # layers above are trained
    assert EngineChoice(work_of(prefix, count=10), "auto").name == "torch"  # not worth a choice


def test_an_engine_with_other_numbers_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    prefix = prefix_of(toy_backbone())
    fake(monkeypatch, {"torch": 1.0, "onnxruntime": 100.0}, error=1e-3)
    assert EngineChoice(work_of(prefix), "auto").name == "torch"
    assert "skipping the engine onnxruntime: its output differs from PyTorch's (relative error 1.0e-03)" in caplog.text
    with pytest.raises(ConfigError, match=r"features.engine=onnxruntime: its output differs .*use another engine"):
        EngineChoice(work_of(prefix), "onnxruntime").engine()


def test_a_remembered_engine_that_fails_is_replaced(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    prefix = prefix_of(toy_backbone())
    fake(monkeypatch, {"torch": 1.0, "onnxruntime": 100.0})
    assert EngineChoice(work_of(prefix), "auto").name == "onnxruntime"
    [file] = (tmp_path / "cache/headstart/engines").iterdir()
    assert json.loads(file.read_text())["pictures_per_second"] == {"torch": 1.0, "onnxruntime": 100.0}
    fake(monkeypatch, {}, error=1.0)
    chosen = EngineChoice(work_of(prefix), "auto")
    assert chosen.name == "onnxruntime"
    assert chosen.engine().name == chosen.name == "torch"
    assert "now fails" in caplog.text


def test_what_cannot_be_exported_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> bytes:
        raise RuntimeError("no such operator\nmore")

    monkeypatch.setattr(engines, "_export", refuse)
    with pytest.raises(EngineError, match=r"cannot be exported to ONNX \(no such operator\)"):
        OnnxEngine(prefix_of(toy_backbone()))


def test_the_newer_exporter_works_too() -> None:
    prefix = prefix_of(toy_backbone())
    example = torch.zeros(8, SIZE, SIZE, 3, dtype=torch.uint8)
    model = engines._export(engines._Stored(prefix).eval(), example, ["values"], dynamic=False, modern=True)
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    x = images(8)
    [values] = session.run(None, {session.get_inputs()[0].name: x})
    assert relative_error(values, reference(prefix, torch.from_numpy(x)).numpy()) < 1e-4


def test_bf16_is_close_and_has_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "fast_bf16", lambda device: True)
    chosen = choice.EngineChoice(work_of(prefix_of(toy_backbone())), "auto", "bf16")
    engine = chosen.engine()
    assert (chosen.name, engine.name, chosen.computes_in) == ("torch_bf16", "torch_bf16", "bfloat16")
    assert 0 < engine.error < choice.HALF
    assert engine(images(engine.batch)).dtype == np.float32


@pytest.mark.parametrize(
    ("speed", "precision", "wanted", "expected"),
    [
        (4.0, "auto", "auto", "torch_bf16"),
        (1.0, "auto", "auto", "onnxruntime"),
        (2.5, "auto", "torch", "torch_bf16"),  # faster than PyTorch at full precision
        (4.0, "float32", "auto", "onnxruntime"),
    ],
)
def test_only_auto_takes_bfloat16_where_it_is_fastest(
    speed: float, precision: str, wanted: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "fast_bf16", lambda device: True)
    timed = fake(monkeypatch, {"torch": 2.0, "onnxruntime": 3.0, "torch_bf16": speed})
    assert EngineChoice(work_of(prefix_of(toy_backbone())), wanted, precision).name == expected
    assert ("torch_bf16" in timed) == (precision == "auto")


def test_a_choice_of_bfloat16_stays_out_of_full_precision_and_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "fast_bf16", lambda device: True)
    fake(monkeypatch, {"torch": 2.0, "onnxruntime": 3.0, "torch_bf16": 4.0})
    work = work_of(prefix_of(toy_backbone()))
    assert EngineChoice(work, "auto", "auto").name == "torch_bf16"
    assert EngineChoice(work, "auto").name == "onnxruntime"
    assert EngineChoice(work_of(prefix_of(toy_backbone(), 3)), "auto", "auto").name == "torch"
    assert EngineChoice(work_of(prefix_of(toy_backbone()), count=10), "auto", "auto").name == "torch"


def test_bf16_is_refused_where_it_is_not_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "fast_bf16", lambda device: False)
    work = work_of(prefix_of(toy_backbone()))
    with pytest.raises(ConfigError, match="computes no fast bfloat16"):
        choice.EngineChoice(work, "auto", "bf16")
    assert choice.EngineChoice(work, "torch", "auto").name == "torch"


def test_bf16_is_computed_by_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "fast_bf16", lambda device: True)
    with pytest.raises(ConfigError, match="PyTorch computes it"):
        choice.EngineChoice(work_of(prefix_of(toy_backbone())), "onnxruntime", "bf16")
