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

from typing import Final, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ..preparing.detection import find_peaks, is_peak, most_peaks, waveform_energy
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
#: Multiplications of one call to the library: no more, so that it does not share the work out to threads of its own.
AT_ONCE: Final = 2**18
#: Numbers that weights side by side may take (100 MB): on denser probes templates are compared one by one.
MOST_TOGETHER: Final = 25_000_000

#: Columns of a possible spike: where its energy peaks, and the template, start and delay that explain most of it.
PEAK_TIME, PEAK_CHANNEL, TEMPLATE, TIME, DELAY = range(5)
AMPLITUDE, COST = range(2)


class Templates(NamedTuple):
    """A bank of templates as the kernels read it.

    Attributes
    ----------
    main
        int64 (n,): main channel of each.
    channels
        int64 (n, n_local): the channels that it spans.
    units
        float32 (n, n_local, K): its weights, of norm 1; 0 on channels with next to none of its energy.
    active, n_active
        int64 (n, n_local) and (n,): the columns of `channels` on which it has energy, and how many they are.
    norms
        float32 (n,): its mean size, noise SDs.
    by_channel
        int64 (n_channels, m): templates to compare with a spike there, -1 at the end.
    near, interacts, around
        Of :class:`~.template_bank.ProbeLayout`.
    together
        float32 (n_channels, m, n_around * K): for each channel the weights of the templates of `by_channel` on the
        channels of `around` (:func:`side_by_side`).
    """

    main: Int64
    channels: Int64
    units: Float32
    active: Int64
    n_active: Int64
    norms: Float32
    by_channel: Int64
    near: Int64
    interacts: Bool
    around: Int64
    together: Float32


class Spikes(NamedTuple):
    """Room for spikes; rows are filled in the order of acceptance.

    Attributes
    ----------
    found
        int64 (n, 5): peak time, peak channel, template, time, delay.
    sizes
        float32 (n, 2): amplitude, cost.
    previous
        int64 (n,): row of the spike of the same template accepted before, -1 if none.
    last
        int64 (n_templates,): row of the last spike accepted of each template.
    """

    found: Int64
    sizes: Float32
    previous: Int64
    last: Int64


class Candidates(NamedTuple):
    """Room for possible spikes: `peaks` int64 (n, 2), `found` and `sizes` as in :class:`Spikes`.

    `changed` int16 (n_channels, n_times) is the iteration in which something was taken out there.
    """

    peaks: Int64
    found: Int64
    sizes: Float32
    changed: npt.NDArray[np.int16]


class Desk(NamedTuple):
    """Room for one peak: `window` float32 (n_around * K, LAGS), `products` (m, LAGS), `again` (LAGS,)."""

    window: Float32
    products: Float32
    again: Float32


def room_for_spikes(n: int, n_templates: int) -> Spikes:
    """Return room for `n` spikes."""
    return Spikes(
        np.empty((n, 5), np.int64), np.empty((n, 2), np.float32), np.empty(n, np.int64), np.empty(n_templates, np.int64)
    )


def room_for_candidates(n_channels: int, n_times: int) -> Candidates:
    """Return room for all local maxima that there can be."""
    n = most_peaks(n_channels, n_times, PEAK_REACH)
    return Candidates(
        np.empty((n, 2), np.int64), np.empty((n, 5), np.int64), np.empty((n, 2), np.float32),
        np.empty((n_channels, n_times), np.int16),
    )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def side_by_side(by_channel: Int64, around: Int64, channels: Int64, units: Float32) -> Float32:
    """Return for each channel the weights of its templates on the channels around, 0 where a template has none.

    Empty, (n_channels, 0, 0), where that would take too much memory.

    Parameters
    ----------
    by_channel, around
        Of :class:`Templates`.
    channels, units
        int64 (n, n_local) and float32 (n, n_local, K): the channels and weights of each template.
    """
    n_components = units.shape[2]
    if by_channel.shape[0] * by_channel.shape[1] * around.shape[1] * n_components > MOST_TOGETHER:
        return np.zeros((by_channel.shape[0], 0, 0), np.float32)
    together = np.zeros((by_channel.shape[0], by_channel.shape[1], around.shape[1] * n_components), np.float32)
    place = np.full(by_channel.shape[0], -1, np.int64)
    for c in range(by_channel.shape[0]):
        for slot in range(around.shape[1]):
            if around[c, slot] >= 0:
                place[around[c, slot]] = slot * n_components
        for j in range(by_channel.shape[1]):
            i = by_channel[c, j]
            if i < 0:
                break
            for a in range(channels.shape[1]):
                first = place[channels[i, a]]
                together[c, j, first : first + n_components] = units[i, a]
    return together


@numba.njit(cache=True, nogil=True)
def cost(d: float, mu: float, lam: float) -> float:
    """Return the squared error that a spike of amplitude `d` explains (module's docstring)."""
    b = max(d + lam * mu, 0.0)
    return b * b / (1.0 + lam) - lam * mu * mu


@numba.njit(cache=True, nogil=True)
def match_template(projections: Float32, templates: Templates, i: int, first: int, products: Float32) -> None:
    """Write to `products` the dot products of template `i` with the projections at `LAGS` times from `first` on."""
    products[:] = 0
    for a in range(templates.n_active[i]):
        c = templates.active[i, a]
        unit, p = templates.units[i, c], projections[templates.channels[i, c]]
        for k in range(unit.shape[0]):
            w = unit[k]
            row = p[k, first : first + LAGS]
            for lag in range(LAGS):
                products[lag] += w * row[lag]


@numba.njit(cache=True, nogil=True)
def _match_around(projections: Float32, templates: Templates, channel: int, first: int, desk: Desk) -> None:
    """Write to ``desk.products`` what :func:`match_template` gives of all templates near a channel.

    They are multiplied together: the window of projections is copied once and stays in the first-level cache.
    """
    listed = templates.by_channel[channel]
    n = 0
    while n < len(listed) and listed[n] >= 0:
        n += 1
    if templates.together.shape[1] == 0:
        for j in range(n):
            match_template(projections, templates, listed[j], first, desk.products[j])
        return
    n_components, around = projections.shape[1], templates.around[channel]
    for slot in range(len(around)):
        if around[slot] < 0:
            break
        p = projections[around[slot]]
        for k in range(n_components):
            row, to = p[k, first : first + LAGS], desk.window[slot * n_components + k]
            for lag in range(LAGS):
                to[lag] = row[lag]
    rows = templates.together[channel]
    step = max(AT_ONCE // max(desk.window.size, 1), 1)
    for start in range(0, n, step):
        stop = min(start + step, n)
        np.dot(rows[start:stop], desk.window, desk.products[start:stop])


@numba.njit(cache=True, nogil=True)
def _is_refractory(spikes: Spikes, template: int, time: int) -> bool:
    """Tell whether an accepted spike of this template is too near."""
    row = spikes.last[template]
    while row >= 0:
        if abs(spikes.found[row, TIME] - time) <= REFRACTORY:
            return True
        row = spikes.previous[row]
    return False


@numba.njit(cache=True, nogil=True)
def _evaluate(
    projections: Float32, lam: float, templates: Templates, spikes: Spikes, desk: Desk, found: Int64, sizes: Float32
) -> None:
    """Find what explains most of the energy peak named by `found`; cost 0 if nothing does."""
    sizes[COST] = 0
    first = found[PEAK_TIME] - LAGS // 2
    if first < 0 or first + LAGS > projections.shape[2]:
        return
    _match_around(projections, templates, found[PEAK_CHANNEL], first, desk)
    for j in range(templates.by_channel.shape[1]):
        i = templates.by_channel[found[PEAK_CHANNEL], j]
        if i < 0:
            break
        products = desk.products[j]
        top = 1
        for lag in range(2, LAGS - 1):
            if products[lag] > products[top]:
                top = lag
        begin = first
        if products[top - 1] > products[top] or products[top + 1] > products[top]:
            # The best match lies outside: the peak is that of several spikes together.
            edge = max(products[top - 1], products[top + 1])
            if cost(edge, templates.norms[i], lam) <= sizes[COST]:
                continue
            begin = first - (LAGS - 2) if products[top - 1] > products[top] else first + LAGS - 2
            if begin < 0 or begin + LAGS > projections.shape[2]:
                continue
            products = desk.again
            match_template(projections, templates, i, begin, products)
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
        value = cost(amplitude, templates.norms[i], lam)
        if value > sizes[COST] and not _is_refractory(spikes, i, begin + top):
            sizes[AMPLITUDE], sizes[COST] = amplitude, value
            found[TEMPLATE], found[TIME] = i, begin + top
            found[DELAY] = int(np.rint(delay * (FRACTIONS - 1))) + FRACTIONS // 2


@numba.njit(cache=True, nogil=True)
def subtract(projections: Float32, templates: Templates, i: int, amplitude: float, table: Float32, time: int) -> None:
    """Take a spike of template `i` out of the projections, `table` being the cross-correlations at its delay."""
    first = time - REACH
    start, stop = max(first, 0), min(time + REACH + 1, projections.shape[2])
    n, n_components, length = templates.n_active[i], table.shape[0], table.shape[2]
    step = max(AT_ONCE // table.size, 1)
    sizes = np.empty((step, n_components), np.float32)
    for begin in range(0, n, step):
        count = min(step, n - begin)
        for a in range(count):
            sizes[a] = np.float32(amplitude) * templates.units[i, templates.active[i, begin + a]]
        waves = np.dot(sizes[:count], table.reshape(n_components, n_components * length))
        for a in range(count):
            p = projections[templates.channels[i, templates.active[i, begin + a]]]
            for k in range(n_components):
                row = p[k, start:stop]
                wave = waves[a, k * length + start - first : k * length + stop - first]
                for t in range(row.shape[0]):
                    row[t] -= wave[t]


@numba.njit(cache=True, nogil=True)
def _is_best(n: int, order: Int64, rank: int, candidates: Candidates, templates: Templates) -> bool:
    """Tell whether a possible spike explains more than all it overlaps with; `order` sorts the `n` of them by time."""
    found, sizes = candidates.found, candidates.sizes
    mine = order[rank]
    time, channel, value = found[mine, TIME], templates.main[found[mine, TEMPLATE]], sizes[mine, COST]
    for step in (-1, 1):
        place = rank + step
        while 0 <= place < n and abs(found[order[place], TIME] - time) <= REACH:
            other = order[place]
            theirs = sizes[other, COST]
            if (theirs > value or (theirs == value and place < rank)) and templates.interacts[
                channel, templates.main[found[other, TEMPLATE]]
            ]:
                return False
            place += step
    return True


@numba.njit(cache=True, nogil=True)
def _accept_best(candidates: Candidates, n: int, order: Int64, templates: Templates, spikes: Spikes, first: int) -> int:
    """Append to `spikes`, from row `first` on and in order of time, what explains most; return how many there are."""
    n_spikes = first
    for rank in range(n):
        if n_spikes < len(spikes.found) and _is_best(n, order, rank, candidates, templates):
            spikes.found[n_spikes] = candidates.found[order[rank]]
            spikes.sizes[n_spikes] = candidates.sizes[order[rank]]
            n_spikes += 1
    return n_spikes


@numba.njit(cache=True, nogil=True)
def _channels_around(templates: Templates, i: int, listed: Bool, out: Int64) -> int:
    """List the channels whose peaks a spike of template `i` hides or makes: its own and those near; return how many.

    A peak on a channel where the template has no energy shows up when a larger one beside it is taken out.
    """
    listed[:] = False
    n = 0
    for a in range(templates.n_active[i]):
        c = templates.channels[i, templates.active[i, a]]
        for j in range(templates.near.shape[1]):
            other = templates.near[c, j]
            if other < 0:
                break
            if not listed[other]:
                listed[other] = True
                out[n] = other
                n += 1
    return n


@numba.njit(cache=True, nogil=True)
def _subtract_spikes(
    projections: Float32, energy: Float32, tables: Float32, templates: Templates, spikes: Spikes, first: int, stop: int,
    changed: npt.NDArray[np.int16], iteration: int,
) -> None:  # fmt: skip
    """Subtract spikes and mark where energy peaks have to be looked for again."""
    listed, around = np.empty(energy.shape[0], np.bool_), np.empty(energy.shape[0], np.int64)
    for s in range(first, stop):
        i, time = spikes.found[s, TEMPLATE], spikes.found[s, TIME]
        spikes.previous[s], spikes.last[i] = spikes.last[i], s
        amplitude, table = spikes.sizes[s, AMPLITUDE], tables[spikes.found[s, DELAY]]
        subtract(projections, templates, i, amplitude, table, time)
        start, end = max(time - REACH, 0), min(time + REACH + 1, energy.shape[1])
        for a in range(templates.n_active[i]):
            c = templates.channels[i, templates.active[i, a]]
            waveform_energy(projections[c], energy[c], start, end)
        for a in range(_channels_around(templates, i, listed, around)):
            changed[around[a], max(start - PEAK_REACH, 0) : end + PEAK_REACH] = iteration


@numba.njit(cache=True, nogil=True)
def _rescore_candidates(
    projections: Float32, lam: float, threshold: float, templates: Templates, spikes: Spikes, first: int, stop: int,
    candidates: Candidates, n: int, order: Int64, iteration: int, desk: Desk,
) -> int:  # fmt: skip
    """Forget candidates at changed places, evaluate those that overlap with new spikes; return how many are left."""
    found, sizes = candidates.found, candidates.sizes
    nearest = first
    for rank in range(n):
        m = order[rank]
        if candidates.changed[found[m, PEAK_CHANNEL], found[m, PEAK_TIME]] == iteration:
            sizes[m, COST] = 0
            continue
        time, channel = found[m, TIME], templates.main[found[m, TEMPLATE]]
        while nearest < stop and spikes.found[nearest, TIME] < time - REACH - 3 * LAGS:
            nearest += 1
        s = nearest
        while s < stop and spikes.found[s, TIME] <= time + REACH + 3 * LAGS:
            if templates.interacts[channel, templates.main[spikes.found[s, TEMPLATE]]]:
                _evaluate(projections, lam, templates, spikes, desk, found[m], sizes[m])
                break
            s += 1
    kept = 0
    for m in range(n):
        if sizes[m, COST] > threshold:
            found[kept], sizes[kept] = found[m], sizes[m]
            kept += 1
    return kept


@numba.njit(cache=True, nogil=True)
def _changed_peaks(
    energy: Float32, energy_threshold: float, templates: Templates, spikes: Spikes, first: int, stop: int,
    candidates: Candidates, iteration: int,
) -> int:  # fmt: skip
    """List energy peaks where new spikes were taken out; return how many."""
    n, peaks, changed = 0, candidates.peaks, candidates.changed
    listed, around = np.empty(energy.shape[0], np.bool_), np.empty(energy.shape[0], np.int64)
    for s in range(first, stop):
        time = spikes.found[s, TIME]
        start = max(time - REACH - PEAK_REACH, 0)
        end = min(time + REACH + PEAK_REACH + 1, energy.shape[1])
        for a in range(_channels_around(templates, spikes.found[s, TEMPLATE], listed, around)):
            c = around[a]
            row = energy[c]
            for t in range(start, end):
                if changed[c, t] != iteration:
                    continue
                changed[c, t] = -iteration
                is_new = row[t] > energy_threshold and is_peak(energy, templates.near, c, t, PEAK_REACH)
                if is_new and n < len(peaks):
                    peaks[n, 0], peaks[n, 1] = t, c
                    n += 1
    return n


@numba.njit(cache=True, nogil=True)
def _evaluate_peaks(
    projections: Float32, lam: float, threshold: float, templates: Templates, spikes: Spikes, candidates: Candidates,
    n_peaks: int, n: int, desk: Desk,
) -> int:  # fmt: skip
    """Append to the `n` candidates those peaks that a template explains well enough; return how many there are."""
    for m in range(n_peaks):
        if n == len(candidates.found):
            break
        found, sizes = candidates.found[n], candidates.sizes[n]
        found[PEAK_TIME], found[PEAK_CHANNEL] = candidates.peaks[m, 0], candidates.peaks[m, 1]
        _evaluate(projections, lam, templates, spikes, desk, found, sizes)
        n += sizes[COST] > threshold
    return n


@numba.njit(cache=True, nogil=True)
def match(
    projections: Float32, energy: Float32, threshold: float, energy_threshold: float, lam: float, tables: Float32,
    templates: Templates, candidates: Candidates, spikes: Spikes,
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
    candidates, spikes
        Room to work in, and for what is found.

    Returns
    -------
    int
        Number of spikes; equal to ``len(spikes.found)`` if they did not fit (give more room then).
    """
    n_around, n_components = templates.around.shape[1], projections.shape[1]
    desk = Desk(
        np.zeros((n_around * n_components, LAGS), np.float32),
        np.empty((templates.by_channel.shape[1], LAGS), np.float32),
        np.empty(LAGS, np.float32),
    )
    candidates.changed[:] = 0
    spikes.last[:] = -1
    for c in range(energy.shape[0]):
        waveform_energy(projections[c], energy[c], 0, energy.shape[1])
    peaks = candidates.peaks
    n_peaks = find_peaks(energy, templates.near, energy_threshold, PEAK_REACH, 0, energy.shape[1], peaks)
    n = _evaluate_peaks(projections, lam, threshold, templates, spikes, candidates, n_peaks, 0, desk)
    n_spikes = 0
    for iteration in range(1, MOST_ROUNDS + 1):
        order = np.argsort(candidates.found[:n, TIME], kind="mergesort")
        first = n_spikes
        n_spikes = _accept_best(candidates, n, order, templates, spikes, first)
        if n_spikes == first or n_spikes == len(spikes.found):
            break
        _subtract_spikes(projections, energy, tables, templates, spikes, first, n_spikes, candidates.changed, iteration)
        n = _rescore_candidates(
            projections, lam, threshold, templates, spikes, first, n_spikes, candidates, n, order, iteration, desk
        )
        n_peaks = _changed_peaks(energy, energy_threshold, templates, spikes, first, n_spikes, candidates, iteration)
        n = _evaluate_peaks(projections, lam, threshold, templates, spikes, candidates, n_peaks, n, desk)
    return n_spikes


@numba.njit(cache=True, nogil=True)
def clean_weights(projections: Float32, templates: Templates, found: Int64, sizes: Float32, out: Float32) -> None:
    """Write what each spike looks like without all the others: the residual at its time plus what it explains.

    The residual is interpolated at the spike's fractional time (parabola through three samples), so that mean
    waveforms are not blurred by the sampling.

    Parameters
    ----------
    out
        float32 (n_spikes, n_local, K).
    """
    channels, units = templates.channels, templates.units
    for s in range(len(found)):
        i, t = found[s, TEMPLATE], found[s, TIME]
        x = np.float32((found[s, DELAY] - FRACTIONS // 2) / (FRACTIONS - 1))
        w0, w1, w2 = x * (x - 1) / np.float32(2), 1 - x * x, x * (x + 1) / np.float32(2)
        a = sizes[s, AMPLITUDE]
        for c in range(units.shape[1]):
            p = projections[channels[i, c]]
            for k in range(units.shape[2]):
                residual = w0 * p[k, t - 1] + w1 * p[k, t] + w2 * p[k, t + 1]
                out[s, c, k] = residual + a * units[i, c, k]
