"""Sections along the probes: where units lie, the field potential, and the current source density."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import MissingDataError
from ..plotting import plot_current_source_density, plot_lfp, plot_units_on_probe
from .sections import Section, figure_of, png_of

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from .contents import ReportedSession

#: Probes beside each other in a figure, and channels of LFP drawn.
ACROSS, MOST_CHANNELS = 3, 24


def depths(session: ReportedSession, everything: pd.DataFrame) -> Section:
    """Draw all units of each probe by their position on it, those shown in colours of their structures."""
    section = Section("Units by depth")
    probes = [probe for probe in session.probes.index if (everything["probe_id"] == probe).any()]
    if not probes:
        section.note = "The file holds no units."
        return section
    across = min(ACROSS, len(probes))
    figure = figure_of(7.5 if across > 1 else 4.0, 3.0 * -(-len(probes) // across))
    axes = figure.subplots(-(-len(probes) // across), across, squeeze=False).ravel()
    for ax, probe in zip(axes, probes, strict=False):
        plot_units_on_probe(everything, ax, probe_id=probe, unit_filter=session.unit_filter)
        ax.set_title(str(session.probes.loc[probe, "description"]))
        ax.legend(fontsize=5, frameon=False, loc="upper right", handletextpad=0.1, borderpad=0, labelspacing=0.2)
        ax.set_ylabel("position (\N{MICRO SIGN}m)" if ax in axes[::across] else "")
    for ax in axes[len(probes) :]:
        ax.set_axis_off()
    section.figures.append(("Units by position on the probe", png_of(figure)))
    section.note = "Position from the tip; grey: hidden by the filter; in brackets, the number of units."
    return section


def field_potential(session: ReportedSession) -> Section:
    """Draw a second of LFP around the first flash, and the current source density, of each probe that has them."""
    section = Section("Field potential")
    published = session.probes.index[session.probes["has_lfp_data"].to_numpy(dtype=bool)].tolist()
    local = session.local_lfp_probes()
    if not local:
        section.note = (
            f"LFP of {len(published)} probes was published; its files are not beside the session's."
            if published
            else "This session has no LFP."
        )
        return section
    shown = session.stimulus_presentations
    flashes = shown.loc[shown["stimulus_name"] == "flashes", "start_time"].tolist() if len(shown) else []
    onset = float(flashes[0]) if flashes else None
    densities = {probe: _current_source_density(session, probe) for probe in local}
    drawn = any(csd is not None for csd in densities.values())
    figure = figure_of(7.5, 2.4 * len(local))
    axes = figure.subplots(len(local), 1 + drawn, squeeze=False)
    for (left, *others), (probe, csd) in zip(axes, densities.items(), strict=True):
        name = str(session.probes.loc[probe, "description"])
        traces = _second_of(session.get_lfp(probe), onset)
        plot_lfp(traces, left).set_title(name, loc="left")
        if onset is not None and float(traces["time"][0]) <= onset <= float(traces["time"][-1]):
            left.axvline(onset, color="#D55E00", linewidth=0.8)
        for right in others:
            if csd is None:
                right.set_axis_off()
                right.text(0.5, 0.5, "no current source density", ha="center", va="center", transform=right.transAxes)
            else:
                plot_current_source_density(csd, right).set_ylabel("position (\N{MICRO SIGN}m)")
    what = "LFP and current source density" if drawn else "LFP"
    section.figures.append((f"{what} of each probe", png_of(figure)))
    section.note = f"{'Left: a' if drawn else 'A'} second of LFP, deepest channel at the bottom"
    section.note += "; orange: a flash. " if onset is not None else ". "
    section.note += (
        "Right: the mean current source density around flashes, as the file holds it."
        if drawn
        else "The file holds no current source density."
    )
    missing = len(published) - len(local)
    if missing > 0:
        section.note += f" LFP files of {missing} other probe{'s' * (missing != 1)} are not beside the session's."
    return section


def _current_source_density(session: ReportedSession, probe: int) -> xr.DataArray | None:
    try:
        return session.get_current_source_density(probe)
    except MissingDataError:
        return None


def _second_of(lfp: xr.DataArray, onset: float | None) -> xr.DataArray:
    """Return a second of LFP from 0.2 s before `onset`, or from the middle of the recording, of some channels."""
    begin, end = float(lfp["time"][0]), float(lfp["time"][-1])
    start = (begin + end) / 2 if onset is None or not begin <= onset - 0.2 < end else onset - 0.2
    channels = np.linspace(0, lfp.sizes["channel"] - 1, min(lfp.sizes["channel"], MOST_CHANNELS)).astype(int)
    return lfp.sel(time=slice(start, start + 1.0)).isel(channel=channels).load()
