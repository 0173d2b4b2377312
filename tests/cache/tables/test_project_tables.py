"""Joins, filters, names and counts on a project small enough to know every answer."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from allen_ecephys.cache import EcephysProjectCache
from allen_ecephys.errors import FileFormatError, UnknownArgumentError, UnknownIdError, UnknownNameError
from allen_ecephys.units.filter import UnitFilter


@pytest.fixture
def cache(project) -> EcephysProjectCache:
    return EcephysProjectCache.fixed(project)


def test_sessions(cache):
    table = cache.get_session_table()
    assert table.index.name == "id"
    assert list(table.columns) == [
        "published_at", "specimen_id", "session_type", "age_in_days", "sex", "full_genotype", "unit_count",
        "channel_count", "probe_count", "ecephys_structure_acronyms",
    ]  # fmt: skip
    assert table["unit_count"].tolist() == [2, 1, 0]  # units 1, 6 and 9 pass
    assert table["channel_count"].tolist() == [3, 1, 0]
    assert table["probe_count"].tolist() == [2, 1, 0]
    acronyms = [list(a) for a in table["ecephys_structure_acronyms"]]
    assert acronyms == [["VISp", "VISl"], ["VISp"], []]
    assert table.loc[2, "full_genotype"] == "Sst/wt"


def test_counts_follow_the_filter(cache):
    everything = UnitFilter.none()
    assert cache.get_session_table(unit_filter=everything)["unit_count"].tolist() == [6, 2, 0]
    assert cache.get_probes(unit_filter=everything)["unit_count"].tolist() == [5, 1, 2]
    assert cache.get_channels(unit_filter=everything)["unit_count"].tolist() == [3, 2, 1, 2]
    assert cache.get_channels()["unit_count"].tolist() == [1, 0, 1, 1]


def test_probes(cache):
    table = cache.get_probes()
    assert list(table.columns) == [
        "ecephys_session_id", "lfp_sampling_rate", "name", "phase", "sampling_rate", "has_lfp_data", "unit_count",
        "channel_count", "ecephys_structure_acronyms",
    ]  # fmt: skip
    assert table["lfp_sampling_rate"].tolist()[0] == 1250.0
    assert np.isnan(table.loc[102, "lfp_sampling_rate"])  # no subsampling factor
    assert table["has_lfp_data"].tolist() == [True, False, True]


def test_channels(cache):
    table = cache.get_channels()
    assert table.index.tolist() == [1001, 1002, 1003, 1004]  # 1009 is on no known probe
    assert table.loc[1004, "anterior_posterior_ccf_coordinate":"left_right_ccf_coordinate"].isna().all()
    assert table.loc[1001, "left_right_ccf_coordinate"] == 7000.0
    assert pd.isna(table.loc[1003, "ecephys_structure_acronym"])
    assert table["probe_phase"].tolist() == ["3a", "3a", "3a", "PXI"]
    assert "probe_name" not in table
    assert cache.get_channels(suppress=[])["probe_name"].tolist() == ["probeA", "probeA", "probeB", "probeA"]


def test_default_filter_keeps_units_on_its_bounds(cache):
    units = cache.get_units()
    assert units.index.tolist() == [1, 6, 9]  # 6 has no structure: the release counts such units
    assert "quality" not in units
    assert units.loc[1, "waveform_duration"] == 0.2
    assert units.loc[9, "session_type"] == "functional_connectivity"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"filter_by_validity": False}, [1, 5, 6, 9]),
        ({"amplitude_cutoff_maximum": 0.11}, [1, 2, 6, 9]),
        ({"amplitude_cutoff_maximum": None}, [1, 2, 6, 7, 9]),
        ({"amplitude_cutoff_maximum": np.inf}, [1, 2, 6, 9]),  # a bound that is on: NaN fails
        ({"isi_violations_maximum": 0}, [6, 9]),  # zero is a bound like any other
        ({"isi_violations_maximum": 0.6}, [1, 3, 6, 9]),
        ({"presence_ratio_minimum": 0.9}, [1, 4, 6, 9]),
        ({"filter_out_of_brain_units": True}, [1, 9]),
        ({"unit_filter": UnitFilter.none()}, [1, 2, 3, 4, 5, 6, 7, 9]),  # 8 is on no known channel
    ],
)
def test_each_bound(cache, arguments, expected):
    assert cache.get_units(**arguments).index.tolist() == expected


def test_quality_is_shown_where_it_varies(cache):
    assert cache.get_units(filter_by_validity=False)["quality"].tolist() == ["good", "noise", "good", "good"]


def test_unknown_arguments(cache):
    with pytest.raises(TypeError, match="amplitude_cutof_maximum"):
        cache.get_units(amplitude_cutof_maximum=0.2)
    with pytest.raises(UnknownArgumentError, match="amplitude_cutoff_maximum"):
        cache.get_units(amplitude_cutof_maximum=0.2)
    with pytest.raises(UnknownArgumentError, match="one filter under two names"):
        cache.get_units(valid_only=False)
    with pytest.raises(UnknownNameError, match="not both"):
        cache.get_units(unit_filter=UnitFilter.none(), presence_ratio_minimum=0.5)
    with pytest.raises(TypeError, match=r"suppress=\['sex'\]"):
        cache.get_units(suppress="sex")


def test_one_name_and_the_old_ones(cache):
    units = cache.get_units()
    for old, new in {
        "name": "probe_name", "phase": "probe_phase", "sampling_rate": "probe_sampling_rate",
        "lfp_sampling_rate": "probe_lfp_sampling_rate", "local_index": "peak_channel", "genotype": "full_genotype",
    }.items():  # fmt: skip
        assert units[old].equals(units[new].rename(old)), old
    assert units.columns.is_unique
    for name in ("genotype", "full_genotype"):
        hidden = cache.get_units(suppress=[name])
        assert not {"genotype", "full_genotype"} & set(hidden.columns)


def test_suppress(cache):
    assert "has_nwb" in cache.get_session_table(suppress=[])
    assert "epoch_name_quality_metrics" in cache.get_units(suppress=[])
    assert "epoch_name_quality_metrics" not in cache.get_units()
    hidden = cache.get_units(suppress=["ecephys_channel_id", "ecephys_probe_id", "L_ratio", "no such column"])
    assert not {"ecephys_channel_id", "ecephys_probe_id", "L_ratio", "l_ratio"} & set(hidden.columns)
    assert hidden.index.tolist() == [1, 6, 9]


def test_only_the_tables_that_are_needed(project):
    for name in ("units", "channels", "probes"):
        (project / f"{name}.csv").unlink()
    cache = EcephysProjectCache.fixed(project)
    assert cache.get_all_session_types() == ["brain_observatory_1.1", "functional_connectivity"]
    counts = ["unit_count", "channel_count", "probe_count", "ecephys_structure_acronyms"]
    assert len(cache.get_session_table(suppress=counts)) == 3


def test_each_table_is_parsed_once(cache, monkeypatch):
    from allen_ecephys.cache.tables import project_tables as tables

    read = []
    original = tables.read_table
    monkeypatch.setattr(tables, "read_table", lambda path, schema: read.append(path.name) or original(path, schema))
    for _ in range(2):
        cache.get_session_table()
        cache.get_probes()
        cache.get_channels()
        cache.get_units()
    assert sorted(read) == ["channels.csv", "probes.csv", "sessions.csv", "units.csv"]


@pytest.mark.parametrize("table", ["get_session_table", "get_probes", "get_channels", "get_units"])
def test_frames_are_the_callers(cache, table):
    frame = getattr(cache, table)()
    before = getattr(cache, table)()
    frame.iloc[:, 0] = frame.iloc[::-1, 0].to_numpy()
    frame["new"] = 1
    if "ecephys_structure_acronyms" in before:
        frame["ecephys_structure_acronyms"].iloc[0][:] = "changed"
    pd.testing.assert_frame_equal(getattr(cache, table)(), before)


def test_enumerations(cache):
    assert cache.get_all_full_genotypes() == ["wt/wt", "Sst/wt"]
    assert cache.get_all_ages() == [118.0, 100.5]
    assert cache.get_all_sexes() == ["M", "F"]
    assert cache.get_structure_acronyms() == ["VISp", "VISl"]


def test_metrics(cache):
    metrics = cache.get_unit_analysis_metrics(annotate=False)
    assert metrics.index.name == "ecephys_unit_id"
    assert metrics.index.tolist() == [1, 2, 9]
    assert metrics["p_run_mod_dg"].tolist()[:2] == [0.5, 0.25]
    assert metrics["p_run_mod_dm"].tolist()[2] == 0.125
    assert metrics["fano_factor_ns"].tolist()[:2] == [2.0, 2.5]
    assert metrics["fano_dg"].tolist() == [1.0, 1.5, 3.0]  # the same name in the documentation
    assert metrics["p_value_rf"].tolist() == [0.01, 0.02, 0.03]  # the second table has it exchanged
    assert metrics["on_screen_rf"].tolist() == [True, False, True]
    assert metrics["pref_ori_multi_sg"].tolist() == [True, False, pd.NA]


def test_names_of_the_release(cache):
    columns = set(cache.get_unit_analysis_metrics(annotate=False, names="release").columns)
    assert {"run_pval_dg", "run_pval_dm", "fano_ns", "fano_dg"} <= columns
    with pytest.raises(UnknownNameError, match="did you mean 'release'"):
        cache.get_unit_analysis_metrics(names="releases")


def test_annotated_metrics(cache):
    assert cache.get_unit_analysis_metrics().index.tolist() == [1, 9]  # the default filter, as everywhere
    table = cache.get_unit_analysis_metrics(unit_filter=UnitFilter.none())
    assert table.index.tolist() == [1, 2, 9]
    assert list(table.columns[:2]) == ["waveform_PT_ratio", "waveform_amplitude"]
    assert table.columns.is_unique
    assert cache.get_unit_analysis_metrics(unit_filter=UnitFilter()).index.tolist() == [1, 9]
    by_type = cache.get_unit_analysis_metrics_by_session_type("brain_observatory_1.1")
    assert by_type.index.tolist() == [1]
    by_type = cache.get_unit_analysis_metrics_by_session_type("brain_observatory_1.1", amplitude_cutoff_maximum=0.2)
    assert by_type.index.tolist() == [1, 2]
    assert cache.get_unit_analysis_metrics_for_session(1, annotate=False).index.tolist() == [1, 2]
    assert cache.get_unit_analysis_metrics_for_session(1).index.tolist() == [1]


def test_unknown_type_and_session(cache):
    with pytest.raises(UnknownNameError, match="did you mean 'functional_connectivity'"):
        cache.get_unit_analysis_metrics_by_session_type("functional_conectivity")
    with pytest.raises(UnknownNameError, match="brain_observatory"):
        cache.get_unit_analysis_metrics_by_session_type("../../etc/passwd")
    with pytest.raises(UnknownIdError, match="no session 7"):
        cache.get_unit_analysis_metrics_for_session(7)


def test_missing_metric_column_names_the_bound(cache, project):
    units = project / "units.csv"
    units.write_text(units.read_text().replace("presence_ratio", "presence"))
    with pytest.raises(FileFormatError, match="presence_ratio_minimum"):
        cache.get_units()
    assert len(cache.get_units(presence_ratio_minimum=None)) == 4  # unit 4 too
