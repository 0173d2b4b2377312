"""Published units against found ones: agreement as SpikeInterface judges it, and a session changed in known ways."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from allen_ecephys import EcephysSession, UnitFilter
from allen_ecephys.errors import InvalidValueError, MissingDataError, SpikeTrainError, UnknownNameError
from allen_ecephys.processing.simulation import write_session
from allen_ecephys.processing.sorting import agreement_of, compare_sortings, write_comparison_page

RATE = 30_000.0


@pytest.mark.parametrize("seed", range(3))
def test_agreement_is_what_spikeinterface_finds(seed: int) -> None:
    from spikeinterface.comparison import compare_two_sorters
    from spikeinterface.core import NumpySorting

    rng = np.random.default_rng(seed)
    first, second = {}, {}
    for unit in range(10):
        train = np.cumsum(60 + rng.exponential(2500, 400).astype(np.int64))
        first[unit] = train
        kept = train[rng.random(len(train)) < rng.uniform(0.2, 1.0)]
        second[100 + unit] = np.unique(kept + rng.integers(-14, 15, len(kept)))
    second[50] = np.sort(np.concatenate([first[0], first[1]]))  # one unit that holds two
    ours = agreement_of(*_flat(first), *_flat(second))
    theirs = compare_two_sorters(
        *(NumpySorting.from_unit_dict([sorting], RATE) for sorting in (first, second)), delta_time=0.4, match_score=0.5
    )
    scores = theirs.agreement_scores.loc[ours.first_ids, ours.second_ids]
    np.testing.assert_allclose(ours.scores, scores)
    np.testing.assert_array_equal(ours.matches, theirs.match_event_count.loc[ours.first_ids, ours.second_ids])
    match = theirs.hungarian_match_12.loc[ours.first_ids].to_numpy().astype(int)
    assert np.where(ours.assigned < 0, -1, ours.second_ids[ours.assigned]).tolist() == match.tolist()


def _flat(trains: dict[int, Any]) -> tuple[Any, Any]:
    return np.concatenate(list(trains.values())), np.repeat(list(trains), [len(t) for t in trains.values()])


def test_seconds_are_no_samples() -> None:
    with pytest.raises(SpikeTrainError, match="give sample numbers, not seconds"):
        agreement_of([0.25, 0.5], [1, 1], [100, 200], [1, 1])


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("published") / "session.nwb"
    return Path(write_session(path, scale=0.01, n_units=12, n_probes=2, seed=4, eye_tracking=False).path)


def _trains(path: Path, probe: str = "probeA") -> dict[int, Any]:
    with EcephysSession(path, unit_filter=UnitFilter.none()) as session:
        units = session.units
        return {int(u): session.spike_times[u].copy() for u in sorted(units.index[units["probe_description"] == probe])}


def _with_trains(source: Path, target: Path, trains: dict[int, Any], **columns: dict[int, float]) -> Path:
    """Write a session whose units have other spikes, in samples over 30 kHz, and other values in some columns."""
    shutil.copy(source, target)
    with h5py.File(target, "r+") as file:
        for device in file["general/devices"].values():
            if "sampling_rate" in device.attrs:
                device.attrs["sampling_rate"] = RATE
        units = file["units"]
        ids, ends = units["id"][()], units["spike_times_index"][()].astype(np.int64)
        old = np.split(units["spike_times"][()], ends[:-1])
        new = [np.sort(trains.get(int(unit), train)) for unit, train in zip(ids, old, strict=True)]
        attributes = dict(units["spike_times"].attrs)
        del units["spike_times"]
        units["spike_times"] = np.concatenate(new)
        units["spike_times"].attrs.update(attributes)
        units["spike_times_index"][...] = np.cumsum([len(train) for train in new])
        del units["spike_amplitudes"], units["spike_amplitudes_index"]
        names = list(units.attrs["colnames"])
        units.attrs["colnames"] = [name for name in names if name != "spike_amplitudes"]
        for name, values in columns.items():
            for unit, value in values.items():
                units[name][np.flatnonzero(ids == unit)[0]] = value
    return target


@dataclass
class Clock:
    """A probe that runs too fast and begins late."""

    offset: float = 3.25
    rate: float = RATE * (1 + 30e-6)
    length: float = np.inf

    def samples(self, seconds: Any) -> Any:
        found = (np.asarray(seconds) - self.offset) * self.rate
        return np.where((found >= 0) & (found < self.length), found, np.nan)


@pytest.fixture(scope="module")
def changed(published: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """A second sorting on the recording's clock: one unit lost, one merged, one cut, one new, two untouched."""
    trains = _trains(published)
    ids = list(trains)
    rng = np.random.default_rng(0)
    clock = Clock()
    found = {unit: np.rint(clock.samples(train)) / RATE for unit, train in trains.items()}
    found = {unit: train[np.isfinite(train)] for unit, train in found.items()}
    merged = np.unique(np.concatenate([found[ids[1]], found[ids[2]]]))
    found[ids[1]], found[ids[2]] = merged, np.unique(rng.integers(0, int(merged[-1] * RATE), 300)) / RATE  # a new one
    found[ids[3]] = found[ids[3]][rng.random(len(found[ids[3]])) < 0.3]
    found[ids[4]] = found[ids[4]][rng.random(len(found[ids[4]])) < 0.9]
    found[ids[5]] = np.empty(0)
    path = tmp_path_factory.mktemp("found") / "session.nwb"
    return _with_trains(published, path, found, firing_rate={ids[0]: 99.0}), ids


def compared(found: Path, published: Path, **options: Any) -> Any:
    options = {"found_probe": "probeA", "published_probe": "probeA", "clock": Clock()} | options
    with EcephysSession(found) as new, EcephysSession(published) as old:
        return compare_sortings(new, old, **options)


def test_what_became_of_each_unit(changed: tuple[Path, list[int]], published: Path) -> None:
    path, ids = changed
    comparison = compared(path, published)
    units = comparison.published
    assert units.index.tolist() == ids
    trains = {unit: train[train >= Clock().offset] for unit, train in _trains(published).items()}
    assert comparison.spikes_left_out == sum(map(len, _trains(published).values())) - sum(map(len, trains.values()))
    assert units["spikes"].tolist() == [len(train) for train in trains.values()]
    larger, smaller = sorted(ids[1:3], key=lambda unit: -len(trains[unit]))
    expected = {ids[0]: "matched", larger: "matched", smaller: "lost", ids[3]: "lost", ids[4]: "matched"}
    assert units["status"].loc[list(expected)].to_dict() == expected
    assert units.loc[ids[0], ["found_unit", "agreement", "share_found"]].tolist() == [ids[0], 1.0, 1.0]
    # Merged into one: the whole of the smaller is in it, and says so.
    assert units.loc[[larger, smaller], "found_unit"].tolist() == [ids[1], ids[1]]
    assert units.loc[smaller, "share_found"] == 1.0
    assert units.loc[ids[3], "found_unit"] == ids[3]
    assert units.loc[ids[3], "share_found"] == pytest.approx(0.3, abs=0.05)
    assert units.loc[ids[4], "agreement"] == pytest.approx(0.9, abs=0.04)
    found = comparison.found
    assert found.loc[ids[2], "status"] == "new"
    assert found.loc[ids[3], ["status", "published_unit"]].tolist() == ["partial", ids[3]]
    assert found.loc[ids[5], ["status", "spikes"]].tolist() == ["new", 0]
    assert found["status"].value_counts().to_dict() == {"matched": 3, "new": 2, "partial": 1}
    counts = comparison.counts()
    assert (counts["published"], counts["matched"], counts["lost"], counts["partial"]) == (6, 3, 3, 1)


def test_what_moved(changed: tuple[Path, list[int]], published: Path) -> None:
    path, ids = changed
    comparison = compared(path, published)
    with EcephysSession(published, unit_filter=UnitFilter.none()) as session:
        before = session.units.loc[ids[0], "firing_rate"]
    assert comparison.moved.loc[ids[0], "firing_rate"].to_dict() == {
        "published": before, "found": 99.0, "change": 99.0 - before,
    }  # fmt: skip
    amplitude = comparison.moved["waveform_amplitude"]
    assert amplitude["change"].loc[[ids[0], ids[4]]].tolist() == [0.0, 0.0]
    np.testing.assert_array_equal(amplitude["change"], amplitude["found"] - amplitude["published"])
    moved = comparison.movements()
    assert moved.loc["waveform_amplitude", ["units", "median_change"]].tolist() == [3, 0.0]
    assert moved.loc["waveform_amplitude", "within"] == pytest.approx(amplitude["change"].abs().quantile(0.9))


def test_sessions_on_one_clock_need_none_and_equal_themselves(published: Path) -> None:
    comparison = compared(published, published, clock=None)
    assert (comparison.published["agreement"] == 1.0).all()
    assert comparison.spikes_left_out == 0
    assert comparison.counts()["new"] == 0


def test_a_recording_that_ended_early_is_compared_as_far_as_it_goes(
    changed: tuple[Path, list[int]], published: Path
) -> None:
    path, ids = changed
    half = Clock(length=20 * RATE)
    comparison = compared(path, published, clock=half)
    train = _trains(published)[ids[0]]
    assert comparison.published.loc[ids[0], "spikes"] == int(np.isfinite(half.samples(train)).sum())


def test_what_cannot_be_compared_is_told(changed: tuple[Path, list[int]], published: Path, tmp_path: Path) -> None:
    path, _ = changed
    with pytest.raises(InvalidValueError, match=r"published session has the probes probeA \(\d+\), probeB"):
        compared(path, published, published_probe=None)
    with pytest.raises(UnknownNameError, match="found session has no probe 'probeX'; it has probeA"):
        compared(path, published, found_probe="probeX")
    with pytest.raises(MissingDataError, match="not of one recording, or not on one clock"):
        compared(path, published, clock=Clock(offset=1e9))
    with pytest.raises(InvalidValueError, match="already on the session's clock"):
        compared(published, published)
    late = _with_trains(published, tmp_path / "s.nwb", {u: t + 1e6 for u, t in _trains(published).items()})
    with pytest.raises(MissingDataError, match="not of one recording, or not on one clock"):
        compared(late, published, clock=None)


def test_no_units_at_all(published: Path, tmp_path: Path) -> None:
    nothing = _with_trains(published, tmp_path / "s.nwb", dict.fromkeys(_trains(published), np.empty(0)))
    assert compared(nothing, published).counts()["lost"] == 6
    assert compared(published, nothing, clock=None).counts()["new"] == 6
    page = write_comparison_page(compared(nothing, published), tmp_path / "page.html")
    assert "0 of 6 published units were found again" in page.read_text()


def test_the_page_holds_every_unit(changed: tuple[Path, list[int]], published: Path, tmp_path: Path) -> None:
    path, ids = changed
    page = write_comparison_page(compared(path, published), tmp_path / "page.html", title="<A & B>").read_text()
    assert "<h1>&lt;A &amp; B&gt;</h1>" in page
    assert "3 of 6 published units were found again" in page
    for unit in ids:
        assert f"<td>{unit}</td>" in page
