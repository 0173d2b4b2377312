"""One HTML page that says whether the processing of a session went well: probe by probe, and what stages cost."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from allen_ecephys.errors import missing_extra
from allen_ecephys.files import write_atomically

from ..pipeline.log import Line, read_log
from . import depth_estimation, probe_figures, sorting, units, whole_session
from .probe_outputs import ProbeOutputs, report_of
from .probe_verdict import verdict
from .session_file import SessionFile
from .session_status import StageStatus, session_status

PAGE: Final = "session.html"
_NOT_LOOKED: Final = f"Nothing to show: the stage {depth_estimation.STAGE.name} is not done."
_NOT_SORTED: Final = f"Nothing to show: the stage {sorting.STAGE.name} is not done."


def write_session_page(session: SessionFile) -> Path:
    """Write ``session.html`` into a session's output folder, from what its stages left, and return its path.

    Raises
    ------
    MissingExtraError
        If matplotlib or jinja2 is not installed.

    Examples
    --------
    >>> from allen_ecephys.processing import read_session_file
    >>> write_session_page(read_session_file("session.toml"))
    Traceback (most recent call last):
    allen_ecephys.errors.MissingFileError: there is no session file session.toml; `allen-ecephys process describe` ...
    """
    try:
        import jinja2
        import matplotlib as mpl  # noqa: F401  the figures need it
    except ImportError as error:
        raise missing_extra(library="jinja2 and matplotlib", extra="report", purpose="the page of a session") from error
    template = (files(__package__) / "session_page.html").read_text(encoding="utf-8")
    page = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(template)
    path = session.output / PAGE
    write_atomically(path, page.render(_contents(session)), durable=False)
    return path


def _contents(session: SessionFile) -> dict[str, Any]:
    states = session_status(session)
    packaged = whole_session.STAGE.folder(session.output)
    clocks = {name: told for name, told in report_of(packaged).get("clocks", {}).items() if isinstance(told, dict)}
    probes: list[dict[str, Any]] = []
    for described in session.told.probes:
        probe, clock = ProbeOutputs(session.output / described.name, described.name), clocks.get(described.name, {})
        mine = [state for state in states if state.probe == described.name]
        image = packaged / f"{described.name}_clock.png"
        probes.append(
            {
                "name": probe.name,
                "verdict": verdict(probe, clock, mine),
                "facts": _facts(probe, clock),
                "figures": _figures(probe, with_lfp=session.parameters.lfp),
                "clock": _base64(image.read_bytes()) if image.is_file() else None,
            }
        )
    of_session = [state for state in states if not state.probe and state.state != "done"]
    return {
        "session": session.told.metadata.session_id,
        "concerns": [f"{s.stage} is {s.state}{': ' + s.reason if s.reason else ''}" for s in of_session],
        "probes": probes,
        "labels": list(dict.fromkeys(label for probe in probes for label in probe["facts"])),
        "stages": [_stage_row(s) for s in states],
        "messages": _warnings(session.output, states),
    }


def _facts(probe: ProbeOutputs, clock: Mapping[str, Any]) -> dict[str, str]:
    """Return what is known of a probe in numbers, as far as its stages came."""
    facts: dict[str, str] = {}
    if probe.info is not None:
        facts["channels"], facts["masked"] = f"{probe.info.mask.size}", f"{int((~probe.info.mask).sum())}"
        ends = [probe.surface(shank) for shank in range(probe.n_shanks)] if probe.spike_band else []
        facts["surface (um from the tip)"] = ", ".join("none" if at is None else f"{at:,.0f}" for at in ends)
    if probe.saturated_share is not None:
        facts["saturated samples"] = f"{probe.saturated_share:.2%}"
    if probe.sorted:
        facts["sorter"], facts["spikes"] = str(probe.sorted["sorter"]), f"{probe.sorted['n_spikes']:,}"
        facts["moved (um)"] = "not told" if probe.movement is None else f"{probe.movement.range_um:.0f}"
    if probe.table is not None:
        table, neurons = probe.table, probe.neurons
        facts["units"], facts["of these no noise"] = f"{len(table)}", f"{int(neurons.sum())}"
        facts["pass the default filter"] = f"{int(probe.passing.sum())}"
        for metric, (label, _, _) in probe_figures.QUALITY.items():
            failing = table["fails_bounds"].str.split(",").map(lambda names, metric=metric: metric in names)
            facts[f"neurons that fail {label}"] = f"{int((failing.to_numpy(bool) & neurons).sum())}"
        facts["median SNR"] = f"{table['snr'].median():.1f}" if len(table) else ""
    if probe.lfp:
        facts["channels of the LFP file"] = f"{len(probe.lfp['channels'])}"
        facts["flashes of the CSD"] = str(probe.lfp["n_flashes"] or probe.lfp.get("without_csd", 0))
    if clock:
        facts["clock drift (ppm)"] = f"{clock['drift_ppm']:+.2f}"
        facts["clock events matched"] = f"{clock['n_matched']} of {clock['n_probe_events']}"
        facts["largest residual (us)"] = f"{clock['residual_largest_us']:,.0f}"
    return facts


def _figures(probe: ProbeOutputs, *, with_lfp: bool) -> list[dict[str, Any]]:
    """Return each figure's title, picture and words; without a picture the words say why."""
    several = " Each shank has a map; the drift is one for all." if probe.spike_band and probe.n_shanks > 1 else ""
    drawn = (
        ("Spikes and drift", probe_figures.drift_map(probe), _of_drift(probe) + several),
        ("LFP and surface", probe_figures.lfp_and_surface(probe), _of_lfp(probe, with_lfp=with_lfp)),
        ("Units along the probe", probe_figures.units_along_the_probe(probe), _of_units(probe)),
        ("Quality", probe_figures.quality(probe), _of_quality(probe)),
    )
    return [
        {"title": title, "image": None if image is None else _base64(image), "words": words}
        for title, image, words in drawn
    ]


def _of_drift(probe: ProbeOutputs) -> str:
    if not probe.sorted:
        return _NOT_SORTED
    if not probe.sorted["n_spikes"]:
        return "Nothing to show: the sorter found no spikes."
    spikes = f"Darker where more spikes are seen.{_of_surface(probe)}"
    if probe.movement is None:
        return f"{spikes} {probe.sorted['sorter']} leaves no estimate of drift."
    if not probe.movement.range_um:
        return f"Above: no movement was found. Below: {spikes[0].lower()}{spikes[1:]}"
    blocks = "" if probe.movement.shift_um.shape[1] == 1 else " at several depths"
    return f"Above: how far the tissue moved{blocks}, up is towards the surface. Below: {spikes[0].lower()}{spikes[1:]}"


def _of_lfp(probe: ProbeOutputs, *, with_lfp: bool) -> str:
    if probe.info is None:
        return _NOT_LOOKED
    words = []
    if probe.info.lfp_log_power is not None:
        words.append("Left: power by which the surface is looked for.")
    elif probe.spike_band:
        has_band = report_of(depth_estimation.STAGE.folder(probe.folder)).get("recording", {}).get("lfp_rate")
        words.append(
            "An older version looked at this probe and kept no power of the LFP."
            if has_band
            else "The probe has no LFP band: all of it is taken to be in the brain."
        )
    words.append(_of_surface(probe).strip() or "No surface: the whole probe is in the brain.")
    if not probe.info.mask.all():
        words.append("Crosses: masked channels.")
    words.append(f"Dotted: channels noisier than {probe.info.parameters.high_noise_uv:g} uV are masked.")
    if not with_lfp:
        words.append("No LFP file is written: the session's file says so.")
    elif not probe.lfp:
        words.append("The stage lfp is not done: there is no LFP file yet.")
    return " ".join(words)


def _of_units(probe: ProbeOutputs) -> str:
    if probe.table is None:
        return f"Nothing to show: the stage {units.STAGE.name} is not done."
    if not len(probe.table):
        return "Nothing to show: there are no units."
    return f"Left: firing rate. Right: how far each unit moved at most.{_of_surface(probe)}"


def _of_surface(probe: ProbeOutputs) -> str:
    at = [probe.surface(shank) for shank in range(probe.n_shanks)] if probe.spike_band else []
    return "" if all(one is None for one in at) else " Dashed: the brain's surface."


def _of_quality(probe: ProbeOutputs) -> str:
    if probe.table is None or not len(probe.table):
        return _of_units(probe)
    return "Bounds of the default unit filter; units in the shaded part fail."


def _stage_row(status: StageStatus) -> dict[str, Any]:
    """Return a stage's state, and what it cost if its results are those of now."""
    row = {"name": _name(status.key), "state": status.state, "seconds": "", "cpu": "", "memory": ""}
    if status.state == "done" and status.cost:
        row |= {"seconds": f"{status.cost['seconds']:,.1f}", "cpu": f"{status.cost['cpu_seconds']:,.1f}"}
        peak = status.cost.get("peak_memory_bytes")  # which not every system tells
        row["memory"] = "" if peak is None else f"{peak / 1e9:.2f}"
    return row


def _warnings(output: Path, states: Sequence[StageStatus]) -> list[str]:
    """Return what was warned of when stages ran last, and how those failed that are not done since."""
    lines: dict[str, list[Line]] = {state.key: [] for state in states}
    earlier: dict[str, list[Line]] = {}
    for line in read_log(output):
        key, event = line["task"], line["event"]
        if key not in lines:
            continue
        if event == "started":
            earlier[key], lines[key] = lines[key], []
        elif event == "reused":  # what was warned of when the results came to be still holds
            lines[key] = earlier.pop(key, [])
        elif event in {"warning", "error", "failed"}:
            lines[key].append(line)
    told = [
        f"{_name(state.key)}: {line.get('message', '')}"
        for state in states
        for line in lines[state.key]
        if line["event"] != "failed" or state.state != "done"
    ]
    return list(dict.fromkeys(told))


def _name(key: str) -> str:
    return key.partition("/")[2]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
