"""The parts of a report: what each tells of a session, as a table, figures and a remark."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import MissingDataError
from ..plotting import plot_quality_metric, plot_session_timeline
from ..plotting.canvas import HIDDEN, INK, SHOWN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .contents import ReportedSession

#: Quality metrics that are drawn.
DRAWN_METRICS = ("presence_ratio", "isi_violations", "amplitude_cutoff", "firing_rate", "snr", "d_prime")
MOST_STRUCTURES, TRACE_BINS = 40, 1200
#: The start of a session whose date nobody told: `process run` and `process package` write it.
UNDATED = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass
class Section:
    """One part of the page: a table of two or more columns, figures (what they show, data URI), and a remark."""

    title: str
    header: Sequence[str] = ()
    rows: list[Sequence[object]] = field(default_factory=list)
    figures: list[tuple[str, str]] = field(default_factory=list)
    note: str = ""
    is_unit_table: bool = False


def identity(session: ReportedSession, n_units: int) -> Section:
    """Return who and what was recorded."""
    found = session.metadata
    age, start = found["age_in_days"], found["session_start_time"]
    dated = start is not None and start != UNDATED
    rows = {
        "session": found["ecephys_session_id"],
        "stimulus set": found["session_type"],
        "animal": found["specimen_name"],
        "genotype": found["full_genotype"],
        "sex": found["sex"],
        "age": None if age is None else f"{age:g} days",
        "rig": found["rig_equipment_name"],
        "start time": f"{start:%Y-%m-%d %H:%M} (in released files, when the file was packaged)" if dated else None,
        "file": session.path.rpartition("/")[2],
        "units": f"{session.num_units:,} of {n_units:,} shown ({session.unit_filter.describe()})",
        "stimulus presentations": f"{found['num_stimulus_presentations']:,}",
    }
    told = {name: value for name, value in rows.items() if value is not None and str(value).strip()}
    return Section("Session", rows=list(told.items()))


def structures(session: ReportedSession, everything: pd.DataFrame) -> Section:
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
    section = Section("Probes and structures", header, rows)
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
    figure = figure_of(7.5, 0.9 + 0.19 * len(counts))
    ax = figure.subplots()
    names = counts.index.astype(str).tolist()
    ax.barh(names, counts["all"], color=HIDDEN, label="in the file")
    ax.barh(names, counts["shown"], color=SHOWN, label="shown: pass the filter")
    ax.set(xlabel="units", ylim=(-0.6, len(names) - 0.4))
    figure.legend(frameon=False, loc="outside upper right", ncols=2)
    section.figures.append(("Number of units in each structure", png_of(figure)))
    return section


def quality(session: ReportedSession, everything: pd.DataFrame) -> Section:
    """Return quality metrics with the bounds of the filter, and what each bound hides."""
    hidden = {name: n for name, n in session.hidden_units().items() if n}
    section = Section("Quality metrics", ("bound of the filter", "units that fail it"), list(hidden.items()))
    drawn = [name for name in DRAWN_METRICS if name in everything and np.isfinite(numbers(everything[name])).any()]
    if not drawn:
        section.note = "The file holds no quality metrics."
        return section
    figure = figure_of(7.5, 2.0 * -(-len(drawn) // 3))
    axes = figure.subplots(-(-len(drawn) // 3), 3, squeeze=False).ravel()
    for ax, name in zip(axes, drawn, strict=False):
        plot_quality_metric(everything, name, ax, unit_filter=session.unit_filter)
        ax.legend_ = None  # said once, below
    for ax in axes[len(drawn) :]:
        ax.set_axis_off()
    section.figures.append(("Histograms of quality metrics", png_of(figure)))
    section.note = "Blue: units shown; grey: hidden; orange: bound of the filter. Outliers count in the outermost bar."
    return section


def time_course(session: ReportedSession) -> Section:
    """Draw which stimulus was shown when, and beneath it, on the same axis, how the mouse ran and its pupil."""
    section = Section("Time course", ("stimulus", "presentations", "minutes shown"))
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
    epochs = session.get_stimulus_epochs() if section.rows else pd.DataFrame(columns=["stimulus_name"])
    if not len(epochs) and not traces:  # nothing, or a short stretch without stimuli: an empty axis tells no more
        section.note = f"This session has no stimuli. {section.note}"
        return section
    height = 0.5 + 0.17 * max(3, len(section.rows))
    figure = figure_of(7.5, height + 1.1 * len(traces))
    ratios = [height] + [1.1] * len(traces)
    axes = figure.subplots(len(ratios), 1, sharex=True, squeeze=False, height_ratios=ratios).ravel()
    plot_session_timeline(epochs, axes[0], invalid_times=session.invalid_times).set_xlabel("")
    for ax, (label, times, values) in zip(axes[1:], traces, strict=True):
        _trace(ax, label, times, values)
    axes[-1].set_xlabel("time (s)")
    section.figures.append(("Stimuli, running speed and pupil over the session", png_of(figure)))
    if len(session.invalid_times):
        spans = session.invalid_times
        seconds = float((spans["stop_time"] - spans["start_time"]).sum())
        section.note += f" {len(spans)} invalid times (orange), {seconds:,.0f} s in all: their spikes are not removed."
    return section


def _running(session: ReportedSession) -> tuple[str, np.ndarray, np.ndarray]:
    table = session.running_speed
    return "running\n(cm/s)", numbers(table["start_time"]), numbers(table["velocity"])


def _pupil(session: ReportedSession) -> tuple[str, np.ndarray, np.ndarray]:
    table = session.get_pupil_data() if session.has_eye_tracking else None
    if table is None:
        msg = "this session has no eye tracking"
        raise MissingDataError(msg)
    size = np.sqrt(numbers(table["pupil_width"]) * numbers(table["pupil_height"]))
    return "pupil\n(pixels)", numbers(table.index), size


def _trace(ax: Axes, label: str, times: np.ndarray, values: np.ndarray) -> None:
    """Draw the median of each stretch of time, and its middle nine tenths: a line of all samples would hide both."""
    stretch = np.linspace(0, TRACE_BINS, len(times), endpoint=False).astype(int)
    grouped = pd.DataFrame({"time": times, "value": values}).groupby(stretch)
    middle = grouped.median()
    low, high = (grouped["value"].quantile(q) for q in (0.05, 0.95))
    ax.fill_between(middle["time"], low, high, color=HIDDEN, linewidth=0)
    ax.plot(middle["time"], middle["value"], color=INK, linewidth=0.6)
    ax.set_ylabel(label)


# --- drawing ------------------------------------------------------------------------------------------------------


def figure_of(width: float, height: float) -> Figure:
    """Return an empty figure (inches), of no window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def png_of(figure: Figure) -> str:
    """Return a figure as the address of an image that lies in the page."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=150)
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"


def numbers(values: Any) -> np.ndarray:
    """Return values as float64."""
    return np.asarray(pd.to_numeric(pd.Series(values)), dtype=np.float64)
