"""Commands speak of their own options, say what becomes of their work when they are stopped, and that they compile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from allen_ecephys.cli import main
from allen_ecephys.cli.speaking import if_stopped, in_words_of, invoked_words


@pytest.mark.parametrize(
    ("words", "message", "said"),
    [
        ("report", "it exists; or pass overwrite=True", "it exists; or pass --overwrite"),
        ("process run", "or pass allow_cut=True (--allow-cut) to use", "or pass --allow-cut to use"),
        ("process run", "with stream='imec0' (--stream imec0)", "with --stream imec0"),
        ("process run", "name one of a, b with stream=...", "name one of a, b with --stream NAME"),
        ("cache add", "replace=True puts this one in its place", "--replace puts this one in its place"),
        ("process list", "give geometry=...", "give geometry=..."),  # no such option here
        ("process simulate", "n_channels=0 is none", "--channels 0 is none"),
        ("cache plan", "pass lfp=False", "pass --no-lfp"),
    ],
)
def test_arguments_become_options(words: str, message: str, said: str) -> None:
    command, found = invoked_words(main, [*words.split(), "file", "--flag"])
    assert found == words
    assert in_words_of(command, message) == said


@pytest.mark.parametrize("channels", [0, 5000])
def test_a_number_of_channels_that_no_probe_has_is_refused_by_name(channels: int, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["process", "simulate", str(tmp_path / "raw"), "--channels", str(channels)])
    assert done.exit_code == 2
    assert f"'--channels': {channels} is not in the range" in done.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("threads", ["0", "-2"])
def test_no_threads_for_compiled_code_are_told_in_a_line(threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_NUM_THREADS", threads)
    done = CliRunner().invoke(main, ["process", "sorters"])
    assert done.exit_code == 1
    assert f"Error: NUMBA_NUM_THREADS={threads} lets nothing be computed; set it to 1 or more" in done.output


def test_what_becomes_of_the_work_is_said_of_each_command() -> None:
    assert if_stopped("process run").startswith("Steps that were finished are kept")
    assert if_stopped("process simulate").startswith("The unfinished recording was removed")
    assert if_stopped("cache build") == if_stopped("cache verify") != if_stopped("cache export")
    assert if_stopped("metrics") == if_stopped("processes")
    assert "what is converted is unchanged" in if_stopped("convert")
    assert "with --write, rewritten" in if_stopped("migrate")
    assert if_stopped("demo").startswith("Figures that were drawn are kept")


def test_an_interrupted_command_says_what_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("allen_ecephys.processing.simulation.write_session", interrupted)
    done = CliRunner().invoke(main, ["simulate", str(tmp_path / "session.nwb")])
    assert done.exit_code == 130
    assert done.output == "Interrupted. Nothing unfinished is left under a final name; the same command starts anew.\n"


def test_compiling_is_announced_once(tmp_path: Path) -> None:
    """The second run finds what the first one compiled, and says nothing."""
    program = tmp_path / "counting.py"
    program.write_text(
        "from numba import njit\n"
        "from allen_ecephys.cli.speaking import announce_compiling\n"
        "announce_compiling()\n"
        "@njit(cache=True)\n"
        "def one(): return 1\n"
        "@njit(cache=True)\n"
        "def two(): return 1 + one()\n"
        "print(two())\n"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "compiled")}
    said = []
    for _ in range(2):
        command = [sys.executable, str(program)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout == "2\n"
        said.append(done.stderr)
    assert said == ["compiling what counts and measures, once: later runs start at once ...\n", ""]
