"""Tuning curves: mean response and its error over the values of the stimulus parameters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from allen_ecephys.errors import MissingDataError, UnknownNameError, suggest
from allen_ecephys.plotting.canvas import line_looks, rates_of_unit
from allen_ecephys.plotting.tuning_figures import parameter_label

from .receptive_field import new_axes
from .responses import Definition, SessionResponses

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from allen_ecephys.session.session import EcephysSession


def tuning_curves(
    session: EcephysSession | SessionResponses,
    stimulus: str = "drifting_gratings",
    parameters: Sequence[str] | None = None,
    unit_ids: Iterable[int] | None = None,
    *,
    definition: Definition = "corrected",
) -> xr.Dataset:
    """Return the mean rate of units for each combination of stimulus parameters.

    Parameters
    ----------
    session
        An open session.
    stimulus
        Which stimulus (``"drifting_gratings"``, ``"static_gratings"``, ``"drifting_gratings_contrast"``, ...).
    parameters
        Parameters to resolve; presentations are pooled over the others. All that vary if None.
    unit_ids
        Which units, all shown ones if None.
    definition
        Decides which spikes belong to a presentation, see ``StimulusResponses.counts``.

    Returns
    -------
    xarray.Dataset
        Over ``unit_id`` and each of `parameters`: ``rate`` (Hz) and ``sem`` (Hz, standard error over presentations, NaN
        for fewer than two). Over the parameters: ``presentations``, their number. Over ``unit_id``: ``blank_rate``
        (Hz), the rate during blank presentations, NaN without any. NaN for combinations that were not shown.

    Raises
    ------
    MissingDataError
        If the session did not show the stimulus, or none of its parameters varies.
    UnknownNameError
        For a parameter that the stimulus does not have.

    Examples
    --------
    >>> curves = tuning_curves(session, "drifting_gratings", ["orientation"])
    >>> curves["rate"].dims, curves["rate"].shape
    (('unit_id', 'orientation'), (40, 8))
    """
    ids = None if unit_ids is None else list(unit_ids)
    source = session if isinstance(session, SessionResponses) else SessionResponses.from_session(session, ids)
    responses = source.responses(stimulus, ids, definition=definition)
    design = responses.design
    varying = [name for name in design.stimulus.parameters if len(design.values(name)) > 1]
    names = varying if parameters is None else list(parameters)
    for name in names:
        if name not in design.conditions:
            known = [str(column) for column in design.conditions]
            msg = f"{stimulus} has no parameter {name!r}{suggest(name, known)}; it has {', '.join(known)}"
            raise UnknownNameError(msg)
    if not names:
        msg = f"no parameter of {stimulus} varies in this session, so there is no tuning to it"
        raise MissingDataError(msg)
    values = [design.values(name) for name in names]
    shape = tuple(len(found) for found in values)
    cell = _cells(design.conditions[names].to_numpy(), values, design.blank)[design.condition]
    rates = responses.counts / (design.stop - design.start)
    n = np.bincount(cell[cell >= 0], minlength=int(np.prod(shape)))
    mean, sem = (np.full((responses.n_units, len(n)), np.nan) for _ in range(2))
    for place in np.flatnonzero(n).tolist():
        trials = rates[:, cell == place]
        mean[:, place] = trials.mean(axis=1)
        if n[place] > 1:
            sem[:, place] = trials.std(axis=1, ddof=1) / np.sqrt(n[place])
    blank = rates[:, design.blank[design.condition]]
    blank_rate = blank.mean(axis=1) if blank.shape[1] else np.full(responses.n_units, np.nan)
    dims = ("unit_id", *names)
    return xr.Dataset(
        {
            "rate": (dims, mean.reshape(-1, *shape), {"units": "Hz"}),
            "sem": (dims, sem.reshape(-1, *shape), {"units": "Hz"}),
            "presentations": (tuple(names), n.reshape(shape)),
            "blank_rate": ("unit_id", blank_rate, {"units": "Hz"}),
        },
        coords={"unit_id": responses.unit_ids, **dict(zip(names, values, strict=True))},
        attrs={"stimulus": design.session_name, "definition": definition},
    )


def plot_tuning_curve(curves: xr.Dataset, unit_id: int, parameter: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw one unit's tuning to one parameter, with standard errors; one line for each value of another parameter.

    Parameters
    ----------
    curves
        From :func:`tuning_curves`. Parameters beyond the second are averaged over.
    unit_id
        Which unit.
    parameter
        Parameter along the x axis, the first if None.
    ax
        Where to draw; a new figure if None.

    Raises
    ------
    UnknownIdError
        If `curves` does not have the unit.
    InvalidTypeError
        If the id is no whole number, or there are no rates.
    UnknownNameError
        If `curves` does not have the parameter.
    MissingExtraError
        If matplotlib is not installed.

    Examples
    --------
    >>> curves = tuning_curves(session, "drifting_gratings", ["orientation"])
    >>> ax = plot_tuning_curve(curves, int(curves.unit_id[0]))
    >>> ax.get_xlabel()
    'orientation (degrees)'
    """
    unit = rates_of_unit(curves, unit_id, "these tuning curves")
    names = [str(dim) for dim in curves["rate"].dims if dim != "unit_id"]
    along = names[0] if parameter is None else parameter
    if along not in names:
        meant = suggest(along, names) or "."
        msg = f"these tuning curves have no parameter {along!r}{meant} They have: {', '.join(names)}"
        raise UnknownNameError(msg)
    axes = ax if ax is not None else new_axes("Plotting a tuning curve")
    others = [name for name in names if name != along]
    if len(others) > 1:
        pooled = others[1:]
        # The standard error of a mean of n independent means is the root of their summed squares over n.
        error = np.sqrt((unit["sem"] ** 2).sum(pooled, skipna=False)) / np.prod([unit.sizes[name] for name in pooled])
        unit = unit.mean(pooled).assign(sem=error)
    lines = [unit] if not others else [unit.sel({others[0]: value}) for value in unit[others[0]].to_numpy()]
    looks = line_looks(np.arange(len(lines)) if not others else unit[others[0]].to_numpy())
    for line, look in zip(lines, looks, strict=True):
        axes.errorbar(
            line[along], line["rate"], yerr=line["sem"], marker="o", markersize=3, capsize=2,
            label=f"{float(line[others[0]]):g}" if others else None, **look,
        )  # fmt: skip
    if np.isfinite(float(unit["blank_rate"])):
        axes.axhline(float(unit["blank_rate"]), color="gray", linestyle=":", label="blank")
    if axes.get_legend_handles_labels()[1]:
        # Beside the lines: whatever is tuned may peak in any corner.
        axes.legend(
            title=parameter_label(others[0]).replace(" (", "\n(") if others else None, fontsize="small",
            title_fontsize="small", frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5),
        )  # fmt: skip
    axes.set(
        xlabel=parameter_label(along),
        ylabel="firing rate (Hz), mean and SEM",
        title=f"unit {int(unit['unit_id'])}, {curves.attrs['stimulus']}",
    )
    axes.set_ylim(bottom=0)
    return axes


def _cells(
    conditions: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    values: list[np.ndarray[tuple[int], np.dtype[np.float64]]],
    blank: np.ndarray[tuple[int], np.dtype[np.bool_]],
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the flat place of each condition on the grid of parameter values; -1 for blanks and missing values."""
    usable = ~blank & np.isfinite(conditions).all(axis=1)
    cell = np.full(len(conditions), -1, dtype=np.int64)
    places = [np.searchsorted(found, conditions[usable, i]) for i, found in enumerate(values)]
    cell[usable] = np.ravel_multi_index(places, [len(found) for found in values])
    return cell
