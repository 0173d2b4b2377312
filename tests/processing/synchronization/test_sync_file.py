"""Sync files: edges, a counter that wraps, lines by purpose, metadata that are never evaluated."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from allen_ecephys.errors import FileFormatError, MissingDataError, MissingFileError, UnknownNameError
from allen_ecephys.processing.synchronization import open_sync_file

META = "{'ni_daq': {'counter_output_freq': 100000.0, 'counter_bits': 32}, 'line_labels': ['barcode', '', 'stim_vsync']}"


def write_sync(path: Path, rows: object, meta: str = META) -> Path:
    with h5py.File(path, "w") as file:
        file["data"] = np.asarray(rows, dtype=np.uint32)
        file["meta"] = np.bytes_(meta)
    return path


def test_edges_and_lines(tmp_path: Path) -> None:
    rows = [[100_000, 0b001], [200_000, 0b101], [250_000, 0b100], [300_000, 0b000], [400_000, 0b001]]
    sync = open_sync_file(write_sync(tmp_path / "a.sync", rows))
    assert sync.rising("barcode").tolist() == [4.0]  # high from the first row on: no edge there
    assert sync.falling("barcode").tolist() == [2.5]
    assert sync.edges("frames").tolist() == [2.0, 3.0]
    assert sync.rising("stim_vsync").tolist() == sync.rising(2).tolist() == [2.0]
    assert sync.has("frames")
    assert not sync.has("photodiode")
    with pytest.raises(MissingDataError, match="no photodiode line: none of photodiode, stim_photodiode"):
        sync.rising("photodiode")
    with pytest.raises(UnknownNameError, match="did you mean 'frames'"):
        sync.rising("frame")


def test_counter_that_wraps(tmp_path: Path) -> None:
    ticks = np.array([2**32 - 50_000, 2**32 + 50_000, 2**32 + 90_000])
    rows = np.column_stack([ticks % 2**32, [0, 1, 0]])
    sync = open_sync_file(write_sync(tmp_path / "a.sync", rows))
    assert np.allclose(sync.seconds, ticks / 1e5)
    assert sync.n_wraps == 1


def test_last_column_holds_the_lines(tmp_path: Path) -> None:
    rows = [[10, 7, 0], [20, 7, 1]]
    assert open_sync_file(write_sync(tmp_path / "a.h5", rows)).rising(0).tolist() == [20 / 1e5]


@pytest.mark.parametrize(
    "meta",
    ["__import__('os').system('touch {}')", "[1, 2]", "{'ni_daq': {}}", "{'ni_daq': {'counter_output_freq': 'fast'}}"],
)
def test_metadata_are_parsed_not_run(tmp_path: Path, meta: str) -> None:
    flag = tmp_path / "ran"
    path = write_sync(tmp_path / "a.sync", [[1, 0]], meta.replace("{}", str(flag)) if "os" in meta else meta)
    with pytest.raises(FileFormatError):
        open_sync_file(path)
    assert not flag.exists()


def test_json_metadata(tmp_path: Path) -> None:
    meta = '{"ni_daq": {"counter_output_freq": 1000}, "line_labels": ["barcode"], "started": null}'
    assert open_sync_file(write_sync(tmp_path / "a.sync", [[1500, 0]], meta)).seconds.tolist() == [1.5]


def test_no_sync_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        open_sync_file(tmp_path / "none.sync")
    (tmp_path / "text.sync").write_text("hello")
    with pytest.raises(FileFormatError, match="no HDF5"):
        open_sync_file(tmp_path / "text.sync")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["spikes"] = [1]
    with pytest.raises(FileFormatError, match="no data or meta"):
        open_sync_file(tmp_path / "other.h5")
