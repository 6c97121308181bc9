"""A run whose weights are shared out among its processes while they are trained (FSDP)."""

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
    """Lightning's, all devices in one data-parallel group; its checkpoints are those of a single process.

    Lightning's own way of keeping whole checkpoints reads them past ``checkpoint_io`` and past the hooks of the module,
    and after the callbacks have begun.
    """

    def __init__(self) -> None:
        super().__init__(data_parallel_size=1, tensor_parallel_size=1, save_distributed_checkpoint=False)

    @property
    def restore_checkpoint_after_setup(self) -> bool:
        """No: the weights are shared out by ``configure_model``, which comes before."""
        return False

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Yes, by ``load_optimizer_state_dict``."""
        return True

    def setup_environment(self) -> None:
        """One group of all processes."""
        self._data_parallel_size = self.world_size
        super().setup_environment()

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Whole tensors, kept by the first process."""
        assert self.lightning_module is not None
        return self._kept(self.lightning_module.state_dict())

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Whole tensors, kept by the first process."""
        return self._kept(optimizer.state_dict())

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Read by every process, as tensors only whatever is asked for."""
        return self.checkpoint_io.load_checkpoint(checkpoint_path, weights_only=True)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Take what is this process's."""
        assert self.lightning_module is not None
        now = self.lightning_module.state_dict()
        state = {
            name: like(tensor, now[name]) if name in now else tensor
            for name, tensor in checkpoint["state_dict"].items()
        }
        self.lightning_module.load_state_dict(state, strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take what is this process's of everything that is shaped as the weights are."""
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            numbers = [number for group in state["param_groups"] for number in group["params"]]
            shared = {
                number: {name: _shared(part, weight) for name, part in state["state"][number].items()}
                for number, weight in zip(numbers, weights, strict=True)
                if number in state["state"]
            }
            optimizer.load_state_dict({**state, "state": shared})

    def _kept(self, state: dict[str, Any]) -> dict[str, Any]:
        """One tensor after the other, as all of them together may be too much for the device."""

        def kept(tensor: Tensor) -> Tensor:
            tensor = whole(tensor)
            return tensor.cpu() if self.is_global_zero else torch.empty(0)

        found: dict[str, Any] = tree_map_only(Tensor, kept, dict(state))
        return found


def _shared(part: Any, weight: Tensor) -> Any:
    """What is shaped as a weight is shared out as it is."""
    return like(part, weight) if isinstance(part, Tensor) and part.shape == weight.shape else part


def check_settings(config: DictConfig) -> None:
    """Raise ConfigError for what no network is trained with when it is shared out."""
    precision = str(config.trainer.get("precision", PRECISIONS[0]))
    if {"32": "32-true", "bf16": "bf16-mixed"}.get(precision, precision) not in PRECISIONS:
        raise ConfigError(
            f"trainer.precision={precision}: trainer=fsdp works with {' or '.join(PRECISIONS)}; with others {INSTEAD}."
        )
    if config.trainer.get("sync_batchnorm"):
        raise ConfigError(f"trainer.sync_batchnorm: trainer=fsdp has no batch norm over all processes; {INSTEAD}.")
