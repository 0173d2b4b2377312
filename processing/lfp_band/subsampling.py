"""The LFP of the release from a probe's LFP band: fewer channels, fewer samples, no drift, no noise from outside.

Every channel is low-passed and every second sample kept (2,500 to 1,250 Hz), high-passed at 0.1 Hz, and freed of what
the channels outside the brain have in common. Samples are computed block by block as they are asked for, each with as
much before and after as the filters reach, so that hours need no more memory than minutes and equal them.
(processing specification of the released files, section 9)
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from allen_ecephys import config
from allen_ecephys.errors import RecordingTooShortError, UnknownNameError

from ..recording import Recording

logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]
Definition = Literal["exact", "release"]

#: Rate of the released LFP (Hz).
RATE: Final = 1250.0
#: Corner and order of the high-pass that takes away offsets (Hz).
HIGH_PASS: Final = 0.1
HIGH_PASS_ORDER: Final = 1
#: Anti-aliasing: Chebyshev of the first kind, order 8, 0.05 dB of ripple, at 0.8 of the new Nyquist frequency.
LOW_PASS_ORDER: Final = 8
RIPPLE_DB: Final = 0.05
#: Largest factor of one decimation.
LARGEST_FACTOR: Final = 12
#: A block, and what is read before and after it (s): the high-pass's tail then is below 1e-8 of what caused it.
BLOCK_SECONDS: Final = 120.0
HALO_SECONDS: Final = 30.0
#: At most so many channels outside the brain make the reference.
LARGEST_REFERENCE: Final = 50
_CHANNELS_AT_ONCE: Final = 8
#: Values of the recording that are read at once, to be thinned (64 MB), and samples kept of what is read before and
#: after them: after 200 samples the low-pass's tail is below 1e-15 of what caused it, and there may be two in turn.
PIECE_VALUES: Final = 2**25
MARGIN: Final = 400


def decimation_factors(sampling_rate: float, rate: float = RATE) -> tuple[int, ...]:
    """Return the factors by which samples are thinned, one after the other: 2 from 2,500 Hz, 12 and 2 from 30 kHz.

    Raises
    ------
    UnknownNameError
        If it is no multiple of `rate`, to a hundredth.
    """
    factor = round(sampling_rate / rate)
    if factor < 1 or abs(sampling_rate / rate / factor - 1.0) > 0.01:
        msg = f"a band of {sampling_rate:g} Hz has no samples at {rate:g} Hz; its rate must be a multiple of that"
        raise UnknownNameError(msg)
    factors, rest = [], factor
    while rest > 1:
        divisor = max((d for d in range(2, LARGEST_FACTOR + 1) if rest % d == 0), default=rest)
        factors.append(divisor)
        rest //= divisor
    return tuple(factors)


@dataclass(frozen=True, eq=False)
class SubsampledLfp:
    """The LFP of a probe, computed when samples are asked for.

    Attributes
    ----------
    recording
        The band it is made of: LFP, or the wide band of a probe without one.
    channels
        Channels of the recording, in the order of columns.
    outside
        Columns outside the brain, whose median is subtracted; none for no reference.
    start, stop
        Samples of the recording it is made of (a stretch without gap).
    definition
        ``"exact"``: fractions of counts are kept until the end, and rounded. ``"release"``: every step cuts them off,
        as the release did.

    Examples
    --------
    >>> lfp = SubsampledLfp(bands.lfp, np.arange(0, 32, 4), np.array([7]), 0, bands.lfp.n_samples)
    >>> lfp.shape, lfp.sampling_rate
    ((7500, 8), 1250.0)
    """

    recording: Recording
    channels: npt.NDArray[np.int64]
    outside: npt.NDArray[np.int64]
    start: int
    stop: int
    definition: Definition = "exact"
    factors: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Check the definition and the length."""
        if self.definition not in ("exact", "release"):
            msg = f"no definition {self.definition!r} of the LFP; there are 'exact' and 'release'"
            raise UnknownNameError(msg)
        object.__setattr__(self, "factors", decimation_factors(self.recording.sampling_rate))
        if self.stop - self.start < 100 * self.factor:
            msg = f"{self.stop - self.start} samples are too few for an LFP; it takes {100 * self.factor}"
            raise RecordingTooShortError(msg)

    @property
    def factor(self) -> int:
        """Samples of the recording for each of the LFP.

        Examples
        --------
        >>> SubsampledLfp(bands.lfp, np.arange(8), np.arange(0), 0, bands.lfp.n_samples).factor
        2
        """
        return int(np.prod(self.factors, dtype=np.int64))

    @property
    def sampling_rate(self) -> float:
        """Hz, on the probe's nominal clock.

        Examples
        --------
        >>> SubsampledLfp(bands.lfp, np.arange(8), np.arange(0), 0, bands.lfp.n_samples).sampling_rate
        1250.0
        """
        return self.recording.sampling_rate / self.factor

    @property
    def shape(self) -> tuple[int, ...]:
        """Samples x channels.

        Examples
        --------
        >>> SubsampledLfp(bands.lfp, np.arange(8), np.arange(0), 0, bands.lfp.n_samples).shape
        (7500, 8)
        """
        return -(-(self.stop - self.start) // self.factor), len(self.channels)

    @property
    def dtype(self) -> np.dtype[np.int16]:
        """Of the counts.

        Examples
        --------
        >>> SubsampledLfp(bands.lfp, np.arange(8), np.arange(0), 0, bands.lfp.n_samples).dtype
        dtype('int16')
        """
        return np.dtype(np.int16)

    @property
    def microvolts_per_count(self) -> Floats:
        """Of each column.

        Examples
        --------
        >>> SubsampledLfp(bands.lfp, np.arange(2), np.arange(0), 0, bands.lfp.n_samples).microvolts_per_count
        array([0.195, 0.195])
        """
        return np.asarray(self.recording.uv_per_bit[self.channels], dtype=np.float64)

    def samples(self) -> npt.NDArray[np.int64]:
        """Return the sample of the recording at which each of the LFP is.

        Examples
        --------
        >>> SubsampledLfp(bands.lfp, np.arange(8), np.arange(0), 0, bands.lfp.n_samples).samples()[:3]
        array([0, 2, 4])
        """
        return self.start + self.factor * np.arange(self.shape[0], dtype=np.int64)

    def __getitem__(self, rows: slice) -> npt.NDArray[np.int16]:
        """Return counts of a stretch, int16 (samples, channels)."""
        first, last, step = rows.indices(self.shape[0])
        block = max(1, round(BLOCK_SECONDS * self.sampling_rate))
        parts = []
        for number in range(first // block, -(-last // block) if last > first else first // block):
            begin, end = number * block, min((number + 1) * block, self.shape[0])
            counts = self._block(max(begin, first), min(end, last))
            parts.append(counts)
        return np.concatenate(parts)[::step] if parts else np.empty((0, len(self.channels)), np.int16)

    def _block(self, begin: int, end: int) -> npt.NDArray[np.int16]:
        """Compute samples ``[begin, end)``."""
        halo = round(HALO_SECONDS * self.sampling_rate)
        first, last = max(begin - halo, 0), min(end + halo, self.shape[0])
        thinned = self._thinned(first, last)
        # Mirrored as far as the high-pass reaches, so that a recording's first seconds are not tilted by the value it
        # happened to begin with. The release mirrors six samples, and turns them upside down.
        mirrored = ("odd", 3 * (HIGH_PASS_ORDER + 1)) if self.definition == "release" else ("even", halo)

        def high_pass(group: slice) -> None:
            thinned[group] = self._cut(_high_passed(self._cut(thinned[group]), self.sampling_rate, mirrored))

        self._over_channels(high_pass)
        kept = np.ascontiguousarray(thinned[:, begin - first : end - first].T)
        if len(self.outside):
            kept -= np.median(kept[:, self.outside], axis=1, keepdims=True)
            kept = self._cut(kept)
        rounded = kept if self.definition == "release" else np.rint(kept)
        return rounded.clip(-32768, 32767).astype(np.int16)

    def _thinned(self, first: int, last: int) -> Floats:
        """Return samples ``[first, last)`` of every channel low-passed, (channels, samples), read piece by piece."""
        thinned = np.empty((len(self.channels), last - first))
        piece = max(MARGIN, PIECE_VALUES // (self.recording.n_channels * self.factor))
        for begin in range(first, last, piece):
            end = min(begin + piece, last)
            low, high = max(begin - MARGIN, 0), min(end + MARGIN, self.shape[0])
            # Where the recording goes on, a sample of the LFP needs the whole of its stretch.
            raw_stop = min(self.start + high * self.factor, self.stop)
            raw = self.recording.read(self.start + low * self.factor, raw_stop, self.channels)
            into = thinned[:, begin - first : end - first]
            self._over_channels(partial(_thin, raw=raw, into=into, skip=begin - low, factors=self.factors))
        return thinned

    def _over_channels(self, work: Callable[[slice], None]) -> None:
        """Do some work on some channels at once, in several threads."""
        starts = range(0, len(self.channels), _CHANNELS_AT_ONCE)
        with ThreadPoolExecutor(config.threads()) as pool:
            list(pool.map(work, (slice(start, start + _CHANNELS_AT_ONCE) for start in starts)))

    @property
    def _cut(self) -> Callable[[Floats], Floats]:
        """What a step does with fractions of counts."""
        return np.trunc if self.definition == "release" else _keep


def _keep(values: Floats) -> Floats:
    return values


def _thin(group: slice, raw: npt.NDArray[Any], into: Floats, skip: int, factors: Sequence[int]) -> None:
    """Low-pass a group of columns of `raw`, and put them, without the first `skip` samples, into rows of `into`."""
    found = decimated(np.ascontiguousarray(raw[:, group].T), factors)
    into[group] = found[:, skip : skip + into.shape[1]]


def decimated(raw: npt.NDArray[Any], factors: Sequence[int]) -> Floats:
    """Low-pass channels (channels, samples) and keep one of `factor` samples, factor by factor."""
    from scipy.signal import cheby1, sosfiltfilt

    values = raw.astype(np.float64)
    for factor in factors:
        low_pass = cheby1(LOW_PASS_ORDER, RIPPLE_DB, 0.8 / factor, output="sos")
        # As much of the signal, mirrored, as filters of this order get at the ends of a recording.
        padding = min(3 * (LOW_PASS_ORDER + 1), values.shape[1] - 1)
        values = sosfiltfilt(low_pass, values, padlen=padding)[:, ::factor]
    return values


def _high_passed(values: Floats, rate: float, mirrored: tuple[str, int]) -> Floats:
    """High-pass channels (channels, samples), their ends mirrored."""
    from scipy.signal import butter, filtfilt

    b, a = butter(HIGH_PASS_ORDER, HIGH_PASS, "highpass", fs=rate)
    how, length = mirrored
    found = filtfilt(b, a, values, padtype=how, padlen=min(length, values.shape[1] - 1))
    return np.asarray(found, dtype=np.float64)


def subsampled_lfp(
    recording: Recording,
    channels: npt.ArrayLike,
    in_brain: npt.ArrayLike,
    *,
    start: int = 0,
    stop: int | None = None,
    definition: Definition = "exact",
) -> SubsampledLfp:
    """Return the LFP of some channels of a probe, re-referenced to those of them that are outside the brain.

    Parameters
    ----------
    recording
        LFP band, or the wide band of a probe without one.
    channels
        Channels to keep.
    in_brain
        Whether each channel of the recording is in the brain.
    start, stop
        Samples of the recording, a stretch without gap (default: all).
    definition
        See :class:`SubsampledLfp`.

    Raises
    ------
    UnknownNameError, RecordingTooShortError
        If the band's rate has no samples at 1,250 Hz, or it is too short.

    Examples
    --------
    >>> band = bands.lfp
    >>> lfp = subsampled_lfp(band, [0, 4, 8], np.ones(band.n_channels, dtype=bool))
    >>> lfp.shape, lfp.sampling_rate
    ((7500, 3), 1250.0)
    """
    kept = np.asarray(channels, dtype=np.int64)
    outside = np.flatnonzero(~np.asarray(in_brain, dtype=np.bool_)[kept])[:LARGEST_REFERENCE]
    if not len(outside):
        logger.warning(
            "none of the %d channels of this LFP is outside the brain; it is not re-referenced, and noise that all "
            "channels share stays in it",
            len(kept),
        )
    end = recording.n_samples if stop is None else stop
    return SubsampledLfp(recording, kept, outside, start, end, definition)
