"""Samples as projections on a few waveform components: the space in which templates are compared and subtracted.

A component is 61 samples long. ``P[c, k, t]`` is the dot product of component `k` with the samples of channel `c` from
`t` on. A template whose waveform on each channel is a weighted sum of components is then a matrix of weights, its match
at time `t` a dot product with ``P[:, :, t]``, and subtracting it changes `P` by the components' cross-correlations.
"""

from __future__ import annotations

from typing import Final

import numba
import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

#: Samples of a component or template, and the one (from 0) at which a trough lies (Kilosort 2's nt0 and nt0min).
LENGTH: Final = 61
TROUGH: Final = 20
#: Components are padded with zeros to a multiple of the unrolled loop's eight steps.
PADDED: Final = 64
#: Samples that stay in the first-level cache while all components pass over them.
TILE: Final = 2048
#: Samples whose channels stay in the cache while they are spread over rows.
SPREAD_TILE: Final = 32
#: Fractions of a sample in which a spike's time is resolved when it is subtracted: -1/2, -3/8, ..., 1/2.
FRACTIONS: Final = 9


def padded_components(basis: Float32) -> Float32:
    """Return components (61, K) as float32 (K, 64), zeros at the end; with a row of zeros where K is odd."""
    components = np.zeros((basis.shape[1] + basis.shape[1] % 2, PADDED), np.float32)
    components[: basis.shape[1], :LENGTH] = basis.T
    return components


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def project(samples: Float32, components: Float32, out: Float32) -> None:
    """Write ``out[c, k, t] = sum over s of samples[c, t + s] * components[k, s]``.

    Two components at a time, so that each sample that is loaded is used twice, with fused products and sums: the
    multiplications are what takes the time, and half as long as one component after the other.

    Parameters
    ----------
    samples
        float32 (n_channels, n_times + 63): one row a channel.
    components
        float32 (K or K + 1, 64): an even number of rows, the last perhaps of zeros.
    out
        float32 (n_channels, K, n_times).
    """
    n_components, n_times = out.shape[1], out.shape[2]
    beside = np.empty(TILE, np.float32)
    for c in range(out.shape[0]):
        for a in range(0, n_times, TILE):
            n = min(TILE, n_times - a)
            for k in range(0, n_components, 2):
                u, v = components[k], components[k + 1]
                first = out[c, k, a : a + n]
                second = out[c, k + 1, a : a + n] if k + 1 < n_components else beside[:n]
                first[:] = 0
                second[:] = 0
                for s in range(0, PADDED, 4):
                    u0, u1, u2, u3 = u[s], u[s + 1], u[s + 2], u[s + 3]
                    v0, v1, v2, v3 = v[s], v[s + 1], v[s + 2], v[s + 3]
                    x = samples[c, a + s : a + s + n + 3]
                    for t in range(n):
                        x0, x1, x2, x3 = x[t], x[t + 1], x[t + 2], x[t + 3]
                        p, q = first[t], second[t]
                        p += u0 * x0
                        q += v0 * x0
                        p += u1 * x1
                        q += v1 * x1
                        p += u2 * x2
                        q += v2 * x2
                        p += u3 * x3
                        q += v3 * x3
                        first[t] = p
                        second[t] = q


@numba.njit(cache=True, nogil=True)
def spread_channels(counts: npt.NDArray[np.int16], scale: float, out: Float32) -> None:
    """Write samples (n, n_channels) times `scale` to `out` (n_channels, n), a few of them at a time."""
    factor = np.float32(scale)
    for start in range(0, counts.shape[0], SPREAD_TILE):
        stop = min(start + SPREAD_TILE, counts.shape[0])
        for c in range(counts.shape[1]):
            row = out[c]
            for t in range(start, stop):
                row[t] = factor * np.float32(counts[t, c])


def shifted(basis: Float32, fraction: float) -> npt.NDArray[np.float64]:
    """Return components delayed by a fraction of a sample, float64 (61, K), by Fourier interpolation."""
    margin = 32
    waves = np.pad(np.asarray(basis, dtype=np.float64), ((margin, margin), (0, 0)))
    frequency = np.fft.rfftfreq(len(waves))
    spectrum = np.fft.rfft(waves, axis=0) * np.exp(-2j * np.pi * frequency * fraction)[:, None]
    delayed: npt.NDArray[np.float64] = np.fft.irfft(spectrum, n=len(waves), axis=0)[margin:-margin]
    return delayed


def fraction_of(index: int) -> float:
    """Return the delay, in samples, of a row of :func:`correlation_tables`."""
    return (index - FRACTIONS // 2) / (FRACTIONS - 1)


def correlation_tables(basis: Float32) -> Float32:
    """Return what a spike adds to `P` around it, float32 (9, K, K, 121).

    ``tables[f, j, k, 60 + d]`` is the dot product of component `k`, placed `d` samples after the spike, with component
    `j` delayed by the f-th fraction of a sample: a spike with weights ``a[c, j]`` at `t` adds
    ``sum over j of a[c, j] * tables[f, j, k, 60 + d]`` to ``P[c, k, t + d]``.
    """
    reach = LENGTH - 1
    n_components = basis.shape[1]
    tables = np.zeros((FRACTIONS, n_components, n_components, 2 * reach + 1), np.float32)
    for f in range(FRACTIONS):
        delayed = shifted(basis, fraction_of(f))
        for j in range(n_components):
            for k in range(n_components):
                tables[f, j, k] = np.correlate(delayed[:, j], basis[:, k].astype(np.float64), "full")
    return tables
