"""High-pass filter of the spike band: Butterworth of order 3 at 150 Hz, forward and backward.

As in Kilosort 2, which the release was sorted with: no edge padding; each direction starts from rest, some samples
before the stretch it filters. (scipy's ``filtfilt`` extends the signal oddly instead.)
"""

from __future__ import annotations

from typing import Final

import numba
import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import InvalidValueError

Float32 = npt.NDArray[np.float32]

HIGH_PASS: Final = 150.0
ORDER: Final = 3
#: Samples before and after a stretch that are filtered with it. The slowest pole at 150 Hz and 30 kHz decays with a
#: time constant of 64 samples, so what lies further away than this contributes less than 1e-6 of itself.
HALO: Final = 1024


def high_pass_sections(sampling_rate: float, cutoff: float = HIGH_PASS) -> Float32:
    """Return the filter as second-order sections, float32 (2, 6): b0, b1, b2, 1, a1, a2.

    Raises
    ------
    InvalidValueError
        If the cutoff is not between 0 and half the sampling rate.
    """
    from scipy.signal import butter

    if not 0 < cutoff < sampling_rate / 2:
        msg = (
            f"a high-pass at {cutoff} Hz does not exist at {sampling_rate} Hz; choose one below {sampling_rate / 2} Hz"
        )
        raise InvalidValueError(msg)
    return np.asarray(butter(ORDER, cutoff, "highpass", fs=sampling_rate, output="sos"), dtype=np.float32)


@numba.njit(cache=True, nogil=True)
def filter_row(row: Float32, sections: Float32, state: Float32) -> None:
    """Advance the filter of every channel by one sample, in place (transposed direct form II).

    `state` (4, n_channels) holds two delays of each section.
    """
    b0, b1, b2, a1, a2 = sections[0, 0], sections[0, 1], sections[0, 2], sections[0, 4], sections[0, 5]
    d0, d1, d2, c1, c2 = sections[1, 0], sections[1, 1], sections[1, 2], sections[1, 4], sections[1, 5]
    s0, s1, s2, s3 = state[0], state[1], state[2], state[3]
    for c in range(row.shape[0]):
        x = row[c]
        y = b0 * x + s0[c]
        s0[c] = b1 * x - a1 * y + s1[c]
        s1[c] = b2 * x - a2 * y
        z = d0 * y + s2[c]
        s2[c] = d1 * y - c1 * z + s3[c]
        s3[c] = d2 * y - c2 * z
        row[c] = z


@numba.njit(cache=True, nogil=True)
def filter_forward(samples: Float32, sections: Float32, state: Float32) -> None:
    """Filter (n_samples, n_channels) in place from the first sample to the last, keeping the state."""
    for t in range(samples.shape[0]):
        filter_row(samples[t], sections, state)


@numba.njit(cache=True, nogil=True)
def filter_backward(samples: Float32, sections: Float32, state: Float32) -> None:
    """Filter (n_samples, n_channels) in place from the last sample to the first, keeping the state."""
    for t in range(samples.shape[0] - 1, -1, -1):
        filter_row(samples[t], sections, state)


def high_pass(samples: npt.ArrayLike, sampling_rate: float, cutoff: float = HIGH_PASS) -> Float32:
    """Return (n_samples, n_channels) high-passed forward and backward, float32; zero phase, from rest at both ends.

    Raises
    ------
    InvalidValueError
        If the cutoff is not between 0 and half the sampling rate.

    Examples
    --------
    >>> trace = bands.spike_band.read_uv(0, 30_000)
    >>> high_pass(trace, 30_000.0, cutoff=150.0).shape
    (30000, 32)
    """
    filtered = np.array(samples, dtype=np.float32, order="C")
    sections = high_pass_sections(sampling_rate, cutoff)
    filter_forward(filtered, sections, np.zeros((4, filtered.shape[1]), np.float32))
    filter_backward(filtered, sections, np.zeros((4, filtered.shape[1]), np.float32))
    return filtered
