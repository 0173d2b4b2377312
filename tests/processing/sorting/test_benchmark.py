"""The parts of benchmarks/sorting that decide what counts as found, false or redundant."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from allen_ecephys.processing.simulation.computed import Population

FOLDER = Path(__file__).parents[3] / "benchmarks" / "sorting"
MODULES = ("comparing", "datasets", "long_run", "results", "simulated", "table", "unit_estimates")


@pytest.fixture(scope="module")
def benchmark() -> Iterator[SimpleNamespace]:
    """Modules of the benchmark, which is a folder that is run and not a package."""
    sys.path.insert(0, str(FOLDER))
    try:
        yield SimpleNamespace(**{name: __import__(name) for name in MODULES})
    finally:
        sys.path.remove(str(FOLDER))
        for name in MODULES:
            sys.modules.pop(name, None)


def recording_with(trains: list[np.ndarray], background: list[bool]) -> Any:
    units = np.repeat(np.arange(len(trains)), [len(train) for train in trains])
    samples = np.concatenate(trains)
    order = np.argsort(samples, kind="stable")
    flags = np.array(background)
    return SimpleNamespace(
        spike_samples=samples[order],
        spike_units=units[order],
        background=flags,
        foreground=np.flatnonzero(~flags),
        seconds=60.0,
        n_samples=1_800_000,
    )


def sorting_of(trains: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    units = np.repeat(np.arange(len(trains)), [len(train) for train in trains])
    samples = np.concatenate(trains)
    order = np.argsort(samples, kind="stable")
    return samples[order], units[order]


def spaced(start: int, count: int = 200) -> np.ndarray:
    return start + 1000 * np.arange(count, dtype=np.int64)


def test_background_units_are_neither_missed_nor_false(benchmark: SimpleNamespace) -> None:
    truth = recording_with([spaced(0), spaced(100), spaced(200), spaced(300)], [False, False, True, True])
    everything = benchmark.comparing.score(truth, *sorting_of([spaced(0), spaced(100), spaced(200)]))
    assert (everything["accuracy"], everything["n_found"], everything["n_foreground"]) == (1.0, 2, 2)
    assert (everything["false_positive"], everything["redundant"], everything["background_found"]) == (0, 0, 1)


def test_false_redundant_split_and_merged_units_are_told_apart(benchmark: SimpleNamespace) -> None:
    truth = recording_with([spaced(0), spaced(100), spaced(250), spaced(400)], [False, False, False, True])
    halves = spaced(0)[:140], spaced(0)[140:]
    merged = np.sort(np.concatenate([spaced(100), spaced(250)]))
    part = spaced(400)[:20]
    got = benchmark.comparing.score(truth, *sorting_of([*halves, merged, spaced(700), part]))
    assert got["unit_accuracy"][0] == pytest.approx(0.7)
    assert (got["oversplit"], got["redundant"], got["overmerged"]) == (1, 1, 1)
    assert (got["false_positive"], got["background_parts"], got["n_found"]) == (2, 1, 0)


def test_no_sorted_unit_at_all_scores_zero(benchmark: SimpleNamespace) -> None:
    truth = recording_with([spaced(0), spaced(100)], [False, True])
    got = benchmark.comparing.score(truth, np.empty(0, np.int64), np.empty(0, np.int64))
    assert (got["accuracy"], got["n_found"], got["n_sorted"], got["false_positive"]) == (0.0, 0, 0, 0)


def test_trains_keep_their_dead_time(benchmark: SimpleNamespace) -> None:
    kept = benchmark.simulated.refractory(np.array([0.5, 0.1, 0.1005, 0.1017, 0.3]), 0.0016)
    np.testing.assert_array_equal(kept, [0.1, 0.1017, 0.3, 0.5])


def test_results_are_kept_by_data_set_seed_sorter_and_version(benchmark: SimpleNamespace, tmp_path: Path) -> None:
    file = tmp_path / "sorting.json"
    costs = {"when": "2000", "cpu_s": 10.0, "peak_gb": 1.0, "accuracy": 0.9}
    for sorter, seed, changes in (
        ("native", 0, {}), ("native", 1, {"cpu_s": 30.0}), ("lupin", 0, {"cpu_s": 50.0}), ("lupin", 0, {"cpu_s": 60.0}),
        ("kilosort4", 0, {"status": "not finished"}),
    ):  # fmt: skip
        record = {**costs, "version": "1", **changes}
        if sorter == "kilosort4":
            del record["accuracy"]
        key = benchmark.results.key_of("small-sim", seed, sorter)
        benchmark.results.add_result(key, record, "small-sim|0", {}, file)
    found = benchmark.results.read_results(file)
    assert sorted(found["runs"]) == [
        "small-sim|0|kilosort4|1", "small-sim|0|lupin|1", "small-sim|0|native|1", "small-sim|1|native|1",
    ]  # fmt: skip
    sorters = benchmark.table.grouped(found)["small-sim"]
    assert benchmark.table.paired_ratio(sorters["lupin"], sorters["native"], "cpu_s") == "6.0"
    assert benchmark.table.paired_ratio(sorters["kilosort4"], sorters["native"], "cpu_s") == ""


def test_a_unit_that_is_lost_half_way_shows_over_time(benchmark: SimpleNamespace) -> None:
    """Over 600 s: one unit found throughout, one for six tenths of it, one that fires in the first half only."""
    trains = [spaced(0, 18_000), spaced(300, 18_000), spaced(600, 9_000)]
    truth = recording_with(trains, [False, False, False])
    truth.seconds, truth.n_samples = 600.0, 18_000_000
    got = benchmark.comparing.score(truth, *sorting_of([trains[0], trains[1][:10_800], trains[2]]))
    assert got["accuracy_over_time"] == [1.0] * 6 + [0.5] * 4
    assert got["accuracy_of_ends"] == [0.8667, 0.8667]  # ten minutes are all of it
    assert len(got["found_by_place_in_batch"]) == 64
    np.testing.assert_allclose(got["found_by_place_in_batch"], 37_800 / 45_000, atol=0.05)


def test_a_long_recording_that_was_kept_is_the_one_that_is_computed(benchmark: SimpleNamespace, tmp_path: Path) -> None:
    kind = benchmark.long_run.MeteredRecording
    size = {"n_channels": 8, "population": Population(n_units=2, n_background=2)}
    kind(0.7, **size).keep(tmp_path / "blocks")
    kept, computed = kind(0.7, **size), kind(0.7, **size)
    kept.kept = tmp_path / "blocks"
    assert sorted(path.name for path in kept.kept.iterdir()) == ["0.lz4", "1.lz4", "2.lz4"]
    np.testing.assert_array_equal(kept.read(100, 21_000), computed.read(100, 21_000))
    assert kept.fingerprint == computed.fingerprint  # one sorting may go on with the other
    (kept.kept / "0.lz4").write_bytes((kept.kept / "1.lz4").read_bytes())
    again = kind(0.7, **size)
    again.kept = kept.kept
    np.testing.assert_array_equal(again.read(0, 8192), computed.read(8192, 16_384))


def test_two_sortings_are_compared_by_their_bytes(benchmark: SimpleNamespace, tmp_path: Path) -> None:
    folder, before = tmp_path / "long-384-20-s0", tmp_path / "long-384-20-s0-before"
    took = {"starts": 1, "cpu_s": 9.0, "computing_cpu_s": 1.0, "wall_s": 5.0, "peak_gb": 1.0, "private_gb": 0.5}
    assert benchmark.long_run.compared_with_the_run_before({"a": 1}, folder) == {"a": 1}
    (folder / "work").mkdir(parents=True)
    before.mkdir()
    for number, equal in ((3, True), (4, False)):
        np.savez(folder / "spikes.npz", samples=np.arange(3), units=np.array([0, 1, number]))
        (folder / "work" / "features.dat").write_bytes(b"features")
        made = {"sha256": benchmark.long_run.digests(folder)}
        assert sorted(made["sha256"]) == ["features.dat", "samples", "units"]
        if equal:
            (before / "report.json").write_text(json.dumps(took | made))
        got = benchmark.long_run.compared_with_the_run_before(made, folder)["run_before"]
        assert got == took | {"equal_bytes": equal}


def test_costs_of_all_starts_are_added_up(benchmark: SimpleNamespace, tmp_path: Path) -> None:
    lines = [(1, 10.0, 15.0), (1, 20.0, 33.0), (2, 5.0, 4.0), (2, 15.0, 20.0)]
    records = [{"pid": p, "wall_s": w, "cpu_s": c, "computing_cpu_s": c / 2} for p, w, c in lines]
    (tmp_path / "costs.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    added = benchmark.long_run.records_of(tmp_path)
    assert [record["wall_s"] for record in added] == [10.0, 20.0, 25.0, 35.0]
    assert [record["cpu_s"] for record in added] == [15.0, 33.0, 37.0, 53.0]


def test_estimates_of_units_are_fitted_to_the_stored_units_and_hold_on_the_other_generator(
    benchmark: SimpleNamespace,
) -> None:
    import pandas as pd

    from allen_ecephys.processing.sorting.units import estimates

    module = benchmark.unit_estimates
    units = module.with_truth(pd.read_csv(module.FILE))
    calibration = module.is_calibration(units)
    found = module.fit(units[calibration])
    assert found["FALSE"] == pytest.approx(list(vars(estimates.FALSE).values()), abs=0.005)
    assert found["MISSED"] == pytest.approx(list(vars(estimates.MISSED).values()), abs=0.005)
    assert found["SEEN"] == pytest.approx([estimates.SEEN], abs=0.005)
    assert found["OTHERS"] == pytest.approx(np.ravel(estimates.OTHERS).tolist(), abs=0.01)
    tested = units[~calibration].reset_index(drop=True)
    table = estimates.estimates_from(tested)
    for share in ("false", "missed"):
        true = tested[share].round(3)
        assert ((true >= table[f"{share}_low"]) & (true <= table[f"{share}_high"])).mean() >= 0.8
    is_neuron = tested["true_kind"] == "neuron"
    assert np.square(table["p_neuron"] - is_neuron).mean() < is_neuron.mean() * (1 - is_neuron.mean())


def test_truth_of_a_sorted_unit(benchmark: SimpleNamespace) -> None:
    """Of eight spikes six are one neuron's, one is a background unit's and one nobody's; a far unit's do not count."""
    data = SimpleNamespace(
        geometry=np.array([[0.0, 0.0], [0.0, 500.0]]),
        peak_channel=np.array([0, 0, 1]),
        spike_samples=np.array([*range(1000, 9000, 1000), 20_000, 30_000]),
        spike_units=np.array([0] * 8 + [1, 2]),
        background=np.array([False, True, False]),
    )
    samples = np.array([1000, 2005, 2995, 4000, 5000, 6000, 20_001, 30_000])
    found = benchmark.unit_estimates.true_of(data, samples, np.zeros(2))
    assert found == {"true_unit": 0, "true_spikes": 8, "matched": 6, "of_background": 0.125, "of_none": 0.125}
