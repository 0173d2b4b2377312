"""Small session files in the released layout, written with plain h5py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

TEXT = h5py.string_dtype("utf-8")

#: Two probes of four channels; unit ids descend so that no test passes by luck of order.
PROBES = {100: "probeA", 200: "probeB"}


def default_channels() -> pd.DataFrame:
    """Four channels on each of two probes; the last of each lies outside the brain."""
    rows = [
        {
            "id": probe * 10 + number,
            "x": 8000.0 + number,
            "y": 3000.0 + number,
            "z": 7000.0 + number,
            "location": ["VISp", "VISp", "LGd-sh", ""][number],
            "probe_vertical_position": 20 + 20 * (number // 2),
            "probe_horizontal_position": [43, 11, 59, 27][number],
            "probe_id": probe,
            "local_index": number,
            "valid_data": True,
        }
        for probe in PROBES
        for number in range(4)
    ]
    return pd.DataFrame(rows).set_index("id")


def default_units(peak_channels: Sequence[int]) -> pd.DataFrame:
    """Units that pass the default filter, one for each peak channel; ids 900, 901, ..."""
    metrics = ["snr", "isolation_distance", "l_ratio", "d_prime", "nn_hit_rate", "nn_miss_rate", "max_drift"]
    metrics += ["cumulative_drift", "silhouette_score", "waveform_duration", "waveform_halfwidth", "PT_ratio"]
    metrics += ["repolarization_slope", "recovery_slope", "amplitude", "spread", "velocity_above", "velocity_below"]
    n = len(peak_channels)
    table = pd.DataFrame(
        {
            "peak_channel_id": peak_channels,
            "local_index": range(n),
            "cluster_id": range(n),
            "quality": ["good"] * n,
            "firing_rate": [5.0] * n,
            "isi_violations": [0.1] * n,
            "presence_ratio": [0.99] * n,
            "amplitude_cutoff": [0.01] * n,
            **{name: np.linspace(1, 2, n) for name in metrics},
        },
        index=pd.Index(range(900, 900 + n), name="id"),
    )
    return table


def write_table(group: h5py.Group, table: pd.DataFrame) -> None:
    """Write a DynamicTable: one dataset a column, text as variable-length UTF-8, booleans as HDF5 enums."""
    group.attrs["neurodata_type"] = "DynamicTable"
    group.attrs.create("colnames", [str(c) for c in table.columns], dtype=TEXT)
    group["id"] = table.index.to_numpy(np.int64)
    for name, column in table.items():
        first = column.iloc[0] if len(column) else 0.0
        if any(isinstance(value, str) for value in column):
            # As in released files: a column of texts and numbers is one of texts.
            texts = [value if isinstance(value, str) else "N/A" if value != value else str(value) for value in column]
            group.create_dataset(str(name), data=texts, dtype=TEXT)
        elif isinstance(first, (list, tuple)):
            flat = [value for cell in column for value in cell]
            group.create_dataset(str(name), data=flat, dtype=TEXT if flat and isinstance(flat[0], str) else None)
            group[f"{name}_index"] = np.cumsum([len(cell) for cell in column]).astype(np.int64)
        else:
            values = column.to_numpy()
            group[str(name)] = values.astype(float) if values.dtype == object else values


def write_ragged(group: h5py.Group, name: str, cells: Sequence[np.ndarray]) -> None:
    """Write a ragged column: the cells joined, and where each ends."""
    group[name] = np.concatenate([np.asarray(c) for c in cells]) if len(cells) else np.empty(0)
    group[f"{name}_index"] = np.cumsum([len(c) for c in cells]).astype(np.int64)


def write_presentations(file: h5py.File, presentations: pd.DataFrame) -> None:
    """Write one interval table for each stimulus; columns without a value are left out, as in released files."""
    for name, rows in presentations.groupby("stimulus_name", sort=False):
        table = rows.dropna(axis=1, how="all").reset_index(drop=True)
        table["tags"] = [["stimulus_time_interval"]] * len(table)
        write_table(file.create_group(f"intervals/{name}_presentations"), table)


def write_minimal_session(
    path: str | Path,
    *,
    spike_times: Sequence[Any] = (),
    units: pd.DataFrame | None = None,
    channels: pd.DataFrame | None = None,
    presentations: pd.DataFrame | None = None,
    invalid_times: pd.DataFrame | None = None,
    spike_amplitudes: Sequence[Any] | None = None,
    waveforms: bool = True,
    running: bool = True,
    nwb_version: str = "2.2.2",
    identifier: str = "12345",
    session_type: str = "brain_observatory_1.1",
) -> Path:
    """Write a session file of the released layout that holds what is given, and small defaults for the rest.

    `presentations` has one row a presentation with at least start_time, stop_time and stimulus_name; `invalid_times`
    has start_time, stop_time and tags (lists of three texts). Units default to one for each array of `spike_times`,
    on the in-brain channels of both probes in turn.
    """
    channels = default_channels() if channels is None else channels
    if units is None:
        inside = [c for c in channels.index if channels.loc[c, "location"]]
        units = default_units([int(inside[i % len(inside)]) for i in range(len(spike_times))])
    spikes = [np.asarray(s, dtype=np.float64) for s in spike_times]
    with h5py.File(path, "w") as file:
        file.attrs["nwb_version"] = nwb_version
        file.attrs["neurodata_type"] = "NWBFile"
        file["identifier"] = identifier
        file["session_start_time"] = "2019-01-19T00:54:18-08:00"
        file["general/stimulus"] = session_type
        subject = file.create_group("general/subject")
        subject.attrs["age_in_days"] = 118.0
        subject.attrs["specimen_name"] = "Sst-IRES-Cre;Ai32-1234"
        subject.attrs["strain"] = ""
        subject["age"], subject["sex"], subject["species"] = "P118D", "M", "Mus musculus"
        subject["genotype"], subject["subject_id"] = "wt/wt", "4321"
        for probe, name in PROBES.items():
            device = file.create_group(f"general/devices/{name}")
            device.attrs["probe_id"], device.attrs["sampling_rate"] = probe, 30000.0
            group = file.create_group(f"general/extracellular_ephys/{name}")
            group.attrs["description"], group.attrs["location"] = "Ecephys Electrode Group", "See electrode locations"
            group.attrs["probe_id"], group.attrs["lfp_sampling_rate"] = probe, 1250.0
            group.attrs["has_lfp_data"] = True
            group["device"] = h5py.SoftLink(f"/general/devices/{name}")
        write_table(file.create_group("general/extracellular_ephys/electrodes"), channels)
        table = file.create_group("units")
        write_table(table, units)
        write_ragged(table, "spike_times", spikes)
        write_ragged(table, "spike_amplitudes", spikes if spike_amplitudes is None else spike_amplitudes)
        if waveforms:
            per_unit = [np.arange(4 * 82.0).reshape(4, 82) + 1000 * i for i in range(len(units))]
            table["waveform_mean"] = np.concatenate(per_unit) if per_unit else np.empty((0, 82))
            table["waveform_mean_index"] = 4 * np.arange(1, len(units) + 1, dtype=np.int64)
        if presentations is not None:
            write_presentations(file, presentations)
        if invalid_times is not None:
            write_table(file.create_group("intervals/invalid_times"), invalid_times)
        if running:
            write_running(file)
    return Path(path)


def write_running(file: h5py.File) -> None:
    """Write five samples of running speed, a second apart."""
    start = np.arange(5.0)
    for name, data, times in (
        ("running_speed", start * 2, start),
        ("running_speed_end_times", np.full(5, np.nan), start + 1),
        ("running_wheel_rotation", start / 10, None),
    ):
        series = file.create_group(f"processing/running/{name}")
        series["data"] = data
        if times is None:
            series["timestamps"] = h5py.SoftLink("/processing/running/running_speed/timestamps")
        else:
            series["timestamps"] = times


def presentations_of(**columns: Any) -> pd.DataFrame:
    """Return a presentations frame for :func:`write_minimal_session`."""
    return pd.DataFrame(columns)


@pytest.fixture
def write_session(tmp_path: Path) -> Callable[..., Path]:
    """Write a small session file into the test's folder: ``write_session(spike_times=[...], ...)``."""
    written: list[Path] = []

    def write(**contents: Any) -> Path:
        path = tmp_path / f"session_{len(written)}.nwb"
        written.append(write_minimal_session(path, **contents))
        return path

    return write


@pytest.fixture
def four_presentations() -> Mapping[str, Any]:
    """Contents of the little session that AllenSDK's own tests use: four presentations, three units."""
    return {
        "presentations": pd.DataFrame(
            {
                "start_time": [0.0, 0.5, 1.0, 1.5],
                "stop_time": [0.5, 1.0, 1.5, 2.0],
                "stimulus_name": ["a", "a", "a", "a_movie"],
                "stimulus_block": [0.0, 0.0, 0.0, 1.0],
                "stimulus_index": [0.0, 0.0, 0.0, 1.0],
                "Color": [0.0, 5.5, 11.0, 16.5],
                "Phase": [0.0, 60.0, 120.0, 180.0],
                "texRes": [1.0, 1.0, 1.0, 1.0],
            }
        ),
        "spike_times": [[1.01, 1.03, 1.02], [2.5], [5.0, 6.0, 7.0, 8.0]],
        "units": default_units([1002, 1001, 1000]).set_axis(pd.Index([2, 1, 0], name="id")),
    }


@pytest.fixture(scope="session")
def simulated_project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A project folder of one simulated session of one probe, with its LFP around the flashes; and its ground truth."""
    from allen_ecephys import EcephysProjectCache
    from allen_ecephys.processing.simulation import write_lfp, write_session

    folder = tmp_path_factory.mktemp("simulated")
    cache = folder / "cache"
    cache.mkdir()
    truth = write_session(folder / "session.nwb", scale=0.02, n_units=120, n_probes=1, seed=3, has_lfp=True)
    probe = int(truth.probes.index[0])
    shown = truth.stimulus_presentations
    flashes = shown.loc[shown["stimulus_name"] == "flashes", "stop_time"]
    write_lfp(folder / "lfp.nwb", truth, probe, start=90.0, stop=float(flashes.max()) + 5, compression_level=1)
    project = EcephysProjectCache(cache, remote=None)
    project.add_session(folder / "session.nwb", lfp={probe: folder / "lfp.nwb"}, move=True)
    return cache, truth
