"""Export the weights of a model under the names of timm or torchvision, for plain PyTorch."""

from dataclasses import dataclass
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from headstart.backbones.timm_backbones import resize
from headstart.backbones.torchvision_backbones import CUTS
from headstart.errors import ConfigError, DataError
from headstart.models.model import Model
from headstart.seeds import stream
from headstart.tasks.heads import JoinedHeads, LinearLayer, Rescaled

CLOSE = 1e-5  # largest difference of outputs, relative to the largest of them if that is above 1
OWN_KWARGS = {"googlenet": {"aux_logits": False, "transform_input": False, "init_weights": False}}


@dataclass(frozen=True)
class LibraryWeights:
    """A state dict, the lines that load it from model.safetensors, and whether it has the trained head."""

    state: dict[str, Tensor]
    lines: list[str]
    has_head: bool


def library_weights(model: Model, library: str) -> LibraryWeights:
    """Return the weights under the names of "timm" or "torchvision".

    The classifier has the trained head if that is linear. Raises ConfigError if the network is none of the library's
    any more, and DataError if the library's network gives other outputs.
    """
    part, backbone = model.description.network["backbone"], model.strategy.backbone
    own = {"torchvision_backbone": "torchvision", "timm_backbone": "timm", "efficientnet_lite": "timm"}.get(
        part.builder
    )
    if own is None:
        raise ConfigError(f"The backbone {part.builder} comes from no library: use --to onnx.")
    if own != library:
        raise ConfigError(f"{backbone.name} is a network of {own}: use --to {own}.")
    name = f"tf_{backbone.name}" if part.builder == "efficientnet_lite" else backbone.name
    places = _timm_places(model) if own == "timm" else _torchvision_places(model, name)
    tensors = {key: tensor.detach().float().cpu() for key, tensor in backbone.state_dict().items()}
    linear = linear_of(model.strategy.head)
    outputs = 0 if linear is None else len(linear[1])
    make = _timm_network if own == "timm" else _torchvision_network
    network, lines, classifier = make(name, model, outputs)
    if linear is not None and classifier is None:
        linear = None
        network, lines, _ = make(name, model, 0)
    state = {places.get(key, key): tensor for key, tensor in tensors.items()}
    if linear is not None:
        state |= {f"{classifier}.weight": linear[0], f"{classifier}.bias": linear[1]}
    try:
        network.load_state_dict(state)
    except RuntimeError:
        raise ConfigError(
            f"The strategy or the head changed the layers of {backbone.name}, so that {library} has no such network:"
            " use --to onnx or --to safetensors."
        ) from None
    _verify(model, network.eval(), linear is not None)
    stored = {key: tensor.detach().clone().contiguous() for key, tensor in network.state_dict().items()}
    return LibraryWeights(stored, [*lines, *_use(model, linear is not None)], linear is not None)


def linear_of(head: nn.Module) -> tuple[Tensor, Tensor] | None:
    """Return weights (K, D) and bias (K,) of a linear head, in the unit of the targets; None for other heads."""
    if type(head) is LinearLayer:
        return head.weight.detach().float().cpu(), head.bias.detach().float().cpu()
    if isinstance(head, Rescaled) and (inner := linear_of(head.layers)) is not None:
        mean, scale = head.mean.float().cpu(), head.deviation.float().cpu()
        return inner[0] * scale.reshape(-1, 1), inner[1] * scale + mean
    if isinstance(head, JoinedHeads) and head.log_variances is None:
        parts = [part for one in head.heads if (part := linear_of(one)) is not None]
        if [len(bias) for _, bias in parts] == head.widths:
            return torch.cat([weight for weight, _ in parts]), torch.cat([bias for _, bias in parts])
    return None


def _timm_places(model: Model) -> dict[str, str]:
    """Return timm's name of each tensor: stages are traced from a module that holds the network."""
    return {key: key.split(".", 2)[-1].removeprefix("network.") for key in model.strategy.backbone.state_dict()}


def _torchvision_places(model: Model, name: str) -> dict[str, str]:
    """Return torchvision's name of each tensor, from a new network that is cut in the same way."""
    network, _, _ = _torchvision_network(name, model, 0)
    names = {id(tensor): key for key, tensor in network.state_dict(keep_vars=True).items()}
    stages, _ = CUTS[name](network)
    found = {}
    for stage, module in stages:
        for key, tensor in module.state_dict(keep_vars=True, prefix=f"stages.{stage}.").items():
            found[key] = names[id(tensor)]
    return found


def _timm_network(name: str, model: Model, outputs: int) -> tuple[nn.Module, list[str], str | None]:
    """Return timm's network, the lines that make it, and the name of its linear classifier, None without one."""
    import timm

    channels = model.description.input.channels
    more: dict[str, Any] = {} if channels == 3 else {"in_chans": channels}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream("export", 0))
        network: Any = timm.create_model(name, pretrained=False, num_classes=outputs, **more)
    resize(name, network, model.image_size)
    side = model.image_size
    fixed = hasattr(network, "set_input_size")
    lines = [
        "import timm",
        "from safetensors.torch import load_file",
        f"network = timm.create_model({name!r}, num_classes={outputs}{_keywords(more)})",
        *([f"network.set_input_size(img_size=({side}, {side}))"] if fixed else []),
    ]
    layer = network.get_classifier()
    places = [place for place, one in network.named_modules() if one is layer]
    return network, lines, places[0] if type(layer) is nn.Linear and places else None


def _torchvision_network(name: str, model: Model, outputs: int) -> tuple[nn.Module, list[str], str | None]:
    """Return torchvision's network, the lines that make it, and the name of its classifier, absent for 0 outputs."""
    more: dict[str, Any] = {**OWN_KWARGS.get(name, {})}
    if name == "vit_b_16":
        more["image_size"] = model.image_size
    classes = {"num_classes": outputs} if outputs else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream("export", 0))
        network: Any = torchvision.models.get_model(name, weights=None, **more, **classes)
    places = [place for place, one in network.named_modules() if isinstance(one, nn.Linear)]
    last = places[-1]
    lines = [
        "import torch, torchvision",
        "from safetensors.torch import load_file",
        f"network = torchvision.models.get_model({name!r}, weights=None{_keywords(more | classes)})",
    ]
    if not outputs:
        network.set_submodule(last, nn.Identity())
        lines.append(f"network.set_submodule({last!r}, torch.nn.Identity())")
    return network, lines, last


def _keywords(values: dict[str, Any]) -> str:
    return "".join(f", {name}={value!r}" for name, value in values.items())


def _use(model: Model, has_head: bool) -> list[str]:
    """Return the lines that load the weights, and comments on input and outputs."""
    given, output = model.description.input, model.description.output
    known = model.strategy.backbone.preprocessing
    temperatures = [one.temperature for one in model.description.calibration.values() if one.temperature]
    gives = "features" if not has_head else f"outputs for {list(output.names)}"
    return [
        "network.load_state_dict(load_file('model.safetensors'))",
        "network.eval()",
        f"# input: (N, {given.channels}, {given.image_size}, {given.image_size}), RGB / 255, then less"
        f" {[round(value, 6) for value in known.mean]}, divided by {[round(value, 6) for value in known.std]}",
        f"# resize: {given.decoder.settings.get('resize')}, short side {given.decoder.settings.get('short_side')},"
        f" {given.interpolation}; then the centre of {given.image_size} pixels",
        f"# gives: {gives}"
        + (f"; softmax of outputs / {temperatures[0]:.4f} is calibrated" if has_head and temperatures else ""),
    ]


@torch.inference_mode()
def _verify(model: Model, network: nn.Module, has_head: bool) -> None:
    """Raise DataError unless the network gives what the model gives."""
    strategy = model.strategy.float().cpu().eval()
    x = torch.randn(4, *strategy.backbone.example_input().shape[1:], generator=torch.Generator().manual_seed(0))
    wanted = strategy.backbone(x)
    if has_head:
        wanted = strategy.head(wanted)
    found = network(x)
    difference = float((found - wanted).abs().max()) if found.shape == wanted.shape else float("inf")
    if not difference <= CLOSE * max(1.0, float(wanted.abs().max())):
        raise DataError(
            f"The weights are not written: the library's network differs from the model by {difference:.2g} in its"
            " outputs."
        )
