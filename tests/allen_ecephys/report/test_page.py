"""The HTML report: complete, self-contained, the same each time, and honest about what a session lacks."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from allen_ecephys import EcephysSession, UnitFilter
from allen_ecephys.cli import main
from allen_ecephys.errors import AlreadyPresentError, MissingExtraError, MissingFileError
from allen_ecephys.report import sections, unit_details
from allen_ecephys.report.responding import EXAMPLES, responding_units

VOID = {"meta", "img", "input"}


class Page(HTMLParser):
    """What a browser would find: the tree must close, and every attribute that could load something is kept."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []
        self.alts: list[str] = []
        self.feed(path.read_text("utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href", "srcset", "data", "action"}]
        self.alts += [value or "" for name, value in attrs if name == "alt"]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())

    def cells(self) -> dict[str, str]:
        """Text -> the text after it: the first two columns of every table."""
        texts = [text for text in self.texts if text]
        return dict(pairwise(texts))

    def images(self) -> list[np.ndarray]:
        from matplotlib.image import imread

        sources = [link.removeprefix("data:image/png;base64,") for link in self.links if not link.startswith("#")]
        return [imread(io.BytesIO(base64.b64decode(source, validate=True)), format="png") for source in sources]


@pytest.fixture(scope="module")
def simulated(simulated_project: tuple[Path, Any]) -> Path:
    [path] = simulated_project[0].glob("session_*/session_*.nwb")
    return path


def test_page_shows_the_session_and_needs_nothing_else(simulated: Path, tmp_path: Path) -> None:
    with EcephysSession(simulated) as session:
        written = session.report(tmp_path / "report.html")
        units, metadata = session.units, session.metadata
        n_flashes = int((session.stimulus_presentations["stimulus_name"] == "flashes").sum())
    assert written == tmp_path / "report.html"
    assert written.stat().st_size < 1_000_000
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    page = Page(written)
    assert not {"iframe", "object", "embed", "link", "form"} & set(page.tags)
    assert page.tags.count("script") == 2  # the data, and what shows them
    cells = page.cells()
    assert cells["session"] == str(metadata["ecephys_session_id"])
    assert cells["genotype"] == metadata["full_genotype"]
    assert cells["units"].startswith(f"{len(units)} of 120 shown (presence_ratio >= 0.95")
    assert cells["flashes"] == f"{n_flashes}"
    assert [alt.split()[0] for alt in page.alts] == [
        "Stimuli,", "Number", "Units", "Histograms", "Spikes", "LFP", "Firing",
    ]  # fmt: skip
    assert any(
        text.startswith(f"{n_flashes} presentations of flashes: a row of the upper panels for each, the first at the")
        for text in page.texts
    )
    images = page.images()
    assert len(images) == 7
    for image in images:
        assert image.shape[1] > 250
        assert image[..., :3].std() > 0.02  # something is drawn


@pytest.fixture
def small(write_session: Callable[..., Path], four_presentations: dict[str, Any]) -> Path:
    return write_session(**four_presentations)


def test_equal_sessions_give_equal_pages(small: Path, tmp_path: Path) -> None:
    with EcephysSession(small) as session:
        one = session.report(tmp_path / "one.html").read_bytes()
    with EcephysSession(small) as session:
        assert session.report(tmp_path / "two.html").read_bytes() == one


def test_example_units_are_those_that_respond(write_session: Callable[..., Path]) -> None:
    """Three units: one fires within each presentation, one before each, one never."""
    starts = np.arange(20) * 2.0 + 5
    shown = pd.DataFrame(
        {"start_time": starts, "stop_time": starts + 0.25, "stimulus_name": "flashes", "stimulus_block": 0.0}
    )
    path = write_session(spike_times=[starts - 0.05, starts + 0.1, []], presentations=shown)
    with EcephysSession(path, unit_filter=UnitFilter.none()) as session:
        table = session.stimulus_presentations
        assert responding_units(session, table, before=0.125, length=0.25) == [901]


def test_units_of_several_structures_come_first(simulated: Path) -> None:
    with EcephysSession(simulated, unit_filter=UnitFilter.none()) as session:
        trials = session.get_stimulus_table("flashes")
        chosen = responding_units(session, trials, before=0.125, length=0.25)[:EXAMPLES]
        structures = session.units["ecephys_structure_acronym"]
    assert len(chosen) == EXAMPLES
    assert structures[chosen].nunique() == min(EXAMPLES, structures.nunique())


@pytest.mark.parametrize("running", [True, False])
def test_session_without_stimuli_and_eye_tracking(
    write_session: Callable[..., Path], tmp_path: Path, running: bool
) -> None:
    path = write_session(spike_times=[[1.0, 2.0], [3.0]], running=running)
    with EcephysSession(path) as session:
        page = Page(session.report(tmp_path / "report.html"))
    missing = "no eye tracking" if running else "no running speed and no eye tracking"
    assert any(f"This session has {missing}." in text for text in page.texts)
    assert "This session has no stimuli." in page.texts
    assert len(page.images()) == 3 + running


def test_recording_without_stimuli_has_no_empty_axes(write_session: Callable[..., Path], tmp_path: Path) -> None:
    """As sorting a recording leaves it: less than a minute and no block of stimuli, units that the filter hides."""
    rest = pd.DataFrame({"start_time": [0.0], "stop_time": [40.0], "stimulus_name": ["spontaneous"]})
    path = write_session(spike_times=[[1.0, 2.0], [3.0]], presentations=rest, running=False)
    strict = UnitFilter(presence_ratio_minimum=1.0)
    with EcephysSession(path, unit_filter=strict) as session:
        assert session.num_units == 0
        page = Page(session.report(tmp_path / "report.html"))
    assert "Stimuli, running speed and pupil over the session" not in page.alts
    assert "Units by position on the probe" in page.alts


def test_session_without_units(write_session: Callable[..., Path], tmp_path: Path) -> None:
    shown = pd.DataFrame({"start_time": [0.0], "stop_time": [1.0], "stimulus_name": ["flashes"]})
    with EcephysSession(write_session(presentations=shown)) as session:
        page = Page(session.report(tmp_path / "report.html"))
    assert {"The file holds no units.", "The file holds no quality metrics."} <= set(page.texts)
    assert page.cells()["units"].startswith("0 of 0 shown")


def test_stimulus_of_ones_own_without_pauses(
    write_session: Callable[..., Path], four_presentations: dict[str, Any], tmp_path: Path
) -> None:
    with EcephysSession(write_session(**four_presentations)) as session:
        page = Page(session.report(tmp_path / "report.html"))
    assert "Spikes and rates around a of units 2" in page.alts


def test_replica_of_a_released_session(replica: Path, tmp_path: Path) -> None:
    with EcephysSession(replica / "session_715093703.nwb", unit_filter=UnitFilter.none()) as session:
        page = Page(session.report(tmp_path / "report.html"))
    assert page.cells()["session"] == "715093703"
    assert page.cells()["probeA"] == "810755797"


def test_existing_page_is_kept_unless_told(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("mine")
    with EcephysSession(small) as session:
        with pytest.raises(AlreadyPresentError, match="overwrite=True"):
            session.report(path)
        assert path.read_text() == "mine"
        assert session.report(path, overwrite=True).stat().st_size > 1000
        with pytest.raises(MissingFileError, match="make it first"):
            session.report(tmp_path / "nowhere" / "report.html")


@pytest.mark.parametrize("library", ["jinja2", "matplotlib"])
def test_missing_library_names_the_extra(
    simulated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with EcephysSession(simulated) as session, pytest.raises(MissingExtraError, match=r"allen-ecephys\[report\]"):
        session.report(tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_command(small: Path, tmp_path: Path) -> None:
    command = ["report", str(small), str(tmp_path / "report.html"), "--all-units"]
    done = CliRunner().invoke(main, command, catch_exceptions=False)
    assert done.exit_code == 0
    assert Page(tmp_path / "report.html").cells()["units"] == "3 of 3 shown (no filter)"
    again = CliRunner().invoke(main, command)
    assert again.exit_code == 1
    assert "--overwrite" in again.output


def test_texts_of_the_file_are_never_markup(write_session: Callable[..., Path], tmp_path: Path) -> None:
    from tests.allen_ecephys.conftest import default_channels

    name = "</script><script>alert(1)</script><!"
    channels = default_channels().assign(location=name)
    with EcephysSession(write_session(spike_times=[[1.0, 2.0]], channels=channels)) as session:
        written = session.report(tmp_path / "report.html")
    page = Page(written)
    assert page.tags.count("script") == 2
    text = written.read_text("utf-8")
    data = json.loads(text.partition('id="unit-data">')[2].partition("</script>")[0])
    assert data["table"]["structure"]["names"] == [name]
    script = text.rpartition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text  # this script runs, and no other


def test_curves_are_packed_within_half_a_level() -> None:
    values = np.random.default_rng(0).normal(3, 5, (4, 60))
    values[1, 7], values[2] = np.nan, np.nan
    found = unit_details.packed(values)
    levels = np.frombuffer(base64.b64decode(found["bytes"]), np.uint8).reshape(values.shape).astype(float)
    levels[levels == unit_details.MISSING] = np.nan
    back = np.array(found["low"])[:, None] + np.array(found["span"])[:, None] * levels / 254
    np.testing.assert_array_equal(np.isnan(back), np.isnan(values))
    worst = np.nanmax(np.abs(back - values)[[0, 1, 3]] / np.ptp(values[0]))
    assert worst < 0.005


def test_rates_by_place_and_direction_are_those_of_the_session(simulated: Path) -> None:
    with EcephysSession(simulated, unit_filter=UnitFilter.none()) as session:
        units = session.units.index[:3].tolist()
        tuning, fields = unit_details._tuning(session, units), unit_details._receptive_fields(session, units)
        gratings = session.responses("drifting_gratings", None, units)
        gabors = session.responses("gabors", None, units)
    assert tuning is not None
    assert fields is not None
    by_direction = gratings["rate"].groupby("orientation").mean().transpose("unit_id", "orientation").to_numpy()
    by_place = gabors["rate"].groupby(["y_position", "x_position"]).mean()
    by_place = by_place.transpose("unit_id", "y_position", "x_position").to_numpy()[:, ::-1].reshape(len(units), -1)
    for found, wanted in ((tuning["mean"], by_direction), (fields, by_place)):
        levels = np.frombuffer(base64.b64decode(found["bytes"]), np.uint8).reshape(wanted.shape)
        back = np.array(found["low"])[:, None] + np.array(found["span"])[:, None] * levels / 254
        np.testing.assert_allclose(back, wanted, atol=0.005 * wanted.max())
    assert fields["rows"][0] > fields["rows"][-1]


def test_what_nobody_told_has_no_row(small: Path, tmp_path: Path) -> None:
    """A file of one's own often names no animal, and the commands that package one date it 2000-01-01 if not told."""
    with h5py.File(small, "a") as file:
        del file["general/subject"], file["session_start_time"]
        file["session_start_time"] = "2000-01-01T00:00:00+00:00"
        file.create_group("general/subject")
    with EcephysSession(small) as session:
        rows = dict(sections.identity(session, 3).rows)
    assert {"session", "stimulus set", "file", "units", "stimulus presentations"} == set(rows)
