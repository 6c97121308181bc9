"""Search a policy by gradients: Faster AutoAugment (Hataya et al. 2019, arXiv:1911.06987).

A critic separates augmented training images from real ones (Wasserstein with gradient penalty, Gulrajani et al. 2017,
arXiv:1704.00028). The policy learns to make them similar. The choice, application and magnitude of every operation are
relaxed, so that gradients of the critic reach them. A classifier on the critic's layers keeps images in their class.

With ``choice`` "mixed", each step mixes all operations, as in the paper. With "sampled", the forward pass applies one
operation per image, as the final policy does, by a straight-through Gumbel-softmax (Jang et al. 2016,
arXiv:1611.01144).
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from headstart.augmentations.learned.policy import OperationChoice, Policy, Stage
from headstart.augmentations.learned.relaxed import OPERATIONS, RANGES, apply
from headstart.errors import ConfigError, nearest
from headstart.progress import counted
from headstart.seeds import generator as rng_of
from headstart.seeds import stream
from headstart.settings.leaf_table import check_parameters

LEAST_PROBABILITY = 0.02  # the policy file omits operations with a lower one in their step
TINY = 1e-6
BETAS = (0.0, 0.999)  # Adam's, as in the paper


@dataclass(frozen=True)
class SearchSettings:
    """The settings of a search, with the names of the keys under ``policy`` in the config."""

    sub_policies: int = 5
    steps: int = 2  # operations applied to each image
    operations: Sequence[str] = OPERATIONS
    epochs: int = 10
    batches: int = 25  # per epoch, independent of the number of images
    batch_size: int = 64
    lr: float = 0.1
    critic_lr: float = 0.001
    critic_steps: int = 1  # for each step of the policy
    gradient_penalty: float = 10.0
    class_weight: float = 0.5
    choice: str = "sampled"
    temperature: float = 0.5  # of the choice of operations
    application_temperature: float = 0.3  # of the decision to apply an operation
    measure_steps: int = 100  # of a new critic that measures the distance, before and after
    seed: int = 0

    def __post_init__(self) -> None:
        check_parameters("policy", vars(self))
        for name in self.operations:
            if name not in OPERATIONS:
                raise ConfigError(f"policy.operations: there is no operation '{name}'.{nearest(name, OPERATIONS)}")


class RelaxedPolicy(nn.Module):
    """A differentiable policy; its parameters have shape (sub-policies, steps, operations).

    ``weights`` are logits of the choice and ``probabilities`` logits of the application. ``magnitudes`` are logits of a
    magnitude from 0 to 1 (see ``relaxed.RANGES``), and ``spreads`` logits of the width of its range.
    """

    def __init__(self, settings: SearchSettings, generator: Generator) -> None:
        super().__init__()
        self.settings, self.operations = settings, tuple(settings.operations)
        shape = (settings.sub_policies, settings.steps, len(self.operations))
        self.weights = nn.Parameter(torch.zeros(shape))
        self.probabilities = nn.Parameter(torch.zeros(shape))
        self.magnitudes = nn.Parameter(torch.randn(shape, generator=generator))
        self.spreads = nn.Parameter(torch.full(shape, -1.5))

    def forward(self, images: Tensor, generator: Generator) -> Tensor:
        """Return images (N, 3, H, W) in [0, 1] augmented, each by its own sub-policy."""
        chosen = torch.randint(self.settings.sub_policies, (len(images),), generator=generator)
        for step in range(self.settings.steps):
            images = self._step(images, chosen, step, generator)
        return images

    def _step(self, images: Tensor, chosen: Tensor, step: int, generator: Generator) -> Tensor:
        weights, probabilities = self.weights[chosen, step], self.probabilities[chosen, step]  # (N, operations)
        units = self._units(self.magnitudes[chosen, step], self.spreads[chosen, step], generator)
        signs = torch.randint(2, units.shape, generator=generator) * 2.0 - 1
        applied = relaxed_bernoulli(probabilities, self.settings.application_temperature, generator)
        shares = self._shares(weights, generator)
        result = torch.zeros_like(images)
        for number, name in enumerate(self.operations):
            # Without gradients, operations of weight 0 need not be computed.
            needed = slice(None) if shares.requires_grad else shares[:, number].nonzero().squeeze(1)
            given, units_of, signs_of = images[needed], units[needed, number], signs[needed, number]
            changed = apply(name, given, self._physical(name, units_of, signs_of)) if len(given) else given
            changed = torch.lerp(given, changed, _per_image(applied[needed, number]).expand_as(given))
            result[needed] += _per_image(shares[needed, number]) * changed
        return result

    def _units(self, magnitudes: Tensor, spreads: Tensor, generator: Generator) -> Tensor:
        """Draw magnitudes from 0 to 1 uniformly, reparametrised so that both ends of the range learn."""
        low, high = _range(magnitudes, spreads)
        return torch.lerp(low, high, torch.rand(magnitudes.shape, generator=generator))

    @staticmethod
    def _physical(name: str, units: Tensor, signs: Tensor) -> Tensor:
        span = RANGES.get(name)
        if span is None:
            return units
        return span.physical(units) * (signs if span.signed else 1)

    def _shares(self, weights: Tensor, generator: Generator) -> Tensor:
        """Return the weight of each operation's result for each image; weights sum to 1."""
        if self.settings.choice == "mixed":
            return (weights / self.settings.temperature).softmax(dim=1)
        uniform = torch.rand(weights.shape, generator=generator).clamp(TINY, 1 - TINY)
        soft = ((weights - (-uniform.log()).log()) / self.settings.temperature).softmax(dim=1)
        hard = F.one_hot(soft.argmax(dim=1), soft.shape[1]).to(soft)
        return hard + (soft - soft.detach())

    def chances(self) -> Tensor:
        """Return the final policy's probability of each operation in its step: (sub-policies, steps, operations)."""
        mixed = self.settings.choice == "mixed"
        return (self.weights.detach() / (self.settings.temperature if mixed else 1.0)).softmax(dim=-1)

    def policy(self) -> Policy:
        """Return the learned policy without rarely chosen operations."""
        chances = self.chances()
        return Policy(
            tuple(
                tuple(self._stage(sub, step, chances[sub, step].tolist()) for step in range(self.settings.steps))
                for sub in range(self.settings.sub_policies)
            )
        )

    def _stage(self, sub: int, step: int, chances: Sequence[float]) -> Stage:
        keep = [number for number, chance in enumerate(chances) if chance >= min(LEAST_PROBABILITY, max(chances))]
        total = sum(chances[number] for number in keep)
        probabilities = self.probabilities.detach().sigmoid()
        low, high = _range(self.magnitudes.detach(), self.spreads.detach())
        choices = []
        for number in keep:
            name = self.operations[number]
            probability = float(probabilities[sub, step, number])
            span = RANGES.get(name)
            weight = _four_digits(chances[number] / total)
            if span is None:
                choices.append(OperationChoice(name, weight, _four_digits(probability)))
                continue
            ends = [float(span.physical(end[sub, step, number])) for end in (low, high)]
            magnitude, spread = _four_digits(sum(ends) / 2), _four_digits(abs(ends[1] - ends[0]) / 2)
            choices.append(OperationChoice(name, weight, _four_digits(probability), magnitude, spread))
        return tuple(sorted(choices, key=lambda choice: -choice.weight))


def _range(magnitudes: Tensor, spreads: Tensor) -> tuple[Tensor, Tensor]:
    """Return the least and largest magnitude, from 0 to 1, given logits of the middle and of the full width."""
    middle, half = magnitudes.sigmoid(), spreads.sigmoid() / 2
    return (middle - half).clamp(min=0), (middle + half).clamp(max=1)


def relaxed_bernoulli(logits: Tensor, temperature: float, generator: Generator) -> Tensor:
    """Draw numbers from 0 to 1; at low temperature they approach 1 with probability sigmoid(logits), otherwise 0.

    Equation 3 of the paper, after Maddison et al. 2016 (arXiv:1611.00712).
    """
    uniform = torch.rand(logits.shape, generator=generator).clamp(TINY, 1 - TINY)
    return ((logits + uniform.log() - (-uniform).log1p()) / temperature).sigmoid()


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _four_digits(value: float) -> float:
    """Return the value with four digits, because a search is no more precise."""
    return float(f"{value:.4g}")


class Critic(nn.Module):
    """A score of how real each image looks, and logits of its class, from shared layers.

    There is no normalisation: the gradient penalty is per image (Gulrajani et al., section 4), and brightness matters.
    """

    def __init__(self, num_classes: int, width: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
        )
        self.real = nn.Linear(64 * width, 1)
        self.classes = nn.Linear(64 * width, num_classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores (N,) and logits (N, classes) of images (N, 3, H, W) in [0, 1]."""
        features = self.layers(images * 2 - 1)
        return self.real(features).squeeze(1), self.classes(features)


def gradient_penalty(critic: Critic, real: Tensor, made: Tensor, generator: Generator) -> Tensor:
    """Return (gradient norm - 1)^2 of the critic between real and augmented images (Gulrajani et al., equation 3)."""
    share = torch.rand(len(real), 1, 1, 1, generator=generator)
    between = torch.lerp(real, made, share.expand_as(real)).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between)[0].sum(), between, create_graph=True)
    return ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()


@dataclass(frozen=True)
class SearchImages:
    """Images (N, 3, S, S) uint8 with labels (N,)."""

    images: Tensor
    labels: Tensor

    def batches(self, size: int, generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images in [0, 1] with labels endlessly; every image comes once before any comes again."""
        size = min(size, len(self.images))
        order = torch.empty(0, dtype=torch.int64)
        while True:
            while len(order) < size:
                order = torch.cat([order, torch.randperm(len(self.images), generator=generator)])
            now, order = order[:size], order[size:]
            yield self.images[now].float() / 255, self.labels[now]


@dataclass(frozen=True)
class SearchEpoch:
    """The means over the batches of an epoch."""

    number: int  # from 1
    distance: float  # between real and augmented images, by the critic
    class_loss: float  # of augmented images, cross-entropy in nats


@dataclass(frozen=True)
class FoundPolicy:
    """A policy, and the distances that newly trained critics measure."""

    policy: Policy
    before: float  # distance between real images and the unchanged training images
    after: float  # distance between real images and the augmented training images
    epochs: list[SearchEpoch] = field(default_factory=list)


def search(
    train: SearchImages,
    real: SearchImages,
    settings: SearchSettings,
    report: Callable[[SearchEpoch], object] = lambda epoch: None,
) -> FoundPolicy:
    """Return a policy that makes ``train`` look like ``real``. The same seed gives the same policy, bit for bit.

    ``report`` is called after each epoch. The global random generators are not touched.
    """
    generator = Generator().manual_seed(stream("policy", settings.seed))
    num_classes = int(max(train.labels.max(), real.labels.max())) + 1
    critic = _new_critic(num_classes, stream("policy critic", settings.seed))
    untouched = copy.deepcopy(critic)
    relaxed = RelaxedPolicy(settings, generator)
    epochs = []
    rounds = _rounds(relaxed, critic, train, real, settings, generator)
    for number in range(1, settings.epochs + 1):
        steps = counted(range(settings.batches), f"epoch {number} of {settings.epochs}", settings.batches, "steps")
        distances, losses = zip(*(next(rounds) for _ in steps), strict=True)
        epoch = SearchEpoch(number, sum(distances) / len(distances), sum(losses) / len(losses))
        epochs.append(epoch)
        report(epoch)
    policy = relaxed.policy()
    before = distance(copy.deepcopy(untouched), None, train, real, settings)
    after = distance(untouched, policy, train, real, settings)
    return FoundPolicy(policy, before, after, epochs)


def _rounds(
    relaxed: RelaxedPolicy,
    critic: Critic,
    train: SearchImages,
    real: SearchImages,
    settings: SearchSettings,
    generator: Generator,
) -> Iterator[tuple[float, float]]:
    """Alternate the critic's steps with one policy step, endlessly; yield the distance and the class loss."""
    size = min(settings.batch_size, len(train.images), len(real.images))
    ours, theirs = train.batches(size, generator), real.batches(size, generator)
    critics = torch.optim.Adam(critic.parameters(), settings.critic_lr, betas=BETAS)
    policies = torch.optim.Adam(relaxed.parameters(), settings.lr, betas=BETAS)
    while True:
        for _ in range(settings.critic_steps):
            with torch.no_grad():
                made = relaxed(next(ours)[0], generator)
            gap = _critic_step(critic, critics, next(theirs), made, settings, generator)
        images, labels = next(ours)
        scores, logits = critic(relaxed(images, generator))
        class_loss = F.cross_entropy(logits, labels)
        loss = settings.class_weight * class_loss - scores.mean()
        policies.zero_grad()
        loss.backward(inputs=list(relaxed.parameters()))
        policies.step()
        yield gap, float(class_loss.detach())


def _critic_step(
    critic: Critic,
    optimizer: torch.optim.Optimizer,
    real: tuple[Tensor, Tensor],
    made: Tensor,
    settings: SearchSettings,
    generator: Generator,
) -> float:
    images, labels = real
    scores, logits = critic(images)
    gap = scores.mean() - critic(made)[0].mean()
    penalty = settings.gradient_penalty * gradient_penalty(critic, images, made, generator)
    loss = penalty - gap + settings.class_weight * F.cross_entropy(logits, labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(gap.detach())


def distance(
    critic: Critic, policy: Policy | None, train: SearchImages, real: SearchImages, settings: SearchSettings
) -> float:
    """Train a new critic to separate real images from the policy's, and return the distance it measures.

    The distance is the mean over the last quarter of ``measure_steps``. Without a policy, images are left unchanged.
    """
    generator = Generator().manual_seed(stream("policy distance", settings.seed))
    rng = rng_of("policy distance", settings.seed)
    size = min(settings.batch_size, len(train.images), len(real.images))
    ours, theirs = train.batches(size, generator), real.batches(size, generator)
    optimizer = torch.optim.Adam(critic.parameters(), settings.critic_lr, betas=BETAS)
    gaps = []
    for _ in counted(range(settings.measure_steps), "measuring the distance", settings.measure_steps, "steps"):
        images, _ = next(ours)
        made = images if policy is None else augmented(images, policy, rng)
        gaps.append(_critic_step(critic, optimizer, next(theirs), made, settings, generator))
    last = gaps[-max(1, settings.measure_steps // 4) :]
    return sum(last) / len(last)


def augmented(images: Tensor, policy: Policy, rng: np.random.Generator) -> Tensor:
    """Return images (N, 3, H, W) in [0, 1] after the policy, with a separate draw for each."""
    drawn = [policy.draw(rng) for _ in images]
    images = images.clone()
    for position in range(max((len(steps) for steps in drawn), default=0)):
        now = [(number, *steps[position]) for number, steps in enumerate(drawn) if len(steps) > position]
        for operation in sorted({name for _, name, _ in now}):
            numbers = [number for number, name, _ in now if name == operation]
            magnitudes = torch.tensor([magnitude for _, name, magnitude in now if name == operation])
            images[numbers] = apply(operation, images[numbers], magnitudes)
    return images


def _new_critic(num_classes: int, seed: int) -> Critic:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Critic(num_classes)
