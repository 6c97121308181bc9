"""Any of timm's networks, cut into stages where its resolution falls, and checked against timm's own forward pass."""

from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from headstart.backbones.backbone import Backbone, Preprocessing, WeightsInfo, check_image_size
from headstart.backbones.weights import failed_download, load_weights_file, state_sha256
from headstart.errors import ConfigError, nearest


def timm_backbone(name: str, weights: str | None = None, image_size: int | None = None, seed: int = 0) -> Backbone:
    """One of timm's networks (any name ``timm.list_models()`` gives, with or without a tag) without its classifier.

    ``weights`` is None (random, from ``seed``), ``"imagenet"`` (timm's default ones for that name), or a file.
    """
    if not timm.is_model(name):
        raise ConfigError(f"timm has no network '{name}'.{nearest(name, timm.list_models())}")
    check_image_size(image_size)
    network = build(name, seed, pretrained=weights == "imagenet")
    info = WeightsInfo()
    if weights == "imagenet":
        config = network.pretrained_cfg
        source = config.get("hf_hub_id") or config.get("url")
        tag = f"{config.get('architecture', name)}.{config.get('tag', '')}".rstrip(".")
        info = WeightsInfo(tag, state_sha256(network.state_dict()), str(source), 1.0)
    elif weights is not None:
        info = load_weights_file(network, Path(weights), name)
    return as_backbone(name, network, image_size, info)


def build(name: str, seed: int, pretrained: bool = False) -> Any:
    """A timm network without classifier, initialised from ``seed``; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return timm.create_model(name, pretrained=pretrained, num_classes=0)
        except Exception as error:  # the hub's client, urllib and timm each raise their own
            if not pretrained:
                raise
            config = timm.get_pretrained_cfg(name)
            if config is None or not (config.hf_hub_id or config.url):
                raise ConfigError(f"timm has no weights for '{name}'; set backbone.weights=null or a file.") from error
            what = f"https://huggingface.co/{config.hf_hub_id}" if config.hf_hub_id else config.url
            raise failed_download(name, f"model.safetensors from {what}", "a place of your choice", error) from error


def as_backbone(name: str, network: Any, image_size: int | None, info: WeightsInfo) -> Backbone:
    """Cut a timm network (num_classes=0) into stages."""
    config = network.pretrained_cfg
    native = int(config["input_size"][1])
    size = image_size or native
    if size != native and hasattr(network, "set_input_size"):
        try:
            network.set_input_size(img_size=(size, size))
        except (AssertionError, RuntimeError, ValueError) as error:
            raise ConfigError(f"{name} cannot take pictures of {size} x {size} pixels: {error}") from error
        native = size
    stages, pool = cut(name, network, native)
    interpolation = "bicubic" if config["interpolation"] == "bicubic" else "bilinear"
    preprocessing = Preprocessing(
        size,
        tuple(config["mean"]),
        tuple(config["std"]),
        interpolation,
        float(config["crop_pct"]),
    )
    return Backbone(name, stages, pool, preprocessing, info)


@torch.no_grad()
def cut(name: str, network: Any, size: int) -> tuple[list[tuple[str, nn.Module]], nn.Module]:
    """Named stages and a pooling whose composition equals ``network``; refused if no such cut is found."""
    network.eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x = torch.randn(1, 3, size, size)
    atoms = _transformer_atoms(network) if _is_transformer(network) else _atoms_in_call_order(network, x)
    stages, pool = _group(atoms, x)
    y = x
    for _, stage in stages:
        y = stage(y)
    if not torch.allclose(pool(y), network(x), rtol=1e-4, atol=1e-5):
        raise ConfigError(f"timm's '{name}' does not run as a chain of stages, so headstart cannot cut it.")
    whole = {id(t) for t in [*network.parameters(), *network.buffers()]}
    parts = [id(t) for _, s in stages for t in [*s.parameters(), *s.buffers()]]
    if len(stages) < 4 or not whole <= set(parts) | {id(t) for t in pool.buffers()}:
        raise ConfigError(f"timm's '{name}' has no four stages that headstart can tell apart.")
    network.train()
    return stages, pool


class _TransformerStem(nn.Module):
    """Patch embedding with class token and positions, as timm's vision transformers do it."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.patch_embed, self.norm_pre = network.patch_embed, network.norm_pre
        self.patch_drop, self.pos_drop = network.patch_drop, network.pos_drop
        for name in ("cls_token", "reg_token", "pos_embed"):
            setattr(self, name, getattr(network, name, None))
        # A bound method of timm's class, run on this module: it finds the same tensors under the same names.
        self._embed = type(network)._pos_embed
        for name in ("no_embed_class", "dynamic_img_size", "num_prefix_tokens", "grid_size", "num_reg_tokens"):
            if hasattr(network, name):
                setattr(self, name, getattr(network, name))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) to (N, tokens, width)."""
        return self.norm_pre(self.patch_drop(self._embed(self, self.patch_embed(x))))


class _TransformerPool(nn.Module):
    def __init__(self, network: Any) -> None:
        super().__init__()
        self.kind, self.prefix = network.global_pool, network.num_prefix_tokens

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0] if self.kind == "token" else x[:, self.prefix :].mean(dim=1)


def _is_transformer(network: Any) -> bool:
    return isinstance(network, timm.models.vision_transformer.VisionTransformer)


def _transformer_atoms(network: Any) -> list[nn.Module]:
    if network.attn_pool is not None or network.global_pool not in ("token", "avg"):
        return []
    pool = _TransformerPool(network)
    return [_TransformerStem(network), *network.blocks, network.norm, pool, network.fc_norm]


def _atoms_in_call_order(network: Any, x: Tensor) -> list[nn.Module]:
    """The network's direct children, containers opened, in the order in which a forward pass calls them."""
    atoms: list[nn.Module] = []
    for child in network.children():
        opened = isinstance(child, nn.Sequential | nn.ModuleList) and len(child) > 1
        is_head = type(child).__name__.endswith("Head") or type(child).__name__ == "NormMlpClassifierHead"
        atoms += list(child.children()) if opened or is_head else [child]
    called: list[nn.Module] = []
    hooks = [atom.register_forward_hook(lambda module, *_: called.append(module)) for atom in atoms]
    network(x)
    for hook in hooks:
        hook.remove()
    return called


def _positions(y: Tensor) -> int:
    """Number of places at which a tensor has a feature vector."""
    if y.ndim == 4:
        channels_last = y.shape[1] == y.shape[2] != y.shape[3]
        return y.shape[1] * y.shape[2] if channels_last else y.shape[2] * y.shape[3]
    return y.shape[1] if y.ndim == 3 else 1


def _group(atoms: list[nn.Module], x: Tensor) -> tuple[list[tuple[str, nn.Module]], nn.Module]:
    """Join atoms of one resolution to a stage; atoms after the pooling make a neck, or the pooling itself."""
    groups: list[list[nn.Module]] = []
    tail: list[nn.Module] = []
    last = None
    for atom in atoms:
        x = atom(x)
        if tail or x.ndim == 2 or (x.ndim == 4 and x.shape[2:] == (1, 1)):
            tail.append(atom)
            continue
        if last is None or _positions(x) < last:
            groups.append([])
        groups[-1].append(atom)
        last = _positions(x)
    if groups and len(groups) < 4:  # one resolution throughout: a stem, then quarters
        flat = [atom for group in groups for atom in group]
        body = flat[1:]
        bounds = [round(i * len(body) / 4) for i in range(5)]
        groups = [flat[:1], *(body[a:b] for a, b in zip(bounds[:-1], bounds[1:], strict=True))]
        groups = [group for group in groups if group]
    names = ["stem", *(f"stage{i}" for i in range(1, len(groups)))]
    stages: list[tuple[str, nn.Module]] = [
        (name, nn.Sequential(*group)) for name, group in zip(names, groups, strict=True)
    ]
    if any(True for module in tail for _ in module.parameters()):
        return [*stages, ("neck", nn.Sequential(*tail))], nn.Identity()
    return stages, nn.Sequential(*tail)
