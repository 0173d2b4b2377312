"""Headers that are hard to believe: bands that begin or end apart, and numbers that no recording has."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from allen_ecephys.cli import main
from allen_ecephys.errors import CorruptFileError, FileFormatError, GeometryError
from allen_ecephys.processing.readers import RawBands, list_probes, open_bands, open_open_ephys
from allen_ecephys.processing.simulation.raw.open_ephys_folder import ProbeSetup, write_open_ephys
from allen_ecephys.processing.stages.probe_lfp import nominal_clock
from allen_ecephys.processing.synchronization import BandClock

from .test_spikeglx_probes import write_glx

N_SAMPLES = 36_000
CHANNELS = np.arange(4)


def open_ephys(folder: Path, first: int = 60_000) -> dict[str, Path]:
    """Write 1.2 s of a probe whose acquisition had run for two seconds; return the folder of each stream."""
    probe = ProbeSetup("ProbeA", "NP1010", np.arange(384), channels=CHANNELS)
    streams = write_open_ephys(folder, [probe], N_SAMPLES, numbers=first + np.arange(N_SAMPLES))
    for name, stream in streams.items():
        rows = N_SAMPLES // 12 if name.endswith("-LFP") else N_SAMPLES
        np.zeros((rows, len(CHANNELS)), np.int16).tofile(stream / "continuous.dat")
    return streams


def spikeglx(folder: Path, **lines: object) -> Path:
    """Write 1.2 s of a probe and return the LFP's metadata, of which `lines` are changed."""
    probe = ProbeSetup("imec0", "NP1010", np.arange(384), channels=CHANNELS)
    meta = write_glx(folder, probe, N_SAMPLES).with_name("run_g0_t0.imec0.lf.meta")
    change(meta, **lines)
    return meta


def change(meta: Path, **lines: object) -> None:
    text = meta.read_text()
    for key, value in lines.items():
        text, n = re.subn(rf"(?m)^{key}=.*$", f"{key}={value}", text)
        assert n == 1
    meta.write_text(text)


def lfp_seconds(bands: RawBands) -> np.ndarray:
    """Return when the first LFP samples were taken, since the first sample of the spike band."""
    assert bands.lfp is not None
    clock = nominal_clock(bands.spike_band, "probe")
    return BandClock.of_band(clock, bands.spike_band, bands.lfp).seconds(np.arange(2))


@pytest.mark.parametrize("late", [0, 1, 1250, 2875, -1250])
def test_an_lfp_band_that_begins_apart_is_placed_there(
    tmp_path: Path, late: int, caplog: pytest.LogCaptureFixture
) -> None:
    file = open_ephys(tmp_path / "oe")["ProbeA-LFP"] / "sample_numbers.npy"
    np.save(file, np.load(file) + late)
    spikeglx(tmp_path / "glx", firstSample=5000 + late)
    change(tmp_path / "glx" / "run_g0_t0.imec0.ap.meta", firstSample=60_004)  # between two LFP samples
    for folder in ("oe", "glx"):
        caplog.clear()
        for _ in range(2):  # told once
            np.testing.assert_allclose(lfp_seconds(open_bands(tmp_path / folder)), np.arange(late, late + 2) / 2500)
        told = [r.getMessage() for r in caplog.records]
        if abs(late) < 250:
            assert not told
        else:
            side = "after" if late > 0 else "before"
            assert len(told) == 1
            assert f"begins {abs(late) / 2500:.3f} s {side} the spike band" in told[0]


def test_an_lfp_band_of_another_time_is_refused(tmp_path: Path) -> None:
    file = open_ephys(tmp_path / "oe")["ProbeA-LFP"] / "sample_numbers.npy"
    np.save(file, np.load(file) + 12_500)
    spikeglx(tmp_path / "glx", firstSample=12_500)
    for folder in ("oe", "glx"):
        with pytest.raises(CorruptFileError, match=r"begins 5\.000 s after the spike band, which lasts 1\.200 s"):
            open_bands(tmp_path / folder)


def test_an_lfp_band_without_numbers_begins_with_the_spike_band(tmp_path: Path) -> None:
    (open_ephys(tmp_path / "oe")["ProbeA-LFP"] / "sample_numbers.npy").unlink()
    meta = spikeglx(tmp_path / "glx")
    meta.write_text(meta.read_text().replace("firstSample=0\n", ""))
    for folder in ("oe", "glx"):
        np.testing.assert_allclose(lfp_seconds(open_bands(tmp_path / folder)), [0, 1 / 2500])


def test_bands_of_different_length_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stream = open_ephys(tmp_path / "oe")["ProbeA-LFP"]
    rows = N_SAMPLES // 24
    np.zeros((rows, len(CHANNELS)), np.int16).tofile(stream / "continuous.dat")
    np.save(stream / "sample_numbers.npy", np.load(stream / "sample_numbers.npy")[:rows])
    meta = spikeglx(tmp_path / "glx", fileSizeBytes=rows * 10, fileTimeSecs=rows / 2500)
    np.zeros((rows, 5), np.int16).tofile(meta.with_suffix(".bin"))
    for folder in ("oe", "glx"):
        caplog.clear()
        assert open_bands(tmp_path / folder).lfp is not None
        [told] = [r.getMessage() for r in caplog.records]
        assert "the LFP band lasts 0.600 s, the spike band 1.200 s" in told


def test_a_part_number_is_not_believed_against_the_bands(tmp_path: Path) -> None:
    probes = [ProbeSetup(name, part, np.arange(384)) for name, part in (("Two", "NP1010"), ("One", "NP2003"))]
    write_open_ephys(tmp_path, probes, 24, settings=False)
    for stream in tmp_path.rglob("continuous/*"):
        rows = 2 if stream.name.endswith("-LFP") else 24
        np.zeros((rows, 384), np.int16).tofile(stream / "continuous.dat")
    for part in ("NP2003", "NP2013"):
        with pytest.raises(GeometryError, match=f"Two has an LFP band of its own, but probes {part} have a single"):
            open_bands(tmp_path, stream="Two", part_number=part)
        with pytest.raises(GeometryError, match="another probe"):
            open_open_ephys(tmp_path, "lfp", stream="Two", part_number=part)
    with pytest.raises(GeometryError, match=r"One has a single wide band, but probes NP1000 have a spike band \(-AP\)"):
        open_bands(tmp_path, stream="One", part_number="NP1000")
    assert open_bands(tmp_path, stream="Two", part_number="NP1010").lfp is not None
    assert open_bands(tmp_path, stream="One", part_number="NP2003").lfp is None
    # A record node that kept the spike band only.
    index = next(tmp_path.rglob("structure.oebin"))
    contents = json.loads(index.read_text())
    contents["continuous"] = [e for e in contents["continuous"] if not e["stream_name"].endswith("-LFP")]
    index.write_text(json.dumps(contents))
    assert open_bands(tmp_path, stream="Two", part_number="NP1010").lfp is None


def test_settings_of_a_probe_with_other_bands_are_refused(tmp_path: Path) -> None:
    open_ephys(tmp_path)
    settings = tmp_path / "Record Node 101" / "settings.xml"
    settings.write_text(settings.read_text().replace("NP1010", "NP2003"))
    with pytest.raises(GeometryError, match="the settings are of another probe"):
        open_bands(tmp_path)


def test_one_part_number_is_for_probes_whose_settings_are_silent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = ProbeSetup("Told", "NP1010", np.arange(384), channels=CHANNELS)
    write_open_ephys(tmp_path / "told", [told], 24)
    lost = [ProbeSetup(name, "NP2003", np.arange(384), channels=CHANNELS) for name in ("LostA", "LostB")]
    write_open_ephys(tmp_path / "lost", lost, 24, settings=False)
    for stream in tmp_path.rglob("continuous/*"):
        rows = 2 if stream.name.endswith("-LFP") else 24
        np.zeros((rows, len(CHANNELS)), np.int16).tofile(stream / "continuous.dat")
    found = {probe.probe: probe for probe in list_probes(tmp_path, part_number="NP2003")}
    assert {name: probe.part_number for name, probe in found.items()} == {
        "Told": "NP1010", "LostA": "NP2003", "LostB": "NP2003"
    }  # fmt: skip
    assert "part number NP2003 is taken for 2 of 3 probes, of which no settings tell: LostA, LostB" in caplog.text


@pytest.mark.parametrize(
    ("place", "jump", "said"),
    [
        (20_000, 2**60, r"sample 20000 has the number .*: 444,799,963 days would be missing"),
        (20_000, 31 * 86_400 * 30_000, "31 days would be missing"),
        (0, 2**60, "the first sample has the number 1152921504606906976; no recorder counts so far"),
    ],
)
def test_numbers_that_no_recorder_counts_to_are_refused(tmp_path: Path, place: int, jump: int, said: str) -> None:
    file = open_ephys(tmp_path)["ProbeA-AP"] / "sample_numbers.npy"
    numbers = np.load(file)
    numbers[place:] += jump
    np.save(file, numbers)
    with pytest.raises(CorruptFileError, match=said):
        open_bands(tmp_path)


def test_the_list_says_how_long_gaps_are(tmp_path: Path) -> None:
    streams = open_ephys(tmp_path)
    for name, step in (("ProbeA-AP", 1), ("ProbeA-LFP", 12)):
        file = streams[name] / "sample_numbers.npy"
        numbers = np.load(file)
        numbers[12_000 // step :] += 6_000 // step
        numbers[24_000 // step :] += 90_000 // step
        np.save(file, numbers)
    [listed] = list_probes(tmp_path)
    assert (listed.n_gaps, listed.gap_seconds) == (2, (0.2, 3.0))
    said = CliRunner().invoke(main, ["process", "list", str(tmp_path)]).output
    assert "bands ap and lfp, 2 gaps (0.2 + 3 s)" in said


@pytest.mark.parametrize("band", ["ap", "lf"])
@pytest.mark.parametrize("lines", [{"firstSample": 2**70}, {"imSampRate": 1e-310}])
def test_counters_and_rates_of_no_recorder_are_refused(tmp_path: Path, band: str, lines: dict[str, float]) -> None:
    spikeglx(tmp_path)
    change(tmp_path / f"run_g0_t0.imec0.{band}.meta", **lines)
    with pytest.raises(FileFormatError, match="edited or damaged"):
        open_bands(tmp_path)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ({"imAiRangeMax": 1e-6}, "by its headers a count is 3.906e-06 uV"),
        ({"imAiRangeMax": 60}, "by its headers a count is 234.4 uV"),
        ({"imSampRate": 3000, "fileTimeSecs": 12}, "the spike band has 3,000 samples a second"),
        ({"fileTimeSecs": 2400.0}, "fileTimeSecs=2400.0, but its 36,000 samples at 30000 Hz are 1.200 s"),
        ({"fileTimeSecs": "long"}, "fileTimeSecs=long, but"),
        (
            {"fileName": "D:/Data/other_g0_t0.imec3.ap.bin"},
            "was written for imec3 (fileName), the file is called imec0",
        ),
        ({"fileName": "D:/Data/other_g0_t0.imec0.ap.bin"}, ""),
        ({"fileTimeSecs": 1.2001}, ""),
    ],
)
def test_headers_that_are_hard_to_believe_are_told_once(
    tmp_path: Path, lines: dict[str, object], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    spikeglx(tmp_path)
    (tmp_path / "run_g0_t0.imec0.lf.bin").unlink()
    change(tmp_path / "run_g0_t0.imec0.ap.meta", **lines)
    for _ in range(2):
        open_bands(tmp_path)
    told = [r.getMessage() for r in caplog.records]
    assert len(told) == bool(said)
    assert all(said in message for message in told)


def test_a_file_that_is_longer_than_its_metadata_is_called_so(tmp_path: Path) -> None:
    spikeglx(tmp_path)
    file = tmp_path / "run_g0_t0.imec0.ap.bin"
    whole = file.read_bytes()
    for contents, said in ((whole + whole[:1000], "it is longer"), (whole[:-1000], "it was cut")):
        file.write_bytes(contents)
        with pytest.raises(CorruptFileError, match=said):
            open_bands(tmp_path)
