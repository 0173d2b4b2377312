"""LFP files hold exactly what was given, in the released layout, and bad contents never become a file."""

from __future__ import annotations

import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest

from allen_ecephys.errors import InvalidContentsError, MissingDataError, UnknownIdError
from allen_ecephys.processing.packaging.session import (
    CurrentSourceDensity,
    LfpContents,
    write_lfp_nwb,
    write_session_nwb,
)
from allen_ecephys.processing.simulation import write_lfp, write_session

RATE = 1250.0


@pytest.fixture(scope="module")
def contents(example_session):
    """Three seconds of LFP of three channels of probe 1, longer than a chunk."""
    rng = np.random.default_rng(3)
    channels = example_session.channels.iloc[[0, 2, 1]]
    n = 50_000
    times = 2.0 + np.arange(n) / RATE
    csd = CurrentSourceDensity(rng.normal(size=(7, 4)), np.arange(7) / 2500, np.full(4, 24.0), 10.0 * np.arange(4))
    traces = rng.normal(0, 1e-4, (n, 3)).astype(np.float32)
    return LfpContents(example_session.metadata, example_session.probes.loc[[1]], channels, traces, times, csd)


@pytest.fixture(scope="module")
def path(contents, tmp_path_factory):
    return write_lfp_nwb(tmp_path_factory.mktemp("lfp") / "lfp.nwb", contents)


def test_traces_and_density_come_back_equal(contents, path, example_session, tmp_path):
    from allen_ecephys import EcephysSession
    from allen_ecephys.session.file import SessionCompanions

    session_path = write_session_nwb(tmp_path / "session.nwb", example_session)
    companions = SessionCompanions(lfp_path=lambda _: str(path))
    with EcephysSession(session_path, companions=companions) as session:
        lfp = session.get_lfp(1, mask_invalid_intervals=False)
        np.testing.assert_array_equal(lfp.values, contents.traces)
        np.testing.assert_array_equal(lfp["time"], contents.timestamps)
        assert lfp["channel"].to_numpy().tolist() == contents.channels.index.tolist()
        masked = session.get_lfp(1)
        # The example's session is invalid for all probes from 3 to 4 s.
        inside = (contents.timestamps >= 3.0) & (contents.timestamps <= 4.0)
        np.testing.assert_array_equal(np.isnan(masked.values).all(axis=1), inside)
        density = session.get_current_source_density(1)
        np.testing.assert_array_equal(density.values, contents.csd.density.T)
        np.testing.assert_array_equal(density["vertical_position"], contents.csd.y_positions)


def test_layout_is_the_released_one(path, replica):
    def objects(file, probe):
        found = {}

        def look(name, item):
            if not name.startswith("specifications"):
                name = name.replace(str(probe), "PROBE")
                found[name] = (item.attrs.get("neurodata_type"), item.attrs.get("unit"), getattr(item, "dtype", None))

        file.visititems(look)
        return found

    with h5py.File(replica / "probe_810755797_lfp.nwb") as released, h5py.File(path) as written:
        theirs, ours = objects(released, 810755797), objects(written, 1)
        link = written["acquisition"].get("probe_1_lfp_data", getlink=True)
        assert isinstance(link, h5py.SoftLink)
        assert link.path == "/acquisition/probe_1_lfp/probe_1_lfp_data"
    assert set(theirs) - set(ours) == set()
    assert set(ours) - set(theirs) == {"general/subject/strain"}
    same = {name for name in theirs if theirs[name] == ours[name]}
    # The type that NWB has introduced for the table of electrodes; the region's dtype follows its length.
    assert set(theirs) - same <= {
        "general/extracellular_ephys/electrodes",
        "acquisition/probe_PROBE_lfp/probe_PROBE_lfp_data/electrodes",
    }


def test_a_chunk_holds_one_channel_and_is_compressed(path):
    with h5py.File(path) as file:
        data = file["acquisition/probe_1_lfp_data/data"]
        assert data.chunks == (46_485, 1)
        assert (data.compression, data.compression_opts, data.dtype) == ("gzip", 9, np.float32)


def test_nwbinspector_finds_nothing_critical(path):
    inspector = pytest.importorskip("nwbinspector", reason="nwbinspector is a tool of the tests only")
    messages = inspector.inspect_nwbfile(nwbfile_path=path, importance_threshold="CRITICAL")
    assert [m.message for m in messages] == []


def test_traces_are_asked_for_in_blocks(contents, tmp_path):
    class Blocks:
        """Traces that count the samples asked for at a time."""

        shape = contents.traces.shape
        largest = 0

        def __getitem__(self, samples):
            Blocks.largest = max(Blocks.largest, samples.stop - samples.start)
            return contents.traces[samples]

    written = write_lfp_nwb(tmp_path / "x.nwb", replace(contents, traces=Blocks(), csd=None), compression_level=1)
    assert Blocks.largest == 46_485
    with h5py.File(written) as file:
        np.testing.assert_array_equal(file["acquisition/probe_1_lfp_data/data"], contents.traces)
        assert list(file["processing"]) == []


BAD = {
    "two probes": (lambda c: replace(c, probes=c.probes.loc[[1, 1]]), "holds one probe, not 2"),
    "too few timestamps": (lambda c: replace(c, timestamps=c.timestamps[:-1]), "49,999 timestamps and 3 channels"),
    "traces turned": (lambda c: replace(c, traces=c.traces.T), "traces are samples x channels"),
    "timestamps not ascending": (lambda c: replace(c, timestamps=np.zeros(50_000)), "not finite and ascending"),
    "timestamps not finite": (lambda c: replace(c, timestamps=np.full(50_000, np.nan)), "not finite and ascending"),
    "channels of another probe": (lambda c: replace(c, channels=c.channels.assign(probe_id=2)), "not of probe 1"),
    "channels repeated": (lambda c: replace(c, channels=c.channels.iloc[[0, 0, 1]]), "channels repeat"),
    "density of another shape": (
        lambda c: replace(c, csd=replace(c.csd, times=c.csd.times[:-1])),
        r"has the shape \(7, 4\), but 6 times",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_contents_are_refused_and_leave_nothing_behind(contents, tmp_path, bad):
    spoil, message = BAD[bad]
    with pytest.raises(InvalidContentsError, match=message):
        write_lfp_nwb(tmp_path / "bad.nwb", spoil(contents))
    assert list(tmp_path.iterdir()) == []


def test_unknown_compression_and_probe_are_refused(contents, tmp_path):
    with pytest.raises(ValueError, match="gzip knows 0"):
        write_lfp_nwb(tmp_path / "x.nwb", contents, compression_level=10)
    truth = write_session(tmp_path / "session.nwb", scale=0.005, n_units=3, n_probes=1)
    with pytest.raises(UnknownIdError, match="has no probe 5; it has"):
        write_lfp(tmp_path / "x.nwb", truth, 5)
    with pytest.raises(MissingDataError, match=r"has_lfp=True"):
        write_lfp(tmp_path / "x.nwb", truth, int(truth.probes.index[0]))
    assert [path.name for path in tmp_path.iterdir()] == ["session.nwb"]


@pytest.mark.parametrize("volts", [np.full(3, 0.195e-6), np.array([1.0, 2.0, 4.0]) * 1e-6], ids=["one", "each"])
def test_counts_come_back_as_volts_in_chunks_for_both_ways_of_reading(contents, example_session, tmp_path, volts):
    from allen_ecephys import EcephysSession
    from allen_ecephys.session.file import SessionCompanions

    counts = np.random.default_rng(4).integers(-500, 500, (50_000, 3)).astype(np.int16)
    given = replace(contents, traces=counts, volts_per_count=volts, calibrated_csd=contents.csd)
    path = write_lfp_nwb(tmp_path / "counts.nwb", given)
    with h5py.File(path) as file:
        data = file["acquisition/probe_1_lfp/probe_1_lfp_data/data"]
        assert (data.dtype, data.chunks, data.compression) == (np.int16, (2500, 3), None)
        calibrated = file["processing/current_source_density/calibrated_current_source_density/data"]
        assert calibrated.attrs["unit"] == "A/m^3"
    session_path = write_session_nwb(tmp_path / "session.nwb", example_session)
    with EcephysSession(session_path, companions=SessionCompanions(lfp_path=lambda _: str(path))) as session:
        lfp = session.get_lfp(1, mask_invalid_intervals=False)
        np.testing.assert_allclose(lfp.values, counts * volts, rtol=1e-6)
    with pytest.raises(InvalidContentsError, match="not one number a channel"):
        write_lfp_nwb(tmp_path / "bad.nwb", replace(given, volts_per_count=volts[:2]))


@pytest.mark.parametrize("as_counts", [True, False])
def test_equal_contents_are_equal_bytes_whoever_looks_on(contents, tmp_path, as_counts):
    """A profiler holds the frames that it sampled, and with them the dataset that is being written."""
    held = []

    class Watched:
        shape = contents.traces.shape

        def __init__(self, *, watched):
            self.watched = watched

        def __getitem__(self, samples):
            if self.watched:
                held.append(sys._getframe(1).f_locals["dataset"])
            block = contents.traces[samples]
            return (block * 1e7).astype(np.int16) if as_counts else block

    told = replace(contents, volts_per_count=np.full(3, 1e-7) if as_counts else None)
    made = [
        write_lfp_nwb(tmp_path / f"{watched}.nwb", replace(told, traces=Watched(watched=watched))).read_bytes()
        for watched in (False, True)
    ]
    assert held
    assert made[0] == made[1]
