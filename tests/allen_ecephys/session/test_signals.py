"""A session hands out its LFP and behaviour as its files hold them, with its own invalid times, handles and errors."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from allen_ecephys import EcephysProjectCache, EcephysSession, UnitFilter
from allen_ecephys.errors import ClosedSessionError, MissingDataError, MissingFileError, UnknownIdError
from allen_ecephys.session.session import SessionCompanions


@pytest.fixture
def session_with_lfp(
    write_session: Callable[..., Path], four_presentations: Mapping[str, Any], tmp_path: Path
) -> EcephysSession:
    """The little session with the LFP of probeA (id 100): five samples, two channels; the invalid times of case 23."""
    invalid = pd.DataFrame(
        {
            "start_time": [0.3, 1.1, 1.6],
            "stop_time": [0.6, 1.54, 2.3],
            "tags": [["EcephysSession", "1", "stimulus"], ["EcephysProbe", "100", "probeA"], ["s", "1", "all_probes"]],
        }
    )
    path = write_session(**four_presentations, invalid_times=invalid)
    with h5py.File(tmp_path / "probe_100_lfp.nwb", "w") as file:
        file.attrs["nwb_version"] = "2.2.2"
        file["identifier"] = "100"
        series = file.create_group("acquisition/probe_100_lfp/probe_100_lfp_data")
        series["data"] = np.arange(10, dtype=np.float32).reshape(5, 2)
        series["timestamps"] = [0.0, 0.5, 1.0, 1.5, 2.0]
        series["electrodes"] = [0, 1]
        file["general/extracellular_ephys/electrodes/id"] = [1000, 1002]
    return EcephysSession(path, unit_filter=UnitFilter.none())


def test_invalid_times_of_the_probe_and_of_all_are_masked(session_with_lfp: EcephysSession) -> None:
    plain = session_with_lfp.get_lfp(100, mask_invalid_intervals=False)
    np.testing.assert_array_equal(plain, np.arange(10).reshape(5, 2))
    masked = session_with_lfp.get_lfp(100)
    np.testing.assert_array_equal(np.isnan(masked).all("channel"), [False, False, False, True, True])
    np.testing.assert_array_equal(masked[:3], plain[:3])
    aligned = session_with_lfp.presentationwise_lfp(100, [0.0, 0.5], [0, 1, 2], max_gap=1.0)
    np.testing.assert_array_equal(np.isnan(aligned[:, 0, 0]), [False, False, True])
    np.testing.assert_allclose(aligned[:2, 0, 0], [1, 3])
    unmasked = session_with_lfp.presentationwise_lfp(
        100, [0.0, 0.5], [2], channel_ids=[1002], mask_invalid_intervals=False, max_gap=1.0
    )
    assert unmasked.values.tolist() == [[[6.0]]]  # noqa: PD011 - xarray
    with pytest.raises(UnknownIdError, match=r"channel 1001 is not in the LFP of probe 100.*nearest id is 100[02]"):
        session_with_lfp.presentationwise_lfp(100, [0.0, 0.5], [2], channel_ids=[1001])


def test_every_way_in_which_lfp_is_not_there(session_with_lfp: EcephysSession) -> None:
    with pytest.raises(UnknownIdError, match="no probe 7; its probes are 100"):
        session_with_lfp.get_lfp(7)
    with pytest.raises(UnknownIdError, match="no probe 7"):
        session_with_lfp.presentationwise_lfp(7, [0.0, 0.5])
    with pytest.raises(MissingFileError, match=r"probe_200_lfp.nwb does not exist.*get_lfp\(200\)"):
        session_with_lfp.get_lfp(200)
    with pytest.raises(MissingDataError, match="no current source density of probe 100"):
        session_with_lfp.get_current_source_density(100)
    session_with_lfp.close()
    with h5py.File(session_with_lfp.path, "r+") as file:
        file["general/extracellular_ephys/probeB"].attrs["has_lfp_data"] = False
    again = EcephysSession(session_with_lfp.path)
    with pytest.raises(MissingDataError, match=r"no LFP was published for probe 200 \(probeB\).*: 100 \(probeA\)"):
        again.get_lfp(200)


def test_companions_say_where_lfp_is(session_with_lfp: EcephysSession, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.nwb"
    shutil.move(tmp_path / "probe_100_lfp.nwb", elsewhere)
    asked: list[int] = []
    companions = SessionCompanions(lfp_path=lambda probe: asked.append(probe) or str(elsewhere))
    session = EcephysSession(session_with_lfp.path, companions=companions)
    assert session.get_lfp(100).sizes == {"time": 5, "channel": 2}
    session.with_units(UnitFilter.none()).get_lfp(100)
    assert asked == [100]


def test_lfp_closes_with_its_session_and_survives_pickling(session_with_lfp: EcephysSession) -> None:
    lfp = session_with_lfp.get_lfp(100)
    again = pickle.loads(pickle.dumps(session_with_lfp))
    session_with_lfp.close()
    with pytest.raises(ClosedSessionError):
        lfp.load()
    with pytest.raises(ClosedSessionError):
        session_with_lfp.get_lfp(100)
    with again:
        assert again.get_lfp(100, mask_invalid_intervals=False).sum() == 45


def test_running_speed_is_the_caller_s_to_change(session_with_lfp: EcephysSession) -> None:
    speed = session_with_lfp.running_speed
    speed["velocity"] = 0.0
    assert session_with_lfp.running_speed["velocity"].tolist() == [0, 2, 4, 6, 8]
    assert session_with_lfp.get_running_speed(include_rotation=True)["net_rotation"].tolist() == [0, 0.1, 0.2, 0.3, 0.4]
    aligned = session_with_lfp.presentationwise_running_speed([0.0, 0.5], [3, 1], max_gap=1.0)
    np.testing.assert_allclose(aligned[:, 0], [2.5, 0.5])
    assert np.isnan(session_with_lfp.presentationwise_running_speed([0.0, 0.5], [3, 1])).all()


def test_parts_that_a_session_lacks(session_with_lfp: EcephysSession) -> None:
    session = session_with_lfp
    assert (session.has_running_speed, session.has_eye_tracking, session.has_optotagging) == (True, False, False)
    for call in (
        session.get_raw_running_data,
        lambda: session.presentationwise_pupil([0.0, 0.1]),
        lambda: session.optogenetic_stimulation_epochs,
    ):
        with pytest.raises(MissingDataError, match="this session has no"):
            call()
    for call in (
        session.get_pupil_data,
        session.get_screen_gaze_data,
        lambda: session.rig_geometry_data,
        lambda: session.rig_equipment_name,
    ):
        # A loop over all sessions of the release asks `if gaze is None`: some have no eye tracking.
        with pytest.warns(UserWarning, match=r"this session has no .*: None is returned") as warned:
            assert call() is None
        assert len(warned) == 1
        assert warned[0].filename == __file__


def test_aligned_signals_of_a_simulated_session_are_those_of_its_tables(
    simulated_project: tuple[Path, Any],
) -> None:
    folder, truth = simulated_project
    session = EcephysProjectCache.fixed(folder).get_session_data(truth.session_id, unit_filter=UnitFilter.none())
    probe = int(session.probes.index[0])
    flashes = session.get_stimulus_table("flashes")
    samples = np.arange(0, 0.3, 0.05)
    edges = np.stack((samples, samples + 1e-7), 1).ravel()  # so narrow that a bin is the line's value
    at = np.add.outer(flashes["start_time"].to_numpy(), samples + 5e-8)

    speed = session.running_speed
    middle = (speed["start_time"] + speed["end_time"]) / 2
    found = session.presentationwise_running_speed(edges, flashes.index)[:, ::2]
    np.testing.assert_allclose(found, np.interp(at, middle, speed["velocity"]), atol=1e-6)

    pupil = session.get_pupil_data()
    width = session.presentationwise_pupil(edges, flashes.index, columns=["pupil_width"])["pupil_width"][:, ::2]
    np.testing.assert_allclose(width, np.interp(at, pupil.index, pupil["pupil_width"]), rtol=1e-6)

    lfp = session.get_lfp(probe)[:, 5].load()
    found = session.presentationwise_lfp(probe, edges, flashes.index, channel_ids=[int(lfp["channel"])])[:, ::2, 0]
    np.testing.assert_allclose(found, np.interp(at, lfp["time"], lfp), atol=1e-9)

    both = session.presentationwise_spike_counts(edges, flashes.index).to_dataset(name="spikes")
    both["speed"] = session.presentationwise_running_speed(edges, flashes.index)
    assert not np.isnan(both["speed"]).any()
