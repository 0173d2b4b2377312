"""Metrics of natural scenes (``_ns``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .registry import built_in_metric
from .responses import StimulusResponses
from .stimuli import NATURAL_SCENES
from .trial_metrics import add_trial_metrics

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: Thresholds at which the image selectivity is evaluated.
THRESHOLDS = 1000


def image_selectivity(responses: ArrayLike, *, nan_if_silent: bool = False) -> NDArray[np.float64]:
    """Return how few images drive a unit: 1 for a response to one of many images, 0 for evenly spread responses.

    1 - 2 <fraction of images above a threshold>, averaged over 1000 thresholds from the smallest to the largest
    response (Quian Quiroga et al., Nature 435:1102, 2005). Can be negative.

    Parameters
    ----------
    responses
        (units, images) or (images,) mean responses.
    nan_if_silent
        Whether a unit without any response has NaN (corrected) or 0 (release).

    Returns
    -------
    numpy.ndarray
        (units,) or scalar; NaN for fewer than two images, 0 if all responses are equal.
    """
    values = np.asarray(responses, dtype=np.float64)
    n = values.shape[-1]
    if n < 2:
        return np.full(values.shape[:-1], np.nan)
    rows = values.reshape(-1, n)
    selectivity = np.zeros(len(rows))
    for place, row in enumerate(np.sort(rows, axis=1)):
        low, high = row[0], row[-1]
        if high > low:
            thresholds = low + np.arange(THRESHOLDS) * ((high - low) / THRESHOLDS)
            above = 1 - np.searchsorted(row, thresholds, side="right") / n
            selectivity[place] = 1 - 2 * above.mean()
        elif nan_if_silent and high == 0:
            selectivity[place] = np.nan
    return selectivity.reshape(values.shape[:-1])


@built_in_metric("pref_image_ns", stimulus=NATURAL_SCENES)
def preferred_image(responses: StimulusResponses) -> NDArray[Any]:
    """Return the preferred image: in the release definition its stimulus condition id, in the corrected its index."""
    if responses.corrected:
        return preferred_image_index(responses)
    return responses.design.conditions.index.to_numpy(dtype=np.int64)[responses.preferred_condition]


@built_in_metric("pref_image_index_ns", stimulus=NATURAL_SCENES)
def preferred_image_index(responses: StimulusResponses) -> NDArray[Any]:
    """Return the index (0 to 117) of the preferred image; corrected: NaN for silent units."""
    frame = responses.design.parameter("frame")[responses.preferred_condition]
    if responses.corrected:
        frame = np.where(responses.silent, np.nan, frame)
    return frame if np.isnan(frame).any() else frame.astype(np.int64)


@built_in_metric("pref_image_multi_ns", stimulus=NATURAL_SCENES, flags=["pref_image_multi_ns"])
def several_preferred_images(responses: StimulusResponses) -> NDArray[Any]:
    """Return whether several images share the largest mean response."""
    means = responses.condition_means[:, responses.shown]
    if not means.shape[1]:
        return np.zeros(responses.n_units, dtype=bool)
    several = (means == means.max(axis=1, keepdims=True)).sum(axis=1) > 1
    return np.asarray(several & ~responses.silent if responses.corrected else several)


@built_in_metric("image_selectivity_ns", stimulus=NATURAL_SCENES)
def scene_selectivity(responses: StimulusResponses) -> NDArray[np.float64]:
    """Return :func:`image_selectivity` of the mean responses to all images."""
    return image_selectivity(responses.condition_means[:, responses.shown], nan_if_silent=responses.corrected)


add_trial_metrics("ns", NATURAL_SCENES)
