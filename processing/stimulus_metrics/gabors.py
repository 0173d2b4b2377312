"""Metrics of gabors (``_rf``): receptive fields on the grid of positions."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from allen_ecephys.config import threads

from .kernels import chi_square_statistics
from .receptive_field_maps import GRID_SPACING, GaussianFit, GridRegion, fit_gaussian, region_of, smooth_maps
from .registry import built_in_metric
from .responses import StimulusResponses
from .stimuli import GABORS
from .trial_metrics import add_trial_metrics

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Units with fewer spikes than this during all gabors have no receptive field.
MINIMUM_SPIKES = 10
#: Positions of the released stimulus, degrees from the centre of the screen.
GRID = np.arange(-40.0, 41.0, GRID_SPACING)
#: From screen coordinates to the released azimuth and elevation, degrees.
AZIMUTH_OF_CENTRE, ELEVATION_OF_CENTRE = 50.0, 10.0
#: Units whose surrogates are made together: their counts fit the second-level cache.
_UNITS_AT_ONCE = 32


def grid_positions(responses: StimulusResponses) -> NDArray[np.int64]:
    """Return the pixel of each presentation, row * 9 + column; -1 where it lies on no position of the 9 x 9 grid.

    Row 0 is the top of the screen (y = 40), column 0 its left (x = -40).
    """
    design = responses.design
    x, y = design.parameter("x_position")[design.condition], design.parameter("y_position")[design.condition]
    column, row = (x - GRID[0]) / GRID_SPACING, (GRID[-1] - y) / GRID_SPACING
    on_grid = np.isfinite(x) & np.isfinite(y)
    for place in (column, row):
        on_grid &= (place == np.round(place)) & (place >= 0) & (place < len(GRID))
    pixel = np.full(len(x), -1, dtype=np.int64)
    pixel[on_grid] = (row[on_grid] * len(GRID) + column[on_grid]).astype(np.int64)
    return pixel


def receptive_field_maps(responses: StimulusResponses) -> NDArray[Any]:
    """Return the response at each position, (units, 9, 9).

    Release: int64 spikes summed over presentations and orientations, in two windows [0, 0.1245] and [0.1245, 0.249] s
    after onset, closed at both ends. Corrected: float64 mean spikes a presentation; NaN where nothing was shown.
    """
    result: NDArray[Any] = responses.once("receptive_field_maps", _compute_maps)
    return result


def _compute_maps(responses: StimulusResponses) -> NDArray[Any]:
    if responses.corrected:
        counts = responses.counts
    else:
        edges = np.linspace(0, 0.249, 3)
        windows = [
            responses.count_between(responses.design.start + low, np.nextafter(responses.design.start + high, np.inf))
            for low, high in pairwise(edges.tolist())
        ]
        counts = windows[0] + windows[1]
    pixel = grid_positions(responses)
    n_pixels = len(GRID) ** 2
    on_grid = np.flatnonzero(pixel >= 0)
    order = on_grid[np.argsort(pixel[on_grid], kind="stable")]
    repeats = np.bincount(pixel[on_grid], minlength=n_pixels)
    maps = np.zeros((responses.n_units, n_pixels), dtype=np.int64)
    shown = np.flatnonzero(repeats)
    if shown.size:
        offsets = np.concatenate([[0], np.cumsum(repeats)])[shown]
        maps[:, shown] = np.add.reduceat(counts[:, order], offsets, axis=1)
    shape = (responses.n_units, len(GRID), len(GRID))
    if not responses.corrected:
        return maps.reshape(shape)
    means = np.full(maps.shape, np.nan)
    means[:, shown] = maps[:, shown] / repeats[shown]
    return means.reshape(shape)


def has_enough_spikes(responses: StimulusResponses) -> NDArray[np.bool_]:
    """Return which units have ten spikes or more during gabors, and (corrected) a response at every position."""
    enough = responses.trial_counts.sum(axis=1) >= MINIMUM_SPIKES
    if responses.corrected:
        enough &= np.isfinite(receptive_field_maps(responses)).all(axis=(1, 2))
    elif not (grid_positions(responses) >= 0).any():
        enough[:] = False
    return np.asarray(enough)


def chi_square_p_values(
    counts: NDArray[np.int64],
    category: NDArray[np.int64],
    *,
    n_shuffles: int,
    seed: int,
    permute: bool,
) -> NDArray[np.float64]:
    """Return how likely the differences between categories are to be chance, by shuffling presentations.

    The statistic is sum (O - E)^2 / E over categories, O the spikes in a category, E its share of all spikes.

    Parameters
    ----------
    counts
        (units, presentations) spike counts.
    category
        (presentations,) category of each presentation, 0 or more.
    n_shuffles
        Number of surrogates.
    seed
        Of the surrogates. All units share the same draws, so a unit's p-value depends neither on the other units nor
        on the number of threads.
    permute
        True: surrogates permute presentations, and p = (1 + surrogates not below) / (1 + surrogates), never 0
        (Phipson and Smyth, Stat Appl Genet Mol Biol 9:39, 2010). False: surrogates draw presentations with
        replacement, and p = the fraction of surrogates above, as released.

    Returns
    -------
    numpy.ndarray
        (units,) NaN for units without spikes.
    """
    n_units, n_presentations = counts.shape
    generator = np.random.default_rng(seed)
    if permute:
        places = np.tile(np.arange(n_presentations, dtype=np.int32), (n_shuffles, 1))
        draws = generator.permuted(places, axis=1)
    else:
        draws = generator.integers(0, n_presentations, (n_shuffles, n_presentations), dtype=np.int32)
    order = np.argsort(category, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(category))]).astype(np.int64)
    itself = np.arange(n_presentations, dtype=np.int32)[None]
    p_values = np.full(n_units, np.nan)

    def judge(first: int) -> None:
        units = slice(first, first + _UNITS_AT_ONCE)
        sorted_counts = np.ascontiguousarray(counts[units, order].T, dtype=np.int32)
        observed = np.empty((1, sorted_counts.shape[1]))
        chi_square_statistics(sorted_counts, itself, offsets, observed)
        surrogates = np.empty((n_shuffles, sorted_counts.shape[1]))
        chi_square_statistics(sorted_counts, draws, offsets, surrogates)
        if permute:
            # equal up to rounding counts as not below
            not_below = (surrogates >= observed - 1e-9 * np.abs(observed)).sum(axis=0)
            found = (1 + not_below) / (1 + n_shuffles)
        else:
            found = (observed < surrogates).mean(axis=0)
        p_values[units] = np.where(np.isnan(observed[0]), np.nan, found)

    with ThreadPoolExecutor(max(threads(), 1)) as pool:
        list(pool.map(judge, range(0, n_units, _UNITS_AT_ONCE)))
    return p_values


@built_in_metric("p_value_rf", stimulus=GABORS)
def receptive_field_p_value(responses: StimulusResponses) -> NDArray[np.float64]:
    """Return the chance that the response does not depend on the position; NaN with fewer than ten spikes."""
    p_values = np.full(responses.n_units, np.nan)
    pixel = grid_positions(responses)
    on_grid = pixel >= 0
    units = np.flatnonzero(has_enough_spikes(responses))
    if units.size:
        p_values[units] = chi_square_p_values(
            responses.trial_counts[units][:, on_grid],
            pixel[on_grid],
            n_shuffles=responses.n_shuffles,
            seed=responses.seed,
            permute=responses.corrected,
        )
    return p_values


def regions(responses: StimulusResponses) -> list[GridRegion | None]:
    """Return each unit's receptive field region (None with too few spikes)."""
    result: list[GridRegion | None] = responses.once("regions", _compute_regions)
    return result


def _compute_regions(responses: StimulusResponses) -> list[GridRegion | None]:
    found: list[GridRegion | None] = [None] * responses.n_units
    units = np.flatnonzero(has_enough_spikes(responses))
    # the release filters integers, and each pass truncates; the corrected maps are means, in float
    smooth = smooth_maps(receptive_field_maps(responses)[units])
    for unit, smoothed in zip(units.tolist(), smooth, strict=True):
        found[unit] = region_of(smoothed, responses.mask_threshold)
    return found


def fits(responses: StimulusResponses) -> list[GaussianFit | None]:
    """Return each unit's Gaussian fit (None with too few spikes)."""
    result: list[GaussianFit | None] = responses.once("fits", _compute_fits)
    return result


def _compute_fits(responses: StimulusResponses) -> list[GaussianFit | None]:
    maps = receptive_field_maps(responses).astype(np.float64)
    return [
        None
        if region is None
        else fit_gaussian(
            _upright(unit_map, region),
            with_baseline=responses.corrected,
            exchanged_start=responses.definition == "release",
        )
        for unit_map, region in zip(maps, regions(responses), strict=True)
    ]


def _upright(unit_map: NDArray[np.float64], region: GridRegion) -> NDArray[np.float64]:
    """Turn a map upside down whose region runs along most of the border: a suppressed spot on a driven ground."""
    border = np.ones(unit_map.shape, dtype=bool)
    border[1:-1, 1:-1] = False
    suppressed = region.mask[border].sum() > border.sum() / 2
    return unit_map.max() - unit_map if suppressed else unit_map


def _each(values: Iterator[float], responses: StimulusResponses) -> NDArray[np.float64]:
    return np.fromiter(values, dtype=np.float64, count=responses.n_units)


@built_in_metric("azimuth_rf", "elevation_rf", "area_rf", stimulus=GABORS)
def receptive_field_region(
    responses: StimulusResponses,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return azimuth and elevation (degrees) of the region's centre and its area (square degrees).

    The region is the part of the smoothed map that lies above its maximum less `mask_threshold` standard
    deviations and holds that maximum.
    """
    found = regions(responses)
    azimuth = _each((np.nan if r is None else r.column for r in found), responses)
    elevation = _each((np.nan if r is None else r.row for r in found), responses)
    area = _each((np.nan if r is None else float(r.area) for r in found), responses)
    return (
        GRID_SPACING * azimuth + (GRID[0] + AZIMUTH_OF_CENTRE),
        (GRID[-1] + ELEVATION_OF_CENTRE) - GRID_SPACING * elevation,
        GRID_SPACING**2 * area,
    )


@built_in_metric("width_rf", "height_rf", "on_screen_rf", stimulus=GABORS, flags=["on_screen_rf"])
def receptive_field_fit(
    responses: StimulusResponses,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[Any]]:
    """Return the widths (standard deviations, degrees) of the Gaussian fit, and whether its centre is on the grid.

    Release: a fit without baseline or bounds, whatever became of it, started with rows and columns exchanged;
    ``width_rf`` is the deviation along rows (vertical), ``height_rf`` along columns, as published. "On the grid" is
    0 < centre < 9 in pixels, though the last pixel is 8. AllenSDK 2.16: the fit starts where the map is, and
    ``width_rf`` is horizontal. Corrected: with a baseline; NaN unless it converged to a centre on the grid (0 to 8) and
    to widths not larger than the grid.
    """
    found = fits(responses)
    width = _each((np.nan if fit is None else fit.sigma_x for fit in found), responses)
    height = _each((np.nan if fit is None else fit.sigma_y for fit in found), responses)
    x = _each((np.nan if fit is None else fit.x for fit in found), responses)
    y = _each((np.nan if fit is None else fit.y for fit in found), responses)
    if responses.definition == "release":
        width, height = height, width
    if not responses.corrected:
        return GRID_SPACING * width, GRID_SPACING * height, (y > 0) & (y < len(GRID)) & (x > 0) & (x < len(GRID))
    last = len(GRID) - 1
    on_screen = (y >= 0) & (y <= last) & (x >= 0) & (x <= last)
    usable = on_screen & (width <= len(GRID)) & (height <= len(GRID))
    usable &= np.array([fit is not None and fit.converged for fit in found], dtype=bool)
    return (
        np.where(usable, GRID_SPACING * width, np.nan),
        np.where(usable, GRID_SPACING * height, np.nan),
        on_screen,
    )


add_trial_metrics("rf", GABORS)
