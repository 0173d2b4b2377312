"""The native sorter on simulated probes: what it finds, what must not change it, and recordings that are none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from allen_ecephys.errors import GeometryError, NonFiniteError, RecordingTooShortError
from allen_ecephys.processing.probes import neuropixels_1_wiring
from allen_ecephys.processing.readers.binary import BinaryRecording
from allen_ecephys.processing.simulation.raw.recording import RawGroundTruth, write_recording
from allen_ecephys.processing.simulation.raw.signal import ChannelFaults
from allen_ecephys.processing.simulation.raw.trains import TrainModel
from allen_ecephys.processing.simulation.scoring import score_sorting
from allen_ecephys.processing.sorting import native
from allen_ecephys.processing.sorting.native import sort_native
from allen_ecephys.processing.sorting.parameters import SortingParameters
from allen_ecephys.processing.sorting.preparing import registration
from allen_ecephys.processing.sorting.result import SortingResult

Array = npt.NDArray[Any]

RATE = 30_000
#: Many short batches: their edges are where spikes would be lost.
PARAMETERS = SortingParameters(NT=8192)


def simulate(folder: Path, **changes: Any) -> RawGroundTruth:
    settings: dict[str, Any] = {
        "duration": 12.0,
        "n_units": 8,
        "n_channels": 32,
        "amplitude_range": (150.0, 300.0),
        "surface_channel": 32,
        "trains": TrainModel(rate_range=(12.0, 25.0)),
        "faults": ChannelFaults(references=()),
        "seed": 5,
        "lfp": False,
    }
    return write_recording(folder, **(settings | changes))


@dataclass(frozen=True)
class Simulated:
    """A recording, its samples in memory, and what was found in it."""

    truth: RawGroundTruth
    samples: Array
    result: SortingResult
    folder: Path


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    place = tmp_path_factory.mktemp("native")
    truth = simulate(place / "raw")
    result = sort_native(truth.recording(), place / "work", PARAMETERS)
    return Simulated(truth, truth.recording().read(0, truth.n_samples), result, place)


def recording(path: Path, samples: Array, truth: RawGroundTruth, geometry: Array | None = None) -> BinaryRecording:
    """Write samples (n_samples, n_channels) and open them."""
    np.ascontiguousarray(samples).tofile(path)
    return BinaryRecording(
        path,
        n_columns=samples.shape[1],
        sampling_rate=float(RATE),
        uv_per_bit=0.195,
        geometry=truth.geometry if geometry is None else geometry,
        dtype=samples.dtype,
    )


def contents(result: SortingResult) -> dict[str, bytes]:
    """Return all arrays as bytes; a result's features are a map of a file that a later run may replace."""
    arrays = {name: getattr(result, name) for name in result.__dataclass_fields__}
    return {name: np.asarray(a).tobytes() for name, a in arrays.items() if isinstance(a, np.ndarray)}


def check_form(result: SortingResult, n_channels: int, n_samples: int) -> None:
    """Check the shapes and ranges of any result."""
    n_spikes, n_units = len(result.samples), result.n_units
    assert result.units.shape == result.amplitudes.shape == (n_spikes,)
    assert result.pc_features.shape[:2] == (n_spikes, 3)
    assert result.pc_feature_ind.shape == (n_units, result.pc_features.shape[2])
    assert result.templates.shape == (n_units, 61, n_channels)
    assert result.similarity.shape == (n_units, n_units)
    for of_units in (result.template_norms, result.good, result.contamination):
        assert of_units.shape == (n_units,)
    assert result.channel_map.shape == (n_channels,)
    assert result.channel_positions.shape == (n_channels, 2)
    assert result.whitening.shape == (n_channels, n_channels)
    assert (np.diff(result.samples) >= 0).all()
    for values in (result.amplitudes, result.templates, np.asarray(result.pc_features), result.contamination):
        assert np.isfinite(values).all()
    if n_spikes:
        assert 0 <= result.samples[0] <= result.samples[-1] < n_samples
        assert np.unique(result.units).tolist() == list(range(n_units))
        np.testing.assert_allclose((result.templates**2).sum(axis=(1, 2)), 1.0, rtol=1e-4)


def score(truth: RawGroundTruth, result: SortingResult, keep: Array | None = None) -> Any:
    inside = np.ones(len(truth.spike_times), np.bool_) if keep is None else keep
    return score_sorting(
        truth.spike_times[inside], truth.spike_units[inside], result.samples, result.units,
        n_true_units=len(truth.units),
    )  # fmt: skip


# --- what is found -----------------------------------------------------------------------------------------------


def test_well_separated_units_are_found(simulated: Simulated) -> None:
    found = score(simulated.truth, simulated.result)
    assert (found.units["accuracy"] >= 0.9).all()
    assert found.false_positive_units == []
    assert found.redundant_units == []
    assert simulated.result.n_units == 8
    check_form(simulated.result, 32, simulated.truth.n_samples)


def test_times_are_those_of_the_troughs(simulated: Simulated) -> None:
    truth, result = simulated.truth, simulated.result
    table = score(truth, result).units
    for unit, row in table.iterrows():
        true, found = truth.spike_train(int(unit)), result.samples[result.units == row["sorted_unit"]]
        nearest = found[np.abs(found[:, None] - true[None]).argmin(axis=0)]
        errors = (nearest - true)[np.abs(nearest - true) <= 12]
        assert len(errors) > 0.9 * len(true)
        assert abs(np.median(errors)) <= 2


def test_templates_lie_where_the_units_are(simulated: Simulated) -> None:
    truth, result = simulated.truth, simulated.result
    for unit, row in score(truth, result).units.iterrows():
        template = result.templates[int(row["sorted_unit"])]
        peak = result.channel_positions[np.ptp(template, axis=0).argmax()]
        assert np.hypot(*(peak - truth.geometry[truth.units.loc[unit, "peak_channel"]])) <= 45.0
        assert result.pc_feature_ind[int(row["sorted_unit"]), 0] in np.argsort(-np.ptp(template, axis=0))[:3]


def test_no_spikes_are_missing_at_the_edges_of_batches(tmp_path: Path) -> None:
    """True spikes are uniform over the batch; so are those that were found, and none is found twice."""
    batch = 2048
    truth = simulate(
        tmp_path / "raw", trains=TrainModel(rate_range=(40.0, 60.0), bursting_share=0.0), n_units=4, seed=8
    )
    result = sort_native(truth.recording(), tmp_path / "work", SortingParameters(NT=batch))
    assert score(truth, result).units["recall"].min() > 0.9
    counts = np.bincount(result.samples % batch // 128, minlength=16).astype(np.float64)
    true = np.bincount(truth.spike_times % batch // 128, minlength=16)
    expected = true * len(result.samples) / len(truth.spike_times)
    # What was found follows what is there: the difference is that of the few spikes that were missed.
    missed = np.sqrt(len(truth.spike_times) * 0.1 / 16)
    assert np.abs(counts - expected).max() < 4 * max(missed, 3.0)
    assert np.abs(counts - counts.mean()).max() < 4.5 * np.sqrt(counts.mean())
    near_edge = np.minimum(truth.spike_times % batch, batch - truth.spike_times % batch) < 64
    assert near_edge.sum() > 100
    assert score(truth, result).units["recall"].mean() > 0.95
    at_edge = [np.abs(result.samples - t).min() <= 12 for t in truth.spike_times[near_edge]]
    assert np.mean(at_edge) > 0.95
    for unit in range(result.n_units):
        assert (np.diff(result.samples[result.units == unit]) > 10).all()


# --- what must not change it -------------------------------------------------------------------------------------


def test_threads_and_reruns_give_the_same_bytes(simulated: Simulated, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(simulated.result)
    for n_threads in ("1", "2"):
        monkeypatch.setenv("ALLEN_ECEPHYS_THREADS", n_threads)
        again = sort_native(simulated.truth.recording(), simulated.folder / f"threads{n_threads}", PARAMETERS)
        assert contents(again) == before
    assert list(before) == list(contents(again))


def test_a_permutation_of_channels_gives_the_same_sorting(simulated: Simulated, tmp_path: Path) -> None:
    order = np.random.default_rng(1).permutation(32)
    truth = simulated.truth
    shuffled = recording(tmp_path / "shuffled.dat", simulated.samples[:, order], truth, truth.geometry[order])
    # A channel keeps the turn of its converter, in whatever column it stands.
    shuffled.adc = neuropixels_1_wiring(32).of(order)
    result = sort_native(shuffled, tmp_path / "work", PARAMETERS)
    before = simulated.result
    # Channels of one row are in the order of the file, so the same channels may come in another one.
    mine, theirs = order[result.channel_map], before.channel_map
    assert sorted(mine) == sorted(theirs)
    np.testing.assert_array_equal(truth.geometry[mine], result.channel_positions)
    assert result.n_units == before.n_units
    both = score_sorting(before.samples, before.units, result.samples, result.units, tolerance_ms=0.05)
    assert both.units["accuracy"].min() > 0.99
    pair = both.units["sorted_unit"].to_numpy()
    place = np.argsort(mine)[theirs]
    np.testing.assert_allclose(result.templates[pair][:, :, place], before.templates, atol=0.02)
    np.testing.assert_array_equal(result.good[pair], before.good)


def test_a_doubled_recording_has_the_same_units_in_both_halves(simulated: Simulated, tmp_path: Path) -> None:
    truth, n = simulated.truth, simulated.truth.n_samples
    twice = recording(tmp_path / "twice.dat", np.concatenate([simulated.samples] * 2), truth)
    result = sort_native(twice, tmp_path / "work", PARAMETERS)
    assert result.n_units == simulated.result.n_units
    first, second = result.samples < n, result.samples >= n
    halves = score_sorting(
        result.samples[first], result.units[first], result.samples[second] - n, result.units[second],
        n_true_units=result.n_units,
    )  # fmt: skip
    assert halves.units["sorted_unit"].tolist() == list(range(result.n_units))
    assert halves.units["accuracy"].min() > 0.97
    for times, units in (
        (result.samples[first], result.units[first]),
        (result.samples[second] - n, result.units[second]),
    ):
        half = score_sorting(truth.spike_times, truth.spike_units, times, units, n_true_units=8)
        assert (half.units["accuracy"] >= 0.9).all()


class Killed(BaseException):
    """The process ends here."""


#: What each pass calls. `updated` is called after every batch of the extraction.
PASSES = ("collect_snippets", "cluster_peaks", "learn", "updated", "curate")


@pytest.mark.parametrize("at", range(1, 5))
def test_a_killed_run_goes_on_after_its_last_pass(
    simulated: Simulated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Killed in a pass, the run that follows makes that pass and the later ones, and no earlier one."""
    truth = simulated.truth

    def kill(*_: Any, **__: Any) -> Any:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(native, PASSES[at], kill)
        with pytest.raises(Killed):
            sort_native(truth.recording(), tmp_path, PARAMETERS)
    prepared = tmp_path / "prepared.npz"
    written = prepared.stat().st_mtime_ns
    done: list[str] = []

    def noted(name: str) -> Callable[..., Any]:
        work = getattr(native, name)

        def run(*args: Any, **kwargs: Any) -> Any:
            if name not in done:
                done.append(name)
            return work(*args, **kwargs)

        return run

    for name in PASSES:
        monkeypatch.setattr(native, name, noted(name))
    result = sort_native(truth.recording(), tmp_path, PARAMETERS)
    assert done == list(PASSES[at:])
    assert prepared.stat().st_mtime_ns == written
    assert contents(result) == contents(simulated.result)


def test_a_killed_extraction_goes_on_where_it_was(
    simulated: Simulated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour's extraction is not begun again: with templates as they were, to equal bytes."""
    n_batches, search, updated = -(-simulated.truth.n_samples // PARAMETERS.NT), native.Searcher.search, native.updated
    monkeypatch.setattr(native, "CHECKED_BATCHES", 8)
    calls = iter(range(100))

    def kill_in_the_twentieth(*args: Any) -> Any:
        if next(calls) == 19:
            raise Killed
        return updated(*args)

    with monkeypatch.context() as patch:
        patch.setattr(native, "updated", kill_in_the_twentieth)
        with pytest.raises(Killed):
            sort_native(simulated.truth.recording(), tmp_path, PARAMETERS)
    searched: list[int] = []

    def noted(searcher: Any, bank: Any, start: int, *args: Any, **kwargs: Any) -> Any:
        searched.append(start // PARAMETERS.NT)
        return search(searcher, bank, start, *args, **kwargs)

    monkeypatch.setattr(native.Searcher, "search", noted)
    assert contents(sort_native(simulated.truth.recording(), tmp_path, PARAMETERS)) == contents(simulated.result)
    assert searched == list(range(16, n_batches))


def test_an_extraction_whose_files_are_cut_is_made_anew(simulated: Simulated, tmp_path: Path) -> None:
    whole = contents(sort_native(simulated.truth.recording(), tmp_path, PARAMETERS))
    with (tmp_path / "spikes.dat").open("r+b") as file:
        file.truncate(1000)
    assert contents(sort_native(simulated.truth.recording(), tmp_path, PARAMETERS)) == whole


def test_samples_are_not_written_but_for_a_part_while_it_runs(
    simulated: Simulated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whitened samples of an hour would be as large as the recording."""
    monkeypatch.setattr(registration, "STORED_BLOCKS", 5)
    result = sort_native(simulated.truth.recording(), tmp_path, PARAMETERS)
    assert contents(result) == contents(simulated.result)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < simulated.samples.nbytes / 4


def test_a_finished_run_extracts_nothing_again(simulated: Simulated, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(simulated.result)

    def never(*_: Any, **__: Any) -> Any:
        pytest.fail("this pass was done before")

    for name in PASSES[:3]:
        monkeypatch.setattr(native, name, never)
    monkeypatch.setattr(native.Searcher, "search", never)
    assert contents(sort_native(simulated.truth.recording(), simulated.folder / "work", PARAMETERS)) == before


def test_other_parameters_do_not_take_the_checkpoints(simulated: Simulated, tmp_path: Path) -> None:
    truth = simulated.truth
    half = recording(tmp_path / "half.dat", simulated.samples[: 4 * RATE], truth)
    first = sort_native(half, tmp_path / "work", PARAMETERS)
    many = len(first.samples)
    strict = sort_native(half, tmp_path / "work", SortingParameters(NT=8192, Th=(10.0, 10.0)))
    assert strict.details["parameters"]["Th"] == (10.0, 10.0)
    assert 0 < len(strict.samples) <= many
    assert contents(strict) == contents(
        sort_native(half, tmp_path / "fresh", SortingParameters(NT=8192, Th=(10.0, 10.0)))
    )


def test_a_killed_run_with_other_parameters_leaves_no_spikes_that_its_features_do_not_fit(
    simulated: Simulated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = recording(tmp_path / "few.dat", simulated.samples[: 3 * RATE], simulated.truth)
    before = contents(sort_native(few, tmp_path / "work", PARAMETERS))
    updated, calls = native.updated, iter(range(100))

    def kill_later(*args: Any) -> Any:
        if next(calls) == 3:
            raise Killed
        return updated(*args)

    with monkeypatch.context() as patch:
        patch.setattr(native, "updated", kill_later)
        with pytest.raises(Killed):
            sort_native(few, tmp_path / "work", SortingParameters(NT=8192, Th=(10.0, 9.0)))
    assert contents(sort_native(few, tmp_path / "work", PARAMETERS)) == before


def test_details_say_how_it_was_sorted(simulated: Simulated) -> None:
    details = simulated.result.details
    assert details["sorter"] == "native"
    assert details["parameters"]["NT"] == 8192
    assert simulated.result.drift_um is not None
    assert len(details["drift"]["block_depths_um"]) == simulated.result.drift_um.shape[1]
    assert next(iter(details["seconds"])) == "preparation"
    assert all(seconds >= 0 for seconds in details["seconds"].values())


# --- poor recordings ---------------------------------------------------------------------------------------------


def noise(n_samples: int, n_channels: int = 32, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    return np.rint(rng.normal(scale=40, size=(n_samples, n_channels))).astype(np.int16)


def test_noise_holds_no_units(simulated: Simulated, tmp_path: Path) -> None:
    result = sort_native(
        recording(tmp_path / "noise.dat", noise(5 * RATE), simulated.truth),
        tmp_path / "work",
        SortingParameters(minfr_goodchannels=0.0),
    )
    assert result.n_units == 0
    assert len(result.samples) == 0
    check_form(result, len(result.channel_map), 5 * RATE)
    assert len(result.spikes()) == 0


def test_channels_without_signal_hold_no_units_or_are_refused(simulated: Simulated, tmp_path: Path) -> None:
    from allen_ecephys.errors import TooFewChannelsError

    silent = recording(tmp_path / "silent.dat", np.zeros((2 * RATE, 32), np.int16), simulated.truth)
    with pytest.raises(TooFewChannelsError, match="of 32 channels"):
        sort_native(silent, tmp_path / "work", PARAMETERS)


def test_one_unit_is_one_unit(tmp_path: Path) -> None:
    truth = simulate(tmp_path / "raw", n_units=1, duration=8.0, trains=TrainModel(rate_range=(30.0, 30.0)))
    result = sort_native(truth.recording(), tmp_path / "work", PARAMETERS)
    assert score(truth, result).units["accuracy"].tolist() == [pytest.approx(1.0, abs=0.1)]
    assert result.n_units == 1
    check_form(result, len(result.channel_map), truth.n_samples)


def test_four_live_channels_are_sorted(tmp_path: Path) -> None:
    dead = tuple(c for c in range(32) if c not in (14, 15, 16, 17))
    truth = simulate(tmp_path / "raw", duration=6.0, faults=ChannelFaults(references=(), dead=dead))
    result = sort_native(truth.recording(), tmp_path / "work", PARAMETERS)
    assert sorted(result.channel_map.tolist()) == [14, 15, 16, 17]
    check_form(result, 4, truth.n_samples)


def test_a_saturated_stretch_costs_only_its_own_spikes(tmp_path: Path) -> None:
    truth = simulate(tmp_path / "raw", faults=ChannelFaults(references=(), saturation=((5.0, 5.4), (9.0, 9.01))))
    result = sort_native(truth.recording(), tmp_path / "work", PARAMETERS)
    check_form(result, 32, truth.n_samples)
    seconds = truth.spike_times / RATE
    clear = ~((seconds > 4.95) & (seconds < 5.45)) & ~((seconds > 8.95) & (seconds < 9.06))
    found = score(truth, result, clear)
    assert (found.units["accuracy"] >= 0.9).all()
    assert found.false_positive_units == []
    inside = (result.samples > 5.01 * RATE) & (result.samples < 5.39 * RATE)
    assert inside.sum() == 0


def test_loud_moments_cost_only_their_own_spikes(
    simulated: Simulated, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Twelve times the noise on all channels for two seconds of twelve, as of an animal that chews, make no unit."""
    truth, loud = simulated.truth, simulated.samples.copy()
    start, stop = 4 * RATE + 1234, 6 * RATE
    shape = (stop - start, loud.shape[1])
    loud[start:stop] += (12 * loud.std(axis=0) * np.random.default_rng(0).standard_normal(shape)).astype(np.int16)
    result = sort_native(recording(tmp_path / "loud.dat", loud, truth), tmp_path / "work", PARAMETERS)
    outside = (truth.spike_times < start - 8192) | (truth.spike_times >= stop + 8192)
    mine = (result.samples < start - 8192) | (result.samples >= stop + 8192)
    assert len(result.samples) - mine.sum() < 0.2 * (len(truth.spike_times) - outside.sum())
    found = score_sorting(
        truth.spike_times[outside], truth.spike_units[outside], result.samples[mine], result.units[mine],
        n_true_units=8,
    )  # fmt: skip
    assert (found.units["accuracy"] >= 0.95).all()
    assert result.n_units == 8
    assert [record for record in caplog.records if "times as loud as usual" in record.message]


def test_a_gap_of_zeros_costs_only_its_own_spikes(simulated: Simulated, tmp_path: Path) -> None:
    samples = simulated.samples.copy()
    start, stop = 4 * RATE, 5 * RATE
    samples[start:stop] = 0
    result = sort_native(recording(tmp_path / "gap.dat", samples, simulated.truth), tmp_path / "work", PARAMETERS)
    truth = simulated.truth
    clear = (truth.spike_times < start - 100) | (truth.spike_times > stop + 100)
    found = score(truth, result, clear)
    assert (found.units["accuracy"] >= 0.9).all()
    assert found.false_positive_units == []
    assert ((result.samples > start + 60) & (result.samples < stop - 60)).sum() == 0
    check_form(result, 32, truth.n_samples)


def test_two_seconds_are_enough(simulated: Simulated, tmp_path: Path) -> None:
    short = recording(tmp_path / "short.dat", simulated.samples[: 2 * RATE], simulated.truth)
    result = sort_native(short, tmp_path / "work")
    check_form(result, 32, 2 * RATE)
    truth = simulated.truth
    found = score(truth, result, truth.spike_times < 2 * RATE)
    frequent = found.units["n_true"] >= 30  # fewer spikes make no cluster
    assert frequent.any()
    assert found.units.loc[frequent, "accuracy"].mean() > 0.8


@pytest.mark.parametrize("n_samples", [0, 10, 31])
def test_next_to_nothing_is_refused(simulated: Simulated, tmp_path: Path, n_samples: int) -> None:
    few = recording(tmp_path / "few.dat", simulated.samples[:n_samples], simulated.truth)
    with pytest.raises(RecordingTooShortError):
        sort_native(few, tmp_path / "work", SortingParameters(minfr_goodchannels=0.0))


def test_two_channels_at_one_place_are_refused(simulated: Simulated, tmp_path: Path) -> None:
    geometry = simulated.truth.geometry.copy()
    geometry[7] = geometry[3]
    with pytest.raises(GeometryError, match="3, 7"):
        recording(tmp_path / "twins.dat", simulated.samples[:RATE], simulated.truth, geometry)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(simulated: Simulated, tmp_path: Path, value: float) -> None:
    samples = simulated.samples[: 2 * RATE].astype(np.float32)
    samples[41_234, 5] = value
    bad = recording(tmp_path / "bad.dat", samples, simulated.truth)
    with pytest.raises(NonFiniteError, match=r"41,?234"):
        sort_native(bad, tmp_path / "work", PARAMETERS)


def test_floating_point_samples_are_sorted_as_well(simulated: Simulated, tmp_path: Path) -> None:
    microvolts = simulated.samples[: 4 * RATE].astype(np.float32) * np.float32(0.195)
    path = tmp_path / "float.dat"
    microvolts.tofile(path)
    floats = BinaryRecording(
        path,
        n_columns=32,
        sampling_rate=float(RATE),
        uv_per_bit=1.0,
        geometry=simulated.truth.geometry,
        dtype="float32",
    )
    counts = recording(tmp_path / "counts.dat", simulated.samples[: 4 * RATE], simulated.truth)
    a, b = sort_native(floats, tmp_path / "a", PARAMETERS), sort_native(counts, tmp_path / "b", PARAMETERS)
    both = score_sorting(a.samples, a.units, b.samples, b.units, n_true_units=a.n_units)
    assert both.units["accuracy"].min() > 0.97
