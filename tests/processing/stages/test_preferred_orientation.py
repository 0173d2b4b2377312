"""Raw data of a rig in, tuning out: sorted by the package's own sorter, and nothing of the truth used on the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from allen_ecephys import EcephysSession, UnitFilter
from allen_ecephys.processing import run_whole_session, sort_raw
from allen_ecephys.processing.simulation import score_phy_folder, write_rig

#: True units that the sorter found, by the usual measure: agreement over spikes of either.
WELL_SORTED = 0.8


@pytest.mark.slow
def test_preferred_orientation_of_well_sorted_units(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    rig = write_rig(tmp_path / "rig", repeats=3, n_probes=1, n_units=12, n_channels=48, seed=5)
    (probe,) = rig.probes
    sorted_probe = sort_raw(rig.folder / probe.name, tmp_path / probe.name)
    sorted_probe.measure()
    stage = run_whole_session(rig.folder / "session.json", {probe.name: tmp_path / probe.name}, tmp_path, lfp=False)
    score = score_phy_folder(sorted_probe.sorting.folder, probe.recording).units
    found = score[score["accuracy"] >= WELL_SORTED]
    assert len(found) >= 6
    with EcephysSession(stage.folder / "session.nwb", unit_filter=UnitFilter.none()) as session:
        gratings = session.get_stimulus_table("drifting_gratings")
        gratings = gratings[gratings["orientation"].notna()]
        angle = np.deg2rad(gratings["orientation"].to_numpy(float))
        counts = session.presentationwise_spike_counts([0.0, 1.0], gratings.index, session.units.index)
        unit_of = {int(cluster): unit for unit, cluster in session.units["cluster_id"].items()}
        away = []
        for unit, row in found.iterrows():
            spikes = counts.sel(unit_id=unit_of[int(row["sorted_unit"])]).to_numpy().ravel()
            preferred = np.rad2deg(np.angle((spikes * np.exp(1j * angle)).sum()))
            away.append((preferred - probe.preferred_orientation[unit] + 180) % 360 - 180)
    record_property("well_sorted", len(found))
    record_property("off_by_degrees", str(np.round(away, 1).tolist()))
    assert (np.abs(away) < 22.5).mean() >= 0.9  # nearer to the true direction than to any other
