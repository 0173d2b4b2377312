"""What the sorter reads: SciPy and NumPy twins, chunk sizes, reuse, poor recordings, and spikes held still."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from scipy import signal

from allen_ecephys.errors import GeometryError, NonFiniteError, RecordingTooShortError, TooFewChannelsError
from allen_ecephys.processing.probes import neuropixels_1_geometry
from allen_ecephys.processing.readers.binary import BinaryRecording
from allen_ecephys.processing.shanks import ShankLines
from allen_ecephys.processing.simulation.raw.recording import RawGroundTruth
from allen_ecephys.processing.sorting.parameters import SortingParameters
from allen_ecephys.processing.sorting.preparing import channels as channel_choice
from allen_ecephys.processing.sorting.preparing.block_cache import BlockCache, BlockFile
from allen_ecephys.processing.sorting.preparing.channels import choose_channels, count_spikes, noisy_channels
from allen_ecephys.processing.sorting.preparing.drift import Drift
from allen_ecephys.processing.sorting.preparing.interpolation import (
    N_SOURCES,
    RegistrationWeights,
    covariance_of_places,
    shifted_sum,
)
from allen_ecephys.processing.sorting.preparing.registration import PreparedRecording, prepare_recording
from allen_ecephys.processing.spike_band.common_reference import lower_median, reference_floors, subtract_common
from allen_ecephys.processing.spike_band.depth_estimation import estimate_depth
from allen_ecephys.processing.spike_band.filtering import high_pass_sections
from allen_ecephys.processing.spike_band.writing import estimate_whitening, open_processed, write_whitened

STILL = SortingParameters(nblocks=0)
#: Nor are the converters' turns undone.
AS_RELEASED = replace(STILL, definition="release")
Writer = Callable[..., BinaryRecording]


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    def recording(samples: np.ndarray, **known: object) -> BinaryRecording:
        path = tmp_path / f"samples{len(list(tmp_path.glob('samples*')))}.dat"
        samples.tofile(path)
        facts = {
            "n_columns": samples.shape[1],
            "sampling_rate": 30_000.0,
            "uv_per_bit": 0.195,
            "geometry": neuropixels_1_geometry(samples.shape[1]),
            "dtype": samples.dtype,
        }
        return BinaryRecording(path, **{**facts, **known})  # type: ignore[arg-type]

    return recording


@pytest.fixture(scope="module")
def held(stepping_probe: RawGroundTruth) -> PreparedRecording:
    return prepare_recording(stepping_probe.recording())


def noise(n_samples: int, n_channels: int, *, seed: int = 0, common: float = 30.0) -> np.ndarray:
    """Counts with an offset and a scale of each channel, noise shared by neighbours and noise shared by all."""
    rng = np.random.default_rng(seed)
    own = rng.normal(size=(n_samples, n_channels + 2))
    local = own[:, :-2] + 0.7 * own[:, 1:-1] + 0.4 * own[:, 2:]
    counts = local * rng.uniform(40, 80, n_channels) + common * rng.normal(size=(n_samples, 1))
    return np.rint(counts + rng.normal(0, 300, n_channels)).astype(np.int16)


# --- common reference --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_members", [1, 2, 15, 16])
def test_common_median_equals_a_sort(n_members: int) -> None:
    rng = np.random.default_rng(n_members)
    samples = (rng.normal(size=(400, 20)) * rng.choice([1, 30, 3000], (400, 1))).astype(np.float32)
    members = np.zeros(20, bool)
    members[rng.choice(20, n_members, replace=False)] = True
    steps = np.sort(np.rint(samples[:, members] * np.float32(8)), axis=1)
    wanted = samples - (steps[:, (n_members - 1) // 2] / 8).astype(np.float32)[:, None]
    subtract_common(samples, reference_floors(members))
    np.testing.assert_array_equal(samples, wanted)


def test_median_is_found_from_any_guess() -> None:
    steps = np.array([-7, 100_000, 3, 3, -900_000], np.int32)
    assert {int(lower_median(steps, 5, guess)) for guess in (-(10**7), -3, 0, 3, 50, 10**7)} == {3}


def test_no_members_subtract_nothing() -> None:
    samples = np.ones((3, 4), np.float32)
    subtract_common(samples, reference_floors(np.zeros(4, bool)))
    assert (samples == 1).all()


# --- preparation -------------------------------------------------------------------------------------------------


def in_scipy(samples: np.ndarray, prepared: PreparedRecording, offsets: np.ndarray) -> np.ndarray:
    """The definition: filter both ways, subtract the median over the channels, multiply by the whitening matrix."""
    sections = high_pass_sections(30_000.0).astype(np.float64)
    filtered = signal.sosfilt(sections, samples - offsets, axis=0)
    filtered = signal.sosfilt(sections, filtered[::-1], axis=0)[::-1][:, prepared.channel_map]
    middle = (filtered.shape[1] - 1) // 2
    filtered = filtered - np.sort(np.rint(filtered * 8), axis=1)[:, [middle]] / 8
    return filtered @ prepared.whitening


def test_samples_equal_scipy(write: Writer) -> None:
    samples = noise(9_000, 20)
    prepared = prepare_recording(write(samples), parameters=AS_RELEASED)
    assert prepared.n_channels == 20
    assert prepared.counts().shape == (9_000, 20)
    twin = in_scipy(samples.astype(np.float64), prepared, np.float32(samples[:8192].mean(axis=0)))
    # Two counts of 200 an SD: rounding of float32, and a median that rounds the other way.
    assert np.abs(prepared.counts() - 200 * twin).max() < 8
    assert np.sqrt(np.mean((prepared.counts() - 200 * twin) ** 2)) < 1
    np.testing.assert_allclose(prepared.read(100, 300), prepared.counts()[100:300] / 200, rtol=1e-6)


def test_noise_is_white_and_of_size_one(write: Writer) -> None:
    prepared = prepare_recording(write(noise(60_000, 32)), parameters=STILL)
    covariance = np.cov(prepared.read(0, 60_000).T)
    np.testing.assert_allclose(np.diag(covariance), 1.0, atol=0.05)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 0.05


def test_channels_are_in_depth_order_without_the_left_out(write: Writer) -> None:
    geometry = neuropixels_1_geometry(24)[::-1]
    recording = write(noise(20_000, 24), geometry=geometry, reference_channels=[3])
    prepared = prepare_recording(recording, parameters=STILL)
    assert 3 not in prepared.channel_map
    assert (np.diff(prepared.positions[:, 1]) >= 0).all()
    np.testing.assert_array_equal(prepared.positions, geometry[prepared.channel_map])
    chosen = prepare_recording(recording, parameters=STILL, channels=[9, 8, 7, 6, 5])
    assert chosen.channel_map.tolist() == [9, 8, 7, 6, 5]


def test_the_numbering_of_channels_changes_no_waveform(stepping_probe: RawGroundTruth, tmp_path: Path) -> None:
    recording = stepping_probe.recording()
    order = np.random.default_rng(8).permutation(32)
    np.ascontiguousarray(recording.memory_map()[:, order]).tofile(tmp_path / "shuffled.dat")
    shuffled = BinaryRecording(
        tmp_path / "shuffled.dat", n_columns=32, sampling_rate=30_000.0, uv_per_bit=recording.uv_per_bit,
        geometry=recording.geometry[order], full_scale_uv=recording.full_scale_uv,
    )  # fmt: skip
    # Turns of the converters belong to columns as they were recorded, so they are left alone here.
    one = prepare_recording(recording, parameters=SortingParameters(definition="release"))
    two = prepare_recording(shuffled, parameters=SortingParameters(definition="release"))
    same = np.argsort(order[two.channel_map])[one.channel_map]
    np.testing.assert_array_equal(order[two.channel_map][same], one.channel_map)
    # Sums in another order are rounded otherwise: by one count of 200 a noise SD at most.
    assert np.abs(two.counts()[:, same].astype(np.int64) - one.counts()).max() <= 1
    np.testing.assert_array_equal(one.drift.shift_um, two.drift.shift_um)


@pytest.mark.parametrize("channels", [[0, 24], [-1, 2], [1, 1, 2], []])
def test_channels_that_are_none_are_refused(write: Writer, channels: list[int]) -> None:
    with pytest.raises(GeometryError):
        prepare_recording(write(noise(9_000, 24)), channels=channels)


def test_threads_change_nothing(stepping_probe: RawGroundTruth, held: PreparedRecording) -> None:
    one, two = prepare_recording(stepping_probe.recording(), n_workers=1), held
    np.testing.assert_array_equal(one.counts(), two.counts())
    np.testing.assert_array_equal(one.drift.shift_um, two.drift.shift_um)
    np.testing.assert_array_equal(one.whitening, two.whitening)


def test_medians_of_a_known_probe_equal_the_spike_band_stage(stepping_probe: RawGroundTruth, tmp_path: Path) -> None:
    recording = stepping_probe.recording()
    info = estimate_depth(recording)
    (tmp_path / "stage").mkdir()
    write_whitened(recording, info, estimate_whitening(recording, info, info.mask), tmp_path / "stage")
    wanted = open_processed(tmp_path / "stage").memory_map()
    prepared = prepare_recording(recording, parameters=AS_RELEASED, info=info)
    assert prepared.n_channels == info.mask.sum()
    np.testing.assert_array_equal(prepared.counts(), wanted[:, prepared.channel_map])


def test_any_piece_in_any_order_on_any_threads_is_the_same(held: PreparedRecording) -> None:
    """Blocks are made when they are asked for, and no more of them are kept than a few."""
    whole, rng = held.counts(), np.random.default_rng(0)
    assert not held.drift.is_negligible
    starts = rng.integers(0, held.n_samples - 20_000, 60)
    with ThreadPoolExecutor(4) as pool:
        pieces = list(pool.map(lambda start: held.counts(start, start + 20_000), starts.tolist()))
    for start, piece in zip(starts, pieces, strict=True):
        np.testing.assert_array_equal(piece, whole[start : start + 20_000])


def test_a_block_is_made_once_for_all_who_wait_for_it() -> None:
    made: list[int] = []
    begun = Event()

    def make(number: int) -> np.ndarray:
        made.append(number)
        begun.wait(5)
        if number == 9:
            raise NonFiniteError("no such samples")
        return np.full(3, number, np.int16)

    blocks = BlockCache(make, 2)
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(blocks, 4) for _ in range(3)]
        begun.set()
        assert all(future.result() is asked[0].result() for future in asked)
    assert made == [4]
    for number in (5, 4, 6, 4, 5):
        assert blocks(number)[0] == number
    assert made == [4, 5, 6, 5]
    for _ in range(2):  # an error is not kept
        with pytest.raises(NonFiniteError):
            blocks(9)
    assert made[-2:] == [9, 9]


def test_the_first_blocks_stay_on_disk(tmp_path: Path) -> None:
    made: list[int] = []

    def make(number: int) -> np.ndarray:
        made.append(number)
        return np.full((4 - number // 3, 2), number, np.int16)

    blocks = BlockCache(make, 1, BlockFile(tmp_path, 2))
    for number in (3, 1, 2, 3, 1, 2):
        np.testing.assert_array_equal(blocks(number), np.full((4 - number // 3, 2), number))
    assert made == [3, 1, 2, 2]
    assert not list(tmp_path.iterdir())


def test_written_samples_are_those_that_are_read(held: PreparedRecording, tmp_path: Path) -> None:
    path = tmp_path / "whitened.dat"
    path.write_bytes(b"of an earlier run")
    written = np.fromfile(held.write(path, n_workers=2), np.int16).reshape(-1, held.n_channels)
    np.testing.assert_array_equal(written, held.counts())


def test_finished_estimates_are_reused_and_those_of_another_call_are_not(write: Writer, tmp_path: Path) -> None:
    recording, path = write(noise(20_000, 24)), tmp_path / "prepared.npz"
    first = prepare_recording(recording, path, parameters=STILL)
    made = path.stat().st_mtime_ns
    again = prepare_recording(recording, path, parameters=STILL)
    assert path.stat().st_mtime_ns == made
    assert again.identity == first.identity
    for name in ("channel_map", "positions", "whitening", "taps"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
    np.testing.assert_array_equal(again.drift.shift_um, first.drift.shift_um)
    np.testing.assert_array_equal(again.counts(), first.counts())
    prepare_recording(recording, path, parameters=SortingParameters(nblocks=0, fshigh=300.0))
    assert path.stat().st_mtime_ns != made


@pytest.mark.parametrize("known", [False, True])
def test_estimates_of_every_kind_are_the_same_when_reused(
    stepping_probe: RawGroundTruth, tmp_path: Path, known: bool
) -> None:
    """With drift, with a reference or a known probe's medians."""
    recording = stepping_probe.recording()
    info = estimate_depth(recording) if known else None
    first, again = (prepare_recording(recording, tmp_path / "prepared.npz", info=info) for _ in range(2))
    np.testing.assert_array_equal(again.counts(), first.counts())


@pytest.mark.parametrize("damage", ["cut", "empty", "of another version", "no arrays"])
def test_what_an_interrupted_run_left_is_not_taken(write: Writer, tmp_path: Path, damage: str) -> None:
    recording, path = write(noise(20_000, 24)), tmp_path / "prepared.npz"
    whole = prepare_recording(recording, path, parameters=STILL).counts()
    made = path.stat().st_mtime_ns
    if damage in ("cut", "empty"):
        with path.open("r+b") as file:
            file.truncate(1000 if damage == "cut" else 0)
    else:
        with np.load(path) as arrays:
            kept = dict(arrays)
        if damage == "no arrays":
            del kept["weights"]
        else:
            kept["identity"] = np.array(str(kept["identity"]).replace('"version": "', '"version": "0.'))
        np.savez(path, **kept)
    np.testing.assert_array_equal(prepare_recording(recording, path, parameters=STILL).counts(), whole)
    assert path.stat().st_mtime_ns != made
    assert not list(tmp_path.glob(".*.draft"))


def test_float_samples_are_quantised_and_nan_refused(write: Writer) -> None:
    counts = noise(20_000, 24)
    whole = prepare_recording(write(counts), parameters=STILL).counts()
    volts = write((counts * 0.195).astype(np.float32), uv_per_bit=1.0)
    np.testing.assert_array_equal(prepare_recording(volts, parameters=STILL).counts(), whole)
    broken = (counts * 0.195).astype(np.float32)
    broken[7_000, 3] = np.nan
    with pytest.raises(NonFiniteError, match="sample 7000 of channel 3"):
        prepare_recording(write(broken, uv_per_bit=1.0), parameters=STILL)


@pytest.mark.parametrize("n_samples", [40, 500, 60_000])
def test_short_recordings_are_prepared(write: Writer, n_samples: int) -> None:
    prepared = prepare_recording(write(noise(n_samples, 20)))
    assert prepared.counts().shape == (n_samples, 20)
    assert prepared.drift.is_negligible


def test_recordings_without_enough_samples_are_refused(write: Writer) -> None:
    with pytest.raises(RecordingTooShortError, match="19 samples"):
        prepare_recording(write(noise(19, 20)))
    with pytest.raises(RecordingTooShortError, match="no samples"):
        prepare_recording(write(np.empty((0, 20), np.int16)))


def test_saturated_moments_are_blanked(write: Writer) -> None:
    samples = noise(60_000, 24)
    samples[30_000:31_000] = 32_767
    prepared = prepare_recording(write(samples), parameters=STILL)
    blanked = (prepared.counts() == 0).all(axis=1)
    assert blanked[29_970:31_030].all()
    assert blanked.sum() == 1_000 + 2 * 30
    assert prepared.read(0, 60_000).std() == pytest.approx(1.0, abs=0.05)


# --- channels ----------------------------------------------------------------------------------------------------


def test_dead_and_noisy_channels_and_references_are_left_out(write: Writer) -> None:
    samples = noise(60_000, 32)
    samples[:, 5] = 17
    samples[:, 11] = np.random.default_rng(1).normal(0, 3_000, 60_000).astype(np.int16)
    recording = write(samples, reference_channels=[20])
    kept = choose_channels(recording)
    assert sorted(set(range(32)) - set(kept.tolist())) == [5, 11, 20]
    good = np.arange(32) != 8
    assert 8 not in choose_channels(recording, good=good)


def test_noise_is_compared_with_the_channels_around() -> None:
    rms = np.full(30, 10.0)
    rms[[4, 20, 25]] = [29.9, 30.0, 200.0]
    assert noisy_channels(rms, np.arange(30), ShankLines.of(neuropixels_1_geometry(30))).tolist() == [20, 25]
    assert noisy_channels(100 * np.full(4, 10.0), np.arange(4), ShankLines.of(neuropixels_1_geometry(4))).tolist() == []
    # Everything large, as in a recording in unknown units: one channel is 20 more than its surroundings, not twice.
    lines = ShankLines.of(neuropixels_1_geometry(25))
    assert noisy_channels(np.r_[np.full(12, 1000.0), 1100.0, np.full(12, 1000.0)], np.arange(25), lines).tolist() == []


def test_four_live_channels_are_enough_and_three_are_not(write: Writer) -> None:
    samples = np.full((20_000, 32), 3, np.int16)
    samples[:, 10:14] = noise(20_000, 4)
    prepared = prepare_recording(write(samples))
    assert prepared.channel_map.tolist() == [10, 11, 12, 13]
    np.testing.assert_allclose(prepared.read(0, 20_000).std(axis=0), 1.0, atol=0.05)
    samples[:, 13] = 0
    with pytest.raises(TooFewChannelsError, match=r"3 of 32 channels can be sorted.* 29 are flat"):
        prepare_recording(write(samples))


def test_spikes_are_counted_as_lowest_within_reach() -> None:
    rng = np.random.default_rng(2)
    samples, limit = rng.normal(size=(500, 3)).astype(np.float32), np.array([-1.5, -2.0, -9.0], np.float32)
    counts = np.zeros(3, np.int64)
    count_spikes(samples, limit, 10, counts)
    wanted = [
        sum(samples[t, c] < limit[c] and samples[t, c] == samples[t - 10 : t + 11, c].min() for t in range(10, 490))
        for c in range(3)
    ]
    assert counts.tolist() == wanted
    assert wanted[0] > wanted[1] > wanted[2] == 0


def test_channels_away_from_spikes_are_left_out_of_long_recordings(
    write: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = noise(120_000, 48, common=0.0)
    samples[500::1000, 20] -= 3_000  # 30 Hz, half way up
    recording = write(samples)
    assert len(choose_channels(recording)) == 48
    monkeypatch.setattr(channel_choice, "LEAST_SECONDS", 2.0)
    # In four seconds one sample beyond five SDs, by chance, is a quarter of a spike a second.
    often = SortingParameters(minfr_goodchannels=5.0)
    kept = choose_channels(recording, often)
    geometry = recording.geometry
    near = np.flatnonzero(np.hypot(*(geometry - geometry[20]).T) <= channel_choice.MARGIN_UM)
    assert sorted(kept.tolist()) == near.tolist()
    assert len(choose_channels(recording, SortingParameters(minfr_goodchannels=0.0))) == 48
    silent = write(noise(120_000, 48, common=0.0))
    assert len(choose_channels(silent, often)) == 48


def test_neurons_that_are_small_or_fire_much_keep_their_channels(
    write: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their spikes are less than six SDs of all samples, and more than five of the noise."""
    monkeypatch.setattr(channel_choice, "LEAST_SECONDS", 2.0)
    samples = np.random.default_rng(0).normal(0, 40, (120_000, 48))
    samples[500::400, 20] -= 3_000
    samples[700::100, 2] -= 280
    assert 2 in choose_channels(write(np.rint(samples).astype(np.int16)))


# --- registration ------------------------------------------------------------------------------------------------


def test_covariance_of_places_falls_from_one() -> None:
    places = np.array([[0.0, 0.0], [0.0, 20.0], [0.0, 2000.0]])
    covariance = covariance_of_places(places, places, 20.0)
    np.testing.assert_allclose(covariance[0], [1.0, 2 / np.e, 0.0], atol=1e-12)


def test_sums_come_from_the_rotation_nearest_to_kriging() -> None:
    """Singular vectors of the kriging matrix with singular values of one: what the formula does by an inverse root."""
    places = neuropixels_1_geometry(24)
    order = np.argsort(np.hypot(*(places - places[12]).T), kind="stable")
    places = places[order]
    moved = places + np.array([0.0, 7.0])
    among = covariance_of_places(places, places, 20.0) + 0.01 * np.eye(24)
    left, values, right = np.linalg.svd(np.linalg.inv(among) @ covariance_of_places(places, moved, 20.0))
    damped = left @ np.diag(values * np.sqrt(1.01 / (values**2 + 0.01))) @ right
    weights = shifted_sum(places, places, 7.0, 20.0)
    np.testing.assert_allclose(weights, damped[:, 0], atol=1e-9)
    assert np.linalg.norm(weights) == pytest.approx(1.0, abs=0.02)


def weights_for(positions: np.ndarray, shift: float) -> np.ndarray:
    drift = Drift(np.full((2, 1), shift), np.array([0.0]))
    found = RegistrationWeights(positions, drift, 20.0).at(0, 8192)
    matrix = np.zeros((len(positions), len(positions)))
    np.add.at(matrix, (found.neighbors, np.arange(len(positions))[:, None]), found.weights)
    return matrix


def test_no_shift_is_the_identity_and_a_pitch_the_next_channel() -> None:
    column = np.column_stack([np.zeros(40), 20.0 * np.arange(40)])
    np.testing.assert_array_equal(weights_for(column, 0.0), np.eye(40))
    # Tissue that belongs to channel j is at channel j + 1.
    np.testing.assert_allclose(weights_for(column, 20.0)[:, 10:30], np.eye(40, k=-1)[:, 10:30], atol=0.02)
    np.testing.assert_allclose(weights_for(column, -40.0)[:, 10:30], np.eye(40, k=2)[:, 10:30], atol=0.02)


@pytest.mark.parametrize("shift", [-30.0, -5.0, 2.5, 10.0, 33.0])
def test_white_noise_stays_white_whatever_the_shift(shift: float) -> None:
    matrix = weights_for(neuropixels_1_geometry(64), shift)[:, 16:48]
    gram = matrix.T @ matrix
    np.testing.assert_allclose(np.diag(gram), 1.0, atol=0.05)
    assert np.abs(gram - np.diag(np.diag(gram))).max() < 0.1


@pytest.mark.parametrize("shift", [0.0, 5.0, 40.0, -40.0, 60.0, -60.0, 100.0])
def test_places_beyond_the_ends_are_not_seen(shift: float) -> None:
    column = np.column_stack([np.zeros(40), 20.0 * np.arange(40)])
    seen = RegistrationWeights(column, Drift(np.full((2, 1), shift), np.array([0.0])), 20.0).seen(0, 8192)
    place = column[:, 1] + shift
    assert seen[(place >= 20) & (place <= 760)].all()
    assert not seen[(place <= -20) | (place >= 800)].any()
    assert seen.all() == (abs(shift) < 20)


def test_few_channels_are_registered_too() -> None:
    positions = neuropixels_1_geometry(7)
    weights = RegistrationWeights(positions, Drift(np.full((2, 1), 5.0), np.array([0.0])), 20.0).at(0, 100)
    assert weights.neighbors.shape == (7, N_SOURCES)
    assert (weights.weights[:, 7:] == 0).all()


def mean_waveforms(prepared: PreparedRecording, truth: RawGroundTruth, unit: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean waveform of a unit before and after the step, (61, n_channels)."""
    times = truth.spike_train(unit)
    times = times[(times > 100) & (times < truth.n_samples - 100)]
    cut = truth.n_samples // 2
    halves = times[times < cut - 70_000], times[times > cut + 70_000]
    counts = prepared.counts()
    before, after = (np.mean([counts[t - 20 : t + 41] / 200 for t in half.tolist()], axis=0) for half in halves)
    return before, after


def test_spikes_of_a_moving_probe_are_held_still(stepping_probe: RawGroundTruth, held: PreparedRecording) -> None:
    free = prepare_recording(stepping_probe.recording(), parameters=STILL)
    assert not held.drift.is_negligible
    np.testing.assert_array_equal(held.whitening, free.whitening)
    change: dict[str, list[float]] = {"held": [], "free": []}
    places: list[int] = []
    for unit in np.flatnonzero(stepping_probe.units["n_spikes"] > 60).tolist():
        for name, prepared in (("held", held), ("free", free)):
            before, after = mean_waveforms(prepared, stepping_probe, unit)
            change[name].append(np.linalg.norm(after - before) / np.linalg.norm(before))
            if name == "held":
                largest = [np.abs(half).max(axis=0).argmax() for half in (before, after)]
                places.append(abs(held.positions[largest[1], 1] - held.positions[largest[0], 1]))
    assert len(places) >= 8
    assert np.median(change["held"]) < 0.6 * np.median(change["free"])
    assert np.median(places) == 0


def test_registered_noise_keeps_its_size(held: PreparedRecording) -> None:
    blocks = np.array([np.median(np.abs(held.read(t, t + 30_000)), axis=0) / 0.6745 for t in range(0, 630_000, 90_000)])
    assert np.abs(blocks / np.median(blocks, axis=0) - 1).max() < 0.2
    assert np.abs(blocks.mean(axis=1) / blocks.mean() - 1).max() < 0.04


def test_block_edges_leave_no_trace(held: PreparedRecording) -> None:
    samples = held.counts().astype(np.float64)
    jumps = np.square(np.diff(samples, axis=0))
    edges = np.arange(8191, len(jumps), 8192)
    assert jumps[edges].mean() == pytest.approx(jumps.mean(), rel=0.1)


def test_still_data_are_not_touched(still_probe: RawGroundTruth) -> None:
    looked = prepare_recording(still_probe.recording())
    asked = prepare_recording(still_probe.recording(), parameters=STILL)
    assert looked.drift.n_peaks > 500
    assert looked.drift.is_negligible
    np.testing.assert_array_equal(looked.counts(), asked.counts())


def test_a_known_drift_is_undone(stepping_probe: RawGroundTruth) -> None:
    batches = np.where(np.arange(11) < 5, -10.0, 10.0)
    known = Drift(batches[:, None], np.array([160.0]))
    held = prepare_recording(stepping_probe.recording(), drift=known)
    free = prepare_recording(stepping_probe.recording(), parameters=STILL)
    matrix = weights_for(held.positions, -10.0)
    wanted = free.read(8192, 16_384) @ matrix
    np.testing.assert_allclose(held.read(8192, 16_384), wanted, atol=0.03)
