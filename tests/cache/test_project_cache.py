"""The cache as a whole, on the small project and on released data behind a loopback server."""

from __future__ import annotations

import json
import logging
import pickle
import shutil
import socket
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from allen_ecephys.cache import EcephysProjectCache
from allen_ecephys.cache.remotes.fsspec import FolderRemote
from allen_ecephys.errors import (
    AccessError,
    CorruptFileError,
    FileFormatError,
    InvalidTypeError,
    InvalidValueError,
    ManifestError,
    MissingDataError,
    MissingFileError,
    OfflineError,
    RemoteNotFoundError,
    UnknownIdError,
    UnknownNameError,
)
from allen_ecephys.units.filter import UnitFilter

EVERY_UNIT = UnitFilter.none()
SESSION = 732592105
PUBLISHED_METRICS = pytest.mark.filterwarnings("ignore:the published metrics of .* are wrong:UserWarning")


@pytest.fixture
def local_excerpt(excerpt, tmp_path):
    """A copy of the released excerpt, as AllenSDK leaves a cache on disk."""
    return shutil.copytree(excerpt, tmp_path / "allensdk_cache", copy_function=shutil.copyfile)


# --- on real data ------------------------------------------------------------------------------------------------


@PUBLISHED_METRICS
def test_released_excerpt_over_http(excerpt, serve, tmp_path):
    expected = json.loads((excerpt / "README.md").read_text().split("```json")[1].split("```")[0])
    server = serve(excerpt)
    cache = EcephysProjectCache.from_url(server.url, manifest=tmp_path / "cache" / "manifest.json")

    units = cache.get_units()
    assert len(units) == expected["default_filter"]["all"] == 16129
    counts = units["session_type"].value_counts()
    for kind in ("brain_observatory_1.1", "functional_connectivity"):
        assert counts[kind] == expected["default_filter"][kind]
        of_type = cache.get_unit_analysis_metrics_by_session_type(kind)
        assert len(of_type) == expected["default_filter"][kind]
        unfiltered = cache.get_unit_analysis_metrics_by_session_type(kind, annotate=False)
        assert len(unfiltered) == expected["rows"][f"{kind}_analysis_metrics.csv"]
    assert (units["ecephys_session_id"] == SESSION).sum() == expected["default_filter"][str(SESSION)]
    assert len(cache.get_unit_analysis_metrics_for_session(SESSION)) == expected["default_filter"][str(SESSION)]

    assert len(cache.get_session_table()) == expected["rows"]["sessions.csv"]
    assert len(cache.get_probes()) == expected["rows"]["probes.csv"]
    channels = cache.get_channels()
    assert len(channels) == expected["rows"]["channels.csv"]
    assert channels["left_right_ccf_coordinate"].isna().sum() == expected["channels"]["ccf_-1000"]
    assert len(cache.get_units(unit_filter=EVERY_UNIT)) == expected["rows"]["units.csv"]
    assert len(cache.get_unit_analysis_metrics(unit_filter=EVERY_UNIT)) == expected["rows"]["units.csv"] == 36430
    assert len(cache.get_unit_analysis_metrics()) == 16129

    fetched = [path for method, path in server.requests if method == "GET"]
    assert len(fetched) == len(set(fetched)) == 7  # four tables, three of metrics, each once


def test_session_over_http_and_streamed(excerpt, serve, tmp_path):
    server = serve(excerpt)
    cache = EcephysProjectCache.from_url(server.url, tmp_path / "cache")
    with cache.get_session_data(SESSION) as session:
        units = session.units
        assert len(units) == 365
        assert session.ecephys_session_id == SESSION
        spikes = session.spike_times[915960297]
        assert len(spikes) == 5030
        assert "p_run_mod_dg" in session.unit_analysis_metrics
    assert "p_run_mod_dg" not in units  # the same columns however a session is opened
    assert server.fetched(f"session_{SESSION}.nwb") >= 1
    count = len(server.requests)
    with cache.get_session_data(SESSION) as session:
        pd.testing.assert_frame_equal(session.units, units)
    assert len(server.requests) == count  # all of it is here now
    with EcephysProjectCache.fixed(tmp_path / "cache").get_session_data(SESSION, stream=True) as session:
        assert np.array_equal(session.spike_times[915960297], spikes)


@PUBLISHED_METRICS
def test_cache_of_allensdk_is_used_as_it_is(local_excerpt, no_network):
    for cache in (
        EcephysProjectCache.from_warehouse(manifest=local_excerpt / "manifest.json"),
        EcephysProjectCache.from_s3(local_excerpt / "manifest.json"),
        EcephysProjectCache.fixed(manifest=local_excerpt / "manifest.json"),
        EcephysProjectCache(manifest=local_excerpt / "manifest.json"),
    ):
        assert len(cache.get_session_table()) == 58
        assert len(cache.get_units()) == 16129
        assert len(cache.get_unit_analysis_metrics(unit_filter=EVERY_UNIT)) == 36430
        with cache.get_session_data(SESSION) as session:
            assert len(session.units) == 365


def test_file_opens_without_any_table(local_excerpt, no_network, caplog):
    for table in local_excerpt.glob("*.csv"):
        table.unlink()
    (local_excerpt / f"session_{SESSION}" / f"session_{SESSION}_analysis_metrics.csv").unlink()
    cache = EcephysProjectCache.fixed(local_excerpt)
    with caplog.at_level(logging.WARNING), cache.get_session_data(SESSION) as session:
        assert len(session.units) == 365
        assert session.units["ecephys_structure_acronym"].notna().all()  # the file's own
    assert "tables are not at hand" in caplog.text


def test_failed_read_costs_nothing(local_excerpt, serve, excerpt):
    nwb = local_excerpt / f"session_{SESSION}" / f"session_{SESSION}.nwb"
    whole = nwb.read_bytes()
    nwb.write_bytes(whole[: len(whole) // 2])
    server = serve(excerpt)
    cache = EcephysProjectCache.from_url(server.url, local_excerpt)
    with pytest.raises(CorruptFileError, match="truncated"):
        _ = cache.get_session_data(SESSION).units
    assert nwb.stat().st_size == len(whole) // 2
    assert not server.requests


def test_session_is_pickled_with_its_cache(local_excerpt):
    cache = EcephysProjectCache.fixed(local_excerpt)
    with cache.get_session_data(SESSION) as session, pickle.loads(pickle.dumps(session)) as again:
        pd.testing.assert_frame_equal(again.units, session.units)
    assert len(pickle.dumps(cache)) < 20_000  # without its tables
    assert len(pickle.loads(pickle.dumps(cache)).get_units()) == 16129


# --- constructors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["manifest.json", "ecephys_project_manifest.json", ""])
def test_manifest_argument(project, tmp_path, name):
    cache = EcephysProjectCache.from_url(project, manifest=tmp_path / "new folder é" / name)
    assert cache.root == tmp_path / "new folder é"
    assert cache.manifest_path == tmp_path / "new folder é" / (name or "manifest.json")
    assert cache.manifest_path.is_file()
    assert cache.get_units().index.tolist() == [1, 6, 9]


def test_default_folder(project, monkeypatch, tmp_path):
    monkeypatch.setenv("ALLEN_ECEPHYS_CACHE_DIR", str(tmp_path / "chosen"))
    assert EcephysProjectCache.from_url(project).root == tmp_path / "chosen"


def test_symlinked_cache(project, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    assert EcephysProjectCache.from_url(project, tmp_path / "link").get_units().index.tolist() == [1, 6, 9]
    assert (tmp_path / "disk" / "units.csv").is_file()


def test_fixed_needs_a_cache(tmp_path):
    with pytest.raises(ManifestError, match="no cache"):
        EcephysProjectCache.fixed(tmp_path / "nothing" / "manifest.json")
    assert not (tmp_path / "nothing").exists()


def test_fixed_writes_and_fetches_nothing(project, no_network):
    before = sorted(project.rglob("*"))
    cache = EcephysProjectCache.fixed(project)
    assert cache.get_units().index.tolist() == [1, 6, 9]
    with pytest.raises(OfflineError, match="fixed"):
        cache.get_session_data(1)
    with pytest.raises(OfflineError):
        cache.get_natural_movie_template(1)
    assert sorted(project.rglob("*")) == before
    assert "nothing is fetched" in repr(cache)


def test_folder_that_cannot_be_written(project, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AccessError, match="ALLEN_ECEPHYS_CACHE_DIR"):
        EcephysProjectCache.from_url(project, tmp_path / "file" / "manifest.json")


def test_mirror_without_manifest_that_cannot_be_written(project, monkeypatch):
    def refuse(path, _content):
        raise AccessError(f"{path} cannot be written")

    monkeypatch.setattr("allen_ecephys.cache.manifest.write_atomically", refuse)
    assert EcephysProjectCache.from_s3(project).get_units().index.tolist() == [1, 6, 9]


def test_repr(project, tmp_path):
    cache = EcephysProjectCache.from_url(project, tmp_path / "cache")
    cache.get_all_sexes()
    lines = repr(cache).splitlines()
    assert lines[0] == f"EcephysProjectCache in {tmp_path / 'cache'}"
    assert lines[1] == f"  from {project}"
    assert lines[2] == "  present: tables sessions; 0 session files, 0 LFP files (0.0 GB)"


# --- arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"manifest": 5}, InvalidTypeError, "a path is needed"),
        ({"manifest": ["a"]}, InvalidTypeError, "a path is needed"),
        ({"manifest": "https://somewhere.org/cache"}, ManifestError, r"from_url\(url, manifest"),
        ({"manifest": __file__}, ManifestError, "neither a manifest"),
        ({"remote": 5}, InvalidTypeError, "a URL, a folder or a Remote"),
        ({"remote": ""}, InvalidTypeError, "a URL, a folder or a Remote"),
        ({"remote": "htp://somewhere.org/"}, UnknownNameError, "did you mean 'http'"),
        ({"remote": "nowhere"}, MissingFileError, "no folder .*nowhere to fetch from"),
        ({"mirrors": "https://somewhere.org/"}, InvalidTypeError, "mirrors are a list"),
        ({"mirrors": [5]}, InvalidTypeError, "a URL, a folder or a Remote"),
        ({"compat": "allen"}, UnknownNameError, "compat must be"),
    ],
)
def test_what_is_wrong_is_said_at_once(tmp_path, monkeypatch, arguments, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        EcephysProjectCache(**{"manifest": "cache", **arguments})
    assert not list(tmp_path.iterdir())  # nothing was made


def test_arguments_of_the_other_openings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for host, silence, error in (
        (5, 1, InvalidTypeError),
        ("a", -1, InvalidValueError),
        ("a", "30", InvalidValueError),
    ):
        with pytest.raises(error):
            EcephysProjectCache.from_warehouse(host=host, manifest="cache", longest_silence=silence)
    with pytest.raises(InvalidTypeError, match="storage_options must be a dict"):
        EcephysProjectCache.from_url("s3://bucket/folder", "cache", storage_options="key")
    with pytest.raises(MissingFileError, match=r"no asset listing nothing\.json"):
        EcephysProjectCache.from_dandi("cache", listing="nothing.json")
    assert not list(tmp_path.iterdir())


def test_an_unknown_structure_costs_no_download(project, serve, tmp_path):
    server = serve(project)
    cache = EcephysProjectCache.from_url(server.url, tmp_path / "cache")
    with pytest.raises(UnknownNameError, match="did you mean 'VISp'"):
        cache.get_session_data(1, structures="V1")
    assert not server.fetched(".nwb")
    for table in (cache.get_session_table, cache.get_probes, cache.get_channels, cache.get_units):
        with pytest.raises(InvalidTypeError, match="must be a UnitFilter"):
            table(unit_filter="VISp")


# --- fetching ----------------------------------------------------------------------------------------------------


def test_only_what_is_needed_is_fetched(project, serve, tmp_path):
    server = serve(project)
    cache = EcephysProjectCache.from_url(server.url, tmp_path / "cache")
    assert not server.requests
    cache.get_all_session_types()
    assert {path for _, path in server.requests} == {"/sessions.csv"}
    cache.get_structure_acronyms()
    assert {path for _, path in server.requests} == {"/sessions.csv", "/channels.csv"}


def test_offline_setting(project, serve, tmp_path, monkeypatch):
    server = serve(project)
    cache = EcephysProjectCache.from_url(server.url, tmp_path / "cache")
    cache.get_all_session_types()
    monkeypatch.setenv("ALLEN_ECEPHYS_OFFLINE", "1")
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("connected"))
    with pytest.raises(OfflineError, match=r"channels\.csv"):
        cache.get_structure_acronyms()
    assert cache.get_all_sexes() == ["M", "F"]


@pytest.mark.parametrize("session_id", [0, 4, np.int64(20), 10**30])
def test_unknown_session(project, serve, tmp_path, session_id):
    server = serve(project)
    cache = EcephysProjectCache.from_url(server.url, tmp_path / "cache")
    with pytest.raises(UnknownIdError, match="get_session_table"):
        cache.get_session_data(session_id)
    assert not server.fetched(".nwb")


@pytest.mark.parametrize("session_id", ["1", "../1", 1.5, None, True])
def test_what_is_no_id(project, session_id):
    with pytest.raises(UnknownIdError, match="whole numbers"):
        EcephysProjectCache.fixed(project).get_session_data(session_id)


def test_whole_floats_are_ids(project):
    cache = EcephysProjectCache.fixed(project)  # ids from a float column
    assert len(cache.get_unit_analysis_metrics_for_session(1.0, annotate=False)) == 2


def test_session_without_a_file(project, serve, tmp_path):
    cache = EcephysProjectCache.from_url(serve(project).url, tmp_path / "cache")
    with pytest.raises(RemoteNotFoundError, match="session_2"):
        cache.get_session_data(2)
    assert not list((tmp_path / "cache").rglob("*.nwb*"))


def test_what_is_served_is_no_nwb(project, tmp_path):
    (project / "session_1" / "session_1.nwb").write_text("<html>Please log in</html>")
    cache = EcephysProjectCache.from_url(project, tmp_path / "cache")
    with pytest.raises(FileFormatError):
        cache.get_session_data(1)
    assert not list((tmp_path / "cache").rglob("session_1.nwb"))


def test_lfp(project, tmp_path):
    cache = EcephysProjectCache.from_url(project, tmp_path / "cache")
    with pytest.raises(MissingDataError, match=r"probe 102 \(probeB\) of session 1 has no LFP"):
        cache.lfp_path(1, 102)
    with pytest.raises(UnknownIdError, match="probeA is 101"):
        cache.lfp_path(1, 103)  # of another session
    with pytest.raises(RemoteNotFoundError, match="probe_101_lfp"):
        cache.lfp_path(1, 101)


def test_lfp_of_the_replica(replica, tmp_path):
    remote = tmp_path / "remote"
    (remote / "session_715093703").mkdir(parents=True)
    for path in replica.glob("*.nwb"):
        (remote / "session_715093703" / path.name).symlink_to(path)
    cache = EcephysProjectCache.from_url(remote, tmp_path / "cache")
    with cache.get_session_data(715093703, unit_filter=EVERY_UNIT) as session:
        probe = int(session.probes.index[0])
        assert session.get_lfp(probe).sizes["channel"] > 0
    assert (tmp_path / "cache" / "session_715093703" / f"probe_{probe}_lfp.nwb").is_file()


def test_tables_with_faults_are_named(project, tmp_path):
    (project / "probes.csv").write_text((project / "probes.csv").read_text()[:-20])
    cache = EcephysProjectCache.from_url(project, tmp_path / "cache")
    with pytest.raises(CorruptFileError, match=r"probes\.csv ends in the middle"):
        cache.get_units()
    assert (tmp_path / "cache" / "probes.csv").is_file()


def test_threads_share_a_cache(project, tmp_path):
    cache = EcephysProjectCache(tmp_path / "cache", remote=FolderRemote(project))
    results: list[list[int]] = []
    threads = [threading.Thread(target=lambda: results.append(cache.get_units().index.tolist())) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[1, 6, 9]] * 6


# --- templates ---------------------------------------------------------------------------------------------------


def test_movie_that_is_called_h5_but_is_npy(project, tmp_path):
    movie = np.random.default_rng(0).integers(0, 255, (4, 6, 8), dtype=np.uint8)
    (project / "natural_movie_templates").mkdir()
    with (project / "natural_movie_templates" / "natural_movie_1.h5").open("wb") as file:
        np.save(file, movie)
    cache = EcephysProjectCache.from_url(project, tmp_path / "cache")
    assert np.array_equal(cache.get_natural_movie_template(1), movie)
    with pytest.raises(RemoteNotFoundError, match="natural_movie_2"):
        cache.get_natural_movie_template(2)


def test_movie_that_is_hdf5(project):
    h5py = pytest.importorskip("h5py")
    (project / "natural_movie_templates").mkdir()
    with h5py.File(project / "natural_movie_templates" / "natural_movie_3.h5", "w") as file:
        file["movie"] = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    assert EcephysProjectCache.fixed(project).get_natural_movie_template(3).shape == (2, 3, 4)


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x93NUMPY\x01\x00v\x00{'descr'", "pickled"])
def test_movie_that_is_none(project, content):
    path = project / "natural_movie_templates" / "natural_movie_1.h5"
    path.parent.mkdir()
    if content == "pickled":
        with path.open("wb") as file:
            np.save(file, np.array([{}], dtype=object))
    else:
        path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"natural_movie_1\.h5"):
        EcephysProjectCache.fixed(project).get_natural_movie_template(1)


def test_scene(project):
    image = pytest.importorskip("PIL.Image", reason="Pillow, of the extra 'templates', is not installed")
    scene = np.random.default_rng(0).integers(0, 255, (9, 11), dtype=np.uint8)
    folder = project / "natural_scene_templates"
    folder.mkdir()
    image.fromarray(scene).save(folder / "natural_scene_10.tiff")
    (folder / "natural_scene_11.tiff").write_bytes(b"no image")
    cache = EcephysProjectCache.fixed(project)
    assert np.array_equal(cache.get_natural_scene_template(10), scene)
    with pytest.raises(FileFormatError, match="natural_scene_11"):
        cache.get_natural_scene_template(11)


def test_released_table_with_rows_missing_is_told(local_excerpt, caplog, no_network):
    with caplog.at_level(logging.WARNING):
        EcephysProjectCache.from_s3(local_excerpt).get_units()
    assert "units.csv holds 36430 rows, the release has 135275" in caplog.text
    assert "sessions.csv" not in caplog.text
    caplog.clear()
    EcephysProjectCache.from_url(local_excerpt, local_excerpt).get_units()  # a project of one's own
    assert not caplog.records


def test_positions_and_names_of_allensdks_constructor(local_excerpt, no_network):
    """What has no effect is said, once; a manifest at the place of the scheme is no scheme."""
    manifest = local_excerpt / "manifest.json"
    given = {"asynchronous": False, "fetch_tries": 2, "version": "0.3.0", "timeout": 1200, "warehouse_kwargs": {}}
    for name, value in given.items():
        with pytest.warns(DeprecationWarning, match=f"^{name}: .* without effect") as warned:
            cache = EcephysProjectCache.from_warehouse(manifest=manifest, **{name: value})
        assert warned[0].filename == __file__
        assert len(cache.get_session_table()) == 58
    with pytest.warns(DeprecationWarning, match="asynchronous"):
        cache = EcephysProjectCache.from_warehouse("http", "api.brain-map.org", False, manifest)
    assert cache.manifest_path == manifest
    with pytest.raises(ValueError, match=r"write from_warehouse\(manifest="):
        EcephysProjectCache.from_warehouse(str(manifest))


def test_places_under_allensdks_keys(local_excerpt):
    cache = EcephysProjectCache.fixed(local_excerpt)
    nwb = cache.get_cache_path(None, cache.SESSION_NWB_KEY, SESSION, SESSION)
    assert nwb == local_excerpt / f"session_{SESSION}" / f"session_{SESSION}.nwb"
    assert cache.get_cache_path(None, cache.NATURAL_MOVIE_KEY, 1).name == "natural_movie_1.h5"
    assert cache.get_cache_path("elsewhere.nwb", cache.SESSION_NWB_KEY) == Path("elsewhere.nwb")


def test_one_switch_for_all_sessions_of_a_cache(local_excerpt):
    for cache, compat in (
        (EcephysProjectCache.fixed(local_excerpt, compat="allensdk"), None),
        (EcephysProjectCache.fixed(local_excerpt), "allensdk"),
    ):
        with cache.get_session_data(SESSION, compat=compat) as session:
            assert session.get_stimulus_table("gabors")["size"].tolist()[0] == "[20.0, 20.0]"
    with pytest.raises(UnknownNameError, match="compat must be"):
        EcephysProjectCache.fixed(local_excerpt, compat="AllenSDK")


def test_broken_published_metrics_are_said_and_left_out_on_request(local_excerpt):
    """Rates of 0 where spikes are, or 1.8 times too high: two probes of the release."""
    cache = EcephysProjectCache.fixed(local_excerpt)
    for annotate in (True, False):
        with pytest.warns(UserWarning, match="metrics of 333 of these units are wrong.*832810584.*846401834") as warned:
            everything = cache.get_unit_analysis_metrics(annotate, unit_filter=EVERY_UNIT)
        assert warned[0].filename == __file__
        assert (
            len(cache.get_unit_analysis_metrics(annotate, unit_filter=EVERY_UNIT, leave_out_broken=True))
            == len(everything) - 333
        )
    of_type = cache.get_unit_analysis_metrics_by_session_type
    with pytest.warns(UserWarning, match="of 333 of these units are wrong"):
        of_type("functional_connectivity", annotate=False)
    for kind in cache.get_all_session_types():
        assert not of_type(kind, leave_out_broken=True)["ecephys_probe_id"].isin([832810584, 846401834]).any()
    filtered = cache.get_unit_analysis_metrics(leave_out_broken=True, presence_ratio_minimum=0.95)
    assert (filtered["presence_ratio"] >= 0.95).all()
    assert filtered["isi_violations"].max() <= 0.5  # the other bounds are those of get_units
