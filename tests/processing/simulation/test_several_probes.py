"""Recordings of several probes, read back through the door that every command uses: sites, volts, spikes, truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from allen_ecephys.errors import GeometryError, InvalidValueError, UnknownNameError
from allen_ecephys.processing.readers import list_probes, open_bands
from allen_ecephys.processing.simulation.raw import SimulatedProbe, read_ground_truth, write_probes
from allen_ecephys.processing.simulation.raw.several_probes import Recorder

pytest.importorskip("probeinterface")

#: Kinds and sites: bank 0, sites away from the tip, one and four shanks, blocks of shanks, a dense probe, few channels.
SETUPS = {
    "1.0": SimulatedProbe("NP1000", n_channels=96, n_units=2),
    "1.0, sites 192 to 575": SimulatedProbe("NP1000", sites=range(192, 576), n_units=2),
    "NHP": SimulatedProbe("NP1032", n_channels=40, n_units=2),
    "2.0": SimulatedProbe("NP2003", n_channels=64, n_units=2),
    "2.0, four shanks": SimulatedProbe("NP2013", n_units=2),
    "2.0, blocks": SimulatedProbe("NP2014", sites=np.r_[0:48, 1280:1376, 2704:2752], n_units=2),
    "Ultra": SimulatedProbe("NP1100", n_channels=64, n_units=2),
}


@pytest.mark.parametrize(
    ("part_number", "sites"),
    [
        ("NP2013", range(96)), ("NP2013", range(160)), ("NP2013", range(96, 144)), ("NP2014", range(96)),
        ("NP2010", range(96)), ("NP2003", range(400, 500)), ("NP1032", range(900, 950)), ("NP3020", range(1300, 1400)),
    ],
)  # fmt: skip
def test_channels_that_are_not_saved_share_no_site_with_those_that_are(
    part_number: str, sites: range, tmp_path: Path
) -> None:
    setups = {"imec0": SimulatedProbe(part_number, sites=sites, n_units=1)}
    truth = write_probes(tmp_path / "rig", setups, recorder="spikeglx", duration=0.05)["imec0"]
    band = open_bands(tmp_path / "rig").spike_band
    np.testing.assert_allclose(band.geometry, truth.geometry)
    np.testing.assert_array_equal(band.shanks, truth.probe.shanks)


@pytest.mark.parametrize("recorder", ["open_ephys", "spikeglx"])
@pytest.mark.parametrize("kind", SETUPS)
def test_a_probe_among_others_reads_as_it_was_set_up(kind: str, recorder: Recorder, tmp_path: Path) -> None:
    names = ("ProbeA", "ProbeB") if recorder == "open_ephys" else ("imec0", "imec1")
    setups = {names[0]: SimulatedProbe("NP2003", n_channels=8, n_units=1), names[1]: SETUPS[kind]}
    truths = write_probes(tmp_path / "rig", setups, recorder=recorder, duration=0.2)
    assert [(found.probe, found.problem) for found in list_probes(tmp_path / "rig")] == [(name, "") for name in names]
    with pytest.raises((UnknownNameError, OSError), match=names[1]):
        open_bands(tmp_path / "rig")
    bands, truth = open_bands(tmp_path / "rig", stream=names[1]), truths[names[1]]
    recording = bands.spike_band
    assert recording.part_number == setups[names[1]].part_number
    np.testing.assert_array_equal(recording.shanks, truth.probe.shanks)
    np.testing.assert_allclose(recording.geometry, truth.geometry)
    peaks = recording.geometry[truth.units["peak_channel"]]
    assert (np.hypot(*(peaks - truth.units[["x", "y"]].to_numpy()).T) < 60).all()  # a row lower would be as near,
    if kind == "1.0":  # the other side of the probe would not
        lowest = SimulatedProbe("NP1000", n_channels=96, n_units=40, amplitude_range=(300.0, 400.0), surface_um=500.0)
        many = write_probes(tmp_path / "many", {names[1]: lowest}, recorder=recorder, duration=0.2)[names[1]]
        seen = open_bands(tmp_path / "many", stream=names[1]).spike_band.geometry[many.units["peak_channel"]]
        assert np.corrcoef(seen[:, 0], many.units["x"])[0, 1] > 0.5
        assert np.corrcoef(seen[:, 1], many.units["y"])[0, 1] > 0.99
        assert many.surface_um == 500.0
    np.testing.assert_array_equal(recording.reference_channels, truth.probe.references)
    np.testing.assert_allclose(recording.adc.delays, truth.probe.adc.delays)
    assert (bands.lfp is None) == (truth.probe.lfp_step_uv is None)
    again = read_ground_truth(tmp_path / "rig", f"{names[1]}-AP")
    for band, read in (("ap", bands.spike_band), ("lfp", bands.lfp)):
        if read is not None:
            np.testing.assert_allclose(read.read_uv(0, 300), again.recording(band).read_uv(0, 300), rtol=1e-4)
            assert read.n_samples == again.recording(band).n_samples
    np.testing.assert_array_equal(again.spike_times, truth.spike_times)
    np.testing.assert_array_equal(again.geometry, truth.geometry)


def test_equal_arguments_give_equal_bytes_and_probes_differ(tmp_path: Path) -> None:
    setups = {name: SimulatedProbe("NP2003", n_channels=8, n_units=2) for name in ("ProbeA", "ProbeB")}
    truths = [write_probes(tmp_path / name, setups, duration=0.2) for name in ("one", "other")]
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.dat"))
    assert len(files) == 2
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()
    assert (tmp_path / "one" / files[0]).read_bytes() != (tmp_path / "one" / files[1]).read_bytes()
    assert truths[0]["ProbeA"].spike_times.tolist() != truths[0]["ProbeB"].spike_times.tolist()


def test_what_no_recorder_writes_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    place = tmp_path / "rig"
    with pytest.raises(InvalidValueError, match="no probes"):
        write_probes(place, {})
    with pytest.raises(InvalidValueError, match="imec0, imec1"):
        write_probes(place, {"ProbeA": SimulatedProbe()}, recorder="spikeglx")
    with pytest.raises(InvalidValueError, match="name of a folder"):
        write_probes(place, {"../A": SimulatedProbe()})
    with pytest.raises(GeometryError, match="share channel"):
        write_probes(place, {"A": SimulatedProbe(sites=[0, 384])})
    with pytest.raises(GeometryError, match="streams of a shank"):
        write_probes(place, {"A": SimulatedProbe("NP2020", n_units=1)}, duration=0.1)
    assert list(tmp_path.iterdir()) == []
    write_probes(place, {"A": SimulatedProbe("NP2003", n_channels=4, n_units=1)}, duration=0.1)
    assert read_ground_truth(place).probe.part_number == "NP2003"
    with pytest.raises(UnknownNameError, match="simulated probes A"):
        read_ground_truth(place, "B")
