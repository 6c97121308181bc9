"""Score a target by what a source's classifier answers for its images: NCE and LEEP."""

import numpy as np
from numpy.typing import ArrayLike

from headstart.similarity.distances import Floats
from headstart.similarity.transferability import labels_of


def negative_conditional_entropy(answers: ArrayLike, labels: ArrayLike) -> float:
    """Return NCE in nats, at most 0, larger is better: ``-H(label | answered source class)``.

    ``answers`` (N,) are the source classes that the classifier predicts, ``labels`` (N,) the target's classes (Tran et
    al. 2019, arXiv:1908.08142, eq. 1).
    """
    given = np.asarray(answers)
    numbers = labels_of(labels, len(given))
    _, places = np.unique(given, return_inverse=True)
    joint = np.zeros((places.max() + 1, numbers.max() + 1))
    np.add.at(joint, (places, numbers), 1 / len(numbers))
    conditional = joint / joint.sum(axis=1, keepdims=True)
    return float((joint * np.log(conditional, where=joint > 0, out=np.zeros_like(joint))).sum())


def leep(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Return LEEP in nats, at most 0, larger is better.

    ``probabilities`` (N, Z) are the source classifier's. The label of an image is predicted by the mean over the source
    classes of ``P(label | source class)``, estimated on the same images; LEEP is the mean log likelihood (Nguyen et al.
    2020, arXiv:2002.12462, eq. 2).
    """
    soft: Floats = np.asarray(probabilities, dtype=np.float64)
    if soft.ndim != 2 or not np.allclose(soft.sum(axis=1), 1, atol=1e-6) or (soft < 0).any():
        raise ValueError("Expected probabilities (N, Z), 0 or more, with the sum 1 in each row.")
    numbers = labels_of(labels, len(soft))
    joint = np.eye(numbers.max() + 1)[numbers].T @ soft / len(soft)  # (labels, Z)
    of_source = joint.sum(axis=0)
    conditional = np.divide(joint, of_source, where=of_source > 0, out=np.zeros_like(joint))
    return float(np.log((conditional[numbers] * soft).sum(axis=1)).mean())
