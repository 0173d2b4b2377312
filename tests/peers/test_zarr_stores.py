"""Stores of other programs are read, and ours by them.

Environment variables name the interpreters of environments in which those programs are installed:
``ALLEN_ECEPHYS_HDMF_ZARR_PYTHON`` one with ``hdmf-zarr==0.13.0`` (zarr 2, format 2, references as pickles),
``ALLEN_ECEPHYS_HDMF_ZARR_3_PYTHON`` one with ``hdmf-zarr>=0.14`` (zarr 3, format 3), and
``ALLEN_ECEPHYS_ZARR_PYTHON`` one with ``zarr>=3.1``.

hdmf-zarr 0.14 asks for Python 3.12 and zarr 3.4. On Python 3.11 it writes with zarr 3.1, too::

    pip install 'pynwb>=4.2' 'zarr==3.1.6' 'numcodecs<0.17' threadpoolctl
    pip install --no-deps --ignore-requires-python hdmf-zarr==0.14.0
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from allen_ecephys import EcephysSession, UnitFilter, convert_nwb
from allen_ecephys.errors import CorruptFileError
from allen_ecephys.nwb.sources import open_reader

pytestmark = pytest.mark.peers

#: Variable that names an interpreter -> what it has.
HDMF_ZARR = {
    "ALLEN_ECEPHYS_HDMF_ZARR_PYTHON": "hdmf-zarr 0.13",
    "ALLEN_ECEPHYS_HDMF_ZARR_3_PYTHON": "hdmf-zarr 0.14",
}


def interpreter(variable: str, what: str) -> str:
    python = os.environ.get(variable)
    if not python:
        pytest.skip(f"{variable} names no interpreter that has {what}")
    return python


def everything(path: Path) -> EcephysSession:
    return EcephysSession.from_nwb_path(path, unit_filter=UnitFilter.none())


def assert_same_session(one: EcephysSession, other: EcephysSession) -> None:
    for name in ("units", "channels", "probes", "stimulus_presentations", "stimulus_conditions", "running_speed"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))
    pd.testing.assert_frame_equal(one.get_pupil_data(), other.get_pupil_data())
    pd.testing.assert_frame_equal(one.optogenetic_stimulation_epochs, other.optogenetic_stimulation_epochs)
    pd.testing.assert_frame_equal(one.invalid_times, other.invalid_times)
    assert one.metadata == other.metadata
    for unit, times in one.spike_times.items():
        np.testing.assert_array_equal(times, other.spike_times[unit])
        np.testing.assert_array_equal(one.spike_amplitudes[unit], other.spike_amplitudes[unit])
        np.testing.assert_array_equal(one.mean_waveforms[unit], other.mean_waveforms[unit])


@pytest.mark.parametrize("variable", HDMF_ZARR)
def test_a_session_that_hdmf_zarr_wrote(
    variable: str, replica: Path, tmp_path: Path, run_program: Callable[..., None]
) -> None:
    """Read as it is, and again after it became HDF5."""
    python = interpreter(variable, HDMF_ZARR[variable])
    source, store = replica / "session_715093703.nwb", tmp_path / "session.nwb.zarr"
    run_program(python, "write_with_hdmf_zarr.py", source, store)
    assert_same_session(everything(source), everything(store))
    left_out = convert_nwb(store, tmp_path / "back.nwb")
    assert all("timeseries" in path for path in left_out)
    assert bool(left_out) == (store / ".zgroup").exists()  # format 2 keeps references as pickles
    assert_same_session(everything(source), everything(tmp_path / "back.nwb"))


@pytest.mark.parametrize("variable", HDMF_ZARR)
def test_lfp_that_hdmf_zarr_wrote(
    variable: str, replica: Path, tmp_path: Path, run_program: Callable[..., None]
) -> None:
    python = interpreter(variable, HDMF_ZARR[variable])
    probe = 810755797
    for name in ("session_715093703", f"probe_{probe}_lfp"):
        run_program(python, "write_with_hdmf_zarr.py", replica / f"{name}.nwb", tmp_path / f"{name}.nwb.zarr")
    one, other = everything(replica / "session_715093703.nwb"), everything(tmp_path / "session_715093703.nwb.zarr")
    assert other.get_lfp(probe).load().equals(one.get_lfp(probe).load())
    assert other.get_current_source_density(probe).equals(one.get_current_source_density(probe))


def test_zarr_3_reads_what_convert_wrote(replica: Path, tmp_path: Path, run_program: Callable[..., None]) -> None:
    python = interpreter("ALLEN_ECEPHYS_ZARR_PYTHON", "zarr 3.1")
    store = tmp_path / "session.nwb.zarr"
    convert_nwb(replica / "session_715093703.nwb", store)
    run_program(python, "zarr_3.py", "read", store)
    theirs = np.load(f"{store}.npz")
    assert len(theirs.files) > 150
    with open_reader(store) as ours:
        for path in theirs.files:
            mine = ours.array(path)
            if mine.dtype.names or mine.dtype == object:
                continue
            np.testing.assert_array_equal(mine, theirs[path], err_msg=path)


def test_what_zarr_3_writes_is_read(tmp_path: Path, run_program: Callable[..., None]) -> None:
    """Every codec, shards, both ways to name chunks; a chunk left out among times is an error all the same."""
    python = interpreter("ALLEN_ECEPHYS_ZARR_PYTHON", "zarr 3.1")
    store = tmp_path / "made.zarr"
    run_program(python, "zarr_3.py", "write", store)
    written = np.load(f"{store}.npz")
    with open_reader(store) as reader:
        for name in (
            "plain",
            "gzip",
            "blosc",
            "checksum",
            "big_endian",
            "sharded",
            "uncompressed",
            "transposed",
            "keys_of_2",
        ):
            np.testing.assert_array_equal(reader.array(name), written["table"], err_msg=name)
            part = reader.array(name, (slice(37, 512), slice(1, 4)))
            np.testing.assert_array_equal(part, written["table"][37:512, 1:4], err_msg=name)
        for name in ("flags", "counts", "holes"):
            np.testing.assert_array_equal(reader.array(name), written[name])
        assert reader.array("texts").tolist() == ["a", "b\u00e9", "", "ddd", "e"]
        assert reader.array("scalar") == 7
        with pytest.raises(CorruptFileError, match=r"units/spike_times .*is incomplete: 9 chunk"):
            reader.array("units/spike_times")
