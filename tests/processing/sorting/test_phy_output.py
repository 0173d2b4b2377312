"""phy folders: Kilosort 2's files, shapes and dtypes; what was written comes back; whoever reads such folders can."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from allen_ecephys.errors import InvalidContentsError
from allen_ecephys.nwb import layout
from allen_ecephys.processing.probes import neuropixels_1_geometry
from allen_ecephys.processing.readers.binary import BinaryRecording
from allen_ecephys.processing.readers.phy import read_phy
from allen_ecephys.processing.sorting.phy_output import read_kinds, unit_amplitudes_uv, write_phy
from allen_ecephys.processing.sorting.result import SortingResult
from allen_ecephys.processing.sorting.templates.projections import LENGTH
from allen_ecephys.processing.sorting.units.estimates import KINDS

N_COLUMNS, N_SAMPLES, UV = 9, 30_000, 0.195
#: Channels that were sorted, in depth order, of the nine in the file.
SORTED = np.array([0, 1, 2, 4, 5, 6])


@pytest.fixture
def recording(tmp_path: Path) -> BinaryRecording:
    """A file of eight channels and a synchronization column, which comes first."""
    rng = np.random.default_rng(3)
    path = tmp_path / "raw" / "samples.dat"
    path.parent.mkdir()
    rng.normal(0, 10, (N_SAMPLES, N_COLUMNS)).astype(np.int16).tofile(path)
    return BinaryRecording(
        path,
        n_columns=N_COLUMNS,
        channels=np.arange(1, N_COLUMNS),
        sampling_rate=30_000.0,
        uv_per_bit=UV,
        geometry=neuropixels_1_geometry(8),
    )


def sorting(n_spikes: int = 500, n_units: int = 4, n_local: int = 5, seed: int = 0) -> SortingResult:
    """A sorting with random numbers in every array and known facts: unit 3 has no spike."""
    rng = np.random.default_rng(seed)
    n = len(SORTED)
    templates = rng.normal(size=(n_units, 61, n))
    templates /= np.sqrt((templates**2).sum(axis=(1, 2), keepdims=True))
    shared = rng.uniform(0.2, 1, (n_units, n_units))
    return SortingResult(
        samples=np.sort(rng.integers(0, N_SAMPLES, n_spikes)),
        units=rng.integers(0, max(n_units - 1, 1), n_spikes),
        amplitudes=rng.normal(30, 3, n_spikes),
        templates=templates.astype(np.float32),
        template_norms=np.arange(n_units) + 20.0,
        pc_features=rng.normal(size=(n_spikes, 3, n_local)).astype(np.float32),
        pc_feature_ind=np.array([rng.permutation(n)[:n_local] for _ in range(n_units)]).reshape(n_units, n_local),
        channel_map=SORTED,
        channel_positions=neuropixels_1_geometry(8)[SORTED],
        whitening=np.eye(n) * 0.1 + rng.normal(0, 0.005, (n, n)),
        similarity=((shared + shared.T) / 2).astype(np.float32),
        good=np.arange(n_units) % 2 == 0,
        contamination=np.linspace(0.05, 1, n_units),
        sampling_rate=30_000.0,
        details={"sorter": "invented", "seconds": {"learning": 1.234}, "parameters": {"Th": (10.0, np.float64(4))}},
    )


def test_files_have_the_shapes_and_dtypes_of_kilosort_2(recording: BinaryRecording, tmp_path: Path) -> None:
    """Golden: the table of files that Kilosort 2 (rezToPhy) leaves."""
    write_phy(tmp_path / "phy", sorting(), recording)
    expected = {
        "spike_times": ("uint64", (500, 1)),
        "spike_templates": ("uint32", (500, 1)),
        "spike_clusters": ("uint32", (500, 1)),
        "amplitudes": ("float64", (500, 1)),
        "templates": ("float32", (4, 82, 6)),
        "templates_ind": ("float64", (4, 6)),
        "channel_map": ("int32", (6, 1)),
        "channel_positions": ("float64", (6, 2)),
        "pc_features": ("float32", (500, 3, 5)),
        "pc_feature_ind": ("uint32", (4, 5)),
        "whitening_mat": ("float64", (6, 6)),
        "whitening_mat_inv": ("float64", (6, 6)),
        "similar_templates": ("float32", (4, 4)),
        "spike_positions": ("float32", (500, 2)),
    }
    found = {path.stem: np.load(path) for path in (tmp_path / "phy").glob("*.npy")}
    assert {name: (str(array.dtype), array.shape) for name, array in found.items()} == expected
    assert all(array.flags.c_contiguous for array in found.values())
    assert not found["templates"][:, :21].any()
    np.testing.assert_array_equal(found["templates_ind"], [np.arange(6)] * 4)
    np.testing.assert_allclose(np.sqrt((found["templates"] ** 2).sum(axis=(1, 2))), 1, rtol=1e-6)
    np.testing.assert_allclose(found["whitening_mat"] @ found["whitening_mat_inv"], np.eye(6), atol=1e-12)
    # The synchronization column comes first in the file, so its channels are one further on.
    assert found["channel_map"].ravel().tolist() == [1, 2, 3, 5, 6, 7]
    labels = (tmp_path / "phy" / "cluster_KSLabel.tsv").read_bytes()
    assert labels == b"cluster_id\tKSLabel\r\n0\tgood\r\n1\tmua\r\n2\tgood\r\n3\tmua\r\n"
    kinds = (tmp_path / "phy" / "cluster_kind.tsv").read_bytes().decode().split("\r\n")
    assert kinds[0] == "cluster_id\tkind"
    assert kinds[-2:] == ["3\t", ""]  # it has no spike
    called = [line.split("\t")[1] for line in kinds[1:4]]
    assert read_kinds(tmp_path / "phy") == {kind: called.count(kind) for kind in KINDS}
    for column in layout.ESTIMATE_COLUMNS[1:]:
        lines = (tmp_path / "phy" / f"cluster_{column.name}.tsv").read_text().split("\n")
        assert lines[0] == f"cluster_id\t{column.name}"
        assert all(0 <= float(line.split("\t")[1]) <= 1 for line in lines[1:4])
    shares = (tmp_path / "phy" / "cluster_ContamPct.tsv").read_bytes()
    assert shares == b"cluster_id\tContamPct\r\n0\t5.0\r\n1\t36.7\r\n2\t68.3\r\n3\t100.0\r\n"
    assert (tmp_path / "phy" / "params.py").read_text() == (
        "dat_path = '../raw/samples.dat'\nn_channels_dat = 9\ndtype = 'int16'\noffset = 0\n"
        "sample_rate = 30000.0\nhp_filtered = False\n"
    )
    details = json.loads((tmp_path / "phy" / "sorting.json").read_text())
    assert details == {"sorter": "invented", "parameters": {"Th": [10.0, 4.0]}}
    assert not (tmp_path / "phy" / "drift_um.npy").exists()


def test_spikes_and_units_have_places_in_um(recording: BinaryRecording, tmp_path: Path) -> None:
    """A spike on one channel is there; one on two lies between; noise alone is at the unit's largest channel."""
    result = sorting(3)
    positions, channels = result.channel_positions, result.pc_feature_ind
    features = np.zeros((3, 3, 5), np.float32)
    units = np.array([0, 1, 1])
    peaks = [int((template**2).sum(axis=0).argmax()) for template in result.templates]
    features[0, 0, 2] = 40.0
    features[1, 1, :2] = 40.0
    folder = write_phy(tmp_path / "phy", replace(result, pc_features=features, units=units), recording)
    places = np.load(folder / "spike_positions.npy")
    np.testing.assert_allclose(places[0], positions[channels[0, 2]], rtol=1e-5)
    np.testing.assert_allclose(places[1], positions[channels[1, :2]].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(places[2], positions[peaks[1]])
    heights = pd.read_csv(folder / "cluster_Y_um.tsv", sep="\t", index_col="cluster_id")["Y_um"]
    expected = [places[0, 1], places[1:, 1].mean(), positions[peaks[2], 1], positions[peaks[3], 1]]
    np.testing.assert_allclose(heights, expected, atol=0.06)


def test_what_was_written_comes_back(recording: BinaryRecording, tmp_path: Path) -> None:
    result = replace(sorting(), drift_um=np.array([[1.0], [-2.5]]))
    phy = read_phy(write_phy(tmp_path / "phy", result, recording), n_samples=recording.n_samples)
    np.testing.assert_array_equal(phy.spikes.samples, result.samples)
    np.testing.assert_array_equal(phy.spikes.units, result.units)
    np.testing.assert_array_equal(phy.spike_templates, result.units)
    np.testing.assert_array_equal(phy.amplitudes, result.amplitudes)
    np.testing.assert_array_equal(phy.pc_features, result.pc_features)
    np.testing.assert_array_equal(phy.pc_feature_ind, result.pc_feature_ind)
    np.testing.assert_array_equal(phy.channel_positions, result.channel_positions)
    np.testing.assert_allclose(phy.templates @ result.whitening, result.templates, atol=1e-6)
    assert phy.groups.tolist() == ["good", "mua", "good", "mua"]
    assert phy.sampling_rate == 30_000
    assert phy.parameters["n_channels_dat"] == N_COLUMNS
    np.testing.assert_array_equal(np.load(tmp_path / "phy" / "drift_um.npy"), [[1.0], [-2.5]])


def test_amplitudes_are_those_of_the_waveforms_in_the_file(recording: BinaryRecording, tmp_path: Path) -> None:
    """A spike of known size in counts, whitened by hand, is stated in microvolts."""
    result = sorting(n_units=2)
    counts = np.zeros((61, 6))
    counts[20, 3], counts[30, 3] = -300, 100  # 400 counts peak to peak
    whitened = counts @ result.whitening
    norm = np.linalg.norm(whitened)
    templates = result.templates.copy()
    templates[0] = whitened / norm
    amplitudes = np.full(500, 0.5 * norm)
    amplitudes[::2] = 1.5 * norm
    units = np.tile([0, 0, 1, 1], 125)
    result = replace(result, templates=templates, amplitudes=amplitudes, units=units)
    assert unit_amplitudes_uv(result, recording)[0] == pytest.approx(400 * UV, rel=1e-5)
    write_phy(tmp_path / "phy", result, recording)
    table = pd.read_csv(tmp_path / "phy" / "cluster_Amplitude.tsv", sep="\t", index_col="cluster_id")
    assert table.loc[0, "Amplitude"] == pytest.approx(78.0, abs=0.05)


def test_a_unit_in_two_groups_is_suggested_to_be_split(recording: BinaryRecording, tmp_path: Path) -> None:
    result = sorting(800, 2)
    second = np.random.default_rng(1).random(800) < 0.4
    features = result.pc_features.copy()
    features[:, 0] += np.float32(6)
    apart = np.flatnonzero(second & (result.units == 0))
    features[apart, 1, 0] += np.float32(6)
    folder = write_phy(tmp_path / "phy", replace(result, pc_features=features), recording)
    table = pd.read_csv(folder / "suggested_splits.csv")
    assert table["cluster_id"].tolist() == [0]
    assert table["n_smaller"][0] == pytest.approx(len(apart), rel=0.1)


@pytest.mark.parametrize(("n_spikes", "n_units"), [(0, 0), (0, 3), (1, 1)])
def test_empty_sortings_are_well_formed(
    recording: BinaryRecording, tmp_path: Path, n_spikes: int, n_units: int
) -> None:
    folder = write_phy(tmp_path / "phy", sorting(n_spikes, n_units), recording)
    phy = read_phy(folder, n_samples=recording.n_samples)
    assert len(phy.spikes) == n_spikes
    assert phy.templates.shape == (n_units, 61, 6)
    assert phy.pc_features.shape == (n_spikes, 3, 5)
    assert len(phy.groups) == n_units
    assert np.load(folder / "spike_times.npy").dtype == np.uint64


def test_features_are_copied_from_a_memory_map_in_pieces(
    recording: BinaryRecording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = sorting()
    mapped = np.lib.format.open_memmap(tmp_path / "f.npy", mode="w+", dtype=np.float32, shape=(500, 3, 5))
    mapped[:] = result.pc_features
    sizes: list[int] = []

    class Watched:
        shape = mapped.shape

        def __getitem__(self, part: Any) -> Any:
            if isinstance(part, slice):  # else spikes of one unit
                sizes.append(part.stop - part.start)
            return mapped[part]

    monkeypatch.setattr("allen_ecephys.processing.sorting.phy_output.CHUNK_SPIKES", 128)
    write_phy(tmp_path / "phy", replace(result, pc_features=Watched()), recording)  # type: ignore[arg-type]
    assert sizes == [128, 128, 128, 116]
    np.testing.assert_array_equal(np.load(tmp_path / "phy" / "pc_features.npy"), mapped)


def test_a_folder_with_anything_in_it_is_left_alone(recording: BinaryRecording, tmp_path: Path) -> None:
    folder = tmp_path / "phy"
    folder.mkdir()
    write_phy(folder, sorting(), recording)  # an empty folder is as good as none
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(FileExistsError, match="is there already"):
        write_phy(folder, sorting(seed=1), recording)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["phy", "raw"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": np.arange(499)}, r"spikes"),
        ({"samples": np.arange(500)[::-1].copy()}, "ascending"),
        ({"samples": np.arange(N_SAMPLES - 499, N_SAMPLES + 1)}, "recording's samples are 0 to 29,999"),
        ({"units": np.full(500, 4)}, "templates are 0 to 3"),
        ({"channel_map": np.arange(3, 9)}, "recording's channels are 0 to 7"),
        ({"pc_feature_ind": np.full((4, 5), 6)}, "sorted channels are 0 to 5"),
        ({"whitening": np.eye(5)}, r"whitening has shape \(5, 5\)"),
        ({"amplitudes": np.full(500, np.nan)}, "amplitudes holds NaN"),
        ({"pc_features": np.full((500, 3, 5), np.inf, np.float32)}, "pc_features of spikes 0 to 500"),
    ],
)
def test_arrays_that_do_not_fit_leave_nothing(
    recording: BinaryRecording, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidContentsError, match=message):
        write_phy(tmp_path / "phy", replace(sorting(), **change), recording)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_a_channel_without_weight_can_be_unwhitened(recording: BinaryRecording, tmp_path: Path) -> None:
    """A flat channel has no weights: the matrix has no inverse, and its rows stay 0."""
    whitening = np.eye(6) * 0.1
    whitening[2, 2] = 0
    write_phy(tmp_path / "phy", replace(sorting(), whitening=whitening), recording)
    inverse = np.load(tmp_path / "phy" / "whitening_mat_inv.npy")
    np.testing.assert_allclose(inverse, np.diag([10, 10, 0, 10, 10, 10]), atol=1e-12)


def test_parameters_of_another_length_keep_their_samples(recording: BinaryRecording, tmp_path: Path) -> None:
    """82 samples belong to templates of 61 (Kilosort 2's); others are longer or shorter with as many zeros in front."""
    assert LENGTH + 21 == 82
    result = sorting()
    write_phy(tmp_path / "phy", replace(result, templates=result.templates[:, :41]), recording)
    assert np.load(tmp_path / "phy" / "templates.npy").shape == (4, 62, 6)


@pytest.mark.peers
def test_spikeinterface_opens_it(recording: BinaryRecording, tmp_path: Path) -> None:
    from spikeinterface.extractors import read_kilosort, read_phy

    result = sorting()
    folder = write_phy(tmp_path / "phy", result, recording)
    # read_kilosort leaves out units without a spike, as unit 3.
    for theirs, units in ((read_phy(folder), 4), (read_kilosort(folder, keep_good_only=False), 3)):
        assert theirs.get_sampling_frequency() == 30_000
        assert list(theirs.unit_ids) == list(range(units))
        for unit in range(units):
            train = theirs.get_unit_spike_train(unit)
            np.testing.assert_array_equal(train, result.samples[result.units == unit])
        assert list(theirs.get_property("KSLabel")) == ["good", "mua", "good", "mua"][:units]
    assert list(read_kilosort(folder, keep_good_only=True).unit_ids) == [0, 2]
    empty = read_phy(write_phy(tmp_path / "empty", sorting(0, 0), recording))
    assert empty.get_num_units() == 0


PHYLIB = """
import json, sys
import numpy as np
from phylib.io.model import load_model
model = load_model(sys.argv[1] + "/params.py")
spikes = np.arange(0, 500, 7)
template = model.get_template(1, unwhiten=False)
out = dict(
    n=[model.n_spikes, model.n_templates, model.n_channels], rate=model.sample_rate, meta=sorted(model.metadata),
    label=model.metadata["KSLabel"][1], duration=model.duration, samples=model.spike_samples.tolist(),
    clusters=model.spike_clusters.tolist(), channels=model.channel_mapping.tolist(),
    features=model.get_features(spikes, [1, 2, 3]).tolist(), shape=list(model.traces.shape),
    template=np.asarray(template.template).tolist(), template_channels=template.channel_ids.tolist(),
)
print(json.dumps(out))
"""


@pytest.mark.peers
def test_phy_opens_it(recording: BinaryRecording, tmp_path: Path) -> None:
    """phylib (what phy loads its data with), in an environment of its own."""
    python = os.environ.get("ALLEN_ECEPHYS_PHYLIB_PYTHON")
    if not python:
        pytest.skip("ALLEN_ECEPHYS_PHYLIB_PYTHON names no interpreter with phylib")
    result = sorting()
    write_phy(tmp_path / "phy", result, recording)
    done = subprocess.run(
        [python, "-c", PHYLIB, str(tmp_path / "phy")], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout)
    assert theirs["n"] == [500, 4, 6]
    assert theirs["rate"] == 30_000
    assert theirs["duration"] == 1.0  # of the raw data, which it found
    estimates = [column.name for column in layout.ESTIMATE_COLUMNS]
    assert theirs["meta"] == sorted(["Amplitude", "ContamPct", "KSLabel", "X_um", "Y_um", *estimates])
    assert theirs["label"] == "mua"
    assert theirs["samples"] == result.samples.tolist()
    assert theirs["clusters"] == result.units.tolist()
    assert theirs["shape"] == [N_SAMPLES, N_COLUMNS]
    wide = np.zeros((4, 61, 6), np.float32)
    wide[:] = result.templates
    channels = theirs["template_channels"]
    np.testing.assert_allclose(np.array(theirs["template"])[21:], wide[1][:, channels], atol=1e-6)
    features = np.array(theirs["features"])
    for row, spike in enumerate(range(0, 500, 7)):
        for column, channel in enumerate([1, 2, 3]):
            local = np.flatnonzero(result.pc_feature_ind[result.units[spike]] == channel)
            expected = result.pc_features[spike, :, local[0]] if len(local) else np.zeros(3)
            np.testing.assert_allclose(features[row, column], expected, atol=1e-6)
