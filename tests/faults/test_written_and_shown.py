"""Rows about files that are written and texts that are shown: full disks under the NWB writer, hostile metadata."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from allen_ecephys import EcephysSession
from allen_ecephys.processing.simulation import write_session

#: Writes a session where the look at the free space was fooled, as by a program that fills the disk meanwhile.
_WRITE_WITHOUT_LOOKING = """
import shutil, sys
from types import SimpleNamespace
shutil.disk_usage = lambda path: SimpleNamespace(total=10**12, used=0, free=10**12)
from allen_ecephys.errors import DiskFullError
from allen_ecephys.processing.simulation import write_session
try:
    write_session(sys.argv[1], scale=0.02, n_units=40, n_probes=1, seed=0)
except DiskFullError as error:
    print(f"DiskFullError: {error}")
    sys.exit(3)
"""


def test_H6_disk_without_room_is_refused_in_advance(mount: Callable[..., Path]) -> None:
    from allen_ecephys.errors import DiskFullError

    small = mount("small", "-t", "tmpfs", "-o", "size=8m", "tmpfs")
    with pytest.raises(DiskFullError, match=r"has no room: .* bytes needed, .* free"):
        write_session(small / "session.nwb", scale=0.02, n_units=40, n_probes=1, seed=0)
    assert not (small / "session.nwb").exists()


def test_H6_disk_full_while_writing_publishes_nothing(mount: Callable[..., Path]) -> None:
    """HDF5 may end the writing process where the disk is full; nothing under the final name, the parent goes on."""
    small = mount("small", "-t", "tmpfs", "-o", "size=8m", "tmpfs")
    (small / "other.txt").write_text("somebody's")
    command = [sys.executable, "-c", _WRITE_WITHOUT_LOOKING, str(small / "session.nwb")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0, "the session needs more than the disk has"
    if done.returncode > 0:  # not killed by a signal: then the error is the documented one
        assert (done.returncode, done.stdout.split(":")[0]) == (3, "DiskFullError"), done.stderr
    assert not (small / "session.nwb").exists()
    assert (small / "other.txt").read_text() == "somebody's"


def test_S7_markup_in_metadata_is_escaped_where_a_notebook_shows_it(tmp_path: Path) -> None:
    hostile = "<script>alert('x')</script>"
    path = tmp_path / "session.nwb"
    write_session(path, scale=0.02, n_units=40, n_probes=1, seed=0)
    with h5py.File(path, "r+") as file:
        file["general/stimulus"][()] = hostile
    with EcephysSession(path) as session:
        assert session.session_type == hostile
        shown = session._repr_html_()
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown


def test_S7_markup_and_formulas_in_a_file_are_plain_text_in_its_report(tmp_path: Path) -> None:
    hostile = "\"><script>alert('x')</script><img src=x onerror=alert(1)> {{ 7 * 7 }} $\\frac{$"
    path = tmp_path / "session<b>&.nwb"
    write_session(path, scale=0.02, n_units=40, n_probes=1, seed=0)
    with h5py.File(path, "r+") as file:
        file["general/stimulus"][()] = hostile
        file["general/subject/genotype"][()] = hostile
        locations = file["general/extracellular_ephys/electrodes/location"]
        locations[...] = [hostile if name else name for name in locations.asstr()[...]]
        file["intervals/flashes_presentations/stimulus_name"][...] = hostile
    with EcephysSession(path) as session:
        assert session.structure_acronyms[0] == hostile
        assert hostile in session.stimulus_names
        shown = session.report(tmp_path / "report.html").read_text("utf-8")
    scripts = re.findall(r"<script[^>]*>", shown)
    assert scripts == ['<script type="application/json" id="unit-data">', "<script>"]  # the page's own
    assert "<script>alert" not in shown
    assert shown.count("<img ") == shown.count('<img src="data:image/png;base64,') == 6
    assert shown.count("&lt;script&gt;") >= 4  # stimulus set, genotype, structures of the probe, stimulus
    assert "{{ 7 * 7 }}" in shown
    assert "<b>" not in shown
