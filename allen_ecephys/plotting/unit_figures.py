"""Units: waveforms, where they lie, how well they are isolated, how they hold over the session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidValueError, UnknownIdError, UnknownNameError, suggest
from ..spikes.single_train import amplitude_over_time, autocorrelogram, rate_over_time
from ..units.filter import UnitFilter
from .canvas import COLORS, HIDDEN, INK, MARK, MOST_POINTS, SHOWN, axes_or_new, line_looks

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

#: How the axis of a quality metric is labelled, and where it ends: what lies beyond counts in the outermost bar.
QUALITY_METRICS: dict[str, tuple[str, float, float]] = {
    "presence_ratio": ("presence ratio", 0.0, 1.0),
    "isi_violations": ("ISI violations", 0.0, 2.0),
    "amplitude_cutoff": ("amplitude cutoff", 0.0, 0.5),
    "firing_rate": ("firing rate (Hz)", 0.0, 40.0),
    "snr": ("signal to noise", 0.0, 8.0),
    "d_prime": ("d'", 0.0, 10.0),
    "isolation_distance": ("isolation distance", 0.0, 200.0),
    "nn_hit_rate": ("nearest-neighbour hit rate", 0.0, 1.0),
    "max_drift": ("largest drift (\N{MICRO SIGN}m)", 0.0, 100.0),
}

#: Bound of :class:`UnitFilter` on a quality metric.
BOUNDS = {
    "presence_ratio": "presence_ratio_minimum",
    "isi_violations": "isi_violations_maximum",
    "amplitude_cutoff": "amplitude_cutoff_maximum",
}

#: Markers that tell structures apart once the colours are used up.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def plot_mean_waveforms(
    mean_waveforms: Mapping[int, xr.DataArray],
    unit_ids: Sequence[int],
    peak_channels: Mapping[int, int] | pd.Series[int],
    ax: Axes | None = None,
) -> Axes:
    """Draw the mean waveform of units on their peak channels.

    Parameters
    ----------
    mean_waveforms
        ``session.mean_waveforms``.
    unit_ids
        Units to draw.
    peak_channels
        Unit id -> channel id: ``session.units["peak_channel_id"]``.
    ax
        Where to draw; default a new figure.

    Examples
    --------
    >>> units = session.units.index[:3]
    >>> ax = plot_mean_waveforms(session.mean_waveforms, units, session.units["peak_channel_id"])
    >>> ax.get_ylabel()
    'mean waveform (µV)'
    """
    ax = axes_or_new(ax)
    for unit, look in zip(unit_ids, line_looks([str(unit) for unit in unit_ids]), strict=True):
        waveform = mean_waveforms[unit].sel(channel_id=peak_channels[unit])
        ax.plot(waveform["time"].to_numpy() * 1000, waveform.to_numpy(), linewidth=1.2, label=str(unit), **look)
    ax.set_xlabel("time (ms)")
    ax.set_ylabel("mean waveform (\N{MICRO SIGN}V)")
    if 1 <= len(unit_ids) <= 12:
        ax.legend(title="unit", fontsize="x-small", title_fontsize="x-small", frameon=False)
    return ax


def plot_waveform_on_probe(
    waveform: xr.DataArray, channels: pd.DataFrame, ax: Axes | None = None, *, n_channels: int = 12
) -> Axes:
    """Draw a unit's mean waveform where it was recorded: a trace at each of the contacts nearest to its peak.

    Parameters
    ----------
    waveform
        ``session.mean_waveforms[unit]``: channel_id x time (microvolts, s).
    channels
        ``session.channels``, for the positions of the contacts.
    ax
        Where to draw; default a new figure.
    n_channels
        How many contacts.

    Raises
    ------
    UnknownIdError
        If a channel of the waveform is not among `channels`.

    Examples
    --------
    >>> unit = session.units["firing_rate"].idxmax()
    >>> ax = plot_waveform_on_probe(session.mean_waveforms[unit], session.channels)
    >>> ax.get_ylabel()
    'along the probe (µm)'
    """
    place = contacts_near_peak(waveform, channels, n_channels)
    traces = waveform.isel(channel_id=place.index.to_numpy()).to_numpy()
    across, along = place["across"].to_numpy(), place["along"].to_numpy()
    duration = float(waveform["time"][-1] - waveform["time"][0])
    pitch_x, pitch_y = _pitch(across), _pitch(along)
    high = float(np.ptp(traces[0])) or 1.0
    ax = axes_or_new(ax)
    moment = (waveform["time"].to_numpy() - float(waveform["time"][0])) / (duration or 1.0) - 0.5
    for x, y, trace in zip(across, along, traces, strict=True):
        own = x == across[0] and y == along[0]
        color, width = (SHOWN, 1.4) if own else (INK, 0.8)
        ax.plot(x + 0.85 * pitch_x * moment, y + 1.6 * pitch_y * trace / high, color=color, linewidth=width)
    left, bottom = across.min() - 0.45 * pitch_x, along.min() - 1.5 * pitch_y
    ax.plot([left, left + 0.85 * pitch_x / (1000 * duration or 1.0)], [bottom, bottom], color=MARK, linewidth=1.5)
    ax.plot([left, left], [bottom, bottom + 1.6 * pitch_y * 100 / high], color=MARK, linewidth=1.5)
    ax.set_title("bars: 1 ms, 100 \N{MICRO SIGN}V", fontsize="small", loc="right")
    ax.set_xlabel("across the probe (\N{MICRO SIGN}m)")
    ax.set_ylabel("along the probe (\N{MICRO SIGN}m)")
    return ax


def contacts_near_peak(waveform: xr.DataArray, channels: pd.DataFrame, n_channels: int) -> pd.DataFrame:
    """Return positions of the contacts nearest to the peak of a waveform, the peak's own first.

    Returns
    -------
    DataFrame
        Index: row of the waveform; ``across`` and ``along`` (um).
    """
    import pandas as pd

    ids = waveform["channel_id"].to_numpy()
    rows = channels.index.get_indexer(pd.Index(ids))
    if (rows < 0).any():
        msg = f"channel {ids[rows < 0][0]} of the waveform is not among the {len(channels)} channels given"
        raise UnknownIdError(msg)
    axes = ("probe_horizontal_position", "probe_vertical_position")
    here = np.column_stack([channels[axis].to_numpy(np.float64)[rows] for axis in axes])
    peak = int(np.argmax(np.ptp(waveform.to_numpy(), axis=1)))
    nearest = np.argsort(np.hypot(*(here - here[peak]).T), kind="stable")[:n_channels]
    return pd.DataFrame({"across": here[nearest, 0], "along": here[nearest, 1]}, index=nearest)


def _pitch(positions: np.ndarray) -> float:
    """Return the smallest distance between different positions (um); 20 where all are one."""
    apart = np.diff(np.unique(positions))
    return float(apart.min()) if len(apart) else 20.0


def plot_units_on_probe(
    units: pd.DataFrame,
    ax: Axes | None = None,
    *,
    probe_id: int | None = None,
    against: str = "firing_rate",
    unit_filter: UnitFilter | None = None,
) -> Axes:
    """Draw the units of a probe by their depth, in colours of their brain structures.

    Parameters
    ----------
    units
        ``session.units``, or rows of it; with a `unit_filter`, all: ``session.with_units(UnitFilter.none()).units``.
    ax
        Where to draw; default a new figure.
    probe_id
        The probe; needed where `units` has several.
    against
        Column along the other axis, such as ``firing_rate``, ``snr`` or ``waveform_amplitude``.
    unit_filter
        Units that it hides are drawn grey, behind the others; default none are.

    Raises
    ------
    UnknownIdError
        If no unit is of this probe.
    InvalidValueError
        If there are several probes and none is chosen.
    UnknownNameError
        If there is no such column.

    Examples
    --------
    >>> ax = plot_units_on_probe(session.units, probe_id=probe_id)
    >>> ax.get_ylabel()
    'position on the probe (µm)'
    """
    probes = units["probe_id"].unique().tolist()
    if probe_id is None and len(probes) > 1:
        msg = f"choose one probe with probe_id: these units are of {', '.join(map(str, probes))}"
        raise InvalidValueError(msg)
    if probe_id is not None and probe_id not in probes:
        msg = f"none of these {len(units)} units is of probe {probe_id}; theirs are {', '.join(map(str, probes))}"
        raise UnknownIdError(msg)
    _check_column(units, against)
    everyone = units if probe_id is None else units[units["probe_id"] == probe_id]
    kept = np.ones(len(everyone), dtype=bool) if unit_filter is None else unit_filter.mask(everyone)
    here, hidden = everyone[kept], everyone[~kept]
    structures = here["ecephys_structure_acronym"].astype(object).where(here["ecephys_structure_acronym"].notna(), None)
    depth = here["probe_vertical_position"].groupby(structures.fillna("outside the brain")).median()
    ax = axes_or_new(ax)
    if len(hidden):
        x, y = hidden[against], hidden["probe_vertical_position"]
        ax.plot(x, y, "o", color=HIDDEN, markersize=3.5, markeredgewidth=0, label=f"hidden ({len(x)})", zorder=1)
    for place, name in enumerate(depth.sort_values(ascending=False).index):
        chosen = here[structures.fillna("outside the brain") == name]
        color, marker = COLORS[place % len(COLORS)], MARKERS[place // len(COLORS) % len(MARKERS)]
        x, y = chosen[against], chosen["probe_vertical_position"]
        ax.plot(x, y, marker, color=color, markersize=3.5, alpha=0.75, markeredgewidth=0, label=f"{name} ({len(x)})")
    along = everyone[against]
    if len(along) and (along > 0).all() and along.max() > 20 * along.min():
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter("")
    if len(everyone):
        ax.legend(fontsize="x-small", frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), handletextpad=0.2)
    ax.set_xlabel(QUALITY_METRICS.get(against, (against.replace("_", " "),))[0])
    ax.set_ylabel("position on the probe (\N{MICRO SIGN}m)")
    return ax


def plot_quality_metric(
    units: pd.DataFrame, metric: str, ax: Axes | None = None, *, unit_filter: UnitFilter | None = None
) -> Axes:
    """Draw the distribution of a quality metric, the units that a filter hides, and its bound on this metric.

    Parameters
    ----------
    units
        All units: ``session.with_units(UnitFilter.none()).units``.
    metric
        A column with numbers, such as ``presence_ratio``, ``isi_violations``, ``amplitude_cutoff`` or ``snr``.
    ax
        Where to draw; default a new figure.
    unit_filter
        What decides which units are shown; default ``UnitFilter()``.

    Raises
    ------
    UnknownNameError
        If there is no such column.

    Examples
    --------
    >>> everyone = session.with_units(UnitFilter.none())
    >>> ax = plot_quality_metric(everyone.units, "isi_violations", unit_filter=session.unit_filter)
    >>> ax.get_xlabel().splitlines()
    ['ISI violations', 'last bar: 2 and more']
    """
    _check_column(units, metric)
    unit_filter = UnitFilter() if unit_filter is None else unit_filter
    values = units[metric].to_numpy(dtype=np.float64, na_value=np.nan)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    label, low, high = QUALITY_METRICS.get(metric, (metric.replace("_", " "), low, high))
    beside = [f"last bar: {high:g} and more"] if len(finite) and finite.max() > high else []
    kept = unit_filter.mask(units)
    edges = np.linspace(low, high if high > low else low + 1, 41).tolist()
    clipped = np.clip(values, edges[0], edges[-1])
    ax = axes_or_new(ax)
    ax.hist([clipped[kept], clipped[~kept]], edges, color=[SHOWN, HIDDEN], stacked=True, label=["shown", "hidden"])
    bound = getattr(unit_filter, BOUNDS[metric]) if metric in BOUNDS else None
    if bound is not None:
        ax.axvline(bound, color=MARK, linewidth=1.2, label=f"bound: {bound:g}")
    without = int(np.isnan(values).sum())
    beside += [f"{without} unit{'s' * (without != 1)} without"] if without else []
    ax.set_xlabel("\n".join([label, *beside]))
    ax.set_ylabel("units")
    ax.legend(fontsize="x-small", frameon=False)
    ax.locator_params(axis="y", integer=True)
    return ax


def _check_column(units: pd.DataFrame, name: str) -> None:
    if name not in units:
        msg = f"the units have no column {name!r}{suggest(name, map(str, units.columns)) or '.'}"
        raise UnknownNameError(msg)


def plot_firing_rate(spike_times: ArrayLike, ax: Axes | None = None, *, bin_size: float = 60.0) -> Axes:
    """Draw a unit's firing rate over the session.

    Parameters
    ----------
    spike_times
        ``session.spike_times[unit]`` (s).
    ax
        Where to draw; default a new figure.
    bin_size
        Seconds in which spikes are counted; a little more or less, so that bins fill the time until the last spike.

    Examples
    --------
    >>> unit = session.units["firing_rate"].idxmax()
    >>> ax = plot_firing_rate(session.spike_times[unit], bin_size=30.0)
    >>> ax.get_ylabel()
    'firing rate (Hz)'
    """
    times = np.asarray(spike_times, dtype=np.float64)
    edges = _bins_over(times, bin_size)
    ax = axes_or_new(ax)
    ax.stairs(rate_over_time(times, edges), edges, baseline=None, color=SHOWN)
    ax.set_xlabel("time (s)")
    ax.set_ylabel("firing rate (Hz)")
    ax.set_ylim(bottom=0)
    return ax


def plot_spike_amplitudes(
    spike_times: ArrayLike, amplitudes: ArrayLike, ax: Axes | None = None, *, bin_size: float = 60.0
) -> Axes:
    """Draw the amplitude of a unit's spikes over the session: spikes as points, their mean as a line.

    A unit whose amplitudes sink towards the smallest ones that are detected loses spikes; one that drifts away changes
    both amplitude and rate.

    Parameters
    ----------
    spike_times, amplitudes
        ``session.spike_times[unit]`` (s) and ``session.spike_amplitudes[unit]`` (V).
    ax
        Where to draw; default a new figure.
    bin_size
        Seconds over which the line averages.

    Raises
    ------
    InvalidValueError
        If there are not as many amplitudes as spikes.

    Examples
    --------
    >>> unit = session.units["firing_rate"].idxmax()
    >>> ax = plot_spike_amplitudes(session.spike_times[unit], session.spike_amplitudes[unit])
    >>> ax.get_ylabel()
    'spike amplitude (µV)'
    """
    times = np.asarray(spike_times, dtype=np.float64)
    heights = np.asarray(amplitudes, dtype=np.float64) * 1e6
    edges = _bins_over(times, bin_size)
    mean, _ = amplitude_over_time(times, heights, edges)
    drawn = _evenly(len(times))
    ax = axes_or_new(ax)
    ax.plot(times[drawn], heights[drawn], ".", color="0.6", markersize=1.5, markeredgewidth=0, rasterized=True)
    ax.plot((edges[:-1] + edges[1:]) / 2, mean, color=SHOWN, linewidth=1.4)
    ax.set_xlabel("time (s)")
    ax.set_ylabel("spike amplitude (\N{MICRO SIGN}V)")
    ax.set_ylim(bottom=0 if not len(heights) or heights.min() >= 0 else None)
    return ax


def plot_autocorrelogram(
    spike_times: ArrayLike, ax: Axes | None = None, *, window: float = 0.05, bin_size: float = 0.001
) -> Axes:
    """Draw how often a unit fires some time after, and before, its own spikes.

    A neuron does not fire within its refractory period of one or two milliseconds: bars there are spikes of others.

    Parameters
    ----------
    spike_times
        ``session.spike_times[unit]`` (s).
    ax
        Where to draw; default a new figure.
    window
        How far from a spike (s).
    bin_size
        Width of a bar (s).

    Examples
    --------
    >>> unit = session.units["firing_rate"].idxmax()
    >>> ax = plot_autocorrelogram(session.spike_times[unit])
    >>> ax.get_xlabel()
    'time from a spike (ms)'
    """
    edges, counts = autocorrelogram(spike_times, window, bin_size)
    rate = counts / max(np.size(spike_times), 1) / bin_size
    ax = axes_or_new(ax)
    both = np.concatenate((-edges[:0:-1], edges)) * 1000
    ax.stairs(np.concatenate((rate[::-1], rate)), both, fill=True, color=INK)
    ax.set_xlim(both[0], both[-1])
    ax.set_xlabel("time from a spike (ms)")
    ax.set_ylabel("firing rate (Hz)")
    return ax


def plot_drift_map(
    spike_times: ArrayLike, depths: ArrayLike, amplitudes: ArrayLike | None = None, ax: Axes | None = None
) -> Axes:
    """Draw spikes by time and depth, larger ones darker: tissue that moves along the probe shows as bent bands.

    Parameters
    ----------
    spike_times, depths
        Time (s) and position along the probe (um) of spikes, of all units together.
    amplitudes
        Amplitude of each (any unit); it decides the grey. None draws all alike.
    ax
        Where to draw; default a new figure.

    Raises
    ------
    InvalidValueError
        If there are not as many of each.

    Examples
    --------
    >>> units = session.units.query("probe_id == @probe_id")
    >>> depths = units["probe_vertical_position"]
    >>> times = np.concatenate([session.spike_times[unit] for unit in units.index])
    >>> places = np.repeat(depths, [len(session.spike_times[unit]) for unit in units.index])
    >>> ax = plot_drift_map(times, places)
    >>> ax.get_ylabel()
    'position along the probe (µm)'
    """
    times, places = np.asarray(spike_times, dtype=np.float64), np.asarray(depths, dtype=np.float64)
    sizes = np.ones(times.shape) if amplitudes is None else np.abs(np.asarray(amplitudes, dtype=np.float64))
    if not times.shape == places.shape == sizes.shape:
        msg = (
            f"each spike has a time, a depth and an amplitude: there are {times.size:,}, {places.size:,} "
            f"and {sizes.size:,}"
        )
        raise InvalidValueError(msg)
    drawn = _evenly(len(times), 3 * MOST_POINTS)
    drawn = drawn[np.argsort(sizes[drawn], kind="stable")]  # large ones on top
    ax = axes_or_new(ax)
    if amplitudes is None or not len(drawn):
        look: dict[str, Any] = {"color": INK}
    else:
        look = {"c": sizes[drawn], "cmap": "Greys", "vmin": 0, "vmax": float(np.quantile(sizes[drawn], 0.95)) or 1.0}
    ax.scatter(times[drawn], places[drawn], s=1.5, linewidths=0, rasterized=True, **look)
    ax.set_xlabel("time (s)")
    ax.set_ylabel("position along the probe (\N{MICRO SIGN}m)")
    ax.margins(x=0)
    return ax


def _evenly(count: int, most: int = MOST_POINTS) -> np.ndarray:
    """Return places of at most `most` of `count` things, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64)) if count else np.empty(0, np.int64)


def _bins_over(times: np.ndarray, bin_size: float) -> np.ndarray:
    """Return edges of equal bins of about `bin_size` (s) from 0 to the last spike.

    The last one is as long as the others: cut off where the spikes end, it would look like a fall of the rate.
    """
    if not bin_size > 0:
        msg = f"bin_size is a number of seconds above 0; got {bin_size}"
        raise InvalidValueError(msg)
    first = min(0.0, float(times[0])) if len(times) else 0.0
    last = float(np.nextafter(times[-1], np.inf)) if len(times) else first  # bins are half-open
    return np.linspace(first, max(last, first + 1e-9), max(1, round((last - first) / bin_size)) + 1)
