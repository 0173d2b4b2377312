"""Units, channels, probes and identity of a session, and the session as an object."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from allen_ecephys.errors import (
    ClosedSessionError,
    FileFormatError,
    MissingDataError,
    MissingFileError,
    UnknownIdError,
    UnknownNameError,
)
from allen_ecephys.session.session import EcephysSession, SessionCompanions
from allen_ecephys.units.filter import UnitFilter
from allen_ecephys.units.structures import STRUCTURE_IDS, without_substructure

Write = Callable[..., Path]
ELECTRODES = "general/extracellular_ephys/electrodes"


def test_opening_reads_nothing(write_session: Write) -> None:
    session = EcephysSession(write_session(spike_times=[[1.0]]))
    assert "not opened" in repr(session._file.reader)
    assert not {"probes", "channels", "units", "presentations", "spikes"} & set(vars(session._file))


# --- units -------------------------------------------------------------------------------------------------------


def test_units_are_ordered_by_position_on_their_probe(
    write_session: Write, four_presentations: Mapping[str, Any]
) -> None:
    session = EcephysSession(write_session(**four_presentations))
    units = session.units
    # Channels 1000 and 1001 share a height; 1001 lies at 11 um, 1000 at 43 um.
    assert units.index.tolist() == [1, 0, 2]
    assert units.index.name == "unit_id"
    assert units["probe_vertical_position"].tolist() == [20, 20, 40]
    assert session.num_units == 3


def test_units_have_the_columns_of_file_channel_and_probe(write_session: Write) -> None:
    units = EcephysSession(write_session(spike_times=[[1.0]] * 3)).units
    for name in ("waveform_PT_ratio", "L_ratio", "waveform_halfwidth", "waveform_velocity_below", "snr", "local_index"):
        assert name in units
    for name in ("l_ratio", "PT_ratio", "quality", "valid_data"):
        assert name not in units
    assert units.loc[902, "ecephys_structure_acronym"] == "LGd"
    assert units.loc[902, "structure_acronym"] == "LGd"
    assert units.loc[902, "ecephys_structure_id"] == STRUCTURE_IDS["LGd"] == 170
    assert units.loc[902, "probe_description"] == "probeA"
    assert units.loc[902, "probe_sampling_rate"] == 30000.0
    assert units.loc[902, "probe_lfp_sampling_rate"] == 1250.0
    assert units.loc[902, "probe_has_lfp_data"]
    assert units.loc[902, "probe_channel_number"] == 2
    assert units.loc[902, "location"] == "See electrode locations"


@pytest.mark.parametrize(
    ("column", "value", "bound"),
    [
        ("presence_ratio", 0.94, "presence_ratio_minimum"),
        ("isi_violations", 0.51, "isi_violations_maximum"),
        ("amplitude_cutoff", 0.11, "amplitude_cutoff_maximum"),
        ("amplitude_cutoff", np.nan, "amplitude_cutoff_maximum"),
        ("quality", "noise", "valid_only"),
        ("peak_channel_id", 1003, "in_brain_only"),
    ],
)
def test_each_bound_hides_its_unit(write_session: Write, column: str, value: Any, bound: str) -> None:
    path = write_session(spike_times=[[1.0], [2.0]])
    with h5py.File(path, "a") as file:
        file[f"units/{column}"][0] = value
    session = EcephysSession(path)
    assert session.units.index.tolist() == [901]
    assert session.hidden_units().to_dict()[bound] == 1
    off = False if bound in {"valid_only", "in_brain_only"} else None
    assert set(session.with_units(UnitFilter().replace(**{bound: off})).units.index) == {900, 901}
    assert bound in repr(session)


def test_units_exactly_at_a_bound_are_kept(write_session: Write) -> None:
    path = write_session(spike_times=[[1.0]])
    with h5py.File(path, "a") as file:
        file["units/presence_ratio"][0], file["units/isi_violations"][0] = 0.95, 0.5
        file["units/amplitude_cutoff"][0] = 0.1
    assert EcephysSession(path).num_units == 1


def test_with_units_is_a_view_of_the_same_file(write_session: Write) -> None:
    path = write_session(spike_times=[[1.0], [2.0]])
    with h5py.File(path, "a") as file:
        file["units/quality"][0] = "noise"
    session = EcephysSession(path)
    everything = session.with_units(UnitFilter.none())
    assert everything.unit_filter == UnitFilter.none()
    assert session.unit_filter == UnitFilter()
    assert everything.units["quality"].tolist() == ["good", "noise"]  # 901 lies left of 900
    assert everything.units["valid_data"].all()
    assert everything._file is session._file
    assert everything._signals is session._signals  # running speed and pupil are read once for all views
    with pytest.raises(TypeError, match=r"UnitFilter\(presence_ratio_minimum=None\)"):
        session.with_units({"presence_ratio_minimum": None})  # type: ignore[arg-type]


def test_allensdk_filter_arguments(write_session: Write) -> None:
    path = write_session(spike_times=[[1.0]])
    session = EcephysSession.from_nwb_path(path, api_kwargs={"isi_violations_maximum": 0, "filter_by_validity": False})
    assert session.num_units == 0  # 0 is a bound like any other
    assert "valid_data" in session.channels
    with pytest.raises(UnknownNameError, match="did you mean 'isi_violations_maximum'"):
        EcephysSession.from_nwb_path(path, api_kwargs={"isi_violation_maximum": 0})
    with pytest.raises(ValueError, match="once"):
        EcephysSession.from_nwb_path(path, api_kwargs={"valid_only": False}, unit_filter=UnitFilter())
    with pytest.raises(ValueError, match="nwb_version=1"):
        EcephysSession.from_nwb_path(path, 1)


def test_analysis_metrics_are_joined_on_request(write_session: Write) -> None:
    """Units have the same columns however a session was opened: code that joins metrics itself must not clash."""
    metrics = pd.DataFrame({"pref_ori_dg": [45.0]}, index=pd.Index([901], name="ecephys_unit_id"))
    companions = SessionCompanions(unit_metrics=lambda: metrics)
    path = write_session(spike_times=[[1.0]] * 2)
    session, alone = EcephysSession(path, companions=companions), EcephysSession(path)
    assert list(session.units) == list(alone.units)
    joined = session.units.join(session.unit_analysis_metrics[["pref_ori_dg"]])
    assert joined.loc[901, "pref_ori_dg"] == 45.0
    assert np.isnan(joined.loc[900, "pref_ori_dg"])
    assert session.unit_analysis_metrics.index.equals(session.units.index)
    assert alone.unit_analysis_metrics.shape == (2, 0)


def test_peak_channel_that_is_not_in_the_file(write_session: Write) -> None:
    path = write_session(spike_times=[[1.0]])
    with h5py.File(path, "a") as file:
        file["units/peak_channel_id"][0] = 77
    with pytest.raises(FileFormatError, match=r"1 units .* such as 77"):
        _ = EcephysSession(path).units


def test_ids_that_occur_twice(write_session: Write) -> None:
    for table, what in (("units", "unit"), (ELECTRODES, "channel")):
        path = write_session(spike_times=[[1.0], [2.0]])
        with h5py.File(path, "a") as file:
            file[f"{table}/id"][1] = file[f"{table}/id"][0]
        with pytest.raises(FileFormatError, match=f"1 {what} ids .* occur twice"):
            _ = EcephysSession(path).units


@pytest.mark.parametrize(
    ("raw", "shown"),
    [("abcde-fg-hi", "abcde"), ("LGd-sh", "LGd"), ("VISp", "VISp"), ("", None), ("None", None), ("-", None)],
)
def test_substructures_are_stripped(raw: str, shown: str | None) -> None:
    stripped = without_substructure(pd.Series([raw, "CA1"]))
    assert stripped[1] == "CA1"
    assert stripped[0] == shown if shown else stripped.isna().tolist() == [True, False]


# --- channels ----------------------------------------------------------------------------------------------------


def test_channels(write_session: Write) -> None:
    channels = EcephysSession(write_session()).channels
    assert channels.index.tolist() == [1000, 1001, 1002, 1003, 2000, 2001, 2002, 2003]
    assert channels["ecephys_structure_acronym"].tolist()[:3] == ["VISp", "VISp", "LGd"]
    assert channels["ecephys_structure_acronym"].isna().tolist() == [False, False, False, True] * 2
    assert channels["ecephys_structure_id"].dtype == "Int64"
    assert channels["ecephys_structure_id"].isna().sum() == 2
    assert channels["probe_channel_number"].tolist() == [0, 1, 2, 3] * 2
    assert channels["anterior_posterior_ccf_coordinate"].tolist()[:2] == [8000.0, 8001.0]
    assert channels["left_right_ccf_coordinate"].tolist()[:2] == [7000.0, 7001.0]
    assert "valid_data" not in channels


def test_newer_files_name_the_channel_number_differently(write_session: Write) -> None:
    path = write_session()
    with h5py.File(path, "a") as file:
        file.move(f"{ELECTRODES}/local_index", f"{ELECTRODES}/probe_channel_number")
    assert EcephysSession(path).channels["probe_channel_number"].tolist() == [0, 1, 2, 3] * 2
    with h5py.File(path, "a") as file:
        del file[f"{ELECTRODES}/probe_channel_number"]
    with pytest.raises(FileFormatError, match="neither 'local_index' nor 'probe_channel_number'"):
        _ = EcephysSession(path).channels


def test_left_right_that_repeats_dorsal_ventral_is_not_believed(
    write_session: Write, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_session()
    with h5py.File(path, "a") as file:
        y = file[f"{ELECTRODES}/y"][:]
        y[3] = np.nan
        file[f"{ELECTRODES}/y"][:] = y
        file[f"{ELECTRODES}/z"][:] = y
    with caplog.at_level(logging.INFO):
        channels = EcephysSession(path).channels
    assert channels["left_right_ccf_coordinate"].isna().all()
    assert channels["dorsal_ventral_ccf_coordinate"].notna().sum() == 7
    assert "left_right_ccf_coordinate is NaN" in caplog.text


def test_unregistered_channels_have_no_coordinates(write_session: Write) -> None:
    path = write_session()
    with h5py.File(path, "a") as file:
        for axis in "xyz":
            file[f"{ELECTRODES}/{axis}"][1] = -1000.0
    coordinates = EcephysSession(path).channels.filter(like="_ccf_coordinate")
    assert coordinates.loc[1001].isna().all()
    assert coordinates.drop(1001).notna().all(axis=None)


def test_annotations_of_the_cache_replace_those_of_the_file(write_session: Write) -> None:
    annotations = pd.DataFrame(
        {
            "ecephys_structure_id": [394.0, np.nan],
            "ecephys_structure_acronym": ["VISam", np.nan],
            "anterior_posterior_ccf_coordinate": [1.0, -1000.0],
            "dorsal_ventral_ccf_coordinate": [2.0, -1000.0],
            "left_right_ccf_coordinate": [3.0, -1000.0],
        },
        index=pd.Index([1002, 1001], name="id"),
    )
    companions = SessionCompanions(channels=lambda: annotations)
    session = EcephysSession(write_session(spike_times=[[1.0]] * 3), companions=companions)
    channels = session.channels
    assert len(channels) == 8  # channels that the annotations lack keep those of the file
    assert channels.loc[1002, "ecephys_structure_acronym"] == "VISam"
    assert channels.loc[1002, "ecephys_structure_id"] == 394
    assert channels.loc[1002, "structure_acronym"] == "LGd"
    assert channels.loc[1002, "left_right_ccf_coordinate"] == 3.0
    assert channels.loc[1001].filter(like="_ccf_").isna().all()
    assert pd.isna(channels.loc[1001, "ecephys_structure_acronym"])
    assert channels.loc[1000, "ecephys_structure_acronym"] == "VISp"
    # One rule for "in the brain": the structure shown, here missing for the peak channel of unit 901.
    assert set(session.units.index) == {900, 902}


def test_invalid_channels_and_their_units_are_hidden(write_session: Write) -> None:
    path = write_session(spike_times=[[1.0], [2.0]])
    with h5py.File(path, "a") as file:
        file[f"{ELECTRODES}/valid_data"][0] = False
    session = EcephysSession(path)
    assert session.num_channels == 7
    assert session.units.index.tolist() == [901]
    shown = EcephysSession(path, unit_filter=UnitFilter(valid_only=False))
    assert shown.num_channels == 8
    assert not shown.channels.loc[1000, "valid_data"]


def test_structures(write_session: Write) -> None:
    session = EcephysSession(write_session(spike_times=[[1.0]] * 5))
    assert session.structure_acronyms[:2] == ["VISp", "LGd"]
    assert np.isnan(session.structure_acronyms[2])
    assert len(session.structure_acronyms) == 3
    assert session.structurewise_unit_counts.to_dict() == {"VISp": 4, "LGd": 1}


def test_channel_structure_intervals(write_session: Write) -> None:
    session = EcephysSession(write_session())
    labels, intervals = session.channel_structure_intervals([1003, 1000, 1001, 1002, 1000])
    assert intervals.tolist() == [0, 1, 3, 4, 5]
    assert labels[1:].tolist() == ["VISp", "LGd", "VISp"]
    assert np.isnan(labels[0])
    labels, intervals = session.channel_structure_intervals([])
    assert (labels.tolist(), intervals.tolist()) == ([], [0])
    with pytest.warns(UserWarning, match="2 probes") as caught:
        session.channel_structure_intervals([1003, 2003])
    assert caught[0].filename == __file__
    with pytest.raises(UnknownIdError, match="99"):
        session.channel_structure_intervals([1000, 99])


# --- probes and identity -----------------------------------------------------------------------------------------


def test_probes(write_session: Write) -> None:
    session = EcephysSession(write_session())
    assert session.probes.to_dict("index") == {
        100: {
            "description": "probeA",
            "location": "See electrode locations",
            "sampling_rate": 30000.0,
            "lfp_sampling_rate": 1250.0,
            "has_lfp_data": True,
        },
        200: {
            "description": "probeB",
            "location": "See electrode locations",
            "sampling_rate": 30000.0,
            "lfp_sampling_rate": 1250.0,
            "has_lfp_data": True,
        },
    }
    assert session.num_probes == 2


def test_identity(write_session: Write, four_presentations: Mapping[str, Any]) -> None:
    session = EcephysSession(write_session(**four_presentations))
    assert session.ecephys_session_id == 12345
    assert session.session_start_time.utcoffset() == timedelta(hours=-8)
    assert session.subject_id == "4321"
    assert session.species == "Mus musculus"
    assert session.metadata == {
        "specimen_name": "Sst-IRES-Cre;Ai32-1234",
        "session_type": "brain_observatory_1.1",
        "full_genotype": "wt/wt",
        "sex": "M",
        "age_in_days": 118.0,
        "rig_equipment_name": None,
        "num_units": 3,
        "num_channels": 8,
        "num_probes": 2,
        "num_stimulus_presentations": 4,
        "session_start_time": session.session_start_time,
        "ecephys_session_id": 12345,
        "structure_acronyms": session.structure_acronyms,
        "stimulus_names": ["a", "a_movie"],
    }


def test_a_file_without_subject(write_session: Write) -> None:
    path = write_session()
    with h5py.File(path, "a") as file:
        del file["general/subject"], file["general/stimulus"]
    session = EcephysSession(path)
    assert session.sex is None
    assert session.age_in_days is None
    assert session.session_type is None


def test_running_speed(write_session: Write) -> None:
    session = EcephysSession(write_session())
    speed = session.running_speed
    assert speed["start_time"].tolist() == [0, 1, 2, 3, 4]
    assert speed["end_time"].tolist() == [1, 2, 3, 4, 5]
    assert speed["velocity"].tolist() == [0, 2, 4, 6, 8]
    with pytest.raises(MissingDataError, match="running"):
        _ = EcephysSession(write_session(running=False)).running_speed


# --- the object --------------------------------------------------------------------------------------------------


def test_returned_frames_are_the_callers_to_change(write_session: Write, four_presentations: Mapping[str, Any]) -> None:
    session = EcephysSession(write_session(**four_presentations))
    for name in ("units", "channels", "probes", "stimulus_presentations", "stimulus_conditions", "running_speed"):
        frame = getattr(session, name)
        before = frame.copy(deep=True)
        frame.iloc[:, 0] = frame.iloc[:, 0].iloc[::-1].to_numpy()
        frame["new"] = 1
        pd.testing.assert_frame_equal(getattr(session, name), before)


def test_repr_fits_and_says_what_is_hidden(write_session: Write) -> None:
    path = write_session(spike_times=[[1.0], [2.0]])
    with h5py.File(path, "a") as file:
        file["units/presence_ratio"][0] = 0.1
    session = EcephysSession(path)
    text = repr(session)
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "12345, brain_observatory_1.1" in text
    assert "1 of 2 shown (presence_ratio >= 0.95" in text
    assert "presence_ratio_minimum 1" in text
    page = session._repr_html_()
    assert "<table>" in page
    assert "presence_ratio &gt;= 0.95" in page
    assert "no filter" in repr(session.with_units(UnitFilter.none()))


def test_repr_never_fails(write_session: Write, tmp_path: Path) -> None:
    page = tmp_path / "page.nwb"
    page.write_bytes(b"<html>")
    assert "not an HDF5 file" in " ".join(repr(EcephysSession(page)).split())  # its lines break where the path ends
    session = EcephysSession(write_session())
    session.close()
    assert "was closed; open it again" in " ".join(repr(session).split())


def test_closing(write_session: Write) -> None:
    with EcephysSession(write_session(spike_times=[[1.0]])) as session:
        units = session.units
        view = session.with_units(UnitFilter.none())
    pd.testing.assert_frame_equal(session.units, units)  # what was read stays
    with pytest.raises(ClosedSessionError, match="open it again"):
        _ = session.stimulus_presentations
    with pytest.raises(ClosedSessionError):
        _ = view.session_type
    session.close()


def test_pickle(write_session: Write) -> None:
    session = EcephysSession(write_session(spike_times=[[1.0]]), unit_filter=UnitFilter.none())
    _ = session.units, session.stimulus_presentations
    copy = pickle.loads(pickle.dumps(session))
    assert copy.unit_filter == UnitFilter.none()
    assert copy.path == session.path
    pd.testing.assert_frame_equal(copy.units, session.units)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="there is no file"):
        EcephysSession(tmp_path / "absent.nwb")
    with pytest.raises(FileNotFoundError):
        EcephysSession.from_nwb_path(str(tmp_path / "absent.nwb"))


def test_a_file_that_is_no_session(tmp_path: Path) -> None:
    path = tmp_path / "bare.nwb"
    with h5py.File(path, "w") as file:
        file.attrs["nwb_version"] = "2.6.0"
    session = EcephysSession(path)
    with pytest.raises(MissingDataError, match="electrodes"):
        _ = session.units
    assert "unreadable" in repr(session)
