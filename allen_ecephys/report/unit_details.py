"""What a report shows of each unit when it is clicked: a few hundred numbers a unit, packed into bytes.

One pass over the session reads each unit's spikes, amplitudes and waveform and keeps none of them. Curves are drawn a
few hundred pixels wide: 254 levels between their own lowest and highest value are more than a screen shows. So each
number is a byte, and 2,779 units fit into a page of less than 5 MB.
"""

from __future__ import annotations

import base64
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..plotting.unit_figures import contacts_near_peak
from ..progress import progress_bar
from ..spikes.single_train import amplitude_over_time, autocorrelogram, rate_over_time
from .onsets import OnsetTrials, light_trials, onset_trials

if TYPE_CHECKING:
    from .contents import ReportedSession

#: Bins of the session's time, contacts and samples of a waveform, bins of the autocorrelogram (1 ms) and of a PSTH.
TIME_BINS, CONTACTS, SAMPLES, LAGS, PSTH_BINS = 60, 10, 41, 50, 50
#: Of more units than this, only so many have details: those that are shown come first.
MOST_DETAILED = 3000
#: Byte that stands for a missing value.
MISSING = 255
#: Stimuli that tell a unit's preferred direction or orientation, best first, and their parameter.
TUNING = (
    ("drifting_gratings", "orientation", "direction of drifting gratings (degrees)"),
    ("drifting_gratings_75_repeats", "orientation", "direction of drifting gratings (degrees)"),
    ("static_gratings", "orientation", "orientation of static gratings (degrees)"),
    ("drifting_gratings_contrast", "orientation", "direction of drifting gratings (degrees)"),
    ("dot_motion", "Dir", "direction of dot motion (degrees)"),
)


def unit_details(session: ReportedSession, unit_ids: list[int], *, n_units: int) -> dict[str, Any]:
    """Return what the page draws of `unit_ids`, ready for JSON.

    Parameters
    ----------
    session
        The session, all of its units shown.
    unit_ids
        Units, in the order of the page's table; details end after :data:`MOST_DETAILED`.
    n_units
        How many of the file's units there are, for the message.
    """
    chosen = unit_ids[:MOST_DETAILED]
    details = _of_spikes(session, chosen)
    details["n"] = len(chosen)
    details["without"] = n_units - len(chosen)
    for name, made in (
        ("psth", _psth(session, chosen, onset_trials(session))),
        ("light", _psth(session, chosen, light_trials(session))),
        ("tuning", _tuning(session, chosen)),
        ("field", _receptive_fields(session, chosen)),
    ):
        if made is not None:
            details[name] = made
    return details


def packed(values: np.ndarray, *, zero: bool = False) -> dict[str, Any]:
    """Return rows of numbers as bytes in base64, with the lowest and the highest number of each row.

    Parameters
    ----------
    values
        One row a unit; NaN becomes :data:`MISSING`.
    zero
        Rows begin at 0 and not at their lowest number.
    """
    rows = values.reshape(len(values), -1).astype(np.float64)
    found = np.isfinite(rows)
    low = np.zeros(len(rows)) if zero else np.min(rows, axis=1, where=found, initial=np.inf)
    high = np.max(rows, axis=1, where=found, initial=-np.inf)
    low, high = (np.where(np.isfinite(ends), ends, 0.0) for ends in (low, high))
    span = np.where(high > low, high - low, 1.0)
    levels = np.where(found, np.clip((rows - low[:, None]) / span[:, None], 0, 1) * (MISSING - 1), MISSING)
    return {
        "width": rows.shape[1],
        "low": [float(f"{value:.4g}") for value in low],
        "span": [float(f"{value:.4g}") for value in span],
        "bytes": _base64(np.round(levels).astype(np.uint8)),
    }


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()


def _of_spikes(session: ReportedSession, units: list[int]) -> dict[str, Any]:
    """Return rates, amplitudes, autocorrelograms and waveforms: one pass over the units."""
    edges = np.linspace(0, session_end(session), TIME_BINS + 1)
    rate, mean, sd = (np.full((len(units), TIME_BINS), np.nan) for _ in range(3))
    lags = np.zeros((len(units), LAGS))
    traces = np.full((len(units), CONTACTS, SAMPLES), np.nan)
    contacts = np.full((len(units), CONTACTS), -1)
    channels = session.channels
    place = {channel: row for row, channel in enumerate(channels.index.tolist())}
    passing = zip(
        session.spike_times.each(units),
        session.spike_amplitudes.each(units),
        session.mean_waveforms.each(units),
        strict=True,
    )
    duration = 0.0
    for row, (times, amplitudes, waveform) in enumerate(
        progress_bar(passing, total=len(units), desc="looking at units", unit="unit")
    ):
        rate[row] = rate_over_time(times, edges)
        mean[row], sd[row] = amplitude_over_time(times, amplitudes * 1e6, edges)
        lags[row] = autocorrelogram(times)[1] / max(len(times), 1) / 0.001
        if not waveform.size or not np.isfinite(waveform).any():
            continue
        nearest = contacts_near_peak(waveform, channels, CONTACTS).index.to_numpy()
        samples = np.linspace(0, waveform.sizes["time"] - 1, SAMPLES).round().astype(int)
        traces[row, : len(nearest)] = waveform.to_numpy()[nearest][:, samples]
        contacts[row, : len(nearest)] = [place[c] for c in waveform["channel_id"].to_numpy()[nearest].tolist()]
        duration = float(waveform["time"][-1] - waveform["time"][0]) * 1000
    positions = channels[["probe_horizontal_position", "probe_vertical_position"]].to_numpy(np.float64)
    return {
        "end": round(float(edges[-1]), 1),
        "rate": packed(rate, zero=True),
        "amplitude": packed(mean),
        "spread": packed(sd, zero=True),
        "lags": packed(lags, zero=True),
        "waveform": packed(traces) | {"contacts": CONTACTS, "samples": SAMPLES, "ms": round(duration, 3)},
        "contacts": _base64(contacts.astype(np.int32)),
        "positions": np.round(np.nan_to_num(positions), 1).tolist(),
    }


def session_end(session: ReportedSession) -> float:
    """Return when the session ends (s): with its last stimulus, light, or running, else with its last spike."""
    ends = [float(table["stop_time"].max()) for table in (session.stimulus_presentations,) if len(table)]
    if session.has_optotagging:
        ends += session.optogenetic_stimulation_epochs["stop_time"].tolist()
    if session.has_running_speed:
        ends += session.running_speed["end_time"].iloc[-1:].tolist()
    ends = [end for end in ends if np.isfinite(end) and end > 0]
    return (
        max(ends) if ends else max((float(times[-1]) for times in session.spike_times.each() if len(times)), default=1)
    )


def _psth(session: ReportedSession, units: list[int], trials: OnsetTrials | None) -> dict[str, Any] | None:
    if trials is None or not units:
        return None
    edges = np.linspace(-trials.before, trials.after, PSTH_BINS + 1)
    with warnings.catch_warnings():
        # Excerpts show stimuli beyond their spikes; the page shows what there is.
        warnings.filterwarnings("ignore", message=".*lie outside the recording")
        rate = session.psth(edges, trials.table, units)["rate"].to_numpy()
    return packed(rate, zero=True) | {
        "from": -trials.before,
        "to": trials.after,
        "shown": trials.length,
        "title": f"{len(trials.table)} {trials.name if trials.is_light else 'presentations of ' + trials.name}",
    }


def _tuning(session: ReportedSession, units: list[int]) -> dict[str, Any] | None:
    """Return mean responses and their standard errors by direction, over all other parameters."""
    found = next((one for one in TUNING if one[0] in session.stimulus_names), None)
    if found is None or not units:
        return None
    stimulus, parameter, label = found
    answers = session.responses(stimulus, None, units)
    values = answers[parameter].to_numpy().astype(np.float64)
    levels = np.unique(values[np.isfinite(values)])
    if not 2 <= len(levels) <= 32:
        return None
    mean, sem = _by_level(answers["rate"].to_numpy(), (values[:, None] == levels).astype(np.float64))
    return {"mean": packed(mean, zero=True), "sem": packed(sem, zero=True), "levels": levels.tolist(), "label": label}


def _receptive_fields(session: ReportedSession, units: list[int]) -> dict[str, Any] | None:
    """Return mean responses to gabors by their place, the topmost row first."""
    if "gabors" not in session.stimulus_names or not units:
        return None
    answers = session.responses("gabors", None, units)
    if not {"x_position", "y_position"} <= set(answers.coords):
        return None
    x, y = (answers[name].to_numpy().astype(np.float64) for name in ("x_position", "y_position"))
    columns, rows = np.unique(x[np.isfinite(x)]), np.unique(y[np.isfinite(y)])[::-1]
    if not (1 < len(columns) <= 16 and 1 < len(rows) <= 16):
        return None
    at = (y[:, None, None] == rows[:, None]) & (x[:, None, None] == columns)
    mean, _ = _by_level(answers["rate"].to_numpy(), at.reshape(len(x), -1).astype(np.float64))
    return packed(mean) | {"rows": rows.tolist(), "columns": columns.tolist()}


def _by_level(rates: np.ndarray, level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard error of rates (trials x units) in each level, given trials x levels of 0 and 1."""
    n = level.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):  # a level without trials has no mean, one trial no error
        mean = rates.T @ level / n
        variance = np.maximum((rates.T**2) @ level / n - mean**2, 0) * n / (n - 1)
        return mean, np.sqrt(variance / n)


def unit_table(session: ReportedSession, everything: pd.DataFrame) -> dict[str, Any]:
    """Return the table of all units, those that are shown first, ready for JSON.

    Ids are texts: a browser's numbers are exact to 2^53 only.
    """
    shown = everything.index.isin(session.units.index)
    order = np.argsort(~shown, kind="stable")
    table, shown = everything.iloc[order], shown[order]
    failed = session.unit_filter.failures(table) if len(table) else {}
    reasons = list(failed)
    hidden = [[n for n, name in enumerate(reasons) if failed[name][row]] for row in range(len(table))]
    columns: list[dict[str, Any]] = []
    for name, label, digits in COLUMNS:
        if name in table:
            values = pd.to_numeric(table[name], errors="coerce").to_numpy(np.float64, na_value=np.nan)
            if np.isfinite(values).any():
                numbers = [float(f"{v:.{digits}g}") if np.isfinite(v) else None for v in values]
                columns.append({"name": name, "label": label, "values": numbers})
    return {
        "id": [str(unit) for unit in table.index],
        "probe": _coded(table["probe_description"].astype(str)),
        "structure": _coded(table["ecephys_structure_acronym"].astype(object).where(
            table["ecephys_structure_acronym"].notna(), "outside the brain").astype(str)),
        "columns": columns,
        "reasons": reasons,
        "hidden": hidden,
        "shown": [int(value) for value in shown],
    }  # fmt: skip


#: Columns of the table of units: name, heading, digits.
COLUMNS = (
    ("probe_vertical_position", "depth (µm)", 5),
    ("firing_rate", "rate (Hz)", 3),
    ("snr", "SNR", 3),
    ("presence_ratio", "presence", 3),
    ("isi_violations", "ISI viol.", 3),
    ("amplitude_cutoff", "cutoff", 3),
    ("waveform_amplitude", "amplitude (µV)", 3),
    ("waveform_duration", "duration (ms)", 3),
    ("d_prime", "d'", 3),
)


def _coded(texts: pd.Series[str]) -> dict[str, Any]:
    codes, names = pd.factorize(texts)
    return {"names": [str(name) for name in names], "codes": codes.tolist()}
