"""Least squares in compiled code: the two curves that are fitted to every unit.

The algorithm is that of Moré (in *Numerical Analysis*, Lecture Notes in Mathematics 630, 1978) with the constants of
MINPACK's ``lmdif`` as SciPy's ``leastsq`` calls it, because the released metrics were made with that and depend on it
where a fit is ill-posed.

Why not ``leastsq`` itself: on the fits of two simulated sessions (300 contrast curves, 524 receptive fields; processor
time, one thread) it took 142 ms a logistic and 12 ms a Gaussian, against 8.5 and 1.6 ms here: 17 and 7 times as long,
minutes more for a session of 2,000 units, most of them in unbounded fits that run on to their limit of evaluations; and
compiled fits share threads. Well-posed fits agree with it to 1e-7 (under test).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

#: Curves: c + (d - c) / (1 + exp(b (x - ln e))), parameters [b, c, d, e], x a log contrast ...
SIGMOID = 0
#: ... and h exp(-((y0 - y) / sy)^2 / 2 - ((x0 - x) / sx)^2 / 2) + baseline, parameters [h, y0, x0, sy, sx, (baseline)].
GAUSSIAN = 1

_EPSILON = float(np.finfo(np.float64).eps)
_TINY = float(np.finfo(np.float64).tiny)
#: Tolerances on cost and step, and the first step bound, of ``leastsq``.
_TOLERANCE = 1.49012e-8
_FACTOR = 100.0


@njit(cache=True, nogil=True, error_model="numpy")  # a width of 0 gives NaN, as in array arithmetic, no exception
def residuals(
    curve: int, p: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64], out: NDArray[np.float64]
) -> None:
    """Set `out` (points,) to curve minus data.

    `x` is (points, 1) log contrasts, or (points, 2) row and column; `y` is (points,).
    """
    if curve == SIGMOID:
        log_e = np.log(p[3])
        for i in range(len(y)):
            out[i] = p[1] + (p[2] - p[1]) / (1 + np.exp(p[0] * (x[i, 0] - log_e))) - y[i]
        return
    baseline = p[5] if len(p) > 5 else 0.0
    for i in range(len(y)):
        dy, dx = (p[1] - x[i, 0]) / p[3], (p[2] - x[i, 1]) / p[4]
        out[i] = p[0] * np.exp(-(dy * dy + dx * dx) / 2) + baseline - y[i]


@njit(cache=True, nogil=True, error_model="numpy")
def _norm(v: NDArray[np.float64]) -> float:
    largest = 0.0
    for value in v:
        if not abs(value) <= largest:  # also NaN, which then stays
            largest = abs(value)
    if largest == 0:
        return 0.0
    total = 0.0
    for value in v:
        total += (value / largest) ** 2  # scaled: steps of an unbounded fit may overflow when squared
    return float(largest * np.sqrt(total))


@njit(cache=True, nogil=True, error_model="numpy")
def _factor(
    jac: NDArray[np.float64], pivot: NDArray[np.int64], rdiag: NDArray[np.float64], column_norms: NDArray[np.float64]
) -> None:
    """Factor `jac` into Q R with column pivoting, in place: R above the diagonal, Householder vectors below it."""
    m, n = jac.shape
    for j in range(n):
        column_norms[j] = _norm(jac[:, j])
        rdiag[j] = column_norms[j]
        pivot[j] = j
    remaining = rdiag.copy()
    for j in range(min(m, n)):
        largest = j
        for k in range(j, n):
            if rdiag[k] > rdiag[largest]:
                largest = k
        if largest != j:
            for i in range(m):
                jac[i, j], jac[i, largest] = jac[i, largest], jac[i, j]
            rdiag[largest] = rdiag[j]
            remaining[largest] = remaining[j]
            pivot[j], pivot[largest] = pivot[largest], pivot[j]
        length = _norm(jac[j:, j])
        if length != 0:
            if jac[j, j] < 0:
                length = -length
            for i in range(j, m):
                jac[i, j] /= length
            jac[j, j] += 1.0
            for k in range(j + 1, n):
                total = 0.0
                for i in range(j, m):
                    total += jac[i, j] * jac[i, k]
                share = total / jac[j, j]
                for i in range(j, m):
                    jac[i, k] -= share * jac[i, j]
                if rdiag[k] != 0:
                    ratio = jac[j, k] / rdiag[k]
                    rdiag[k] *= np.sqrt(max(0.0, 1 - ratio * ratio))
                    if 0.05 * (rdiag[k] / remaining[k]) ** 2 <= _EPSILON:
                        rdiag[k] = _norm(jac[j + 1 :, k])
                        remaining[k] = rdiag[k]
        rdiag[j] = -length


@njit(cache=True, nogil=True, error_model="numpy")
def _solve_damped(
    r: NDArray[np.float64], pivot: NDArray[np.int64], damping: NDArray[np.float64], qtb: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the least-squares solution of [R P'; D] x = [Q'b; 0], and R of the whole (lower triangle, diagonal)."""
    n = len(pivot)
    s = r.copy()
    for j in range(n):
        for i in range(j, n):
            s[i, j] = r[j, i]
    rhs = qtb.copy()
    sdiag = np.zeros(n)
    diagonal = np.empty(n)
    for j in range(n):
        diagonal[j] = r[j, j]
    for j in range(n):
        if damping[pivot[j]] != 0:
            sdiag[j:] = 0.0
            sdiag[j] = damping[pivot[j]]
            extra = 0.0
            for k in range(j, n):
                if sdiag[k] == 0:
                    continue
                if abs(s[k, k]) < abs(sdiag[k]):
                    cotangent = s[k, k] / sdiag[k]
                    sine = 0.5 / np.sqrt(0.25 + 0.25 * cotangent * cotangent)
                    cosine = sine * cotangent
                else:
                    tangent = sdiag[k] / s[k, k]
                    cosine = 0.5 / np.sqrt(0.25 + 0.25 * tangent * tangent)
                    sine = cosine * tangent
                s[k, k] = cosine * s[k, k] + sine * sdiag[k]
                rotated = cosine * rhs[k] + sine * extra
                extra = -sine * rhs[k] + cosine * extra
                rhs[k] = rotated
                for i in range(k + 1, n):
                    rotated = cosine * s[i, k] + sine * sdiag[i]
                    sdiag[i] = -sine * s[i, k] + cosine * sdiag[i]
                    s[i, k] = rotated
        sdiag[j] = s[j, j]
        s[j, j] = diagonal[j]
    rank = n
    for j in range(n):
        if sdiag[j] == 0 and rank == n:
            rank = j
        if rank < n:
            rhs[j] = 0.0
    for j in range(rank - 1, -1, -1):
        total = 0.0
        for i in range(j + 1, rank):
            total += s[i, j] * rhs[i]
        rhs[j] = (rhs[j] - total) / sdiag[j]
    solution = np.empty(n)
    for j in range(n):
        solution[pivot[j]] = rhs[j]
    return solution, s, sdiag


@njit(cache=True, nogil=True, error_model="numpy")
def _damped_step(
    r: NDArray[np.float64],
    pivot: NDArray[np.int64],
    scale: NDArray[np.float64],
    qtb: NDArray[np.float64],
    bound: float,
    par: float,
) -> tuple[NDArray[np.float64], float]:
    """Return the step whose scaled length is within a tenth of `bound`, and the damping that gives it."""
    n = len(pivot)
    rank = n
    newton = qtb.copy()
    for j in range(n):
        if r[j, j] == 0 and rank == n:
            rank = j
        if rank < n:
            newton[j] = 0.0
    for j in range(rank - 1, -1, -1):
        newton[j] /= r[j, j]
        for i in range(j):
            newton[i] -= r[i, j] * newton[j]
    step = np.empty(n)
    for j in range(n):
        step[pivot[j]] = newton[j]
    scaled = scale * step
    length = _norm(scaled)
    excess = length - bound
    if excess <= 0.1 * bound:
        return step, 0.0
    w = np.empty(n)
    lowest = 0.0
    if rank == n:
        for j in range(n):
            w[j] = scale[pivot[j]] * (scaled[pivot[j]] / length)
        for j in range(n):
            total = 0.0
            for i in range(j):
                total += r[i, j] * w[i]
            w[j] = (w[j] - total) / r[j, j]
        norm = _norm(w)
        lowest = excess / bound / norm / norm
    for j in range(n):
        total = 0.0
        for i in range(j + 1):
            total += r[i, j] * qtb[i]
        w[j] = total / scale[pivot[j]]
    gradient = _norm(w)
    highest = gradient / bound
    if highest == 0:
        highest = _TINY / min(bound, 0.1)
    par = min(max(par, lowest), highest)
    if par == 0:
        par = gradient / length
    for iteration in range(1, 11):
        if par == 0:
            par = max(_TINY, 0.001 * highest)
        step, s, sdiag = _solve_damped(r, pivot, np.sqrt(par) * scale, qtb)
        scaled = scale * step
        length = _norm(scaled)
        before, excess = excess, length - bound
        if abs(excess) <= 0.1 * bound or (lowest == 0 and excess <= before and before < 0) or iteration == 10:
            break
        for j in range(n):
            w[j] = scale[pivot[j]] * (scaled[pivot[j]] / length)
        for j in range(n):
            w[j] /= sdiag[j]
            for i in range(j + 1, n):
                w[i] -= s[i, j] * w[j]
        norm = _norm(w)
        correction = excess / bound / norm / norm
        if excess > 0:
            lowest = max(lowest, par)
        if excess < 0:
            highest = min(highest, par)
        par = max(lowest, par + correction)
    return step, par


@njit(cache=True, nogil=True, error_model="numpy")
def _differentiate(
    curve: int,
    p: NDArray[np.float64],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    f: NDArray[np.float64],
    jac: NDArray[np.float64],
    trial: NDArray[np.float64],
) -> None:
    """Set `jac` (points, parameters) to forward differences of the residuals `f` at `p`."""
    difference = np.sqrt(_EPSILON)
    for j in range(len(p)):
        kept = p[j]
        h = difference * abs(kept)
        if h == 0:
            h = difference
        p[j] = kept + h
        residuals(curve, p, x, y, trial)
        p[j] = kept
        for i in range(len(f)):
            jac[i, j] = (trial[i] - f[i]) / h


@njit(cache=True, nogil=True, error_model="numpy")
def _rotate(jac: NDArray[np.float64], rdiag: NDArray[np.float64], f: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the first entries of Q'f, and put the diagonal of R in its place in the factored `jac`."""
    m, n = jac.shape
    qtf = np.empty(n)
    rest = f.copy()
    for j in range(n):
        if jac[j, j] != 0:
            total = 0.0
            for i in range(j, m):
                total += jac[i, j] * rest[i]
            share = -total / jac[j, j]
            for i in range(j, m):
                rest[i] += jac[i, j] * share
        jac[j, j] = rdiag[j]
        qtf[j] = rest[j]
    return qtf


@njit(cache=True, nogil=True, error_model="numpy")
def _largest_cosine(
    r: NDArray[np.float64],
    pivot: NDArray[np.int64],
    column_norms: NDArray[np.float64],
    qtf: NDArray[np.float64],
    norm: float,
) -> float:
    """Return the largest cosine between the residuals and a column of the Jacobian: 0 at an optimum."""
    cosine = 0.0
    if norm != 0:
        for j in range(len(pivot)):
            if column_norms[pivot[j]] != 0:
                total = 0.0
                for i in range(j + 1):
                    total += r[i, j] * (qtf[i] / norm)
                cosine = max(cosine, abs(total / column_norms[pivot[j]]))
    return cosine


@njit(cache=True, nogil=True, error_model="numpy")
def _predicted_norm(r: NDArray[np.float64], pivot: NDArray[np.int64], step: NDArray[np.float64]) -> float:
    """Return the length of the change of the residuals that the Jacobian predicts for a step."""
    change = np.zeros(len(pivot))
    for j in range(len(pivot)):
        for i in range(j + 1):
            change[i] += r[i, j] * step[pivot[j]]
    return float(_norm(change))


@njit(cache=True, nogil=True, error_model="numpy")
def fit_curve(
    curve: int, start: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64], max_evaluations: int
) -> tuple[NDArray[np.float64], bool]:
    """Fit a curve to points by least squares.

    Parameters
    ----------
    curve
        ``SIGMOID`` or ``GAUSSIAN``.
    start
        (parameters,) where to start.
    x, y
        Where the points are, (points, 1) or (points, 2), and their values, (points,).
    max_evaluations
        Evaluations of the curve after which the fit is given up.

    Returns
    -------
    parameters
        (parameters,) where the fit ended.
    converged
        Whether it ended by itself.
    """
    n, m = len(start), len(y)
    p = start.copy()
    f, trial = np.empty(m), np.empty(m)
    residuals(curve, p, x, y, f)
    evaluations = 1
    norm = _norm(f)
    if not np.isfinite(norm):
        return p, True  # nowhere to go: the released fits return their start and call it a success
    jac = np.empty((m, n))
    pivot, rdiag, column_norms = np.empty(n, dtype=np.int64), np.empty(n), np.empty(n)
    scale = np.ones(n)
    par, bound, p_norm = 0.0, 0.0, 0.0
    first = True
    while True:
        _differentiate(curve, p, x, y, f, jac, trial)
        evaluations += n
        _factor(jac, pivot, rdiag, column_norms)
        if first:
            for j in range(n):
                scale[j] = column_norms[j] if column_norms[j] != 0 else 1.0
            p_norm = _norm(scale * p)
            bound = _FACTOR * p_norm
            if bound == 0:
                bound = _FACTOR
        qtf = _rotate(jac, rdiag, f)
        cosine = _largest_cosine(jac, pivot, column_norms, qtf, norm)
        if cosine <= 0:
            return p, True
        for j in range(n):
            scale[j] = max(scale[j], column_norms[j])
        r = jac[:n, :].copy()
        while True:
            step, par = _damped_step(r, pivot, scale, qtf, bound, par)
            step = -step
            moved = p + step
            step_norm = _norm(scale * step)
            if first:
                bound = min(bound, step_norm)
            residuals(curve, moved, x, y, trial)
            evaluations += 1
            trial_norm = _norm(trial)
            actual = -1.0
            if 0.1 * trial_norm < norm:
                actual = 1 - (trial_norm / norm) ** 2
            linear = _predicted_norm(r, pivot, step) / norm
            damped = np.sqrt(par) * step_norm / norm
            predicted = linear * linear + damped * damped / 0.5
            slope = -(linear * linear + damped * damped)
            ratio = actual / predicted if predicted != 0 else 0.0
            if ratio <= 0.25:
                shrink = 0.5 if actual >= 0 else 0.5 * slope / (slope + 0.5 * actual)
                if 0.1 * trial_norm >= norm or shrink < 0.1:
                    shrink = 0.1
                bound = shrink * min(bound, step_norm / 0.1)
                par /= shrink
            elif par == 0 or ratio >= 0.75:
                bound = step_norm / 0.5
                par *= 0.5
            if ratio >= 1e-4:
                p = moved
                f[:] = trial
                p_norm = _norm(scale * p)
                norm = trial_norm
                first = False
            if abs(actual) <= _TOLERANCE and predicted <= _TOLERANCE and 0.5 * ratio <= 1:
                return p, True
            if bound <= _TOLERANCE * p_norm:
                return p, True
            if evaluations >= max_evaluations:
                return p, False
            if abs(actual) <= _EPSILON and predicted <= _EPSILON and 0.5 * ratio <= 1:
                return p, False
            if bound <= _EPSILON * p_norm or cosine <= _EPSILON:
                return p, False
            if ratio >= 1e-4:
                break
