"""The sorting stage on files: whole or not at all, resumed, never over what somebody curated."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from allen_ecephys.errors import MissingDataError, SortingError, StageError, TooFewChannelsError
from allen_ecephys.nwb import layout
from allen_ecephys.processing.pipeline.digests import NOTES
from allen_ecephys.processing.pipeline.manifest import MANIFEST, verify_stage
from allen_ecephys.processing.readers.phy import read_phy
from allen_ecephys.processing.simulation.raw.recording import RawGroundTruth, write_recording
from allen_ecephys.processing.simulation.raw.signal import ChannelFaults
from allen_ecephys.processing.simulation.raw.trains import TrainModel
from allen_ecephys.processing.simulation.scoring import score_phy_folder
from allen_ecephys.processing.sorting import sorters
from allen_ecephys.processing.sorting.phy_output import read_kinds
from allen_ecephys.processing.spike_band.probe_info import ProbeInfo
from allen_ecephys.processing.stages.probe import SortedProbe, sort_raw, sorted_channels
from allen_ecephys.processing.stages.sorting import STAGE, WORK, run_sorting


def simulate(folder: Path, **changes: Any) -> RawGroundTruth:
    settings: dict[str, Any] = {
        "duration": 5.0,
        "n_units": 4,
        "n_channels": 32,
        "amplitude_range": (100.0, 250.0),
        "trains": TrainModel(rate_range=(15.0, 25.0)),
        "seed": 2,
        "lfp": False,
    }
    return write_recording(folder, **(settings | changes))


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> RawGroundTruth:
    return simulate(tmp_path_factory.mktemp("raw") / "probe")


def sort(truth: RawGroundTruth, folder: Path, **changes: Any) -> Any:
    parameters = {"truth": str(truth.folder), **changes}
    return run_sorting(truth.recording(), folder, sorter="truth", parameters=parameters)


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_a_phy_folder_and_nothing_else_is_left(truth: RawGroundTruth, truth_sorter: str, tmp_path: Path) -> None:
    stage = sort(truth, tmp_path / "out")
    assert stage.folder == tmp_path / "out" / STAGE.name
    assert not stage.reused
    assert verify_stage(stage.folder) == []
    counts = stage.report
    assert counts.pop("seconds") > 0
    n_good = len((stage.folder / "cluster_KSLabel.tsv").read_text().split("good")) - 1
    assert counts == {
        "sorter": "truth",
        "n_spikes": len(truth.spike_times),
        "n_units": 4,
        "n_good": n_good,
        "kinds": read_kinds(stage.folder),
        "n_channels": 32,
        "seconds_by_pass": {},
    }
    phy = read_phy(stage.folder)
    np.testing.assert_array_equal(phy.spikes.samples, truth.spike_times)
    data = (stage.folder / phy.parameters["dat_path"]).resolve()
    assert data == truth.recording().path.resolve()
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name != NOTES] == [STAGE.name]


def test_a_second_run_reuses_and_a_change_sorts_again(truth: RawGroundTruth, truth_sorter: str, tmp_path: Path) -> None:
    first = sort(truth, tmp_path)
    before = times(first.folder)
    again = sort(truth, tmp_path)
    assert again.reused
    assert times(again.folder) == before
    later = sort(truth, tmp_path, after=60_000)
    assert not later.reused
    assert later.report["n_spikes"] == int((truth.spike_times >= 60_000).sum())
    assert not list(tmp_path.glob(".*.draft"))


@pytest.mark.parametrize("edit", ["clusters", "table"])
def test_what_was_curated_is_never_replaced(
    truth: RawGroundTruth, truth_sorter: str, tmp_path: Path, edit: str
) -> None:
    """phy saves what its user decides into the folder it opened."""
    folder = sort(truth, tmp_path).folder
    assert STAGE.edits(folder) == []
    (folder / ".phy").mkdir()
    (folder / "phy.log").write_text("opened")
    assert STAGE.edits(folder) == []
    if edit == "clusters":
        clusters = np.load(folder / "spike_clusters.npy")
        clusters[clusters == 3] = 2
        np.save(folder / "spike_clusters.npy", clusters)
    else:
        (folder / "cluster_group.tsv").write_text("cluster_id\tgroup\n0\tnoise\n")
    assert STAGE.edits(folder) != []
    assert sort(truth, tmp_path).reused  # nothing changed but what a person did
    before = times(folder)
    with pytest.raises(StageError, match="was curated"):
        sort(truth, tmp_path, after=60_000)
    assert times(folder) == before
    assert not (tmp_path / WORK).exists()


def test_what_is_curated_while_another_sorting_runs_is_never_replaced(
    truth: RawGroundTruth, truth_sorter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = sort(truth, tmp_path).folder
    sorter = sorters.SORTERS["truth"]

    def while_it_sorts(*arguments: Any) -> Any:
        (folder / "cluster_group.tsv").write_text("cluster_id\tgroup\n0\tnoise\n")
        return sorter(*arguments)

    monkeypatch.setitem(sorters.SORTERS, "truth", while_it_sorts)
    with pytest.raises(StageError, match=r"curated while .*sorting-2"):
        sort(truth, tmp_path, after=60_000)
    assert (folder / "cluster_group.tsv").read_text().endswith("noise\n")
    assert len(read_phy(tmp_path / "sorting-2").spikes) == int((truth.spike_times >= 60_000).sum())


def test_labels_changed_in_a_table_of_the_sorter_count_as_curated(
    truth: RawGroundTruth, truth_sorter: str, tmp_path: Path
) -> None:
    table = sort(truth, tmp_path).folder / "cluster_KSLabel.tsv"
    table.write_text(table.read_text().replace("good", "mua") + "9\tgood\n")
    assert sort(truth, tmp_path).reused
    with pytest.raises(StageError, match="was curated"):
        sort(truth, tmp_path, after=60_000)


def test_a_folder_of_somebody_else_is_never_replaced(truth: RawGroundTruth, truth_sorter: str, tmp_path: Path) -> None:
    (tmp_path / STAGE.name).mkdir()
    (tmp_path / STAGE.name / "spike_times.npy").write_bytes(b"mine")
    with pytest.raises(StageError, match="no stage wrote it"):
        sort(truth, tmp_path)
    assert (tmp_path / STAGE.name / "spike_times.npy").read_bytes() == b"mine"


def test_a_sorter_that_fails_keeps_its_checkpoints(
    truth: RawGroundTruth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []

    def failing(_: Any, folder: Path, __: Any) -> Any:
        seen.append(sorted(path.name for path in folder.iterdir()))
        (folder / "pass_1").write_text("done")
        raise SortingError("out of luck")

    monkeypatch.setitem(sorters.SORTERS, "failing", failing)

    def run(**parameters: Any) -> None:
        with pytest.raises(SortingError, match="out of luck"):
            run_sorting(truth.recording(), tmp_path, sorter="failing", parameters=parameters)

    run()
    assert not (tmp_path / STAGE.name).exists()
    assert not list(tmp_path.glob(".*.draft"))
    run()
    run(level=3)  # checkpoints of other parameters are of no use
    _flip(truth.recording().path)
    run(level=3)  # nor are those of another recording
    run(level=3)
    assert seen == [[], ["pass_1"], [], [], ["pass_1"]]
    _flip(truth.recording().path)


def _flip(path: Path) -> None:
    """Change the lowest bit of a file's first byte."""
    with path.open("r+b") as file:
        first = file.read(1)[0]
        file.seek(0)
        file.write(bytes([first ^ 1]))


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from allen_ecephys.processing.simulation.raw import read_ground_truth
from allen_ecephys.processing.simulation.scoring import score_phy_folder
from allen_ecephys.processing.sorting import sorters
from allen_ecephys.processing.sorting.phy_output import read_kinds
from allen_ecephys.processing.sorting.spikes_to_result import result_from_spikes
from allen_ecephys.processing.stages.sorting import run_sorting

truth = read_ground_truth(sys.argv[1])

def sort(recording, folder, parameters):
    if not (folder / "pass_1.npy").exists():
        np.save(folder / "pass_1.npy", truth.spike_times)
        os.kill(os.getpid(), signal.SIGKILL)
    times = np.load(folder / "pass_1.npy")
    return result_from_spikes(recording, times, truth.spike_units, 4, folder, details={"resumed": True})

sorters.SORTERS["two passes"] = sort
run_sorting(truth.recording(), sys.argv[2], sorter="two passes")
"""


def test_a_killed_run_goes_on_from_its_checkpoint(truth: RawGroundTruth, truth_sorter: str, tmp_path: Path) -> None:
    def run() -> int:
        command = [sys.executable, "-c", KILLED, str(truth.folder), str(tmp_path / "out")]
        return subprocess.run(command, check=False, capture_output=True).returncode

    assert run() == -signal.SIGKILL
    assert not (tmp_path / "out" / STAGE.name).exists()
    assert (tmp_path / "out" / WORK).exists()
    assert run() == 0
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name != NOTES] == [STAGE.name]
    other = sort(truth, tmp_path / "other").folder
    for path in other.iterdir():
        if path.name not in {MANIFEST, "sorting.json"}:
            assert (tmp_path / "out" / STAGE.name / path.name).read_bytes() == path.read_bytes(), path.name


def test_two_processes_do_not_sort_in_one_folder(truth: RawGroundTruth, truth_sorter: str, tmp_path: Path) -> None:
    (tmp_path / WORK).mkdir()
    with (tmp_path / WORK / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StageError, match="another process is sorting"):
            sort(truth, tmp_path)
    assert not sort(truth, tmp_path).reused
    # A finished sorting is reused without touching what another run, with other parameters, is working on.
    (tmp_path / WORK).mkdir()
    (tmp_path / WORK / "job.json").write_text('{"another": "run"}')
    assert sort(truth, tmp_path).reused
    assert (tmp_path / WORK / "job.json").exists()


def test_the_work_folder_can_be_kept(truth: RawGroundTruth, truth_sorter: str, tmp_path: Path) -> None:
    parameters = {"truth": str(truth.folder)}
    run_sorting(truth.recording(), tmp_path, sorter="truth", parameters=parameters, keep_work=True)
    assert (tmp_path / WORK / "checkpoints" / "whitened.dat").exists()


def test_a_recording_without_a_file_needs_inputs(truth: RawGroundTruth, truth_sorter: str, tmp_path: Path) -> None:
    recording = truth.recording()
    path = recording.path
    parameters = {"truth": str(truth.folder)}

    class Anonymous:
        """The same samples, from nowhere."""

        def __getattr__(self, name: str) -> Any:
            if name in {"path", "files", "columns", "n_columns", "offset"}:
                raise AttributeError(name)
            return getattr(recording, name)

    with pytest.raises(StageError, match="inputs="):
        run_sorting(Anonymous(), tmp_path, sorter="truth", parameters=parameters)  # type: ignore[arg-type]
    stage = run_sorting(Anonymous(), tmp_path, sorter="truth", parameters=parameters, inputs=[path])  # type: ignore[arg-type]
    assert read_phy(stage.folder).parameters["dat_path"] == ""


# --- from raw data -----------------------------------------------------------------------------------------------


def run(truth: RawGroundTruth, folder: Path, **changes: Any) -> SortedProbe:
    return sort_raw(truth.folder, folder, sorter="truth", parameters={"truth": str(truth.folder), **changes})


def test_medians_are_subtracted_and_masked_channels_left_out(truth_sorter: str, tmp_path: Path) -> None:
    """A dead channel would come back to life as the negative of the median."""
    truth = simulate(tmp_path / "raw", faults=ChannelFaults(references=(5,), dead=(9,), noisy=(20,)))
    probe = run(truth, tmp_path / "out")
    assert probe.sorting.report["n_channels"] == 29
    phy = read_phy(probe.sorting.folder)
    assert sorted(set(range(32)) - set(phy.channel_map.tolist())) == [5, 9, 20]
    assert phy.parameters["dat_path"] == "../median_subtraction/continuous.dat"
    score = score_phy_folder(probe.sorting.folder, truth)
    assert score.n_well_found == 4
    table = probe.measure()
    assert set(table.index) == {0, 1, 2, 3}
    assert (tmp_path / "out" / "units" / "metrics.csv").exists()


def test_curated_clusters_are_what_is_measured(truth: RawGroundTruth, truth_sorter: str, tmp_path: Path) -> None:
    probe = run(truth, tmp_path)
    before = probe.measure()
    path = probe.sorting.folder / "spike_clusters.npy"
    clusters = np.load(path)
    clusters[clusters == 3] = 7
    np.save(path, clusters)
    again = run(truth, tmp_path)
    assert again.sorting.reused
    table = again.measure()
    assert table.index.tolist() == [0, 1, 2, 7]
    assert table.loc[7, "n_spikes"] == before.loc[3, "n_spikes"]
    # What is estimated of a unit follows its spikes, and what was sorted is what phy's tables say.
    estimates = [column.name for column in layout.ESTIMATE_COLUMNS]
    assert table.loc[7, estimates].tolist() == before.loc[3, estimates].tolist()
    for name in estimates:
        of_phy = pd.read_csv(probe.sorting.folder / f"cluster_{name}.tsv", sep="\t", index_col="cluster_id")[name]
        assert of_phy.tolist() == before[name].tolist()
    assert sum(probe.sorting.report["kinds"].values()) == 4


def test_channels_far_above_the_surface_are_not_sorted() -> None:
    info = ProbeInfo(np.zeros(64, np.int64), np.arange(64) != 3, np.full(64, 10.0), 40.0, 64.0)
    assert np.flatnonzero(~sorted_channels(info)).tolist() == [3, *range(55, 64)]


def test_no_spikes_end_the_chain_after_an_empty_folder(
    truth: RawGroundTruth, truth_sorter: str, tmp_path: Path
) -> None:
    probe = run(truth, tmp_path, after=10**9)
    assert len(read_phy(probe.sorting.folder).spikes) == 0
    with pytest.raises(MissingDataError, match=r"no units were found in 5.0 s of 32 channels; .* is an empty sorting"):
        probe.measure()


def test_four_live_channels_are_enough_and_fewer_are_not(truth_sorter: str, tmp_path: Path) -> None:
    live = (14, 15, 16, 17)
    dead = tuple(c for c in range(32) if c not in live)
    truth = simulate(tmp_path / "raw", faults=ChannelFaults(references=(), dead=dead))
    probe = run(truth, tmp_path / "out")
    assert probe.sorting.report["n_channels"] == 4
    assert probe.measure() is not None
    truth = simulate(tmp_path / "raw2", faults=ChannelFaults(references=(), dead=(*dead, 14)))
    with pytest.raises(TooFewChannelsError, match="3 of 32 channels"):
        run(truth, tmp_path / "out2")
