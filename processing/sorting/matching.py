"""Template matching pursuit: the best-explained spikes first, each subtracted before the rest is looked at again.

Kilosort 2's cost (its ``mexMPnu8``): with the projection ``d`` on a template of norm 1 whose mean size is ``mu``,

    cost = max(0, d + lam mu)^2 / (1 + lam) - lam mu^2

is the squared error that a spike of amplitude ``d`` takes away, given a Gaussian prior of the amplitude around ``mu``.
A spike is accepted where its cost is above a threshold and above that of every other possible spike that it overlaps,
in time and on the probe. What is accepted depends on these overlaps only, so stretches of a recording can be searched
side by side.

Spikes are looked for where the waveform energy has a local maximum (there only), against the templates whose main
channel is near: the work follows the spikes.
"""

from __future__ import annotations

from typing import Final

import numba
import numpy as np
import numpy.typing as npt

from .detection import is_peak, waveform_energy
from .projections import FRACTIONS, LENGTH

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

#: Lags around an energy peak at which templates are compared with it: -8..7, as many as a vector register holds.
LAGS: Final = 16
#: Samples and channels (those of ``ProbeLayout.near``) over which an energy peak is the largest.
PEAK_REACH: Final = 8
#: The same template is not accepted twice within this many samples: no neuron fires again in half a millisecond.
REFRACTORY: Final = 15
#: Rounds of accepting and looking again; a handful is needed, the limit is for what is no neural signal.
MOST_ROUNDS: Final = 60
REACH: Final = LENGTH - 1

#: Columns of a possible spike: where its energy peaks, and the template, start and delay that explain most of it.
PEAK_TIME, PEAK_CHANNEL, TEMPLATE, TIME, DELAY = range(5)
AMPLITUDE, COST = range(2)


@numba.njit(cache=True, nogil=True)
def cost(d: float, mu: float, lam: float) -> float:
    """Return the squared error that a spike of amplitude `d` explains (module's docstring)."""
    b = max(d + lam * mu, 0.0)
    return b * b / (1.0 + lam) - lam * mu * mu


@numba.njit(cache=True, nogil=True)
def match_template(projections: Float32, channels: Int64, unit: Float32, first: int, products: Float32) -> None:
    """Write to `products` the dot products of one template with the projections at `LAGS` times from `first` on."""
    products[:] = 0
    for c in range(unit.shape[0]):
        p = projections[channels[c]]
        for k in range(unit.shape[1]):
            w = unit[c, k]
            row = p[k, first : first + LAGS]
            for i in range(LAGS):
                products[i] += w * row[i]


@numba.njit(cache=True, nogil=True)
def _is_refractory(last: int, time: int, previous: Int64, spikes: Int64) -> bool:
    """Tell whether an accepted spike of a template is too near; `previous` leads from each to the one before it."""
    while last >= 0:
        if abs(spikes[last, TIME] - time) <= REFRACTORY:
            return True
        last = previous[last]
    return False


@numba.njit(cache=True, nogil=True)
def _evaluate(
    projections: Float32, lam: float, by_channel: Int64, channels: Int64, units: Float32, norms: Float32,
    last: Int64, previous: Int64, spikes: Int64, products: Float32, found: Int64, sizes: Float32,
) -> None:  # fmt: skip
    """Find what explains most of the energy peak named by `found`; cost 0 if nothing does."""
    sizes[COST] = 0
    first = found[PEAK_TIME] - LAGS // 2
    if first < 0 or first + LAGS > projections.shape[2]:
        return
    for j in range(by_channel.shape[1]):
        i = by_channel[found[PEAK_CHANNEL], j]
        if i < 0:
            break
        match_template(projections, channels[i], units[i], first, products)
        top = 1
        for lag in range(2, LAGS - 1):
            if products[lag] > products[top]:
                top = lag
        before, here, after = products[top - 1], products[top], products[top + 1]
        if here <= 0 or here < before or here < after:
            continue
        # The parabola through three samples has its peak at a fraction of a sample.
        curvature = before - 2 * here + after
        delay = np.float32(0.5) * (before - after) / curvature if curvature < 0 else np.float32(0)
        amplitude = here - np.float32(0.25) * (before - after) * delay
        value = cost(amplitude, norms[i], lam)
        if value > sizes[COST] and not _is_refractory(last[i], first + top, previous, spikes):
            sizes[AMPLITUDE], sizes[COST] = amplitude, value
            found[TEMPLATE], found[TIME] = i, first + top
            found[DELAY] = int(np.rint(delay * (FRACTIONS - 1))) + FRACTIONS // 2


@numba.njit(cache=True, nogil=True)
def subtract(projections: Float32, channels: Int64, unit: Float32, amplitude: float, table: Float32, time: int) -> None:
    """Take a spike out of the projections, `table` being the cross-correlations at its delay."""
    first = time - REACH
    start, stop = max(first, 0), min(time + REACH + 1, projections.shape[2])
    n_components = unit.shape[1]
    for c in range(unit.shape[0]):
        p = projections[channels[c]]
        for k in range(n_components):
            row = p[k, start:stop]
            for j in range(n_components):
                w = np.float32(amplitude) * unit[c, j]
                wave = table[j, k, start - first : stop - first]
                for i in range(row.shape[0]):
                    row[i] -= w * wave[i]


@numba.njit(cache=True, nogil=True)
def _is_best(n: int, order: Int64, rank: int, found: Int64, sizes: Float32, main: Int64, interacts: Bool) -> bool:
    """Tell whether a possible spike explains more than all it overlaps with; `order` sorts the `n` of them by time."""
    mine = order[rank]
    time, channel, value = found[mine, TIME], main[found[mine, TEMPLATE]], sizes[mine, COST]
    for step in (-1, 1):
        place = rank + step
        while 0 <= place < n and abs(found[order[place], TIME] - time) <= REACH:
            other = order[place]
            theirs = sizes[other, COST]
            if interacts[channel, main[found[other, TEMPLATE]]] and (
                theirs > value or (theirs == value and place < rank)
            ):
                return False
            place += step
    return True


@numba.njit(cache=True, nogil=True)
def match(
    projections: Float32, energy: Float32, threshold: float, energy_threshold: float, lam: float, tables: Float32,
    near: Int64, interacts: Bool, by_channel: Int64, main: Int64, channels: Int64, units: Float32, norms: Float32,
    spikes: Int64, spike_sizes: Float32,
) -> int:  # fmt: skip
    """Explain projections by templates, leaving the residual in them.

    Parameters
    ----------
    projections, energy
        float32 (n_channels, K, n_times) and (n_channels, n_times): changed in place.
    threshold
        Least cost of a spike (Th squared).
    energy_threshold
        Energy above which a local maximum is compared with templates.
    tables
        :func:`~.projections.correlation_tables`.
    near, interacts
        Of :class:`~.template_bank.ProbeLayout`.
    by_channel, main, channels, units, norms
        The templates: which to compare at a channel, their channels, weights of norm 1, and mean sizes.
    spikes, spike_sizes
        int64 (n, 5) and float32 (n, 2): what is found, in the order of acceptance.

    Returns
    -------
    int
        Number of spikes; equal to ``len(spikes)`` if they did not fit (give more room then).
    """
    n_times = energy.shape[1]
    last, previous = np.full(len(main), np.int64(-1)), np.empty(len(spikes), np.int64)
    products = np.empty(LAGS, np.float32)
    # Round in which the energy around a sample was changed; positive until it has been searched for peaks again.
    changed = np.zeros(energy.shape, np.int16)
    found, sizes = np.empty((4096, 5), np.int64), np.empty((4096, 2), np.float32)
    n = n_spikes = 0
    for c in range(energy.shape[0]):
        waveform_energy(projections[c], energy[c], 0, energy.shape[1])
    for c in range(energy.shape[0]):
        for t in range(energy.shape[1]):
            if energy[c, t] > energy_threshold and is_peak(energy, near, c, t, PEAK_REACH):
                found, sizes = _with_room(found, sizes, n)
                found[n, PEAK_TIME], found[n, PEAK_CHANNEL] = t, c
                _evaluate(
                    projections, lam, by_channel, channels, units, norms, last, previous, spikes, products,
                    found[n], sizes[n],
                )  # fmt: skip
                n += sizes[n, COST] > threshold
    for turn in range(1, MOST_ROUNDS + 1):
        order = np.argsort(found[:n, TIME], kind="mergesort")
        first = n_spikes
        for rank in range(n):
            if n_spikes < len(spikes) and _is_best(n, order, rank, found, sizes, main, interacts):
                spikes[n_spikes], spike_sizes[n_spikes] = found[order[rank]], sizes[order[rank]]
                n_spikes += 1
        if n_spikes == first or n_spikes == len(spikes):
            break
        for s in range(first, n_spikes):
            i, time = spikes[s, TEMPLATE], spikes[s, TIME]
            previous[s], last[i] = last[i], s
            table = tables[spikes[s, DELAY]]
            subtract(projections, channels[i], units[i], spike_sizes[s, AMPLITUDE], table, time)
            start, stop = max(time - REACH, 0), min(time + REACH + 1, energy.shape[1])
            for c in channels[i]:
                waveform_energy(projections[c], energy[c], start, stop)
                changed[c, max(start - PEAK_REACH, 0) : stop + PEAK_REACH] = turn
        # What was possible before stays so if nothing near it changed.
        kept, first_near = 0, first
        for rank in range(n):
            m = order[rank]
            if changed[found[m, PEAK_CHANNEL], found[m, PEAK_TIME]] == turn:
                sizes[m, COST] = 0
                continue
            time, channel = found[m, TIME], main[found[m, TEMPLATE]]
            while first_near < n_spikes and spikes[first_near, TIME] < time - REACH - LAGS:
                first_near += 1
            s = first_near
            while s < n_spikes and spikes[s, TIME] <= time + REACH + LAGS:
                if interacts[channel, main[spikes[s, TEMPLATE]]]:
                    _evaluate(
                        projections, lam, by_channel, channels, units, norms, last, previous, spikes, products,
                        found[m], sizes[m],
                    )  # fmt: skip
                    break
                s += 1
        for m in range(n):
            if sizes[m, COST] > threshold:
                found[kept], sizes[kept] = found[m], sizes[m]
                kept += 1
        n = kept
        for s in range(first, n_spikes):
            start = max(spikes[s, TIME] - REACH - PEAK_REACH, 0)
            stop = min(spikes[s, TIME] + REACH + PEAK_REACH + 1, energy.shape[1])
            for c in channels[spikes[s, TEMPLATE]]:
                for t in range(start, stop):
                    if changed[c, t] != turn:
                        continue
                    changed[c, t] = -turn
                    if energy[c, t] > energy_threshold and is_peak(energy, near, c, t, PEAK_REACH):
                        found, sizes = _with_room(found, sizes, n)
                        found[n, PEAK_TIME], found[n, PEAK_CHANNEL] = t, c
                        _evaluate(
                            projections, lam, by_channel, channels, units, norms, last, previous, spikes, products,
                            found[n], sizes[n],
                        )  # fmt: skip
                        n += sizes[n, COST] > threshold
    return n_spikes


@numba.njit(cache=True, nogil=True)
def _with_room(found: Int64, sizes: Float32, n: int) -> tuple[Int64, Float32]:
    """Return the lists, twice as long if row `n` is past their end."""
    if n < len(found):
        return found, sizes
    return np.concatenate((found, np.empty_like(found))), np.concatenate((sizes, np.empty_like(sizes)))


@numba.njit(cache=True, nogil=True)
def clean_weights(
    projections: Float32, channels: Int64, units: Float32, spikes: Int64, spike_sizes: Float32, out: Float32
) -> None:
    """Write what each spike looks like without all the others: the residual at its time plus what it explains.

    The residual is interpolated at the spike's fractional time (parabola through three samples), so that mean
    waveforms are not blurred by the sampling.

    Parameters
    ----------
    out
        float32 (n_spikes, n_local, K).
    """
    for s in range(len(spikes)):
        i, t = spikes[s, TEMPLATE], spikes[s, TIME]
        x = np.float32((spikes[s, DELAY] - FRACTIONS // 2) / (FRACTIONS - 1))
        w0, w1, w2 = x * (x - 1) / np.float32(2), 1 - x * x, x * (x + 1) / np.float32(2)
        a = spike_sizes[s, AMPLITUDE]
        for c in range(units.shape[1]):
            p = projections[channels[i, c]]
            for k in range(units.shape[2]):
                residual = w0 * p[k, t - 1] + w1 * p[k, t] + w2 * p[k, t + 1]
                out[s, c, k] = residual + a * units[i, c, k]
