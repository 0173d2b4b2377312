"""From raw data to a session by the commands a user would type: `process sort`, `process run`, `process sorters`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from allen_ecephys import EcephysSession, UnitFilter
from allen_ecephys.cli import main
from allen_ecephys.cli.comparing import compare_with_published
from allen_ecephys.processing.pipeline.digests import NOTES
from allen_ecephys.processing.pipeline.manifest import verify_stage
from allen_ecephys.processing.readers.phy import read_phy
from allen_ecephys.processing.simulation import write_session
from allen_ecephys.processing.simulation.raw.recording import RawGroundTruth, write_recording
from allen_ecephys.processing.simulation.raw.signal import ChannelFaults
from allen_ecephys.processing.simulation.raw.trains import TrainModel
from allen_ecephys.processing.simulation.rig.lines import barcode_edges, write_sync_file
from allen_ecephys.processing.sorting.phy_output import read_kinds

STAGES = (
    "depth_estimation", "median_subtraction", "sorting", "double_counted_spikes", "mean_waveforms",
    "noise_units", "features", "units", "lfp", "session",
)  # fmt: skip


def simulate(folder: Path, **changes: Any) -> RawGroundTruth:
    settings: dict[str, Any] = {
        "duration": 6.0,
        "n_units": 5,
        "n_channels": 32,
        "amplitude_range": (100.0, 250.0),
        "trains": TrainModel(rate_range=(20.0, 40.0)),
        "seed": 8,
    }
    return write_recording(folder, **(settings | changes))


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> RawGroundTruth:
    return simulate(tmp_path_factory.mktemp("raw") / "probe")


def process(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["process", *map(str, arguments)])


def knows(truth: RawGroundTruth, *more: str) -> list[object]:
    return ["--sorter", "truth", "-p", f"truth={truth.folder}", *more]


def manifests(folder: Path) -> dict[str, int]:
    return {stage: (folder / stage / "stage.json").stat().st_mtime_ns for stage in STAGES}


def test_one_command_turns_raw_data_into_a_session(
    truth: RawGroundTruth, truth_sorter: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "out"
    done = process("run", truth.folder, folder, *knows(truth), "--session-id", 12)
    assert done.exit_code == 0, done.output
    assert "looked at: no brain surface among the 32 channels" in done.output
    assert "sorted (truth): 5 units, " in done.output
    single = _labels(folder).count("good")
    assert f"single units by their refractory period (Kilosort's label good): {single};" in done.output
    kinds = read_kinds(folder / "sorting")
    assert sum(kinds.values()) == 5
    assert f"probably: neuron {kinds['neuron']}, multi-unit {kinds['multi-unit']}, background " in done.output
    assert "true units: 5 of 5 found (accuracy of 0.8 or more), mean accuracy 1.000; 0 false positive" in done.output
    assert "5 units measured: " in done.output
    assert "noise by their waveform (the release's rules): " in done.output
    assert "within the bounds on quality metrics, of those that are not noise: " in done.output
    assert "To see every unit: `allen-ecephys units " in done.output
    assert "units that pass the default filter" in done.output
    said = [record.getMessage() for record in caplog.records]
    for stage in STAGES:
        assert f"out/{stage}: running" in said
    assert any(message.startswith("out/sorting: done in ") for message in said)
    for stage in STAGES:
        assert verify_stage(folder / stage) == []
    path = folder / "session" / "session.nwb"
    table = pd.read_csv(folder / "units" / "metrics.csv", index_col="cluster_id")
    with EcephysSession(path, unit_filter=UnitFilter.none()) as session:
        assert session.probes.iloc[0][["description", "has_lfp_data", "lfp_sampling_rate"]].to_list() == [
            "probeA", True, 1250.0,
        ]  # fmt: skip
        lfp = session.get_lfp("probeA")
        assert lfp.shape[0] == 7500
        assert float(lfp["time"][-1]) == pytest.approx(6.0, abs=1e-3)
        units = session.units
        assert sorted(units.index) == [100_000 * 120 + cluster for cluster in table.index]
        for unit, cluster in units["cluster_id"].items():
            train = truth.spike_train(int(cluster)) / 30_000
            assert np.isin(session.spike_times[int(unit)], train).all()
            assert len(session.spike_times[int(unit)]) >= 0.95 * len(train)
    assert not list(folder.glob("*.work"))

    before = manifests(folder)
    again = process("run", truth.folder, folder, *knows(truth), "--session-id", 12, "--json")
    assert again.exit_code == 0, again.output
    assert manifests(folder) == before
    assert "(of an earlier run)" in again.stderr
    told = json.loads(again.stdout)
    assert told["true_units"] == {"true": 5, "found": 5, "mean_accuracy": 1.0, "false_positive": 0, "redundant": 0}
    assert told["session"]["ecephys_session_id"] == 12
    assert told["session"]["num_units_in_file"] == told["sorting"]["n_units"] == 5
    assert told["of_an_earlier_run"] == {"looked_at": True, "sorting": True}
    assert len(pd.read_csv(told["units_table"])) == 5
    renamed = process("run", truth.folder, folder, *knows(truth), "--session-id", 13)
    assert renamed.exit_code == 0, renamed.output
    assert {stage for stage in STAGES if manifests(folder)[stage] != before[stage]} == {"lfp", "session"}


def _labels(folder: Path) -> list[str]:
    return pd.read_csv(folder / "sorting" / "cluster_KSLabel.tsv", sep="\t")["KSLabel"].tolist()


def test_sorting_alone_stops_at_the_phy_folder(truth: RawGroundTruth, truth_sorter: str, tmp_path: Path) -> None:
    done = process("sort", truth.folder, tmp_path, *knows(truth, "-p", "after=90_000"))
    assert done.exit_code == 0, done.output
    assert f"phy folder: {tmp_path / 'sorting'}" in done.output
    # Half of each unit's spikes: every unit is named with what was found of it.
    assert "true units: 0 of 5 found" in done.output
    assert "not found (5):" in done.output
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != NOTES) == sorted(STAGES[:3])
    phy = read_phy(tmp_path / "sorting")
    np.testing.assert_array_equal(phy.spikes.samples, truth.spike_times[truth.spike_times >= 90_000])


def test_no_units_stop_the_chain_with_an_empty_sorting(
    truth: RawGroundTruth, truth_sorter: str, tmp_path: Path
) -> None:
    done = process("run", truth.folder, tmp_path, *knows(truth, "-p", "after=1000000000"))
    assert done.exit_code == 1
    assert "no units were found in 6.0 s of 32 channels" in done.output
    assert "true units: 0 of 5 found" in done.output
    assert len(read_phy(tmp_path / "sorting").spikes) == 0
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != NOTES) == sorted(STAGES[:3])


def test_the_truth_may_lie_elsewhere(truth: RawGroundTruth, truth_sorter: str, tmp_path: Path) -> None:
    """A copy of the raw data alone, as another program would have it."""
    raw = tmp_path / "raw"
    for path in truth.folder.rglob("*"):
        if path.is_file() and not path.name.startswith("ground_truth"):
            (raw / path.relative_to(truth.folder)).parent.mkdir(parents=True, exist_ok=True)
            (raw / path.relative_to(truth.folder)).write_bytes(path.read_bytes())
    done = process("run", raw, tmp_path / "out", *knows(truth))
    assert done.exit_code == 0, done.output
    assert "true units" not in done.output
    done = process("run", raw, tmp_path / "out", *knows(truth), "--truth", truth.folder)
    assert done.exit_code == 0, done.output
    assert "true units: 5 of 5 found" in done.output
    done = process("run", raw, tmp_path / "out", *knows(truth), "--truth", raw)
    assert done.exit_code == 1
    assert "ground_truth.npz" in done.output


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--sorter", "nativ"], 1, "no sorter 'nativ'; did you mean 'native'?"),
        (["-p", "Th"], 2, "'Th' is not NAME=VALUE"),
        (["-p", "Thh=3"], 1, "did you mean 'Th'?"),
        (["-p", "Th=4,10"], 1, "Th is (4.0, 10.0)"),
        (["-p", "lam=much"], 1, "lam is 'much'; it takes a number"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    truth: RawGroundTruth,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    status: int,
    message: str,
) -> None:
    (tmp_path / "none" / "spikeinterface").mkdir(parents=True)
    (tmp_path / "none" / "spikeinterface" / "__init__.py").write_text("raise ImportError('not here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "none"))
    done = process("run", truth.folder, tmp_path / "out", *arguments)
    assert done.exit_code == status
    assert message in done.output
    assert not (tmp_path / "out").exists()


def test_sorters_are_listed_one_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spikeinterface").mkdir()
    (tmp_path / "spikeinterface" / "__init__.py").write_text("raise ImportError('not here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = process("sorters")
    assert done.exit_code == 0
    assert done.output.splitlines() == ["native"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"faults": ChannelFaults(references=(), dead=tuple(range(32)))}, "0 of 32 channels can be sorted"),
        ({"faults": ChannelFaults(references=(), dead=tuple(range(3, 32)))}, "3 of 32 channels can be sorted"),
        ({"duration": 0.5}, "depth estimation reads windows"),
    ],
)
def test_recordings_that_cannot_be_sorted(
    truth: RawGroundTruth, truth_sorter: str, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    poor = simulate(tmp_path / "raw", **changes)
    done = process("run", poor.folder, tmp_path / "out", *knows(poor))
    assert done.exit_code == 1
    assert message in done.output
    assert not (tmp_path / "out" / "sorting").exists()


# --- the native sorter -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def easy(tmp_path_factory: pytest.TempPathFactory) -> RawGroundTruth:
    """Twenty seconds with six units well above the noise."""
    return simulate(
        tmp_path_factory.mktemp("easy") / "probe", duration=20.0, n_units=6, amplitude_range=(120.0, 300.0), seed=21
    )


def test_the_native_sorter_finds_the_units_and_goes_on_where_it_was(
    easy: RawGroundTruth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from allen_ecephys.processing.sorting import native

    caplog.set_level("INFO")
    curate = native.curate

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(native, "curate", interrupted)
    stopped = process("run", easy.folder, tmp_path / "out")
    assert stopped.exit_code != 0
    assert (tmp_path / "out" / "sorting.work").exists()
    assert not (tmp_path / "out" / "sorting").exists()
    assert "reused" not in caplog.text

    monkeypatch.setattr(native, "curate", curate)
    done = process("run", easy.folder, tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "going on with the sorting that was stopped" in caplog.text
    assert "extraction: reused" in caplog.text
    assert not (tmp_path / "out" / "sorting.work").exists()
    line = next(line for line in done.output.splitlines() if line.startswith("true units: "))
    found, wrong = int(line.split()[2]), int(line.partition("; ")[2].split()[0])
    assert found >= 5, line
    assert wrong <= 1, line
    with EcephysSession(tmp_path / "out" / "session" / "session.nwb", unit_filter=UnitFilter.none()) as session:
        assert len(session.units) >= 5

    # A run in one go leaves the same bytes.
    again = process("sort", easy.folder, tmp_path / "again", "--workers", "1")
    assert again.exit_code == 0, again.output
    names = {path.name for path in (tmp_path / "out" / "sorting").iterdir()}
    assert names == {path.name for path in (tmp_path / "again" / "sorting").iterdir()}
    for name in names - {"stage.json"}:
        written = [(tmp_path / folder / "sorting" / name).read_bytes() for folder in ("out", "again")]
        assert written[0] == written[1], name


def test_noise_alone_is_an_empty_sorting(tmp_path: Path) -> None:
    """No units at all: the chain ends with a message, the phy folder is well formed."""
    truth = simulate(tmp_path / "raw", n_units=0)
    done = process("run", truth.folder, tmp_path / "out")
    assert done.exit_code == 1
    assert "true units: none was simulated; 0 false positive" in done.output
    assert "no units were found" in done.output
    assert len(read_phy(tmp_path / "out" / "sorting").spikes) == 0


@pytest.mark.parametrize(
    ("case", "changes"),
    [
        ("one unit", {"n_units": 1, "form": "spikeglx"}),
        ("two seconds", {"duration": 2.0}),
        ("four channels", {"faults": ChannelFaults(references=(), dead=tuple(c for c in range(32) if c // 4 != 3))}),
        ("a saturated stretch", {"faults": ChannelFaults(saturation=((2.0, 3.0),))}),
    ],
)
def test_poor_recordings_end_in_a_session_or_a_message(tmp_path: Path, case: str, changes: dict[str, Any]) -> None:
    truth = simulate(tmp_path / "raw", **{"amplitude_range": (200.0, 300.0), **changes})
    done = process("run", truth.folder, tmp_path / "out")
    phy = read_phy(tmp_path / "out" / "sorting")
    if not len(phy.spikes):
        assert case == "two seconds"  # too short for a unit to be sure
        assert done.exit_code == 1
        assert "no units were found" in done.output
        return
    assert done.exit_code == 0, done.output
    if case == "one unit":
        assert "true units: 1 of 1 found" in done.output
    if case == "four channels":
        assert phy.channel_map.tolist() == [12, 13, 14, 15]
    if case == "a saturated stretch":
        # Nothing is found where nothing was recorded, and the rest is sorted as if it were not there.
        within = (phy.spikes.samples > 2.01 * 30_000) & (phy.spikes.samples < 2.99 * 30_000)
        assert not within.any()
        assert len(phy.spikes) > 0.6 * ((truth.spike_times < 60_000) | (truth.spike_times > 90_000)).sum()
    with EcephysSession(tmp_path / "out" / "session" / "session.nwb", unit_filter=UnitFilter.none()) as session:
        assert len(session.units) == len(np.unique(phy.spikes.units))


def test_a_released_probe_is_compared_with_its_published_units(
    truth_sorter: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Raw data as a project cache downloads them, and the session beside them, on the session's clock."""
    truth = simulate(tmp_path / "simulated", n_channels=384, n_units=6, form="binary", lfp=False, duration=3.0)
    raw = released(truth, tmp_path / "cache" / "raw-data" / "12" / "120")
    published = tmp_path / "cache" / "session_12" / "session_12.nwb"
    published.parent.mkdir()
    write_session(published, scale=0.01, n_units=6, n_probes=1, session_id=12, eye_tracking=False)
    trains = [truth.spike_train(unit) / 30_000 + STARTS_AT for unit in range(6)]
    trains[0] = trains[0][: len(trains[0]) // 4]  # published with a quarter of its spikes
    with h5py.File(published, "r+") as file:
        units = file["units"]
        attributes = dict(units["spike_times"].attrs)
        for name in ("spike_times", "spike_amplitudes", "spike_amplitudes_index"):
            del units[name]
        units["spike_times"] = np.concatenate(trains)
        units["spike_times"].attrs.update(attributes)
        units["spike_times_index"][...] = np.cumsum([len(train) for train in trains])
        units.attrs["colnames"] = [name for name in units.attrs["colnames"] if name != "spike_amplitudes"]
        ids = units["id"][()].tolist()
    folder = tmp_path / "out"
    done = process("run", raw, folder, "--session-id", 12, *knows(truth))
    assert done.exit_code == 0, done.output
    assert "published units: 5 of 6 found again (median agreement 1.00)" in done.output
    assert f"page: {folder / 'comparison.html'}" in done.output
    told = json.loads((folder / "comparison.json").read_text())
    by_unit = {unit["published_unit"]: unit for unit in told["published"]}
    assert [by_unit[unit]["status"] for unit in ids] == ["lost", *["matched"] * 5]
    assert by_unit[ids[0]]["share_found"] == 1.0
    assert by_unit[ids[0]]["share_of_found"] == pytest.approx(0.25, abs=0.02)
    assert [unit["status"] for unit in told["found"]].count("partial") == 1

    page = tmp_path / "page.html"
    again = process("compare", folder, published, "--raw", raw, "--json", "--html", page)
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout) == told
    assert "5 of 6 published units were found again" in page.read_text()
    same = process("compare", folder, folder)  # two sortings on one clock
    assert "published units: 6 of 6 found again" in same.output, same.output

    # The session that was asked for is there, whatever becomes of the comparison.
    (raw.parent / "sync.h5").unlink()
    compare_with_published(raw, folder / "session" / "session.nwb", folder)
    said = capsys.readouterr()
    assert "published units: not compared. " in said.err
    assert "sync.h5" in said.err
    published.unlink()
    compare_with_published(raw, folder / "session" / "session.nwb", folder)
    assert "the session's file is not beside the raw data. To compare with it: allen-ecephys" in capsys.readouterr().out


#: When the released probe begins, in seconds of its session.
STARTS_AT = 3.25


def released(truth: RawGroundTruth, folder: Path) -> Path:
    """Lay a simulated recording out as the release's raw data, beginning at 3.25 s of its session, with one barcode."""
    folder.mkdir(parents=True)
    recording = truth.recording()
    recording.read(0, recording.n_samples).astype("<i2").tofile(folder / "spike_band.dat")
    rising, falling = barcode_edges(np.array([4.0]), [11])
    write_sync_file(folder.parent / "sync.h5", {"barcode": (rising, falling)}, seconds=10.0)
    numbers = np.rint((np.concatenate([rising, falling]) - STARTS_AT) * 30_000).astype(np.int64)
    states = np.concatenate([np.ones(len(rising)), -np.ones(len(falling))]).astype(np.int16)
    order = np.argsort(numbers)
    np.save(folder / "event_timestamps.npy", numbers[order])
    np.save(folder / "channel_states.npy", states[order])
    return folder
