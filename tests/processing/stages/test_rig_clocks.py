"""Probes of rigs without barcodes: a square wave, with a sync file or without, and times that the recorder wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from allen_ecephys.errors import FileFormatError, MissingDataError, SynchronizationError
from allen_ecephys.processing.packaging import SessionDescription, read_session_description
from allen_ecephys.processing.readers import open_bands
from allen_ecephys.processing.simulation import write_recording
from allen_ecephys.processing.simulation.rig.lines import write_sync_file
from allen_ecephys.processing.stages.synchronized_probe import SessionClock, clock_files
from allen_ecephys.processing.synchronization import open_sync_file, read_probe_events

SECONDS = 12.0
#: Start (s) and clock of two probes.
PROBES = {"probeA": (3.2, 40e-6), "probeB": (3.4, -15e-6)}


def true_seconds(name: str, samples: np.ndarray) -> np.ndarray:
    start, ppm = PROBES[name]
    return start + samples / (30_000.0 * (1 + ppm))


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two probes of SpikeGLX with the square wave in their last column, and a sync file that saw it, too."""
    folder = tmp_path_factory.mktemp("rig")
    for seed, name in enumerate(PROBES):
        truth = write_recording(
            folder / name, duration=SECONDS, n_units=0, n_channels=8, form="spikeglx", lfp=False, seed=seed
        )
        path = truth.recording().path
        samples = np.fromfile(path, "<i2").reshape(-1, 9)
        high = np.floor(true_seconds(name, np.arange(len(samples))) * 2).astype(int) % 2
        samples[:, 8] = high * 64
        samples.tofile(path)
    edges = np.arange(0.5, 30.0, 1.0)
    write_sync_file(folder / "rig.sync", {"barcode": (edges, edges + 0.5)})
    return folder


def described(folder: Path, **told: Any) -> SessionDescription:
    changes = told.pop("probe", {})
    probes = [{"name": name, "recording": name, "clock": "square_wave", **changes} for name in PROBES]
    told = {"session_id": 7, "session_start_time": "2024-01-19T08:54:18-08:00", "probes": probes, **told}
    (folder / "session.json").write_text(json.dumps({name: value for name, value in told.items() if value is not None}))
    return read_session_description(folder / "session.json")


def test_a_square_wave_on_a_line_of_the_sync_file(rig: Path) -> None:
    told = described(rig, sync="rig.sync", square_wave="barcode", probe={"start": 3.3})
    clock = SessionClock.of(told, open_sync_file(rig / "rig.sync"))
    samples = np.arange(0, 360_000, 997)
    for probe in told.probes:
        bands = open_bands(probe.recording)
        found = clock.of_probe(probe, bands)
        assert np.abs(found.seconds(samples) - true_seconds(probe.name, samples)).max() < 1e-4
        assert "edges of the square wave of the probe match one of 30 of the session" in found.summary()
        assert clock_files(probe, bands) == []
    early = described(rig, sync="rig.sync", square_wave="barcode", probe={"start": 3.7})
    with pytest.raises(SynchronizationError, match="say more exactly when the probe started"):
        SessionClock.of(early, clock.sync).of_probe(early.probes[0], open_bands(rig / "probeA"))


def test_a_square_wave_that_only_the_probes_saw(rig: Path) -> None:
    """The session's clock then is the first probe's, at its nominal rate."""
    told = described(rig)
    clock = SessionClock.of(told, None)
    samples = np.arange(0, 360_000, 997)
    first, second = (clock.of_probe(probe, open_bands(probe.recording)) for probe in told.probes)
    assert np.abs(first.seconds(samples) - samples / 30_000.0).max() < 1e-9
    assert first.drift_ppm == pytest.approx(0, abs=1e-6)
    # B began 0.2 s later: its first edge is A's first.
    on_a = (true_seconds("probeB", samples) - PROBES["probeA"][0]) * (1 + PROBES["probeA"][1])
    assert np.abs(second.seconds(samples) - on_a).max() < 1e-4


def test_times_that_open_ephys_wrote(tmp_path: Path) -> None:
    write_recording(tmp_path / "probeA", duration=SECONDS, n_units=0, n_channels=8, lfp=False)
    bands = open_bands(tmp_path / "probeA")
    told = described(tmp_path, probes=[{"name": "probeA", "recording": "probeA", "clock": "recorder"}])
    clock = SessionClock.of(told, None)
    with pytest.raises(MissingDataError, match=r"no timestamps\.npy in seconds"):
        clock.of_probe(told.probes[0], bands)
    samples = np.arange(bands.spike_band.n_samples)
    path = bands.spike_band.path.with_name("timestamps.npy")
    times = true_seconds("probeA", samples)
    np.save(path, times)
    found = clock.of_probe(told.probes[0], bands)
    assert np.abs(found.seconds(samples[::997]) - times[::997]).max() < 1e-9
    assert clock_files(told.probes[0], bands) == [path]
    np.save(path, times[:-5])
    with pytest.raises(FileFormatError, match="it was cut"):
        clock.of_probe(told.probes[0], bands)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"probe": {"clock": "sundial"}}, "no clock 'sundial'; there are barcodes, square_wave, recorder"),
        ({"probe": {"clock": "barcodes"}}, "no sync file saw them"),
        ({"sync": "rig.sync"}, "say square_wave, the line"),
        ({"sync": "rig.sync", "square_wave": "barcode"}, "say start, about when its sample 0"),
        ({"stimulus": "rig.sync"}, "names stimulus, which only the lines of a sync file put in time"),
        ({"square_wave": "barcode"}, "names square_wave, which only the lines"),
    ],
)
def test_clocks_that_lack_what_they_rest_on(rig: Path, told: dict[str, Any], message: str) -> None:
    with pytest.raises(FileFormatError, match=message):
        described(rig, **told)


def test_events_of_one_of_several_probes(tmp_path: Path) -> None:
    for name in ("ProbeA-AP", "ProbeA-LFP", "ProbeB-AP"):
        folder = tmp_path / "events" / f"Neuropix-PXI-100.{name}" / "TTL"
        folder.mkdir(parents=True)
        np.save(folder / "states.npy", [1, -1])
        np.save(folder / "sample_numbers.npy", [len(name), 100])
    assert read_probe_events(tmp_path, "ProbeA").samples.tolist() == [9, 100]
    assert read_probe_events(tmp_path, "ProbeA-LFP").samples.tolist() == [10, 100]
    with pytest.raises(MissingDataError, match="several lines"):
        read_probe_events(tmp_path)
    with pytest.raises(MissingDataError, match="holds no events of ProbeC"):
        read_probe_events(tmp_path, "ProbeC")
