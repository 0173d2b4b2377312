"""A session as pynapple, SpikeInterface and pynwb see it, by the libraries themselves."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from allen_ecephys import EcephysProjectCache, EcephysSession, UnitFilter
from allen_ecephys.errors import ClosedSessionError, MissingDataError, MissingExtraError, UnknownIdError

pytestmark = [
    # Both come from the libraries' own imports of what they use, on every first import.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]


@pytest.fixture(params=["simulated", "replica", "excerpt"])
def session(request: pytest.FixtureRequest) -> EcephysSession:
    if request.param == "simulated":
        folder, truth = request.getfixturevalue("simulated_project")
        return EcephysProjectCache.fixed(folder).get_session_data(truth.session_id, unit_filter=UnitFilter.none())
    if request.param == "replica":
        path = request.getfixturevalue("replica") / "session_715093703.nwb"
        return EcephysSession(path, unit_filter=UnitFilter.none())
    cache = EcephysProjectCache.fixed(request.getfixturevalue("excerpt"))
    return cache.get_session_data(732592105, unit_filter=UnitFilter.none())


def test_pynapple(session: EcephysSession) -> None:
    nap = pytest.importorskip("pynapple", reason="pynapple is an extra")
    made = session.to_pynapple()
    group, epochs = made["units"], made["epochs"]
    assert isinstance(group, nap.TsGroup)
    assert sorted(group.keys()) == sorted(session.units.index)
    for unit in session.units.index[:20]:
        np.testing.assert_allclose(group[unit].t, session.spike_times[unit], atol=1e-9)
    np.testing.assert_array_equal(group["snr"].loc[session.units.index], session.units["snr"])
    assert (
        group["ecephys_structure_acronym"].loc[session.units.index]
        == session.units["ecephys_structure_acronym"].fillna("")
    ).all()

    table = session.get_stimulus_epochs()
    assert len(epochs) == len(table)
    np.testing.assert_allclose(epochs.start, table["start_time"], atol=1e-9)
    np.testing.assert_allclose(epochs.end, table["stop_time"], atol=1.1e-6)
    assert list(epochs["stimulus_name"]) == list(table["stimulus_name"])

    assert ("running_speed" in made) == session.has_running_speed
    assert ("optogenetic_stimulation" in made) == session.has_optotagging
    assert ("pupil" in made) == session.has_eye_tracking
    if session.has_running_speed:
        speed = session.running_speed
        np.testing.assert_array_equal(made["running_speed"].d, speed["velocity"])
        np.testing.assert_allclose(made["running_speed"].t, (speed["start_time"] + speed["end_time"]) / 2, atol=1e-9)
    if session.has_optotagging:
        assert list(made["optogenetic_stimulation"]["level"]) == list(session.optogenetic_stimulation_epochs["level"])


def test_pynapple_counts_the_same_spikes(simulated_project: tuple[Path, Any]) -> None:
    nap = pytest.importorskip("pynapple", reason="pynapple is an extra")
    folder, truth = simulated_project
    session = EcephysProjectCache.fixed(folder).get_session_data(truth.session_id, unit_filter=UnitFilter.none())
    made = session.to_pynapple()
    flashes = session.get_stimulus_table("flashes")
    inside = nap.IntervalSet(flashes["start_time"].to_numpy(), flashes["stop_time"].to_numpy())
    theirs = made["units"].restrict(inside)
    ours = session.responses("flashes")["spike_count"].sum("stimulus_presentation_id")
    for unit in session.units.index:
        assert len(theirs[unit]) == ours.sel(unit_id=unit)


def test_spikeinterface(session: EcephysSession) -> None:
    pytest.importorskip("spikeinterface", reason="SpikeInterface is an extra")
    shown = 0
    for probe in session.probes.index:
        made = session.to_spikeinterface(int(probe))
        units = session.units[session.units["probe_id"] == probe]
        assert sorted(made.sorting.unit_ids) == sorted(units.index)
        shown += len(units)
        rate = session.probes["sampling_rate"].loc[probe]
        assert made.sorting.sampling_frequency == rate
        for position, unit in enumerate(made.sorting.unit_ids[:10]):
            train = made.sorting.get_unit_spike_train(unit, segment_index=0)
            np.testing.assert_allclose(train / rate, session.spike_times[int(unit)], atol=0.5001 / rate)
            waveform = session.mean_waveforms[int(unit)]
            template = made.templates.get_dense_templates()[position]
            np.testing.assert_allclose(template, waveform.to_numpy().T, rtol=1e-6, atol=1e-6)
            assert made.templates.channel_ids.tolist() == waveform["channel_id"].to_numpy().tolist()
        snr = made.sorting.get_property("snr")
        if len(units):
            np.testing.assert_array_equal(snr, units["snr"].loc[list(made.sorting.unit_ids)])
            channels = session.channels.loc[made.templates.channel_ids]
            positions = made.templates.get_channel_locations()
            np.testing.assert_array_equal(positions[:, 1], channels["probe_vertical_position"])
            np.testing.assert_array_equal(positions[:, 0], channels["probe_horizontal_position"])
    assert shown == len(session.units)
    with pytest.raises(UnknownIdError, match="no probe 5; its probes are"):
        session.to_spikeinterface(5)


def test_sorting_analyzer(replica: Path, tmp_path: Path) -> None:
    """The published templates and metrics, in what SpikeInterface's viewers open; written and read by itself."""
    core = pytest.importorskip("spikeinterface.core", reason="SpikeInterface is an extra")
    session = EcephysSession(replica / "session_715093703.nwb", unit_filter=UnitFilter.none())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SpikeInterface says that there is no recording, and of its own imports
        analyzer = session.to_sorting_analyzer("probeA")
        analyzer.save_as(format="binary_folder", folder=tmp_path / "analyzer")
        again = core.load_sorting_analyzer(tmp_path / "analyzer")
    units = session.units[session.units["probe_description"] == "probeA"]
    for made in (analyzer, again):
        assert not made.has_recording()
        assert sorted(made.unit_ids) == sorted(units.index)
        templates = made.get_extension("templates").get_templates()
        metrics = made.get_extension("quality_metrics").get_data()
        for row, unit in enumerate(made.unit_ids):
            np.testing.assert_allclose(templates[row].T, session.mean_waveforms[int(unit)], rtol=1e-5, atol=1e-4)
            spikes = np.rint(session.spike_times[int(unit)] * made.sampling_frequency)
            np.testing.assert_array_equal(made.sorting.get_unit_spike_train(unit), spikes)
        np.testing.assert_array_equal(metrics["snr"], units["snr"].loc[list(made.unit_ids)])
        assert made.get_extension("unit_locations").get_data().shape == (len(units), 2)
    with pytest.raises(UnknownIdError):
        session.to_sorting_analyzer(1)
    with pytest.raises(MissingDataError, match="shows no unit of probe"):
        session.with_units(UnitFilter(isi_violations_maximum=-1.0)).to_sorting_analyzer("probeA")


def test_pynwb(session: EcephysSession) -> None:
    file = session.nwbfile
    assert file is session.nwbfile
    assert int(file.identifier) == session.ecephys_session_id
    assert sorted(file.units.id[:]) == sorted(session.units.index)
    row = len(file.units) // 2
    unit = int(file.units.id[row])
    np.testing.assert_array_equal(np.sort(file.units["spike_times"][row]), session.spike_times[unit])
    assert set(file.intervals) >= {f"{n}_presentations" for n in session.stimulus_names if n != "invalid_presentation"}
    session.close()
    with pytest.raises(ClosedSessionError):
        session.get_running_speed()


@pytest.mark.parametrize(
    ("library", "call", "extra"),
    [
        ("pynapple", lambda s: s.to_pynapple(), r"pip install 'allen-ecephys\[interop\]'"),
        ("spikeinterface.core", lambda s: s.to_spikeinterface(100), r"pip install 'allen-ecephys\[spikeinterface\]'"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(
    library: str,
    call: Callable[[EcephysSession], Any],
    extra: str,
    write_session: Callable[..., Path],
    four_presentations: Mapping[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = EcephysSession(write_session(**four_presentations))
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=extra):
        call(session)
