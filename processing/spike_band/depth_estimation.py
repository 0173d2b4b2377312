"""Offsets and masks of channels, and where the brain ends: the first look at a recording.

The parameters are those of the released recordings (2019), except that windows are fitted to the recording: in one
shorter than the last window of the release's schedule, passes that lie past its end are left out, and a recording
without room for a single pass is an error instead of a mask full of NaN.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import FileFormatError, RecordingTooShortError

from ..probes import lfp_order_3a
from ..recording import Recording
from .probe_info import COUNT_UV, DepthParameters, ProbeInfo
from .saturation import SATURATED_SHARE, SATURATION_MARGIN, saturated_rows, saturation_limit

logger = logging.getLogger(__name__)

WELCH_SEGMENT: Final = 256


def windows(recording: Recording, p: DepthParameters, *, length_s: float, start_s: float) -> list[tuple[int, int]]:
    """Return the windows of the schedule that lie within a recording, fitted to recordings shorter than the schedule.

    Where not even the first window fits, passes are spread evenly over what there is.

    Raises
    ------
    RecordingTooShortError
        If the recording is shorter than one window.
    """
    rate = recording.sampling_rate
    length = round(length_s * rate)
    if recording.n_samples < length:
        msg = (
            f"the recording has {recording.n_samples} samples ({recording.n_samples / rate:.3g} s); the depth "
            f"estimation reads windows of {length} ({length_s:g} s)"
        )
        raise RecordingTooShortError(msg)
    starts = [round((start_s + p.skip_s * i) * rate) for i in range(p.n_passes)]
    fitting = [start for start in starts if start + length <= recording.n_samples]
    if not fitting:
        fitting = np.unique(np.linspace(0, recording.n_samples - length, p.n_passes).astype(np.int64)).tolist()
        logger.info("the recording ends before %.0f s; its windows are spread evenly instead", start_s + length_s)
    return [(start, start + length) for start in fitting]


def estimate_offsets(recording: Recording, parameters: DepthParameters | None = None) -> tuple[
    npt.NDArray[np.int64], npt.NDArray[np.float64]
]:  # fmt: skip
    """Return each channel's offset (counts) and RMS around it (microvolts): medians over windows of the spike band."""
    p = parameters or DepthParameters()
    offsets, spreads = [], []
    interval = min(p.interval_s, recording.n_samples / recording.sampling_rate) if recording.n_samples else p.interval_s
    for start, stop in windows(recording, p, length_s=interval, start_s=p.start_s):
        samples = _without_saturation(recording, recording.read(start, stop)).T.copy()
        offset = np.array([np.median(channel) for channel in samples]).astype(np.int16)
        spread = np.array([_rms(x - np.float64(o)) for x, o in zip(samples, offset, strict=True)])
        offsets.append(offset)
        spreads.append(spread * recording.uv_per_bit)
    offset = np.median(np.stack(offsets), axis=0).astype(np.int16)
    return offset.astype(np.int64), np.asarray(np.median(np.stack(spreads), axis=0))


def _without_saturation(recording: Recording, samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Leave out moments at which the whole probe is saturated: a few of them would mask every channel as noisy."""
    if samples.dtype != np.int16:
        return samples
    limit = saturation_limit(recording)
    saturated = saturated_rows(np.ascontiguousarray(samples), limit, SATURATED_SHARE, SATURATION_MARGIN)
    return samples if saturated.all() else samples[~saturated]


def _rms(values: npt.NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))


def channel_mask(recording: Recording, rms_uv: npt.NDArray[np.float64], p: DepthParameters) -> npt.NDArray[np.bool_]:
    """Return which channels are no reference and have an RMS between the bounds."""
    mask = (rms_uv <= p.high_noise_uv) & (rms_uv >= p.low_noise_uv)
    mask[recording.reference_channels] = False
    if not mask.any():
        logger.warning("no channel has an RMS between %g and %g uV: all are masked", p.low_noise_uv, p.high_noise_uv)
    return mask


def log_power(lfp: Recording, start: int, stop: int, p: DepthParameters) -> npt.NDArray[np.float64]:
    """Return log10 of the LFP's mean power from 0 Hz to `max_frequency`, per channel, in counts squared / Hz.

    Counts are of 0.195 uV whatever the recording's own scale. The reference (median over `reference_range`) is
    computed once; the released pipeline subtracted it channel by channel from data it was changing, which differs for
    channels in that range only.
    """
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import welch

    samples = lfp.read_uv(start, stop).astype(np.float64) / COUNT_UV
    if p.reorder_lfp:
        samples = samples[:, lfp_order_3a(lfp.n_channels)]
    samples -= np.median(samples, axis=0)
    first, last = (min(c, lfp.n_channels) for c in p.reference_range)
    if last > first:
        samples -= np.median(samples[:, first:last], axis=1)[:, None]
    segment = min(WELCH_SEGMENT, len(samples))
    frequency, power = welch(samples, lfp.sampling_rate, nperseg=segment, nfft=max(p.n_fft, segment), axis=0)
    mean = power[frequency <= p.max_frequency].mean(axis=0)
    values = np.log10(np.maximum(mean, 1e-12))
    for reference in np.sort(lfp.reference_channels):
        values[reference] = values[max(reference - 1, 0)]
    return np.asarray(gaussian_filter1d(values, p.smoothing))


def surface_candidate(values: npt.NDArray[np.float64], p: DepthParameters) -> int:
    """Return the last channel below the power threshold with a step down to the next, or the number of channels."""
    step = np.diff(values, append=values[-1])
    candidates = np.flatnonzero((step < p.step_threshold) & (values < p.power_threshold))
    return int(candidates[-1]) if len(candidates) else len(values)


def estimate_surface(lfp: Recording, parameters: DepthParameters | None = None) -> tuple[float, float]:
    """Return the channels where brain and air begin, medians over passes of one second of LFP.

    Raises
    ------
    RecordingTooShortError
        If the LFP is shorter than a second.
    """
    p = parameters or DepthParameters()
    found = [
        surface_candidate(log_power(lfp, start, stop, p), p)
        for start, stop in windows(lfp, p, length_s=1.0, start_s=0.0)
    ]
    surface = float(np.median(found))
    return surface, min(surface + p.air_gap, float(lfp.n_channels))


def estimate_depth(
    recording: Recording, lfp: Recording | None = None, parameters: DepthParameters | None = None
) -> ProbeInfo:
    """Look at a recording: offsets and mask from the spike band, brain surface from the LFP.

    Without an LFP band the whole probe is taken to be in the brain.

    Raises
    ------
    RecordingTooShortError
        If the recording is empty, or the LFP shorter than a second.
    FileFormatError
        If the two bands have different numbers of channels.
    """
    p = parameters or DepthParameters()
    if recording.n_samples < 1:
        msg = "the recording holds no samples; the depth estimation needs at least one"
        raise RecordingTooShortError(msg)
    if lfp is not None and lfp.n_channels != recording.n_channels:
        msg = f"the spike band has {recording.n_channels} channels, the LFP band {lfp.n_channels}; they belong apart"
        raise FileFormatError(msg)
    offsets, rms_uv = estimate_offsets(recording, p)
    n_channels = float(recording.n_channels)
    surface, air = (n_channels, n_channels) if lfp is None else estimate_surface(lfp, p)
    return ProbeInfo(offsets, channel_mask(recording, rms_uv, p), rms_uv, surface, air, p)
