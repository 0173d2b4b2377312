"""When each sample of one band was taken: its place in the file, the recorder's number of it, and the probe's clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from ..recording import Recording
    from ..timeline import Timeline
    from .probe_clock import ProbeClock

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BandClock:
    """The session times of a band's samples.

    A clock counts samples of the spike band as the recorder numbers them. A file may begin with any number and leave
    out some, and an LFP band has a sample for every twelfth of them.

    Attributes
    ----------
    clock
        Of the probe.
    timeline
        Of the band: which stretches its file holds.
    first_number
        Spike band's number of the band's first sample.
    step
        Spike band's samples for each of the band.

    Examples
    --------
    >>> clock = fit_clock([0, 300_000], [5.0, 15.0], 30_000)
    >>> lfp_clock = BandClock.of_band(clock, bands.spike_band, bands.lfp)
    >>> lfp_clock.step, lfp_clock.seconds([0, 2_500]).tolist()
    (12, [5.0, 6.0])
    """

    clock: ProbeClock
    timeline: Timeline
    first_number: float = 0.0
    step: int = 1

    @classmethod
    def of_band(cls, clock: ProbeClock, spike_band: Recording, band: Recording) -> BandClock:
        """Return the clock of a probe's band, which is `spike_band` itself or its LFP.

        An LFP begins where its numbers say: each band is numbered from the start of the acquisition, at its own rate.
        Where the recorder numbered but one of them, or none, both begin together.

        Examples
        --------
        >>> clock = fit_clock([0, 300_000], [5.0, 15.0], 30_000)
        >>> BandClock.of_band(clock, bands.spike_band, bands.lfp).step
        12
        """
        step = round(spike_band.sampling_rate / band.sampling_rate)
        numbered = spike_band.timeline.numbered and band.timeline.numbered
        first = step * band.timeline.numbers[0] if numbered else spike_band.timeline.numbers[0]
        return cls(clock, band.timeline, float(first), step)

    def numbers(self, samples: npt.ArrayLike) -> Floats:
        """Return the spike band's numbers of samples, counted in the band's file from 0.

        Examples
        --------
        >>> clock = fit_clock([0, 300_000], [5.0, 15.0], 30_000)
        >>> BandClock.of_band(clock, bands.spike_band, bands.lfp).numbers([0, 1, 2])
        array([ 0., 12., 24.])
        """
        return np.asarray(self.first_number + self.step * self.timeline.elapsed(samples), dtype=np.float64)

    def seconds(self, samples: npt.ArrayLike) -> Floats:
        """Return the session time of samples (s); NaN where the clock has a gap.

        Examples
        --------
        >>> clock = fit_clock([0, 300_000], [5.0, 15.0], 30_000)
        >>> BandClock.of_band(clock, bands.spike_band, bands.spike_band).seconds([0, 15_000])
        array([5. , 5.5])
        """
        return self.clock.seconds(self.numbers(samples))

    def stretches(self) -> list[tuple[int, int]]:
        """Return the samples ``[start, stop)`` that neither a gap of the file nor one of the clock cuts.

        Examples
        --------
        >>> clock = fit_clock([0, 300_000], [5.0, 15.0], 30_000)
        >>> BandClock.of_band(clock, bands.spike_band, bands.spike_band).stretches()
        [(0, 180000)]
        """
        found = []
        for first, last in self.timeline.stretches:
            base = float(self.numbers(np.array([first]))[0])
            for segment in self.clock.segments:
                edges: Any = (np.array([segment.start, segment.stop]) - base) / self.step
                start, stop = np.clip(first + np.ceil(edges), first, last).astype(np.int64).tolist()
                if start < stop:
                    found.append((start, stop))
        return found

    def around(self, start: float, stop: float) -> tuple[int, int] | None:
        """Return the samples ``[first, last)`` from the last one before `start` to the first one after `stop` (s).

        None if the band was not recorded without a gap from `start` to `stop`.

        Examples
        --------
        >>> clock = fit_clock([0, 300_000], [5.0, 15.0], 30_000)
        >>> spike_clock = BandClock.of_band(clock, bands.spike_band, bands.spike_band)
        >>> spike_clock.around(5.5, 5.6), spike_clock.around(4.0, 5.6)
        ((15000, 18001), None)
        """
        for segment in self.clock.segments:
            low, high = segment.numbers(np.array([start, stop]))
            if not (segment.start <= low and high < segment.stop):
                continue
            taken = (np.array([low, high]) - self.first_number) / self.step  # since the first sample
            missing = self.timeline.numbers - self.timeline.numbers[0] - self.timeline.starts
            for (first, last), lost in zip(self.timeline.stretches, missing.tolist(), strict=True):
                begin, end = int(np.floor(taken[0])) - lost, int(np.ceil(taken[1])) - lost
                if first <= begin and end < last:
                    return begin, end + 1
        return None
