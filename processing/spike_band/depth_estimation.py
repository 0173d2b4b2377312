"""Offsets and masks of channels, and where the brain ends: the first look at a recording.

The parameters are those of the released recordings (2019), except that windows are fitted to the recording: in one
shorter than the last window of the release's schedule, passes that lie past its end are left out, and a recording
without room for a single pass is an error instead of a mask full of NaN.
"""

from __future__ import annotations

import logging
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import FileFormatError, RecordingTooShortError

from ..probes import lfp_order_3a
from ..recording import Recording
from ..shanks import ShankLines
from .probe_info import COUNT_UV, RELEASED_PITCH, DepthParameters, ProbeInfo
from .saturation import SATURATED_SHARE, SATURATION_MARGIN, saturated_rows, saturation_limit

logger = logging.getLogger(__name__)

WELCH_SEGMENT: Final = 256
#: Fewer channels than this are no reference: they would hold too much of their own.
LEAST_REFERENCES: Final = 5
#: On stretches of sites shorter than this (um) the uppermost channels may well lie in the brain.
SHORT_STRETCH: Final = 1000.0
#: There they are a reference, and a surface is looked for, only if their own log10 power is less by this: half.
REFERENCE_DROP: Final = 0.3


def windows(recording: Recording, p: DepthParameters, *, length_s: float, start_s: float) -> list[tuple[int, int]]:
    """Return the windows of the schedule that lie within a recording, fitted to recordings shorter than the schedule.

    Where not even the first window fits, passes are spread evenly over what there is. Of a window that a gap cuts the
    longest part is looked at.

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
    return [recording.timeline.longest(start, start + length) for start in fitting]


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

    Counts are of 0.195 uV whatever the recording's own scale. The reference (median over the uppermost channels) is
    computed once; the released pipeline subtracted it channel by channel from data it was changing, which differs for
    those channels only.
    """
    from scipy.ndimage import gaussian_filter1d

    lines = ShankLines.of(lfp.geometry, lfp.shanks)
    samples = lfp.read_uv(start, stop).astype(np.float64) / COUNT_UV
    if p.reorder_lfp:
        samples = samples[:, lfp_order_3a(lfp.n_channels)]
    samples -= np.median(samples, axis=0)
    uppermost = _uppermost(lines, p)
    if len(uppermost) >= LEAST_REFERENCES:
        samples -= np.median(samples[:, uppermost], axis=1)[:, None]
    values = _low_frequency_power(samples, lfp.sampling_rate, p)
    for run in np.unique(lines.runs):
        members = lines.members(int(run))
        along = values[members]
        for place in np.flatnonzero(np.isin(members, lfp.reference_channels)):
            along[place] = along[max(int(place) - 1, 0)]
        values[members] = gaussian_filter1d(along, p.smoothing_um / lines.pitches[run])
    return np.asarray(values)


def _low_frequency_power(samples: npt.NDArray[np.float64], rate: float, p: DepthParameters) -> npt.NDArray[np.float64]:
    """Return log10 of the mean power from 0 Hz to `max_frequency`, per channel."""
    from scipy.signal import welch

    segment = min(WELCH_SEGMENT, len(samples))
    frequency, power = welch(samples, rate, nperseg=segment, nfft=max(p.n_fft, segment), axis=0)
    mean = power[frequency <= p.max_frequency].mean(axis=0)
    return np.asarray(np.log10(np.maximum(mean, 1e-12)))


def _uppermost(lines: ShankLines, p: DepthParameters) -> npt.NDArray[np.int64]:
    """Return the channels whose median is the reference of the LFP."""
    n_references = round(p.reference_share * len(lines.places))
    return np.argsort(lines.places, kind="stable")[len(lines.places) - n_references :]


def _power_if_whole_in_brain(
    lfp: Recording, lines: ShankLines, passes: list[tuple[int, int]], p: DepthParameters
) -> npt.NDArray[np.float64] | None:
    """Return the log10 power of sites over less than a millimetre if they hold no surface: all have about the same.

    Subtracted from all, the potential of channels in the brain would make of themselves the place where power ends;
    of a long probe that costs a few channels, of an Ultra probe (288 um) a good part.
    """
    if np.ptp(lines.places) >= SHORT_STRETCH:
        return None
    raw = [lfp.read_uv(start, stop).astype(np.float64) / COUNT_UV for start, stop in passes]
    # The mean of powers, not of their logarithms: single seconds differ much.
    power = np.mean([10 ** _low_frequency_power(samples, lfp.sampling_rate, p) for samples in raw], axis=0)
    uppermost = _uppermost(lines, p)
    if len(uppermost) < LEAST_REFERENCES:
        return None
    is_whole = np.log10(np.quantile(power, 0.9) / np.median(power[uppermost])) < REFERENCE_DROP
    return np.log10(power) if is_whole else None


def surface_candidate(values: npt.NDArray[np.float64], p: DepthParameters, pitch: float = RELEASED_PITCH) -> int:
    """Return the last channel below the power threshold with a step down to the next, or the number of channels.

    `values` are those of a run of channels from the tip up, `pitch` (um) apart.
    """
    step = np.diff(values, append=values[-1])
    threshold = p.step_threshold * (pitch / RELEASED_PITCH)
    candidates = np.flatnonzero((step < threshold) & (values < p.power_threshold))
    return int(candidates[-1]) if len(candidates) else len(values)


class Surface(NamedTuple):
    """Where a probe leaves the brain.

    Attributes
    ----------
    channel, air
        Channels where brain and air begin on the first shank.
    heights_um
        float64 (n_channels,): each channel's height above the brain.
    log_power
        float64 (n_channels,): what tells it, log10 of the LFP's power (counts squared / Hz), the median over passes.
    """

    channel: float
    air: float
    heights_um: npt.NDArray[np.float64]
    log_power: npt.NDArray[np.float64]


def estimate_surface(lfp: Recording, parameters: DepthParameters | None = None) -> Surface:
    """Return where the brain ends.

    Each shank has a surface of its own: the median over passes of one second of LFP.

    Raises
    ------
    RecordingTooShortError
        If the LFP is shorter than a second.
    """
    p = parameters or DepthParameters()
    lines = ShankLines.of(lfp.geometry, lfp.shanks)
    bounds = windows(lfp, p, length_s=1.0, start_s=0.0)
    whole = _power_if_whole_in_brain(lfp, lines, bounds, p)
    if whole is not None:
        return Surface(float(lfp.n_channels), float(lfp.n_channels), _heights_of_whole_probe(lines), whole)
    passes = [log_power(lfp, start, stop, p) for start, stop in bounds]
    heights = np.zeros(lfp.n_channels)
    surface = air = float(lfp.n_channels)
    for shank in np.unique(lines.shanks)[::-1]:
        order = lines.order[lines.shanks[lines.order] == shank]
        found = float(np.median([_surface_of_shank(values, lines, order, p) for values in passes]))
        places = lines.places[order]
        pitch = float(lines.pitches[lines.runs[order[-1]]])
        beyond = np.append(places, places[-1] + pitch)
        at = float(np.interp(found, np.arange(len(beyond)), beyond))
        heights[order] = lines.places[order] - at
        # The shank that is looked at last is the first.
        surface = _number(order, found, lfp.n_channels)
        air = _number(order, min(found + p.air_gap_um / pitch, float(len(order))), lfp.n_channels)
    return Surface(surface, air, heights, np.median(passes, axis=0))


def _heights_of_whole_probe(lines: ShankLines) -> npt.NDArray[np.float64]:
    """Return each channel's height (um) above the brain where all of it lies in the brain: next to the last channel."""
    return np.asarray(lines.places - lines.places.max() - lines.pitch.max())


def _surface_of_shank(
    values: npt.NDArray[np.float64], lines: ShankLines, order: npt.NDArray[np.int64], p: DepthParameters
) -> int:
    """Return the place in a shank's `order` of channels at which the brain ends: in its uppermost run with a step."""
    first = len(order)
    for run in np.unique(lines.runs[order])[::-1]:
        members = lines.members(int(run))
        first -= len(members)
        candidate = surface_candidate(values[members], p, float(lines.pitches[run]))
        if candidate < len(members):
            return first + candidate
    return len(order)


def _number(order: npt.NDArray[np.int64], place: float, n_channels: int) -> float:
    """Return the number of the channel at a place in the order of a shank, with the fraction of the place."""
    whole = int(place)
    return float(order[whole] + place - whole) if whole < len(order) else float(n_channels)


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

    Examples
    --------
    >>> info = estimate_depth(bands.spike_band, bands.lfp)
    >>> int(info.mask.sum()), info.offsets.shape
    (32, (32,))
    """
    p = parameters or DepthParameters()
    if recording.n_samples < 1:
        msg = "the recording holds no samples; the depth estimation needs at least one"
        raise RecordingTooShortError(msg)
    if lfp is not None and lfp.n_channels != recording.n_channels:
        msg = f"the spike band has {recording.n_channels} channels, the LFP band {lfp.n_channels}; they belong apart"
        raise FileFormatError(msg)
    offsets, rms_uv = estimate_offsets(recording, p)
    mask = channel_mask(recording, rms_uv, p)
    if lfp is None:
        lines = ShankLines.of(recording.geometry, recording.shanks)
        whole = float(recording.n_channels)
        return ProbeInfo(offsets, mask, rms_uv, whole, whole, p, _heights_of_whole_probe(lines), p.air_gap_um)
    found = estimate_surface(lfp, p)
    return ProbeInfo(
        offsets, mask, rms_uv, found.channel, found.air, p, found.heights_um, p.air_gap_um, found.log_power
    )  # fmt: skip
