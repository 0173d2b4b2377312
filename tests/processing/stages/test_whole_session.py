"""From a rig's folder to the session's files and back: what was shown, what the units prefer, what the animal did."""

from __future__ import annotations

import json
import os
import subprocess
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from allen_ecephys import EcephysSession
from allen_ecephys.errors import InvalidContentsError, StageError
from allen_ecephys.processing import run_whole_session, whole_session_inputs
from allen_ecephys.processing.packaging import read_session_description
from allen_ecephys.processing.pipeline.stage import StageResult
from allen_ecephys.processing.simulation.raw.recording import read_ground_truth
from allen_ecephys.processing.simulation.rig import RigTruth, write_rig
from allen_ecephys.processing.sorting import sorters
from allen_ecephys.processing.sorting.spikes_to_result import result_from_spikes
from allen_ecephys.processing.stages.probe import sort_raw
from allen_ecephys.units.filter import UnitFilter

#: Samples of probeB at which all its channels are at the end of their range.
SATURATED = slice(600_000, 600_300)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> RigTruth:
    truth = write_rig(
        tmp_path_factory.mktemp("rig") / "session", repeats=1, n_units=4, n_channels=16, barcode_interval=12.4
    )
    samples = np.memmap(truth.probes[1].recording.recording().path, "<i2", "r+").reshape(-1, 16)
    samples[SATURATED] = 7000
    samples.flush()
    return truth


@pytest.fixture(scope="module")
def folders(rig: RigTruth, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Give the measured units of every probe, sorted by one who knows the truth."""

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
    return {probe.name: place / probe.name for probe in rig.probes}


@pytest.fixture(scope="module")
def stage(rig: RigTruth, folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> StageResult:
    return run_whole_session(rig.folder / "session.json", folders, tmp_path_factory.mktemp("packaged"))


def preferred_orientations(session: EcephysSession) -> Any:
    """Orientation at which each unit fires most spikes between onset and offset."""
    gratings = session.get_stimulus_table("drifting_gratings")
    gratings = gratings[gratings["orientation"].notna()]
    found = {}
    for unit, times in session.spike_times.items():
        counts = np.searchsorted(times, gratings["stop_time"]) - np.searchsorted(times, gratings["start_time"])
        angle = np.deg2rad(gratings["orientation"].to_numpy(float))
        vector = (counts * np.exp(1j * angle)).sum()
        found[unit] = np.rad2deg(np.angle(vector)) % 360
    return found


def test_from_raw_data_to_tuning(rig: RigTruth, stage: StageResult) -> None:
    session = EcephysSession(stage.folder / "session.nwb", unit_filter=UnitFilter.none())

    shown = session.stimulus_presentations
    truth = rig.presentations
    stimuli = shown[shown["stimulus_name"] != "spontaneous"].reset_index(drop=True)
    assert stimuli["stimulus_name"].tolist() == truth["stimulus_name"].tolist()
    for edge in ("start_time", "stop_time"):
        assert np.abs(stimuli[edge] - truth[edge]).max() < 1e-3
    gratings = truth["stimulus_name"] == "drifting_gratings"
    assert np.array_equal(
        stimuli.loc[gratings, "orientation"].to_numpy(float), truth.loc[gratings, "orientation"].to_numpy(float), True
    )

    units, found = session.units, preferred_orientations(session)
    close = []
    for unit_id, row in units.iterrows():
        probe = rig.probes[int(row["probe_id"]) % 10]
        unit = int(row["cluster_id"])
        times = session.spike_times[unit_id]
        true_times = probe.seconds(probe.recording.spike_train(unit))
        if len(times) == len(true_times):
            assert np.abs(times - true_times).max() < 1e-4
        away = (found[unit_id] - probe.preferred_orientation[unit] + 180) % 360 - 180
        close.append(abs(away) < 25)
    assert len(units) == 8
    assert np.mean(close) >= 0.9

    running = session.running_speed
    onsets = rig.shown.vsync_rising
    nearest = np.searchsorted(onsets, running["end_time"].to_numpy() + 1e-3) - 1
    assert np.abs(running["velocity"].to_numpy() - rig.wheel.speed[nearest]).max() < 0.5
    lights = session.optogenetic_stimulation_epochs
    assert np.abs(lights["start_time"].to_numpy() - rig.light_times).max() < 2e-5
    pupil = session.get_pupil_data()
    assert np.abs(pupil.index.to_numpy() - rig.eye_times).max() < 2e-5

    assert session.sex == "F"
    assert session.age_in_days == 118
    assert session.rig_equipment_name == "NP.sim"
    with h5py.File(stage.folder / "session.nwb") as file:
        assert "strain" not in file["general/subject"]
        assert "specimen_name" not in file["general/subject"].attrs
        assert file["processing/eye_tracking/likely_blink/data"][()][rig.blinks > 0].all()
    clocks = stage.report["clocks"]
    assert clocks["probeA"]["drift_ppm"] == pytest.approx(37, abs=1)
    assert json.loads((stage.folder / "probeB_clock.json").read_text())["n_matched"] >= 4
    assert (stage.folder / "probeA_clock.png").stat().st_size > 10_000


def test_lfp_of_a_session(rig: RigTruth, stage: StageResult) -> None:
    probe = rig.probes[0]
    (path,) = stage.folder.glob("probe_*0_lfp.nwb")
    with h5py.File(path) as file:
        series = next(iter(file["acquisition"].values()))
        series = series if "data" in series else next(iter(series.values()))
        assert series["data"].dtype == np.int16
        times = series["timestamps"][()]
        traces = series["data"][()] * series["data"].attrs["conversion"]
        csd = file["processing/current_source_density/calibrated_current_source_density"]
        density, csd_times = csd["data"][()], csd["timestamps"][()]
        assert (
            "uncalibrated"
            in file["processing/current_source_density/ecephys_csd/current_source_density"].attrs["description"]
        )
    assert np.abs(times - probe.seconds(24 * np.arange(len(times)))).max() < 1e-4
    assert stage.report["lfp"]["probeA"]["n_flashes"] == 8
    peak = csd_times[np.abs(density).max(axis=1).argmax()]
    assert peak == pytest.approx(0.05, abs=0.01)
    assert 1e-5 < traces[:, 0].std() < 1e-3


def test_equal_files_from_equal_folders(
    rig: RigTruth, folders: dict[str, Path], stage: StageResult, tmp_path: Path
) -> None:
    description = rig.folder / "session.json"
    second = run_whole_session(description, folders, tmp_path, lfp=False)
    assert run_whole_session(description, folders, tmp_path, lfp=False).reused
    ids = []
    for made in (stage, second):
        with h5py.File(made.folder / "session.nwb") as file:
            ids.append(
                (
                    file["units/id"][()],
                    file["units/spike_times"][()],
                    file["general/extracellular_ephys/electrodes/id"][()],
                )
            )
    for one, other in zip(*ids, strict=True):
        assert np.array_equal(one, other)


def test_raw_data_events_and_what_is_told_are_inputs(
    rig: RigTruth, folders: dict[str, Path], stage: StageResult, tmp_path: Path
) -> None:
    told = read_session_description(rig.folder / "session.json")
    inputs = whole_session_inputs(told, folders)
    probe = rig.folder / "probeB"
    for name in ("continuous/Neuropix-3a-100.0/continuous.dat", "continuous/Neuropix-3a-100.1/continuous.dat"):
        assert probe / name in inputs
    assert {path.name for path in inputs} >= {"event_timestamps.npy", "channel_states.npy", "stimulus.pkl", "units"}
    renamed = replace(told, path=told.path.with_name("session.toml"))
    assert renamed.facts() == told.facts() == stage.manifest["parameters"]["description"]
    with pytest.raises(StageError, match="holds no finished stage 'units'"):
        run_whole_session(told, dict.fromkeys(folders, tmp_path), tmp_path / "out")


def test_pynwb_opens_the_files(stage: StageResult) -> None:
    from pynwb import NWBHDF5IO

    for path in sorted(stage.folder.glob("*.nwb")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the extension's cached namespace
            with NWBHDF5IO(path, "r", load_namespaces=True) as io:
                assert io.read().identifier


@pytest.mark.peers
def test_nwbinspector_finds_nothing_critical(stage: StageResult) -> None:
    from nwbinspector import Importance, inspect_nwbfile

    for path in sorted(stage.folder.glob("*.nwb")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the extension's cached namespace
            found = list(inspect_nwbfile(nwbfile_path=path))
        assert not [m.message for m in found if m.importance.value >= Importance.CRITICAL.value]


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
def test_pynapple_and_spikeinterface_open_the_files(stage: StageResult) -> None:
    import pynapple
    from spikeinterface.extractors import read_nwb_recording, read_nwb_sorting

    path = stage.folder / "session.nwb"
    with EcephysSession(path, unit_filter=UnitFilter.none()) as session:
        spikes = {int(unit): times for unit, times in session.spike_times.items()}
    group = pynapple.load_file(str(path))["units"]
    assert {int(unit): len(group[unit]) for unit in group} == {unit: len(times) for unit, times in spikes.items()}
    sorting = read_nwb_sorting(path, sampling_frequency=30_000.0, t_start=0.0)
    found = {int(unit): len(sorting.get_unit_spike_train(unit)) for unit in sorting.unit_ids}
    assert found == {unit: len(times) for unit, times in spikes.items()}
    for lfp in sorted(stage.folder.glob("probe_*_lfp.nwb")):
        recording = read_nwb_recording(lfp, electrical_series_path=f"acquisition/{lfp.stem}_data")
        with h5py.File(lfp) as file:
            data = next(iter(file["acquisition"].values()))
            data = data if "data" in data else next(iter(data.values()))
            counts, volts = data["data"][:100], data["data"].attrs["conversion"]
        microvolts = recording.get_traces(start_frame=0, end_frame=100, return_in_uV=True)
        assert np.allclose(microvolts, counts * volts * 1e6, rtol=1e-6)
        assert recording.get_sampling_frequency() == pytest.approx(1250.0, abs=0.5)


@pytest.mark.peers
def test_the_oldest_pynwb_reads_the_files(stage: StageResult) -> None:
    """``ALLEN_ECEPHYS_OLDEST_PYNWB_PYTHON`` has pynwb 3.1 and hdmf 4.2."""
    python = os.environ.get("ALLEN_ECEPHYS_OLDEST_PYNWB_PYTHON")
    if not python:
        pytest.skip("ALLEN_ECEPHYS_OLDEST_PYNWB_PYTHON names no interpreter that has pynwb 3.1")
    script = (
        "import sys, pynwb\n"
        "for path in sys.argv[1:]:\n"
        "    with pynwb.NWBHDF5IO(path, 'r', load_namespaces=True) as io:\n"
        "        file = io.read()\n"
        "        print(pynwb.__version__, file.identifier, len(file.units or []), sorted(file.intervals))\n"
    )
    files = [str(path) for path in sorted(stage.folder.glob("*.nwb"))]
    done = subprocess.run([python, "-c", script, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    answers = done.stdout.splitlines()
    assert len(answers) == 3
    assert "3.1" in answers[0]
    assert any(" 8 [" in answer and "drifting_gratings_presentations" in answer for answer in answers)


def test_saturation_is_an_invalid_time(rig: RigTruth, stage: StageResult) -> None:
    start, stop = rig.probes[1].seconds([SATURATED.start, SATURATED.stop - 1])
    with h5py.File(stage.folder / "session.nwb") as file:
        invalid = file["intervals/invalid_times"]
        found = np.column_stack([invalid["start_time"][()], invalid["stop_time"][()]])
        tags = invalid["tags"].asstr()[()].reshape(-1, 3).tolist()
    (row,) = np.flatnonzero((found[:, 0] < start) & (found[:, 1] > stop))
    assert tags[row] == ["EcephysProbe", "7000001", "probeB"]
    assert found[row] == pytest.approx([start - 0.05, stop + 0.05], abs=1e-3)


def test_a_probe_without_an_lfp_band(rig: RigTruth, folders: dict[str, Path], tmp_path: Path) -> None:
    """Its LFP, and the answer to flashes, are made of the wide band."""
    wide, recorded = rig.folder / "wide", rig.folder / "probeA"
    (wide / "continuous").mkdir(parents=True)
    (wide / "continuous" / "Neuropix-3a-100.0").symlink_to(recorded / "continuous" / "Neuropix-3a-100.0")
    (wide / "events").symlink_to(recorded / "events")
    index = json.loads((recorded / "structure.oebin").read_text())
    index["continuous"] = [stream for stream in index["continuous"] if stream["sample_rate"] > 10_000]
    (wide / "structure.oebin").write_text(json.dumps(index))
    told = json.loads((rig.folder / "session.json").read_text())
    told["probes"] = [told["probes"][0] | {"recording": "wide", "events": "probeA"}]
    (rig.folder / "wide.json").write_text(json.dumps(told))
    stage = run_whole_session(rig.folder / "wide.json", {"probeA": folders["probeA"]}, tmp_path)
    lfp = stage.report["lfp"]["probeA"]
    assert lfp["n_flashes"] == 8
    assert (stage.folder / "probe_7000000_lfp.nwb").exists()
    with EcephysSession(stage.folder / "session.nwb") as session:
        (row,) = session.probes.to_dict("records")
        assert row["has_lfp_data"]
        assert row["lfp_sampling_rate"] == pytest.approx(1250.0 * (1 + 37e-6), abs=1e-3)
        seconds = rig.probes[0].recording.n_samples / 30_000
        assert lfp["n_samples"] == pytest.approx(1250 * seconds, abs=2)


def test_a_rig_without_a_sync_file(rig: RigTruth, folders: dict[str, Path], tmp_path: Path) -> None:
    """Open Ephys put the probe in time itself; a table says what was shown."""
    probe = rig.probes[0]
    band = probe.recording.recording()
    np.save(band.path.with_name("timestamps.npy"), probe.seconds(np.arange(band.n_samples)))
    rig.presentations.to_csv(rig.folder / "shown.csv", index=False)
    told = json.loads((rig.folder / "session.json").read_text())
    told = {name: told[name] for name in ("session_id", "session_start_time", "subject")}
    told |= {"presentations": "shown.csv", "probes": [{"name": "probeA", "recording": "probeA", "clock": "recorder"}]}
    (rig.folder / "recorder.json").write_text(json.dumps(told))
    stage = run_whole_session(rig.folder / "recorder.json", {"probeA": folders["probeA"]}, tmp_path, lfp=False)
    assert stage.report["clocks"]["probeA"]["matched_by"] == "samples with a time of the recorder's"
    with EcephysSession(stage.folder / "session.nwb", unit_filter=UnitFilter.none()) as session:
        for unit, row in session.units.iterrows():
            times, true_times = session.spike_times[unit], probe.seconds(probe.recording.spike_train(row["cluster_id"]))
            if len(times) == len(true_times):
                assert np.abs(times - true_times).max() < 1e-6
        assert len(session.stimulus_presentations) >= len(rig.presentations)


def test_units_or_channels_of_another_session(rig: RigTruth, folders: dict[str, Path], tmp_path: Path) -> None:
    description = rig.folder / "session.json"
    with pytest.raises(InvalidContentsError, match="has the probes probeA, probeB, but units were given of probeA"):
        run_whole_session(description, {"probeA": folders["probeA"]}, tmp_path)
    told = json.loads(description.read_text())
    told["probes"][0]["channels"] = "other.csv"
    (rig.folder / "other.json").write_text(json.dumps(told))
    lines = (rig.folder / "probeA_channels.csv").read_text().splitlines()
    (rig.folder / "other.csv").write_text("\n".join(lines[:-3]))
    with pytest.raises(InvalidContentsError, match="is of 13 channels, and probeA has 16"):
        run_whole_session(rig.folder / "other.json", folders, tmp_path)


def test_a_session_that_says_little(
    rig: RigTruth, folders: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = json.loads((rig.folder / "session.json").read_text())
    little = {name: told[name] for name in ("session_id", "session_start_time", "sync")}
    little["probes"] = [{"name": "probeA", "recording": "probeA"}]
    (rig.folder / "little.json").write_text(json.dumps(little))
    probe = {"probeA": folders["probeA"]}
    stage = run_whole_session(rig.folder / "little.json", probe, tmp_path, lfp=False)
    assert "names no stimulus" in caplog.text
    with h5py.File(stage.folder / "session.nwb") as file:
        assert "subject" not in file["general"]
        assert "institution" not in file["general"]
        assert set(file["processing"]) == {"stimulus"}
        assert [name for name in file["intervals"] if name != "invalid_times"] == ["spontaneous_presentations"]
    with EcephysSession(stage.folder / "session.nwb", unit_filter=UnitFilter.none()) as session:
        assert len(session.units) == 4
        assert session.sex is None


def test_samples_lost_in_the_middle_are_an_invalid_time(
    rig: RigTruth, folders: dict[str, Path], tmp_path: Path
) -> None:
    told = json.loads((rig.folder / "session.json").read_text())
    told["probes"] = [told["probes"][0] | {"events": "gap"}]
    recorded = next((rig.folder / "probeA").rglob("event_timestamps.npy"))
    numbers = np.load(recorded)
    (rig.folder / "gap").mkdir()
    np.save(rig.folder / "gap" / "event_timestamps.npy", np.where(numbers > 600_000, numbers - 30_000, numbers))
    np.save(rig.folder / "gap" / "channel_states.npy", np.load(recorded.with_name("channel_states.npy")))
    (rig.folder / "gap.json").write_text(json.dumps(told))
    stage = run_whole_session(rig.folder / "gap.json", {"probeA": folders["probeA"]}, tmp_path, lfp=False)
    (gap,) = stage.report["clocks"]["probeA"]["gaps"]
    assert gap["lost_seconds"] == pytest.approx(1.0, abs=1e-3)
    assert stage.report["n_spikes_without_time"] > 0
    with h5py.File(stage.folder / "session.nwb") as file:
        invalid = file["intervals/invalid_times"]
        start, stop = invalid["start_time"][0], invalid["stop_time"][0]
        times = file["units/spike_times"][()]
        assert invalid["tags"].asstr()[:3].tolist() == ["EcephysProbe", "7000000", "probeA"]
    assert not ((times > start) & (times < stop)).any()
