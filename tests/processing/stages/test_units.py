"""The path from a raw probe folder to measured units and a session file, by the commands a user would type."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from allen_ecephys import EcephysSession, UnitFilter
from allen_ecephys.cli.process import process
from allen_ecephys.errors import (
    InvalidContentsError,
    InvalidTypeError,
    MissingFileError,
    SpikeTrainError,
    StageError,
)
from allen_ecephys.processing.pipeline.manifest import verify_stage
from allen_ecephys.processing.quality_metrics import QUALITY_METRICS, QualitySettings
from allen_ecephys.processing.simulation.raw.recording import TRUTH_FILE, read_ground_truth, write_recording
from allen_ecephys.processing.simulation.raw.signal import ChannelFaults
from allen_ecephys.processing.simulation.raw.trains import TrainModel
from allen_ecephys.processing.sorted_spikes import SortedSpikes
from allen_ecephys.processing.spike_band.depth_estimation import estimate_depth
from allen_ecephys.processing.spike_band.median_subtraction import MedianSubtractedRecording
from allen_ecephys.processing.stages.opening import ProbeData, open_probe
from allen_ecephys.processing.stages.session import package_units, run_session
from allen_ecephys.processing.stages.units import UnitParameters, measure_units
from allen_ecephys.processing.waveforms import WAVEFORM_METRICS

STAGES = ("depth_estimation", "double_counted_spikes", "mean_waveforms", "noise_units", "features", "units")


def simulate(folder: Path, **kwargs: object) -> Path:
    settings: dict[str, object] = {
        "duration": 8.0,
        "n_units": 6,
        "n_channels": 144,
        "seed": 5,
        "amplitude_range": (100.0, 250.0),
        "surface_channel": 130,
        "trains": TrainModel(rate_range=(20.0, 35.0)),
        "faults": ChannelFaults(references=(36,), dead=(9,)),
    }
    write_recording(folder, **(settings | kwargs))  # type: ignore[arg-type]
    return folder


def open_simulated(folder: Path) -> ProbeData:
    """Open a simulated probe with its true spikes."""
    return open_probe(folder, spikes=read_ground_truth(folder).sorted_spikes(), spike_files=[folder / TRUTH_FILE])


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(tmp_path_factory.mktemp("raw") / "probe")


@pytest.fixture(scope="module")
def measured(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the command once for all tests."""
    folder = tmp_path_factory.mktemp("measured") / "units"
    result = CliRunner().invoke(process, ["units", str(raw), str(folder)])
    assert result.exit_code == 0, result.output
    assert "6 units" in result.output
    return folder


def test_one_command_makes_every_output(measured: Path, raw: Path) -> None:
    table = pd.read_csv(measured / "units" / "metrics.csv", index_col="cluster_id")
    assert table.index.tolist() == list(range(6))
    judgements = {"sorting_label", "quality", "noise_reasons", "fails_bounds", "too_few_spikes"}
    assert set(WAVEFORM_METRICS) | set(QUALITY_METRICS) | judgements | {"n_spikes", "good_seconds"} == set(
        table.columns
    )
    truth = read_ground_truth(raw).units
    assert (table["quality"] == "good").sum() >= 5
    np.testing.assert_allclose(table["firing_rate"], truth["firing_rate"], rtol=0.04)
    assert (table["peak_channel"] == truth["peak_channel"]).mean() >= 0.8
    assert np.abs(table["y_um"] - truth["y"]).median() < 10
    for stage in STAGES:
        assert verify_stage(measured / stage) == []
    waveforms = np.load(measured / "mean_waveforms" / "mean_waveforms.npy")
    assert waveforms.shape == (6, 144, 82)
    groups = pd.read_csv(measured / "noise_units" / "cluster_group.tsv", sep="\t")
    assert list(groups.columns) == ["cluster_id", "group"]
    info = json.loads((measured / "depth_estimation" / "probe_info.json").read_text(encoding="utf-8"))
    assert not info["mask"][36]
    assert not info["mask"][9]


def test_another_command_packages_them_and_everyone_reads_them(measured: Path, tmp_path: Path) -> None:
    path = tmp_path / "session.nwb"
    result = CliRunner().invoke(process, ["package", str(measured), "-o", str(path), "--session-id", "12"])
    assert result.exit_code == 0, result.output
    table = pd.read_csv(measured / "units" / "metrics.csv", index_col="cluster_id")
    session = EcephysSession(path, unit_filter=UnitFilter.none())
    units = session.units.set_index("cluster_id").sort_index()
    assert sorted(session.units.index) == [100_000 * 120 + c for c in table.index]
    for theirs, ours in {
        "waveform_duration": "duration",
        "waveform_amplitude": "amplitude",
        "L_ratio": "l_ratio",
        "isi_violations": "isi_violations",
        "snr": "snr",
        "d_prime": "d_prime",
    }.items():
        np.testing.assert_allclose(units[theirs], table[ours], rtol=1e-12)
    spikes = np.load(measured / "double_counted_spikes" / "spike_times.npy")
    clusters = np.load(measured / "double_counted_spikes" / "spike_clusters.npy")
    unit = int(session.units.index[0])
    cluster = int(session.units.loc[unit, "cluster_id"])
    np.testing.assert_array_equal(session.spike_times[unit], np.sort(spikes[clusters == cluster]) / 30_000)
    # Amplitudes are volts: those of single spikes scatter around that of the mean waveform.
    amplitude = table.loc[cluster, "amplitude"] * 1e-6
    assert np.median(session.spike_amplitudes[unit]) == pytest.approx(amplitude, rel=0.2)
    session.close()

    import pynapple

    group = pynapple.load_file(str(path))["units"]
    assert len(group) == 6


@pytest.mark.peers
def test_spikeinterface_reads_the_packaged_units(measured: Path, tmp_path: Path) -> None:
    from spikeinterface.extractors import read_nwb_sorting

    path = tmp_path / "session.nwb"
    assert CliRunner().invoke(process, ["package", str(measured), "-o", str(path)]).exit_code == 0
    sorting = read_nwb_sorting(str(path), sampling_frequency=30_000.0, t_start=0.0)
    assert sorting.get_num_units() == 6
    spikes = np.load(measured / "double_counted_spikes" / "spike_times.npy")
    assert sum(sorting.count_num_spikes_per_unit().values()) == spikes.size


def test_a_second_run_reuses_and_a_changed_parameter_redoes(measured: Path, raw: Path, tmp_path: Path) -> None:
    """P4: what depends on the change is done again, and nothing else."""
    folder = tmp_path / "units"
    shutil.copytree(measured, folder)
    before = {stage: (folder / stage / "stage.json").stat().st_mtime_ns for stage in STAGES}

    def changed() -> set[str]:
        return {stage for stage in STAGES if (folder / stage / "stage.json").stat().st_mtime_ns != before[stage]}

    probe = open_simulated(raw)
    measure_units(probe, folder)
    assert changed() == set()
    measure_units(probe, folder, UnitParameters(quality=QualitySettings(isi_threshold=0.002)))
    assert changed() == {"units"}
    measure_units(probe, folder, UnitParameters(spikes_per_unit=50))
    assert changed() == {"mean_waveforms", "noise_units", "features", "units"}
    (folder / "features" / "amplitudes.npy").write_bytes(b"cut")
    measure_units(probe, folder, UnitParameters(spikes_per_unit=50))
    assert verify_stage(folder / "features") == []


def test_runs_are_reproducible_to_the_byte(measured: Path, raw: Path, tmp_path: Path) -> None:
    measure_units(open_simulated(raw), tmp_path / "again")
    for stage in STAGES:
        for path in (measured / stage).rglob("*"):
            if path.is_file() and path.name != "stage.json" and path.suffix != ".npz":
                assert (tmp_path / "again" / stage / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize("stage", ["double_counted_spikes", "features"])
def test_killed_in_a_stage_resumes_with_equal_bytes(measured: Path, raw: Path, tmp_path: Path, stage: str) -> None:
    """P1, P2: kill -9 after a stage's data and before its marker; the stage does not count as done."""
    folder = tmp_path / "units"
    script = f"""
import os, signal
from pathlib import Path
from typing import Any
from allen_ecephys.processing.pipeline import stage as stages
from allen_ecephys.processing.simulation.raw.recording import read_ground_truth
from allen_ecephys.processing.stages.opening import open_probe
from allen_ecephys.processing.stages.units import measure_units
raw = Path({str(raw)!r})
flush = stages.sync_files
def kill(place):
    flush(place)
    if Path(place).name.startswith(".{stage}."):
        os.kill(os.getpid(), signal.SIGKILL)
stages.sync_files = kill
truth = read_ground_truth(raw)
probe = open_probe(raw, spikes=truth.sorted_spikes(), spike_files=[raw / 'ground_truth.npz'])
measure_units(probe, {str(folder)!r})
"""
    died = subprocess.run([sys.executable, "-c", script], check=False, env=os.environ, capture_output=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert not (folder / stage).exists()
    finished = {s: (folder / s / "stage.json").stat().st_mtime_ns for s in STAGES if (folder / s).exists()}
    measure_units(open_simulated(raw), folder)
    for name, time in finished.items():
        assert (folder / name / "stage.json").stat().st_mtime_ns == time
    expected = (measured / "units" / "metrics.csv").read_bytes()
    assert (folder / "units" / "metrics.csv").read_bytes() == expected
    assert not list(folder.glob(".*.draft"))


def test_epochs_are_averaged_apart(raw: Path, tmp_path: Path) -> None:
    measure_units(open_simulated(raw), tmp_path / "units", UnitParameters(epochs={"first_half": (0.0, 4.0)}))
    folder = tmp_path / "units" / "mean_waveforms"
    table = pd.read_csv(folder / "waveform_metrics.csv")
    assert table["epoch_name"].unique().tolist() == ["complete_session", "first_half"]
    assert (np.load(folder / "first_half" / "counts.npy") < np.load(folder / "counts.npy")).all()


def test_the_three_judgements_are_told_apart(raw: Path, measured: Path, tmp_path: Path) -> None:
    """A unit that fires seldom is no noise; what the sorter called it and which bounds it fails stand beside."""
    probe = open_simulated(raw)
    rare = probe.spikes.rows_by_unit()[2][40:]
    keep = np.ones(len(probe.spikes), bool)
    keep[rare] = False
    few = ProbeData(probe.recording, probe.lfp, probe.spikes.keep(keep), probe.files, {2: "mua", 3: "good"})
    table = measure_units(few, tmp_path / "units")
    assert table["sorting_label"].tolist() == ["", "", "mua", "good", "", ""]
    assert table.loc[2, ["quality", "noise_reasons"]].tolist() == ["good", ""]
    assert "presence_ratio" in table.loc[2, "fails_bounds"].split(",")
    before = pd.read_csv(measured / "units" / "metrics.csv", index_col="cluster_id")
    whole = before["fails_bounds"].isna() & (before["quality"] == "good")
    bounds = UnitFilter(valid_only=True, in_brain_only=False)
    np.testing.assert_array_equal(whole, bounds.mask(before))
    # A label that changes in phy measures nothing anew but the table.
    again = measure_units(replace(few, labels={2: "good"}), tmp_path / "units")
    assert again["sorting_label"].tolist() == ["", "", "good", "", "", ""]
    pd.testing.assert_frame_equal(again.drop(columns="sorting_label"), table.drop(columns="sorting_label"))


def test_median_subtraction_in_passing_equals_that_of_the_whole(raw: Path) -> None:
    """P5: any window of the view has the values of the whole."""
    probe = open_simulated(raw)
    view = MedianSubtractedRecording(probe.recording, estimate_depth(probe.recording, probe.lfp))
    whole = view.read(0, 3000)
    np.testing.assert_array_equal(view.read(1234, 1301), whole[1234:1301])
    np.testing.assert_array_equal(view.read(0, 100, [3, 7]), whole[:100, [3, 7]])
    np.testing.assert_allclose(view.read_uv(0, 100), whole[:100] * view.uv_per_bit, rtol=1e-6)
    # Offsets and what channels share are gone.
    assert np.abs(np.median(whole[:, view.info.mask], axis=0)).max() < np.abs(view.info.offsets).max()


def test_every_channel_dead_ends_in_a_readable_file(tmp_path: Path) -> None:
    """P9: no good unit, and a valid session file."""
    folder = simulate(tmp_path / "raw", faults=ChannelFaults(references=(), dead=tuple(range(144))), duration=5.0)
    table = measure_units(open_simulated(folder), tmp_path / "units")
    assert (table["quality"] == "noise").all()
    CliRunner().invoke(process, ["package", str(tmp_path / "units"), "-o", str(tmp_path / "s.nwb")])
    session = EcephysSession(tmp_path / "s.nwb", unit_filter=UnitFilter.none())
    assert len(session.units) == 6
    session.close()
    default = EcephysSession(tmp_path / "s.nwb")
    assert len(default.units) == 0
    default.close()


@pytest.mark.parametrize("n_spikes", [0, 1])
def test_no_units_and_one_spike(raw: Path, tmp_path: Path, n_spikes: int) -> None:
    """P9: nothing sorted, or next to nothing."""
    probe = open_simulated(raw)
    few = ProbeData(probe.recording, probe.lfp, probe.spikes.keep(np.arange(len(probe.spikes)) < n_spikes), probe.files)
    if n_spikes == 0:
        few = ProbeData(probe.recording, probe.lfp, SortedSpikes.from_arrays([], []), probe.files)
    table = measure_units(few, tmp_path / "units")
    assert len(table) == (6 if n_spikes else 0)
    assert (table["quality"] == "noise").all()
    package_units(
        [tmp_path / "units"], tmp_path / "s.nwb", session_id=3, session_start_time=pd.Timestamp("2024-01-01T00Z")
    )
    session = EcephysSession(tmp_path / "s.nwb", unit_filter=UnitFilter.none())
    assert len(session.units) == len(table)
    session.close()


def test_phy_folder_gives_the_spikes(raw: Path, measured: Path, tmp_path: Path) -> None:
    truth = read_ground_truth(raw)
    phy = tmp_path / "phy"
    phy.mkdir()
    np.save(phy / "spike_times.npy", truth.spike_times[:, None].astype(np.uint64))
    np.save(phy / "spike_clusters.npy", truth.spike_units.astype(np.int32))
    result = CliRunner().invoke(process, ["units", str(raw), str(tmp_path / "units"), "--spikes", str(phy)])
    assert result.exit_code == 0, result.output
    expected = (measured / "units" / "metrics.csv").read_bytes()
    assert (tmp_path / "units" / "units" / "metrics.csv").read_bytes() == expected
    np.save(phy / "spike_times.npy", truth.spike_times + truth.n_samples)
    with pytest.raises(SpikeTrainError, match="past the end"):
        open_probe(raw, phy)


@pytest.mark.parametrize("lost", ["features", "sampling_rate"])
def test_folders_of_an_earlier_version_say_how_they_are_mended(measured: Path, tmp_path: Path, lost: str) -> None:
    folder = shutil.copytree(measured, tmp_path / "measured")
    if lost == "features":
        shutil.rmtree(folder / "features")
    else:
        manifest = json.loads((folder / "units" / "stage.json").read_text())
        del manifest["report"][lost]
        (folder / "units" / "stage.json").write_text(json.dumps(manifest))
    with pytest.raises(StageError, match=rf"by version \d.* lacks .*Run `.* units RAW {folder}` again"):
        package_units([folder], tmp_path / "s.nwb", session_id=1, session_start_time=pd.Timestamp("2024-01-01T00Z"))


def test_one_folder_may_be_named_and_a_start_that_is_no_time_is_refused(measured: Path, tmp_path: Path) -> None:
    """A folder's name is no list of folders, and text is no time."""
    start: Any
    for start, said in (("2024-05-01", "not a datetime"), (None, "not a datetime"), (1.0, "not a datetime")):
        with pytest.raises(InvalidTypeError, match=said):
            package_units(measured, tmp_path / "s.nwb", session_start_time=start)
        with pytest.raises(InvalidTypeError, match=said):
            run_session(measured, tmp_path / "run", session_start_time=start)
    with pytest.raises(InvalidContentsError, match="no time zone"):
        package_units(measured, tmp_path / "s.nwb", session_start_time=pd.Timestamp("2024-01-01"))
    for number, folders in enumerate((measured, str(measured), [measured])):
        path = package_units(folders, tmp_path / f"{number}.nwb", session_start_time=pd.Timestamp("2024-01-01T00Z"))
        assert path.is_file()


def test_folders_without_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"Open Ephys"):
        open_probe(tmp_path)
    with pytest.raises(StageError, match="process units"):
        package_units([tmp_path], tmp_path / "s.nwb", session_id=1, session_start_time=pd.Timestamp("2024-01-01T00Z"))
    with pytest.raises(StageError, match="no folder"):
        package_units([], tmp_path / "s.nwb", session_id=1, session_start_time=pd.Timestamp("2024-01-01T00Z"))
