"""Spike trains of one unit: an inhomogeneous Poisson process with a refractory period, made by thinning.

The session is cut into segments (one a presentation, one a gap between two). Inside a segment the rate is

    rate(t) = gain * (base + response * shape(t - start) * (1 + depth * sin(2 pi tf (t - start))))

with ``shape(x) = sustained + (1 - sustained) * exp(-x / 50 ms)``. Candidates are drawn at the largest rate the segment
can have and kept with probability rate / largest (Lewis & Shedler 1979, Naval Research Logistics 26:403); a candidate
inside the refractory period of the last spike is dropped unless it stems from another cell (contamination).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

#: Time constant with which the transient part of a response decays (s).
TRANSIENT_DECAY = 0.05


@njit(cache=True, nogil=True)
def thin(
    rng: np.random.Generator,
    edges: Floats,
    base: Floats,
    response: Floats,
    sustained: float,
    depth: Floats,
    frequency: Floats,
    refractory: float,
    contamination: float,
    out: Floats,
) -> int:
    """Write the spike times of one unit to `out` and return how many there are, or -1 if `out` is too short.

    Parameters
    ----------
    rng
        Source of randomness; one of its own for every unit.
    edges
        Segment edges (s), ascending, one more than segments.
    base, response
        Rates of each segment (Hz), the gain multiplied in.
    sustained
        Fraction of the response that does not decay.
    depth, frequency
        Depth (0 to 1) and frequency (Hz) of the modulation of each segment.
    refractory
        Refractory period (s).
    contamination
        Fraction of candidates that ignore the refractory period.
    out
        Room for the spikes.
    """
    n = 0
    last = -1.0
    for k in range(len(response)):
        largest = base[k] + response[k] * (1.0 + depth[k])
        if largest <= 0.0:
            continue
        t = edges[k]
        while True:
            t += rng.standard_exponential() / largest
            if t >= edges[k + 1]:
                break
            x = t - edges[k]
            rate = base[k]
            if response[k] > 0.0:
                shape = sustained + (1.0 - sustained) * np.exp(-x / TRANSIENT_DECAY)
                rate += response[k] * shape * (1.0 + depth[k] * np.sin(2.0 * np.pi * frequency[k] * x))
            if rng.random() * largest >= rate:
                continue
            if t - last < refractory and rng.random() >= contamination:
                continue
            if n == len(out):
                return -1
            out[n] = t
            n += 1
            last = t
    return n
