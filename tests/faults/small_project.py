"""A small project in the released layout, with invented numbers: three sessions, their tables and files."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd

SESSIONS = {
    101: ("brain_observatory_1.1", "Sst-IRES-Cre/wt;Ai32/wt", "F", "VISp"),
    102: ("brain_observatory_1.1", "wt/wt", "M", "VISl"),
    103: ("functional_connectivity", "wt/wt", "M", "CA1"),
}
N_UNITS = 12


def write_project(root: Path) -> Path:
    """Write the project below `root` and return it."""
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(11)
    sessions, probes, channels, units, metrics = [], [], [], [], {}
    for session, (kind, genotype, sex, structure) in SESSIONS.items():
        sessions.append(
            (session, "2019-01-19T08:54:18Z", 1, "2019-10-03T00:00:00Z", 5, kind, 118.0, sex, genotype, True)
        )
        for letter, name in enumerate("AB"):
            probe = session * 10 + letter
            probes.append((probe, 384, session, 2500.0, 2.0, f"probe{name}", "3a", 30000.0, 340, name == "A"))
            channel = probe * 10
            channels.append((channel, probe, 4, 11, 60, 7399.0, 1479.0, 8119.0, 417, structure))
            for i in range(N_UNITS):
                units.append((channel * 100 + i, channel, 0.01, 0.99, 0.1, 5.0 + i, 2.5, "good"))
        mine = [unit[0] for unit in units if unit[0] // 10000 == session * 10 // 10 or unit[0] // 100000 == session]
        frame = pd.DataFrame({"ecephys_unit_id": mine, "g_osi_dg": rng.uniform(size=len(mine))})
        metrics.setdefault(kind, []).append(frame)
        folder = root / f"session_{session}"
        folder.mkdir(exist_ok=True)
        frame.to_csv(folder / f"session_{session}_analysis_metrics.csv", index=False)
        write_nwb(folder / f"session_{session}.nwb", session)
        write_nwb(folder / f"probe_{session * 10}_lfp.nwb", session * 10)
    save(root / "sessions.csv", sessions, "id date_of_acquisition isi_experiment_id published_at specimen_id "
         "session_type age_in_days sex genotype has_nwb")  # fmt: skip
    save(root / "probes.csv", probes, "id air_channel_index ecephys_session_id lfp_sampling_rate "
         "lfp_temporal_subsampling_factor name phase sampling_rate surface_channel_index has_lfp_data")  # fmt: skip
    save(root / "channels.csv", channels, "id ecephys_probe_id local_index probe_horizontal_position "
         "probe_vertical_position anterior_posterior_ccf_coordinate dorsal_ventral_ccf_coordinate "
         "left_right_ccf_coordinate ecephys_structure_id ecephys_structure_acronym")  # fmt: skip
    save(root / "units.csv", units, "id ecephys_channel_id amplitude_cutoff presence_ratio isi_violations "
         "firing_rate snr quality")  # fmt: skip
    for kind, frames in metrics.items():
        pd.concat(frames).to_csv(root / f"{kind}_analysis_metrics.csv", index=False)
    return root


def save(path: Path, rows: list[tuple[object, ...]], columns: str) -> None:
    pd.DataFrame(rows, columns=columns.split()).to_csv(path, index=False)


def write_nwb(path: Path, number: int, n: int = 60_000) -> None:
    """Write a file that is NWB enough to be opened: contiguous columns, like the released ones."""
    rng = np.random.default_rng(number)
    with h5py.File(path, "w") as file:
        file.attrs["nwb_version"] = "2.2.2"
        file["identifier"] = str(number)
        file["units/id"] = np.arange(N_UNITS)
        file["units/spike_times"] = np.sort(rng.uniform(0, 9000, n))
        file["units/spike_times_index"] = np.linspace(0, n, N_UNITS + 1).astype(np.int64)[1:]


def serve_folder(server: object, root: Path) -> None:
    """Serve every file below `root` under its key."""
    for path in sorted(root.rglob("*")):
        if path.is_file():
            server.serve(path.relative_to(root).as_posix(), path.read_bytes())  # type: ignore[attr-defined]
