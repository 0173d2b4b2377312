"""The contrast at which a unit's response is half of its largest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .levenberg_marquardt import SIGMOID, fit_curve, residuals

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: Points at which the release evaluates its fitted curve.
CURVE_POINTS = 256
_EVALUATIONS = 100_000
#: Exponents and refinements searched by the corrected fit.
_EXPONENTS = np.linspace(0.5, 6.0, 23)
_REFINEMENTS = 16


def c50(contrasts: ArrayLike, responses: ArrayLike) -> float:
    """Return the released semi-saturation contrast of one unit.

    A four-parameter logistic in log contrast, c + (d - c) / (1 + exp(b (ln x - ln e))), is fitted from (1, 1, 1, 1)
    without bounds; c50 is the first of 256 contrasts (0.9 times the lowest to 1.1 times the highest), sorted by the
    fitted response, whose response is not below the middle of its range. The result is therefore quantised (0.0043
    for the released contrasts), and spurious for a response that does not vary: :func:`semi_saturation` mends it.

    Returns
    -------
    float
        NaN without responses, or where the fit does not converge.
    """
    x, y = np.asarray(contrasts, dtype=np.float64), np.asarray(responses, dtype=np.float64)
    if not x.size or x.shape != y.shape or len(x) < 4 or not np.isfinite(y).all():
        return float("nan")
    fit, converged = fit_curve(SIGMOID, np.ones(4), np.log(x)[:, None], y, _EVALUATIONS)
    if not converged:
        return float("nan")
    grid = np.linspace(x.min() * 0.9, x.max() * 1.1, CURVE_POINTS)
    curve = np.empty(CURVE_POINTS)
    residuals(SIGMOID, fit, np.log(grid)[:, None], np.zeros(CURVE_POINTS), curve)
    order = np.argsort(curve)
    place = np.searchsorted(curve[order], (curve.max() + curve.min()) / 2)
    return float(grid[order][place]) if place < CURVE_POINTS else float("nan")


def semi_saturation(contrasts: ArrayLike, responses: ArrayLike) -> NDArray[np.float64]:
    """Return the semi-saturation contrast of many units by a bounded fit (definition ``"corrected"``).

    r(c) = r0 + rmax c^n / (c^n + c50^n) (Naka and Rushton 1966; Albrecht and Hamilton, J Neurophysiol 48:217, 1982)
    with rmax >= 0, n from 0.5 to 6 and c50 within the contrasts shown. For each (c50, n) the best r0 and rmax follow
    by linear least squares, so the search is over a grid in log c50 and n, refined around its best point: it has no
    starting point, and cannot fail to converge.

    Parameters
    ----------
    contrasts
        (contrasts,) all > 0.
    responses
        (units, contrasts).

    Returns
    -------
    numpy.ndarray
        (units,) NaN for units whose response does not vary or does not rise with contrast, and with fewer than four
        contrasts.
    """
    x, y = np.asarray(contrasts, dtype=np.float64), np.asarray(responses, dtype=np.float64)
    result = np.full(len(y), np.nan)
    if len(x) < 4 or not len(y) or not (x > 0).all():
        return result
    low, high = np.log(x.min()), np.log(x.max())
    step_c, step_n = (high - low) / 48, _EXPONENTS[1] - _EXPONENTS[0]
    log_c, exponent = np.meshgrid(np.linspace(low, high, 49), _EXPONENTS, indexing="ij")
    best_c, best_n, explained = _best_on_grid(
        x, y, np.broadcast_to(log_c.ravel(), (1, log_c.size)), np.broadcast_to(exponent.ravel(), (1, log_c.size))
    )
    around = np.linspace(-1, 1, 9)
    offset_c, offset_n = (grid.ravel() for grid in np.meshgrid(around, around, indexing="ij"))
    for _ in range(_REFINEMENTS):
        near_c = np.clip(best_c[:, None] + step_c * offset_c, low, high)
        near_n = np.clip(best_n[:, None] + step_n * offset_n, _EXPONENTS[0], _EXPONENTS[-1])
        best_c, best_n, explained = _best_on_grid(x, y, near_c, near_n)
        step_c, step_n = step_c / 1.6, step_n / 1.6  # slowly: valleys of the error are long and bent
    rises = (explained > 0) & (y.max(axis=1) > y.min(axis=1))
    result[rises] = np.exp(best_c[rises])
    return result


def _best_on_grid(
    x: NDArray[np.float64], y: NDArray[np.float64], log_c: NDArray[np.float64], exponent: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return c50 (log), exponent and explained sum of squares of the best of each unit's candidates."""
    shape = 1 / (
        1 + np.exp(exponent[..., None] * (log_c[..., None] - np.log(x)))
    )  # (units or 1, candidates, contrasts)
    shape = shape - shape.mean(axis=-1, keepdims=True)
    centred = y - y.mean(axis=1, keepdims=True)
    covariance = centred @ shape[0].T if len(shape) == 1 else np.einsum("uc,ugc->ug", centred, shape)
    # a falling response is no contrast response: rmax >= 0
    explained = np.maximum(covariance, 0.0) ** 2 / (shape**2).sum(axis=-1)
    best = explained.argmax(axis=1)
    unit = np.arange(len(y))
    row = np.zeros(len(y), dtype=np.int64) if len(log_c) == 1 else unit
    return log_c[row, best], exponent[row, best], explained[unit, best]
