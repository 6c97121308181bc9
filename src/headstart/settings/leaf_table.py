"""Declare the accepted values of each setting, once, in one table. Needs no torch.

``check_leaves`` checks all settings before torch is imported. Classes check their own parameters with
``check_parameters`` and ``check_setting``, so both give the same error. A setting without a row is checked here only
for NaN and infinity, and later by its class; ``settings/arguments.py`` checks classes of other libraries by
annotations.
"""

import re
from collections.abc import Mapping
from typing import Any

from headstart.errors import ConfigError
from headstart.settings.leaves import (
    SMALLEST_RATE,
    Leaf,
    boolean,
    check_leaf,
    check_plain,
    either,
    is_number,
    is_whole,
    listed,
    mapping,
    matching,
    number,
    one_of,
    optional,
    pair,
    text,
    unset,
    whole,
)

LOGGED = ("validation/loss", "train/loss", "samples_per_second")  # each epoch, besides the primary metric
LIBRARIES = ("headstart", "torch", "pytorch_lightning", "torchvision", "timm")  # the table holds for their classes
SHARE = number(0, 1).expecting("a fraction from 0 to 1")
BETWEEN = number(0, 1, above=True, below=True).expecting("a number between 0 and 1")
BELOW_ONE = number(0, 1, below=True)
POSITIVE = number(0, above=True)
NOT_NEGATIVE = number(0)
MAYBE = optional(boolean())
SIZE = matching(r"(?i)\s*\d+(\.\d*)?\s*([KMGT]?i?B|[KMGT])?\s*", "a size such as 2GB, 500MB, or a number of bytes")
BYTES = either(Leaf(lambda value: is_whole(value) and value >= 0, ""), SIZE, words=SIZE.expected)
RATE = number(SMALLEST_RATE).expecting("a number above 0, such as 0.002")
STAGE_NAMES = either(
    text(""), listed(text(""), "", least=0), words="names of stages in brackets, as in [stage2,stage3]"
)
STRENGTHS = either(POSITIVE, listed(POSITIVE, ""), words="one or more numbers above 0")
SHARES = either(SHARE, listed(SHARE, ""), words="one or more fractions from 0 to 1")
COUNTS = either(whole(1), listed(whole(1), ""), words="one or more whole numbers above 0")
FACTORS = pair(0, 100, "two factors, the smaller one first, such as [0.6, 1.4]")
RATIOS = pair(0.01, 100, "two aspect ratios, the smaller one first, such as [0.75, 1.33]")
BATCHES = optional(
    either(
        whole(1),
        Leaf(lambda value: isinstance(value, float) and 0 < value <= 1, ""),
        words="a number of batches above 0, or a fraction of them such as 0.5",
    )
)
SIDE = optional(whole(1, 2**14), "a whole number above 0 and at most 16384, such as 64, or null")  # pixels
IMAGES = optional(whole(1, such=", such as 64"))  # number of images of each class
COLUMN = text("the name of a column")
SEED = Leaf(is_whole, "a whole number")
PART_OF_ALL = BETWEEN.expecting("a fraction between 0 and 1, such as 0.2")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true")
SHORT_PRECISIONS = ("32", "64", "16", "bf16")  # Lightning's other names for some of them
TIME = either(
    matching(r"(?!00:00:00:00)\d\d:\d\d:\d\d:\d\d", "a time such as 00:12:00:00 (days to seconds)"),
    mapping("{hours: 12}", NOT_NEGATIVE, ("weeks", "days", "hours", "minutes", "seconds")),
)

ANY_GROUP = {
    "_target_": text("the class to make, as in headstart.strategies.HeadOnly"),
    "_partial_": boolean(),
    "_recursive_": boolean(),
    "_convert_": one_of("none", "partial", "object", "all"),
}
DATASET = {  # rules.check_dataset adds the checks that concern several settings
    "root": Leaf(lambda value: value is None or isinstance(value, str) or is_whole(value),
                 "the path of your images, such as my_images"),
    "image_size": SIDE,
    "name": optional(text("a name")),
    "batch_size": whole(1, such=", such as 64"),
    "labels_per_class": IMAGES,
    "validation_labels_per_class": IMAGES,
    "num_workers": either(one_of("auto"), whole(0, 1024)),
    "balance": one_of("none", "loss", "sampler").expecting("none, loss or sampler"),
    "validation_fraction": PART_OF_ALL,
    "test_fraction": PART_OF_ALL,
    "test_split": optional(text("the name of a split, such as val")),
    "folds": optional(whole(2), "a whole number above 1, such as 5, or null"),
    "fold": whole(0),
    "crop_fraction": optional(number(0, 1, above=True), "a fraction above 0 and at most 1, or null"),
    "resize": one_of("crop", "squish", "pad").expecting("crop, squish or pad"),
    "bits": optional(whole(1, 32, such=", such as 12")),
    "on_error": one_of("raise", "skip"),
    "near_duplicates": boolean(),
    "allow_outside": boolean(),
    "set_name": text("a name of torchvision's"),
    "download": boolean(),
    "path_column": COLUMN,
    "label_column": COLUMN,
    "targets": optional(either(text(""), listed(text(""), "", distinct=True),
                               words="one or more columns, each once, as in [sky,road]")),
    "split_column": optional(COLUMN),
    "group_column": optional(COLUMN),
    "pictures": optional(matching(r".*\S.*", "the path of a folder")),
    "palette": optional(text("the path of a file with a colour and a name in each line")),
    "ignore_index": optional(whole(0, 65535, such=", such as 255")),
    "patch": whole(8, 80).expecting("8 to 80 pixels, because the smallest photograph is 172 pixels high"),
    "counts": listed(whole(1), "three whole numbers, as in [100,20,50]", 3, 3),
}  # fmt: skip
BACKBONE = {
    "name": text("the name of a network"),
    "weights": optional(text("imagenet, the path of a file")),
    "image_size": SIDE,
    "drop_path": optional(BELOW_ONE),
}
AUGMENTATION = {  # of views and mixes
    "share": SHARE,
    "flip": SHARE,
    "cutmix": SHARE,
    "grey": SHARE,
    "slack": SHARE,
    "severity": number(0.1, 10),
    "width": whole(1, 16),
    "depth": either(whole(1, 16), pair(1, 16, "", whole_numbers=True),
                    words="one or two whole numbers from 1 to 16, the smaller one first, such as [1, 3]"),
    "alpha": number(0, 1000, above=True),
    "mixup_alpha": number(0, 1000, above=True),
    "cutmix_alpha": number(0, 1000, above=True),
    "jsd": NOT_NEGATIVE,
    "policy": text("imagenet, cifar10, svhn, or the file of a learned policy"),
    "sigma": pair(0.01, 100, "two standard deviations in pixels, such as [0.1, 2]"),
    "brightness": FACTORS,
    "contrast": FACTORS,
    "saturation": FACTORS,
    "hue": pair(-0.5, 0.5, "two fractions of a turn, such as [-0.05, 0.05]"),
    "scale": pair(1e-4, 1, "two fractions of the area, the smaller one first, such as [0.35, 1]"),
    "area": pair(1e-4, 1, "two fractions of the area, such as [0.02, 0.33]"),
    "ratio": RATIOS,
    "copies": whole(1, 64),
    "quality": pair(1, 100, "two qualities from 1 to 100, such as [30, 95]"),
    "stages": optional(listed(text(""), "a list of stages, each once, such as [input, stage1]", distinct=True)),
    "operations": whole(1, 16),
    "magnitude": number(0, 1000),
    "bins": whole(2, 1001),
    "fill": one_of("noise", "black", "grey"),
}  # fmt: skip
STRATEGY = {
    "lr": optional(either(RATE, one_of("auto")), "a number above 0, auto, or null for optimizer.lr"),
    "head_lr_multiplier": POSITIVE,
    "head_bias_lr_multiplier": optional(POSITIVE),
    "layer_decay": number(0, 1, above=True),
    "stage_lr": optional(mapping("rates by stage, as in {stem: 1e-5, stage*: 1e-4}", RATE)),
    "lr_factor": POSITIVE,
    "decay_norm_bias": boolean(),
    "batch_norm": one_of("auto", "frozen", "update", "adapt", "batch", kind="mode"),
    "batch_norm_images": whole(64),
    "channels_last": boolean(),
    "tuned": boolean(),
    "train_stages": STAGE_NAMES,
    "stages": optional(whole(0)),
    "epochs_per_stage": whole(1),
    "rank": whole(1),
    "reduction": whole(1),
    "alpha": NOT_NEGATIVE,
    "beta": NOT_NEGATIVE,
    "dropout": BELOW_ONE,
    "l2": STRENGTHS,
    "loss": one_of("logistic", "hinge", kind="loss"),
    "views": optional(whole(1)),
    "refit": boolean(),
    "neighbours": COUNTS,
    "temperature": POSITIVE,
    "mixes_tried": SHARES,
}
TASK = {
    "label_smoothing": BELOW_ONE,
    "loss": one_of("mse", "mae", "huber", "bins"),
    "dice": NOT_NEGATIVE,
    "bins": whole(3, 1000),
    "parts": mapping("outputs by name, as in {species: {kind: classification, column: label}}"),
    "weights": optional(either(one_of("uncertainty"), mapping("weights"),
                               words="a weight for each output, as in {species: 1, box: 0.5}, or uncertainty")),
    "primary": optional(text("the name of an output")),
    "bottleneck": whole(1, 65536, such=", such as 128"),
    "decoder": one_of("upsampling", "transposed"),
    "noise": NOT_NEGATIVE,
    "masked": BELOW_ONE,
    "cell": whole(1, 2**14, such=", such as 8"),
    "method": one_of("simclr", "vicreg"),
    "temperature": POSITIVE,
    "hidden": whole(0, 65536, such=", such as 512"),
    "embedding": whole(2, 65536, such=", such as 128"),
    "patch": optional(whole(6, 2**14, such=", such as 32")),
    "gap": number(0, 10),
    "jitter": number(0, 10),
    "colour": one_of("drop", "project", "keep"),
}  # fmt: skip
HEAD = {
    "stages": optional(either(text(""), listed(text(""), "", distinct=True),
                              words="one or more stages, each once, as in [stage2,stage3]")),
    "pooling": optional(one_of("avg", "max", "avgmax", "gem", kind="pooling")),
    "gem_p": POSITIVE,
    "dropout": BELOW_ONE,
    "init": one_of("default", "zeros", "gaussian", "class_means"),
    "hidden": either(whole(1), listed(whole(1), "", 1, 2), words="one or two widths, as in [256] or [512,128]"),
    "scale": POSITIVE,
    "width": whole(8, 4096, such=", such as 64"),
}  # fmt: skip
OPTIMIZER = {
    "lr": RATE,
    "weight_decay": NOT_NEGATIVE,
    "momentum": BELOW_ONE,
    "dampening": NOT_NEGATIVE,
    "betas": listed(BELOW_ONE, "two numbers of at least 0 and below 1, such as [0.9,0.999]", 2, 2),
    "eps": NOT_NEGATIVE,
    "trust_coeff": POSITIVE,
    "max_grad_norm": optional(POSITIVE),
    **dict.fromkeys("nesterov amsgrad maximize".split(), boolean()),
    **dict.fromkeys(("capturable", "differentiable"), one_of(False)),  # for CUDA graphs and gradients through steps
    **dict.fromkeys(("foreach", "fused"), MAYBE),
}
SCHEDULER = {
    "warmup": BELOW_ONE,
    "start_factor": number(0, 1, above=True),
    "end_factor": number(0, 1, above=True),
    "factor": BETWEEN,
    "min_factor": BELOW_ONE,
    "patience": whole(0),
}
TRAINER = {
    "max_epochs": whole(1, such=", such as 10"),
    "min_epochs": optional(whole(0)),
    "min_steps": optional(whole(0)),
    "max_time": optional(TIME),
    "barebones": one_of(False),
    "accelerator": text("auto, cpu, gpu, or another accelerator of Lightning's"),
    "devices": either(whole(1), one_of(-1, "auto"), matching(r"\d+(,\d+)*", ""), listed(whole(0), ""),
                      words="a whole number above 0, auto, or a list of devices such as [0,1]"),
    "num_nodes": whole(1),
    "strategy": optional(text("ddp or fsdp")),
    "precision": optional(one_of(*PRECISIONS, *SHORT_PRECISIONS, 64, 32, 16)),
    **dict.fromkeys(("auto_batch", "keep_memory"), boolean()),
    "gradient_clip_val": optional(POSITIVE, "a number above 0, or null for no clipping"),
    "gradient_clip_algorithm": optional(one_of("norm", "value")),
    "accumulate_grad_batches": whole(1),
    "deterministic": optional(either(boolean(), one_of("warn"), words="true, false or warn")),
    **dict.fromkeys((f"limit_{split}_batches" for split in ("train", "val", "test", "predict")), BATCHES),
    "overfit_batches": Leaf(lambda value: is_number(value) and value == 0, "0, as it would validate on training images;"
                            " use limit_train_batches"),
    "fast_dev_run": Leaf(lambda value: value is False or (is_whole(value) and value == 0),
                         "false, as it keeps no epoch to test; use debug=fast"),
    "model_registry": optional(text("a name")),
    "reload_dataloaders_every_n_epochs": whole(0),
    **dict.fromkeys(("log_every_n_steps", "num_sanity_val_steps"), whole(0)),
    **dict.fromkeys(
        "inference_mode detect_anomaly sync_batchnorm use_distributed_sampler enable_autolog_hparams".split(),
        boolean(),
    ),
    **dict.fromkeys("benchmark enable_progress_bar enable_model_summary".split(), MAYBE),
    "enable_checkpointing": optional(one_of(True), "true, as the best epoch is chosen among checkpoints"),
    "profiler": optional(either(one_of("simple", "advanced", "pytorch", "xla"), mapping("a profiler of Lightning's"))),
    "logger": unset("add to the group logger"),
    "callbacks": unset("add to the group callbacks"),
    "default_root_dir": unset("use output_dir"),
}  # fmt: skip
CALLBACKS = {  # of each callback
    "monitor": optional(Leaf(
        lambda value: bool(re.fullmatch(r"(train|validation|learning_rate)/.+|samples_per_second", str(value))),
        f"a number logged each epoch: the primary metric such as validation/accuracy, {', '.join(LOGGED)}", LOGGED,
    )),
    "mode": optional(one_of("min", "max")),
    "patience": whole(0),
    "min_delta": number(),
    **dict.fromkeys("verbose strict check_finite log_rank_zero_only save_weights_only save_on_exception"
                    " auto_insert_metric_name enable_version_counter".split(), boolean()),
    **dict.fromkeys(("check_on_train_epoch_end", "save_on_train_epoch_end"), MAYBE),
    "stopping_threshold": optional(number()),
    "divergence_threshold": optional(number()),
    "decay": BETWEEN,
    "start": BELOW_ONE.expecting("a fraction of the epochs of at least 0 and below 1"),
    "save_top_k": whole(-1),
    **dict.fromkeys(("every_n_epochs", "every_n_train_steps"), optional(whole(0))),
}  # fmt: skip
LOGGER = {  # of each logger
    "project": text("a name"),
    "group": optional(text("a name, or null for the name of the folder of the sweep")),
    "dir": text("a folder"),
}
FEATURES = {
    "enabled": boolean(),
    "dir": optional(text("a folder")),
    "engine": one_of("auto", "torch", "onnxruntime", "compile", kind="engine"),
    "precision": one_of("float32", "bf16", "auto", kind="precision"),
    "views": optional(whole(1), "the number of augmented views to cache per image, such as 4, or null for new ones"),
    "refit": boolean(),
    "memory_limit": either(one_of("auto"), BYTES),
    "max_size": BYTES,
}
SWEEP = {
    "skip_finished": boolean(),
    "resume": boolean(),
    "retry": whole(0),
    "checkpoint_share": SHARE,
}
POLICY = {  # of headstart policy
    "output": text("the path of a file, such as policy.json"),
    "real": one_of("validation", "train"),
    "image_size": whole(8),
    "most_pictures": whole(2),
    **dict.fromkeys("sub_policies steps epochs batches batch_size critic_steps measure_steps".split(), whole(1)),
    **dict.fromkeys("lr critic_lr temperature application_temperature".split(), POSITIVE),
    **dict.fromkeys("gradient_penalty class_weight".split(), NOT_NEGATIVE),
    "operations": optional(listed(text(""), "a list of two operations or more, such as [rotate,brightness]", 2)),
    "choice": one_of("sampled", "mixed"),
    "seed": SEED,
}
GROUPS = {
    "dataset": DATASET, "backbone": BACKBONE, "strategy": STRATEGY, "task": TASK, "head": HEAD,
    "optimizer": OPTIMIZER, "scheduler": SCHEDULER, "trainer": TRAINER, "features": FEATURES, "sweep": SWEEP,
    "policy": POLICY,
}  # fmt: skip
# Groups whose settings belong to named parts, as in augmentation.blur.sigma.
OF_PARTS: dict[str, dict[str, Leaf]] = {"augmentation": AUGMENTATION, "callbacks": CALLBACKS, "logger": LOGGER}


def check_setting(key: str, value: Any) -> Any:
    """Return the value of a setting; ``key`` is its dotted name, as in strategy.lr. Raises ConfigError."""
    group, _, name = key.rpartition(".")
    check_leaf(key, value, _rows(group)[name])
    return value


def check_parameters(group: str, parameters: Mapping[str, Any]) -> None:
    """Check the parameters of a class that have rows in the table; others, such as ``self``, are ignored.

    ``group`` is the dotted name of the settings, as in features or augmentation.blur. Raises ConfigError.
    """
    for name, leaf in _rows(group).items():
        if name in parameters:
            check_leaf(f"{group}.{name}", parameters[name], leaf)


def _rows(group: str) -> Mapping[str, Leaf]:
    """Return the rows of a group, or of a part of a group, by its dotted name."""
    return OF_PARTS[group.split(".")[0]] if "." in group else GROUPS[group]


def check_leaves(settings: Mapping[str, Any]) -> None:
    """Raise ConfigError for the first setting that does not fit its row."""
    for group, rows in GROUPS.items():
        _check_group(group, rows, settings.get(group) or {})
    for group, rows in OF_PARTS.items():
        for name, part in (settings.get(group) or {}).items():
            if isinstance(part, Mapping):
                _check_group(f"{group}.{name}", rows, part)
            elif group != "augmentation":
                raise ConfigError(f"{group}.{name}={part}: expected a group of settings with a _target_.")


def _check_group(group: str, rows: Mapping[str, Leaf], settings: Mapping[str, Any]) -> None:
    """Check the settings of one group, unless its class is from a package outside ``LIBRARIES``."""
    if str(settings.get("_target_", "headstart")).partition(".")[0] not in LIBRARIES:
        return
    for name, value in settings.items():
        key = f"{group}.{name}"
        leaf = rows.get(name) or ANY_GROUP.get(name)
        if leaf is not None:
            check_leaf(key, value, leaf)
        elif not name.endswith("seed"):  # early_checks.check_seeds checks seeds
            check_plain(key, value)
