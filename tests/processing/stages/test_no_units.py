"""Probes whose sorting finds no unit: an empty sorting is a result, and holds nothing else up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from allen_ecephys import UnitFilter
from allen_ecephys.cache import EcephysProjectCache
from allen_ecephys.cli import main
from allen_ecephys.processing.simulation.raw import read_ground_truth
from allen_ecephys.processing.simulation.rig import write_rig
from allen_ecephys.processing.sorting import sorters
from allen_ecephys.processing.sorting.spikes_to_result import result_from_spikes

SESSION = """
session_id = 700
session_start_time = 2024-05-01T10:00:00Z
session_type = "gratings"
sync = "rig.sync"
output = "{output}"
cache = "{output}/project"
[stages.sorting]
sorter = "truth"
[stages.stimulus_metrics]
n_shuffles = 2
"""
PROBE = '[[probes]]\nname = "{name}"\nrecording = "{name}"\n'


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a rig's folder, with a sorter that finds units on its probe A only."""
    folder = tmp_path_factory.mktemp("rig")
    write_rig(folder, repeats=1, n_units=3, n_channels=12)
    return folder


@pytest.fixture
def process(rig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a function that processes and serves a session of some of the probes, and returns what was printed."""

    def sort(recording: Any, folder: Path, _: Any) -> Any:
        name = folder.parents[1].name
        truth, found = read_ground_truth(rig / name), name == "probeA"
        seen = slice(None if found else 0)
        n_units = len(truth.units) if found else 0
        return result_from_spikes(recording, truth.spike_times[seen], truth.spike_units[seen], n_units, folder)

    monkeypatch.setitem(sorters.SORTERS, "truth", sort)

    def run(*names: str, more: str = "") -> str:
        path = rig / f"{tmp_path.name}.toml"
        text = SESSION.format(output=tmp_path / "done") + more + "".join(PROBE.format(name=name) for name in names)
        path.write_text(text)
        done = CliRunner().invoke(main, ["process", "session", str(path)])
        assert done.exit_code == 0, done.output
        return done.output

    return run


def test_the_other_probes_are_served(process: Any, tmp_path: Path) -> None:
    process("probeA", "probeB")
    cache = EcephysProjectCache.fixed(tmp_path / "done" / "project")
    session = cache.get_session_data(700).with_units(UnitFilter.none())
    assert session.units["probe_description"].tolist() == ["probeA"] * 3
    assert session.channels.groupby("probe_id").size().tolist() == [12, 12]
    of_b = session.probes.index[session.probes["description"] == "probeB"][0]
    assert session.get_lfp(of_b).shape[1] > 0
    page = (tmp_path / "done" / "session.html").read_text()
    assert "probeB has no units: the session&#39;s files hold its channels and its LFP and none of its spikes" in page
    assert "the sorter found no spikes" in page


def test_a_session_without_any_unit_is_served(process: Any, tmp_path: Path) -> None:
    process("probeB", more="[stages.whole_session]\nlfp = false\n")
    cache = EcephysProjectCache.fixed(tmp_path / "done" / "project")
    assert len(cache.get_units(unit_filter=UnitFilter.none())) == 0
    assert cache.get_probes()["channel_count"].tolist() == [11]
    assert len(cache.get_session_data(700).units) == 0
