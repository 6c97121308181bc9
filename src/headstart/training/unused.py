"""Find typed settings that a run does not use, with the reasons.

They cause a message and no error, because a sweep over strategies gives all runs settings that only some of them use.
"""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

from headstart.settings.parts import UNCERTAINTY
from headstart.strategies import Strategy

OF_STEPS = (  # used only by gradient steps
    "optimizer optimizer.* scheduler scheduler.* callbacks callbacks.* task.label_smoothing"
    " trainer.max_epochs trainer.min_epochs trainer.min_steps trainer.max_time trainer.gradient_clip_*"
    " trainer.accumulate_grad_batches trainer.auto_batch trainer.limit_train_batches"
).split()
OF_FEATURES = "features.engine features.precision features.views features.memory_limit features.max_size".split()


def unused_settings(config: Any, overrides: Sequence[str], strategy: Strategy) -> list[str]:
    """Return phrases such as "optimizer.lr (linear_probe takes no gradient steps)", for the settings as typed."""
    typed = [key for key, value in map(_key_and_value, overrides) if value not in ("null", None)]
    phrases = []
    for patterns, reason in _unused_patterns(config, strategy):
        if keys := [key for key in typed if any(fnmatchcase(key, pattern) for pattern in patterns)]:
            phrases.append(f"{', '.join(dict.fromkeys(keys))} ({reason})")
    return phrases


def _unused_patterns(config: Any, strategy: Strategy) -> Iterator[tuple[Sequence[str], str]]:
    """Yield patterns of keys that this run does not use, and the reason."""
    if not strategy.by_gradient:
        yield OF_STEPS, f"{strategy.config_name()} takes no gradient steps"
        if config.task.get("weights") == UNCERTAINTY:
            yield ["task.weights"], f"{strategy.config_name()} takes no gradient steps"
    elif config.strategy.get("lr") is not None:
        yield ["optimizer.lr", "strategy.lr_factor"], "strategy.lr is given"
    if strategy.batch_norm != "adapt":
        yield ["strategy.batch_norm_images"], f"strategy.batch_norm is {strategy.batch_norm}"
    if not strategy.pretrained:
        yield ["backbone.weights"], "the strategy starts from random weights"
    features = config.get("features") or {}
    if not features.get("enabled", False):
        yield [*OF_FEATURES, "features.dir"], "features.enabled is false"
    elif not strategy.plan.prefix_end:
        yield OF_FEATURES, "no lower stage is frozen"
    elif "mixed" in str(config.trainer.get("precision")):
        yield ["features.precision"], "trainer.precision is mixed"
    if features.get("enabled", False) and strategy.plan.prefix_end and not strategy.augmented:
        yield ["features.views"], "nothing is augmented"
    if not strategy.augmented:
        yield ["augmentation.where"], "nothing is augmented"
    if config.trainer.get("gradient_clip_val") is None:
        yield ["trainer.gradient_clip_algorithm"], "trainer.gradient_clip_val is null"
    if (config.get("head") or {}).get("pooling") != "gem":
        yield ["head.gem_p"], "head.pooling is not gem"
    task = config.task
    if task.get("masked") == 0:
        yield ["task.cell"], "task.masked is 0"
    if task.get("method") == "vicreg":
        yield ["task.temperature"], "task.method is vicreg"
    if (loss := task.get("loss")) in ("mse", "mae", "huber"):
        yield ["task.bins"], f"task.loss is {loss}"
    if strategy.backbone.signature.channels != 3:
        yield ["task.colour"], "images do not have three channels"


def _key_and_value(override: str) -> tuple[str, str | None]:
    """Return the key and the value of a setting as it was typed; the value is None for a removed setting."""
    key, _, value = override.partition("=")
    return key.lstrip("+").split("@")[0].replace("/", "."), None if key.startswith("~") else value
