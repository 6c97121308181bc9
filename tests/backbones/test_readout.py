"""Test that features are read from the chosen stages."""

import pytest
import torch
from conftest import toy_backbone

from headstart.backbones import Backbone, MapRows, bottleneck_in, read_from, read_maps, torchvision_backbone, truncated
from headstart.backbones.readout import Pool
from headstart.errors import ConfigError
from headstart.features.prefix import FrozenPrefix


def images(backbone: Backbone, count: int = 3) -> torch.Tensor:
    size = backbone.preprocessing.image_size
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_stages_are_pooled_and_joined_in_the_order_of_the_network() -> None:
    plain = toy_backbone().eval()
    joined = read_from(plain, ["stage3", "stage1"]).eval()
    x = images(plain)
    maps = [plain.forward_stages(x, 0, stop) for stop in (2, 4)]
    expected = torch.cat([m.mean(dim=(2, 3)) for m in maps], dim=1)
    torch.testing.assert_close(joined(x), expected)
    assert joined.feature_dim == expected.shape[1]


@pytest.mark.parametrize("stop", range(3))
def test_a_pass_may_start_at_or_below_the_lowest_stage_that_is_read(stop: int) -> None:
    joined = read_from(toy_backbone(), ["stage1", "stage3"]).eval()
    x = images(joined)
    torch.testing.assert_close(joined(joined.forward_stages(x, 0, stop), stop), joined(x))
    with pytest.raises(ValueError, match="output of stage 1"):
        joined(joined.forward_stages(x, 0, 3), 3)


def test_stages_above_the_highest_one_read_are_left_out() -> None:
    short = truncated(toy_backbone(), 2)
    assert short.stage_names == ["stage0", "stage1"]
    assert short.feature_dim == 6


def test_poolings() -> None:
    x = torch.randn(2, 5, 4, 4).abs()
    torch.testing.assert_close(Pool("gem", gem_p=1.0)(x), Pool("avg")(x))
    torch.testing.assert_close(Pool("gem", gem_p=60.0)(x), Pool("max")(x), rtol=0.06, atol=0.02)
    torch.testing.assert_close(Pool("avgmax")(x), torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1))
    torch.testing.assert_close(Pool("max", channels_last_dim=True)(x.permute(0, 2, 3, 1)), Pool("max")(x))
    tokens = x.flatten(2).transpose(1, 2)
    torch.testing.assert_close(Pool("avg")(tokens), Pool("avg")(x))
    assert torch.equal(Pool("max")(x[:, :, 0, 0]), x[:, :, 0, 0])


@pytest.mark.parametrize(("name", "size"), [("swin_t", 64), ("vit_b_16", 32)])
def test_layouts_of_transformers(name: str, size: int) -> None:
    backbone = torchvision_backbone(name, weights=None, image_size=size)
    stages = backbone.stage_names[-3:]
    joined = read_from(backbone, stages).eval()
    widths = [backbone.forward_stages(images(backbone, 1), 0, n + 1).shape for n in range(5)][-3:]
    channels = [shape[-1] if len(shape) == 3 or shape[1] == shape[2] else shape[1] for shape in widths]
    assert joined.feature_dim == sum(channels)


def test_the_frozen_prefix_gives_the_joined_features() -> None:
    joined = read_from(toy_backbone(), ["stage0", "stage2"], pooling="max").eval()
    prefix = FrozenPrefix(joined, 3, torch.ones(1, 3, 1, 1), torch.zeros(1, 3, 1, 1))
    images = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)
    torch.testing.assert_close(prefix(images), joined(images.permute(0, 3, 1, 2).float()))
    other = FrozenPrefix(
        read_from(toy_backbone(), ["stage1", "stage2"], pooling="max"),
        3,
        torch.ones(1, 3, 1, 1),
        torch.zeros(1, 3, 1, 1),
    )
    assert prefix.key() != other.key()


def test_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no stage 'stage4'.* Did you mean 'stage3'\?|no stage 'stage4'"):
        read_from(toy_backbone(), ["stage4"])
    with pytest.raises(ConfigError, match="each once"):
        read_from(toy_backbone(), ["stage1", "stage1"])
    with pytest.raises(ConfigError, match="no such pooling"):
        read_from(toy_backbone(), pooling="median")
    with pytest.raises(ConfigError, match="already gives a vector"):
        read_from(torchvision_backbone("alexnet", weights=None, image_size=64), pooling="max")


def test_maps_of_stages_are_rows_that_can_be_split() -> None:
    plain = toy_backbone().eval()
    read = read_maps(plain, ["stage3", "stage0"]).eval()
    x = images(plain)
    expected = [plain.forward_stages(x, 0, stop) for stop in (1, 4)]
    assert read.pool.maps == [tuple(m.shape[1:]) for m in expected]
    torch.testing.assert_close(read(x), torch.cat([m.flatten(1) for m in expected], dim=1))


def test_maps_are_read_by_default_at_the_last_stage_of_each_stride() -> None:
    assert read_maps(toy_backbone()).taps == (0, 3)  # stages 1 to 3 have the same stride


@pytest.mark.parametrize(("name", "size"), [("vit_b_16", 64), ("swin_t", 64)])
def test_tokens_and_channels_last_maps_are_read_as_maps(name: str, size: int) -> None:
    """A change of the image's upper left corner moves the upper left of a map most."""
    backbone = torchvision_backbone(name, None, size).eval()
    read = read_maps(backbone, [backbone.stage_names[0 if name == "swin_t" else -1]]).eval()
    assert isinstance(read.pool, MapRows)
    ((channels, height, width),) = read.pool.maps
    assert read.feature_dim == channels * height * width
    one = images(backbone, 1)
    other = one.clone()
    other[..., :16, :16] += 3
    with torch.no_grad():
        moved = (read(one) - read(other)).abs().view(channels, height, width).sum(dim=0)
    assert int(moved.argmax()) in ([0] if name == "vit_b_16" else [n * width + m for n in range(4) for m in range(4)])


def test_a_stage_without_a_map_is_refused() -> None:
    backbone = torchvision_backbone("alexnet", None, 64)
    with pytest.raises(ConfigError, match=rf"head.stages: {backbone.stage_names[-1]} of alexnet gives no map"):
        read_maps(backbone, [backbone.stage_names[-1]])
    with pytest.raises(ConfigError, match="has no stage 'stage9'"):
        read_maps(toy_backbone(), ["stage9"])


def with_bottleneck(**tensors: torch.Tensor) -> Backbone:
    """Return the toy network, whose last map has 8 x 4 x 4 numbers, with a bottleneck of 5."""
    backbone = toy_backbone()
    backbone.bottleneck = tensors.get("weight", torch.randn(5, 128)), torch.arange(5.0)
    return backbone


def test_a_bottleneck_of_the_weights_is_read_without_pooling() -> None:
    plain = with_bottleneck()
    found = read_from(plain, ["bottleneck"]).eval()
    assert found.stage_names == [*plain.stage_names, "bottleneck"]
    x = images(plain)
    weight, bias = plain.bottleneck or ()
    expected = plain.eval().forward_stages(x).flatten(1) @ weight.T + bias
    torch.testing.assert_close(found(x), expected)
    joined = read_from(plain, ["bottleneck", "stage3"]).eval()
    torch.testing.assert_close(joined(x), torch.cat([plain(x), expected], dim=1))


def test_the_key_of_features_includes_the_bottleneck() -> None:
    def key(backbone: Backbone) -> dict:
        return FrozenPrefix(read_from(backbone, ["bottleneck"]), 5, torch.ones(1, 3, 1, 1), torch.zeros(1)).key()

    one, other = with_bottleneck(weight=torch.zeros(5, 128)), with_bottleneck(weight=torch.ones(5, 128))
    assert key(one) == key(with_bottleneck(weight=torch.zeros(5, 128)))
    assert key(one) != key(other)


def test_a_bottleneck_that_is_missing_or_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"only weights of objective=autoencoder .*stage0, stage1, stage2, stage3"):
        read_from(toy_backbone(), ["bottleneck"])
    with pytest.raises(ConfigError, match=r"reads 64 numbers, .*dataset\.image_size"):
        read_from(with_bottleneck(weight=torch.zeros(5, 64)), ["bottleneck"])


def test_a_bottleneck_is_found_in_checkpoints_alone() -> None:
    weight, bias = torch.zeros(5, 128), torch.zeros(5)
    for place in ("head", "backbone.stages.bottleneck"):
        names = {f"{place}.bottleneck.weight": weight, f"{place}.bottleneck.bias": bias}
        assert bottleneck_in({"head.other.weight": bias, **names}) == (weight, bias)
        assert bottleneck_in({**names, f"{place}.bottleneck.bias": torch.zeros(4)}) is None
    assert bottleneck_in({"neck.bottleneck.weight": weight, "neck.bottleneck.bias": bias}) is None
