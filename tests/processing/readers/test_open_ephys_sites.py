"""Open Ephys folders of any rig: which site each column recorded from, told by index and settings together."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest

from allen_ecephys.errors import CorruptFileError, FileFormatError, GeometryError, MissingFileError, UnknownNameError
from allen_ecephys.processing.probes import adc_wiring, neuropixels_1_geometry
from allen_ecephys.processing.readers import list_probes, open_bands, open_ephys_streams, open_open_ephys
from allen_ecephys.processing.readers.open_ephys_settings import electrodes_at, read_open_ephys_settings
from allen_ecephys.processing.simulation.raw.open_ephys_folder import OpenEphysSetup, ProbeSetup, write_open_ephys

N_SAMPLES = 24


def write(folder: Path, *probes: ProbeSetup, **how: object) -> dict[str, Path]:
    """Write a folder whose values are 1000 * row + column."""
    folders = write_open_ephys(folder, probes, N_SAMPLES, **how)  # type: ignore[arg-type]
    for name, stream in folders.items():
        probe = next(p for p in probes if re.sub("-(AP|LFP)$", "", name) == p.name)
        index = json.loads(next(folder.rglob("structure.oebin")).read_text())
        columns = next(e["num_channels"] for e in index["continuous"] if e["stream_name"] == name)
        rows = N_SAMPLES // 12 if name.endswith("-LFP") else N_SAMPLES
        values = 1000 * np.arange(rows)[:, None] + np.arange(columns)
        values.astype(np.int16).tofile(stream / "continuous.dat")
        assert columns >= len(probe.saved)
    return folders


def bank(n: int, first: int = 0) -> np.ndarray:
    return np.arange(first, first + n)


def shank_block(shank: int, first: int = 0, n: int = 384) -> np.ndarray:
    return 1280 * shank + np.arange(first, first + n)


def np1(name: str = "ProbeA", first: int = 0, **more: object) -> ProbeSetup:
    return ProbeSetup(name, "NP1010", bank(384, first), **more)  # type: ignore[arg-type]


def np24(name: str = "ProbeB", **more: object) -> ProbeSetup:
    blocks = [shank_block(s, n=96) for s in range(4)]
    return ProbeSetup(name, "NP2013", np.concatenate(blocks), **more)  # type: ignore[arg-type]


def change_index(folder: Path, change: object) -> None:
    (index,) = folder.rglob("structure.oebin")
    contents = json.loads(index.read_text())
    change(contents)  # type: ignore[operator]
    index.write_text(json.dumps(contents))


@pytest.mark.parametrize(("one", "other"), [("Probe1", "Probe10"), ("Probe10", "Probe1"), ("V1", "V1b"), ("V1b", "V1")])
def test_each_of_two_probes_has_its_own_sites_whatever_their_names(tmp_path: Path, one: str, other: str) -> None:
    first, second = np1(one), ProbeSetup(other, "NP1010", bank(384, 384))
    write(tmp_path, first, second, setup=OpenEphysSetup(lists_electrodes=False))
    for probe in (first, second):
        for band, name in (("ap", f"{probe.name}-AP"), ("lfp", f"{probe.name}-LFP")):
            by_probe = open_open_ephys(tmp_path, band, stream=probe.name)  # type: ignore[arg-type]
            by_stream = open_open_ephys(tmp_path, stream=name)
            np.testing.assert_array_equal(by_probe.geometry, probe.positions)
            np.testing.assert_array_equal(by_stream.geometry, probe.positions)
            assert by_stream.stream.stream_name == by_probe.stream.stream_name == name
    with pytest.raises(UnknownNameError, match=f"holds 2 probes: {one}, {other}; name"):
        open_open_ephys(tmp_path)
    with pytest.raises(UnknownNameError, match="did you mean"):
        open_open_ephys(tmp_path, stream=f"{one}-APP")


def test_a_probe_called_m3a_is_no_3a_probe(tmp_path: Path) -> None:
    probe = ProbeSetup("M3A", "NP2003", bank(384, 384))
    write(tmp_path, probe)
    recording = open_open_ephys(tmp_path)
    assert recording.reference_channels.tolist() == []
    np.testing.assert_array_equal(recording.geometry, probe.positions)
    assert recording.part_number == "NP2003"


def test_another_experiment_has_its_own_settings_or_is_to_be_told(tmp_path: Path) -> None:
    """Settings of experiment 1 say nothing of experiment 2: the probe may have been exchanged in between."""
    first, second = np1(), np24("ProbeA")
    write(tmp_path, first)
    write(tmp_path / "Record Node 101" / "two", second, setup=OpenEphysSetup(experiment=2))
    place = tmp_path / "Record Node 101" / "two" / "Record Node 101"
    experiment = tmp_path / "Record Node 101" / "experiment2"
    (place / "experiment2").rename(experiment)
    with pytest.raises(MissingFileError, match=r"experiment2 of .* has no settings_2\.xml.*part_number=.NP2013"):
        open_bands(experiment)
    for told in ({"part_number": "NP2013"}, {"settings": place / "settings_2.xml"}):
        recording = open_bands(experiment, **told).spike_band
        np.testing.assert_array_equal(recording.geometry, second.positions)
        assert recording.part_number == "NP2013"
    change_index(experiment, _without_electrodes)
    with pytest.raises(GeometryError, match="of another experiment"):
        open_bands(experiment, part_number="NP2013")
    (place / "settings_2.xml").rename(tmp_path / "Record Node 101" / "settings_2.xml")
    np.testing.assert_array_equal(open_bands(experiment).spike_band.geometry, second.positions)
    one = tmp_path / "Record Node 101" / "experiment1"
    np.testing.assert_array_equal(open_bands(one).spike_band.geometry, first.positions)
    with pytest.raises(GeometryError, match="is a NP1010, not a NP2013"):
        open_bands(one, part_number="NP2013")


def _without_electrodes(contents: dict) -> None:
    for stream in contents["continuous"]:
        for channel in stream["channels"]:
            channel.pop("channel_metadata", None)


def test_columns_in_another_order_than_the_sites(tmp_path: Path) -> None:
    """The index speaks column by column."""
    order = np.random.default_rng(0).permutation(384)
    probe = np24(channels=order)
    write(tmp_path, probe)
    recording = open_open_ephys(tmp_path)
    np.testing.assert_array_equal(recording.geometry, probe.positions)
    np.testing.assert_array_equal(recording.shanks, probe.electrodes[order] // 1280)
    expected = adc_wiring("NP2013", order)
    assert recording.adc is not None
    assert expected is not None
    np.testing.assert_array_equal(recording.adc.turns, expected.turns)


@pytest.mark.parametrize("version", ["0.6.7", "1.0.1"])
@pytest.mark.parametrize("lists_electrodes", [True, False])
def test_a_record_node_that_kept_200_of_384_channels(tmp_path: Path, version: str, lists_electrodes: bool) -> None:
    kept = np.sort(np.random.default_rng(1).permutation(384)[:200])
    kept = np.union1d(kept[kept != 191][:199], [191])
    probe = np1(channels=kept)
    write(tmp_path, probe, setup=OpenEphysSetup(version=version, lists_electrodes=lists_electrodes))
    recording = open_open_ephys(tmp_path)
    assert recording.n_channels == 200
    np.testing.assert_array_equal(recording.geometry, probe.positions)
    assert kept[recording.reference_channels].tolist() == [191]


def test_one_stranded_channel_on_another_shank(tmp_path: Path) -> None:
    """A single site in the right column of the first shank must not shift all others."""
    electrodes = shank_block(2)
    electrodes[7] = 1 + 2 * 200
    probe = ProbeSetup("ProbeA", "NP2014", electrodes)
    for version, lists in (("0.6.7", True), ("0.6.7", False), ("1.0.1", False)):
        folder = tmp_path / f"{version}{lists}"
        write(folder, probe, setup=OpenEphysSetup(version=version, lists_electrodes=lists))
        recording = open_open_ephys(folder)
        np.testing.assert_array_equal(recording.geometry, probe.positions)
        assert recording.shanks.tolist() == [0 if c == 7 else 2 for c in range(384)]


def test_every_onix_recording_opens(tmp_path: Path, shared_data: Path) -> None:
    """ONIX names its channels "Neuropixels 2.0 data stream", and its index no sites."""
    probes = (ProbeSetup("PortA-Headstage-Probe0", "NP2004", bank(384, 200)), np24("PortA-Headstage-Probe1"))
    write(tmp_path / "2", *probes, setup=OpenEphysSetup(plugin="ONIX Source", version="1.0.1"))
    for probe in probes:
        np.testing.assert_array_equal(
            open_bands(tmp_path / "2", stream=probe.name).spike_band.geometry, probe.positions
        )
    one = ProbeSetup("PortB-Headstage-Probe", "PRB_1_4_0480_1_C", bank(384, 384))
    write(tmp_path / "1", one, setup=OpenEphysSetup(plugin="ONIX Source", version="1.0.1"))
    bands = open_bands(tmp_path / "1")
    assert bands.lfp is not None
    for band in (bands.spike_band, bands.lfp):
        np.testing.assert_array_equal(band.geometry, one.positions)
    old = open_ephys_streams(tmp_path / "1")
    assert [s.band for s in old] == ["ap", "lfp"]
    change_index(tmp_path / "1", lambda c: [ch.pop("type") for s in c["continuous"] for ch in s["channels"]])
    assert len(open_ephys_streams(tmp_path / "1")) == 2
    for settings in sorted((shared_data / "neuropixels_meta" / "openephys" / "OE_ONIX-NP").glob("*.xml")):
        assert all(p.electrodes is not None for p in read_open_ephys_settings(settings))


def test_index_and_settings_that_name_different_sites_are_refused(tmp_path: Path) -> None:
    write(tmp_path, np1())
    (settings,) = tmp_path.rglob("settings.xml")
    write(tmp_path / "other", np1(first=384))
    (other,) = (tmp_path / "other").rglob("settings.xml")
    settings.write_text(other.read_text())
    with pytest.raises(GeometryError, match="disagree about 384 of 384 sites"):
        open_bands(tmp_path / "Record Node 101" / "experiment1")
    shift = np.arange(384) * 20.0
    given = open_open_ephys(
        tmp_path / "Record Node 101" / "experiment1", geometry=np.column_stack([np.zeros(384), shift])
    )
    assert given.geometry[3].tolist() == [0, 60]


def test_lost_settings_leave_the_part_number_to_the_user(tmp_path: Path) -> None:
    probe = np24()
    write(tmp_path, probe, settings=False)
    with pytest.raises(MissingFileError, match="part_number="):
        open_open_ephys(tmp_path)
    recording = open_open_ephys(tmp_path, part_number="NP2013")
    np.testing.assert_array_equal(recording.geometry, probe.positions)
    with pytest.raises(GeometryError, match="not on a NP2003"):
        open_open_ephys(tmp_path, part_number="NP2003")


def test_a_probe_in_no_catalogue_has_the_positions_of_the_settings(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    probe = np24()
    write(tmp_path, probe)
    (settings,) = tmp_path.rglob("settings.xml")
    settings.write_text(settings.read_text().replace("NP2013", "NP9013"))
    with caplog.at_level(logging.WARNING):
        recording = open_open_ephys(tmp_path)
    np.testing.assert_array_equal(recording.geometry, probe.positions)
    assert "'NP9013' is in no catalogue" in caplog.text


def test_the_origin_of_positions_follows_from_the_sites_that_they_must_be() -> None:
    from allen_ecephys.processing.readers.catalogue import catalogue_probe

    for part, origins, sites in (
        ("NP2014", (8.0, 27.0), [2, 7, 1280, 3999]),
        ("NP2003", (8.0, 27.0), [1, 3, 5]),  # the right column only
        ("NP2003", (8.0, 27.0), [0, 2, 4]),
        ("NP1010", (11.0,), [1, 5, 9]),
        ("NP1100", (12.0,), [3, 11]),
        ("NP1032", (11.0,), [0, 1, 2]),
    ):
        probe = catalogue_probe(part)
        assert probe is not None
        for origin in origins:
            places = np.rint(probe.positions[sites] + [origin, 0])
            found = electrodes_at(places, probe.shanks[sites], part)
            assert found is not None, (part, origin)
            assert found.tolist() == sites
    probe = catalogue_probe("NP2014")
    assert probe is not None
    sites = [2, 7, 1280, 3999]
    local = probe.positions[sites] - np.column_stack([250.0 * probe.shanks[sites], np.zeros(4)])
    assert electrodes_at(local, probe.shanks[sites], "NP2014").tolist() == sites  # type: ignore[union-attr]
    early = local + np.column_stack([np.zeros(4), 250.0 * probe.shanks[sites]])
    assert electrodes_at(early, probe.shanks[sites], "NP2014", early=True).tolist() == sites  # type: ignore[union-attr]
    assert electrodes_at(local + 7.3, probe.shanks[sites], "NP1010") is None
    assert electrodes_at(local, probe.shanks[sites], "NP9999") is None


def test_a_stream_or_its_file_may_be_named_as_path(tmp_path: Path) -> None:
    folders = write(tmp_path, np1(), np24())
    for place in (folders["ProbeB"], folders["ProbeB"] / "continuous.dat"):
        assert open_open_ephys(place).stream.stream_name == "ProbeB"
        assert open_bands(place).probe == "ProbeB"
    bands = open_bands(folders["ProbeA-AP"])
    assert bands.lfp is not None
    assert bands.lfp.n_samples == N_SAMPLES // 12
    with pytest.raises(UnknownNameError, match="LFP band; name its probe"):
        open_bands(folders["ProbeA-LFP"])
    listed = list_probes(tmp_path)
    assert [(p.probe, p.part_number, p.n_shanks, p.bands) for p in listed] == [
        ("ProbeA", "NP1010", 1, ("ap", "lfp")),
        ("ProbeB", "NP2013", 4, ("ap",)),
    ]


def test_gaps_are_seen_and_times_are_true(tmp_path: Path) -> None:
    numbers = np.arange(N_SAMPLES) + 5000
    numbers[10:] += 300
    numbers[11:] += 1
    write(tmp_path, np24(), numbers=numbers)
    recording = open_open_ephys(tmp_path)
    assert recording.timeline.stretches == [(0, 10), (10, 11), (11, 24)]
    assert recording.timeline.gaps.tolist() == [[10, 300], [11, 1]]
    np.testing.assert_allclose(recording.timeline.times([0, 9, 10, 23], 30_000), np.array([0, 9, 310, 324]) / 30_000)
    np.testing.assert_allclose(recording.timeline.invalid_times(1.0), [[10, 310], [311, 312]])
    assert list_probes(tmp_path)[0].n_gaps == 2


def test_numbers_that_go_back_or_are_too_few_are_refused(tmp_path: Path) -> None:
    folders = write(tmp_path, np24())
    path = folders["ProbeB"] / "sample_numbers.npy"
    np.save(path, np.arange(N_SAMPLES - 4))
    with pytest.raises(CorruptFileError, match="allow_cut=True"):
        open_open_ephys(tmp_path)
    assert open_open_ephys(tmp_path, allow_cut=True).n_samples == N_SAMPLES - 4
    numbers = np.arange(N_SAMPLES)
    numbers[8:] -= 3
    np.save(path, numbers)
    with pytest.raises(CorruptFileError, match="repeat or go back"):
        open_open_ephys(tmp_path)
    for damaged in (b"", b"\x93NUMPY", path.read_bytes()[:40], b"\x93NUMPY\x01\x00\xff\xff{" + b" " * 70_000):
        path.write_bytes(damaged)
        with pytest.raises(FileFormatError, match="no plain array"):
            open_open_ephys(tmp_path)
    path.write_bytes(_header_only(10**14))
    with pytest.raises(FileFormatError, match="no plain array"):
        open_open_ephys(tmp_path)


def _header_only(n: int) -> bytes:
    text = f"{{'descr': '<i8', 'fortran_order': False, 'shape': ({n},), }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + b"\0" * 5000


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["continuous"][0].update(sample_rate=float("inf")),
        lambda c: c["continuous"][0].update(sample_rate="1e999"),
        lambda c: c["continuous"][0].update(sample_rate=-1),
        lambda c: c["continuous"][0].update(num_channels=10**99),
        lambda c: c["continuous"][0].update(folder_name="../../elsewhere"),
        lambda c: c["continuous"][0].update(folder_name=""),
        lambda c: c["continuous"][0]["channels"][0].update(
            channel_metadata=[{"name": "electrode_index", "value": "x"}]
        ),
        lambda c: c["continuous"][0]["channels"][0].update(channel_metadata=7),
        lambda c: c["continuous"][0]["channels"][0].update(bit_volts=None),
        lambda c: c["continuous"][0].update(channels=5),
        lambda c: c.update(continuous={"a": 1}),
    ],
)
def test_an_index_that_makes_no_sense_is_named(tmp_path: Path, change: object) -> None:
    write(tmp_path, np24())
    change_index(tmp_path, change)
    with pytest.raises(FileFormatError, match="index of continuous data"):
        open_bands(tmp_path)


@pytest.mark.parametrize("value", [10**9, -5])
def test_electrodes_that_no_probe_has_are_named(tmp_path: Path, value: int) -> None:
    write(tmp_path, np24(), settings=False)

    def change(contents: dict) -> None:
        contents["continuous"][0]["channels"][4]["channel_metadata"][0]["value"] = [value]

    change_index(tmp_path, change)
    with pytest.raises(GeometryError, match="not on a NP2013"):
        open_open_ephys(tmp_path, part_number="NP2013")


def test_settings_that_make_no_sense_are_named(tmp_path: Path) -> None:
    write(tmp_path, np24())
    (settings,) = tmp_path.rglob("settings.xml")
    good = settings.read_text()
    for damaged, error in (
        (good[: len(good) // 2], FileFormatError),
        ("", FileFormatError),
        (good.replace('CH5="0:0"', 'CH5="0:x"'), FileFormatError),
        (good.replace("NP_PROBE", "OTHER"), GeometryError),
    ):
        settings.write_text(damaged)
        with pytest.raises(error, match=r"settings\.xml"):
            open_open_ephys(tmp_path)


def test_3a_folders_are_as_before(tmp_path: Path) -> None:
    for number, rows in (("0", 24), ("1", 2)):
        stream = tmp_path / "continuous" / f"Neuropix-3a-100.{number}"
        stream.mkdir(parents=True)
        np.zeros((rows, 384), np.int16).tofile(stream / "continuous.dat")
    bands = open_bands(tmp_path)
    assert bands.lfp is not None
    assert (bands.spike_band.n_samples, bands.lfp.n_samples) == (24, 2)
    np.testing.assert_array_equal(bands.lfp.geometry, neuropixels_1_geometry())
    assert len(bands.spike_band.reference_channels) == 10
