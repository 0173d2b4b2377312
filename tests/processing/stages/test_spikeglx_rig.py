"""A rig whose only computer is SpikeGLX's: lines on its NI card, a square wave for a clock, compressed samples."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from allen_ecephys import EcephysSession
from allen_ecephys.cli import main
from allen_ecephys.errors import FileFormatError, InvalidValueError, UnknownNameError
from allen_ecephys.processing import describe_folder, plan_sessions, read_session_file, run_whole_session
from allen_ecephys.processing.pipeline.costs import INFLATING, MEASURED, Size
from allen_ecephys.processing.readers import open_bands
from allen_ecephys.processing.recording import duration
from allen_ecephys.processing.simulation.raw.recording import read_ground_truth
from allen_ecephys.processing.simulation.rig import RigTruth, write_rig
from allen_ecephys.processing.sorting import sorters
from allen_ecephys.processing.sorting.spikes_to_result import result_from_spikes
from allen_ecephys.processing.stages.probe import sort_raw
from allen_ecephys.units.filter import UnitFilter

pytest.importorskip("probeinterface")


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> RigTruth:
    return write_rig(
        tmp_path_factory.mktemp("rig") / "session", repeats=1, n_units=3, n_channels=16, recorder="spikeglx",
        compress=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def session(rig: RigTruth, tmp_path_factory: pytest.TempPathFactory) -> EcephysSession:
    """Give the session's file, its units sorted by one who knows the truth."""

    def sort(recording: Any, folder: Path, parameters: Any) -> Any:
        truth = read_ground_truth(parameters["truth"])
        return result_from_spikes(
            recording, truth.spike_times, truth.spike_units, len(truth.units), folder, details={"sorter": "truth"}
        )

    place = tmp_path_factory.mktemp("measured")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sorters.SORTERS, "truth", sort)
        for probe in rig.probes:
            raw = rig.folder / probe.name
            sort_raw(raw, place / probe.name, sorter="truth", parameters={"truth": str(raw)}).measure()
    folders = {probe.name: place / probe.name for probe in rig.probes}
    stage = run_whole_session(rig.folder / "session.json", folders, place / "packaged")
    return EcephysSession(stage.folder / "session.nwb", unit_filter=UnitFilter.none())


def test_spikes_are_where_they_were(rig: RigTruth, session: EcephysSession) -> None:
    """Within 0.1 ms, although the clocks of the two probes run 37 ppm too fast and 12 too slow, and all see a wave."""
    compared = 0
    for unit_id, row in session.units.iterrows():
        probe = rig.probes[int(row["probe_id"]) % 10]
        times, true = session.spike_times[unit_id], probe.seconds(probe.recording.spike_train(int(row["cluster_id"])))
        nearest = true[np.searchsorted(true, times).clip(1, len(true) - 1)[:, None] - [1, 0]]
        assert np.abs(nearest - times[:, None]).min(axis=1).max() < 1e-4
        assert len(times) > 0.95 * len(true)
        compared += len(times)
    assert compared > 500
    assert len(session.units) == 6


def test_a_plan_counts_what_inflating_takes(rig: RigTruth) -> None:
    told = json.loads((rig.folder / "session.json").read_text())
    costs = {}
    for write in (True, False):
        path = rig.folder / f"written_{write}.json"
        path.write_text(json.dumps(told | {"stages": {"median_subtraction": {"write": write}}}))
        planned = plan_sessions([path]).stages
        costs[write] = {stage.status.key.partition("/")[2]: stage.cost.seconds for stage in planned}
        path.unlink()
    band = rig.probes[0].recording.recording()
    plain = Size(duration(band), band.n_channels)
    once = INFLATING.of(plain).seconds
    sorting, noise = (MEASURED[stage].of(plain).seconds for stage in ("sorting", "noise_units"))
    assert costs[True]["probeA/sorting"] == pytest.approx(sorting)  # of what was written, which is not compressed
    assert costs[False]["probeA/sorting"] == pytest.approx(sorting + 2 * once)
    assert costs[True]["probeA/noise_units"] == costs[False]["probeA/noise_units"] == pytest.approx(noise)
    assert costs[True]["probeA/lfp"] > MEASURED["lfp"].of(plain).seconds


def test_what_was_shown_and_done_is_on_the_same_clock(rig: RigTruth, session: EcephysSession) -> None:
    shown = session.stimulus_presentations
    stimuli = shown[shown["stimulus_name"] != "spontaneous"].reset_index(drop=True)
    assert stimuli["stimulus_name"].tolist() == rig.presentations["stimulus_name"].tolist()
    for edge in ("start_time", "stop_time"):
        assert np.abs(stimuli[edge] - rig.presentations[edge]).max() < 1e-3
    lights = session.optogenetic_stimulation_epochs["start_time"].to_numpy()
    assert np.abs(lights - rig.light_times).max() < 1e-4
    assert session.get_pupil_data() is not None
    assert len(session.running_speed) > 100
    lfp = session.get_lfp(int(session.probes.index[0]))
    assert abs(float(lfp.time[0]) - rig.probes[0].start) < 2e-3


def test_the_wave_and_both_bands_are_as_the_recorder_writes_them(rig: RigTruth) -> None:
    for probe in rig.probes:
        bands = open_bands(rig.folder / probe.name)
        assert bands.lfp is not None
        for band, step in ((bands.spike_band, 1), (bands.lfp, 12)):
            assert band.path.suffix == ".cbin"
            rows = np.flatnonzero(np.diff(band.read_columns(0, band.n_samples)[:, -1]) == 64) + 1
            seconds = probe.seconds(step * rows)
            assert np.abs(seconds - np.round(seconds + 0.5) + 0.5).max() < 1.1 * step / 30_000
    assert not list(rig.folder.rglob("*.bin"))


def test_a_folder_says_by_itself_what_its_clock_is(rig: RigTruth, tmp_path: Path) -> None:
    (tmp_path / "rig").mkdir()
    for path in rig.folder.iterdir():
        if path.name != "session.json":
            (tmp_path / "rig" / path.name).symlink_to(path)
    said = describe_folder(tmp_path / "rig").read_text()
    assert 'sync = "rig_g0_t0.nidq.cbin"' in said
    assert said.count('clock = "square_wave"') == 2
    assert "which lines of the NI card saw the stimulus" in said
    told = describe_folder(rig.folder, tmp_path / "told.toml").read_text()
    assert '[lines]\nframes = "XD2"' in told
    assert "which lines" not in told
    changed = tmp_path / "changed.toml"
    changed.write_text(re.sub(r'photodiode = "XD4"', "photodiode = 4", told))
    assert read_session_file(changed).told.lines["photodiode"] == 4
    changed.write_text(re.sub(r'photodiode = "XD4"', "photodiode = 4.5", told))
    with pytest.raises(FileFormatError, match=r"photodiode is 4\.5; give the name of a line"):
        read_session_file(changed)
    changed.write_text(told.replace("photodiode =", "photodiod ="))
    with pytest.raises(FileFormatError, match="did you mean 'photodiode'"):
        read_session_file(changed)


def test_rigs_that_there_are_not(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="no recorder 'plexon'"):
        write_rig(tmp_path / "rig", recorder="plexon")
    with pytest.raises(InvalidValueError, match="recorder='spikeglx'"):
        write_rig(tmp_path / "rig", compress=True)
    said = CliRunner().invoke(main, ["process", "simulate", str(tmp_path / "rig"), "--rig", "--compress"])
    assert said.exit_code == 2
    assert "--recorder spikeglx" in said.output
