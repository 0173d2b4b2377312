"""Templates that are never alone: what is left of a neuron after another's template was subtracted from its spikes.

While a neuron has no template of its own, the nearest one that resembles it is fitted to its spikes, and what that
leaves makes a template: each of its spikes then falls on one of the other's, always at the same lag. What
coincides by chance, or because neurons fire together, is a part of a train, and spread over lags. The neuron's own
template is the sum of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from .template_bank import TemplateBank, lag_products

Int64 = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

#: Samples within which templates coincide, and by which one neuron's coincidences differ from the most frequent lag.
REACH: Final = 10
JITTER: Final = 1
#: A template is never alone if this share of its spikes coincides with another's, and if there are so many of them.
NEVER_ALONE: Final = 0.8
LEAST_SPIKES: Final = 10


@dataclass(frozen=True)
class Remnant:
    """A template whose spikes fall on another's.

    Attributes
    ----------
    template, host
        Their numbers.
    lag
        Samples by which the host begins later, mean.
    amplitude
        Of the host's spikes then, mean.
    """

    template: int
    host: int
    lag: float
    amplitude: float


def find_remnants(start: Int64, template: Int64, amplitude: npt.NDArray[np.floating], norms: Floats) -> list[Remnant]:
    """Find templates that are never alone.

    Parameters
    ----------
    start, template, amplitude
        (n_spikes,): spikes of a pass, in any order.
    norms
        (n_templates,): sizes of the templates. Of two that are both never alone, the smaller is the remnant.
    """
    order = np.argsort(start, kind="stable")
    start, template, amplitude = start[order], template[order], amplitude[order]
    counts = np.bincount(template, minlength=len(norms))
    first, second = coincidences(start)
    # Each pair as seen from both of its templates.
    mine, other = np.r_[first, second], np.r_[second, first]
    differ = template[mine] != template[other]
    mine, other = mine[differ], other[differ]
    lags, width = start[other] - start[mine], 2 * (REACH + JITTER) + 1
    codes = (template[mine] * len(norms) + template[other]) * width + lags + REACH + JITTER
    listed, n = np.unique(codes, return_counts=True)
    around = np.zeros(len(listed), np.int64)
    for step in range(-JITTER, JITTER + 1):
        place = np.minimum(np.searchsorted(listed, listed + step), max(len(listed) - 1, 0))
        around += np.where(listed[place] == listed + step, n[place], 0)
    found: dict[int, Remnant] = {}
    for row in np.argsort(-around, kind="stable"):
        a, b = divmod(int(listed[row]) // width, len(norms))
        if around[row] < max(NEVER_ALONE * counts[a], LEAST_SPIKES):
            continue
        # A host that is a remnant itself says nothing; the most frequent pair is looked at first.
        if a in found or b in found or (counts[b], norms[b]) < (counts[a], norms[a]):
            continue
        spikes = np.abs(codes - listed[row]) <= JITTER
        found[a] = Remnant(a, b, float(lags[spikes].mean()), float(amplitude[other[spikes]].mean()))
    return list(found.values())


def coincidences(start: Int64) -> tuple[Int64, Int64]:
    """Return the rows of all pairs of spikes that begin within :data:`REACH` samples, the earlier first."""
    firsts, seconds = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for step in range(1, len(start)):
        rows = np.flatnonzero(start[step:] - start[:-step] <= REACH)
        if not len(rows):
            break
        firsts.append(rows)
        seconds.append(rows + step)
    return np.concatenate(firsts), np.concatenate(seconds)


def summed(bank: TemplateBank, remnant: Remnant) -> TemplateBank:
    """Return the template of the neuron that a remnant and its host were fitted to, placed as the larger of both."""
    steps, products = lag_products(bank.basis, REACH)
    parts = {remnant.template: 1.0, remnant.host: remnant.amplitude / float(bank.norms[remnant.host])}
    scaled = {row: scale * bank.weights[row] for row, scale in parts.items()}
    larger = max(scaled, key=lambda row: float((scaled[row] ** 2).sum()))
    wide = np.zeros((bank.layout.n_channels, bank.weights.shape[2]), np.float32)
    for row, weights in scaled.items():
        lag = 0.0 if row == larger else remnant.lag if row == remnant.host else -remnant.lag
        later = products[int(np.abs(steps - lag).argmin())]
        wide[bank.layout.local[bank.main[row]]] += weights @ later.T
    main = int((wide**2).sum(axis=1).argmax())
    return TemplateBank(bank.layout, bank.basis, np.array([main]), wide[bank.layout.local[main]][None])
