"""Metrics of drifting gratings (``_dg``), and ``c50_dg`` from the contrast stimulus."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from allen_ecephys.config import threads

from .contrast_response import c50, semi_saturation
from .orientation_selectivity import global_direction_selectivity, global_orientation_selectivity
from .registry import built_in_metric
from .responses import HISTOGRAM_BIN, StimulusResponses
from .spike_counts import preferred_parameter, preferred_value
from .stimuli import CONTRAST, DRIFTING_GRATINGS
from .temporal_modulation import f1_f0, harmonic_ratio, modulation_index
from .trial_metrics import add_trial_metrics

if TYPE_CHECKING:
    from numpy.typing import NDArray


@built_in_metric("pref_ori_dg", "pref_ori_multi_dg", stimulus=DRIFTING_GRATINGS, flags=["pref_ori_multi_dg"])
def preferred_direction(responses: StimulusResponses) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Return the direction of drift (degrees, 0 to 315) with the largest mean response."""
    return preferred_value(responses, "orientation")


@built_in_metric("pref_tf_dg", "pref_tf_multi_dg", stimulus=DRIFTING_GRATINGS, flags=["pref_tf_multi_dg"])
def preferred_temporal_frequency(responses: StimulusResponses) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Return the temporal frequency (Hz) with the largest mean response."""
    return preferred_value(responses, "temporal_frequency")


@built_in_metric("c50_dg", stimulus=DRIFTING_GRATINGS)
def contrast_at_half_maximum(responses: StimulusResponses) -> NDArray[np.float64]:
    """Return the semi-saturation contrast at the preferred direction, from the contrast stimulus.

    Release: the direction must be one of those of the contrast stimulus (0 to 135), so units that prefer 180 to 315
    have none; see :func:`c50`. Corrected: the direction is taken modulo 180, and the fit is bounded; see
    :func:`semi_saturation`. NaN if the session has no contrast stimulus.
    """
    values = np.full(responses.n_units, np.nan)
    contrast = responses.sibling(CONTRAST)
    if contrast is None:
        return values
    direction, _ = preferred_value(responses, "orientation")
    if responses.corrected:
        direction = direction % 180
    shown, level = contrast.design.parameter("orientation"), contrast.design.parameter("contrast")
    for angle in np.unique(direction[np.isfinite(direction)]):
        conditions = np.flatnonzero((shown == angle) & np.isfinite(level))
        conditions = conditions[np.argsort(level[conditions], kind="stable")]
        units = np.flatnonzero(direction == angle)
        means = contrast.condition_means[np.ix_(units, conditions)]
        if responses.corrected:
            values[units] = semi_saturation(level[conditions], means)
        else:
            with ThreadPoolExecutor(max(threads(), 1)) as pool:
                values[units] = list(pool.map(c50, [level[conditions]] * len(units), means))
    return values


@built_in_metric("f1_f0_dg", stimulus=DRIFTING_GRATINGS)
def harmonic_modulation(responses: StimulusResponses) -> NDArray[np.float64]:
    """Return F1 / F0 of the trials of the preferred condition.

    Release: :func:`f1_f0`, at the wrong frequency. Corrected: :func:`harmonic_ratio`, at the grating's.
    """
    frequency = preferred_parameter(responses, "temporal_frequency")
    edges = responses.histogram_edges
    last_centre = edges[-2] + (edges[-1] - edges[-2]) / 2
    values = np.empty(responses.n_units)
    for unit in range(responses.n_units):
        trials = responses.trial_histograms(unit)
        if responses.corrected:
            values[unit] = harmonic_ratio(trials, frequency[unit], HISTOGRAM_BIN)
        else:
            values[unit] = f1_f0(trials, frequency[unit], last_centre)
    return values


@built_in_metric("mod_idx_dg", stimulus=DRIFTING_GRATINGS)
def power_modulation(responses: StimulusResponses) -> NDArray[np.float64]:
    """Return :func:`modulation_index` of the mean histogram of the preferred condition.

    Release: spectrum of segments of 1024 ms, next frequency bin above; 0 for silent units. Corrected: one segment of
    the whole presentation, whose bins lie at the gratings' frequencies; NaN for silent units.
    """
    frequency = preferred_parameter(responses, "temporal_frequency")
    histogram = responses.preferred_histogram
    if not responses.corrected:
        return modulation_index(histogram, frequency, 1 / HISTOGRAM_BIN)
    index = modulation_index(histogram, frequency, 1 / HISTOGRAM_BIN, nearest=True, segment=histogram.shape[1])
    return np.where(responses.silent, np.nan, index)


@built_in_metric("g_osi_dg", stimulus=DRIFTING_GRATINGS)
def orientation_selectivity(responses: StimulusResponses) -> NDArray[np.float64]:
    """Return the global orientation selectivity at the preferred temporal frequency."""
    return _selectivity(responses)[0]


@built_in_metric("g_dsi_dg", stimulus=DRIFTING_GRATINGS)
def direction_selectivity(responses: StimulusResponses) -> NDArray[np.float64]:
    """Return the global direction selectivity at the preferred temporal frequency.

    Corrected: NaN where no two directions are opposite (Functional Connectivity shows 0 to 135 degrees only).
    """
    return _selectivity(responses)[1]


def _selectivity(responses: StimulusResponses) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    result: tuple[NDArray[np.float64], NDArray[np.float64]] = responses.once(
        "grating_selectivity", _compute_selectivity
    )
    return result


def _compute_selectivity(responses: StimulusResponses) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return orientation and direction selectivity, (units,) each.

    All directions must have been shown at the preferred temporal frequency, each in one condition, or both are NaN.
    In the release definition that makes every unit of a Functional Connectivity session NaN, whose four directions
    come in two contrasts; the corrected definition takes the higher contrast.
    """
    design = responses.design
    osi, dsi = np.full(responses.n_units, np.nan), np.full(responses.n_units, np.nan)
    directions = design.values("orientation")
    angle, frequency = design.parameter("orientation"), design.parameter("temporal_frequency")
    candidates = ~design.blank
    if responses.corrected and len(design.values("contrast")) > 1:
        candidates &= design.parameter("contrast") == design.values("contrast").max()
    opposite = bool(np.isin((directions + 180) % 360, directions).any())
    preferred, _ = preferred_value(responses, "temporal_frequency")
    for value in np.unique(preferred[np.isfinite(preferred)]):
        conditions = np.flatnonzero(candidates & (frequency == value))
        conditions = conditions[np.argsort(angle[conditions], kind="stable")]
        if not np.array_equal(angle[conditions], directions):
            continue
        units = np.flatnonzero(preferred == value)
        means = responses.condition_means[np.ix_(units, conditions)]
        theta = np.deg2rad(directions)
        osi[units] = global_orientation_selectivity(theta, means)
        if opposite or not responses.corrected:
            dsi[units] = global_direction_selectivity(theta, means)
    return osi, dsi


add_trial_metrics("dg", DRIFTING_GRATINGS, fano="fano", has_peak=False)
