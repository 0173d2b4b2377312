"""Sessions whose processing is killed at random moments come to the same bytes as one that is left alone."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from allen_ecephys.processing import describe_folder
from allen_ecephys.processing.pipeline.digests import NOTES
from allen_ecephys.processing.pipeline.log import LOG
from allen_ecephys.processing.pipeline.manifest import MANIFEST
from allen_ecephys.processing.pipeline.marks import MARKS
from allen_ecephys.processing.simulation.rig import write_rig
from allen_ecephys.processing.stages.session_page import PAGE

#: Runs a session with a sorter that knows the truth of the rig's folder beside the output.
RUN = """
import sys
from allen_ecephys.cli import main
from allen_ecephys.processing.simulation.raw.recording import read_ground_truth
from allen_ecephys.processing.sorting import sorters
from allen_ecephys.processing.sorting.spikes_to_result import result_from_spikes

def sort(recording, folder, _):
    truth = read_ground_truth(folder.parents[2].parent / "rig" / folder.parents[1].name)
    return result_from_spikes(recording, truth.spike_times, truth.spike_units, len(truth.units), folder)

sorters.SORTERS["truth"] = sort
main(["process", "session", sys.argv[1]])
"""
HOW = """
output = "../done"
[stages.sorting]
sorter = "truth"
[stages.stimulus_metrics]
n_shuffles = 5
"""


def write_session(place: Path) -> Path:
    write_rig(place / "rig", repeats=1, n_units=3, n_channels=12)
    file = place / "rig" / "session.toml"
    describe_folder(file.parent, cache=place / "project")
    text = file.read_text()
    before, _, after = text.partition("\n[")  # keys of the file itself stand before its first table
    how, _, tables = HOW.partition("[")
    file.write_text(f"{before}{how}\n[{after}\n[{tables}")
    return file


def run(file: Path, seconds: float | None = None) -> int:
    """Process a session; kill its process after some seconds."""
    process = subprocess.Popen([sys.executable, "-c", RUN, str(file)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        return -signal.SIGKILL
    assert process.returncode == 0, output.decode()
    return 0


def digests(folder: Path) -> dict[str, str]:
    """Digests of all outputs; records, log and page tell costs and times, and are not compared."""
    beside = {NOTES, MARKS}
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not beside & set(path.parts)]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name not in {MANIFEST, LOG, PAGE}
    }


def kill_and_compare(place: Path, n_kills: int, seed: int) -> None:
    file = write_session(place)
    started = time.monotonic()
    run(file)
    whole = time.monotonic() - started
    expected = digests(place / "done")
    assert "whole_session/session.nwb" in expected
    rng, killed = random.Random(seed), 0
    while killed < n_kills:
        shutil.rmtree(place / "done")
        shutil.rmtree(place / "project")
        while run(file, None if killed >= n_kills else rng.uniform(0.2, 1.0) * whole) != 0:
            killed += 1
        assert digests(place / "done") == expected


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_session_killed_twice(tmp_path: Path) -> None:
    kill_and_compare(tmp_path, 2, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_session_killed_fifty_times(tmp_path: Path) -> None:
    kill_and_compare(tmp_path, 50, seed=2)
