"""Events that a probe and the session both saw: barcodes, a square wave, or times that the recorder put on itself."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import SynchronizationError

from .barcodes import Barcodes, ProbeEvents
from .probe_clock import ProbeClock, fit_clock

#: An edge of a square wave is taken for the session's edge nearest to it, if that is within this part of its period.
NEAREST_EDGE: Final = 0.25


def clock_from_barcodes(
    events: ProbeEvents,
    session: Barcodes,
    nominal_rate: float,
    *,
    name: str = "probe",
    keep_first: bool = True,
) -> ProbeClock:
    """Fit a probe's clock to the barcodes that it and the sync file saw.

    Parameters
    ----------
    events
        Changes of the probe's barcode line.
    session
        Barcodes of the sync file, starts in session seconds.
    nominal_rate
        Hz.
    name
        Of the probe, for messages.
    keep_first
        As in :func:`.barcodes.decode_barcodes`.

    Raises
    ------
    SynchronizationError
        If no code occurs exactly once on both sides.
    """
    seen = events.barcodes(nominal_rate, keep_first=keep_first)
    repeated = _repeated(seen.codes) | _repeated(session.codes)
    once = np.setdiff1d(np.intersect1d(seen.codes, session.codes), list(repeated))
    if not len(once):
        msg = (
            f"{name}: none of its {len(seen)} barcodes ({_some(seen)}) matches one of the {len(session)} of the sync "
            f"file ({_some(session)}){f'; {len(repeated)} codes occur more than once' if repeated else ''}. Are they "
            "of one recording, and is the barcode on this line?"
        )
        raise SynchronizationError(msg)
    mine, theirs = np.flatnonzero(np.isin(seen.codes, once)), np.flatnonzero(np.isin(session.codes, once))
    mine, theirs = mine[np.argsort(seen.codes[mine])], theirs[np.argsort(session.codes[theirs])]
    return fit_clock(
        seen.starts[mine] * nominal_rate, session.starts[theirs], nominal_rate, name=name, breaks=events.breaks,
        n_probe_events=len(seen), n_session_events=len(session),
        ambiguous=int(np.isin(seen.codes, list(repeated)).sum()), seen="barcodes",
        unmatched_seconds=np.delete(session.starts, theirs),
    )  # fmt: skip


def _repeated(codes: npt.NDArray[np.int64]) -> set[int]:
    values, counts = np.unique(codes, return_counts=True)
    return set(values[counts > 1].tolist())


def _some(barcodes: Barcodes) -> str:
    return ", ".join(map(str, barcodes.codes[:3].tolist())) + (", ..." if len(barcodes) > 3 else "") or "none"


def clock_from_square_wave(
    probe_samples: npt.ArrayLike,
    session_seconds: npt.ArrayLike,
    nominal_rate: float,
    *,
    start: float = 0.0,
    name: str = "probe",
) -> ProbeClock:
    """Fit a probe's clock to the rising edges of a square wave that both saw, as SpikeGLX writes it on every stream.

    Edges look alike, so the probe's start must be known to a quarter of the period: each edge is taken for the
    session's nearest one.

    Parameters
    ----------
    probe_samples
        Sample numbers of the rising edges on the probe, ascending.
    session_seconds
        Session times of the rising edges (s), ascending.
    nominal_rate
        Hz.
    start
        About when, on the session's clock, the probe's sample 0 was taken (s).
    name
        Of the probe, for messages.

    Raises
    ------
    SynchronizationError
        If either saw fewer than two edges, their periods differ, or the edges lie too far from each other to tell which
        belongs to which.

    Examples
    --------
    >>> seen = 2.0 + np.arange(10.0)  # when the session saw the edges (s)
    >>> clock = clock_from_square_wave(30_000 * np.arange(10), seen, 30_000, start=2.0)
    >>> clock.seconds([0]).round(6)
    array([2.])
    """
    samples = np.asarray(probe_samples, dtype=np.float64)
    seconds = np.asarray(session_seconds, dtype=np.float64)
    if min(len(samples), len(seconds)) < 2:
        msg = f"{name}: {len(samples)} edges on the probe and {len(seconds)} on the session; two of each are needed"
        raise SynchronizationError(msg)
    period, theirs = float(np.median(np.diff(samples))) / nominal_rate, float(np.median(np.diff(seconds)))
    if abs(period / theirs - 1.0) > 0.01:
        msg = f"{name}: its square wave has a period of {period:.4f} s, the session's {theirs:.4f} s: not the same wave"
        raise SynchronizationError(msg)
    # Step by step along the probe, so that the clocks may drift apart by more than a period in all.
    offset, tied_samples, tied_seconds = start, [], []
    for sample in samples:
        expected = sample / nominal_rate + offset
        nearest = seconds[np.argmin(np.abs(seconds - expected))]
        if abs(nearest - expected) <= NEAREST_EDGE * theirs:
            tied_samples.append(sample)
            tied_seconds.append(nearest)
            offset = nearest - sample / nominal_rate
    if len(tied_samples) < 2:
        msg = (
            f"{name}: with a start at {start:g} s its edges lie more than {NEAREST_EDGE:g} periods from the session's; "
            "say more exactly when the probe started"
        )
        raise SynchronizationError(msg)
    return fit_clock(
        tied_samples, tied_seconds, nominal_rate, name=name, n_probe_events=len(samples), n_session_events=len(seconds),
        seen="edges of the square wave", unmatched_seconds=np.setdiff1d(seconds, tied_seconds),
    )  # fmt: skip


def clock_from_timestamps(
    sample_numbers: npt.ArrayLike, timestamps: npt.ArrayLike, nominal_rate: float, *, name: str = "probe"
) -> ProbeClock:
    """Take the clock that the recorder put on its samples itself, as Open Ephys does with synchronised streams.

    Parameters
    ----------
    sample_numbers, timestamps
        Sample numbers and their times (s), as in ``sample_numbers.npy`` and ``timestamps.npy``; -1 or NaN marks samples
        without a time. One pair every ten seconds or so is read.
    nominal_rate
        Hz.
    name
        Of the probe, for messages.

    Raises
    ------
    SynchronizationError
        If no sample has a time.

    Examples
    --------
    >>> numbers = np.arange(0, 300_000, 300)
    >>> clock = clock_from_timestamps(numbers, 2.0 + numbers / 30_000, 30_000)
    >>> clock.seconds([150_000]).round(6)
    array([7.])
    """
    numbers, times = np.asarray(sample_numbers), np.asarray(timestamps)
    # Two every ten seconds, and the ends; a gap then lies between two of them or not at all.
    step = max(1, round(5 * nominal_rate))
    picked = np.unique(np.append(np.arange(0, len(numbers), step), max(len(numbers) - 1, 0)))[: len(numbers)]
    numbers, times = numbers[picked].astype(np.float64), times[picked].astype(np.float64)
    timed = np.isfinite(times) & (times >= 0)
    return fit_clock(
        numbers[timed], times[timed], nominal_rate, name=name,
        n_probe_events=len(picked), n_session_events=int(timed.sum()), seen="samples with a time of the recorder's",
    )  # fmt: skip
