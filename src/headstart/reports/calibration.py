"""Where temperature scaling makes calibration worse, and why."""

from __future__ import annotations

import numpy as np

from headstart.comparison.formats import percent
from headstart.comparison.table import RunGroup
from headstart.kinds.class_scores import BINS, HARD, Calibration, Scores, TemperatureFit
from headstart.reports.analysis import Analysis

RISE = 0.01
"""A smaller rise of the expected calibration error is not worth a sentence."""
FEW = 5
"""Hard images decide where their share of the log-loss is this many times their share of the images."""


def worse_calibration(analysis: Analysis) -> list[str]:
    """Return a sentence for each row whose expected calibration error on test rises by temperature scaling."""
    lines = []
    evidence = analysis.evidence
    for panel in analysis.panels:
        for group in panel.groups:
            known = [evidence[run.id].scores for run in group.runs if run.id in evidence]
            fits = [
                (one, one.scaled, one.fit)
                for one in known
                if isinstance(one, Scores) and one.scaled is not None and one.fit is not None
            ]
            if fits and np.mean([after.ece - one.unscaled.ece for one, after, _ in fits]) >= RISE:
                lines.append(f"{panel.title}: {_sentence(group, fits)}")
    return lines


def _sentence(group: RunGroup, fits: list[tuple[Scores, Calibration, TemperatureFit]]) -> str:
    scores, after, fit = zip(*fits, strict=True)
    test = _Change([one.unscaled for one in scores], list(after))
    validation = _Change([one.before for one in fit], [one.after for one in fit])
    temperature = float(np.mean([one.temperature for one in scores]))
    start = (
        f"temperature scaling makes the calibration of {group.label} worse: ECE rises from {test.ece} on test. The"
        f" temperature, {temperature:.2g}, gives the least log-loss on {np.mean([one.images for one in fit]):.0f}"
        f" validation images ({validation.nll})"
    )
    if validation.ece_rises:
        return f"{start}, but ECE rises there, too ({validation.ece}). {_hard(list(fit), temperature)}"
    if test.nll_rises:
        return (
            f"{start}, and ECE does not rise there ({validation.ece}). On test log-loss rises ({test.nll}): there are"
            " too few validation images, or they differ from those of test."
        )
    return (
        f"{start}, and ECE does not rise there ({validation.ece}). On test log-loss falls as well ({test.nll}): only"
        f" ECE, a mean over {BINS} bins, gets worse."
    )


def _hard(fits: list[TemperatureFit], temperature: float) -> str:
    """Say which images decide on the temperature."""
    images, loss = (float(np.mean([getattr(one, name) for one in fits])) for name in ("hard", "hard_loss"))
    if temperature <= 1 or not loss > FEW * images:
        return "The least log-loss is not the least ECE here."
    return (
        f"The {percent(images)} % of these images that gave their true class less than {percent(HARD, 0)} % carry"
        f" {percent(loss, 0)} % of that log-loss; a temperature for them makes the others too unsure."
    )


class _Change:
    """Scores before and after scaling, means over runs."""

    def __init__(self, before: list[Calibration], after: list[Calibration]) -> None:
        self._nll, self._ece = (
            tuple(float(np.mean([getattr(one, name) for one in of])) for of in (before, after))
            for name in ("nll", "ece")
        )
        self.nll_rises, self.ece_rises = (pair[1] > pair[0] for pair in (self._nll, self._ece))

    @property
    def nll(self) -> str:
        return f"{self._nll[0]:.3f} to {self._nll[1]:.3f} nats"

    @property
    def ece(self) -> str:
        return f"{percent(self._ece[0])} to {percent(self._ece[1])} %"
