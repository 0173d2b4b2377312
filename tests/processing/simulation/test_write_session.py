"""Simulated sessions are files that h5py and pynwb read back as they were meant."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from allen_ecephys.processing.simulation import write_session


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    return write_session(folder / "session.nwb", scale=0.01, n_units=30, n_probes=2, seed=4)


def test_file_holds_what_the_truth_says(written):
    with h5py.File(written.path) as file:
        np.testing.assert_array_equal(file["units/id"], written.units.index)
        ends = file["units/spike_times_index"][()].astype(np.int64)
        np.testing.assert_array_equal(np.diff(ends, prepend=0), written.units["spike_count"])
        times = np.split(file["units/spike_times"][()], ends[:-1])
        assert all((np.diff(t) > 0).all() for t in times)
        assert file["units/spike_times"].chunks is None
        assert file["units/waveform_mean"].shape == (30 * 384, 82)
        assert file["general/stimulus"][()].decode() == "brain_observatory_1.1"
        assert file["general/extracellular_ephys/electrodes/id"].shape == (2 * 384,)


def contents(path):
    """Return the bytes of every dataset and the value of every attribute of a file, references by what they name."""
    found = {}

    def look(name, item):
        for key, value in item.attrs.items():
            found[f"{name}@{key}"] = file[value].name if isinstance(value, h5py.Reference) else str(value)
        if not isinstance(item, h5py.Dataset):
            return
        if item.dtype.kind in "fiub":
            found[name] = item[()].tobytes()
        elif h5py.check_string_dtype(item.dtype):
            found[name] = np.asarray(item[()]).tolist()
        else:
            found[name] = item.shape

    with h5py.File(path) as file:
        look("/", file)
        file.visititems(look)
    return found


def test_equal_seeds_give_equal_contents(tmp_path):
    paths = [tmp_path / name for name in ("a.nwb", "b.nwb", "c.nwb")]
    for path, seed in zip(paths, (7, 7, 8), strict=True):
        write_session(path, "functional_connectivity", scale=0.005, n_units=6, n_probes=1, seed=seed)
    first, again, other = (contents(path) for path in paths)
    assert first == again
    assert first["units@object_id"] != other["units@object_id"]
    assert first["units/spike_times"] != other["units/spike_times"]


@pytest.mark.parametrize("wrong", [{"scale": 0.0}, {"scale": 1.5}, {"n_units": 0}, {"n_probes": 7}])
def test_sizes_out_of_range_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match="give"):
        write_session(tmp_path / "x.nwb", **wrong)
    assert not list(tmp_path.iterdir())


def test_existing_file_is_kept(written):
    before = written.path.read_bytes()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_session(written.path, scale=0.01)
    assert written.path.read_bytes() == before
