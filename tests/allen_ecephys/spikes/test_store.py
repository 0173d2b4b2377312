"""Spikes are read by slice, kept once, sorted where a file is not, wherever the file lies and however it is stored."""

from __future__ import annotations

import copy
import io
import json
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from allen_ecephys.errors import ClosedSessionError, FileFormatError, UnknownIdError
from allen_ecephys.session.session import EcephysSession
from allen_ecephys.spikes.counting import count_in_windows
from allen_ecephys.units.filter import UnitFilter

Write = Callable[..., Path]

SPIKES = [np.arange(0.0, 5.0), np.array([0.5]), np.empty(0), np.arange(10.0, 13.0)]


class Counted(io.BytesIO):
    """A file in memory that counts the bytes read from it."""

    total = 0

    def readinto(self, buffer: Any) -> int:
        n = super().readinto(buffer)
        self.total += n
        return n

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.total += len(data)
        return data


def stored(path: Path, how: str) -> Any:
    """Return the same session as a local file, a compressed one, or an open file that cannot be mapped."""
    if how == "compressed":
        with h5py.File(path, "a") as file:
            for name in ("spike_times", "spike_amplitudes"):
                values = file[f"units/{name}"][:]
                del file[f"units/{name}"]
                file.create_dataset(f"units/{name}", data=values, chunks=True, compression="gzip")
    if how == "float32":
        with h5py.File(path, "a") as file:
            values = file["units/spike_times"][:].astype("f4")
            del file["units/spike_times"]
            file["units/spike_times"] = values
    return io.BytesIO(path.read_bytes()) if how == "open file" else path


STORAGE = ("local", "compressed", "open file", "float32")


@pytest.mark.parametrize("how", STORAGE)
def test_spikes_by_unit(write_session: Write, how: str) -> None:
    session = EcephysSession(stored(write_session(spike_times=SPIKES), how))
    for unit, times in zip(range(900, 904), SPIKES, strict=True):
        np.testing.assert_array_equal(session.spike_times[unit], times)
        np.testing.assert_array_equal(session.spike_amplitudes[unit], times)
        assert session.spike_times[unit].dtype == np.float64
    assert session.spike_times[900] is session.spike_times[900]
    assert session.spike_times.counts().to_dict() == {900: 5, 901: 1, 902: 0, 903: 3}
    assert {u: len(t) for u, t in session.spike_times.items()} == {900: 5, 901: 1, 902: 0, 903: 3}
    assert [len(t) for t in session.spike_times.values()] == [len(session.spike_times[u]) for u in session.spike_times]
    ragged = session.spike_times.ragged([903, 900, 903])
    assert [t.tolist() for t in ragged] == [SPIKES[3].tolist(), SPIKES[0].tolist(), SPIKES[3].tolist()]


@pytest.mark.parametrize("how", STORAGE)
def test_kernels_take_the_mapping_itself(write_session: Write, how: str) -> None:
    session = EcephysSession(stored(write_session(spike_times=SPIKES), how))
    counts = count_in_windows(session.spike_times, [0.0, 2.0], [2.0, 100.0])
    expected = [[((t >= a) & (t < b)).sum() for a, b in ((0, 2), (2, 100))] for t in session.spike_times.values()]
    assert counts.tolist() == np.array(expected).tolist()
    everyone = session.spike_times
    np.testing.assert_array_equal(
        count_in_windows(everyone, [0.0], [9.0]), count_in_windows(dict(everyone), [0.0], [9.0])
    )


@pytest.mark.parametrize("how", STORAGE)
def test_a_file_without_units(write_session: Write, how: str) -> None:
    session = EcephysSession(stored(write_session(), how))
    assert session.units.empty
    assert dict(session.spike_times.items()) == {}
    assert count_in_windows(session.spike_times, [0.0], [1.0]).shape == (0, 1)
    assert session.presentationwise_spike_counts([0, 1]).shape == (0, 1, 0)
    assert session.conditionwise_spike_statistics().empty
    assert session.structurewise_unit_counts.empty


def test_reading_a_unit_touches_its_slice_only(write_session: Write) -> None:
    n = 400_000
    path = write_session(spike_times=[np.arange(n) + 0.0, np.arange(n) + 0.5, np.arange(n) + 0.7], waveforms=False)
    source = Counted(path.read_bytes())
    session = EcephysSession(source)
    _ = session.units
    before = source.total
    assert before < 1_000_000  # the units table: no spikes
    assert len(session.spike_times[901]) == n
    read = source.total - before
    assert 8 * n <= read < 8 * n + 1_000_000
    before = source.total
    _ = session.spike_times[901]
    assert source.total == before


def test_many_units_are_read_in_one_piece(write_session: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    session = EcephysSession(write_session(spike_times=[np.arange(10.0) + i for i in range(50)]))
    reads: list[Any] = []
    store = session._file.spikes
    plain = store.reader.array

    def counted(path: str, selection: Any = ()) -> Any:
        reads.append((path, selection))
        return plain(path, selection)

    monkeypatch.setattr(store.reader, "array", counted)
    assert len(dict(session.spike_times.items())) == 50
    assert [path for path, _ in reads].count("units/spike_times") == 1


def test_arrays_are_read_only(write_session: Write) -> None:
    session = EcephysSession(write_session(spike_times=SPIKES))
    with pytest.raises(ValueError, match="read-only"):
        session.spike_times[900][0] = -1
    with pytest.raises(ValueError, match="read-only"):
        session.spike_amplitudes[900][0] = -1


@pytest.mark.parametrize("how", STORAGE)
@pytest.mark.parametrize("first", ["times", "amplitudes", "kernel"])
def test_unsorted_units_are_sorted_once_with_a_warning(
    write_session: Write, caplog: pytest.LogCaptureFixture, how: str, first: str
) -> None:
    path = write_session(spike_times=[[5.0, 1.0, 3.0], [0.0, 1.0]], spike_amplitudes=[[50.0, 10.0, 30.0], [1.0, 2.0]])
    session = EcephysSession(stored(path, how))
    with caplog.at_level(logging.WARNING, logger="allen_ecephys"):
        if first == "kernel":
            assert [t.tolist() for t in session.spike_times.ragged([900, 901])] == [[1.0, 3.0, 5.0], [0.0, 1.0]]
        if first == "amplitudes":
            _ = session.spike_amplitudes[900]
        for _repeat in range(2):
            assert session.spike_times[900].tolist() == [1.0, 3.0, 5.0]
            assert session.spike_amplitudes[900].tolist() == [10.0, 30.0, 50.0]
            assert [t.tolist() for t in session.spike_times.ragged([900, 901])] == [[1.0, 3.0, 5.0], [0.0, 1.0]]
    warned = [r for r in caplog.records if "not ascending" in r.message]
    assert len(warned) == 1
    assert "unit 900" in warned[0].message
    assert session.spike_amplitudes[901].tolist() == [1.0, 2.0]


def test_amplitudes_that_do_not_match_an_unsorted_unit(write_session: Write) -> None:
    session = EcephysSession(write_session(spike_times=[[5.0, 1.0]], spike_amplitudes=[[1.0]]))
    with pytest.raises(FileFormatError, match="unit 900 has 2 spike times and 1 amplitudes"):
        _ = session.spike_amplitudes[900]


@pytest.mark.parametrize("index", [[5, 4], [3, 99]])
def test_offsets_that_do_not_divide_the_spikes(write_session: Write, index: list[int]) -> None:
    path = write_session(spike_times=[[1.0, 2.0, 3.0], [4.0, 5.0]])
    with h5py.File(path, "a") as file:
        file["units/spike_times_index"][:] = index
    with pytest.raises(FileFormatError, match=r"spike_times_index .* does not divide the 5 values"):
        _ = EcephysSession(path).spike_times[900]


def test_amplitudes_are_not_taken_for_the_times_of_their_spikes(write_session: Write) -> None:
    """Kernels ask a mapping for its arrays: those of the amplitudes were spike times."""
    session = EcephysSession(
        write_session(spike_times=SPIKES, spike_amplitudes=[1e-4 * np.ones(len(t)) for t in SPIKES])
    )
    counted = count_in_windows(session.spike_amplitudes, np.array([0.5e-4]), np.array([2e-4]))
    assert counted.ravel().tolist() == [len(session.spike_amplitudes[unit]) for unit in session.spike_amplitudes]
    assert session.spike_amplitudes.counts().tolist() == session.spike_times.counts().tolist()


def test_json_of_a_mapping_holds_its_units(write_session: Write) -> None:
    """The encoder in C asks the dict itself whether it is empty, and wrote {} for all spikes."""
    session = EcephysSession(write_session(spike_times=SPIKES))
    mapping = session.spike_times
    said = json.loads(json.dumps({"spikes": mapping}, default=lambda times: times.tolist()))
    assert said == {"spikes": {str(unit): mapping[unit].tolist() for unit in mapping}}
    assert json.loads(json.dumps(mapping, default=lambda times: times.tolist(), indent=1)) == said["spikes"]


@pytest.mark.parametrize("name", ["spike_times", "spike_amplitudes", "mean_waveforms"])
def test_a_mapping_becomes_what_it_holds(write_session: Write, tmp_path: Path, name: str) -> None:
    """Saving, pickling and copying must not lose what is read lazily: AllenSDK's were plain dicts."""
    session = EcephysSession(write_session(spike_times=SPIKES))
    mapping = getattr(session, name)
    plain = {unit: mapping[unit] for unit in mapping}
    assert isinstance(mapping, dict)
    np.save(tmp_path / "saved.npy", mapping)
    turned = {
        "saved": np.load(tmp_path / "saved.npy", allow_pickle=True).item(),
        "array": np.asarray(mapping).item(),
        "pickled": pickle.loads(pickle.dumps(mapping)),
        "deep": copy.deepcopy(mapping),
        "shallow": copy.copy(mapping),
        "own": mapping.copy(),
        "to_dict": mapping.to_dict(),
        "dict": dict(mapping),
        "unpacked": {**mapping},
        "joined": mapping | {},
        "joined behind": {} | mapping,
        "updated": {},
        "some": mapping[np.array(list(mapping))],
    }
    turned["updated"].update(mapping)
    for how, found in turned.items():
        assert type(found) is dict, how
        assert list(found) == list(plain), how
        assert all(np.array_equal(found[unit], plain[unit]) for unit in plain), how
    assert list(reversed(mapping)) == list(plain)[::-1]
    assert list(mapping[[902, 900]]) == [902, 900]
    assert list(pd.Series(mapping).index) == list(plain)
    with pytest.raises(UnknownIdError, match="unit 5 is not in"):
        _ = mapping[[900, 5]]
    with pytest.raises(TypeError, match="no array of float64"):
        np.asarray(mapping, dtype=float)
    for change in (lambda: mapping.pop(900), lambda: mapping.update({1: 2}), lambda: mapping.clear()):
        with pytest.raises(TypeError, match="cannot be changed"):
            change()
    with pytest.raises(TypeError, match="cannot be changed"):
        mapping[900] = plain[900]


def test_unknown_and_hidden_units(write_session: Write) -> None:
    from_file = write_session(spike_times=SPIKES)
    with h5py.File(from_file, "a") as file:
        file["units/isi_violations"][1] = 0.75
    session = EcephysSession(from_file)
    with pytest.raises(UnknownIdError, match="unit 5 is not in"):
        _ = session.spike_times[5]
    with pytest.raises(
        UnknownIdError, match=r"901 is in the file but not shown: it fails isi_violations_maximum.*0\.75"
    ):
        _ = session.spike_times[901]
    with pytest.raises(KeyError):
        _ = session.spike_times["900"]
    assert 901 not in session.spike_times
    assert session.spike_times.get(901) is None
    assert 901 in session.with_units(UnitFilter.none()).spike_times
    assert "3 units" in repr(session.spike_times)


def test_views_share_what_was_read(write_session: Write) -> None:
    session = EcephysSession(write_session(spike_times=SPIKES))
    view = session.with_units(UnitFilter.none())
    assert view.spike_times[900] is session.spike_times[900]


def test_closed_session(write_session: Write) -> None:
    session = EcephysSession(write_session(spike_times=SPIKES))
    kept = session.spike_times[900]
    _ = session.spike_times.ragged([900])
    session.close()
    assert session.spike_times[900] is kept
    with pytest.raises(ClosedSessionError):
        _ = session.spike_times[903]
    with pytest.raises(ClosedSessionError):
        session.spike_times.ragged([900])
    with pytest.raises(ClosedSessionError):
        _ = session.with_units(UnitFilter.none()).mean_waveforms[900]


def test_pickled_mapping_source(write_session: Write) -> None:
    session = EcephysSession(write_session(spike_times=SPIKES))
    _ = session.spike_times[900]
    copy = pickle.loads(pickle.dumps(session))
    np.testing.assert_array_equal(copy.spike_times[900], SPIKES[0])
    assert len(pickle.dumps(session)) < 2000


def test_mean_waveforms(write_session: Write) -> None:
    session = EcephysSession(write_session(spike_times=SPIKES))
    waveform = session.mean_waveforms[902]
    assert waveform.dims == ("channel_id", "time")
    assert waveform.attrs["units"] == "uV"
    np.testing.assert_array_equal(waveform, np.arange(4 * 82.0).reshape(4, 82) + 2000)
    channels = session.channels
    of_probe = channels[channels["probe_id"] == session.units.loc[902, "probe_id"]]
    expected = of_probe.sort_values("probe_channel_number").index
    np.testing.assert_array_equal(waveform["channel_id"], expected)
    np.testing.assert_allclose(waveform["time"], np.arange(82) / 30000.0)
    waveform[:] = 0.0
    waveform.attrs["units"] = waveform["time"].attrs["units"] = "changed"
    again = session.mean_waveforms[902]
    assert again.max() > 0
    assert (again.attrs["units"], again["time"].attrs["units"], again.attrs["unit_id"]) == ("uV", "s", 902)
    of_same_probe = session.mean_waveforms[[901, 902]]
    assert [w.attrs["unit_id"] for w in of_same_probe.values()] == [901, 902]


def test_mean_waveforms_leave_out_invalid_channels(write_session: Write) -> None:
    path = write_session(spike_times=[[1.0]])
    with h5py.File(path, "a") as file:
        file["general/extracellular_ephys/electrodes/valid_data"][2] = False
    waveform = EcephysSession(path).mean_waveforms[900]
    assert waveform["channel_id"].to_numpy().tolist() == [1000, 1001, 1003]
    np.testing.assert_array_equal(waveform[:, 0], np.array([0.0, 82.0, 246.0]))
    assert EcephysSession(path, unit_filter=UnitFilter.none()).mean_waveforms[900].shape == (4, 82)


def test_a_pass_over_units_keeps_nothing(write_session: Callable[..., Path]) -> None:
    """Each unit is read as by its id, sorted ones with their amplitudes, and read anew afterwards."""
    path = write_session(
        spike_times=[[1.0, 2.0], [5.0, 3.0, 4.0], []], spike_amplitudes=[[0.1, 0.2], [0.5, 0.3, 0.4], []]
    )
    with EcephysSession(path) as session:
        passed = list(
            zip(session.spike_times.each(), session.spike_amplitudes.each(), session.mean_waveforms.each(), strict=True)
        )
        store = session.spike_times._store
        assert all(not kept for kept in store._kept.values())
        assert not session.mean_waveforms._kept
        counts = session.presentationwise_spike_counts([0, 9], pd.DataFrame({"start_time": [0.0]}))
        assert counts.to_numpy().ravel().tolist() == [len(times) for times, _, _ in passed]
        for unit, (times, amplitudes, waveform) in zip(session.units.index, passed, strict=True):
            np.testing.assert_array_equal(times, session.spike_times[unit])
            np.testing.assert_array_equal(amplitudes, session.spike_amplitudes[unit])
            assert waveform.identical(session.mean_waveforms[unit])
        unsorted = session.units.index.get_loc(901)
        np.testing.assert_array_equal(passed[unsorted][1], [0.3, 0.4, 0.5])
        [again] = session.spike_times.each([session.units.index[0]])
        assert again is session.spike_times[session.units.index[0]]  # what was kept is not read twice


def test_what_was_passed_over_can_be_counted(write_session: Callable[..., Path]) -> None:
    """A pass keeps no spikes, so counting must not look for what is kept of the units that it saw."""
    with EcephysSession(write_session(spike_times=[[1.0, 2.0], [3.0]])) as session:
        passed = [len(times) for times in session.spike_times.each()]
        counts = session.presentationwise_spike_counts([0, 9], pd.DataFrame({"start_time": [0.0]}))
        assert counts.to_numpy().ravel().tolist() == passed
