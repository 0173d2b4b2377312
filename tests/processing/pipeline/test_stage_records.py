"""What stages left is believed only as long as it is what they wrote; records that are damaged are none."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from allen_ecephys.errors import StageError
from allen_ecephys.processing.pipeline import digests
from allen_ecephys.processing.pipeline.costs import MEASURED, Size, rates_of
from allen_ecephys.processing.pipeline.log import LOG, read_log
from allen_ecephys.processing.pipeline.manifest import MANIFEST, read_manifest
from allen_ecephys.processing.pipeline.stage import Stage, StageNotCurrentError, StageResult, looking_only

UNITS = Stage("units", outputs=("metrics.csv",))
SESSION = Stage("session", outputs=("metrics.csv",))


def measure(place: Path) -> StageResult:
    def work(folder: Path) -> dict[str, int]:
        (folder / "metrics.csv").write_text("firing_rate\n12.5\n")
        return {}

    return UNITS.run(place, work, inputs=[], parameters={})


def package(place: Path) -> StageResult:
    def work(folder: Path) -> dict[str, int]:
        (folder / "metrics.csv").write_bytes(UNITS.file(place, "metrics.csv").read_bytes())
        return {}

    return SESSION.run(place, work, inputs=[UNITS.folder(place)], parameters={})


def test_outputs_that_were_changed_in_place_are_not_believed(tmp_path: Path) -> None:
    measure(tmp_path), package(tmp_path)
    file = UNITS.file(tmp_path, "metrics.csv")
    file.write_text(file.read_text().replace("12.5", "99.9"))
    with looking_only(), pytest.raises(StageNotCurrentError) as stale:
        measure(tmp_path)
    assert stale.value.reason == "its output metrics.csv was changed since"
    for read in (lambda: package(tmp_path), lambda: UNITS.finished(tmp_path)):
        with pytest.raises(StageError, match=r"its output metrics\.csv was changed since"):
            read()
    assert not measure(tmp_path).reused
    assert "12.5" in file.read_text()
    assert package(tmp_path).reused
    SESSION.file(tmp_path, "metrics.csv").unlink()
    with looking_only(), pytest.raises(StageNotCurrentError, match=r"its output metrics\.csv is missing"):
        package(tmp_path)


def test_digests_of_outputs_are_computed_again_only_where_size_or_times_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(digests, "sha256", lambda path: pytest.fail(f"{path} was read"))
        assert measure(tmp_path).reused
        assert package(tmp_path).reused is False
    file = UNITS.file(tmp_path, "metrics.csv")
    os.utime(file, ns=(1, 1))
    read: list[Path] = []
    sha256 = digests.sha256
    monkeypatch.setattr(digests, "sha256", lambda path: read.append(path) or sha256(path))
    assert measure(tmp_path).reused
    assert read == [file]


DAMAGE: dict[str, Callable[[dict[str, Any]], object]] = {
    "parameters": lambda told: told.update(parameters=[]),
    "inputs": lambda told: told.update(inputs=None),
    "names of inputs": lambda told: told.update(inputs=[{"sha256": "0"}]),
    "cost": lambda told: told.update(cost=None),
    "seconds": lambda told: told["cost"].update(seconds="1"),
    "size": lambda told: told["outputs"]["metrics.csv"].update(size="17"),
    "linked": lambda told: told["report"].update(linked=3),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_record_is_none(tmp_path: Path, what: str) -> None:
    file = measure(tmp_path).folder / MANIFEST
    told = json.loads(file.read_text())
    DAMAGE[what](told)
    file.write_text(json.dumps(told))
    assert read_manifest(file.parent) is None
    with looking_only(), pytest.raises(StageNotCurrentError, match="has not run"):
        measure(tmp_path)
    assert not measure(tmp_path).reused
    assert measure(tmp_path).reused


@pytest.mark.parametrize("peak", [{}, {"peak_memory_bytes": None}])
def test_a_record_of_a_system_that_does_not_tell_memory(tmp_path: Path, peak: dict[str, Any]) -> None:
    file = measure(tmp_path).folder / MANIFEST
    told = json.loads(file.read_text())
    told["cost"] = {"seconds": 10.0, "cpu_seconds": 9.0, **peak}
    file.write_text(json.dumps(told))
    assert measure(tmp_path).reused
    rate = rates_of([("units", Size(100.0, 10.0), told)])["units"]
    assert rate.seconds == 0.01
    assert (rate.memory, rate.fixed_memory) == (MEASURED["units"].memory, MEASURED["units"].fixed_memory)


def test_a_stage_that_lost_its_record_runs_again(tmp_path: Path) -> None:
    (measure(tmp_path).folder / MANIFEST).unlink()
    with looking_only(), pytest.raises(StageNotCurrentError, match="has not run"):
        measure(tmp_path)
    assert not measure(tmp_path).reused
    (UNITS.folder(tmp_path) / MANIFEST).unlink()
    UNITS.file(tmp_path, "metrics.csv").rename(UNITS.file(tmp_path, "mine.csv"))
    with looking_only(), pytest.raises(StageError, match="no stage wrote it"):
        measure(tmp_path)
    curated = Stage("units", outputs=("mine.csv",), editable=("mine.csv",))
    with pytest.raises(StageError, match=r"lost its stage\.json, so that nobody can tell whether it was curated"):
        curated.run(tmp_path, lambda _: {}, inputs=[], parameters={})


def test_lines_of_the_log_that_are_damaged_are_left_out(tmp_path: Path) -> None:
    good = {"time": 1.0, "task": "7/units", "event": "started"}
    times = ("x", 1e30, float("nan"), None, -1e20)
    facts = ({"task": 3}, {"message": []}, {"seconds": "long"}, *({"time": time} for time in times))
    damaged = [good | one for one in facts]
    (tmp_path / LOG).write_text("\n".join(json.dumps(line) for line in [*damaged, good]))
    assert read_log(tmp_path) == [good]
