"""An output folder is of one recording; probes keep their names, and their ids follow from what was recorded."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from allen_ecephys import EcephysSession, UnitFilter
from allen_ecephys.cli import main
from allen_ecephys.errors import AlreadyPresentError, InvalidValueError
from allen_ecephys.processing import package_units, process_spike_band
from allen_ecephys.processing.packaging.identities import UNNUMBERED_SESSIONS, probe_numbers, session_id_of
from allen_ecephys.processing.readers import open_bands
from allen_ecephys.processing.simulation.raw import SimulatedProbe, TrainModel, write_probes
from allen_ecephys.processing.stages.depth_estimation import known_recording
from allen_ecephys.processing.stages.session import probe_names

pytest.importorskip("probeinterface")

SMALL = SimulatedProbe("NP1000", n_channels=16, n_units=2, amplitude_range=(150.0, 300.0))


def process(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["process", *map(str, arguments)])


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Give a SpikeGLX run of two probes, and a folder with the measured units of each: ``imec0``, ``imec1``."""
    folder = tmp_path_factory.mktemp("rig")
    write_probes(
        folder / "raw", {"imec0": SMALL, "imec1": SMALL}, recorder="spikeglx", duration=3.0,
        trains=TrainModel(rate_range=(20.0, 30.0)),
    )  # fmt: skip
    for probe in ("imec0", "imec1"):
        done = process("units", folder / "raw", folder / probe, "--probe", probe)
        assert done.exit_code == 0, done.output
    return folder / "raw", folder


@pytest.mark.parametrize("command", ["spike-band", "sort", "run", "units"])
def test_another_probe_does_not_replace_what_is_there(
    rig: tuple[Path, Path], command: str, caplog: pytest.LogCaptureFixture
) -> None:
    raw, measured = rig
    caplog.set_level("INFO")
    before = {path: path.read_bytes() for path in (measured / "imec0").glob("*/stage.json")}
    refused = process(command, raw, measured / "imec0", "--probe", "imec1")
    assert refused.exit_code == 1
    assert "holds the results of another recording: of probe 'imec0'" in refused.output
    assert "probe 'imec1'" in refused.output
    assert "--overwrite" in refused.output
    assert "running" not in refused.output + caplog.text  # it is refused before anything begins
    assert {path: path.read_bytes() for path in (measured / "imec0").glob("*/stage.json")} == before


def test_the_same_recording_goes_on_and_another_may_replace_it_where_told(
    rig: tuple[Path, Path], tmp_path: Path
) -> None:
    """A longer copy elsewhere is of the same recording: nothing is refused, and what changed runs again."""
    raw, _ = rig
    first = open_bands(raw, stream="imec0").spike_band
    process_spike_band(first, tmp_path / "out", keep_median_subtracted=False)
    longer = tmp_path / "copy" / first.path.name
    longer.parent.mkdir()
    meta = first.path.with_suffix(".meta").read_text()
    size = first.path.stat().st_size
    assert f"fileSizeBytes={size}" in meta
    more = bytes(2 * first.n_columns * 300)
    longer.write_bytes(first.path.read_bytes() + more)
    longer.with_suffix(".meta").write_text(meta.replace(f"fileSizeBytes={size}", f"fileSizeBytes={size + len(more)}"))
    again = process_spike_band(open_bands(longer).spike_band, tmp_path / "out", keep_median_subtracted=False)
    assert not again.depth.reused
    other = open_bands(raw, stream="imec1").spike_band
    with pytest.raises(AlreadyPresentError, match="overwrite=True"):
        process_spike_band(other, tmp_path / "out", keep_median_subtracted=False)
    process_spike_band(other, tmp_path / "out", keep_median_subtracted=False, overwrite=True)
    assert known_recording(tmp_path / "out")["probe"] == "imec1"


def test_probes_keep_their_names_and_sessions_their_ids(rig: tuple[Path, Path], tmp_path: Path) -> None:
    """By themselves, each is a session of its own; together, one; with one number, still no id is given twice."""
    _, measured = rig
    folders = [measured / "imec0", measured / "imec1"]

    def package(name: str, *arguments: object) -> EcephysSession:
        done = process("package", *arguments, "-o", tmp_path / name)
        assert done.exit_code == 0, done.output
        return EcephysSession(tmp_path / name, unit_filter=UnitFilter.none())

    found = [package(f"{n}.nwb", folder) for n, folder in enumerate(folders)]
    again, both = package("again.nwb", folders[1]), package("both.nwb", *reversed(folders))
    assert [list(s.probes["description"]) for s in found] == [["imec0"], ["imec1"]]
    ids = [s.ecephys_session_id for s in (*found, both)]
    assert len(set(ids)) == 3
    assert all(UNNUMBERED_SESSIONS[0] <= number < UNNUMBERED_SESSIONS[1] for number in ids)
    assert again.ecephys_session_id == ids[1]
    assert again.units.index.tolist() == found[1].units.index.tolist()
    assert not set(found[0].units.index) & set(found[1].units.index)
    assert not set(found[0].channels.index) & set(found[1].channels.index)
    assert set(both.channels["filtering"]) == {"AP band: 300 to 10000 Hz; LFP band: 0.5 to 500 Hz"}
    assert float(max(both.units.index)) == max(both.units.index)  # exact in tables that hold floats, too
    numbered = [package(f"seven{n}.nwb", folder, "--session-id", 7) for n, folder in enumerate(folders)]
    together = package("seven.nwb", *folders, "--session-id", 7)
    assert [s.probes.index.tolist() for s in numbered] == [[70], [71]]
    assert together.probes["description"].to_dict() == {70: "imec0", 71: "imec1"}
    assert sorted(together.units.index) == sorted({*numbered[0].units.index, *numbered[1].units.index})
    named = package("named.nwb", *folders, "--probe-name", "V1", "--probe-name", "LGN/LP")
    first = 10 * both.ecephys_session_id
    assert named.probes["description"].to_dict() == {first: "V1", first + 1: "LGN-LP"}
    for session in (*found, again, both, *numbered, together, named):
        session.close()


def test_names_that_cannot_be_told_apart_are_refused(rig: tuple[Path, Path], tmp_path: Path) -> None:
    _, measured = rig
    twice = [measured / "imec0", measured / "imec0"]
    with pytest.raises(InvalidValueError, match=r"two probes are called 'imec0'.*--probe-name"):
        probe_names(twice)
    with pytest.raises(InvalidValueError, match="1 names were given for 2 probes"):
        package_units(twice, tmp_path / "s.nwb", session_start_time=datetime.now(UTC), names=["A"])
    assert probe_names([tmp_path, tmp_path / "b"]) == ["probeA", "probeB"]
    assert probe_names([tmp_path], "imec0") == ["imec0"]
    with pytest.raises(InvalidValueError, match="1 names were given for 2 probes"):
        probe_names(twice, "imec0")


def test_numbers_of_probes_and_sessions() -> None:
    assert probe_numbers(["ProbeB"]) == [1]
    assert probe_numbers(["probe_a", "Probe C"]) == [0, 2]
    assert probe_numbers(["imec3", "imec0"]) == [3, 0]
    assert probe_numbers(["imec12", "imec0"]) == [0, 1]
    assert probe_numbers(["V1", "LGN"]) == [0, 1]
    assert probe_numbers(["imec1", "probeB"]) == [0, 1]
    assert session_id_of(["a", "b"]) == session_id_of(["b", "a"]) != session_id_of(["a"])
