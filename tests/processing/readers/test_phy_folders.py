"""phy folders, as sorters, SpikeInterface and phy itself leave them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from allen_ecephys.errors import FileFormatError, MissingDataError, SpikeTrainError
from allen_ecephys.processing.readers import read_phy


def write_phy(folder: Path) -> None:
    rng = np.random.default_rng(1)
    np.save(folder / "spike_times.npy", np.array([[5], [7], [30]], dtype=np.uint64))
    np.save(folder / "spike_clusters.npy", np.array([2, 0, 2], dtype=np.int32))
    np.save(folder / "spike_templates.npy", np.array([[1], [0], [1]], dtype=np.uint32))
    np.save(folder / "amplitudes.npy", np.array([[1.0], [2.0], [3.0]]))
    templates = rng.normal(size=(2, 82, 3)).astype(np.float32)
    templates[:, :21] = 0
    np.save(folder / "templates.npy", templates)
    np.save(folder / "whitening_mat_inv.npy", 2 * np.eye(3)[[1, 0, 2]])
    np.save(folder / "channel_map.npy", np.array([[0], [2], [5]]))
    (folder / "cluster_group.tsv").write_text("cluster_id\tgroup\n0\tnoise\n2\tgood\n")
    (folder / "params.py").write_text("dat_path = r'ap.dat'\nn_channels_dat = 384\nsample_rate = 30000.\nimport os\n")


def test_a_phy_folder_is_read_as_its_sorter_meant(tmp_path: Path) -> None:
    write_phy(tmp_path)
    sorting = read_phy(tmp_path, n_samples=31)
    assert sorting.spikes.samples.tolist() == [5, 7, 30]
    assert sorting.spikes.unit_ids.tolist() == [0, 2]
    assert sorting.sampling_rate == 30_000.0
    assert sorting.parameters["dat_path"] == "ap.dat"
    assert sorting.templates is not None
    stored = np.load(tmp_path / "templates.npy")
    np.testing.assert_allclose(sorting.templates, 2 * stored[:, 21:][:, :, [1, 0, 2]])
    assert sorting.groups is not None
    assert sorting.groups.to_dict() == {0: "noise", 2: "good"}
    assert sorting.channel_map is not None
    assert sorting.channel_map.tolist() == [0, 2, 5]
    assert sorting.pc_features is None


def test_phy_folders_with_faults(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"spike_times\.npy"):
        read_phy(tmp_path)
    write_phy(tmp_path)
    with pytest.raises(SpikeTrainError, match="past the end"):
        read_phy(tmp_path, n_samples=5)
    np.save(tmp_path / "amplitudes.npy", np.ones(2))
    with pytest.raises(FileFormatError, match="amplitudes"):
        read_phy(tmp_path)
    np.save(tmp_path / "amplitudes.npy", np.array([object()] * 3), allow_pickle=True)
    with pytest.raises(FileFormatError, match="no plain array"):
        read_phy(tmp_path)
    (tmp_path / "amplitudes.npy").unlink()
    (tmp_path / "params.py").write_text("sample_rate = __import__('os').getpid()\n")
    with pytest.raises(FileFormatError, match="no plain value"):
        read_phy(tmp_path)
    (tmp_path / "params.py").unlink()
    with pytest.raises(MissingDataError, match="sample_rate"):
        _ = read_phy(tmp_path).sampling_rate


def test_spikes_outside_the_recording_are_left_out_with_a_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_phy(tmp_path)
    np.save(tmp_path / "spike_times.npy", np.array([5, -3, 30], dtype=np.int64))
    np.save(tmp_path / "pc_features.npy", np.arange(3.0).reshape(3, 1, 1))
    with caplog.at_level(logging.WARNING):
        sorting = read_phy(tmp_path, n_samples=30)
    assert sorting.spikes.samples.tolist() == [5]
    assert (sorting.n_left_out, sorting.spike_rows.tolist()) == (2, [0])
    assert "2 of 3 spikes are left out, 1 before the recording and 1 past the end" in caplog.text
    assert sorting.amplitudes is not None
    assert sorting.amplitudes.tolist() == [1.0]
    assert sorting.pc_features is not None
    assert sorting.pc_features[sorting.spike_rows].ravel().tolist() == [0.0]
    np.save(tmp_path / "spike_times.npy", np.array([5, -3, 29], dtype=np.int64).astype(np.uint64))
    assert read_phy(tmp_path).spikes.samples.tolist() == [5, 29]


@pytest.mark.parametrize("file", ["template_ind.npy", "templates_ind.npy"])
def test_sparse_templates_are_spread_over_their_channels(tmp_path: Path, file: str) -> None:
    rng = np.random.default_rng(0)
    write_phy(tmp_path)
    (tmp_path / "whitening_mat_inv.npy").unlink()
    np.save(tmp_path / "channel_map.npy", np.arange(6))
    sparse = rng.normal(size=(2, 61, 3)).astype(np.float32)
    np.save(tmp_path / "templates.npy", sparse)
    np.save(tmp_path / file, np.array([[4, 5, 2], [0, 3, -1]]))
    templates = read_phy(tmp_path).templates
    assert templates is not None
    assert templates.shape == (2, 61, 6)
    np.testing.assert_array_equal(templates[0][:, [4, 5, 2]], sparse[0])
    np.testing.assert_array_equal(templates[1][:, [0, 3]], sparse[1][:, :2])
    assert not templates[1][:, [1, 2, 4, 5]].any()
    np.save(tmp_path / file, np.array([[4, 5], [0, 3]]))
    with pytest.raises(FileFormatError, match="belong apart"):
        read_phy(tmp_path)
    (tmp_path / "channel_map.npy").unlink()
    np.save(tmp_path / file, np.array([[4, 5, 10**11], [0, 3, 1]]))
    with pytest.raises(FileFormatError, match="which no recording has"):
        read_phy(tmp_path)


def test_an_export_of_spikeinterface_has_its_peak_channels(tmp_path: Path) -> None:
    si = pytest.importorskip("spikeinterface.full")
    recording, sorting = si.generate_ground_truth_recording(
        durations=[4.0], num_channels=16, num_units=5, sampling_frequency=30_000.0, seed=0
    )
    sparsity = si.estimate_sparsity(sorting, recording, method="closest_channels", num_channels=6)
    analyzer = si.create_sorting_analyzer(sorting, recording, sparsity=sparsity)
    analyzer.compute(["random_spikes", "waveforms", "templates", "noise_levels", "spike_amplitudes"])
    si.export_to_phy(
        analyzer, tmp_path / "phy", copy_binary=False, compute_pc_features=False, verbose=False, remove_if_exists=True
    )
    assert (tmp_path / "phy" / "template_ind.npy").exists()
    found = read_phy(tmp_path / "phy")
    expected = analyzer.get_extension("templates").get_data(operator="average")
    assert found.templates is not None
    np.testing.assert_array_equal(np.ptp(found.templates, axis=1).argmax(1), np.ptp(expected, axis=1).argmax(1))
    assert found.sampling_rate == 30_000.0
    assert found.spikes.n_units == 5


def test_clusters_that_nobody_labelled_keep_the_sorters_label(tmp_path: Path) -> None:
    write_phy(tmp_path)
    np.save(tmp_path / "spike_clusters.npy", np.array([2, 0, 7], dtype=np.int32))
    (tmp_path / "cluster_group.tsv").write_text("cluster_id\tgroup\n2\tnoise\n")
    (tmp_path / "cluster_KSLabel.tsv").write_text("cluster_id\tKSLabel\n0\tgood\n2\tgood\n")
    groups = read_phy(tmp_path).groups
    assert groups is not None
    assert groups.to_dict() == {0: "good", 2: "noise", 7: "unsorted"}
    (tmp_path / "cluster_group.tsv").write_bytes("cluster_id\tgroup\n2\tsch\xf6n\n".encode("cp1252"))
    assert read_phy(tmp_path).groups.loc[2] == "schön"  # type: ignore[union-attr]
    for damaged in (
        "cluster_id\n2\n",
        "",
        "cluster_id\tgroup\nx\tgood\n",
        "cluster_id\tgroup\n1e99\tgood\n",
        "a\tb\tc\n1\n",
    ):
        (tmp_path / "cluster_group.tsv").write_text(damaged)
        with pytest.raises(FileFormatError, match=r"cluster_group\.tsv"):
            read_phy(tmp_path)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (r"dat_path = r'C:\data\new\temp.bin'", "C:\\data\\new\\temp.bin"),
        (r"dat_path = 'C:\data\new\temp.bin'", "C:\\data\\new\\temp.bin"),
        (r"dat_path = 'C:\\data\\new\\temp.bin'", "C:\\data\\new\\temp.bin"),
        (r"dat_path = 'C:\Users\x.bin'  # moved", "C:\\Users\\x.bin"),
        (r"dat_path = WindowsPath('C:/Users/x.bin')", "C:/Users/x.bin"),
        ("dat_path = ['a.dat', 'b.dat']", ["a.dat", "b.dat"]),
        ("dat_path = 'D:\\Messung \xfc.bin'", "D:\\Messung ü.bin"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_folders_of_windows_in_params(tmp_path: Path, line: str, expected: object, encoding: str) -> None:
    write_phy(tmp_path)
    (tmp_path / "params.py").write_bytes(f"{line}\r\nsample_rate = 30000.0\r\n".encode(encoding))
    sorting = read_phy(tmp_path)
    assert sorting.parameters["dat_path"] == expected
    assert sorting.sampling_rate == 30_000.0


@pytest.mark.parametrize("rate", ["1e999", "-1", "True", "'fast'", "[1]", "0", "(" * 500, "9" * 5000])
def test_sampling_rates_that_are_none(tmp_path: Path, rate: str) -> None:
    write_phy(tmp_path)
    (tmp_path / "params.py").write_text(f"sample_rate = {rate}\n")
    with pytest.raises(FileFormatError, match=r"params\.py"):
        read_phy(tmp_path)


def test_arrays_that_promise_more_than_they_hold(tmp_path: Path) -> None:
    write_phy(tmp_path)
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({10**13}, 3), }}".ljust(117) + "\n"
    header = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()
    for damaged in (b"", b"\x93NUMPY", header, header + b"\0" * 9000, b"x" * 9000):
        (tmp_path / "amplitudes.npy").write_bytes(damaged)
        with pytest.raises(FileFormatError, match=r"amplitudes\.npy is no plain array"):
            read_phy(tmp_path)
    np.save(tmp_path / "amplitudes.npy", np.ones(3) * 1j)
    with pytest.raises(FileFormatError, match="complex"):
        read_phy(tmp_path)
