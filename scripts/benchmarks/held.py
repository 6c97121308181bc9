"""Print the memory that a training step holds: python -m benchmarks.held [--size 128] [--batch 32], in scripts."""

import argparse
from collections import Counter
from pathlib import Path

import torch
from torch import Tensor, nn

from headstart.backbones import efficientnet_lite


def measure(size: int, batch: int) -> None:
    """Run three steps of EfficientNet-Lite0 with AdamW; print what is saved for backward, and the process's memory."""
    report("libraries")
    network = nn.Sequential(efficientnet_lite("efficientnet_lite0", weights=None), nn.Linear(1280, 10))
    network.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.001)
    weights = {tensor.untyped_storage().data_ptr() for tensor in network.state_dict().values()}
    inside: list[str] = []  # the types of the modules whose forward pass runs
    for module in network.modules():
        module.register_forward_pre_hook(lambda module, _: inside.append(type(module).__name__))
        module.register_forward_hook(lambda *_: inside.pop() and None)
    held: dict[int, tuple[str, int]] = {}

    def saved(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            held.setdefault(storage.data_ptr(), (inside[-1] if inside else "loss", storage.nbytes()))
        return tensor

    images = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    report("network and images")
    for _ in range(3):
        held.clear()
        with torch.autograd.graph.saved_tensors_hooks(saved, lambda tensor: tensor):
            loss = nn.functional.cross_entropy(network(images), torch.arange(batch) % 10)
        report("forward pass")
        optimizer.zero_grad()
        loss.backward()
        del loss
        report("backward pass")
        optimizer.step()
        report("step")
    totals: Counter[str] = Counter()
    for kind, count in held.values():
        totals[kind] += count
    print(f"saved for backward: {sum(totals.values()) / 1e6:.0f} MB")
    for kind, count in totals.most_common():
        print(f"  by {kind}: {count / 1e6:.0f} MB")
    own = sum(tensor.nbytes for tensor in network.parameters()) / 1e6
    print(f"weights, gradients and two moments of AdamW: 4 x {own:.0f} MB")


def report(when: str) -> None:
    """Print the present and the peak memory of the process (Linux only)."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    now, peak = (int(lines[name].split()[0]) / 1e3 for name in ("VmRSS", "VmHWM"))
    print(f"{when}: {now:.0f} MB, peak so far {peak:.0f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    options = parser.parse_args()
    measure(options.size, options.batch)
