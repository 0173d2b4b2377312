"""The raw simulator: what is on disk is what its ground truth says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from allen_ecephys.errors import FileFormatError, GeometryError, RecordingTooShortError, UnknownNameError
from allen_ecephys.processing.probes import neuropixels_1_geometry, neuropixels_1_wiring
from allen_ecephys.processing.readers.spikeglx import open_spikeglx
from allen_ecephys.processing.simulation.raw.noise import NoiseModel, hardware_high_pass
from allen_ecephys.processing.simulation.raw.recording import RawGroundTruth, read_ground_truth, write_recording
from allen_ecephys.processing.simulation.raw.signal import ChannelFaults, DriftModel, add_spikes, digitise
from allen_ecephys.processing.simulation.raw.templates import draw_unit_shapes, local_channels, waveform
from allen_ecephys.processing.simulation.raw.trains import TrainModel, draw_trains

QUIET = NoiseModel(local_uv=0.0, common_uv=0.0, converter_uv=0.0, white_uv=0.0)


def average(truth: RawGroundTruth, unit: int, first: int = 0, last: int = 500) -> np.ndarray:
    """Spike-triggered average in uV, without offsets, on all channels."""
    recording = truth.recording()
    times = truth.spike_train(unit)
    times = times[(times >= 20) & (times + 62 <= truth.n_samples)][first:last]
    return np.mean([recording.read_uv(t - 20, t + 62) for t in times], axis=0) - truth.offsets_uv


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> RawGroundTruth:
    folder = tmp_path_factory.mktemp("sim") / "raw"
    faults = ChannelFaults(dead=(3,), noisy=(10,), saturated=(20,), saturation=((0.5, 0.6),))
    return write_recording(folder, duration=4.0, n_units=12, n_channels=96, faults=faults, seed=7, form="binary")


def test_equal_seeds_give_equal_bytes_and_others_do_not(tmp_path: Path) -> None:
    def written(name: str, seed: int) -> dict[str, bytes]:
        write_recording(tmp_path / name, duration=1.2, n_units=3, n_channels=24, seed=seed)
        files = sorted(p for p in (tmp_path / name).rglob("*") if p.is_file() and p.suffix in {".dat", ".npy", ".csv"})
        return {str(p.relative_to(tmp_path / name)): p.read_bytes() for p in files}

    a, b, c = written("a", 1), written("b", 1), written("c", 2)
    assert a == b
    assert a.keys() == c.keys()
    assert a["continuous/Neuropix-3a-100.0/continuous.dat"] != c["continuous/Neuropix-3a-100.0/continuous.dat"]


def test_truth_survives_the_disk(truth: RawGroundTruth) -> None:
    again = read_ground_truth(truth.folder)
    pd.testing.assert_frame_equal(again.units, truth.units)
    assert again.faults == truth.faults
    np.testing.assert_array_equal(again.templates, truth.templates)
    np.testing.assert_array_equal(again.spike_times, truth.spike_times)
    assert (again.seed, again.form, again.surface_channel) == (7, "binary", 79)
    with pytest.raises(FileFormatError, match="not a folder that"):
        read_ground_truth(truth.folder.parent)


def test_without_noise_the_recording_is_the_templates(tmp_path: Path) -> None:
    """One isolated spike every 20 ms: the average is the template, within the converter's step."""
    geometry = neuropixels_1_geometry(48)
    shapes = draw_unit_shapes(2, geometry, np.random.default_rng(0), amplitude_range=(200.0, 400.0))
    trains = [np.arange(0.01, 4, 0.04), np.arange(0.03, 4, 0.04)]
    truth = write_recording(
        tmp_path / "r", duration=4.0, n_channels=48, shapes=shapes, trains=trains, noise=QUIET, lfp=False,
        faults=ChannelFaults(references=()),
    )  # fmt: skip
    for unit in range(2):
        mean = average(truth, unit)
        size = truth.spike_amplitudes[truth.spike_units == unit].mean()
        assert np.abs(mean - size * truth.templates[unit]).max() < 0.03 * truth.units.amplitude[unit] + 1.5
        peak = truth.units.peak_channel[unit]
        assert np.ptp(truth.templates[unit][:, peak]) == pytest.approx(shapes.amplitude_uv[unit], rel=1e-3)
        assert abs(int(np.abs(truth.templates[unit][:, peak]).argmax()) - 20) <= 2


def test_units_are_realistic(truth: RawGroundTruth) -> None:
    shapes = draw_unit_shapes(2000, neuropixels_1_geometry(), np.random.default_rng(0))
    assert (shapes.amplitude_uv >= 30).all()
    assert (shapes.amplitude_uv <= 400).all()
    assert 70 < np.median(shapes.amplitude_uv) < 110
    assert 0.02 < (shapes.polarity < 0).mean() < 0.08
    top = truth.geometry[truth.surface_channel, 1]
    assert (truth.units["y"] <= top).all()
    sizes = np.ptp(truth.templates, axis=1)
    np.testing.assert_allclose(sizes.max(axis=1), truth.units["amplitude"], rtol=1e-6)
    noise = truth.noise_uv[truth.units["peak_channel"]]
    np.testing.assert_allclose(truth.units["snr"], truth.units["amplitude"] / (2 * noise))


def test_waveforms_shrink_widen_and_arrive_later_with_distance() -> None:
    geometry = np.column_stack([np.zeros(21), np.arange(21) * 20.0])
    rng = np.random.default_rng(0)
    shapes = replace(
        draw_unit_shapes(1, geometry, rng),
        x=np.zeros(1), y=np.full(1, 200.0), polarity=np.ones(1), slowness_up=np.ones(1), slowness_down=np.full(1, 2.0),
        peak_share=np.zeros(1),
    )  # fmt: skip
    fine = waveform(shapes, 0, geometry, 3e6, lead_samples=2000, n_samples=8200)
    trough = fine.argmin(axis=0)
    assert (np.diff(np.abs(fine).max(axis=0)[10:]) < 0).all()
    np.testing.assert_allclose((trough[15] - trough[10]) / 3.0, 100.0 * 1.0, rtol=0.02)  # us: 100 um at 1 us/um
    np.testing.assert_allclose((trough[5] - trough[10]) / 3.0, 100.0 * 2.0, rtol=0.02)
    width = (fine < 0.5 * fine.min(axis=0)).sum(axis=0)
    assert width[15] > width[10]
    long = np.column_stack([np.zeros(100), np.arange(100) * 20.0])
    chosen = local_channels(shapes, 0, long)
    assert 10 in chosen
    assert len(chosen) < 40
    assert len(local_channels(shapes, 0, long, margin_um=40.0)) > len(chosen)


def test_channels_are_digitised_one_after_the_other() -> None:
    geometry = neuropixels_1_geometry(24)
    shapes = draw_unit_shapes(1, geometry, np.random.default_rng(0))
    delays = neuropixels_1_wiring(24).delays
    later = waveform(shapes, 0, geometry, 30_000.0, delays=delays)
    fine = waveform(shapes, 0, geometry, 13 * 30_000.0, lead_samples=13 * 20, n_samples=13 * 82)
    for channel in range(24):
        np.testing.assert_allclose(later[:, channel], fine[round(13 * delays[channel]) :: 13, channel], atol=1e-12)


def test_trains_respect_their_dead_time_rates_and_bursts() -> None:
    rng = np.random.default_rng(0)
    for share in (0.0, 1.0):
        model = TrainModel(rate_range=(5.0, 5.0), refractory_ms=2.0, bursting_share=share)
        trains = draw_trains(20, 200.0, 30_000.0, rng, model)
        assert (np.diff(trains.times) >= 0).all()
        assert trains.times[0] >= 0
        assert trains.times[-1] < 200 * 30_000
        intervals = np.concatenate([np.diff(trains.times[trains.units == u]) for u in range(20)]) / 30.0
        assert intervals.min() >= 2.0 - 1e-6
        short = ((intervals > 3) & (intervals < 6)).mean()
        if share == 0:
            assert len(trains.times) / 20 / 200 == pytest.approx(5.0, rel=0.05)
            assert short < 0.03
        else:
            assert short > 0.2
    after_spike = trains.amplitudes[1:][(np.diff(trains.units) == 0) & (np.diff(trains.times) < 180)]
    assert after_spike.mean() < trains.amplitudes.mean() - 0.03  # amplitude falls within bursts


def test_tuned_units_fire_for_their_direction() -> None:
    model = TrainModel(rate_range=(20.0, 20.0), tuned_share=1.0, bursting_share=0.0)
    trains = draw_trains(3, 400.0, 30_000.0, np.random.default_rng(1), model)
    for unit in range(3):
        seconds = trains.times[trains.units == unit] / 30_000
        counts = [((seconds >= a) & (seconds < b)).sum() for a, b, _ in trains.gratings]
        by_direction = pd.Series(counts).groupby(trains.gratings[:, 2]).mean()
        assert by_direction.idxmax() == trains.preferred_direction[unit]
        assert by_direction.max() > 3 * by_direction.min()


def test_drift_moves_the_waveforms_along_the_probe(tmp_path: Path) -> None:
    geometry = neuropixels_1_geometry(48)
    shapes = draw_unit_shapes(1, geometry, np.random.default_rng(3), amplitude_range=(300.0, 300.0))
    shapes = replace(shapes, y=np.full(1, 200.0), x=np.full(1, 35.0))
    truth = write_recording(
        tmp_path / "r", duration=6.0, n_channels=48, shapes=shapes, trains=[np.arange(0.01, 5.99, 0.02)], noise=QUIET,
        drift=DriftModel(linear_um=40.0), lfp=False, faults=ChannelFaults(references=()), multiplexed=False,
    )  # fmt: skip

    def depth(mean: np.ndarray) -> float:
        power = np.ptp(mean, axis=0) ** 2
        return float((power * geometry[:, 1]).sum() / power.sum())

    moved = depth(average(truth, 0, 279, 299)) - depth(average(truth, 0, 0, 20))
    assert 28 < moved < 45
    assert truth.units["drift"][0] == 40
    assert truth.drift_um[[0, -1]].tolist() == [0.0, 40.0]
    steps = DriftModel(step_um=30.0, n_steps=3).displacement(np.array([0.1, 2.0, 3.0, 5.9]), 6.0)
    assert steps.tolist() == [0.0, 30.0, 0.0, 30.0]


def test_noise_is_local_common_and_shared_by_converters(tmp_path: Path) -> None:
    def correlation(**sizes: float) -> np.ndarray:
        model = NoiseModel(**{"local_uv": 0, "common_uv": 0, "converter_uv": 0, "white_uv": 3, **sizes})
        name = "-".join(sizes)
        truth = write_recording(
            tmp_path / name, duration=1.5, n_units=0, n_channels=96, noise=model, lfp=False, surface_channel=96,
            faults=ChannelFaults(references=()),
        )  # fmt: skip
        return np.corrcoef(truth.recording().read_uv(0, 45_000).T)

    local = correlation(local_uv=10.0)
    assert local[40, 41] > 0.5
    assert abs(local[10, 90]) < 0.05
    common = correlation(common_uv=20.0)
    assert common[10, 90] > 0.3
    converters = correlation(converter_uv=5.0)
    assert converters[10, 34] > 0.6
    assert abs(converters[10, 35]) < 0.05


def test_quantisation_faults_and_hardware_filter(truth: RawGroundTruth) -> None:
    recording = truth.recording()
    samples = recording.read(0, truth.n_samples)
    steps = np.unique(samples[:, 50])
    np.testing.assert_allclose(steps, np.rint(np.rint(steps / 12.0192) * 12.0192307692), atol=1)  # a comb of 2.34 uV
    assert np.abs(samples).max() <= np.ceil(512 * 12.02)
    assert len(np.unique(samples[:15_000, 3])) == 1  # dead
    assert (samples[:, 20] == samples.max()).all()  # at the end of the range
    assert (samples[15_000:18_000].min(axis=1) == samples.max()).all()
    spread = recording.read_uv(20_000, 100_000).std(axis=0)
    assert spread[10] > 20 * spread[11]
    assert spread[36] < 0.4 * spread[37]  # a reference
    tone = np.sin(2 * np.pi * 50 * np.arange(30_000) / 30_000).astype(np.float32)[:, None]
    hardware_high_pass(tone, 30_000.0, np.zeros((2, 1), np.float32))
    assert np.abs(tone[3000:]).max() == pytest.approx(0.1, rel=0.02)  # first order: 50 Hz is a tenth of 500 Hz
    quiet = [c for c in range(96) if c not in (3, 10, 20)]
    clean = recording.read_uv(20_000, 100_000)[:, quiet]
    ratio = clean.std(axis=0) / truth.noise_uv[quiet]  # spikes come on top, on some channels
    assert ratio.min() > 0.97
    assert np.median(ratio) < 1.1
    np.testing.assert_allclose(clean.mean(axis=0), truth.offsets_uv[quiet], atol=0.5)


def test_lfp_has_a_brain_surface(truth: RawGroundTruth) -> None:
    lfp = truth.recording("lfp").read_uv(2000, 10_000).std(axis=0)
    assert lfp[40:70].min() > 2 * lfp[85:].max()


def test_kernels_equal_numpy() -> None:
    rng = np.random.default_rng(0)
    block, template = np.zeros((50, 6), np.float32), rng.normal(size=(4, 10, 2)).astype(np.float32)
    starts, phases = np.array([-4, 7, 12, 45]), np.array([0, 3, 1, 2])
    sizes, channels = np.array([1.0, 0.5, 2.0, 1.0], np.float32), np.array([4, 1])
    expected = np.zeros((70, 6), np.float32)
    for start, phase, size in zip(starts, phases, sizes, strict=True):
        expected[10 + start : 20 + start, channels] += size * template[phase]
    add_spikes(block, starts, sizes, phases, template, channels)
    np.testing.assert_array_equal(block, expected[10:60])
    microvolts = rng.normal(0, 800, (100, 3)).astype(np.float32)
    offsets = np.array([5.0, -3.0, 0.0], np.float32)
    out = np.zeros((100, 4), np.int16)
    digitise(microvolts, offsets, 2.34375, 2.34375 / 0.195, 3, 512, out)
    codes = np.clip(np.rint((microvolts + offsets) / np.float32(2.34375)), -512, 511)
    np.testing.assert_array_equal(out[:, :3], np.rint(codes.astype(np.float64) * (2.34375 / 0.195)))
    assert not out[:, 3].any()


def test_what_cannot_be_simulated_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingTooShortError, match="less than one waveform"):
        write_recording(tmp_path / "r", duration=0.001)
    with pytest.raises(UnknownNameError, match="did you mean 'spikeglx'"):
        write_recording(tmp_path / "r", form="spikglx")  # type: ignore[arg-type]
    geometry = neuropixels_1_geometry(4)
    with pytest.raises(GeometryError, match="form='binary'"):
        write_recording(tmp_path / "r", n_channels=4, geometry=geometry[::-1], form="spikeglx")
    shapes = draw_unit_shapes(2, geometry, np.random.default_rng(0))
    with pytest.raises(ValueError, match="1 spike trains were given for 2 units"):
        write_recording(tmp_path / "r", n_channels=4, shapes=shapes, trains=[np.array([0.1])])
    for train in ([0.2, 0.1], [-0.1], [10.0]):
        with pytest.raises(ValueError, match="not sorted within"):
            write_recording(tmp_path / "r", n_channels=4, shapes=shapes, trains=[np.array([]), np.array(train)])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    with pytest.raises(FileExistsError):
        write_recording(tmp_path / "full", duration=0.1, n_units=1, n_channels=24)
    assert [p.name for p in tmp_path.iterdir()] == ["full"]


# --- probes of the catalogue -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part_number", "sites", "uv_per_bit"),
    [
        ("NP1000", np.arange(192, 576), 2.34375),
        ("NP1030", None, 2.34375),
        ("NP1100", None, 2.34375),
        ("NP2000", None, 1e6 / 2**14 / 80),
        ("NP2003", np.arange(0, 384, 3), 1.24e6 / 2**12 / 100),
        ("NP2014", np.r_[0:96, 1280 + 96 : 1280 + 192, 3840 + 480 : 3840 + 576], 1.24e6 / 2**12 / 100),
        ("NP2020", None, 1.24e6 / 2**12 / 100),
    ],
)
def test_any_probe_is_written_as_spikeglx_and_read_again(
    tmp_path: Path, part_number: str, sites: np.ndarray | None, uv_per_bit: float
) -> None:
    """Positions, shanks, converters, gains and references of the folder are those that were simulated."""
    pytest.importorskip("probeinterface")
    truth = write_recording(
        tmp_path / "r", duration=0.05, n_units=3, probe=part_number, sites=sites, form="spikeglx", surface_um=1e5
    )
    read = open_spikeglx(tmp_path / "r", "ap")
    np.testing.assert_allclose(read.geometry, truth.geometry)
    np.testing.assert_array_equal(read.shanks, truth.probe.shanks)
    assert read.adc is not None
    np.testing.assert_array_equal(read.adc.delays, truth.probe.adc.delays)
    np.testing.assert_array_equal(read.adc.groups, truth.probe.adc.groups)
    np.testing.assert_allclose(read.uv_per_bit, uv_per_bit)
    np.testing.assert_array_equal(read.reference_channels, truth.faults.references)
    np.testing.assert_array_equal(read.read(0, 1000), truth.recording().read(0, 1000))
    again = read_ground_truth(tmp_path / "r")
    np.testing.assert_array_equal(again.probe.sites, truth.probe.sites)
    np.testing.assert_array_equal(again.probe.adc.turns, truth.probe.adc.turns)


def test_sites_that_share_a_channel_and_forms_without_words_for_a_probe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GeometryError, match="share channel 3"):
        write_recording(tmp_path / "r", sites=[3, 387])
    with pytest.raises(GeometryError, match="sites 0 to 959"):
        write_recording(tmp_path / "r", sites=[3, 960])
    with pytest.raises(GeometryError, match="lowest sites"):
        write_recording(tmp_path / "r", sites=np.arange(192, 576), form="open_ephys")
    with pytest.raises(GeometryError, match="binary"):
        write_recording(
            tmp_path / "r", geometry=np.eye(4, 2) * 40 + [[0], [1], [2], [3]], n_channels=4, form="spikeglx"
        )


def test_the_brain_ends_where_it_ends_whatever_sites_are_recorded(tmp_path: Path) -> None:
    """Sites 192-575 of a 1.0 probe: channels 192-383 are the lower ones, and site 507 is channel 123."""
    truth = write_recording(
        tmp_path / "r", duration=0.1, n_units=30, sites=np.arange(192, 576), surface_um=10.0 * 507 + 20, form="binary"
    )
    assert truth.surface_channel == 123
    assert truth.probe.sites[[0, 191, 192, 383]].tolist() == [384, 575, 192, 383]
    assert truth.units["y"].max() <= 5090
    assert truth.noise_uv[110] > 1.3 * truth.noise_uv[140]


def test_a_truth_of_another_version_is_named(tmp_path: Path) -> None:
    write_recording(tmp_path / "raw", duration=0.1, n_units=1, n_channels=8, lfp=False)
    with np.load(tmp_path / "raw" / "ground_truth.npz") as stored:
        older = {name: stored[name] for name in stored if name != "sites"}
    np.savez(tmp_path / "raw" / "ground_truth.npz", **older)
    with pytest.raises(FileFormatError, match="has no sites: another version"):
        read_ground_truth(tmp_path / "raw")
