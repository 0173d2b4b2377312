"""Current source density after a flash: which depths currents flow into and out of.

Two definitions. The release's: the second difference, along the probe, of the mean answer at virtual channels every
10 um, in whatever unit the LFP had; positive where the potential has a minimum. The calibrated one: minus the
conductivity of the tissue times the second derivative, in A/m^3 of a potential in volts; negative where current flows
into cells (a sink). (processing specification of the released files, section 10; Nicholson and Freeman 1975)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import GeometryError, InvalidContentsError, MissingDataError

from ..packaging.lfp import CurrentSourceDensity
from ..recording import Recording
from .subsampling import decimated, decimation_factors

if TYPE_CHECKING:
    from ..synchronization.band_clock import BandClock

Floats = npt.NDArray[np.float64]
Channels = npt.NDArray[np.int64]

#: Before and after a flash (s), band (Hz) and order of the filter.
BEFORE: Final = 0.1
AFTER: Final = 0.25
BAND: Final = (5.0, 150.0)
ORDER: Final = 5
#: A channel whose signal varies more than this (counts, as in the release) measures something else.
NOISY: Final = 1500.0
#: Rate of the LFP band (Hz), and how far the filter that thins a wide band to it reaches (s).
BAND_RATE: Final = 2500.0
DECIMATION_REACH: Final = 0.1
#: Virtual channels: distance (um) and column.
SPACING_UM: Final = 10.0
COLUMN_UM: Final = 24.0
#: Conductivity of cortex (S/m; Goto et al. 2010).
CONDUCTIVITY: Final = 0.3


@dataclass(frozen=True, eq=False)
class FlashResponse:
    """The mean LFP after a flash.

    Attributes
    ----------
    potential
        (channels, times), in the unit of the LFP.
    channels
        Of the recording, those that measure the brain.
    times
        From the flash (s).
    n_flashes
        Flashes averaged.

    Examples
    --------
    >>> response = FlashResponse(np.array([[0.0, -40.0], [0.0, 60.0]]), np.array([10, 20]), np.array([0.0, 0.05]), 150)
    >>> int(response.channels[response.potential[:, 1].argmin()])  # the channel nearest to the sink
    10
    """

    potential: Floats
    channels: Channels
    times: Floats
    n_flashes: int


def flash_windows(
    onsets: npt.ArrayLike, rate: float, before: float = BEFORE, after: float = AFTER
) -> tuple[Floats, Floats]:
    """Return the times to read around each flash, (flashes, times), and their distance from it (s)."""
    relative = np.arange(-before, after, 1.0 / rate)
    return np.asarray(onsets, dtype=np.float64)[:, None] + relative, relative


def lfp_around(
    samples: npt.NDArray[np.floating], times: npt.ArrayLike, windows: Floats, channels: npt.ArrayLike
) -> Floats:
    """Return the LFP at times between samples, (flashes, channels, times), linearly; NaN outside of the samples.

    Parameters
    ----------
    samples
        (samples, channels).
    times
        Of the samples (s, ascending); negative or missing ones are of no use and left out.
    windows
        (flashes, times) to read (s).
    channels
        Columns to read.
    """
    at = np.asarray(times, dtype=np.float64)
    timed = at >= 0
    known, values = at[timed], np.asarray(samples, dtype=np.float64)[timed][:, np.asarray(channels, dtype=np.int64)]
    read = [[np.interp(window, known, column, np.nan, np.nan) for column in values.T] for window in windows]
    return np.array(read).reshape(len(windows), values.shape[1], -1)


def good_channels(traces: Floats, leave_out: npt.ArrayLike = (), noisy: float = NOISY) -> Channels:
    """Return the rows of (flashes, channels, times) that neither are left out nor vary more than `noisy`."""
    spread = np.nanmean(np.nanstd(traces, axis=2), axis=0)
    quiet = ~(spread > noisy)
    quiet[np.asarray(leave_out, dtype=np.int64)] = False
    return np.flatnonzero(quiet).astype(np.int64)


def band_pass(traces: Floats, rate: float, band: tuple[float, float] = BAND, order: int = ORDER) -> Floats:
    """Return traces filtered forward and backward along their last axis (Butterworth)."""
    from scipy.signal import butter, filtfilt

    b, a = butter(order, band, "bandpass", fs=rate)
    return np.asarray(filtfilt(b, a, traces, axis=-1), dtype=np.float64)


def on_column(traces: Floats, places: Floats, targets: Floats) -> Floats:
    """Interpolate (..., channels, times) from contacts to virtual channels by cubic triangles; 0 outside of them."""
    from scipy.interpolate import CloughTocher2DInterpolator

    moved = np.moveaxis(traces, -2, 0)
    interpolator = CloughTocher2DInterpolator(places, moved.reshape(len(places), -1), fill_value=0.0)
    return np.asarray(np.moveaxis(interpolator(targets).reshape(len(targets), *moved.shape[1:]), 0, -2))


def second_difference(potential: Floats, spacing: float) -> Floats:
    """Return the second difference of (channels, times) along channels over spacing^2, the ends repeated beyond."""
    padded = np.concatenate([potential[:1], potential, potential[-1:]])
    return np.asarray((padded[2:] - 2.0 * potential + padded[:-2]) / spacing**2)


def released_density(response: FlashResponse, geometry: Floats) -> CurrentSourceDensity:
    """Return the current source density as the release defines it: unscaled, in units of the LFP per mm^2 / 100.

    Virtual channels stand every 10 um in the middle of the probe, from its lowest contact to its highest.
    """
    places = geometry[response.channels] - np.array([geometry[:, 0].min(), 0.0])
    low, high = geometry[:, 1].min(), geometry[:, 1].max()
    depths = np.arange(low, high + SPACING_UM, SPACING_UM)
    column = np.column_stack([np.full(len(depths), COLUMN_UM), depths])
    density = second_difference(on_column(response.potential, places, column), SPACING_UM * 1e-3)
    return CurrentSourceDensity(density.T, response.times, column[:, 0], column[:, 1])


def calibrated_density(
    response: FlashResponse,
    geometry: Floats,
    volts_per_unit: float | npt.ArrayLike,
    *,
    spacing_um: float | None = None,
    conductivity: float = CONDUCTIVITY,
) -> CurrentSourceDensity:
    """Return the current source density in A/m^3.

    Contacts at one depth are averaged; potentials at even depths follow by a cubic spline through the depths there are.

    Parameters
    ----------
    response
        Mean LFP.
    geometry
        (n_channels, 2) of the recording (um).
    volts_per_unit
        What the response counts in; a number, or one a channel of the response.
    spacing_um
        Distance of depths (default: the median distance of rows).
    conductivity
        S/m.

    Raises
    ------
    GeometryError
        If there are fewer than four depths.
    """
    from scipy.interpolate import CubicSpline

    volts = (
        response.potential * np.broadcast_to(np.asarray(volts_per_unit, np.float64), len(response.channels))[:, None]
    )
    rows, row_of = np.unique(geometry[response.channels, 1], return_inverse=True)
    if len(rows) < 4:
        msg = f"a current source density needs four depths, and the {len(response.channels)} channels have {len(rows)}"
        raise GeometryError(msg)
    mean = np.zeros((len(rows), volts.shape[1]))
    np.add.at(mean, row_of, volts)
    mean /= np.bincount(row_of)[:, None]
    step = float(np.median(np.diff(rows))) if spacing_um is None else spacing_um
    depths = np.arange(rows[0], rows[-1] + step / 2, step)
    even = CubicSpline(rows, mean)(depths)
    inner = (even[2:] - 2.0 * even[1:-1] + even[:-2]) / (step * 1e-6) ** 2
    x = np.full(len(depths) - 2, geometry[response.channels, 0].mean())
    return CurrentSourceDensity((-conductivity * inner).T, response.times, x, depths[1:-1])


def flash_response(
    recording: Recording,
    clock: BandClock,
    onsets: npt.ArrayLike,
    outside: npt.ArrayLike = (),
    *,
    before: float = BEFORE,
    after: float = AFTER,
) -> FlashResponse:
    """Return the mean LFP of all channels after flashes, band-passed, in counts.

    Only what lies around a flash is read; a wide band is thinned to 2,500 Hz first.

    Parameters
    ----------
    recording
        LFP band, or the wide band of a probe without one.
    clock
        Of this band.
    onsets
        Session times of the flashes (s).
    outside
        Channels outside the brain, whose median is subtracted at every sample.
    before, after
        How much to read before and after each flash (s).

    Raises
    ------
    MissingDataError
        If no flash lies within the recording.
    InvalidContentsError
        If no channel measures anything.
    """
    factors = decimation_factors(recording.sampling_rate, BAND_RATE)
    step = int(np.prod(factors, dtype=np.int64))
    rate = recording.sampling_rate / step
    beside = DECIMATION_REACH if factors else 0.0
    windows, relative = flash_windows(onsets, rate, before, after)
    reference = np.asarray(outside, dtype=np.int64)
    channels = np.arange(recording.n_channels, dtype=np.int64)
    total, spread, count = np.zeros((len(channels), len(relative))), np.zeros(len(channels)), 0
    for window in windows:
        rows = clock.around(float(window[0]) - beside, float(window[-1]) + beside)
        if rows is None:
            continue
        values = recording.read(*rows).astype(np.float64)
        if factors:
            values = decimated(values.T, factors).T
        if len(reference):
            values -= np.median(values[:, reference], axis=1, keepdims=True)
        trace = lfp_around(values, clock.seconds(np.arange(*rows, step)), window[None], channels)[0]
        total += trace
        spread += trace.std(axis=1)
        count += 1
    name = clock.clock.name
    if not count:
        msg = f"none of the {len(windows)} flashes lies within the recording of {name}; nothing answers"
        raise MissingDataError(msg)
    good = np.flatnonzero((spread / count <= NOISY) & ~np.isin(channels, recording.reference_channels)).astype(np.int64)
    if not len(good):
        msg = f"every channel of {name} varies more than {NOISY:g} counts or is a reference; its LFP is noise"
        raise InvalidContentsError(msg)
    return FlashResponse(band_pass(total[good] / count, rate), good, relative, count)
