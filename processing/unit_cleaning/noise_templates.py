"""Tell templates of neurons from templates of artefacts, by their extent, timing and number of foci.

The rules of the Allen pipeline's heuristic (default there since August 2019): a template is noise if it fails the
spread test, the temporal test or the spatial test. Templates are windows of 61 samples in which a spike's trough lies
at sample 20; channels are counted in order of depth, of the channels that were sorted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from allen_ecephys.errors import GeometryError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

#: Length of the window (samples) for which the limits on times below are meant.
TEMPLATE_SAMPLES = 61
#: Columns across the probe onto which the spatial test interpolates; the outer two are not used.
GRID_COLUMNS = 7


@dataclass(frozen=True)
class TemplateThresholds:
    """Limits of the three template tests; the defaults are those of the release.

    Attributes
    ----------
    amplitude
        Fraction of the largest channel above which a channel counts as reached, with and without smoothing.
    smoothing
        SD (channels) of the Gaussian along the probe.
    min_spread, mid_spread, max_spread
        Channels. Below `min_spread` (unsmoothed): artefact of one channel. Above `mid_spread` (smoothed) the shape test
        decides; above `max_spread` it is noise.
    shape_range
        Largest distance (channels) of the columns that the shape test compares, in steps of four.
    wavelet_width, min_wavelet_height, wavelet_location
        Ricker wavelet (samples) of the shape test, the least height of its maximum, and the open interval (samples) in
        which that must lie.
    peak_time
        Closed interval (samples) in which the largest spatial difference of a spike lies.
    column_amplitude
        Fraction of the overall maximum that a column must reach for its foci to count.
    peak_height, peak_prominence
        Of the foci, as fractions of their column's maximum.
    peak_range
        Foci this many channels or more from the peak channel are ignored.
    peak_spread
        SD (channels) of the foci's places above which there are several.
    """

    amplitude: float = 0.2
    smoothing: float = 2.0
    min_spread: int = 2
    mid_spread: int = 16
    max_spread: int = 25
    shape_range: int = 12
    wavelet_width: int = 5
    min_wavelet_height: float = 0.0
    wavelet_location: tuple[int, int] = (15, 25)
    peak_time: tuple[int, int] = (10, 30)
    column_amplitude: float = 0.25
    peak_height: float = 0.2
    peak_prominence: float = 0.2
    peak_range: int = 24
    peak_spread: float = 3.5


def noise_template_tests(
    templates: ArrayLike,
    geometry: ArrayLike,
    thresholds: TemplateThresholds | None = None,
) -> pd.DataFrame:
    """Run the three template tests.

    Parameters
    ----------
    templates
        Shape (n_units, n_channels, n_samples), any unit of measurement, channels in order of depth; a spike's trough
        lies at sample 20.
    geometry
        Position (um) of each channel, shape (n_channels, 2): across, along the probe.
    thresholds
        Limits; those of the release by default.

    Returns
    -------
    pandas.DataFrame
        One row for each template: ``smoothed_spread``, ``spread`` (channels), ``wavelet_height``, ``wavelet_location``
        (NaN where the shape test was not asked), ``peak_time`` (sample), ``foci_sd`` (channels; NaN without foci), and
        the verdicts ``fails_spread``, ``fails_time``, ``fails_foci``.

    Notes
    -----
    The shape test of the original wraps to the far end of the probe for peaks near the tip; here such columns are
    missing. A template of zeros fails the spread test.
    """
    import pandas as pd

    limits = thresholds or TemplateThresholds()
    shapes = np.asarray(templates, dtype=np.float64)
    positions = np.asarray(geometry, dtype=np.float64)
    if shapes.ndim != 3 or positions.shape != (shapes.shape[1], 2):
        msg = (
            f"templates of shape {shapes.shape} and geometry of shape {positions.shape}: "
            "(units, channels, samples) and (channels, 2) are needed"
        )
        raise GeometryError(msg)
    smoothed, plain = template_spread(shapes, limits)
    times = peak_times(shapes)
    foci = foci_spread(shapes, times, positions, limits)
    large = (smoothed > limits.mid_spread) & (smoothed <= limits.max_spread)
    height, location = np.full(len(shapes), np.nan), np.full(len(shapes), np.nan)
    for unit in np.flatnonzero(large):
        height[unit], location[unit] = wavelet_peak(shapes[unit], limits)
    low, high = limits.wavelet_location
    shape_passes = (height > limits.min_wavelet_height) & (location > low) & (location < high)
    small = smoothed <= limits.mid_spread
    return pd.DataFrame(
        {
            "smoothed_spread": smoothed,
            "spread": plain,
            "wavelet_height": height,
            "wavelet_location": location,
            "peak_time": times,
            "foci_sd": foci,
            "fails_spread": np.where(small, plain < limits.min_spread, ~(large & shape_passes)),
            "fails_time": (times < limits.peak_time[0]) | (times > limits.peak_time[1]),
            "fails_foci": foci > limits.peak_spread,
        }
    )


def template_spread(
    templates: NDArray[np.float64], limits: TemplateThresholds
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the channels each template reaches, smoothed along the probe and not, int64, shape (n_units,) each."""
    from scipy.ndimage import gaussian_filter1d

    size = np.abs(templates).max(axis=2)
    largest = size.max(axis=1, keepdims=True)
    relative = np.divide(size, largest, out=np.zeros_like(size), where=largest > 0)
    smooth = gaussian_filter1d(relative, limits.smoothing, axis=1, mode="reflect")
    return (smooth > limits.amplitude).sum(axis=1), (relative > limits.amplitude).sum(axis=1)


def peak_times(templates: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the sample at which channels differ most (largest minus smallest), int64, shape (n_units,)."""
    return np.asarray((templates.max(axis=1) - templates.min(axis=1)).argmax(axis=1))


def ricker(n_points: int, width: float) -> NDArray[np.float64]:
    """Return the Ricker ("Mexican hat") wavelet, the negative normalised second derivative of a Gaussian.

    ``2 / (sqrt(3 a) pi^(1/4)) (1 - t^2/a^2) exp(-t^2 / (2 a^2))`` at ``n_points`` whole steps around the centre;
    SciPy, which used to have it, dropped it in version 1.15.
    """
    t = np.arange(n_points) - (n_points - 1) / 2
    squared = (t / width) ** 2
    return np.asarray(2 / (np.sqrt(3 * width) * np.pi**0.25) * (1 - squared) * np.exp(-squared / 2))


def wavelet_peak(template: NDArray[np.float64], limits: TemplateThresholds) -> tuple[float, float]:
    """Return height and place (sample) of the wavelet transform's maximum for one template (n_channels, n_samples).

    What is transformed is how the neighbouring sites' normalised waveforms differ, on average, from that of the peak
    channel: for a spike that travels, positive around its trough.
    """
    from scipy.signal import convolve

    n_channels, n_samples = template.shape
    peak = int(np.ptp(template, axis=1).argmax())
    sites = peak + np.arange(-limits.shape_range, limits.shape_range + 1, 4)
    sites = sites[(sites >= 0) & (sites < n_channels)]
    size = np.abs(template[sites]).max(axis=1, keepdims=True)
    columns = np.divide(template[sites], size, out=np.zeros((sites.size, n_samples)), where=size > 0)
    difference = (columns - columns[sites == peak]).mean(axis=0)
    # An artefact that is the same everywhere differs by rounding only, which must not count as a positive maximum.
    difference[np.abs(difference) < 1e-9] = 0.0
    wavelet = ricker(min(10 * limits.wavelet_width, n_samples), limits.wavelet_width)
    transform = convolve(difference, wavelet[::-1], mode="same")
    return float(transform.max()), float(transform.argmax())


def foci_spread(
    templates: NDArray[np.float64],
    times: NDArray[np.int64],
    positions: NDArray[np.float64],
    limits: TemplateThresholds,
) -> NDArray[np.float64]:
    """Return the SD (channels) of the places of each template's foci at its peak time; NaN without foci."""
    slices = np.take_along_axis(templates, times[:, None, None], axis=2)[:, :, 0]
    peaks = np.ptp(templates, axis=2).argmax(axis=1)
    grid, channel_rows = _interpolate(slices, positions)
    return np.array([_foci_sd(image, row, limits) for image, row in zip(grid, channel_rows[peaks], strict=True)])


def _interpolate(
    slices: NDArray[np.float64], positions: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Interpolate values at the sites to (n_units, rows, columns), cubic, zero outside the sites.

    Rows lie as densely as channels do along the probe (10 um on Neuropixels 1.0), so that a row's number is a
    channel's; the second array (n_channels,) says which. The triangulation is made once, for all templates.
    """
    from scipy.interpolate import CloughTocher2DInterpolator
    from scipy.spatial import Delaunay

    x, y = positions[:, 0], positions[:, 1]
    depths, depth_index, sites_per_depth = np.unique(y, return_inverse=True, return_counts=True)
    if depths.size < 2 or np.unique(x).size < 2 or y.size < 4:
        # Sites in one line have no triangulation: they are their own single column.
        return slices[:, :, None], np.arange(y.size)
    pitch = np.diff(depths).min()
    row_distance = pitch / sites_per_depth.max()
    rows = np.arange(y.min(), y.max() + pitch - row_distance / 2, row_distance)
    columns = np.linspace(x.min(), x.max(), GRID_COLUMNS)[1:-1]
    across, along = np.meshgrid(columns, rows)
    surface = CloughTocher2DInterpolator(Delaunay(positions), slices.T, fill_value=0.0)
    image = np.moveaxis(surface(across, along), 2, 0)
    # Sites at one depth take consecutive numbers, as channels do.
    place_at_depth = np.array([(depth_index[:i] == depth_index[i]).sum() for i in range(y.size)])
    return image, np.rint((y - y.min()) / row_distance).astype(np.int64) + place_at_depth


def _foci_sd(image: NDArray[np.float64], peak: int, limits: TemplateThresholds) -> float:
    """Return the population SD of the rows of all foci of one template (rows, columns) near the row of its peak."""
    from scipy.signal import find_peaks

    size = np.abs(image).max(axis=0)
    largest = size.max()
    if largest == 0:
        return float("nan")
    sign = np.sign(image.flat[np.abs(image).argmax()])
    places: list[NDArray[np.int64]] = []
    for column in np.flatnonzero(size >= limits.column_amplitude * largest):
        profile = sign * image[:, column] / size[column]
        found, _ = find_peaks(profile, height=limits.peak_height, prominence=limits.peak_prominence)
        places.append(found[np.abs(found - peak) < limits.peak_range])
    rows = np.concatenate(places)
    return float(rows.std()) if rows.size else float("nan")
