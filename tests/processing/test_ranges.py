"""Values out of range are refused by name, before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from allen_ecephys.cli import main
from allen_ecephys.errors import InvalidContentsError, InvalidValueError
from allen_ecephys.processing.packaging.identities import (
    LARGEST_SESSION_ID,
    channel_ids,
    check_session_id,
    probe_ids,
    unit_ids,
)
from allen_ecephys.processing.quality_metrics import QualitySettings
from allen_ecephys.processing.ranges import check_positive, check_whole
from allen_ecephys.processing.simulation import write_session
from allen_ecephys.processing.simulation.raw.recording import write_recording
from allen_ecephys.processing.stages.units import UnitParameters


@pytest.mark.parametrize("value", [-1, 1.0, True, "1", None, float("nan"), 11])
def test_what_is_no_whole_number_in_range(value: Any) -> None:
    with pytest.raises(InvalidValueError, match=r"seed is .*; give a whole number, 0 to 10"):
        check_whole("seed", value, most=10)
    check_whole("seed", np.int32(10), most=10)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_what_is_not_positive(value: float) -> None:
    with pytest.raises(InvalidValueError, match="duration is"):
        check_positive("duration", value)


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"seed": -1}, "seed"),
        ({"n_units": -1}, "n_units"),
        ({"n_channels": 0}, "n_channels"),
        ({"n_channels": 5000}, "n_channels"),
        ({"duration": float("nan")}, "duration"),
        ({"duration": float("inf")}, "duration"),
    ],
)
def test_recordings_that_cannot_be_simulated(wrong: dict[str, Any], name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match=f"^{name} is"):
        write_recording(tmp_path / "raw", **({"duration": 1.0, "n_units": 2, "n_channels": 24} | wrong))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"session_id": -1}, {"session_id": 10**13}])
def test_sessions_that_cannot_be_simulated(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError):
        write_session(tmp_path / "s.nwb", "functional_connectivity", scale=0.01, **wrong)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1},
        {"spikes_per_unit": 0},
        {"quality": QualitySettings(seed=-1)},
        {"epochs": {"late": (5.0, 1.0)}},
        {"epochs": {"all": (0.0, float("nan"))}},
    ],
)
def test_parameters_of_units(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError):
        UnitParameters(**wrong)


def test_ids_that_have_no_room() -> None:
    check_session_id(LARGEST_SESSION_ID)
    assert unit_ids(int(probe_ids(LARGEST_SESSION_ID, 10)[-1]), 99_999) > 0
    for wrong in (-1, LARGEST_SESSION_ID + 1, 10**30, 1.5):
        with pytest.raises(InvalidValueError, match="session_id is"):
            check_session_id(wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="11 probes"):
        probe_ids(1, 11)
    with pytest.raises(InvalidContentsError, match="cluster ids go from 5 to 100000"):
        unit_ids(10, [5, 100_000])
    with pytest.raises(InvalidContentsError, match="channel numbers"):
        channel_ids(10, np.arange(10_001))
    with pytest.raises(InvalidContentsError, match="smaller session_id"):
        channel_ids(10**11, [1000])


def test_channels_of_large_probes_have_ids_of_their_own() -> None:
    """1,536 channels (Quad Base), beside probes with fewer, and beside sessions with small and large ids."""
    probes = np.concatenate([probe_ids(session, 10) for session in (0, 1, 10, 715093703)])
    ids = np.concatenate([channel_ids(int(probe), np.arange(1536)) for probe in probes])
    assert np.unique(ids).size == ids.size
    assert (ids.astype(np.float64).astype(np.int64) == ids).all()
    np.testing.assert_array_equal(channel_ids(7150937030, np.arange(384)), 7150937030_000 + np.arange(384))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["simulate", "raw", "--channels", "0"], "--channels"),
        (["simulate", "raw", "--channels", "5000"], "--channels"),
        (["simulate", "raw", "--seed", "-1"], "--seed"),
        (["simulate", "raw", "--duration", "0"], "--duration"),
        (["run", ".", "out", "--seed", "-1"], "--seed"),
        (["run", ".", "out", "--session-id", "99999999999999999999"], "session_id"),
        (["units", ".", "out", "--seed", "-1"], "--seed"),
        (["units", ".", "out", "--spikes-per-unit", "0"], "--spikes-per-unit"),
    ],
)
def test_commands_refuse_before_they_work(options: list[str], said: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["process", *options])
    assert done.exit_code in {1, 2}
    assert said in done.output
    assert "Traceback" not in done.output
    assert list(tmp_path.iterdir()) == []
