"""A probe's clock against the session's: from sample numbers to seconds, by what both clocks saw.

Both see the same events (barcodes, or edges of a square wave). Between events the time is interpolated; outside them it
goes on at the rate of the nearest segment. An event whose time contradicts both its neighbours is an outlier. Where the
offset jumps and stays, samples were lost: each side of the gap has a segment of its own, and what lies between the last
event before and the first after cannot be placed unless the recording says where it was broken off.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import SynchronizationError

logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]

#: Largest change of offset from one event to the next that a clock makes by itself (s): 30 s at 15 ppm.
LARGEST_STEP: Final = 0.5e-3
#: No clock of a rig is further from its nominal rate than this; real ones are within 50 parts in a million.
LARGEST_DEVIATION: Final = 1e-3


@dataclass(frozen=True, eq=False)
class ClockSegment:
    """A stretch of a recording without a gap.

    Attributes
    ----------
    start, stop
        Samples it holds for, ``[start, stop)``; infinite at the ends of the recording.
    samples, seconds
        The events it rests on: sample number (with fraction) and session time.
    rate
        Samples in a second of the session's clock.
    """

    start: float
    stop: float
    samples: Floats = field(repr=False)
    seconds: Floats = field(repr=False)
    rate: float

    def times(self, samples: Floats) -> Floats:
        """Return the session time of sample numbers, whether they lie in the segment or not."""
        inside = np.interp(samples, self.samples, self.seconds)
        before = np.minimum(samples - self.samples[0], 0.0)
        after = np.maximum(samples - self.samples[-1], 0.0)
        return np.asarray(inside + (before + after) / self.rate)

    def numbers(self, seconds: Floats) -> Floats:
        """Return the sample numbers, with their fractions, of session times: what :meth:`times` undoes."""
        inside = np.interp(seconds, self.seconds, self.samples)
        before = np.minimum(seconds - self.seconds[0], 0.0)
        after = np.maximum(seconds - self.seconds[-1], 0.0)
        return np.asarray(inside + (before + after) * self.rate)


@dataclass(frozen=True)
class TwoPointFit:
    """The straight line through the first and the last event, which the release used.

    ``time = sample / rate - shift`` (processing specification of the released files, section 2.3).

    Examples
    --------
    >>> TwoPointFit(rate=30_000.5, shift=2.0).seconds([0, 30_000.5])
    array([-2., -1.])
    """

    rate: float
    shift: float

    def seconds(self, samples: npt.ArrayLike) -> Floats:
        """Return the session time of sample numbers.

        Examples
        --------
        >>> clock = fit_clock([0, 30_001, 60_002], [1.0, 2.0, 3.0], 30_000)
        >>> clock.two_point.seconds([15_000.5])
        array([1.5])
        """
        return np.asarray(samples, dtype=np.float64) / self.rate - self.shift


@dataclass(frozen=True)
class ClockGap:
    """Samples that were lost: the last one before that can be placed, the first one after, and how long it took."""

    last_sample: float
    first_sample: float
    lost_seconds: float


@dataclass(frozen=True, eq=False)
class ProbeClock:
    """Sample numbers of one probe on the session's clock.

    Attributes
    ----------
    name
        Of the probe.
    nominal_rate
        Hz, as the probe believes.
    segments
        In the order of samples.
    matched_samples, matched_seconds
        All events seen by both, in the order of samples.
    outlier
        Which of these were left out because they contradict their neighbours.
    two_point
        The release's straight line through the first and the last of the others; None for a single event.
    n_probe_events, n_session_events
        How many either saw.
    ambiguous
        How many events could not be told apart from others (a barcode read twice).
    seen
        What the events were.
    unmatched_seconds
        Session times of events that the session saw and the probe did not.

    Examples
    --------
    >>> clock = fit_clock([0, 30_001, 60_002], [1.0, 2.0, 3.0], 30_000)
    >>> round(clock.drift_ppm, 1)
    33.3
    >>> print(clock.summary().splitlines()[0])
    probe: sample 0 is at 1.000000 s; 30001.0000 samples a second (+33.33 ppm of 30000 Hz)
    """

    name: str
    nominal_rate: float
    segments: tuple[ClockSegment, ...]
    matched_samples: Floats = field(repr=False)
    matched_seconds: Floats = field(repr=False)
    outlier: npt.NDArray[np.bool_] = field(repr=False)
    two_point: TwoPointFit | None
    n_probe_events: int
    n_session_events: int
    ambiguous: int = 0
    seen: str = "events"
    unmatched_seconds: Floats = field(default_factory=lambda: np.empty(0), repr=False)

    @property
    def rate(self) -> float:
        """Samples in a second of the session's clock, over the longest segment.

        Examples
        --------
        >>> clock = fit_clock([0, 30_001, 60_002], [1.0, 2.0, 3.0], 30_000)
        >>> round(clock.rate, 3)
        30001.0
        """
        return max(self.segments, key=lambda s: float(s.samples[-1] - s.samples[0])).rate

    @property
    def drift_ppm(self) -> float:
        """How much faster the probe's clock runs than the session's, parts in a million.

        Examples
        --------
        >>> clock = fit_clock([0, 30_001, 60_002], [1.0, 2.0, 3.0], 30_000)
        >>> round(clock.drift_ppm, 2)
        33.33
        """
        return (self.rate / self.nominal_rate - 1.0) * 1e6

    @property
    def gaps(self) -> tuple[ClockGap, ...]:
        """Where samples were lost.

        Examples
        --------
        >>> broken = fit_clock([0, 30_000, 45_000, 75_000], [1.0, 2.0, 5.0, 6.0], 30_000, breaks=[40_000])
        >>> [round(gap.lost_seconds, 3) for gap in broken.gaps]
        [2.5]
        """
        found = []
        for before, after in zip(self.segments, self.segments[1:], strict=False):
            ends = before.times(np.array([before.samples[-1]])), after.times(np.array([after.samples[0]]))
            took = float(ends[1][0] - ends[0][0])
            lost = took - float(after.samples[0] - before.samples[-1]) / self.rate
            found.append(ClockGap(before.stop, after.start, lost))
        return tuple(found)

    def seconds(self, samples: npt.ArrayLike) -> Floats:
        """Return the session time of sample numbers (s, float64); NaN where they fall into a gap.

        Examples
        --------
        >>> clock = fit_clock([0, 30_001, 60_002], [1.0, 2.0, 3.0], 30_000)
        >>> clock.seconds([0, 15_000.5, 90_003]).round(6)
        array([1. , 1.5, 4. ])
        """
        number = np.asarray(samples, dtype=np.float64)
        times = np.full(number.shape, np.nan)
        for segment in self.segments:
            here = (number >= segment.start) & (number < segment.stop)
            times[here] = segment.times(number[here])
        return times

    def residuals(self) -> Floats:
        """Return how far each matched event lies from the straight line of its segment (s); NaN for outliers.

        Examples
        --------
        >>> jitter = fit_clock([0, 30_000, 60_000], [1.0, 2.00001, 3.0], 30_000)
        >>> (jitter.residuals() * 1e6).round(1)
        array([ 0., 10., -0.])
        """
        off = np.full(len(self.matched_samples), np.nan)
        for segment in self.segments:
            mine = np.isin(self.matched_samples, segment.samples) & ~self.outlier
            line = self.matched_seconds[mine] - self.matched_samples[mine] / segment.rate
            off[mine] = line - np.median(line)
        return off

    def report(self) -> dict[str, Any]:
        """Return what was matched, what was not, and how well the clock fits, as plain values (for a JSON file).

        Examples
        --------
        >>> report = fit_clock([0, 30_001, 60_002], [1.0, 2.0, 3.0], 30_000).report()
        >>> report["n_matched"], round(report["time_of_sample_0"], 6), report["gaps"]
        (3, 1.0, [])
        """
        off = np.abs(self.residuals()[~self.outlier])
        used, times = self.matched_samples[~self.outlier], self.matched_seconds[~self.outlier]
        line = None if self.two_point is None else self.two_point.seconds(used) - times
        return {
            "probe": self.name,
            "matched_by": self.seen,
            "nominal_rate": self.nominal_rate,
            "rate": self.rate,
            "rate_is_measured": self.two_point is not None,
            "drift_ppm": self.drift_ppm,
            "time_of_sample_0": float(self.segments[0].times(np.zeros(1))[0]),
            "n_probe_events": self.n_probe_events,
            "n_session_events": self.n_session_events,
            "n_matched": len(self.matched_samples),
            "n_ambiguous": self.ambiguous,
            "unmatched_at_seconds": self.unmatched_seconds.tolist(),
            "outliers_at_seconds": self.matched_seconds[self.outlier].tolist(),
            "first_matched_second": float(times[0]),
            "last_matched_second": float(times[-1]),
            "residual_median_us": float(np.median(off) * 1e6),
            "residual_largest_us": float(off.max() * 1e6),
            "two_point_rate": None if self.two_point is None else self.two_point.rate,
            "two_point_shift": None if self.two_point is None else self.two_point.shift,
            "two_point_differs_by_us": None if line is None else float(np.abs(line).max() * 1e6),
            "gaps": [
                {"last_sample": g.last_sample, "first_sample": g.first_sample, "lost_seconds": g.lost_seconds}
                for g in self.gaps
            ],
        }

    def summary(self) -> str:
        """Return the report in words.

        Examples
        --------
        >>> print(fit_clock([0, 30_001, 60_002], [1.0, 2.0, 3.0], 30_000, seen="barcodes").summary())
        probe: sample 0 is at 1.000000 s; 30001.0000 samples a second (+33.33 ppm of 30000 Hz)
          3 of 3 barcodes of the probe match one of 3 of the session; ...
          they lie 0.0 us (median) and at most 0.0 us from a straight line
          the straight line through the first and the last is off by up to 0.0 us
        """
        r = self.report()
        lines = [
            f"{self.name}: sample 0 is at {r['time_of_sample_0']:.6f} s; {self.rate:.4f} samples a second "
            f"({self.drift_ppm:+.2f} ppm of {self.nominal_rate:g} Hz"
            f"{'' if r['rate_is_measured'] else ', ASSUMED: a single event tells no rate'})",
            f"  {r['n_matched']} of {self.n_probe_events} {self.seen} of the probe match one of "
            f"{self.n_session_events} of the session; {int(self.outlier.sum())} of them contradict their neighbours "
            "and were left out",
            f"  they lie {r['residual_median_us']:.1f} us (median) and at most {r['residual_largest_us']:.1f} us "
            "from a straight line",
        ]
        if r["two_point_differs_by_us"] is not None:
            off = r["two_point_differs_by_us"]
            much = f"{off:.1f} us" if off < 1e3 else f"{off / 1e3:.1f} ms"
            lines.append(f"  the straight line through the first and the last is off by up to {much}")
        lines += [
            f"  gap: {gap.lost_seconds:.4f} s were lost; samples {gap.last_sample:.0f} to {gap.first_sample:.0f} "
            "cannot be placed"
            for gap in self.gaps
        ]
        return "\n".join(lines)


def fit_clock(
    samples: npt.ArrayLike,
    seconds: npt.ArrayLike,
    nominal_rate: float,
    *,
    name: str = "probe",
    breaks: npt.ArrayLike = (),
    n_probe_events: int | None = None,
    n_session_events: int | None = None,
    ambiguous: int = 0,
    seen: str = "events",
    unmatched_seconds: npt.ArrayLike = (),
) -> ProbeClock:
    """Fit a clock to events that both the probe and the session saw.

    Parameters
    ----------
    samples, seconds
        Sample number on the probe and session time (s) of each event.
    nominal_rate
        Hz.
    name
        Of the probe, for messages.
    breaks
        Samples at which the recording says it was broken off and went on.
    n_probe_events, n_session_events, ambiguous
        For the report: how many events either saw, and how many could not be told apart.
    seen
        What the events were, for the report: ``"barcodes"``.
    unmatched_seconds
        For the report: when (s) the session saw events that the probe did not.

    Raises
    ------
    SynchronizationError
        If there is no event, or they are not of one pair of clocks (no two neighbours agree).

    Examples
    --------
    >>> clock = fit_clock([0, 30_001, 60_002], [1.0, 2.0, 3.0], 30_000)
    >>> clock.seconds([90_003]).round(6), round(clock.rate, 3)
    (array([4.]), 30001.0)
    """
    order = np.argsort(np.asarray(samples, dtype=np.float64), kind="stable")
    probe, session = (np.asarray(values, dtype=np.float64)[order] for values in (samples, seconds))
    if not len(probe):
        msg = f"{name}: no event was seen by both the probe and the session, so its samples have no session time"
        raise SynchronizationError(msg)
    slope = _slope(probe, session, nominal_rate, name)
    cuts = np.asarray(breaks, dtype=np.float64)
    outlier = _outliers(probe, session - probe * slope, cuts)
    good, times = probe[~outlier], session[~outlier]
    clock = ProbeClock(
        name, nominal_rate, tuple(_segments(good, times, slope, cuts)), probe, session, outlier,
        _two_point(good, times), len(probe) if n_probe_events is None else n_probe_events,
        len(probe) if n_session_events is None else n_session_events, ambiguous, seen,
        np.asarray(unmatched_seconds, dtype=np.float64),
    )  # fmt: skip
    if outlier.any() or clock.gaps or ambiguous or clock.two_point is None:
        logger.warning("%s", clock.summary())
    return clock


def _slope(probe: Floats, session: Floats, nominal_rate: float, name: str) -> float:
    """Return seconds a sample: the median over neighbouring events, the nominal rate for a single one."""
    steps = np.diff(probe)
    if not len(steps):
        return 1.0 / nominal_rate
    slopes = np.diff(session)[steps > 0] / steps[steps > 0]
    possible = slopes[np.abs(slopes * nominal_rate - 1.0) <= LARGEST_DEVIATION]
    if not len(possible):
        msg = (
            f"{name}: {len(probe)} events were matched with the session's, but no two neighbours are as far apart on "
            f"the probe ({nominal_rate:g} Hz) as in the session; sync file and probe are not of one recording, the "
            "sampling rate is another, or the events were misread"
        )
        raise SynchronizationError(msg)
    return float(np.median(possible))


def _runs(offsets: Floats) -> npt.NDArray[np.int64]:
    """Return a number for each event that grows by one wherever the offset jumps."""
    return np.cumsum(np.abs(np.diff(offsets, prepend=offsets[:1])) > LARGEST_STEP).astype(np.int64)


def _outliers(samples: Floats, offsets: Floats, breaks: Floats) -> npt.NDArray[np.bool_]:
    """Return which events contradict their neighbours.

    A run of equal offsets is one of outliers where it is shorter than the runs on both sides and those agree; a single
    event also where its neighbours disagree, unless the recording was broken off on either side of it.
    """
    outlier = np.zeros(len(samples), dtype=np.bool_)
    while True:
        good = np.flatnonzero(~outlier)
        runs = _runs(offsets[good])
        n_runs = int(runs[-1]) + 1
        if n_runs == 1:
            return outlier
        for run in np.argsort(np.bincount(runs), kind="stable"):
            mine = good[runs == run]
            before, after = good[runs == run - 1], good[runs == run + 1]
            bridged = len(before) and len(after) and abs(offsets[after[0]] - offsets[before[-1]]) <= LARGEST_STEP
            smaller = len(mine) < min(len(before) or len(after), len(after) or len(before))
            left = not len(before) or ((breaks > samples[before[-1]]) & (breaks <= samples[mine[0]])).any()
            right = not len(after) or ((breaks > samples[mine[-1]]) & (breaks <= samples[after[0]])).any()
            lone = len(mine) == 1 and not (left and right)
            if (bridged and smaller) or lone:
                outlier[mine] = True
                break
        else:
            return outlier


def _segments(samples: Floats, seconds: Floats, slope: float, breaks: Floats) -> list[ClockSegment]:
    runs = _runs(seconds - samples * slope)
    found: list[ClockSegment] = []
    for run in range(int(runs[-1]) + 1):
        mine = runs == run
        x, y = samples[mine], seconds[mine]
        start, stop = -np.inf, np.inf
        if run:
            cut = breaks[(breaks > found[-1].samples[-1]) & (breaks <= x[0])]
            start = float(cut[-1]) if len(cut) else float(x[0])
        if run < runs[-1]:
            cut = breaks[(breaks > x[-1]) & (breaks <= samples[runs == run + 1][0])]
            stop = float(cut[0]) if len(cut) else float(np.nextafter(x[-1], np.inf))
        rate = 1.0 / slope if len(x) == 1 else 1.0 / float(np.polyfit(x - x[0], y - y[0], 1)[0])
        found.append(ClockSegment(start, stop, x, y, rate))
    return found


def _two_point(samples: Floats, seconds: Floats) -> TwoPointFit | None:
    if len(samples) < 2:
        return None
    rate = float((samples[-1] - samples[0]) / (seconds[-1] - seconds[0]))
    return TwoPointFit(rate, float(samples[0] / rate - seconds[0]))
