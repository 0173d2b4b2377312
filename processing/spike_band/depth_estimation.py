"""Offsets and masks of channels, and where the brain ends: the first look at a recording.

The parameters are those of the released recordings (2019), except that windows are fitted to the recording: in one
shorter than the last window of the release's schedule, passes that lie past its end are left out, and a recording
without room for a single pass is an error instead of a mask full of NaN.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import FileFormatError, RecordingTooShortError

from ..probes import lfp_order_3a
from ..recording import Recording
from .blocks import SATURATED_SHARE, SATURATION_MARGIN, saturated_rows, saturation_limit

logger = logging.getLogger(__name__)

#: Microvolts per count of the release; thresholds of power are in counts squared of this size.
COUNT_UV: Final = 0.195
WELCH_SEGMENT: Final = 256


@dataclass(frozen=True)
class DepthParameters:
    """Parameters of the estimate; defaults are those of the release.

    Attributes
    ----------
    high_noise_uv, low_noise_uv
        Channels with a larger or smaller RMS are masked.
    n_passes, start_s, skip_s, interval_s
        Windows ``[start + skip * i, + interval)`` of the spike band.
    n_fft, max_frequency
        Length of the padded spectrum of the LFP; power is averaged from 0 Hz to `max_frequency`.
    reference_range
        Channels [first, stop) in saline or agar, whose median is subtracted from the LFP.
    smoothing
        SD of the Gaussian along channels.
    power_threshold, step_threshold
        The surface is the last channel with less log10 power than the one and a step to the next below the other.
    air_gap
        Channels between surface and air.
    reorder_lfp
        Whether LFP channels are in the order of files extracted from 3A recordings.
    """

    high_noise_uv: float = 50.0
    low_noise_uv: float = 3.0
    n_passes: int = 10
    start_s: float = 150.0
    skip_s: float = 100.0
    interval_s: float = 5.0
    n_fft: int = 4096
    max_frequency: float = 10.0
    reference_range: tuple[int, int] = (374, 384)
    smoothing: float = 5.0
    power_threshold: float = 2.5
    step_threshold: float = -0.06
    air_gap: int = 100
    reorder_lfp: bool = False


@dataclass(frozen=True)
class ProbeInfo:
    """What the first look found.

    Attributes
    ----------
    offsets
        int64 (n_channels,): median of each channel, counts.
    mask
        bool (n_channels,): channels that take part in medians and whitening.
    rms_uv
        float64 (n_channels,): RMS of each channel around its offset, median over windows.
    surface_channel, air_channel
        Where brain and air begin; the number of channels if the whole probe is in the brain.
    """

    offsets: npt.NDArray[np.int64]
    mask: npt.NDArray[np.bool_]
    rms_uv: npt.NDArray[np.float64]
    surface_channel: float
    air_channel: float
    parameters: DepthParameters = field(default_factory=DepthParameters)

    def save(self, path: str | os.PathLike[str], geometry: npt.NDArray[np.float64]) -> None:
        """Write ``probe_info.json`` with the keys of the released pipeline, and RMS and parameters."""
        n_channels = len(self.offsets)
        contents: dict[str, Any] = {
            "channel": list(range(n_channels)),
            "mask": self.mask.tolist(),
            "scaling": [1.0] * n_channels,
            "offset": self.offsets.tolist(),
            "vertical_pos": geometry[:, 1].tolist(),
            "horizontal_pos": geometry[:, 0].tolist(),
            "surface_channel": self.surface_channel,
            "air_channel": self.air_channel,
            "rms_uv": self.rms_uv.tolist(),
            "parameters": asdict(self.parameters),
        }
        Path(path).write_text(json.dumps(contents, indent=1), encoding="utf-8")


def read_probe_info(path: str | os.PathLike[str]) -> ProbeInfo:
    """Read a ``probe_info.json``, ours or the released pipeline's.

    Raises
    ------
    FileFormatError
        If it lacks offsets, mask or the channels of surface and air.
    """
    try:
        contents = json.loads(Path(path).read_text(encoding="utf-8"))
        given = {**contents.get("parameters", {})}
        given["reference_range"] = tuple(given.get("reference_range", DepthParameters.reference_range))
        return ProbeInfo(
            offsets=np.asarray(contents["offset"], dtype=np.int64),
            mask=np.asarray(contents["mask"], dtype=bool),
            rms_uv=np.asarray(contents.get("rms_uv", [np.nan] * len(contents["mask"])), dtype=np.float64),
            surface_channel=float(contents["surface_channel"]),
            air_channel=float(contents["air_channel"]),
            parameters=DepthParameters(**given),
        )
    except (KeyError, TypeError, ValueError) as error:
        msg = f"{path} is no probe_info.json: {error!r}; run the depth estimation again"
        raise FileFormatError(msg) from error


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
