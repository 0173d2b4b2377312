"""Sections on units that respond: some of them around the onset of a stimulus, and those that light drives."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..plotting import plot_psth, plot_raster, plot_spike_counts
from .onsets import light_trials, onset_trials
from .sections import Section, figure_of, png_of

if TYPE_CHECKING:
    from .contents import ReportedSession

#: Example units; and rows of the image of light responses.
EXAMPLES, MOST_LIGHT_ROWS = 4, 60


def examples(session: ReportedSession) -> Section:
    """Draw spikes and rates of some responding units."""
    section = Section("Example units")
    found = onset_trials(session)
    if found is None or not session.num_units:
        section.note = "This session has no stimuli." if found is None else "This session shows no units."
        return section
    stimulus, trials, length, before, after = found.name, found.table, found.length, found.before, found.after
    spread = f" (of {found.of:,}, evenly spread)" if found.of > len(trials) else ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that trials overlap: each is looked at for itself
        units = responding_units(session, trials, before, length)[:EXAMPLES]
        if not units:
            section.note = f"No unit's rate rises at the onset of {stimulus}."
            return section
        figure = figure_of(1.95 * len(units), 3.4)
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
    section.figures.append((f"Spikes and rates around {stimulus} of units {named}", png_of(figure)))
    section.note = (
        f"{len(trials)} presentations of {stimulus}{spread}: a row of the upper panels for each, the first at the "
        "bottom; below, their mean rate with its standard error. Units whose rate rises most reliably at the onset, of "
        "different structures where there are several."
    )
    return section


def responding_units(session: ReportedSession, trials: pd.DataFrame, before: float, length: float) -> list[int]:
    """Return units whose rate rises reliably (mean over SD): the best of each structure, then their second best."""
    counts = session.presentationwise_spike_counts([-before, 0.0, length], trials).to_numpy()
    rise = counts[:, 1] / length - counts[:, 0] / before
    spread = rise.std(axis=0) + 1 / length  # one spike more: few trials may all agree
    score = pd.Series(rise.mean(axis=0) / spread, index=session.units.index)
    score = score[score > 0].sort_values(ascending=False, kind="stable")
    structure = session.units["ecephys_structure_acronym"].reindex(score.index).fillna("")
    place = structure.groupby(structure).cumcount().sort_values(kind="stable")
    return [int(unit) for unit in place.index]


def light(session: ReportedSession) -> Section:
    """Draw the rates of units around the briefest pulses of light, those that rise most reliably on top."""
    section = Section("Optotagging")
    found = light_trials(session)
    if found is None or not session.num_units:
        section.note = "This session has no brief pulses of light." if found is None else "This session shows no units."
        return section
    pulses = session.optogenetic_stimulation_epochs
    kinds = pulses.assign(ms=(1000 * (pulses["stop_time"] - pulses["start_time"])).round(1))
    names = [name for name in ("stimulus_name", "condition") if name in kinds]
    section.header = (*(name.replace("_", " ") for name in names), "duration (ms)", "pulses")
    section.rows = [
        (*(kind if isinstance(kind, tuple) else (kind,)), count)
        for kind, count in kinds.groupby([*names, "ms"], sort=False, observed=True).size().items()
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that windows overlap: each is looked at for itself
        counts = session.presentationwise_spike_counts([-found.before, 0.0, found.before], found.table).to_numpy()
        rise = (counts[:, 1] - counts[:, 0]).astype(np.float64)
        reliable = pd.Series(rise.mean(axis=0) / (rise.std(axis=0) + 1), index=session.units.index)
        driven = reliable.sort_values(ascending=False, kind="stable").index[:MOST_LIGHT_ROWS]
        rates = session.psth(np.arange(-found.before, found.after, 0.001), found.table, driven)["rate"]
    figure = figure_of(7.5, 1.0 + 0.055 * len(driven))
    ax = plot_spike_counts(rates.isel(unit_id=slice(None, None, -1)), figure.subplots(), label="firing rate (Hz)")
    ax.axvline(found.length, color="white", linewidth=0.8, linestyle=":")
    ax.set(xlabel="time from the onset of light (s)", ylabel="unit, most driven on top", yticks=[])
    section.figures.append((f"Firing rates around {found.name}", png_of(figure)))
    section.note = (
        f"{len(found.table)} of {found.of} {found.name}: rates in bins of 1 ms of the {len(driven)} units whose rate "
        "rises most reliably within 20 ms; dotted: begin and end of the light. Spikes in the first millisecond can be "
        "artefacts of the light; a unit is tagged if it follows within a few milliseconds."
    )
    return section
