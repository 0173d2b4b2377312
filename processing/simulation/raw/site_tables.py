"""How SpikeGLX says which sites of a probe were recorded: ``~imroTbl`` and the maps of the saved channels."""

from __future__ import annotations

from typing import Final

import numpy as np

from ...probes import N_CHANNELS, probe_model, wired_channels
from .probe import RecordedProbe

#: Beginnings of part numbers and the type by which site tables of their probes are known; the longest one counts.
TYPES: Final = {
    "NP1000": 0, "NP1001": 0, "NP101": 0, "PRB_1": 0, "NP102": 1020, "NP103": 1030, "NP104": 1030, "NP105": 1030,
    "NP1100": 1100, "NP1120": 1120, "NP1121": 1121, "NP1122": 1122, "NP1123": 1123, "NP12": 1200,
    "NP13": 1300, "NP2000": 21, "PRB2_1": 21, "NP2010": 24, "PRB2_4": 24, "NP2003": 2003, "NP2004": 2003,
    "NP2005": 2003, "NP2006": 2003, "NP2013": 2013, "NP2014": 2013, "NP202": 2020, "NP301": 3010, "NP302": 3020,
}  # fmt: skip
#: Entry of a channel in the table of a 1.0 probe, and in those of other types.
ENTRY_1_0: Final = "({channel} {bank} 0 {gain} 250 1)"
ENTRIES: Final = {
    21: "({channel} {bank_bit} 0 {site})",
    2003: "({channel} {bank_bit} 0 {site})",
    24: "({channel} {shank} {bank} 0 {site})",
    2013: "({channel} {shank} {bank} 0 {site})",
    2020: "({channel} {shank} {bank} 0 {site})",
    3010: "({channel} {bank} 0 {site})",
    3020: "({channel} {shank} {bank} 0 {site})",
}


def probe_type(part_number: str) -> int:
    """Return ``imDatPrb_type`` of a probe."""
    known = [start for start in TYPES if part_number.startswith(start)]
    return TYPES[max(known, key=len)] if known else 0


def site_tables(probe: RecordedProbe) -> dict[str, str]:
    """Return the lines of a ``.meta`` file that describe the sites (format: SpikeGLX, "imroTbl" in its help pages)."""
    kind = probe_type(probe.part_number)
    model = probe_model(probe.part_number)
    # Channels that were not recorded are at the lowest site they are wired to, which no other channel can record.
    wired = wired_channels(model, np.arange(len(model.positions)))
    _, sites = np.unique(wired, return_index=True)
    sites[probe.channels] = probe.sites
    on_shank = sites % model.sites_per_shank
    site_facts = (np.arange(probe.n_acquired), model.shanks[sites], on_shank // N_CHANNELS, on_shank)
    gain = f"{probe.ap_gain:g}"
    rows = zip(*(facts.tolist() for facts in site_facts), strict=True)
    entry = ENTRIES.get(kind, ENTRY_1_0)
    table = "".join(entry.format(channel=c, shank=s, bank=b, bank_bit=2**b, site=e, gain=gain) for c, s, b, e in rows)
    lines = {"imDatPrb_type": str(kind), "~imroTbl": f"({kind},{probe.n_acquired}){table}"}
    if probe.lfp_step_uv is None:
        lines["imChan0apGain"] = gain
    n_shanks = int(model.shanks[-1]) + 1
    rows_y = np.unique(model.positions[:, 1])
    row = np.searchsorted(rows_y, probe.geometry[:, 1])
    pitch = model.positions[model.shanks == n_shanks - 1, 0].min() / max(n_shanks - 1, 1)
    across = probe.geometry[:, 0] - pitch * probe.shanks
    used = np.isin(np.arange(len(probe.sites)), probe.references, invert=True).astype(int)
    column = np.array([np.searchsorted(np.unique(across[row == r]), x) for r, x in zip(row, across, strict=True)])
    shape = f"({n_shanks},{column.max() + 1},{len(rows_y)})"
    each = zip(probe.shanks, column, row, used, strict=True)
    lines["~snsShankMap"] = shape + "".join(f"({s}:{c}:{r}:{u})" for s, c, r, u in each)
    return lines
