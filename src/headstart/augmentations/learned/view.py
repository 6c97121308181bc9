"""Apply the policy in a file."""

from pathlib import Path

import numpy as np

from headstart.augmentations.learned.policy import read_policy
from headstart.augmentations.operations import Step
from headstart.augmentations.policies import Operations


class Learned(Operations):
    """Apply a policy that ``headstart policy`` wrote to the file ``policy`` (Hataya et al. 2019, arXiv:1911.06987)."""

    def __init__(self, policy: str | Path) -> None:
        self.policy = read_policy(policy)

    def draw_steps(self, rng: np.random.Generator) -> list[Step]:
        """Draw a sub-policy, and the operations and magnitudes of its steps."""
        return self.policy.draw(rng)
