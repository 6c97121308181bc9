"""Find rows whose calibration temperature scaling makes worse, and explain why."""

from __future__ import annotations

import numpy as np

from headstart.comparison.formats import percent
from headstart.comparison.table import RunGroup
from headstart.kinds.class_scores import BINS, HARD, Calibration, Scores, TemperatureFit
from headstart.reports.analysis import Analysis

RISE = 0.01  # a smaller rise of the expected calibration error is not reported
DECIDING = 5
"""Hard images determine the temperature if their share of the log-loss is this many times their share of the images."""


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
        f"temperature scaling makes the calibration of {group.spoken} worse: ECE rises from {test.ece} on test. The"
        f" temperature, {temperature:.2g}, gives the lowest log-loss on {np.mean([one.images for one in fit]):.0f}"
        f" validation images ({validation.nll})"
    )
    if validation.ece_rises:
        return f"{start}, but raises ECE there, too ({validation.ece}). {_hard(list(fit), temperature)}"
    if test.nll_rises:
        return (
            f"{start} without raising ECE there ({validation.ece}). On test, log-loss rises ({test.nll}): validation"
            " images are too few or differ from the test images."
        )
    return (
        f"{start} without raising ECE there ({validation.ece}). On test, log-loss falls, too ({test.nll}): only ECE, a"
        f" mean over {BINS} bins, gets worse."
    )


def _hard(fits: list[TemperatureFit], temperature: float) -> str:
    """Return a sentence on the images that determine the temperature."""
    images, loss = (float(np.mean([getattr(one, name) for one in fits])) for name in ("hard", "hard_loss"))
    if temperature <= 1 or not loss > DECIDING * images:
        return "The lowest log-loss does not give the lowest ECE here."
    return (
        f"{percent(images)} % of these images give their true class a probability below {percent(HARD, 0)} %. They"
        f" carry {percent(loss, 0)} % of that log-loss; a temperature that suits them makes the others too unsure."
    )


class _Change:
    """Mean scores over runs, before and after scaling."""

    def __init__(self, before: list[Calibration], after: list[Calibration]) -> None:
        self._nll, self._ece = (
            tuple(float(np.mean([getattr(one, name) for one in scores])) for scores in (before, after))
            for name in ("nll", "ece")
        )
        self.nll_rises, self.ece_rises = (pair[1] > pair[0] for pair in (self._nll, self._ece))

    @property
    def nll(self) -> str:
        return f"{self._nll[0]:.3f} to {self._nll[1]:.3f} nats"

    @property
    def ece(self) -> str:
        return f"{percent(self._ece[0])} to {percent(self._ece[1])} %"
