"""The parts of a report: what each tells of a session, as a table, figures and a remark."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import MissingDataError
from ..plotting import plot_psth, plot_raster

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .contents import ReportedSession

INK, SHOWN, HIDDEN, MARK = "#1f2d3d", "#2f6f8f", "#d3dae1", "#d1495b"

#: Quality metrics that are drawn: label, ends of the axis (what lies beyond counts in the outermost bar), bound.
METRICS: dict[str, tuple[str, float, float, str | None]] = {
    "presence_ratio": ("presence ratio", 0.0, 1.0, "presence_ratio_minimum"),
    "isi_violations": ("ISI violations", 0.0, 2.0, "isi_violations_maximum"),
    "amplitude_cutoff": ("amplitude cutoff", 0.0, 0.5, "amplitude_cutoff_maximum"),
    "firing_rate": ("firing rate (Hz)", 0.0, 40.0, None),
    "snr": ("signal to noise", 0.0, 8.0, None),
    "d_prime": ("d'", 0.0, 10.0, None),
}
#: Stimuli whose onset shows best whether a unit responds, best first; else the one with most presentations is taken.
ONSET_STIMULI = ("flashes", "dot_motion", "drifting_gratings", "drifting_gratings_75_repeats", "static_gratings")
NO_STIMULI = ("spontaneous", "invalid_presentation")
MOST_STRUCTURES, MOST_TRIALS, EXAMPLES, TRACE_BINS = 40, 150, 4, 1200


@dataclass
class Section:
    """One part of the page: a table of two or more columns, figures (what they show, data URI), and a remark."""

    title: str
    header: Sequence[str] = ()
    rows: list[Sequence[object]] = field(default_factory=list)
    figures: list[tuple[str, str]] = field(default_factory=list)
    note: str = ""


def identity(session: ReportedSession, n_units: int) -> Section:
    """Return who and what was recorded."""
    found = session.metadata
    age = found["age_in_days"]
    rows = {
        "session": found["ecephys_session_id"],
        "stimulus set": found["session_type"],
        "animal": found["specimen_name"],
        "genotype": found["full_genotype"],
        "sex": found["sex"],
        "age": None if age is None else f"{age:g} days",
        "rig": found["rig_equipment_name"],
        "start time": f"{found['session_start_time']:%Y-%m-%d %H:%M} (in released files, when the file was packaged)",
        "file": session.path.rpartition("/")[2],
        "units": f"{session.num_units:,} of {n_units:,} shown ({session.unit_filter.describe()})",
        "stimulus presentations": f"{found['num_stimulus_presentations']:,}",
    }
    return Section("Session", rows=[(name, "not stated" if value is None else value) for name, value in rows.items()])


def units(session: ReportedSession, everything: pd.DataFrame) -> Section:
    """Return units and channels by probe, and draw units by structure."""
    shown, channels = session.units, session.channels
    rows: list[Sequence[object]] = []
    for probe, row in session.probes.iterrows():
        here = channels[channels["probe_id"] == probe]
        structures = here["ecephys_structure_acronym"].dropna().unique()
        held = [int((table["probe_id"] == probe).sum()) for table in (shown, everything)]
        lfp = "yes" if row["has_lfp_data"] else "no"
        rows.append((row["description"], probe, len(here), *held, lfp, ", ".join(map(str, structures)) or "none"))
    header = ("probe", "id", "channels", "units shown", "units in the file", "LFP", "structures")
    section = Section("Units", header, rows)
    counts = pd.DataFrame(
        {
            "shown": shown["ecephys_structure_acronym"].fillna("outside the brain").value_counts(),
            "all": everything["ecephys_structure_acronym"].fillna("outside the brain").value_counts(),
        }
    )
    counts = counts.fillna(0).astype(int).sort_values(["shown", "all"], ascending=False)
    if not len(counts):
        section.note = "The file holds no units."
        return section
    if len(counts) > MOST_STRUCTURES:
        rest = counts.iloc[MOST_STRUCTURES:].sum()
        section.note = (
            f"The figure shows the {MOST_STRUCTURES} structures of most units; {len(counts) - MOST_STRUCTURES} others "
            f"hold {rest['all']:,} units ({rest['shown']:,} shown)."
        )
    counts = counts.head(MOST_STRUCTURES)[::-1]
    figure = _figure(7.5, 0.9 + 0.19 * len(counts))
    ax = figure.subplots()
    names = counts.index.astype(str).tolist()
    ax.barh(names, counts["all"], color=HIDDEN, label="in the file")
    ax.barh(names, counts["shown"], color=SHOWN, label="shown: pass the filter")
    ax.set(xlabel="units", ylim=(-0.6, len(names) - 0.4))
    figure.legend(frameon=False, loc="outside upper right", ncols=2)
    section.figures.append(("Number of units in each structure", _png(figure)))
    return section


def quality(session: ReportedSession, everything: pd.DataFrame) -> Section:
    """Return quality metrics with the bounds of the filter, and what each bound hides."""
    hidden = {name: n for name, n in session.hidden_units().items() if n}
    section = Section("Quality metrics", ("bound of the filter", "units that fail it"), list(hidden.items()))
    drawn = [name for name in METRICS if name in everything and np.isfinite(_numbers(everything[name])).any()]
    if not drawn:
        section.note = "The file holds no quality metrics."
        return section
    figure = _figure(7.5, 2.0 * -(-len(drawn) // 3))
    axes = figure.subplots(-(-len(drawn) // 3), 3, squeeze=False).ravel()
    is_shown = everything.index.isin(session.units.index)
    for ax, name in zip(axes, drawn, strict=False):
        label, low, high, bound = METRICS[name]
        values = np.clip(_numbers(everything[name]), low, high)
        ax.hist([values[is_shown], values[~is_shown]], np.linspace(low, high, 41), color=[SHOWN, HIDDEN], stacked=True)
        threshold = None if bound is None else getattr(session.unit_filter, bound)
        if threshold is not None:
            ax.axvline(threshold, color=MARK, linewidth=1.2)
        without = int(np.isnan(values).sum())
        ax.set(xlabel=f"{label}; {without} units have none" if without else label, ylabel="units")
        ax.yaxis.get_major_locator().set_params(integer=True)
    for ax in axes[len(drawn) :]:
        ax.set_axis_off()
    section.figures.append(("Histograms of quality metrics", _png(figure)))
    section.note = "Blue: units shown; grey: hidden; red: bound of the filter. Outliers count in the outermost bar."
    return section


def time_course(session: ReportedSession) -> Section:
    """Draw which stimulus was shown when, and beneath it, on the same axis, how the mouse ran and its pupil."""
    section = Section("Stimuli and behaviour", ("stimulus", "presentations", "minutes shown"))
    presentations = session.stimulus_presentations
    for name, table in presentations.groupby("stimulus_name", sort=False, observed=True):
        minutes = (table["stop_time"] - table["start_time"]).sum() / 60
        section.rows.append((name, f"{len(table):,}", f"{minutes:.1f}"))
    traces, missing = [], []
    for what, read in (("running speed", _running), ("eye tracking", _pupil)):
        try:
            traces.append(read(session))
        except MissingDataError:
            missing.append(what)
    if missing:
        section.note = f"This session has no {' and no '.join(missing)}."
    if not len(presentations) and not traces:
        section.note = f"This session has no stimuli. {section.note}"
        return section
    height = 0.5 + 0.17 * max(3, len(section.rows))
    figure = _figure(7.5, height + 1.1 * len(traces))
    ratios = [height] + [1.1] * len(traces)
    axes = figure.subplots(len(ratios), 1, sharex=True, squeeze=False, height_ratios=ratios).ravel()
    _timeline(axes[0], session, [str(row[0]) for row in section.rows])
    for ax, (label, times, values) in zip(axes[1:], traces, strict=True):
        _trace(ax, label, times, values)
    axes[-1].set_xlabel("time (s)")
    section.figures.append(("Stimuli, running speed and pupil over the session", _png(figure)))
    return section


def _timeline(ax: Axes, session: ReportedSession, names: list[str]) -> None:
    epochs = session.get_stimulus_epochs() if names else pd.DataFrame(columns=["stimulus_name"])
    for row, name in enumerate(names):
        here = epochs[epochs["stimulus_name"] == name]
        spans = list(zip(here["start_time"], here["duration"], strict=True)) if len(here) else []
        colour = HIDDEN if name in NO_STIMULI else SHOWN
        ax.broken_barh(spans, (row - 0.4, 0.8), facecolor=colour, edgecolor=colour, linewidth=0.6)  # seconds show too
    invalid = session.invalid_times
    for start, stop in zip(invalid["start_time"], invalid["stop_time"], strict=True):
        ax.axvspan(start, stop, color=MARK, linewidth=1)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(max(len(names), 1) - 0.5, -0.5)
    if len(invalid):
        ax.set_title("red: intervals that the file marks as invalid", fontsize=7, loc="right")


def _running(session: ReportedSession) -> tuple[str, np.ndarray, np.ndarray]:
    table = session.running_speed
    return "running\n(cm/s)", _numbers(table["start_time"]), _numbers(table["velocity"])


def _pupil(session: ReportedSession) -> tuple[str, np.ndarray, np.ndarray]:
    table = session.get_pupil_data() if session.has_eye_tracking else None
    if table is None:
        msg = "this session has no eye tracking"
        raise MissingDataError(msg)
    size = np.sqrt(_numbers(table["pupil_width"]) * _numbers(table["pupil_height"]))
    return "pupil\n(pixels)", _numbers(table.index), size


def _trace(ax: Axes, label: str, times: np.ndarray, values: np.ndarray) -> None:
    """Draw the median of each stretch of time, and its middle nine tenths: a line of all samples would hide both."""
    stretch = np.linspace(0, TRACE_BINS, len(times), endpoint=False).astype(int)
    grouped = pd.DataFrame({"time": times, "value": values}).groupby(stretch)
    middle = grouped.median()
    low, high = (grouped["value"].quantile(q) for q in (0.05, 0.95))
    ax.fill_between(middle["time"], low, high, color=HIDDEN, linewidth=0)
    ax.plot(middle["time"], middle["value"], color=INK, linewidth=0.6)
    ax.set_ylabel(label)


def examples(session: ReportedSession) -> Section:
    """Draw spikes and rates of some responding units."""
    section = Section("Example units")
    names = [name for name in session.stimulus_names if name not in NO_STIMULI]
    if not names or not session.num_units:
        section.note = f"This session {'shows no units' if names else 'has no stimuli'}."
        return section
    table = session.stimulus_presentations
    sizes = table["stimulus_name"].value_counts()
    stimulus = next((name for name in ONSET_STIMULI if name in names), max(names, key=lambda name: int(sizes[name])))
    trials = table[table["stimulus_name"] == stimulus]
    spread = f" (of {len(trials):,}, evenly spread)" if len(trials) > MOST_TRIALS else ""
    trials = trials.iloc[np.linspace(0, len(trials) - 1, min(MOST_TRIALS, len(trials))).astype(int)]
    length = float(np.clip((trials["stop_time"] - trials["start_time"]).median(), 0.1, 3.0))
    before, after = 0.5 * length, 1.5 * length
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that trials overlap: each is looked at for itself
        units = _responding(session, trials, before, length)
        if not units:
            section.note = f"No unit's rate rises at the onset of {stimulus}."
            return section
        figure = _figure(1.95 * len(units), 3.4)
        axes = figure.subplots(2, len(units), sharex=True, squeeze=False)
        for (top, bottom), unit in zip(axes.T, units, strict=True):
            spikes = session.presentationwise_spike_times(
                trials.index, [unit], start_offset=-before, stop_offset=after - length
            )
            plot_raster(spikes, top, row_ids=trials.index, rows="stimulus_presentation_id")
            plot_psth(session.psth(np.linspace(-before, after, 51), trials.index, [unit]), bottom)
            structure = session.units["ecephys_structure_acronym"].fillna("outside the brain")[unit]
            top.set_title(f"unit {unit}\n{structure}", fontsize=8)
            top.set_xlabel("")
            bottom.set(xlabel="time from onset (s)", xlim=(-before, after))
            for ax in (top, bottom):
                ax.axvspan(0, length, color="#f2e8cf", zorder=-1)
    for ax in axes[:, 1:].flat:
        ax.set_ylabel("")
    named = ", ".join(map(str, units))
    section.figures.append((f"Spikes and rates around {stimulus} of units {named}", _png(figure)))
    section.note = (
        f"{len(trials)} presentations of {stimulus}{spread}: a row of the upper panels for each, the first at the "
        "bottom; below, their mean rate with its standard error. Units whose rate rises most reliably at the onset, of "
        "different structures where there are several."
    )
    return section


def _responding(session: ReportedSession, trials: pd.DataFrame, before: float, length: float) -> list[int]:
    """Return units whose rate rises reliably (mean over SD): the best of each structure, then their second best."""
    counts = session.presentationwise_spike_counts([-before, 0.0, length], trials.index).to_numpy()
    rise = counts[:, 1] / length - counts[:, 0] / before
    spread = rise.std(axis=0) + 1 / length  # one spike more: few trials may all agree
    score = pd.Series(rise.mean(axis=0) / spread, index=session.units.index)
    score = score[score > 0].sort_values(ascending=False, kind="stable")
    structure = session.units["ecephys_structure_acronym"].reindex(score.index).fillna("")
    place = structure.groupby(structure).cumcount().sort_values(kind="stable")
    return [int(unit) for unit in place.index[:EXAMPLES]]


# --- drawing ------------------------------------------------------------------------------------------------------


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _png(figure: Figure) -> str:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=150)
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"


def _numbers(values: Any) -> np.ndarray:
    return np.asarray(pd.to_numeric(pd.Series(values)), dtype=np.float64)
