"""Float recordings as int16 counts, so that every later step sees one kind of data."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import NonFiniteError, UnknownNameError, suggest

from ..recording import Channels, Recording
from .filtering import HALO

NanPolicy = Literal["raise", "zero"]
#: Microvolts per count of the release.
COUNT_UV: Final = 0.195


@dataclass
class IngestReport:
    """What was changed while samples were read.

    Attributes
    ----------
    n_clipped
        Values beyond the range of int16.
    blanked
        Sample numbers at which some channel was NaN or infinite.
    """

    n_clipped: int = 0
    blanked: set[int] = field(default_factory=set)

    def spans(self) -> list[tuple[int, int]]:
        """Return the runs [first, stop) of samples with NaN or infinite values that were read so far."""
        samples = np.array(sorted(self.blanked), dtype=np.int64)
        if not len(samples):
            return []
        cut = np.flatnonzero(np.diff(samples) > 1)
        firsts, lasts = samples[np.r_[0, cut + 1]], samples[np.r_[cut, len(samples) - 1]]
        return [(int(a), int(b) + 1) for a, b in zip(firsts, lasts, strict=True)]


class QuantizedRecording:
    """A float recording in microvolts (after its own scaling) seen as int16 counts.

    Parameters
    ----------
    source
        Recording of any dtype.
    count_uv
        Microvolts per count; 0.195 spans -6.39 to 6.39 mV.
    nan_policy
        ``"raise"``: NaN and infinite values are an error. ``"zero"``: they, and everything within the filter's reach of
        1024 samples, are zero on all channels; :attr:`report` lists where.

    Raises
    ------
    UnknownNameError
        If there is no such policy.

    Examples
    --------
    >>> counted = QuantizedRecording(bands.spike_band)
    >>> counted.read(0, 300).dtype
    dtype('int16')
    """

    def __init__(self, source: Recording, *, count_uv: float = COUNT_UV, nan_policy: NanPolicy = "raise") -> None:
        if nan_policy not in get_args(NanPolicy):
            msg = f"no nan_policy {nan_policy!r}{suggest(nan_policy, get_args(NanPolicy))}; it is 'raise' or 'zero'"
            raise UnknownNameError(msg)
        self.source, self.nan_policy, self.count_uv = source, nan_policy, float(count_uv)
        self.n_samples, self.n_channels = source.n_samples, source.n_channels
        self.sampling_rate, self.geometry = source.sampling_rate, source.geometry
        self.shanks, self.adc, self.timeline = source.shanks, source.adc, source.timeline
        self.reference_channels = source.reference_channels
        self.uv_per_bit: npt.NDArray[np.float64] = np.full(source.n_channels, self.count_uv)
        self.dtype: np.dtype[Any] = np.dtype(np.int16)
        self.report = IngestReport()
        self._lock = Lock()

    def _bad_samples(self, start: int, values: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        finite = np.isfinite(values)
        if finite.all():
            return np.empty(0, np.int64)
        bad = np.flatnonzero(~finite.all(axis=1)).astype(np.int64) + start
        if self.nan_policy == "raise":
            channel = int(np.flatnonzero(~finite[bad[0] - start])[0])
            msg = (
                f"sample {bad[0]} of channel {channel} is {values[bad[0] - start, channel]}, and {len(bad)} samples of "
                f"[{start}, {start + len(values)}) have such values; a filter would spread them. Repair the recording, "
                "or pass nan_policy='zero' to blank them with what surrounds them."
            )
            raise NonFiniteError(msg)
        return bad

    def read(self, start: int, stop: int, channels: Channels = None) -> npt.NDArray[np.int16]:
        """Return counts, int16 (stop - start, channels).

        Examples
        --------
        >>> counted = QuantizedRecording(bands.spike_band)
        >>> counted.read(0, 2, [0, 1])
        array([[-120, -180],
               [ -24, -108]], dtype=int16)
        """
        first, last = max(start - HALO, 0), min(stop + HALO, self.n_samples)
        if self.nan_policy == "raise":
            first, last = start, stop
        values = self.source.read_uv(first, last)
        bad = self._bad_samples(first, values)
        counts = np.rint(values[start - first : stop - first] / np.float32(self.count_uv))
        for sample in bad.tolist():
            counts[max(sample - HALO - start, 0) : max(sample + HALO + 1 - start, 0)] = 0
        clipped = int((np.abs(counts + 0.5) > 32767.5).sum())
        with self._lock:
            self.report.n_clipped += clipped
            self.report.blanked.update(bad[(bad >= start) & (bad < stop)].tolist())
        result: npt.NDArray[np.int16] = np.clip(counts, -32768, 32767).astype(np.int16)
        return result if channels is None else result[:, channels]

    def read_uv(self, start: int, stop: int, channels: Channels = None) -> npt.NDArray[np.float32]:
        """Return microvolts after quantisation, float32 (stop - start, channels).

        Examples
        --------
        >>> counted = QuantizedRecording(bands.spike_band)
        >>> bool(np.abs(counted.read_uv(0, 100) - bands.spike_band.read_uv(0, 100)).max() < counted.uv_per_bit[0])
        True
        """
        scaled: npt.NDArray[np.float32] = self.read(start, stop, channels) * np.float32(self.count_uv)
        return scaled
