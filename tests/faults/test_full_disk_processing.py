"""A disk that is full in every stage of a session: named, nothing lost, and the end is the same."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from allen_ecephys.processing import describe_folder, process_sessions, read_session_file
from allen_ecephys.processing.pipeline.tasks import in_order, perform
from allen_ecephys.processing.simulation.raw.recording import read_ground_truth
from allen_ecephys.processing.simulation.rig import write_rig
from allen_ecephys.processing.sorting import sorters
from allen_ecephys.processing.sorting.spikes_to_result import result_from_spikes
from allen_ecephys.processing.stages.session_steps import session_tasks

sys.path.insert(0, str(Path(__file__).parent.parent / "processing" / "stages"))

from test_session_killed import digests

HOW = """
output = "{output}"
[stages.sorting]
sorter = "truth"
[stages.stimulus_metrics]
n_shuffles = 5
"""


@pytest.fixture
def truth_sorter() -> Iterator[None]:
    """Let ``truth`` be a sorter that knows the truth of the rig's only probe."""

    def sort(recording: Any, folder: Path, parameters: Any) -> Any:
        truth = read_ground_truth(Path(parameters["truth"]))
        return result_from_spikes(recording, truth.spike_times, truth.spike_units, len(truth.units), folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sorters.SORTERS, "truth", sort)
        yield


def described(rig: Path, output: Path) -> Path:
    """Write a session's file whose results go to `output`."""
    file = rig / f"{output.name}.toml"
    describe_folder(rig, file)
    before, _, after = file.read_text().partition("\n[")
    how, _, tables = HOW.format(output=output).partition("[")
    told = tables.replace('"truth"', f'"truth"\nparameters = {{ truth = "{rig / "probeA"}" }}')
    file.write_text(f"{before}{how}\n[{after}\n[{told}")
    return file


def fill(disk: Path, leave: int) -> Path:
    """Fill a disk but for some bytes."""
    facts = os.statvfs(disk)
    filler = disk / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(facts.f_bavail * facts.f_frsize - leave, 1))
    return filler


def open_files(disk: Path) -> list[str]:
    """Return this process' open files on a disk."""
    found = list[str]()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the one that lists them is gone
            found.append(str(descriptor.readlink()))
    return [path for path in found if path.startswith(str(disk))]


@pytest.fixture
def only_counted() -> Iterator[None]:
    """Free nothing but what nobody refers to any more: rings of objects would keep their files open."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_a_disk_that_is_full_in_every_stage(
    truth_sorter: None, tmp_path: Path, mount: Callable[..., Path], only_counted: None
) -> None:
    rig = tmp_path / "rig"
    write_rig(rig, repeats=1, n_units=3, n_channels=12, n_probes=1)
    assert all(result.ok for result in process_sessions([described(rig, tmp_path / "done")]))
    expected = digests(tmp_path / "done")

    disk = mount("disk", "-t", "tmpfs", "-o", "size=200m", "tmpfs")
    session = read_session_file(described(rig, disk / "out"))
    session.output.mkdir()
    for task in in_order(session_tasks(session)):
        stage = session.output / task.probe / task.stage
        made = (tmp_path / "done" / task.probe / task.stage).rglob("*")
        # LFP files take room once: beside the session's they have a second name.
        size = sum(path.stat().st_size for path in made if task.probe or not path.name.endswith("_lfp.nwb"))
        for share in (0.0, 0.5):
            filler = fill(disk, round(share * size))
            result = perform(task)
            assert result.outcome == "failed", (task.key, share)
            assert "no room" in str(result.message), (task.key, share, result)
            filler.unlink()
            assert not stage.exists()
            assert not list(session.output.rglob("*.draft"))
            assert not open_files(disk), (task.key, share)
        assert perform(task).outcome == "done"
        assert not open_files(disk), task.key
    assert digests(session.output) == expected
