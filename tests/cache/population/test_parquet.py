"""Tables as Parquet: one schema whatever a session holds, equal to the session's own, read by other tools."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from allen_ecephys import UnitFilter
from allen_ecephys.cache import EcephysProjectCache
from allen_ecephys.cache.population.parquet import SCHEMAS, presentation_rows
from allen_ecephys.cli import main
from allen_ecephys.errors import AlreadyPresentError, MissingExtraError

SESSION = 900000001


def test_presentations_have_the_columns_of_the_schema_whatever_was_shown(population_project: Path) -> None:
    cache = EcephysProjectCache.fixed(population_project)
    for session_id in cache.get_session_table().index:
        with cache.get_session_data(session_id) as session:
            shown = session.stimulus_presentations
            rows = presentation_rows(session_id, session._file.presentation_table)
        assert list(rows) == list(SCHEMAS["presentations"])
        np.testing.assert_array_equal(rows["start_time"], shown["start_time"])
        of_gratings = rows["stimulus_name"].isin(["drifting_gratings", "drifting_gratings_75_repeats"]).to_numpy()
        assert of_gratings.any()
        for name in ("orientation", "temporal_frequency"):
            np.testing.assert_array_equal(rows[name][of_gratings], shown[name].to_numpy(np.float64)[of_gratings])
        told = rows["other_parameters"][of_gratings].dropna().map(json.loads)
        assert all(isinstance(held, dict) for held in told)
        sizes = [v for v in shown.get("size", []) if isinstance(v, tuple) and v[0] != v[1]]
        assert rows["size_pair"].notna().sum() == len(sizes)


def test_without_pyarrow_the_extra_is_named(population_project: Path, tmp_path: Path) -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtraError, match=r"allen-ecephys\[tables\]"):
            EcephysProjectCache.fixed(population_project).export_tables(tmp_path / "tables")
        assert not (tmp_path / "tables").exists()
    else:
        pytest.skip("pyarrow is installed")


@pytest.fixture(scope="module")
def tables(population_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("pyarrow", reason="needs pyarrow (extra tables)")
    folder = tmp_path_factory.mktemp("parquet") / "tables"
    EcephysProjectCache.fixed(population_project).export_tables(folder)
    return folder


def test_tables_come_back_as_they_are_in_the_cache(tables: Path, population_project: Path) -> None:
    cache = EcephysProjectCache.fixed(population_project)
    units = pd.read_parquet(tables / "units.parquet").set_index("unit_id")
    expected = cache.get_units(unit_filter=UnitFilter.none())
    assert units.index.tolist() == expected.index.tolist()
    np.testing.assert_array_equal(units["snr"], expected["snr"])
    session = cache.get_session_data(SESSION)
    running = pd.read_parquet(tables / "running_speed" / f"session_{SESSION}.parquet")
    np.testing.assert_array_equal(running["velocity"], session.running_speed["velocity"])
    shown = pd.read_parquet(tables / "presentations" / f"session_{SESSION}.parquet")
    np.testing.assert_array_equal(shown["start_time"], session.stimulus_presentations["start_time"])
    told = json.loads((tables / "schema.json").read_text())["tables"]
    assert set(told) == {"sessions", "units", "unit_metrics", "presentations", "running_speed", "invalid_times"} - (
        {"unit_metrics"} if not (tables / "unit_metrics.parquet").exists() else set()
    )


def test_duckdb_reads_all_sessions_as_one_table(tables: Path, population_project: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    cache = EcephysProjectCache.fixed(population_project)
    found = duckdb.sql(
        f"SELECT ecephys_session_id, count(*) FROM '{tables}/presentations/*.parquet' "
        "WHERE stimulus_name = 'flashes' AND color = 1 GROUP BY 1 ORDER BY 1"
    ).fetchall()
    for session_id, count in found:
        flashes = cache.get_session_data(session_id).get_stimulus_table("flashes")
        assert count == (flashes["color"] == 1).sum()
    assert len(found) == 3
    joined = duckdb.sql(
        f"SELECT count(*) FROM '{tables}/units.parquet' u JOIN '{tables}/sessions.parquet' s USING (ecephys_session_id)"
    ).fetchall()
    assert joined == [(len(cache.get_units(unit_filter=UnitFilter.none())),)]
    missing = duckdb.sql(f"SELECT count(*) FROM '{tables}/presentations/*.parquet' WHERE isnan(orientation)").fetchall()
    assert missing == [(0,)]  # what is missing is NULL


def test_polars_reads_them_lazily(tables: Path) -> None:
    polars = pytest.importorskip("polars")
    found = (
        polars.scan_parquet(tables / "running_speed" / "*.parquet")
        .group_by("ecephys_session_id")
        .agg(polars.col("velocity").mean())
        .collect()
    )
    assert len(found) == 3


def test_a_missing_session_is_left_out_and_told_of(own_project: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="needs pyarrow (extra tables)")
    (own_project / "session_900000002" / "session_900000002.nwb").unlink()
    told = CliRunner().invoke(
        main,
        ["cache", "export", "--tables", str(tmp_path / "out"), "--cache-dir", str(own_project), "--source", "none"],
    )
    assert told.exit_code == 0, told.output
    assert "left out: session 900000002 is not in this cache" in told.output
    assert not (tmp_path / "out" / "presentations" / "session_900000002.parquet").exists()
    assert (tmp_path / "out" / "presentations" / "session_900000001.parquet").exists()
    with pytest.raises(AlreadyPresentError):
        EcephysProjectCache.fixed(own_project).export_tables(tmp_path / "out")
