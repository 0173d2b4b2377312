"""The main job: ``allen-ecephys demo``, on simulated sessions and on real ones."""

from __future__ import annotations

import functools
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner, Result

from allen_ecephys.cli import main
from allen_ecephys.cli.demo_figures import receptive_field

PNG = b"\x89PNG\r\n"
FIGURES = {"raster_psth.png", "direction_tuning.png", "receptive_field.png"}


def test_a_receptive_field_fills_its_picture(tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    places = np.arange(-40.0, 41, 10)
    field = xr.DataArray(np.eye(9), {"y_position": places, "x_position": places})
    path = receptive_field(field, 7, None, tmp_path / "field.png", n_trials=15)
    inked = np.flatnonzero((plt.imread(path)[:, :, :3] < 1).any(axis=(0, 2)))
    assert max(inked[0], plt.imread(path).shape[1] - inked[-1]) < 20  # pixels


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What the demo says, and the folder it leaves."""
    output = tmp_path_factory.mktemp("demo")
    done = run("demo", "--output", str(output))
    assert done.exit_code == 0, done.output
    return done.output, output


def test_demo_warns_of_nothing(simulated: tuple[str, Path], caplog: pytest.LogCaptureFixture) -> None:
    text, _ = simulated
    assert "WARNING" not in text
    assert "simulated to respond" in text


def test_demo_again_removes_what_it_wrote_and_nothing_else(simulated: tuple[str, Path], tmp_path: Path) -> None:
    _, output = simulated
    shutil.copytree(output, tmp_path / "again")
    notes = tmp_path / "again" / "project" / "notes.txt"
    notes.write_text("mine")
    refused = run("demo", "--output", str(tmp_path / "again"))
    assert refused.exit_code == 1
    assert "notes.txt" in refused.output
    assert "nothing was removed" in refused.output
    assert notes.read_text() == "mine"
    assert (tmp_path / "again" / "project" / "manifest.json").exists()


@pytest.mark.parametrize("name", ["project", "project_cache"])
def test_demo_never_touches_a_folder_without_its_marker(tmp_path: Path, name: str) -> None:
    thesis = tmp_path / name / "thesis" / "chapter.tex"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("years of work")
    done = run("demo", "--output", str(tmp_path))
    assert done.exit_code == 1
    assert "nothing was removed" in done.output
    assert thesis.read_text() == "years of work"


def test_demo_checks_for_its_extras_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    done = run("demo", "--output", str(tmp_path / "out"))
    assert done.exit_code == 1
    assert "allen-ecephys[demo]" in done.output
    assert "scikit-learn" in done.output
    assert not (tmp_path / "out").exists()


def test_demo_draws_its_figures(simulated: tuple[str, Path]) -> None:
    _, output = simulated
    assert {path.name for path in output.glob("*.png")} == FIGURES
    assert all((output / name).read_bytes().startswith(PNG) for name in FIGURES)


def test_demo_recovers_what_was_simulated(simulated: tuple[str, Path]) -> None:
    text, _ = simulated
    same, of = map(int, re.search(r"(\d+) of (\d+) units: preferred direction .* the true preference", text).groups())
    assert of > 50
    assert same / of > 0.7  # of eight directions, from two trials each


def test_demo_decodes_scenes_far_above_chance(simulated: tuple[str, Path]) -> None:
    text, _ = simulated
    found = re.search(r"([\d.]+)% of .* among 118 scenes.*\(chance ([\d.]+)%, shuffled labels ([\d.]+)%", text)
    accuracy, chance, shuffled = map(float, found.groups())
    assert accuracy > 10 * chance
    assert shuffled < 4 * chance


def test_demo_finds_the_receptive_field(simulated: tuple[str, Path]) -> None:
    text, _ = simulated
    found = re.search(r"most at x = (\S+), y = (\S+) degrees; .* simulated at x = (\S+), y = (\S+)", text)
    x, y, true_x, true_y = map(float, found.groups())
    assert abs(x - true_x) <= 10  # one step of the gabors' grid
    assert abs(y - true_y) <= 10


def test_demo_fetched_the_session_it_shows(simulated: tuple[str, Path]) -> None:
    """Nothing is read from where it was made: the analysed file is the one in the cache, equal to the published one."""
    text, output = simulated
    (fetched,) = (output / "project_cache").glob("session_*/session_*.nwb")
    assert str(fetched.name) in text.replace("\n", "")
    published = output / "project" / fetched.parent.name / fetched.name
    assert fetched.read_bytes() == published.read_bytes()


@pytest.fixture
def excerpt_url(excerpt: Path) -> Iterator[str]:
    """The excerpt of the release behind a plain HTTP server."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(excerpt))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_demo_on_real_data(excerpt_url: str, tmp_path: Path) -> None:
    done = run("demo", "--output", str(tmp_path), "--remote", excerpt_url, "--session", "732592105")
    assert done.exit_code == 0, done.output
    assert "110 of 110 units: preferred direction from aligned spikes equals the published preference" in done.output
    assert "36,097 units" in done.output  # 36,430, less the 333 of two probes whose published metrics are wrong
    assert "this session shows no natural scenes: skipped" in done.output
    assert {path.name for path in tmp_path.glob("*.png")} == FIGURES - {"receptive_field.png"}


def test_session_of_another_project_is_a_clear_error(excerpt_url: str, tmp_path: Path) -> None:
    done = run("demo", "--output", str(tmp_path), "--remote", excerpt_url, "--session", "12")
    assert done.exit_code == 1
    assert "no session 12" in done.output
    assert "Traceback" not in done.output


def test_remote_needs_a_session(tmp_path: Path) -> None:
    done = run("demo", "--output", str(tmp_path), "--remote", "http://127.0.0.1:9")
    assert done.exit_code == 2
    assert "--remote needs --session" in done.output


def test_unknown_option_says_so() -> None:
    done = run("demo", "--outptu", "x")
    assert done.exit_code == 2
    assert "--outptu" in done.output


def test_existing_output_is_kept_and_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "notes.txt").write_text("mine")
    done = run("process", "simulate", str(tmp_path / "raw"), "--duration", "1", "--units", "2", "--channels", "24")
    assert done.exit_code == 1
    assert "Traceback" not in done.output
    said = [line for line in done.output.splitlines() if not line.startswith("compiling ")]  # in a new installation
    assert said[0].startswith("Error: ")
    assert (tmp_path / "raw" / "notes.txt").read_text() == "mine"


def test_config_lists_every_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    from allen_ecephys.config import SETTINGS

    monkeypatch.setenv("ALLEN_ECEPHYS_THREADS", "3")
    done = run("config")
    assert done.exit_code == 0
    assert all(setting.variable in done.output for setting in SETTINGS)
    assert "ALLEN_ECEPHYS_THREADS=3" in done.output
