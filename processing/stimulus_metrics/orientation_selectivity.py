"""Global orientation and direction selectivity: the length of the vector sum of responses over directions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def global_orientation_selectivity(angles: ArrayLike, responses: ArrayLike) -> NDArray[np.float64]:
    """Return |sum r exp(2 i angle)| / sum r along the last axis (Ringach et al., J Neurosci 22:5639, 2002).

    Parameters
    ----------
    angles
        (conditions,) radians.
    responses
        (..., conditions) mean responses.

    Returns
    -------
    numpy.ndarray
        (...,) 0 to 1; NaN without angles, without responses, or where their numbers differ.
    """
    return _vector_strength(angles, responses, 2)


def global_direction_selectivity(angles: ArrayLike, responses: ArrayLike) -> NDArray[np.float64]:
    """Return |sum r exp(i angle)| / sum r along the last axis; see :func:`global_orientation_selectivity`."""
    return _vector_strength(angles, responses, 1)


def _vector_strength(angles: ArrayLike, responses: ArrayLike, harmonic: int) -> NDArray[np.float64]:
    theta, values = np.asarray(angles, dtype=np.float64), np.asarray(responses, dtype=np.float64)
    strength = np.full(values.shape[:-1], np.nan)
    if not theta.size or values.shape[-1:] != theta.shape:
        return strength
    total = values.sum(axis=-1)
    vector = np.abs((values * np.exp(1j * harmonic * theta)).sum(axis=-1))
    np.divide(vector, total, out=strength, where=total != 0)
    return strength
