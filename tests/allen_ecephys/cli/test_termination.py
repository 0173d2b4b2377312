"""SIGTERM ends a command as Ctrl-C does: nothing unfinished is left, and the exit code says what happened."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

# Under nohup, whose programs ignore SIGHUP, so would the command: the signal means to it what it means in a terminal.
COMMAND = [
    sys.executable, "-c",
    "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL); from allen_ecephys.cli import main; main()",
    "process", "simulate",
]  # fmt: skip


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_terminated_simulation_leaves_nothing(tmp_path: Path, number: signal.Signals, code: int) -> None:
    arguments = [str(tmp_path / "raw"), "--duration", "600", "--units", "20", "--channels", "96"]
    with subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE) as child:
        until = time.monotonic() + 300
        while not any(tmp_path.rglob("continuous.dat")) and child.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        assert any(tmp_path.rglob("continuous.dat")), child.poll()
        child.send_signal(number)
        _, said = child.communicate(timeout=300)
    assert child.returncode == code, said
    assert b"Traceback" not in said
    assert b"Told to end. The unfinished recording was removed" in said
    assert list(tmp_path.iterdir()) == []
