"""Shanks that fall silent: a cable that comes loose, a shank that breaks, an amplifier that saturates for a while."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from ..shanks import ShankLines
from .result import peak_channels

if TYPE_CHECKING:
    from ..recording import Recording
    from .result import SortingResult

logger = logging.getLogger(__name__)

#: Shortest bin (s) that spikes of a shank are counted in, and most bins.
LEAST_SECONDS: Final = 1.0
MOST_BINS: Final = 200
#: A bin with less than this share of the spikes that a shank usually has is silent. Usual is the upper quartile: even a
#: shank that is dead for most of the time has it.
SILENT_SHARE: Final = 0.05
USUAL: Final = 0.75
#: Spikes that a silence must have cost: neurons that fire as they like do not pause together for so many.
LEAST_MISSED: Final = 200.0
#: Shortest silence, s: under anaesthesia a whole cortex pauses for a second or two.
LEAST_SILENCE: Final = 3.0


class Silence(NamedTuple):
    """A time in which a shank has hardly a spike.

    Attributes
    ----------
    shank
        Its number.
    start_time, stop_time
        s from the first sample, as exact as the bins: a second, or half a percent of the recording.
    usual_rate
        Spikes a second at other times.
    """

    shank: int
    start_time: float
    stop_time: float
    usual_rate: float


def silences(result: SortingResult, recording: Recording) -> list[Silence]:
    """Return for each shank of a sorting its longest silence, if that is longer than neurons pause by chance."""
    duration = recording.n_samples / recording.sampling_rate
    n_bins = min(max(int(duration / LEAST_SECONDS), 1), MOST_BINS)
    edges = np.linspace(0.0, duration, n_bins + 1)
    shank_of = ShankLines.of(recording.geometry, recording.shanks).shanks[result.channel_map[peak_channels(result)]]
    found = []
    for shank in np.unique(shank_of).tolist():
        times = result.samples[(shank_of == shank)[result.units]] / recording.sampling_rate
        counts, _ = np.histogram(times, edges)
        usual = float(np.quantile(counts, USUAL))
        turns = np.flatnonzero(np.diff(np.r_[False, counts < SILENT_SHARE * usual, False].astype(np.int8)))
        runs = turns.reshape(-1, 2)
        if not len(runs):
            continue
        start, stop = runs[np.argmax(runs[:, 1] - runs[:, 0])].tolist()
        if (stop - start) * usual >= LEAST_MISSED and edges[stop] - edges[start] >= LEAST_SILENCE:
            found.append(Silence(shank, float(edges[start]), float(edges[stop]), usual * n_bins / duration))
    return found


def tell_of_silences(result: SortingResult, recording: Recording) -> None:
    """Say which shanks fall silent, and when."""
    for shank, start, stop, rate in silences(result, recording):
        logger.warning(
            "shank %d has hardly a spike from about %.0f to %.0f s, and %.0f a second at other times: it was cut off "
            "or lost the tissue, or its amplifiers saturated. Its units are to be trusted outside that time only",
            shank, start, stop, rate,
        )  # fmt: skip
