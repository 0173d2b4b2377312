"""Thresholds that rise where a recording is not what they were made for, so that no pass goes on for ever."""

from __future__ import annotations

import logging
from typing import Final

from .template_bank import ProbeLayout

logger = logging.getLogger(__name__)

#: More spikes a second than this, in the mean over the places of a probe (channels that are compared with each other:
#: 120 um of it), are no neurons': ten that fire at 40 Hz.
MOST_RATE: Final = 400.0
#: By how much thresholds rise when a batch holds more, energies and root energies...
ENERGY_STEP: Final = 2.0
#: ...and fall again, down to the usual, when one holds less than this share of it.
CALM_SHARE: Final = 0.25


class Caution:
    """How far one pass over a recording has raised its thresholds.

    Batches are seen one after the other, so that equal recordings raise them alike.

    Attributes
    ----------
    factor
        What energies are compared with is this many times the usual.
    """

    def __init__(self, layout: ProbeLayout, sampling_rate: float, title: str) -> None:
        self.factor = self._said = 1.0
        self._places = float((1.0 / (layout.near >= 0).sum(axis=1)).sum())
        self._sampling_rate, self._title = sampling_rate, title

    @property
    def root(self) -> float:
        """What root energies are compared with is this many times the usual."""
        return float(self.factor**0.5)

    def see(self, n_spikes: int, n_samples: int) -> None:
        """Raise the thresholds of the batches that follow, and say so, if this one holds absurdly many spikes.

        They fall again when that is over: a minute of artifacts costs no more than itself.
        """
        rate = n_spikes * self._sampling_rate / max(n_samples, 1) / self._places
        if rate > MOST_RATE:
            self.factor *= ENERGY_STEP
        elif rate < CALM_SHARE * MOST_RATE:
            self.factor = max(self.factor / ENERGY_STEP, 1.0)
        if self.factor > self._said:
            self._said = self.factor
            logger.warning(
                "%s: %.0f spikes a second in 120 um of the probe are more than neurons fire; thresholds rise to %.1f "
                "times the usual. Look at the recording for artifacts, or leave such channels out.",
                self._title, rate, self.root,
            )  # fmt: skip
