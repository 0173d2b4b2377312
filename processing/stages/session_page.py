"""One HTML page that says whether the processing of a session went well: probes, units, clocks, what stages cost."""

from __future__ import annotations

import base64
import io
import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from allen_ecephys.errors import missing_extra
from allen_ecephys.files import write_atomically

from ..pipeline.log import read_log
from ..pipeline.stage import read_manifest
from ..spike_band.probe_info import ProbeInfo, read_probe_info
from . import depth_estimation, median_subtraction, sorting, units, whole_session
from .session_file import SessionFile
from .session_status import session_status
from .units import read_unit_table

if TYPE_CHECKING:
    import pandas as pd

PAGE: Final = "session.html"
#: A probe with a larger share of masked channels, or a clock whose events lie farther off (us), is to be looked at.
MASKED_SHARE: Final = 0.1
RESIDUAL_US: Final = 1000.0


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
        import matplotlib as mpl  # noqa: F401  the figure needs it
    except ImportError as error:
        raise missing_extra(library="jinja2 and matplotlib", extra="report", purpose="the page of a session") from error
    template = (files(__package__) / "session_page.html").read_text(encoding="utf-8")
    page = jinja2.Environment(autoescape=True).from_string(template).render(_contents(session))
    path = session.output / PAGE
    write_atomically(path, page, durable=False)
    return path


def _contents(session: SessionFile) -> dict[str, Any]:
    states = session_status(session)
    probes = [_probe(session.output / probe.name, probe.name) for probe in session.told.probes]
    packaged = whole_session.STAGE.folder(session.output)
    clocks = {name: told for name, told in _report(packaged).get("clocks", {}).items() if isinstance(told, dict)}
    for probe in probes:
        if probe["name"] in clocks:
            probe["facts"] |= _clock_facts(clocks[probe["name"]])
    concerns = [f"{s.key} is {s.state}{': ' + s.reason if s.reason else ''}" for s in states if s.state != "done"]
    concerns += [concern for probe in probes for concern in _concerns(probe, clocks.get(probe["name"], {}))]
    images = [(p["name"], packaged / f"{p['name']}_clock.png") for p in probes]
    return {
        "session": session.told.metadata.session_id,
        "concerns": concerns,
        "probes": probes,
        "labels": list(dict.fromkeys(label for probe in probes for label in probe["facts"])),
        "figure": _figure(probes),
        "clocks": [(name, _base64(path.read_bytes())) for name, path in images if path.is_file()],
        "stages": [_stage_row(s.key.partition("/")[2], s.state, s.cost or {}) for s in states],
        "messages": _warnings(session.output),
    }


def _probe(folder: Path, name: str) -> dict[str, Any]:
    """Return what is known of a probe, as far as its stages came."""
    facts: dict[str, Any] = {}
    found: dict[str, Any] = {"name": name, "facts": facts, "table": None, "info": None}
    looked = depth_estimation.STAGE.file(folder, depth_estimation.INFO_FILE)
    if looked.is_file():
        info = found["info"] = read_probe_info(looked)
        facts["channels"], facts["masked"] = info.mask.size, int((~info.mask).sum())
        facts["surface at channel"] = f"{info.surface_channel:g}"
        found["depth"] = np.asarray(json.loads(looked.read_text(encoding="utf-8"))["vertical_pos"], dtype=np.float64)
    cleaned = _report(median_subtraction.STAGE.folder(folder))
    if cleaned:
        facts["saturated samples"] = f"{cleaned['n_saturated']:,}"
    sorted_ = _report(sorting.STAGE.folder(folder))
    if sorted_:
        facts["sorter"], facts["spikes"] = sorted_["sorter"], f"{sorted_['n_spikes']:,}"
    measured = units.STAGE.file(folder, units.TABLE)
    if measured.is_file():
        table = found["table"] = read_unit_table(measured)
        facts["units"], facts["of these no noise"] = len(table), int((table["quality"] == "good").sum())
        facts["pass the default filter"] = int(_passing(table).sum())
        facts["median SNR"] = f"{table['snr'].median():.1f}" if len(table) else ""
    return found


def _passing(table: pd.DataFrame) -> pd.Series[bool]:
    return (table["quality"] == "good") & (table["fails_bounds"] == "")


def _clock_facts(told: dict[str, Any]) -> dict[str, Any]:
    return {
        "clock drift (ppm)": f"{told['drift_ppm']:+.2f}",
        "clock events matched": f"{told['n_matched']} of {told['n_probe_events']}",
        "largest residual (us)": f"{told['residual_largest_us']:,.0f}",
    }


def _concerns(probe: dict[str, Any], clock: dict[str, Any]) -> list[str]:
    name, info, table = probe["name"], probe["info"], probe["table"]
    found = []
    if info is not None and (~info.mask).mean() > MASKED_SHARE:
        found.append(f"{name}: {(~info.mask).mean():.0%} of its channels are masked")
    if table is not None and not (table["quality"] == "good").any():
        found.append(f"{name}: none of its {len(table)} units is a neuron's")
    if clock and abs(clock["residual_largest_us"]) > RESIDUAL_US:
        found.append(f"{name}: events of its clock lie up to {clock['residual_largest_us']:,.0f} us off")
    if clock and clock["gaps"]:
        found.append(f"{name}: its clock has {len(clock['gaps'])} gaps")
    return found


def _figure(probes: list[dict[str, Any]]) -> str:
    """Return a PNG (base64) of the units along each probe: rate, and how far they moved."""
    from matplotlib.figure import Figure

    shown = [probe for probe in probes if probe["table"] is not None and len(probe["table"])]
    if not shown:
        return ""
    figure = Figure(figsize=(4.0 * len(shown), 5.0), layout="constrained")
    axes = figure.subplots(1, 2 * len(shown), squeeze=False, sharey=True)[0]
    for number, probe in enumerate(shown):
        table, depth = probe["table"], probe["depth"][probe["table"]["peak_channel"]]
        passing = _passing(table).to_numpy()
        for ax, values, label in (
            (axes[2 * number], table["firing_rate"], "spikes/s"),
            (axes[2 * number + 1], table["max_drift"], "moved (um)"),
        ):
            ax.scatter(values[~passing], depth[~passing], s=12, color="0.7")
            ax.scatter(values[passing], depth[passing], s=12, color="0.1")
            ax.axhline(_surface(probe["info"], probe["depth"]), color="0.6", linewidth=1)
            ax.set(xlabel=label, title=probe["name"])
    axes[0].set_ylabel("um from the tip")
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=110, metadata={"Software": None})
    return _base64(drawn.getvalue())


def _surface(info: ProbeInfo, depth: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    inside = depth[info.in_brain]
    return float(inside.max()) if inside.size else float(depth.min())


def _stage_row(name: str, state: str, cost: dict[str, Any]) -> dict[str, Any]:
    row = {"name": name, "state": state, "seconds": "", "cpu": "", "memory": ""}
    if cost:
        row |= {"seconds": f"{cost['seconds']:,.1f}", "cpu": f"{cost['cpu_seconds']:,.1f}"}
        row["memory"] = f"{cost['peak_memory_bytes'] / 1e9:.2f}"
    return row


def _warnings(output: Path) -> list[str]:
    lines = [line for line in read_log(output) if line["event"] in {"warning", "error", "failed"}]
    return list(dict.fromkeys(f"{line['task'].partition('/')[2]}: {line.get('message', '')}" for line in lines))


def _report(folder: Path) -> dict[str, Any]:
    return dict((read_manifest(folder) or {}).get("report", {}))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
