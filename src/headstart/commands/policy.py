"""headstart policy: search an augmentation by gradients and write it to a file."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from headstart import __version__
from headstart.commands.train import answered
from headstart.errors import ConfigError, DataError, nearest
from headstart.files import check_writable, expanded
from headstart.seeds import generator
from headstart.settings.configs import composed
from headstart.settings.early_checks import resolved_and_checked
from headstart.settings.leaf_table import check_parameters
from headstart.settings.leaves import is_whole
from headstart.tables import share_text, table_text

if TYPE_CHECKING:
    from headstart.augmentations.learned.policy import Policy
    from headstart.augmentations.learned.search import FoundPolicy, SearchImages, SearchSettings
    from headstart.data import ImageData, ImageSplit

log = logging.getLogger(__name__)
CONFIG = "policy"  # the name of the file in conf
OWN = ("output", "real", "image_size", "most_pictures")  # settings of this command, not of the search
HELP = """headstart policy: search an augmentation that makes training images like validation images

  headstart policy dataset=image_folder dataset.root=IMAGES policy.output=policy.json
  headstart train dataset=image_folder dataset.root=IMAGES augmentation=learned augmentation.policy=policy.json

The search (Faster AutoAugment, Hataya et al. 2019) needs no training run.
A critic learns to distinguish augmented training images from validation images.
Its gradients choose the operations, how often they are applied, and how strongly.
Test images are not used.
It takes about a minute on one core, whatever the number of images.
The same seed gives the same file.

  dataset=..., dataset.*        the images, as for headstart train
  policy.real=train             make one half of the training images like the other, as in the paper
  policy.operations=[rotate,brightness,identity]   choose from these operations only
  policy.sub_policies, policy.steps, policy.epochs, policy.lr, policy.critic_lr, policy.temperature, ...
  seed=1                        search with another seed
  --cfg job                     print all settings and stop
"""


def policy(arguments: Sequence[str]) -> int:
    """Search a policy with these settings, key=value; return the exit code.

    Exit codes: 2 for a wrong setting, 130 if interrupted. No file is written then.
    """

    def work(given: Sequence[str]) -> None:
        shown = "--cfg" in given
        settings = [argument for argument in given if not shown or argument not in ("--cfg", "job")]
        config, _ = composed(settings, CONFIG)
        if shown:
            print(OmegaConf.to_yaml(config), end="")
        else:
            _search_and_print(resolved_and_checked(config, settings))

    return answered(arguments, HELP, work, CONFIG)


def _search_and_print(config: DictConfig) -> None:
    from headstart.console import show_log, silence_lightning

    settings = search_settings(config)
    output = _writable(config.policy.output)
    silence_lightning()
    with show_log():
        found, provenance = _searched(config, settings)
        _write(output, found, provenance)
    print(f"\n{policy_table(found.policy)}\n")
    print(
        f"the critic's distance to the {provenance['real']} images: {found.before:.3g} without the policy,"
        f" {found.after:.3g} with it\nwritten to {output}",
        flush=True,
    )


def search_settings(config: DictConfig) -> "SearchSettings":
    """Return the settings of the search from the group ``policy``. Raises ConfigError."""
    from headstart.augmentations.learned.search import SearchSettings

    given: Any = OmegaConf.to_container(config.policy, resolve=True)
    check_parameters("policy", given)
    for name, seed in config.seeds.items():
        if not is_whole(seed):
            raise ConfigError(f"seeds.{name}={seed}: expected a whole number.")
    wanted = {name: value for name, value in given.items() if name not in OWN}
    operations = wanted.pop("operations")
    try:
        plain = SearchSettings(**wanted)
    except TypeError:
        names = [*SearchSettings.__dataclass_fields__, *OWN]
        unknown = next(name for name in wanted if name not in names)
        raise ConfigError(f"There is no setting 'policy.{unknown}'.{nearest(unknown, names)}") from None
    return plain if operations is None else replace(plain, operations=tuple(map(str, operations)))


def _writable(output: str) -> Path:
    """Return the path of the output file. Raises an error before the search if it cannot be written."""
    path = expanded(str(output))
    if path.is_dir():
        raise ConfigError(f"policy.output={output} is a folder; expected the path of a file, such as policy.json.")
    check_writable(path.parent, "choose another policy.output")
    return path


@dataclass(frozen=True)
class SearchPreprocessing:
    """Preprocessing to small squares, which suffice because a policy's magnitudes are degrees and fractions."""

    image_size: int
    interpolation: str = "bilinear"
    crop_fraction: float = 1.0


def _searched(config: DictConfig, settings: "SearchSettings") -> "tuple[FoundPolicy, dict[str, Any]]":
    """Return the policy and its provenance, which are equal in every repetition of the search."""
    from headstart.augmentations.learned.search import SearchEpoch, search
    from headstart.training.compose import make_data

    data = make_data(config)
    data.prepare(SearchPreprocessing(config.policy.image_size))
    train, real = both_sides(data, config.policy.real, config.policy.most_pictures, settings.seed)
    log.info(
        "%s: searching a policy that makes %d training images like %d %s images, at %d x %d pixels",
        data.name, len(train.images), len(real.images),
        "validation" if config.policy.real == "validation" else "other training",
        config.policy.image_size, config.policy.image_size,
    )  # fmt: skip
    begun = time.perf_counter()

    def log_epoch(epoch: SearchEpoch) -> None:
        log.info(
            "epoch %d of %d: distance %.3f, class loss %.3f, %.0f s",
            epoch.number, settings.epochs, epoch.distance, epoch.class_loss, time.perf_counter() - begun,
        )  # fmt: skip

    found = search(train, real, settings, log_epoch)
    provenance = {
        "headstart": __version__,
        "dataset": data.name,
        "dataset_fingerprint": data.fingerprint,
        "real": config.policy.real,
        "image_size": config.policy.image_size,
        "most_pictures": config.policy.most_pictures,
        "settings": {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(settings).items()},
        "seed": settings.seed,
        "pictures": {"train": len(train.images), "real": len(real.images)},
        "distance": {"before": found.before, "after": found.after},
    }
    return found, provenance


def both_sides(data: "ImageData", real: str, most: int, seed: int) -> "tuple[SearchImages, SearchImages]":
    """Return the images to augment and the images that they should look like; test images are not used."""
    if real == "validation":
        return _loaded(data.train, most, seed), _loaded(data.validation, most, seed)
    from headstart.augmentations.learned.search import SearchImages

    whole = _loaded(data.train, 2 * most, seed)
    if len(whole.images) < 4:
        raise DataError(f"policy.real=train: {data.name} has {len(whole.images)} training images; expected 4 or more.")
    order = generator("policy halves", seed).permutation(len(whole.images))
    first, second = (SearchImages(whole.images[part], whole.labels[part]) for part in np.array_split(order, 2))
    return first, second


def _loaded(split: "ImageSplit", most: int, seed: int) -> "SearchImages":
    """Return a split's images without views in memory, or a random ``most`` of them."""
    from headstart.augmentations.learned.search import SearchImages

    positions = np.arange(len(split))
    if len(positions) > most:
        positions = np.sort(generator("policy images", seed).permutation(positions)[:most])
    images, labels, *_ = split.without_views().__getitems__(positions.tolist())
    return SearchImages(images.contiguous(), labels)


def _write(output: Path, found: "FoundPolicy", provenance: Mapping[str, Any]) -> None:
    from headstart.augmentations.learned.policy import Policy, write_policy

    output.parent.mkdir(parents=True, exist_ok=True)
    write_policy(output, Policy(found.policy.sub_policies, provenance))


def policy_table(found: "Policy") -> str:
    """Return a table with a row per operation, most used first: the fraction of images, and the magnitude."""
    rows = []
    for name, share in found.use().items():
        typical = found.typical(name)
        used = share_text(share) if share < 1 else f"{100 * share:.0f} %"  # some sub-policies use it twice
        low, mean, high = (f"{value:.3g}" for value in typical) if typical else ("", "–", "")
        rows.append([name, used, mean, f"{low} to {high}" if typical else "–"])
    return table_text(["operation", "used", "magnitude", "mostly"], rows, [False, True, True, False])
