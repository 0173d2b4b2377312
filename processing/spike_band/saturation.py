"""Samples at which too many channels are at the end of their range."""

from __future__ import annotations

from typing import Final

import numba
import numpy as np
import numpy.typing as npt

from ..recording import Recording

Int16 = npt.NDArray[np.int16]


Float32 = npt.NDArray[np.float32]


#: A sample is saturated if more than this share of the channels is at the end of the range...
SATURATED_SHARE: Final = 0.2


#: ...and this many samples around it are blanked with it (1 ms).
SATURATION_MARGIN: Final = 30


@numba.njit(cache=True, nogil=True)
def _beyond(row: Int16, limit: Float32) -> np.int64:
    count = np.int32(0)
    for c in range(len(row)):
        count += np.int32(abs(np.float32(row[c])) >= limit[c])
    return np.int64(count)


@numba.njit(cache=True, nogil=True)
def saturated_rows(samples: Int16, limit: Float32, share: float, margin: int) -> npt.NDArray[np.bool_]:
    """Tell which samples lie within `margin` of one at which more than `share` of the channels reach `limit`."""
    blank = np.zeros(samples.shape[0], np.bool_)
    most = share * samples.shape[1]
    for t in range(samples.shape[0]):
        if _beyond(samples[t], limit) > most:
            blank[max(t - margin, 0) : t + margin + 1] = True
    return blank


def saturation_limit(recording: Recording) -> npt.NDArray[np.float32]:
    """Return the counts at which each channel is saturated: 98 % of the converter's range, or of int16 if unknown."""
    full_scale = getattr(recording, "full_scale_uv", None)
    if full_scale is None:
        return np.full(recording.n_channels, 0.98 * 32767, np.float32)
    return np.asarray(0.98 * full_scale / recording.uv_per_bit, dtype=np.float32)


def spanned_rows(start: int, n_samples: int, spans: npt.NDArray[np.int64], margin: int) -> npt.NDArray[np.bool_]:
    """Tell which samples from `start` on lie in one of the `spans` (n, 2) or within `margin` of it."""
    blank = np.zeros(n_samples, bool)
    for first, stop in spans[(spans[:, 1] + margin > start) & (spans[:, 0] - margin < start + n_samples)].tolist():
        blank[max(first - margin - start, 0) : max(stop + margin - start, 0)] = True
    return blank
