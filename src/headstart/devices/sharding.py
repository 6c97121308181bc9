"""Shard the weights over the processes while they are trained (FSDP)."""

from collections.abc import Mapping
from typing import Any

import torch
from omegaconf import DictConfig
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import Tensor
from torch.optim import Optimizer
from torch.utils._pytree import tree_map_only

from headstart.devices.shares import like, whole
from headstart.errors import ConfigError

PRECISIONS = ("32-true", "bf16-mixed")
INSTEAD = "use trainer=ddp"


class Sharded(ModelParallelStrategy):
    """Lightning's strategy with all devices in one data-parallel group; checkpoints are those of a single process.

    Lightning's own loading of full checkpoints bypasses ``checkpoint_io`` and the module's hooks, and happens after the
    callbacks have started.
    """

    def __init__(self) -> None:
        super().__init__(data_parallel_size=1, tensor_parallel_size=1, save_distributed_checkpoint=False)

    @property
    def restore_checkpoint_after_setup(self) -> bool:
        """Return False: ``configure_model`` has already sharded the weights."""
        return False

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Return True: ``load_optimizer_state_dict`` does it."""
        return True

    def setup_environment(self) -> None:
        """Put all processes into one group."""
        self._data_parallel_size = self.world_size
        super().setup_environment()

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Return full tensors in the first process, empty ones in the others."""
        assert self.lightning_module is not None
        return self._gathered(self.lightning_module.state_dict())

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Return full tensors in the first process, empty ones in the others."""
        return self._gathered(optimizer.state_dict())

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Read the checkpoint in every process, always as tensors only."""
        return self.checkpoint_io.load_checkpoint(checkpoint_path, weights_only=True)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Load this process's shards."""
        assert self.lightning_module is not None
        now = self.lightning_module.state_dict()
        state = {
            name: like(tensor, now[name]) if name in now else tensor
            for name, tensor in checkpoint["state_dict"].items()
        }
        self.lightning_module.load_state_dict(state, strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Load this process's shards of every tensor that has the shape of its weight."""
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            numbers = [number for group in state["param_groups"] for number in group["params"]]
            shards = {
                number: {name: _sharded_like(part, weight) for name, part in state["state"][number].items()}
                for number, weight in zip(numbers, weights, strict=True)
                if number in state["state"]
            }
            optimizer.load_state_dict({**state, "state": shards})

    def _gathered(self, state: dict[str, Any]) -> dict[str, Any]:
        """Gather one tensor at a time, because all together may not fit on the device."""

        def gathered(tensor: Tensor) -> Tensor:
            tensor = whole(tensor)
            return tensor.cpu() if self.is_global_zero else torch.empty(0)

        found: dict[str, Any] = tree_map_only(Tensor, gathered, dict(state))
        return found


def _sharded_like(part: Any, weight: Tensor) -> Any:
    """Shard a tensor like the weight if it has the weight's shape."""
    return like(part, weight) if isinstance(part, Tensor) and part.shape == weight.shape else part


def check_settings(config: DictConfig) -> None:
    """Raise ConfigError for settings that do not work with sharded weights."""
    precision = str(config.trainer.get("precision", PRECISIONS[0]))
    if {"32": "32-true", "bf16": "bf16-mixed"}.get(precision, precision) not in PRECISIONS:
        raise ConfigError(
            f"trainer.precision={precision}: trainer=fsdp expects {' or '.join(PRECISIONS)}; otherwise {INSTEAD}."
        )
    if config.trainer.get("sync_batchnorm"):
        raise ConfigError(f"trainer.sync_batchnorm: trainer=fsdp has no batch norm over all processes; {INSTEAD}.")
