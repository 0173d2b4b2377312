"""Units that one neuron was cut into are put together again, if their spikes never coincide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numba import njit

from allen_ecephys.errors import InvalidContentsError, InvalidValueError

from .correlograms import BIN_S, ascending_train, checked_spikes, flank_mean, rows_by_unit, thinned, train_statistics

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

#: Lags (s) at which no neuron follows its own spike; nearer than the first, one spike may have been found twice.
SHORTEST_LAG = 0.0005
REFRACTORY_PERIOD = 0.0015
#: Contamination up to which two trains can pass for one neuron's, and the probability below which something is clear.
CONTAMINATION = 0.1
CLEAR = 0.05
#: Chance of so few coincidences at which a pair of different shape is one neuron: each unit is tried with many others.
PROOF = 0.001


@dataclass(frozen=True)
class RefractoryEvidence:
    """What coincidences within a refractory period say about two trains.

    Attributes
    ----------
    observed
        Pairs of spikes between 0.5 ms and the refractory period apart.
    expected
        Pairs expected if the trains were independent, from the flanks of their correlogram. This is the power of the
        test: with 3 or fewer expected, even none observed is no evidence.
    p_independent
        Probability of so few pairs or fewer if the trains are independent neurons (Poisson).
    p_one_neuron
        Probability of so many pairs or more if they are one neuron, contaminated as far as merging tolerates.
    """

    observed: int
    expected: float
    p_independent: float
    p_one_neuron: float

    @property
    def verdict(self) -> Literal["one neuron", "two neurons", "too few spikes"]:
        """What can be said at 5 %: the trains are refractory, are not, or have too few spikes to tell."""
        if self.p_one_neuron < CLEAR:
            return "two neurons"
        return "one neuron" if self.p_independent < CLEAR else "too few spikes"


def refractory_evidence(
    times_a: ArrayLike,
    times_b: ArrayLike,
    *,
    refractory_period_s: float = REFRACTORY_PERIOD,
    contamination: float = CONTAMINATION,
) -> RefractoryEvidence:
    """Weigh whether two trains are refractory to each other, with a probability for either answer.

    Kilosort 2's criterion (:func:`.correlograms.correlogram_statistics`) merges only on proof. In recordings of a
    minute or two most pairs have so few coincidences that there is no proof for either side; this tells them from pairs
    that do coincide. Pairs are counted at 0.5 ms <= ``|lag|`` < `refractory_period_s`, and compared by exact Poisson
    probabilities with those expected in as long a time on the flanks (the denser of 11..49 and 250..500 ms).

    Parameters
    ----------
    times_a, times_b
        Spike times (s), in any order.
    refractory_period_s
        Longest lag (s) at which spikes of one neuron cannot follow each other, above 0.5 ms.
    contamination
        Coincidences of one neuron's parts relative to independent ones that are still tolerated.

    Returns
    -------
    RefractoryEvidence
        Without pairs on the flanks `expected` is 0 and both probabilities are 1 unless coincidences are seen.

    Raises
    ------
    SpikeTrainError
        If times are not finite or have more than one dimension.
    InvalidValueError
        If `refractory_period_s` or `contamination` is out of range.
    """
    if not refractory_period_s > SHORTEST_LAG or not 0 <= contamination < 1:
        msg = (
            f"refractory_period_s is {refractory_period_s} and contamination {contamination}: the first must be above "
            f"{SHORTEST_LAG} s, the second in [0, 1)"
        )
        raise InvalidValueError(msg)
    a, b = ascending_train(times_a), ascending_train(times_b)
    return _evidence(a, b, train_statistics(a, b).counts, refractory_period_s, contamination)


def near_templates(similarity: ArrayLike, norms: ArrayLike, *, distance_maximum: float = 6.0) -> NDArray[np.bool_]:
    """Tell which templates lie so near each other that one neuron's spikes may have been divided between them.

    The distance is ``sqrt(m_i^2 + m_j^2 - 2 s_ij m_i m_j)`` noise SDs, at the lag of the largest correlation. In
    simulated recordings of one to five minutes nearly all pairs nearer than 6.5 whose spikes do not coincide are parts
    of one neuron, and nearly all others are not.

    Parameters
    ----------
    similarity
        (n_units, n_units) largest correlation s of templates over all lags.
    norms
        (n_units,) size m of each template, noise SDs.
    distance_maximum
        Noise SDs.

    Returns
    -------
    ndarray
        bool (n_units, n_units), the `same_shape` of :func:`find_merges`. Parts that a unit was split into belong apart:
        clear their pairs.
    """
    sizes = np.asarray(norms, dtype=np.float64)
    squares = sizes[:, None] ** 2 + sizes**2 - 2 * np.asarray(similarity, dtype=np.float64) * np.outer(sizes, sizes)
    return np.asarray(squares < distance_maximum**2)


def find_merges(
    times_s: ArrayLike,
    unit: ArrayLike,
    similarity: ArrayLike,
    *,
    similarity_minimum: float = 0.5,
    q_maximum: float = 0.2,
    r_maximum: float = 0.05,
    same_shape: ArrayLike | None = None,
) -> NDArray[np.int64]:
    """Find units to be merged, as Kilosort 2 does: similar templates, and a refractory period across both.

    Units are taken in ascending number of spikes. Each is compared with those that have more by now, the most similar
    first, and joins the first one with which ``Q < q_maximum`` and ``R < r_maximum``; trains are those after all
    merges so far. Amplitudes are not compared.

    Two things differ from Kilosort 2. In recordings of minutes the normal approximation in R calls pairs refractory
    that have just too few spikes, and each unit is tried with many others: the exact Poisson probability of so few
    coincidences must also be below 0.001 at some lag of 1..10 ms. And where it leaves units of exactly as many spikes
    apart, here the later one may join the earlier one.

    With `same_shape`, a pair of one shape also merges without that proof, unless more of its spikes coincide than one
    contaminated neuron's would (:func:`refractory_evidence`, at 5 %). Pairs with a correlogram that clearly is not
    refractory never merge.

    Parameters
    ----------
    times_s
        (n_spikes,) spike times (s).
    unit
        (n_spikes,) unit of each spike, 0..n_units - 1.
    similarity
        (n_units, n_units) largest correlation of templates over all lags.
    similarity_minimum
        Pairs must be more similar than this, or have one shape.
    q_maximum, r_maximum
        Bounds on the statistics of :func:`.correlograms.correlogram_statistics`.
    same_shape
        bool (n_units, n_units): pairs whose waveforms alone say that they are one neuron, such as
        :func:`near_templates`.

    Returns
    -------
    ndarray
        int64 (n_units,): the unit that each unit becomes, itself if it stays. Units without spikes stay.

    Raises
    ------
    SpikeTrainError
        If times and units do not fit together or `similarity`.
    InvalidContentsError
        If a matrix is not square or does not fit the other.
    """
    alike = np.asarray(similarity)
    same = np.zeros(alike.shape, np.bool_) if same_shape is None else np.asarray(same_shape, dtype=np.bool_)
    if alike.ndim != 2 or alike.shape[0] != alike.shape[1] or same.shape != alike.shape:
        msg = f"similarity has shape {alike.shape} and same_shape {same.shape}: both must be (n_units, n_units)"
        raise InvalidContentsError(msg)
    same = same | same.T
    n_units = len(alike)
    times, units = checked_spikes(times_s, unit, n_units)
    trains = [times[rows] for rows in rows_by_unit(times, units, n_units)]
    counts = np.array([train.size for train in trains], dtype=np.int64)
    into = np.arange(n_units)
    for j in np.argsort(counts, kind="stable"):
        if counts[j] == 0:
            continue
        for i in _candidates(j, counts, alike, (alike[j] > similarity_minimum) | same[j]):
            if _are_one(trains[i], trains[j], q_maximum, r_maximum, shape_says_so=bool(same[j, i])):
                into[j] = i
                trains[i] = np.sort(np.concatenate((trains[i], trains[j])), kind="stable")
                counts[i] += counts[j]
                counts[j] = 0
                break
    return _followed(into)


def _candidates(j: int, counts: Integers, similarity: NDArray[np.floating], may: NDArray[np.bool_]) -> Integers:
    """Return units that unit j may join, the most similar first."""
    larger = (counts > counts[j]) | ((counts == counts[j]) & (np.arange(counts.size) < j))
    rows = np.flatnonzero(larger & may)
    return rows[np.argsort(-similarity[j, rows], kind="stable")]


def _are_one(a: Floats, b: Floats, q_maximum: float, r_maximum: float, *, shape_says_so: bool) -> bool:
    statistics = train_statistics(a, b)
    if statistics.is_refractory(q_maximum, r_maximum) and _chance(statistics.counts) < PROOF:
        return True
    if not shape_says_so:
        return False
    return _evidence(a, b, statistics.counts, REFRACTORY_PERIOD, CONTAMINATION).verdict != "two neurons"


def _chance(counts: Integers) -> float:
    """Return the least Poisson probability, within 1..10 ms, of so few pairs if the trains were independent."""
    from scipy.special import pdtr

    centre = counts.size // 2
    sums = np.cumsum(counts[centre + 1 : centre + 11] + counts[centre - 10 : centre][::-1])
    return float(pdtr(sums, 2 * np.arange(1, 11) * flank_mean(counts)).min())


def _evidence(a: Floats, other: Floats, counts: Integers, period: float, contamination: float) -> RefractoryEvidence:
    from scipy.special import pdtr, pdtrc

    a, b = thinned(a, other)  # as those that were counted
    b = other if b is None else b
    observed = _coincidences(a, b, SHORTEST_LAG, period)
    expected = flank_mean(counts) * 2 * (period - SHORTEST_LAG) / BIN_S
    if expected == 0:
        return RefractoryEvidence(observed, 0.0, 1.0, 0.0 if observed else 1.0)
    fewer = float(pdtr(observed, expected))
    more = float(pdtrc(observed - 1, contamination * expected)) if observed else 1.0
    return RefractoryEvidence(observed, expected, fewer, more)


def _followed(into: Integers) -> Integers:
    """Replace the unit each unit joined by the one it is part of in the end."""
    while not np.array_equal(into[into], into):
        into = into[into]
    return into


@njit(cache=True, nogil=True)
def _coincidences(a: Floats, b: Floats, shortest: float, longest: float) -> int:
    """Count pairs of two ascending trains with shortest <= |lag| < longest."""
    first, total = 0, 0
    for i in range(a.size):
        while first < b.size and b[first] - a[i] <= -longest:
            first += 1
        for j in range(first, b.size):
            lag = b[j] - a[i]
            if lag >= longest:
                break
            if abs(lag) >= shortest:
                total += 1
    return total
