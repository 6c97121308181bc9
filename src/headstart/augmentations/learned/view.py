"""The view that a policy file describes."""

from pathlib import Path

import numpy as np

from headstart.augmentations.learned.policy import read_policy
from headstart.augmentations.operations import Step
from headstart.augmentations.policies import Operations


class Learned(Operations):
    """What ``headstart policy`` found (Hataya et al. 2019, arXiv:1911.06987); ``policy`` is the file that it wrote."""

    def __init__(self, policy: str | Path) -> None:
        self.policy = read_policy(policy)

    def draw_steps(self, rng: np.random.Generator) -> list[Step]:
        """A sub-policy, of each of its steps an operation, and whether and how strongly it is carried out."""
        return self.policy.draw(rng)
