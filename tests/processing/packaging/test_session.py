"""Session files hold exactly what was given, and bad contents never become a file."""

from __future__ import annotations

import errno
from collections import namedtuple
from dataclasses import replace
from datetime import UTC, datetime

import h5py
import numpy as np
import pandas as pd
import pytest

from allen_ecephys.errors import DiskFullError, InvalidContentsError, MissingFileError
from allen_ecephys.nwb import layout
from allen_ecephys.processing.packaging import files as nwb_files
from allen_ecephys.processing.packaging import session as packaging
from allen_ecephys.processing.packaging.session import write_session_nwb

VERTICAL = f"{layout.ELECTRODES}/probe_vertical_position"


@pytest.fixture(scope="module")
def contents(example_session):
    return example_session


@pytest.fixture(scope="module")
def path(contents, tmp_path_factory):
    return write_session_nwb(tmp_path_factory.mktemp("written") / "session.nwb", contents)


@pytest.fixture(scope="module")
def session(path):
    from allen_ecephys import EcephysSession, UnitFilter

    with EcephysSession(path, unit_filter=UnitFilter.none()) as session:
        yield session


# --- what our reader finds ---------------------------------------------------------------------------------------


def test_units_come_back_equal(contents, session):
    units = session.units.loc[contents.units.index]
    for name in contents.units.columns:
        np.testing.assert_array_equal(units[name], contents.units[name])
    # A metric that was not given is missing, not zero.
    assert units["d_prime"].isna().all()


def test_spikes_amplitudes_and_waveforms_come_back_equal(contents, session):
    for row, unit_id in enumerate(contents.units.index):
        np.testing.assert_array_equal(session.spike_times[unit_id], contents.spike_times[row])
        np.testing.assert_array_equal(session.spike_amplitudes[unit_id], contents.spike_amplitudes[row])
        np.testing.assert_array_equal(session.mean_waveforms[unit_id].to_numpy(), contents.mean_waveforms[row])


def test_probes_and_channels_come_back_equal(contents, session):
    for name in ("description", "sampling_rate", "lfp_sampling_rate", "has_lfp_data"):
        np.testing.assert_array_equal(session.probes[name], contents.probes[name])
    channels = session.channels.loc[contents.channels.index]
    given = contents.channels
    for name in ("probe_id", "probe_channel_number", "probe_vertical_position", "probe_horizontal_position"):
        np.testing.assert_array_equal(channels[name], given[name])
    np.testing.assert_array_equal(
        channels["anterior_posterior_ccf_coordinate"], given["anterior_posterior_ccf_coordinate"]
    )
    acronym = channels["ecephys_structure_acronym"]
    assert acronym[given["structure_acronym"] != ""].tolist() == ["VISp"] * 6


def test_positions_that_are_no_whole_micrometres_stay(contents, tmp_path):
    """Sites of an Ultra probe, 4.5 um apart; whole positions are whole numbers in the file, as in the release."""
    from allen_ecephys import EcephysSession

    assert h5py.File(write_session_nwb(tmp_path / "whole.nwb", contents))[VERTICAL].dtype == np.int64
    dense = 4.5 * np.arange(len(contents.channels))
    path = write_session_nwb(tmp_path / "dense.nwb", changed(contents, "channels", probe_vertical_position=dense))
    with EcephysSession(path) as session:
        np.testing.assert_array_equal(session.channels["probe_vertical_position"], dense[[0, 1, 2, 4, 5, 6]])


def test_presentations_come_back_typed_and_in_order_of_time(contents, session):
    table = session.stimulus_presentations
    given = contents.stimulus_presentations.sort_values("start_time")
    np.testing.assert_array_equal(table["start_time"], given["start_time"])
    assert table["stimulus_name"].tolist() == given["stimulus_name"].tolist()
    gratings = session.get_stimulus_table("drifting_gratings")
    np.testing.assert_array_equal(gratings["orientation"].astype(float), [0.0, 90.0, np.nan])
    assert gratings["size"].iloc[0] == 250.0


def test_behavior_comes_back_equal(contents, session):
    running = session.running_speed
    for name in ("start_time", "end_time", "velocity"):
        np.testing.assert_array_equal(running[name], contents.running_speed[name])
    pulses = session.optogenetic_stimulation_epochs
    for name in ("start_time", "stop_time", "level", "duration", "condition", "stimulus_name"):
        assert pulses[name].tolist() == contents.optogenetic_stimulation_epochs[name].tolist()
    pupil = session.get_pupil_data()
    # Files hold half-axes, the table whole ones.
    np.testing.assert_allclose(pupil["pupil_height"], 2 * contents.eye_tracking.ellipse_fits["pupil"]["height"])
    gaze = session.get_screen_gaze_data()
    for axis in "xy":
        name = f"screen_coordinates_{axis}_cm"
        np.testing.assert_array_equal(gaze[f"raw_{name}"], contents.eye_tracking.raw_gaze[name])
    invalid = session.invalid_times
    assert [list(tags) for tags in invalid["tags"]] == contents.invalid_times["tags"].tolist()


def test_metadata_comes_back_equal(contents, session):
    given = contents.metadata
    assert session.ecephys_session_id == given.session_id
    assert session.session_start_time == given.session_start_time
    assert session.session_type == given.session_type
    assert session.specimen_name == given.specimen_name
    assert session.full_genotype == given.full_genotype
    assert session.age_in_days == given.age_in_days
    assert session.sex == given.sex


def test_a_session_of_the_least_can_be_written_and_read(contents, tmp_path):
    from allen_ecephys import EcephysSession

    least = replace(
        contents,
        **dict.fromkeys(
            (
                *("spike_amplitudes", "mean_waveforms", "running_speed", "raw_running", "invalid_times"),
                *("optogenetic_stimulation_epochs", "eye_tracking", "rig_geometry"),
            )
        ),
        spike_times=[np.empty(0)] * len(contents.units),
    )
    with EcephysSession(write_session_nwb(tmp_path / "least.nwb", least)) as session:
        assert len(session.stimulus_presentations) == len(contents.stimulus_presentations)
        assert len(session.invalid_times) == 0


# --- the released layout -----------------------------------------------------------------------------------------


def test_every_object_of_the_released_layout_is_there(path, replica):
    """Same groups, datasets, types, units of measurement; what differs is named here."""
    stimuli = ("gabors", "flashes", "static_gratings", "natural_scenes", "natural_movie_one")

    def objects(file):
        found = {}

        def look(name, item):
            if not name.startswith("specifications") and not any(f"{s}_presentations" in name for s in stimuli):
                kind = item.attrs.get("neurodata_type")
                found[name] = (kind, item.attrs.get("unit"), getattr(item, "dtype", None))

        file.visititems(look)
        return found

    with h5py.File(replica / "session_715093703.nwb") as released, h5py.File(path) as written:
        theirs, ours = objects(released), objects(written)
    assert set(theirs) - set(ours) == set()
    # Subject.strain is a dataset of NWB since 2.3; released files have it as an attribute of the extension.
    assert set(ours) - set(theirs) == {"general/subject/strain"}
    for name, (kind, unit, dtype) in theirs.items():
        renamed = {  # types that NWB has introduced since, for the same tables and columns
            "general/extracellular_ephys/electrodes": "ElectrodesTable",
            "timeseries": "TimeSeriesReferenceVectorData",
        }
        expected = renamed.get(name, renamed.get(name.rsplit("/", 1)[-1], kind) if kind == "VectorData" else kind)
        assert ours[name][:2] == (expected, unit), name
        if kind != "VectorIndex":  # hdmf stores row ends in the smallest unsigned integer that holds them
            assert ours[name][2] == dtype, name


def test_bulk_is_contiguous_and_uncompressed(path):
    with h5py.File(path) as file:
        for name in layout.RAGGED_UNIT_COLUMNS:
            dataset = file[f"units/{name}"]
            assert (dataset.chunks, dataset.compression, dataset.dtype) == (None, None, np.float64)


# --- other readers -----------------------------------------------------------------------------------------------


def test_opens_in_pynwb_with_the_types_of_the_extension(path, contents):
    from pynwb import NWBHDF5IO

    with NWBHDF5IO(str(path), "r") as io:
        file = io.read()
        assert type(file.subject).__name__ == "EcephysSpecimen"
        assert file.devices["probeA"].probe_id == contents.probes.index[0]
        assert type(file.electrode_groups["probeA"]).__name__ == "EcephysElectrodeGroup"
        np.testing.assert_array_equal(file.units["spike_times"][1], contents.spike_times[1])
        presentations = file.intervals["drifting_gratings_presentations"].to_dataframe()
        reference = presentations["timeseries"].iloc[0][0]
        assert reference.timeseries.data[reference.idx_start] == presentations["start_time"].iloc[0]
        assert file.units["waveform_mean"][0].shape == (4, 82)


def test_writing_leaves_pynwb_as_it_was(path):
    from pynwb import get_type_map

    assert "ndx-aibs-ecephys" not in get_type_map().namespace_catalog.namespaces


def test_opens_in_pynapple(path, contents):
    nap = pytest.importorskip("pynapple", reason="pynapple is an extra")
    group = nap.load_file(str(path))["units"]
    for row, unit in enumerate(group.keys()):
        np.testing.assert_array_equal(group[unit].times(), contents.spike_times[row])
    assert group["quality"].tolist() == contents.units["quality"].tolist()


def test_nwbinspector_finds_nothing_critical(path):
    inspector = pytest.importorskip("nwbinspector", reason="nwbinspector is a tool of the tests only")
    messages = list(inspector.inspect_nwbfile(nwbfile_path=path, importance_threshold="BEST_PRACTICE_VIOLATION"))
    severe = {"PYNWB_VALIDATION", "CRITICAL", "ERROR"}
    assert [m.message for m in messages if m.importance.name in severe] == []
    # What remains is the release's own doing: explicit timestamps although the rate is constant, no resolution of spike
    # times, empty locations outside the brain, invalid times in no order.
    known = {"check_regular_timestamps", "check_units_resolution_is_set", "check_electrodes_location_allen_ccf"}
    assert {m.check_function_name for m in messages} <= known | {"check_time_interval_time_columns"}


# --- bad contents ------------------------------------------------------------------------------------------------


def with_spikes(contents, row, times):
    spikes = list(contents.spike_times)
    spikes[row] = np.asarray(times, dtype=float)
    amplitudes = list(contents.spike_amplitudes)
    amplitudes[row] = np.ones(len(spikes[row]))
    return replace(contents, spike_times=spikes, spike_amplitudes=amplitudes)


def changed(contents, table, **columns):
    return replace(contents, **{table: getattr(contents, table).assign(**columns)})


BAD = {
    "unsorted spikes": (
        lambda c: with_spikes(c, 1, [1.0, 3.0, 2.0]),
        r"unit 102 are not ascending \(3.0 s is followed",
    ),
    "text with NUL": (
        lambda c: replace(c, metadata=replace(c.metadata, full_genotype="a\0b")),
        "full_genotype is .* no file can",
    ),
    "text that was none": (
        lambda c: replace(c, stimulus_presentations=c.stimulus_presentations.assign(stimulus_name="\udcff")),
        "stimulus_presentations: stimulus_name is .* no file can",
    ),
    "nan spikes": (lambda c: with_spikes(c, 1, [1.0, np.nan, 2.0]), r"unit 102 are not finite \(spike 1 is nan"),
    "infinite spikes": (lambda c: with_spikes(c, 1, [1.0, 2.0, np.inf]), "unit 102 are not finite"),
    "negative spikes": (lambda c: with_spikes(c, 1, [-0.5, 2.0]), "unit 102 begin at -0.5 s"),
    "spikes of two dimensions": (lambda c: replace(c, spike_times=[np.ones((2, 2))] * 3), "2 dimensions"),
    "too few spike trains": (lambda c: replace(c, spike_times=c.spike_times[:2]), "2 entries for 3 units"),
    "too few waveforms": (lambda c: replace(c, mean_waveforms=c.mean_waveforms[:2]), "mean_waveforms has 2 entries"),
    "waveform of another probe": (
        lambda c: replace(c, mean_waveforms=[*c.mean_waveforms[:2], np.zeros((3, 82))]),
        r"waveform_mean of unit 201 has shape \(3, 82\), not \(4, 82\)",
    ),
    "amplitudes of other length": (
        lambda c: replace(c, spike_amplitudes=[np.ones(1)] * 3),
        "spike_amplitudes of unit 101 has shape",
    ),
    "repeated units": (lambda c: replace(c, units=c.units.set_index(pd.Index([1, 2, 2]))), r"repeated ids: \[2\]"),
    "repeated channels": (
        lambda c: replace(c, channels=c.channels.set_index(pd.Index([1] * 8))),
        r"channels has repeated ids: \[1\]",
    ),
    "ids that are no integers": (lambda c: replace(c, units=c.units.set_index(pd.Index(list("abc")))), "integer ids"),
    "unknown peak channel": (lambda c: changed(c, "units", peak_channel_id=77), "peak_channel_id that is in no table"),
    "unknown probe": (lambda c: changed(c, "channels", probe_id=9), "probe_id that is in no table"),
    "no quality": (lambda c: replace(c, units=c.units.drop(columns="quality")), r"lacks the column\(s\) quality"),
    "presentation backwards": (
        lambda c: changed(c, "stimulus_presentations", stop_time=0.0),
        r"stimulus_presentations: row 0 stops \(0.0 s\) before it starts",
    ),
    "presentation without an end": (
        lambda c: changed(c, "stimulus_presentations", stop_time=np.nan),
        "start or stop time that is not finite",
    ),
    "invalid time backwards": (lambda c: changed(c, "invalid_times", stop_time=-1.0), "invalid_times: row 0 stops"),
    "no time zone": (
        lambda c: replace(c, metadata=replace(c.metadata, session_start_time=datetime(2019, 1, 1))),
        "no time zone",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_contents_are_refused_and_leave_nothing_behind(contents, tmp_path, bad):
    spoil, message = BAD[bad]
    with pytest.raises(InvalidContentsError, match=message):
        write_session_nwb(tmp_path / "bad.nwb", spoil(contents))
    assert list(tmp_path.iterdir()) == []


def test_failure_keeps_the_file_that_was_there(contents, path, tmp_path):
    existing = tmp_path / "session.nwb"
    existing.write_bytes(path.read_bytes())
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_session_nwb(existing, contents)
    with pytest.raises(InvalidContentsError):
        write_session_nwb(existing, with_spikes(contents, 2, [2.0, 1.0]), overwrite=True)
    assert existing.read_bytes() == path.read_bytes()
    assert list(tmp_path.iterdir()) == [existing]


def test_a_folder_that_is_not_there_is_not_made(contents, tmp_path):
    with pytest.raises(MissingFileError, match=r"there is no folder .*typo to write x\.nwb into"):
        write_session_nwb(tmp_path / "typo" / "x.nwb", contents)
    assert list(tmp_path.iterdir()) == []


def test_disk_without_room_is_noticed_before_writing(contents, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(nwb_files.shutil, "disk_usage", lambda _: usage(100, 99, 1))
    with pytest.raises(DiskFullError, match=r"has no room: .* bytes needed, 1 free"):
        write_session_nwb(tmp_path / "x.nwb", contents)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "fault",
    [OSError(errno.ENOSPC, "No space left on device"), OSError("Can't write data (error message = 'No space left')")],
)
def test_disk_that_fills_up_leaves_nothing_behind(contents, tmp_path, monkeypatch, fault):
    write = packaging.write_with_pynwb

    def fails_late(nwbfile, part):
        write(nwbfile, part)
        raise fault

    monkeypatch.setattr(packaging, "write_with_pynwb", fails_late)
    with pytest.raises(DiskFullError, match="has no room") as caught:
        write_session_nwb(tmp_path / "x.nwb", contents)
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_only_one_unit_is_held_at_a_time(contents, tmp_path):
    class Counted(list):
        """Spike trains that are counted while they are alive."""

        asked = 0

        def __getitem__(self, row):
            Counted.asked += 1
            return super().__getitem__(row)

    spikes = Counted(contents.spike_times)
    write_session_nwb(tmp_path / "x.nwb", replace(contents, spike_times=spikes))
    assert Counted.asked == len(spikes)


def test_file_says_when_it_was_made(contents, tmp_path):
    before = datetime.now(UTC)
    undated = replace(contents, metadata=replace(contents.metadata, file_create_date=None))
    with h5py.File(write_session_nwb(tmp_path / "x.nwb", undated)) as file:
        made = datetime.fromisoformat(file["file_create_date"][0].decode())
    assert before <= made <= datetime.now(UTC)


def test_equal_contents_give_equal_bytes(contents, tmp_path):
    dated = replace(contents, metadata=replace(contents.metadata, file_create_date=datetime(2020, 1, 2, tzinfo=UTC)))
    one, other = (write_session_nwb(tmp_path / name, dated).read_bytes() for name in ("one.nwb", "other.nwb"))
    assert one == other


def test_parameters_that_the_release_does_not_know_are_kept(contents, tmp_path):
    """A lab's own parameter is no less a parameter; how a stimulus was drawn is none."""
    shown = contents.stimulus_presentations.assign(reward_side="left", texRes=128)
    path = write_session_nwb(tmp_path / "session.nwb", replace(contents, stimulus_presentations=shown))
    with h5py.File(path) as file:
        table = file["intervals/drifting_gratings_presentations"]
        assert table["reward_side"].asstr()[0] == "left"
        assert "texRes" not in table


def test_estimates_are_columns_where_there_are_any(contents, path, tmp_path):
    from allen_ecephys import EcephysSession, UnitFilter

    n = len(contents.units)
    estimates = {column.name: np.linspace(0.0, 1.0, n).round(3) for column in layout.ESTIMATE_COLUMNS}
    estimates["kind"] = ["background"] * n
    file = write_session_nwb(tmp_path / "session.nwb", replace(contents, units=contents.units.assign(**estimates)))
    with EcephysSession(file, unit_filter=UnitFilter.none()) as session:
        units = session.units.loc[contents.units.index]
        for name, values in estimates.items():
            assert units[name].tolist() == list(values)
    with h5py.File(file) as written, h5py.File(path) as without:
        for column in layout.ESTIMATE_COLUMNS:
            assert written[f"{layout.UNITS}/{column.name}"].attrs["description"] == column.meaning
            assert column.name not in without[layout.UNITS]
