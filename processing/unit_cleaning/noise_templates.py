"""Tell templates of neurons from templates of artefacts, by their extent, timing and number of foci.

The rules of the Allen pipeline's heuristic (default there since August 2019): a template is noise if it fails the
spread test, the temporal test or the spatial test. Templates are windows of 61 samples in which a spike's trough lies
at sample 20. What the release counted in channels is measured in um along the shank, 10 um a channel of the probe that
it had, so that the limits mean the same on any probe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from allen_ecephys.errors import GeometryError

from ..shanks import ShankLines

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

#: Length of the window (samples) for which the limits on times below are meant.
TEMPLATE_SAMPLES = 61
#: Columns across the shank onto which the spatial test interpolates; the outer two are not used; and distance of rows.
GRID_COLUMNS = 7
GRID_ROWS_UM = 10.0


@dataclass(frozen=True)
class TemplateThresholds:
    """Limits of the three template tests; the defaults are those of the release.

    Attributes
    ----------
    amplitude
        Fraction of the largest channel above which a channel counts as reached, with and without smoothing.
    smoothing
        SD (um) of the Gaussian along the shank.
    min_channels
        A template that reaches fewer channels (unsmoothed) is an artefact of one channel.
    mid_spread, max_spread
        um along the shank (smoothed). Above `mid_spread` the shape test decides; above `max_spread` it is noise.
    shape_step, shape_range
        Distance (um) of the sites that the shape test compares, one above the other, and the farthest of them.
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
        Foci this far (um) or farther from the peak channel are ignored.
    peak_spread
        SD (um) of the foci's places above which there are several.
    """

    amplitude: float = 0.2
    smoothing: float = 20.0
    min_channels: int = 2
    mid_spread: float = 160.0
    max_spread: float = 250.0
    shape_step: float = 40.0
    shape_range: float = 120.0
    wavelet_width: int = 5
    min_wavelet_height: float = 0.0
    wavelet_location: tuple[int, int] = (15, 25)
    peak_time: tuple[int, int] = (10, 30)
    column_amplitude: float = 0.25
    peak_height: float = 0.2
    peak_prominence: float = 0.2
    peak_range: float = 240.0
    peak_spread: float = 35.0


def noise_template_tests(
    templates: ArrayLike,
    geometry: ArrayLike,
    thresholds: TemplateThresholds | None = None,
    *,
    lines: ShankLines | None = None,
) -> pd.DataFrame:
    """Run the three template tests.

    Parameters
    ----------
    templates
        Shape (n_units, n_channels, n_samples), any unit of measurement; a spike's trough lies at sample 20.
    geometry
        Position (um) of each channel, shape (n_channels, 2): across, along the probe.
    thresholds
        Limits; those of the release by default.
    lines
        How these channels lie along their shanks, where that follows from more channels than these (of which some are
        left out). Default: from `geometry`.

    Returns
    -------
    pandas.DataFrame
        One row for each template: ``smoothed_spread``, ``spread`` (um), ``wavelet_height``, ``wavelet_location``
        (NaN where the shape test was not asked), ``peak_time`` (sample), ``foci_sd`` (um; NaN without foci), and
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
    along = ShankLines.of(positions) if lines is None else lines
    smoothed, plain, n_reached = template_spread(shapes, along, limits)
    times = peak_times(shapes)
    foci = foci_spread(shapes, times, along, limits)
    large = (smoothed > limits.mid_spread) & (smoothed <= limits.max_spread)
    height, location = np.full(len(shapes), np.nan), np.full(len(shapes), np.nan)
    for unit in np.flatnonzero(large):
        height[unit], location[unit] = wavelet_peak(shapes[unit], along, limits)
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
            "fails_spread": np.where(small, n_reached < limits.min_channels, ~(large & shape_passes)),
            "fails_time": (times < limits.peak_time[0]) | (times > limits.peak_time[1]),
            "fails_foci": foci > limits.peak_spread,
        }
    )


def template_spread(
    templates: NDArray[np.float64], lines: ShankLines, limits: TemplateThresholds
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return how far each template reaches (um), smoothed along the shank and not, and the number of channels."""
    from scipy.ndimage import gaussian_filter1d

    size = np.abs(templates).max(axis=2)
    largest = size.max(axis=1, keepdims=True)
    relative = np.divide(size, largest, out=np.zeros_like(size), where=largest > 0)
    smooth = np.zeros_like(relative)
    for run in np.unique(lines.runs):
        members = lines.members(int(run))
        sigma = limits.smoothing / lines.pitches[run]
        smooth[:, members] = gaussian_filter1d(relative[:, members], sigma, axis=1, mode="reflect")
    reached = relative > limits.amplitude
    return (smooth > limits.amplitude) @ lines.pitch, reached @ lines.pitch, reached.sum(axis=1)


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


def wavelet_peak(template: NDArray[np.float64], lines: ShankLines, limits: TemplateThresholds) -> tuple[float, float]:
    """Return height and place (sample) of the wavelet transform's maximum for one template (n_channels, n_samples).

    What is transformed is how the neighbouring sites' normalised waveforms differ, on average, from that of the peak
    channel: for a spike that travels, positive around its trough.
    """
    from scipy.signal import convolve

    n_samples = template.shape[1]
    peak = int(np.ptp(template, axis=1).argmax())
    sites = _one_above_the_other(peak, lines, limits)
    size = np.abs(template[sites]).max(axis=1, keepdims=True)
    # A site that is exactly zero has no waveform, not a flat one: templates of sorters end in zeros.
    sites, size = sites[size[:, 0] > 0], size[size[:, 0] > 0]
    columns = template[sites] / size
    difference = (columns - columns[sites == peak]).mean(axis=0)
    # An artefact that is the same everywhere differs by rounding only, which must not count as a positive maximum.
    difference[np.abs(difference) < 1e-9] = 0.0
    wavelet = ricker(min(10 * limits.wavelet_width, n_samples), limits.wavelet_width)
    transform = convolve(difference, wavelet[::-1], mode="same")
    return float(transform.max()), float(transform.argmax())


def _one_above_the_other(peak: int, lines: ShankLines, limits: TemplateThresholds) -> NDArray[np.int64]:
    """Return the peak channel and those of its column every 40 um (as far as whole rows allow) up to 120 um away."""
    run = int(lines.runs[peak])
    members = lines.members(run)
    place = int(np.flatnonzero(members == peak)[0])
    row = lines.pitches[run] * lines.columns[run]
    rows = max(round(limits.shape_step / row), 1)
    n_steps = round(limits.shape_range / (rows * row))
    sites = place + rows * int(lines.columns[run]) * np.arange(-n_steps, n_steps + 1)
    return np.asarray(members[sites[(sites >= 0) & (sites < members.size)]])


def foci_spread(
    templates: NDArray[np.float64],
    times: NDArray[np.int64],
    lines: ShankLines,
    limits: TemplateThresholds,
) -> NDArray[np.float64]:
    """Return the SD (um) of the places of each template's foci at its peak time, on its run; NaN without foci."""
    slices = np.take_along_axis(templates, times[:, None, None], axis=2)[:, :, 0]
    peaks = np.ptp(templates, axis=2).argmax(axis=1)
    spread = np.full(len(templates), np.nan)
    for run in np.unique(lines.runs[peaks]):
        members = lines.members(int(run))
        here = np.flatnonzero(lines.runs[peaks] == run)
        grid, rows, places = _interpolate(slices[np.ix_(here, members)], lines.positions[members])
        peak_places = places[np.argsort(members)[np.searchsorted(np.sort(members), peaks[here])]]
        for unit, image, place in zip(here, grid, peak_places, strict=True):
            spread[unit] = _foci_sd(image, rows, float(place), limits)
    return spread


def _interpolate(
    slices: NDArray[np.float64], positions: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Interpolate values at the sites of a run to (n_units, rows, columns), cubic, zero outside the sites.

    Rows lie 10 um apart. The other two arrays are the places (um) of rows, and of channels: the channels of a row share
    its extent. The triangulation is made once, for all templates.
    """
    from scipy.interpolate import CloughTocher2DInterpolator
    from scipy.spatial import Delaunay

    x, y = positions[:, 0], positions[:, 1]
    depths, depth_index, sites_per_depth = np.unique(y, return_inverse=True, return_counts=True)
    if depths.size < 2 or np.unique(x).size < 2 or y.size < 4:
        # Sites in one line have no triangulation: they are their own single column.
        return slices[:, :, None], y, y
    pitch = np.diff(depths).min()
    rows = np.arange(y.min(), y.max() + pitch - GRID_ROWS_UM / 2, GRID_ROWS_UM)
    columns = np.linspace(x.min(), x.max(), GRID_COLUMNS)[1:-1]
    across, along = np.meshgrid(columns, rows)
    surface = CloughTocher2DInterpolator(Delaunay(positions), slices.T, fill_value=0.0)
    image = np.moveaxis(surface(across, along), 2, 0)
    at_depth = np.array([(depth_index[:i] == depth_index[i]).sum() for i in range(y.size)])
    return image, rows, y + pitch * at_depth / sites_per_depth.max()


def _foci_sd(image: NDArray[np.float64], rows: NDArray[np.float64], peak: float, limits: TemplateThresholds) -> float:
    """Return the population SD (um) of the places of all foci of one template (rows, columns) near that of its peak."""
    from scipy.signal import find_peaks

    size = np.abs(image).max(axis=0)
    largest = size.max()
    if largest == 0:
        return float("nan")
    sign = np.sign(image.flat[np.abs(image).argmax()])
    places: list[NDArray[np.float64]] = []
    for column in np.flatnonzero(size >= limits.column_amplitude * largest):
        profile = sign * image[:, column] / size[column]
        found, _ = find_peaks(profile, height=limits.peak_height, prominence=limits.peak_prominence)
        foci = rows[found]
        places.append(foci[np.abs(foci - peak) < limits.peak_range - 1e-6])
    near = np.concatenate(places)
    return float(near.std()) if near.size else float("nan")
