"""One receptive field map: smoothing, the region above a threshold, a Gaussian fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter, label

from .levenberg_marquardt import GAUSSIAN, fit_curve

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: Degrees between positions.
GRID_SPACING = 10.0
#: Standard deviation of the smoothing, pixels.
SMOOTHING = 1.0
#: Evaluations for each parameter (and one more) after which a fit is given up.
_EVALUATIONS = 200


@dataclass(frozen=True, eq=False)
class GridRegion:
    """The connected part of a map above a threshold that holds its maximum.

    Attributes
    ----------
    mask
        (rows, columns) bool.
    row, column
        Mean position of its pixels, rounded to four decimals; NaN if it is empty.
    area
        Number of its pixels.
    """

    mask: NDArray[np.bool_]
    row: float
    column: float
    area: int


@dataclass(frozen=True)
class GaussianFit:
    """A Gaussian fitted to a map: height exp(-((y0 - y) / sy)^2 / 2 - ((x0 - x) / sx)^2 / 2) + baseline, in pixels.

    All NaN where no fit was possible. `sigma_y` and `sigma_x` of a release fit can be negative.
    """

    height: float
    y: float
    x: float
    sigma_y: float
    sigma_x: float
    baseline: float
    converged: bool


def smooth_maps(maps: ArrayLike) -> NDArray[Any]:
    """Return maps smoothed with a Gaussian of one pixel, reflected at the border, in their own dtype.

    Integer maps stay integers: each of the two passes (rows, then columns) drops the fraction, so a map with few
    spikes can vanish altogether. The released metrics hold that defect; the corrected ones smooth float maps.

    Parameters
    ----------
    maps
        (units, rows, columns) or (rows, columns).
    """
    values = np.asarray(maps)
    sigma = (0.0,) * (values.ndim - 2) + (SMOOTHING, SMOOTHING)
    return np.asarray(gaussian_filter(values, sigma)) if values.size else values


def region_of(smoothed: ArrayLike, threshold: float) -> GridRegion:
    """Return the region of a smoothed map above its maximum less `threshold` standard deviations.

    Pixels are connected by their sides. Of several parts with the same maximum, the first in reading order.
    """
    values = np.asarray(smoothed, dtype=np.float64)
    above = values > values.max() - threshold * values.std()
    labels, n_labels = label(above)
    if not n_labels:
        return GridRegion(np.zeros(values.shape, dtype=bool), float("nan"), float("nan"), 0)
    best = int(labels[above & (values == values[above].max())].min())
    mask = np.asarray(labels == best)
    rows, columns = np.nonzero(mask)
    return GridRegion(mask, round(float(rows.mean()), 4), round(float(columns.mean()), 4), int(mask.sum()))


def fit_gaussian(values: ArrayLike, *, with_baseline: bool = False, exchanged_start: bool = False) -> GaussianFit:
    """Fit a Gaussian with axes along rows and columns to a map by least squares.

    Parameters
    ----------
    values
        (rows, columns).
    with_baseline
        Fit a constant that is added as well, and return positive widths (corrected). Without it the widths take up the
        unit's spontaneous rate (release).
    exchanged_start
        Start without baseline as the published fits did (until April 2023): row and column of the centroid exchanged,
        and so the two widths. Of noisy maps it decides where the fit ends.
    """
    data = np.asarray(values, dtype=np.float64)
    if not data.sum() > 0:
        nan = float("nan")
        return GaussianFit(nan, nan, nan, nan, nan, nan, converged=False)
    start = _baseline_start(data) if with_baseline else moments(data)
    if exchanged_start and not with_baseline:
        start = start[[0, 2, 1, 4, 3]]
    places = np.argwhere(np.ones(data.shape)).astype(np.float64)
    fit, converged = fit_curve(GAUSSIAN, start, places, data.ravel(), _EVALUATIONS * (len(start) + 1))
    height, y, x, sigma_y, sigma_x = (float(value) for value in fit[:5])
    if with_baseline:
        converged = converged and bool(np.isfinite(fit).all()) and height > 0
        return GaussianFit(height, y, x, abs(sigma_y), abs(sigma_x), float(fit[5]), converged)
    return GaussianFit(height, y, x, sigma_y, sigma_x, 0.0, converged)


def moments(data: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return [height, y, x, sigma_y, sigma_x] from the moments of a map: where AllenSDK starts its fit.

    The widths are taken from the wrong profiles, as there: sigma_y from the row through the centroid, read about the
    centroid's row, and sigma_x from the column. It decides only where the fit starts.
    """
    total = data.sum()
    rows, columns = np.indices(data.shape)
    y, x = (rows * data).sum() / total, (columns * data).sum() / total
    profile_y, profile_x = data[int(y), :], data[:, int(x)]
    with np.errstate(divide="ignore", invalid="ignore"):  # an empty profile: the fit then stays where it starts
        sigma_y = np.sqrt(np.abs((np.arange(profile_y.size) - y) ** 2 * profile_y).sum() / profile_y.sum())
        sigma_x = np.sqrt(np.abs((np.arange(profile_x.size) - x) ** 2 * profile_x).sum() / profile_x.sum())
    return np.array([data.max(), y, x, sigma_y, sigma_x])


def _baseline_start(data: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where a fit with baseline starts: at the peak of the smoothed map, one pixel wide, on the median."""
    smoothed = gaussian_filter(data, SMOOTHING)
    row, column = np.unravel_index(int(smoothed.argmax()), data.shape)
    baseline = float(np.median(data))
    return np.array([max(float(smoothed.max()) - baseline, 1e-3), float(row), float(column), 1.0, 1.0, baseline])
