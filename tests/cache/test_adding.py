"""A session of one's own, put into a project and served like a released one."""

from __future__ import annotations

import shutil
import subprocess
import sys

import h5py
import pandas as pd
import pytest

from allen_ecephys.cache import EcephysProjectCache
from allen_ecephys.errors import (
    AccessError,
    AlreadyPresentError,
    CorruptFileError,
    FileFormatError,
    MissingFileError,
    UnknownIdError,
    UnsafePathError,
)
from allen_ecephys.session.session import EcephysSession
from allen_ecephys.units.filter import UnitFilter

SESSION = 715093703
PROBE = 810755797
EVERY_UNIT = UnitFilter.none()


@pytest.fixture
def nwb(replica, tmp_path):
    return shutil.copyfile(replica / f"session_{SESSION}.nwb", tmp_path / "ours.nwb")


@pytest.fixture
def own(tmp_path):
    (tmp_path / "own").mkdir()
    return EcephysProjectCache(tmp_path / "own", remote=None)


def metrics_of(nwb):
    with EcephysSession(nwb, unit_filter=EVERY_UNIT) as session:
        ids = session.units.index
    return pd.DataFrame({"p_run_mod_dg": 0.1, "fano_factor_ns": 0.1 + 0.2}, index=ids)


def renumbered(nwb, path, *, session=None, probes=0, channels=0, units=0):
    """Copy a session, adding to its ids."""
    shutil.copyfile(nwb, path)
    with h5py.File(path, "r+") as file:
        if session is not None:
            del file["identifier"]
            file["identifier"] = str(session)
        electrodes = file["general/extracellular_ephys/electrodes"]
        electrodes["id"][...] += channels
        electrodes["probe_id"][...] += probes
        for group in file["general/extracellular_ephys"].values():
            if "probe_id" in group.attrs:
                group.attrs["probe_id"] += probes
        file["units/id"][...] += units
        file["units/peak_channel_id"][...] += channels
    return path


def another(nwb, path, session=900):
    return renumbered(nwb, path, session=session, probes=10**7, channels=10**7, units=10**7)


def snapshot(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_served_like_a_released_session(own, nwb, replica, serve, tmp_path):
    metrics = metrics_of(nwb)
    lfp = {PROBE: replica / f"probe_{PROBE}_lfp.nwb"}
    assert own.add_session(nwb, metrics=metrics, lfp=lfp) == SESSION
    assert nwb.exists()
    cache = EcephysProjectCache.from_url(serve(own.root).url, tmp_path / "reader")
    table = cache.get_session_table(suppress=[])
    assert table.index.tolist() == [SESSION]
    row = table.loc[SESSION]
    assert row["session_type"] == "brain_observatory_1.1"
    assert row["date_of_acquisition"] == "2019-01-19T08:54:18Z"
    assert row["full_genotype"].startswith("Sst-IRES-Cre/wt")
    assert row["has_nwb"]
    with EcephysSession(nwb, unit_filter=EVERY_UNIT) as direct:
        units = cache.get_units(unit_filter=EVERY_UNIT)
        assert units.index.tolist() == direct.units.index.tolist()
        for name in ("snr", "waveform_PT_ratio", "waveform_duration", "L_ratio", "quality", "presence_ratio"):
            pd.testing.assert_series_equal(units[name], direct.units[name], check_names=False, check_exact=True)
        assert units["ecephys_channel_id"].tolist() == direct.units["peak_channel_id"].tolist()
        assert units["peak_channel"].tolist() == direct.units["probe_channel_number"].tolist()
        valid = direct.channels[direct.channels["valid_data"]]
        channels = cache.get_channels()
        assert channels.index.tolist() == valid.index.tolist()
        assert channels["dorsal_ventral_ccf_coordinate"].tolist() == valid["dorsal_ventral_ccf_coordinate"].tolist()
        probes = cache.get_probes()
        assert probes["name"].tolist() == direct.probes["description"].tolist()
        assert probes["lfp_sampling_rate"].tolist() == direct.probes["lfp_sampling_rate"].tolist()
        with cache.get_session_data(SESSION, unit_filter=EVERY_UNIT) as session:
            assert session.unit_analysis_metrics["p_run_mod_dg"].tolist() == [0.1] * len(units)
            assert session.get_lfp(PROBE).equals(own.get_session_data(SESSION).get_lfp(PROBE))
    published = cache.get_unit_analysis_metrics(unit_filter=EVERY_UNIT)
    assert published["fano_factor_ns"].tolist() == [0.1 + 0.2] * len(units)
    assert (
        (own.root / "brain_observatory_1.1_analysis_metrics.csv").read_text().startswith("ecephys_unit_id,run_pval_dg")
    )


def test_existing_rows_keep_every_digit(project, nwb):
    own = EcephysProjectCache(project, remote=None)
    before = {p.name: p.read_text() for p in project.glob("*.csv")}
    own.get_units()
    own.add_session(nwb, metrics=metrics_of(nwb))
    assert own.get_session_table().index.tolist() == [1, 2, 3, SESSION]  # tables are read again
    for name in ("sessions.csv", "probes.csv", "channels.csv", "units.csv"):
        lines = (project / name).read_text().splitlines()
        old = before[name].splitlines()
        extra = lines[0].count(",") - old[0].count(",")
        kept = [line + "," * extra for line in old[1:] if not line.startswith(("1009,", "8,"))]
        assert lines[1 : len(kept) + 1] == kept, name
    metrics = (project / "brain_observatory_1.1_analysis_metrics.csv").read_text().splitlines()
    assert metrics[1] == "1,1.0,2.0,0.5,True,0.01,True"
    assert (project / "manifest.json").is_file()


def test_two_sessions_and_a_replacement(own, nwb, tmp_path):
    own.add_session(nwb, metrics=metrics_of(nwb))
    other = another(nwb, tmp_path / "other.nwb")
    own.add_session(other, metrics=metrics_of(other), move=True)
    assert not other.exists()
    assert own.get_session_table().index.tolist() == [SESSION, 900]
    assert len(own.get_unit_analysis_metrics(unit_filter=EVERY_UNIT)) == 16
    with pytest.raises(AlreadyPresentError, match="replace=True"):
        own.add_session(nwb)
    own.add_session(nwb, replace=True)
    assert sorted(own.get_session_table().index) == [900, SESSION]
    assert len(own.get_units(unit_filter=EVERY_UNIT)) == 16
    assert len(own.get_unit_analysis_metrics(unit_filter=EVERY_UNIT)) == 8  # the replacement brought none


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"probes": 1, "channels": 10**7, "units": 10**7}, None),
        ({"channels": 10**7, "units": 10**7}, "probe 810755797"),
        ({"probes": 10**7, "units": 10**7}, "channel 850000000"),
        ({"probes": 10**7, "channels": 10**7}, "unit 950000000"),
    ],
)
def test_ids_of_another_session(own, nwb, tmp_path, arguments, message):
    own.add_session(nwb)
    other = renumbered(nwb, tmp_path / "other.nwb", session=900, **arguments)
    before = snapshot(own.root)
    if message is None:
        own.add_session(other)
        return
    with pytest.raises(UnknownIdError, match=message):
        own.add_session(other)
    assert snapshot(own.root) == before


@pytest.mark.parametrize("linked", ["nwb", "lfp"])
@pytest.mark.parametrize("move", [False, True])
def test_a_link_to_the_file_in_the_cache_costs_nothing(own, nwb, replica, tmp_path, move, linked):
    lfp = shutil.copyfile(replica / f"probe_{PROBE}_lfp.nwb", tmp_path / "lfp.nwb")
    own.add_session(nwb, lfp={PROBE: lfp})
    placed = own.session_path(SESSION)
    before = placed.read_bytes()
    link = tmp_path / "link.nwb"
    link.symlink_to(placed)
    again = {"nwb": link, "lfp": {PROBE: lfp}}
    if linked == "lfp":
        link.unlink()
        link.symlink_to(own.lfp_path(SESSION, PROBE))
        again = {"nwb": nwb, "lfp": {PROBE: link}}
    own.add_session(**again, move=move, replace=True)
    assert placed.read_bytes() == before
    assert not placed.is_symlink()
    assert len(own.get_session_data(SESSION, unit_filter=EVERY_UNIT).units)
    assert own.get_session_data(SESSION).get_lfp(PROBE).size


@pytest.mark.parametrize("move", [False, True])
def test_what_a_link_points_to_is_added(own, nwb, tmp_path, move):
    own.add_session(nwb)
    (tmp_path / "data").mkdir()
    other = another(nwb, tmp_path / "data" / "other.nwb", session=SESSION)
    link = tmp_path / "link.nwb"
    link.symlink_to("data/other.nwb")  # relative: it would dangle elsewhere
    content = other.read_bytes()
    own.add_session(link, move=move, replace=True)
    assert own.session_path(SESSION).read_bytes() == content
    assert not own.session_path(SESSION).is_symlink()
    assert (link.is_symlink(), other.exists()) == (not move, not move)


def test_a_new_file_that_is_none_leaves_the_old_one(own, nwb, tmp_path):
    own.add_session(nwb, metrics=metrics_of(nwb))
    before = snapshot(own.root)
    broken = tmp_path / "broken.nwb"
    broken.write_bytes(nwb.read_bytes()[:-5000])
    dangling = tmp_path / "dangling.nwb"
    dangling.symlink_to("nowhere.nwb")
    for bad in (broken, dangling, tmp_path / "missing.nwb"):
        with pytest.raises((CorruptFileError, MissingFileError)):
            own.add_session(bad, move=True, replace=True)
    assert snapshot(own.root) == before


def test_processes_that_add_at_once(own, nwb, tmp_path):
    files = [
        renumbered(nwb, tmp_path / f"{k}.nwb", session=900 + k, probes=k * 10**7, channels=k * 10**7, units=k * 10**7)
        for k in range(4)
    ]
    code = (
        "import sys; from allen_ecephys.cache import EcephysProjectCache; "
        "EcephysProjectCache(sys.argv[1], remote=None).add_session(sys.argv[2])"
    )
    workers = [subprocess.Popen([sys.executable, "-c", code, str(own.root), str(path)]) for path in files]
    assert [worker.wait(120) for worker in workers] == [0] * 4
    assert sorted(own.get_session_table().index) == [900, 901, 902, 903]
    assert own.get_session_table(unit_filter=EVERY_UNIT)["unit_count"].tolist() == [8] * 4


def test_what_cannot_be_added(own, nwb, tmp_path, replica):
    before = snapshot(own.root)
    with pytest.raises(UnknownIdError, match="no probe 5"):
        own.add_session(nwb, lfp={5: nwb})
    with pytest.raises(UnknownIdError, match="the metrics hold unit 3"):
        own.add_session(nwb, metrics=pd.DataFrame({"fano_dg": [1.0]}, index=[3]))
    (tmp_path / "lfp.nwb").write_bytes((replica / f"probe_{PROBE}_lfp.nwb").read_bytes()[:5000])
    with pytest.raises(CorruptFileError):
        own.add_session(nwb, lfp={PROBE: tmp_path / "lfp.nwb"})
    named = renumbered(nwb, tmp_path / "named.nwb", session="mouse 7")
    with pytest.raises(FileFormatError, match="whole number"):
        own.add_session(named)
    early = tmp_path / "early.nwb"
    shutil.copy(nwb, early)
    with h5py.File(early, "r+") as file:
        del file["session_start_time"]
        file["session_start_time"] = "0001-01-01T00:00:00+08:00"
    with pytest.raises(FileFormatError, match="before the year 1 in UTC"):
        own.add_session(early)
    with h5py.File(nwb, "r+") as file:
        del file["general/stimulus"]
        file["general/stimulus"] = "../../somewhere"
    with pytest.raises(UnsafePathError):
        own.add_session(nwb)
    assert snapshot(own.root) == before


def test_only_into_a_project_of_ones_own(project, nwb, tmp_path):
    cache = EcephysProjectCache.from_url(project, tmp_path / "mirror")
    with pytest.raises(AccessError, match="remote=None"):
        cache.add_session(nwb)
