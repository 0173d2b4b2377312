"""Types and shapes of a session's columns are checked before their numbers are believed (row A8)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from allen_ecephys import EcephysSession, UnitFilter
from allen_ecephys.errors import FileFormatError

Write = Callable[..., Path]


def opened(write_session: Write, path: str, values: Any, **storage: Any) -> EcephysSession:
    """Return a session in whose file another dataset lies at `path`."""
    times = np.arange(4.0)
    file = write_session(
        spike_times=[[1.0, 2.0], [3.0]],
        presentations=pd.DataFrame(
            {"start_time": times, "stop_time": times + 0.5, "stimulus_name": "flashes", "contrast": [0.1, 0.2] * 2}
        ),
        invalid_times=pd.DataFrame({"start_time": [0.5], "stop_time": [0.6], "tags": [["a", "1", "probeA"]]}),
    )
    with h5py.File(file, "a") as target:
        del target[path]
        target.create_dataset(path, data=values, **storage)
    return EcephysSession(file, unit_filter=UnitFilter.none())


WRONG_UNITS: list[tuple[str, Any, str]] = [
    ("units/snr", [[1.0, 2.0], [3.0, 4.0]], r"shape \(2, 2\).* expected one value a row"),
    ("units/snr", 1.0, "expected one value a row"),
    ("units/snr", np.zeros(2, dtype=[("a", "f8")]), "expected one value a row"),
    ("units/snr", ["high", "low"], "expected numbers"),
    ("units/snr", [True, False], "type bool; expected numbers"),
    ("units/quality", [1.0, 2.0], "expected text"),
    ("units/id", [900.0, np.nan], "holds nan at row 1; expected whole numbers"),
    ("units/id", [900.0, 901.5], "holds 901.5 at row 1"),
    ("units/id", np.array([900, 2**64 - 1], dtype=np.uint64), "expected whole numbers"),
    ("units/id", ["a", "b"], "expected a column of numbers"),
    ("units/id", [[900], [901]], r"shape \(2, 1\)"),
    ("units/peak_channel_id", [1000.0, np.nan], "peak_channel_id .* holds nan"),
    ("general/extracellular_ephys/electrodes/probe_id", [100.0] * 7 + [np.nan], "probe_id .* holds nan"),
    ("general/extracellular_ephys/electrodes/valid_data", [0, 1, 2, 1, 1, 1, 1, 1], "expected flags"),
    ("general/extracellular_ephys/electrodes/location", np.zeros(8), "expected text"),
]


@pytest.mark.parametrize(("path", "values", "message"), WRONG_UNITS)
def test_columns_of_units_and_channels(write_session: Write, path: str, values: Any, message: str) -> None:
    with pytest.raises(FileFormatError, match=message):
        _ = opened(write_session, path, values).units


@pytest.mark.parametrize(
    ("path", "values", "message"),
    [
        ("units/spike_times", np.ones((3, 2)), r"shape \(3, 2\)"),
        ("units/spike_times", [True, False, True], "type bool"),
        ("units/spike_times", ["a", "b", "c"], "expected a column of numbers"),
        ("units/spike_times", 1.0, "expected a column of numbers"),
        ("units/spike_times", np.arange(5.0), "ends must ascend from 0 to 5, and the last is 3"),
        ("units/spike_times_index", [2, 2], "ends must ascend from 0 to 3, and the last is 2"),
        ("units/spike_times_index", [2.0, np.nan], "holds nan at row 1"),
        ("units/spike_times", [1.0, np.nan, 3.0], "unit 900 has 1 spikes without a time"),
        ("units/spike_times_index", [1, 2, 3], "3 rows, its table 2"),
        ("units/spike_times_index", np.array([2, 3], dtype=np.uint8), None),
    ],
)
def test_spikes(write_session: Write, path: str, values: Any, message: str | None) -> None:
    session = opened(write_session, path, values)
    if message is None:
        assert session.spike_times[901].tolist() == [3.0]
        return
    for read in (lambda: session.spike_times[900], lambda: session.presentationwise_spike_counts([0, 0.1])):
        with pytest.raises(FileFormatError, match=message):
            read()


@pytest.mark.parametrize(
    ("path", "values", "message"),
    [
        ("intervals/flashes_presentations/start_time", ["a"] * 4, "expected a column of numbers"),
        ("intervals/flashes_presentations/start_time", [0.0, 1.0, np.nan, 3.0], "without a start_time"),
        ("intervals/flashes_presentations/stop_time", [0.5, 1.5, 2.5], "3 values for 4 presentations"),
        ("intervals/flashes_presentations/contrast", [0.1], "1 values for 4 presentations"),
        ("intervals/flashes_presentations/contrast", np.ones((4, 2)), r"shape \(4, 2\)"),
        ("intervals/flashes_presentations/contrast", 1 + 2j, "expected a column of numbers"),
        ("intervals/invalid_times/start_time", [b"soon"], "expected a column of numbers"),
        ("intervals/invalid_times/start_time", [np.nan], r"1 intervals that do not end .*\(nan to 0\.6 s\)"),
        ("intervals/invalid_times/stop_time", [0.1], "1 intervals that do not end after they start"),
        ("intervals/invalid_times/tags_index", [2], "ends must ascend from 0 to 3"),
    ],
)
def test_presentations_and_invalid_times(write_session: Write, path: str, values: Any, message: str) -> None:
    session = opened(write_session, path, values)
    with pytest.raises(FileFormatError, match=message):
        _ = session.stimulus_presentations


@pytest.mark.parametrize(
    ("path", "values", "read", "message"),
    [
        ("identifier", "session-one", lambda s: s.ecephys_session_id, "'session-one'; expected the session's id"),
        ("session_start_time", "yesterday", lambda s: s.session_start_time, "'yesterday'; expected a date and time"),
        ("processing/running/running_speed/data", np.ones((5, 2)), lambda s: s.running_speed, r"shape \(5, 2\)"),
        ("processing/running/running_speed/data", ["a"] * 5, lambda s: s.running_speed, "expected a column of numbers"),
    ],
)
def test_identity_and_signals(
    write_session: Write, path: str, values: Any, read: Callable[[EcephysSession], Any], message: str
) -> None:
    session = opened(write_session, path, values)
    with pytest.raises(FileFormatError, match=message):
        read(session)


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ("general/extracellular_ephys/probeA", "probe_id", "one"),
        ("general/extracellular_ephys/probeA", "probe_id", 1.5),
        ("general/extracellular_ephys/probeA", "probe_id", [1, 2]),
        ("general/extracellular_ephys/probeA", "lfp_sampling_rate", "fast"),
        ("general/extracellular_ephys/probeA", "has_lfp_data", "yes"),
        ("general/devices/probeA", "sampling_rate", [1.0, 2.0]),
    ],
)
def test_attributes_of_probes(write_session: Write, path: str, name: str, value: Any) -> None:
    file = write_session(spike_times=[[1.0]])
    with h5py.File(file, "a") as target:
        target[path].attrs[name] = value
    with pytest.raises(FileFormatError, match=name):
        _ = EcephysSession(file).probes


def test_numbers_in_another_byte_order_are_numbers(write_session: Write) -> None:
    session = opened(write_session, "units/snr", np.array([1.5, 2.5], dtype=">f8"))
    assert session.units["snr"].sort_index().tolist() == [1.5, 2.5]
    session = opened(write_session, "units/spike_times", np.array([1.0, 2.0, 3.0], dtype=">f8"))
    assert session.presentationwise_spike_counts([0, 0.1]).sum() == 3
