"""The list of metrics, and how to add one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from allen_ecephys.errors import InvalidValueError, UnknownNameError, suggest

from .responses import StimulusResponses
from .stimuli import STIMULI, Stimulus, get_stimulus

#: A metric: responses of some units to one stimulus -> one value a unit, or one array for each of its columns.
MetricFunction = Callable[[StimulusResponses], Any]
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Metric:
    """A function from the responses to a stimulus to one or several columns.

    Attributes
    ----------
    columns
        Names of the columns it makes.
    stimulus
        The stimulus whose responses it is given.
    function
        Takes :class:`StimulusResponses`; returns an array of length ``n_units``, or one for each column.
    flags
        Columns that are True or False.
    built_in
        Whether the metric comes with the package.

    Examples
    --------
    >>> peak = next(metric for metric in registered_metrics() if "time_to_peak_fl" in metric.columns)
    >>> peak.columns, peak.stimulus.name, peak.built_in
    (('time_to_peak_fl',), 'flashes', True)
    """

    columns: tuple[str, ...]
    stimulus: Stimulus
    function: MetricFunction
    flags: tuple[str, ...] = ()
    built_in: bool = False


_METRICS: list[Metric] = []


def metric(*columns: str, stimulus: str | Stimulus, flags: Sequence[str] = ()) -> Callable[[Function], Function]:
    """Add a metric of one's own to every table computed from now on in this process.

    The function is given the responses of a block of units (:class:`StimulusResponses`) and returns one value a unit;
    with several `columns`, one array for each. The decorated function stays an ordinary function.

    Parameters
    ----------
    columns
        Names of the columns the function makes.
    stimulus
        Name of the stimulus whose responses it needs (``"drifting_gratings"``, ...).
    flags
        Those of the columns that are True or False.

    Raises
    ------
    UnknownNameError
        If there is no such stimulus, or a flag is no column.
    InvalidValueError
        If no column is named, or a column is taken already.

    Examples
    --------
    >>> @metric("peak_count_ns", stimulus="natural_scenes")
    ... def peak_count(responses):
    ...     return responses.condition_means.max(axis=1)
    >>> metric_columns()[-1]
    'peak_count_ns'
    >>> remove_metric("peak_count_ns")
    """
    return _register(columns, stimulus, flags, built_in=False)


def built_in_metric(
    *columns: str, stimulus: str | Stimulus, flags: Sequence[str] = ()
) -> Callable[[Function], Function]:
    """Register a metric of this package; see :func:`metric`."""
    return _register(columns, stimulus, flags, built_in=True)


def registered_metrics() -> tuple[Metric, ...]:
    """Return all metrics in the order of their columns: those of the package by stimulus, then added ones.

    Examples
    --------
    >>> registered_metrics()[0].columns
    ('pref_ori_dg', 'pref_ori_multi_dg')
    """
    order = list(STIMULI)
    return tuple(
        sorted(_METRICS, key=lambda found: (0, order.index(found.stimulus.name)) if found.built_in else (1, 0))
    )


def user_metrics() -> tuple[Metric, ...]:
    """Return the metrics that were added with :func:`metric`."""
    return tuple(found for found in _METRICS if not found.built_in)


def metric_columns() -> list[str]:
    """Return the names of all columns, in order.

    Examples
    --------
    >>> metric_columns()[:3]
    ['pref_ori_dg', 'pref_ori_multi_dg', 'pref_tf_dg']
    """
    return [column for found in registered_metrics() for column in found.columns]


def remove_metric(column: str) -> None:
    """Take the user's metric that makes `column` off the list.

    Raises
    ------
    UnknownNameError
        If no metric that was added by a user makes that column.

    Examples
    --------
    >>> @metric("most_ns", stimulus="natural_scenes")
    ... def most(responses):
    ...     return responses.condition_means.max(axis=1)
    >>> remove_metric("most_ns")
    >>> "most_ns" in metric_columns()
    False
    """
    for found in user_metrics():
        if column in found.columns:
            _METRICS.remove(found)
            return
    known = [name for found in user_metrics() for name in found.columns]
    msg = f"no added metric makes the column {column!r}{suggest(column, known)}"
    raise UnknownNameError(msg)


def _register(
    columns: Iterable[str], stimulus: str | Stimulus, flags: Iterable[str], *, built_in: bool
) -> Callable[[Function], Function]:
    names = tuple(columns)
    if not names:
        msg = "a metric needs the name of the column it makes: @metric('my_metric_ns', stimulus='natural_scenes')"
        raise InvalidValueError(msg)
    kind = get_stimulus(stimulus) if isinstance(stimulus, str) else stimulus
    taken = [name for name in names if name in metric_columns() or names.count(name) > 1]
    if taken:
        msg = f"there is a metric with the column {taken[0]!r} already: choose another name, or remove_metric() it"
        raise InvalidValueError(msg)
    unknown = [flag for flag in flags if flag not in names]
    if unknown:
        msg = f"the flag {unknown[0]!r} is not among the columns {', '.join(names)}"
        raise UnknownNameError(msg)

    def add(function: Function) -> Function:
        _METRICS.append(Metric(names, kind, function, tuple(flags), built_in))
        return function

    return add
