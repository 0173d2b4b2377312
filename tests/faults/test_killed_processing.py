"""Row A20: the chain from raw data to a session file, killed at any point, repeated, and compared."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from kill_points import calls_of, chosen_points, killed_before, long_rounds

from allen_ecephys.processing import sort_raw
from allen_ecephys.processing.pipeline import verify_stage
from allen_ecephys.processing.simulation import TrainModel, write_recording

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

STAGES = (
    "depth_estimation", "median_subtraction", "sorting", "double_counted_spikes", "mean_waveforms", "noise_units",
    "features", "units", "lfp", "session",
)  # fmt: skip
#: What states times: how long a pass took, when an input was written.
DATED = {"stage.json", "sorting.json"}
#: Digests of inputs by their times, marks of what runs, and the log: made again where they are missing.
NOTES = {".digests", ".marks", "log.jsonl"}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "probe"
    trains = TrainModel(rate_range=(15.0, 25.0))
    amplitudes = (100.0, 250.0)
    write_recording(folder, duration=4.0, n_units=3, n_channels=16, seed=2, trains=trains, amplitude_range=amplitudes)
    return folder


def run(raw: Path, folder: Path) -> None:
    from datetime import UTC, datetime

    probe = sort_raw(raw, folder, sorter="truth", parameters={"truth": str(raw)}, n_workers=1)
    probe.measure()
    probe.package(session_id=7, session_start_time=datetime(2024, 1, 1, tzinfo=UTC))


def contents(folder: Path) -> dict[str, object]:
    """Return what every output holds; of HDF5, the numbers: the file states when it was made."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".nwb":
            with h5py.File(path) as file:
                datasets: dict[str, bytes] = {}
                file.visititems(
                    lambda key, item, into=datasets: (
                        into.update({key: np.asarray(item[()]).tobytes()})
                        if isinstance(item, h5py.Dataset) and item.dtype.kind in "biufS"
                        else None
                    )
                )
            found[name] = datasets
        elif path.is_file() and path.name not in DATED and path.relative_to(folder).parts[0] not in NOTES:
            found[name] = path.read_bytes()
    return found


def survives(raw: Path, folder: Path, rounds: int, seed: int) -> None:
    points = calls_of(lambda: run(raw, folder / "whole"))
    wanted = contents(folder / "whole")
    assert {name.split("/")[0] for name in wanted} == set(STAGES)
    kills = 0
    for number, point in enumerate(chosen_points(points, rounds, seed)):
        place = folder / f"at {number}"
        # The first run of all changes the disk a few times more: what it compiles is there for those after it.
        kills += killed_before(point, lambda place=place: run(raw, place))
        for stage in STAGES:  # what has its name is whole
            if (place / stage).exists():
                assert verify_stage(place / stage) == [], (point, stage)
        assert not killed_before(10**9, lambda place=place: run(raw, place)), point
        assert contents(place) == wanted, point
        assert {path.name for path in place.iterdir()} - NOTES == set(STAGES), point
        shutil.rmtree(place)
    sys.stderr.write(f"{rounds} rounds, {kills} killed, {points} points\n")
    assert kills >= rounds / 2


def test_a20_a_killed_chain_ends_as_if_there_had_been_no_kill(raw: Path, truth_sorter: str, tmp_path: Path) -> None:
    survives(raw, tmp_path, rounds=2, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a20_twenty_kills_at_any_point(raw: Path, truth_sorter: str, tmp_path: Path) -> None:
    survives(raw, tmp_path, rounds=long_rounds(), seed=2)


def test_a20_a_killed_simulation_ends_as_if_there_had_been_no_kill(tmp_path: Path) -> None:
    def simulate() -> None:
        write_recording(tmp_path / "made" / "probe", duration=1.0, n_units=2, n_channels=8, seed=3)

    write_recording(tmp_path / "whole" / "probe", duration=1.0, n_units=2, n_channels=8, seed=3)
    point = 0
    while killed_before(point, simulate):
        assert not (tmp_path / "made" / "probe").exists() or contents(tmp_path / "made") == contents(tmp_path / "whole")
        if (tmp_path / "made" / "probe").exists():
            shutil.rmtree(tmp_path / "made" / "probe")
        point += 3
    assert point > 3
    assert contents(tmp_path / "made") == contents(tmp_path / "whole")
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["probe"]
