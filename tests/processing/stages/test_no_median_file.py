"""Medians subtracted on the way, with no second file of the recording's size: the same spikes, units and bytes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from allen_ecephys.processing.readers import open_bands
from allen_ecephys.processing.simulation.raw.recording import RawGroundTruth, write_recording
from allen_ecephys.processing.simulation.raw.trains import TrainModel
from allen_ecephys.processing.spike_band import MedianSubtractedRecording, estimate_depth, write_median_subtracted
from allen_ecephys.processing.spike_band.writing import open_processed
from allen_ecephys.processing.stages.probe import SortedProbe, sort_raw


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> RawGroundTruth:
    return write_recording(
        tmp_path_factory.mktemp("raw") / "probe", duration=8.0, n_units=4, n_channels=32, lfp=False, seed=2,
        amplitude_range=(150.0, 300.0), trains=TrainModel(rate_range=(15.0, 25.0)),
    )  # fmt: skip


def sort(truth: RawGroundTruth, folder: Path, *, write: bool) -> SortedProbe:
    return sort_raw(truth.folder, folder, write_medians=write)


def test_the_same_units_without_the_file(truth: RawGroundTruth, tmp_path: Path) -> None:
    written, computed = sort(truth, tmp_path / "a", write=True), sort(truth, tmp_path / "b", write=False)
    assert {p.name for p in computed.medians.folder.iterdir()} == {"saturated_samples.npy", "source.json", "stage.json"}
    assert isinstance(computed.recording, MedianSubtractedRecording)
    np.testing.assert_array_equal(computed.recording.read(100, 9000), written.recording.read(100, 9000))
    names = sorted(path.name for path in written.sorting.folder.glob("*.npy"))
    assert len(names) > 5
    for name in names:
        assert (written.sorting.folder / name).read_bytes() == (computed.sorting.folder / name).read_bytes(), name
    pd.testing.assert_frame_equal(written.measure(), computed.measure())
    # phy shows the raw samples: from its own folder it finds them.
    parameters: dict[str, object] = {}
    exec((computed.sorting.folder / "params.py").read_text(), parameters)
    assert (computed.sorting.folder / str(parameters["dat_path"])).resolve() == truth.recording().path.resolve()


def test_a_second_run_reuses_and_other_samples_sort_again(truth: RawGroundTruth, tmp_path: Path) -> None:
    raw = shutil.copytree(truth.folder, tmp_path / "raw")
    first = sort_raw(raw, tmp_path / "out", write_medians=False)
    assert sort_raw(raw, tmp_path / "out", write_medians=False).sorting.reused
    samples = open_bands(raw).spike_band.path
    with samples.open("r+b") as file:  # one value somewhere, which changes neither offsets nor saturation
        file.seek(2 * 32 * 200_000)
        file.write(b"\x07\x00")
    again = sort_raw(raw, tmp_path / "out", write_medians=False)
    assert (again.medians.reused, again.sorting.reused) == (False, False)
    assert first.medians.manifest["outputs"] != again.medians.manifest["outputs"]


@pytest.mark.parametrize("probe", ["NP1000", "NP2014", "NP1100"])
def test_the_view_has_the_values_of_the_file(tmp_path: Path, probe: str) -> None:
    """Whatever the probe: the groups of medians depend on its wiring and on how dense it is."""
    recording = write_recording(
        tmp_path / "raw", duration=2.0, n_units=3, n_channels=384, lfp=False, probe=probe, seed=1, form="spikeglx"
    ).recording()
    info = estimate_depth(recording)
    (tmp_path / "written").mkdir()
    write_median_subtracted(recording, info, tmp_path / "written")
    view = MedianSubtractedRecording(recording, info)
    np.testing.assert_array_equal(view.read(0, 4000), open_processed(tmp_path / "written").read(0, 4000))
