"""Join the augmentation of a run: views of single images, then mixes of batches."""

from collections.abc import Mapping, Sequence

from headstart.augmentations.augmix import AugMix
from headstart.augmentations.mixes import INPUT, ManifoldMixup, Mix
from headstart.augmentations.pipeline import Pipeline
from headstart.augmentations.view import View
from headstart.errors import ConfigError, nearest


class Augmentation:
    """Views and mixes by name, each kind in the given order; all views come before all mixes.

    Raises ConfigError for parts that cannot be combined.
    """

    def __init__(self, parts: Mapping[str, View | Mix]) -> None:
        views = {name: part for name, part in parts.items() if isinstance(part, View)}
        mixes = {name: part for name, part in parts.items() if isinstance(part, Mix)}
        if others := [name for name in parts if name not in views and name not in mixes]:
            kind = type(parts[others[0]]).__name__
            raise ConfigError(
                f"augmentation.{others[0]}: {kind} is neither a View nor a Mix of headstart.augmentations."
            )
        self.names = [*views, *mixes]
        self.views, self.mixes = Pipeline(list(views.values())), list(mixes.values())
        self.consistency = max((view.jsd for view in self.views if isinstance(view, AugMix)), default=0.0)
        if self.consistency and mixes:
            raise ConfigError(
                f"augmentation: augmix.jsd compares views of one image, but {next(iter(mixes))} mixes several images;"
                " remove one of them."
            )
        within = [name for name, mix in mixes.items() if isinstance(mix, ManifoldMixup)]
        if within and within != list(mixes)[-1:]:
            raise ConfigError(f"augmentation: {within[0]} mixes inside the network: use it once, as the last mix.")

    def __bool__(self) -> bool:
        return bool(self.names)

    def check_labels(self) -> None:
        """Raise ConfigError for views that do not move the label images of their images."""
        for view in self.views:
            if isinstance(view, AugMix):
                raise ConfigError(
                    "augmentation: augmix averages an image with moved copies of it, so its mask fits none of them;"
                    " leave it out."
                )
            if not view.moves_labels:
                raise ConfigError(
                    f"augmentation: {type(view).__name__} does not say how masks move (View.move); leave it out."
                )

    def settle(self, stages: Sequence[str], read_from: int) -> None:
        """Choose the stages of manifold mixup in a network with these stages; the head reads from ``read_from`` up.

        Raises ConfigError for an unknown stage, or one above the lowest stage that the head reads.
        """
        for mix in self.mixes:
            if not isinstance(mix, ManifoldMixup):
                continue
            chosen = mix.settle(stages[: read_from + 1] if mix.stages is None else stages)
            known = [INPUT, *stages]
            for stage in chosen:
                if stage not in known:
                    raise ConfigError(
                        f"manifold_mixup.stages: there is no stage '{stage}'; expected some of {', '.join(known)}."
                        f"{nearest(stage, known)}"
                    )
                if stage != INPUT and stages.index(stage) > read_from:
                    raise ConfigError(
                        f"manifold_mixup.stages: the head reads {stages[read_from]}, which lies below {stage} and would"
                        " not be mixed."
                    )
