"""Correlograms of spike trains, and what they say about two trains being one neuron's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from allen_ecephys.errors import InvalidValueError, SpikeTrainError
from allen_ecephys.spikes.ragged import is_ascending

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

#: Width (s) and number of bins on each side of a correlogram that statistics are computed from.
BIN_S = 0.001
N_BINS = 500
#: Trains of up to this many spikes are always used whole ...
WHOLE_TRAIN = 50_000
#: ... and longer ones are thinned where two trains have more pairs than this within half a second of each other.
MOST_PAIRS = 5_000_000


@dataclass(frozen=True, eq=False)
class CorrelogramStatistics:
    """How many spikes follow each other closely, against how many would if trains were independent.

    Attributes
    ----------
    q
        Least rate of coincidences within 1..10 ms, relative to the flanks: 0 for one neuron with a refractory period,
        1 for independent neurons. NaN where the flanks are empty: nothing can be told.
    r
        Least probability, within 1..10 ms, of so few coincidences or fewer if the rate were that of the flanks. NaN
        as `q`.
    q00, q01
        Rate of coincidences at 250..500 ms, and on the denser side of 11..50 ms, relative to that of independent
        trains of constant rate. NaN if a train is empty or both last no time.
    counts
        int64 (1001,): pairs of spikes in bins of 1 ms around lags of -500..500 ms (second train after first: positive).
    """

    q: float
    r: float
    q00: float
    q01: float
    counts: Integers

    def is_refractory(self, q_maximum: float, r_maximum: float) -> bool:
        """Tell whether both `q` and `r` lie below a bound; trains too short to tell are not refractory."""
        return self.q < q_maximum and self.r < r_maximum


def correlogram(
    times_a: ArrayLike, times_b: ArrayLike | None = None, *, bin_s: float = BIN_S, n_bins: int = N_BINS
) -> Integers:
    """Count pairs of spikes by their lag.

    Parameters
    ----------
    times_a, times_b
        Spike times (s), in any order. Without `times_b`: pairs within `times_a`, no spike paired with itself, each pair
        counted at both its lags.
    bin_s
        Width of a bin (s).
    n_bins
        Bins on each side of the one around zero.

    Returns
    -------
    ndarray
        int64 (2 * n_bins + 1,): pairs whose lag ``times_b - times_a`` rounds (halves away from zero) to each multiple
        of `bin_s`. Only lags below ``n_bins * bin_s`` count, so the outermost bins are half as wide.

    Raises
    ------
    SpikeTrainError
        If times are not finite or have more than one dimension.
    InvalidValueError
        If `bin_s` or `n_bins` is not above 0.
    """
    if not (bin_s > 0 and n_bins > 0):
        msg = f"bin_s is {bin_s} s and n_bins {n_bins}: both must be above 0"
        raise InvalidValueError(msg)
    a = ascending_train(times_a)
    return _pairs(a, None if times_b is None else ascending_train(times_b), bin_s, n_bins)


def correlogram_statistics(times_a: ArrayLike, times_b: ArrayLike | None = None) -> CorrelogramStatistics:
    """Compare coincidences of one train (without `times_b`) or of two with those expected.

    The rule of Kilosort 2 (software of Pachitariu, Steinmetz, Kadir, Carandini and Harris, 2019), with K the counts in
    bins of 1 ms, T the span of both trains and N their spikes:

    * ``Q00``: mean of K at lags -499..-251 and 250..499 ms over ``0.001 N1 N2 / T``; ``Q01``: the same at -50..-11 or
      11..49 ms, the larger; ``R00``: the largest of these three means of K.
    * ``Q = min_i sum K[-i..i] / (2 i 0.001 N1 N2 / T) / max(Q00, Q01)`` over i = 1..10, without the bin around zero.
    * ``R = min_i Phi((n_i - m_i) / sqrt(m_i))`` with ``n_i`` half the sum above and ``m_i = i R00``: the normal
      approximation of a Poisson probability.

    The bin around zero is left out because it holds spikes found twice; what lies there is not judged. Gaps in the
    recording lengthen T, which cancels in `q` and `r`. Of trains longer than 50,000 spikes a random but fixed choice is
    used (never below 50,000) where there would be more than about 5 million pairs; `counts` are then those of the
    chosen spikes.

    Parameters
    ----------
    times_a, times_b
        Spike times (s), in any order.

    Returns
    -------
    CorrelogramStatistics
        With NaN where trains are too short to tell.

    Raises
    ------
    SpikeTrainError
        If times are not finite or have more than one dimension.
    """
    a = ascending_train(times_a)
    return train_statistics(a, None if times_b is None else ascending_train(times_b))


def train_statistics(a: Floats, b: Floats | None) -> CorrelogramStatistics:
    """Return :func:`correlogram_statistics` of trains known to be ascending float64."""
    duration = _span(a, a if b is None else b)
    thin_a, thin_b = thinned(a, b)
    counts = _pairs(thin_a, thin_b, BIN_S, N_BINS)
    n_pairs = thin_a.size * (thin_a.size if thin_b is None else thin_b.size)
    expected = BIN_S * n_pairs / duration if duration > 0 else 0.0
    return CorrelogramStatistics(*_ratios(counts, expected), counts)


def thinned(a: Floats, b: Floats | None) -> tuple[Floats, Floats | None]:
    """Drop spikes at random until a correlogram takes milliseconds: thinning leaves its shape as it is."""
    other = a if b is None else b
    duration = _span(a, other)
    pairs = a.size * other.size / duration if duration > 0 else 0.0
    if pairs <= MOST_PAIRS:
        return a, b
    share = math.sqrt(MOST_PAIRS / pairs)
    return _chosen(a, share, 0), None if b is None else _chosen(b, share, 1)


def flank_mean(counts: Integers) -> float:
    """Return pairs expected in a bin near zero if trains were independent.

    The larger of the mean counts at 11..49 ms and at 250..499 ms (both signs): rates that change together within
    hundreds of ms raise the first, bursts and slow rhythms lower it.
    """
    centre = counts.size // 2
    near = counts[centre - 49 : centre - 10].sum() + counts[centre + 11 : centre + 50].sum()
    far = counts[centre - 499 : centre - 249].sum() + counts[centre + 250 : centre + 500].sum()
    return float(max(near / 78, far / 500))


def ascending_train(times: ArrayLike) -> Floats:
    """Return spike times as ascending float64.

    Raises
    ------
    SpikeTrainError
        If times are not finite or have more than one dimension.
    """
    train = np.ascontiguousarray(times, dtype=np.float64)
    if train.ndim != 1:
        msg = f"spike times have shape {train.shape}: one time (s) for each spike is needed"
        raise SpikeTrainError(msg)
    if not np.isfinite(train).all():
        msg = f"{int((~np.isfinite(train)).sum()):,} of {train.size:,} spike times are NaN or infinite; leave them out"
        raise SpikeTrainError(msg)
    return train if is_ascending(train) else np.sort(train)


def rows_by_unit(times_s: Floats, unit: Integers, n_units: int) -> list[Integers]:
    """Return, for each unit, the rows of its spikes in ascending time (ties in the order given)."""
    rows, bounds = _grouped(unit, n_units)
    groups = [rows[bounds[u] : bounds[u + 1]] for u in range(n_units)]
    if is_ascending(times_s):
        return groups
    return [group[np.argsort(times_s[group], kind="stable")] for group in groups]


def checked_spikes(times_s: ArrayLike, unit: ArrayLike, n_units: int) -> tuple[Floats, Integers]:
    """Return times as float64 and units as int64, one each for every spike.

    Raises
    ------
    SpikeTrainError
        If they differ in number, if times are not finite, or if a unit lies outside ``0..n_units - 1``.
    """
    times = np.ascontiguousarray(times_s, dtype=np.float64)
    units = np.ascontiguousarray(unit)
    if times.ndim != 1 or units.shape != times.shape:
        msg = f"times have shape {times.shape} and units {units.shape}: one of each for every spike is needed"
        raise SpikeTrainError(msg)
    if units.size and units.dtype.kind not in "iu":
        msg = f"units are {units.dtype}: give whole numbers, rows of the template of each spike"
        raise SpikeTrainError(msg)
    if not np.isfinite(times).all():
        msg = f"{int((~np.isfinite(times)).sum()):,} of {times.size:,} spike times are NaN or infinite; leave them out"
        raise SpikeTrainError(msg)
    units = units.astype(np.int64, copy=False)
    if units.size and (units.min() < 0 or units.max() >= n_units):
        msg = f"units range from {units.min()} to {units.max()}, but there are {n_units} (0..{n_units - 1})"
        raise SpikeTrainError(msg)
    return times, units


def _span(a: Floats, b: Floats) -> float:
    if a.size == 0 or b.size == 0:
        return 0.0
    return float(max(a[-1], b[-1]) - min(a[0], b[0]))


def _chosen(train: Floats, share: float, seed: int) -> Floats:
    n = max(WHOLE_TRAIN, round(share * train.size))
    if train.size <= n:
        return train
    rows = np.random.default_rng(seed).choice(train.size, n, replace=False, shuffle=False)
    return train[np.sort(rows)]


def _pairs(a: Floats, b: Floats | None, bin_s: float, n_bins: int) -> Integers:
    return _count_own(a, bin_s, n_bins) if b is None else _count_between(a, b, bin_s, n_bins)


@njit(cache=True, nogil=True)
def _count_between(a: Floats, b: Floats, bin_s: float, n_bins: int) -> Integers:
    """Count pairs of two ascending trains by lag."""
    counts = np.zeros(2 * n_bins + 1, dtype=np.int64)
    reach = bin_s * n_bins
    first = 0
    for i in range(a.size):
        while first < b.size and b[first] - a[i] <= -reach:
            first += 1
        for j in range(first, b.size):
            lag = b[j] - a[i]
            if lag >= reach:
                break
            if lag < 0:
                counts[n_bins - int(-lag / bin_s + 0.5)] += 1
            else:
                counts[n_bins + int(lag / bin_s + 0.5)] += 1
    return counts


@njit(cache=True, nogil=True)
def _count_own(a: Floats, bin_s: float, n_bins: int) -> Integers:
    """Count pairs of an ascending train with itself by lag, each at both its lags."""
    counts = np.zeros(2 * n_bins + 1, dtype=np.int64)
    reach = bin_s * n_bins
    for i in range(a.size):
        for j in range(i + 1, a.size):
            lag = a[j] - a[i]
            if lag >= reach:
                break
            counts[n_bins + int(lag / bin_s + 0.5)] += 1
    counts[n_bins] *= 2
    for k in range(1, n_bins + 1):
        counts[n_bins - k] = counts[n_bins + k]
    return counts


@njit(cache=True, nogil=True)
def _ratios(counts: Integers, expected: float) -> tuple[float, float, float, float]:
    """Return Q, R, Q00 and Q01 of a correlogram of 1001 bins with so many pairs expected in each."""
    centre = counts.size // 2
    if not expected > 0:
        return np.nan, np.nan, np.nan, np.nan
    far = (counts[centre - 499 : centre - 250].sum() + counts[centre + 250 : centre + 500].sum()) / 499
    near = max(counts[centre - 50 : centre - 10].mean(), counts[centre + 11 : centre + 50].mean())
    q00, q01, flank = far / expected, near / expected, max(far, near)
    if flank == 0:
        return np.nan, np.nan, q00, q01
    q, r, total = np.inf, np.inf, 0
    for i in range(1, 11):
        total += counts[centre - i] + counts[centre + i]
        q = min(q, total / (2 * i * expected))
        mean = flank * i
        r = min(r, 0.5 * (1.0 + math.erf((total / 2 - mean) / math.sqrt(2.0 * mean))))
    return q / max(q00, q01), r, q00, q01


@njit(cache=True, nogil=True)
def _grouped(unit: Integers, n_units: int) -> tuple[Integers, Integers]:
    """Return rows sorted by unit, in order within each, and where each unit's begin and end."""
    bounds = np.zeros(n_units + 1, dtype=np.int64)
    for u in unit:
        bounds[u + 1] += 1
    for u in range(n_units):
        bounds[u + 1] += bounds[u]
    place = bounds[:-1].copy()
    rows = np.empty(unit.size, dtype=np.int64)
    for row in range(unit.size):
        rows[place[unit[row]]] = row
        place[unit[row]] += 1
    return rows, bounds
