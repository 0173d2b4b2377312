"""Metric tables of whole sessions: odd input, other session types, many sessions at once, metrics of one's own."""

from __future__ import annotations

from pathlib import Path

import h5py
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from allen_ecephys.errors import InvalidTypeError, MissingDataError, UnknownIdError, UnknownNameError
from allen_ecephys.processing.simulation import write_session
from allen_ecephys.processing.stimulus_metrics import (
    SessionResponses,
    compute_for_sessions,
    compute_unit_analysis_metrics,
    metric,
    metric_columns,
    plot_tuning_curve,
    receptive_field,
    registered_metrics,
    remove_metric,
    tuning_curves,
)
from allen_ecephys.session.session import EcephysSession
from allen_ecephys.units.filter import UnitFilter

DEFINITIONS = ["release", "corrected"]


def presentations(
    name: str, conditions: list[dict[str, float]], repeats: int, on: float, period: float
) -> pd.DataFrame:
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(len(conditions)), repeats))
    start = 10 + period * np.arange(len(order))
    times = pd.DataFrame({"stimulus_name": name, "start_time": start, "stop_time": start + on, "stimulus_block": 0.0})
    return pd.concat([times, pd.DataFrame(conditions).iloc[order].reset_index(drop=True)], axis=1)


def gratings(repeats: int = 15) -> pd.DataFrame:
    conditions = [{"orientation": o, "temporal_frequency": f} for o in np.arange(0, 360, 45.0) for f in (1.0, 2.0, 4.0)]
    return presentations("drifting_gratings", conditions, repeats, 2.0, 3.0)


def poisson(rate: float, end: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.sort(rng.uniform(0, end, rng.poisson(rate * end)))


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Give one short simulated session of each type."""
    folder = tmp_path_factory.mktemp("sessions")
    paths = {}
    for kind, seed in (("brain_observatory_1.1", 1), ("functional_connectivity", 2)):
        paths[kind] = folder / f"{kind}.nwb"
        write_session(paths[kind], kind, scale=0.02, seed=seed, n_units=40, eye_tracking=False)
    return paths


@pytest.mark.parametrize("definition", DEFINITIONS)
@pytest.mark.parametrize("kind", ["brain_observatory_1.1", "functional_connectivity"])
def test_every_session_type_gives_every_column(sessions: dict[str, Path], kind: str, definition: str) -> None:
    with EcephysSession(sessions[kind], unit_filter=UnitFilter.none()) as session:
        table = compute_unit_analysis_metrics(session, definition, n_shuffles=50)
        released = compute_unit_analysis_metrics(session, definition, n_shuffles=50, names="release")
        assert list(table.index) == list(session.units.index)
    assert list(table) == metric_columns()
    # the contrast stimulus is rare, and the few trials of a condition in so short a session tell nothing about running
    may_miss = {"c50_dg", *(column for column in table if "run_mod" in column)}
    absent = ("sg", "ns", "nm3") if kind == "functional_connectivity" else ("dm",)
    for column in table:
        missing = table[column].isna().all()
        if column.endswith(tuple(f"_{suffix}" for suffix in absent)):
            assert missing, column
        elif column not in may_miss and not (kind == "functional_connectivity" and column.startswith("g_")):
            assert not missing, column
    assert len(released.columns) == (57 if kind == "brain_observatory_1.1" else 45)
    assert {"fano_fl", "run_pval_dg"} <= set(released)
    if kind == "functional_connectivity":
        assert table["g_osi_dg"].isna().all() == (definition == "release")
        assert table["g_dsi_dg"].isna().all()  # four directions in a half circle
        assert table["c50_dg"].notna().any()


def test_equal_seeds_give_equal_tables(sessions: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    with EcephysSession(sessions["functional_connectivity"], unit_filter=UnitFilter.none()) as session:
        tables = []
        for threads in ("1", "2"):
            monkeypatch.setenv("ALLEN_ECEPHYS_THREADS", threads)
            tables.append(compute_unit_analysis_metrics(session, seed=3, n_shuffles=100))
        pd.testing.assert_frame_equal(*tables, check_exact=True)
        other = compute_unit_analysis_metrics(session, seed=4, n_shuffles=100)
    assert not other["p_value_rf"].equals(tables[0]["p_value_rf"])
    pd.testing.assert_frame_equal(other.drop(columns="p_value_rf"), tables[0].drop(columns="p_value_rf"))


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_units_without_spikes(definition: str) -> None:
    session = SessionResponses(gratings(), {1: np.empty(0), 2: np.array([0.5])})
    table = compute_unit_analysis_metrics(session, definition)
    for unit in (1, 2):
        assert table.loc[unit, "firing_rate_dg"] == 0
        assert table.loc[unit, ["fano_dg", "g_osi_dg", "f1_f0_dg", "lifetime_sparseness_dg", "run_mod_dg"]].isna().all()
        if definition == "release":
            assert tuple(table.loc[unit, ["pref_ori_dg", "pref_tf_dg", "mod_idx_dg"]]) == (0, 1, 0)
            assert table.loc[unit, "pref_ori_multi_dg"]
        else:
            assert table.loc[unit, ["pref_ori_dg", "pref_tf_dg", "mod_idx_dg"]].isna().all()
            assert not table.loc[unit, "pref_ori_multi_dg"]


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_a_single_trial_of_each_condition(definition: str) -> None:
    session = SessionResponses(gratings(1), {1: poisson(10, 100)})
    table = compute_unit_analysis_metrics(session, definition)
    assert np.isfinite(table.loc[1, ["pref_ori_dg", "g_osi_dg", "lifetime_sparseness_dg"]].astype(float)).all()
    assert table.loc[1, ["run_mod_dg", "p_run_mod_dg"]].isna().all()
    assert table.loc[1, "fano_dg"] == 0 if definition == "release" else np.isnan(table.loc[1, "fano_dg"])


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_a_missing_condition(definition: str) -> None:
    shown = gratings()
    for frequency in (1.0, 2.0, 4.0):
        part = shown[~((shown["temporal_frequency"] == frequency) & (shown["orientation"] == 90.0))]
        driven = part[part["temporal_frequency"] == frequency]["start_time"].to_numpy()
        spikes = np.sort((driven[:, None] + np.arange(0.1, 1.0, 0.1)).ravel())
        table = compute_unit_analysis_metrics(SessionResponses(part, {1: spikes}), definition)
        assert table.loc[1, "pref_tf_dg"] == frequency
        assert table.loc[1, ["g_osi_dg", "g_dsi_dg"]].isna().all()  # not a full circle at the preferred frequency
        assert table.loc[1, "pref_ori_dg"] != 90


def test_no_stimulus_at_all() -> None:
    nothing = pd.DataFrame({"stimulus_name": ["spontaneous"], "start_time": [0.0], "stop_time": [100.0]})
    table = compute_unit_analysis_metrics(SessionResponses(nothing, {1: poisson(5, 100)}))
    assert list(table) == metric_columns()
    assert table.isna().all(axis=None)
    assert not len(compute_unit_analysis_metrics(SessionResponses(gratings(), {})))


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_only_blank_presentations(definition: str) -> None:
    shown = gratings()
    shown[["orientation", "temporal_frequency"]] = np.nan
    table = compute_unit_analysis_metrics(SessionResponses(shown, {1: poisson(5, 1100)}), definition)
    assert np.isnan(table.loc[1, "pref_ori_dg"])
    assert np.isnan(table.loc[1, "g_osi_dg"])
    assert table.loc[1, "firing_rate_dg"] > 0


def test_missing_parameters_may_be_the_word_null() -> None:
    shown = gratings()
    words = shown.astype({"orientation": object, "temporal_frequency": object})
    shown.loc[::7, ["orientation", "temporal_frequency"]] = np.nan
    words.loc[::7, ["orientation", "temporal_frequency"]] = "null"
    spikes = {1: poisson(5, 1100)}
    tables = [compute_unit_analysis_metrics(SessionResponses(table, spikes)) for table in (shown, words)]
    pd.testing.assert_frame_equal(*tables)


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_running_tables_missing_empty_constant_or_partly_nan(definition: str) -> None:
    shown, spikes = gratings(), {1: poisson(10, 1100)}
    time = np.arange(0, 1100, 0.03)
    none = pd.DataFrame({"start_time": time[:0], "velocity": time[:0]})
    still = pd.DataFrame({"start_time": time, "velocity": 0.0})
    for running in (None, none, still):
        table = compute_unit_analysis_metrics(SessionResponses(shown, spikes, running=running), definition)
        assert table.loc[1, ["run_mod_dg", "p_run_mod_dg"]].isna().all()
    half = pd.DataFrame({"start_time": time, "velocity": np.where(time % 120 < 60, 20.0, np.nan)})
    table = compute_unit_analysis_metrics(SessionResponses(shown, spikes, running=half), definition)
    # the release takes trials without a measured speed for stationary ones
    assert np.isfinite(table.loc[1, "run_mod_dg"]) == (definition == "release")


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_invalid_presentations_inside_a_block(definition: str) -> None:
    shown, spikes = gratings(), {1: poisson(10, 1100)}
    masked = shown.copy()
    bad = slice(100, 140)
    masked.loc[bad, "stimulus_name"] = "invalid_presentation"
    masked.loc[bad, ["orientation", "temporal_frequency", "stimulus_block"]] = np.nan
    burst = {1: np.sort(np.concatenate([spikes[1], np.linspace(311, 429, 50_000)]))}  # artefact while invalid
    quiet = compute_unit_analysis_metrics(SessionResponses(masked, spikes), definition)
    loud = compute_unit_analysis_metrics(SessionResponses(masked, burst), definition)
    pd.testing.assert_frame_equal(quiet, loud)
    removed = compute_unit_analysis_metrics(SessionResponses(shown.drop(index=range(100, 141)), spikes), definition)
    assert removed.loc[1, "pref_tf_dg"] == quiet.loc[1, "pref_tf_dg"]


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_ties_go_to_the_first_in_the_order_of_the_parameters(definition: str) -> None:
    shown = gratings()
    spikes = np.sort((shown["start_time"].to_numpy()[:, None] + [0.5, 1.0]).ravel())
    session = SessionResponses(shown, {1: spikes})
    table = compute_unit_analysis_metrics(session, definition)
    assert tuple(table.loc[1, ["pref_ori_dg", "pref_tf_dg"]]) == (0, 1)
    assert table.loc[1, ["pref_ori_multi_dg", "pref_tf_multi_dg"]].all()
    assert table.loc[1, "lifetime_sparseness_dg"] == pytest.approx(0)
    assert table.loc[1, "fano_dg"] == 0
    responses = session.responses("drifting_gratings", definition=definition)
    preferred = responses.design.conditions.iloc[responses.preferred_condition[0]]
    first = shown.iloc[0][["orientation", "temporal_frequency"]] if definition == "release" else (0, 1)
    assert tuple(preferred) == tuple(first)


def test_corrected_p_values_are_never_zero() -> None:
    positions = np.arange(-40, 41, 10.0)
    conditions = [{"x_position": x, "y_position": y, "orientation": 0.0} for x in positions for y in positions]
    shown = presentations("gabors", conditions, 15, 0.25, 0.25)
    driven = shown[(shown["x_position"] == 10) & (shown["y_position"] == -20)]["start_time"].to_numpy()
    spikes = np.sort((driven[:, None] + np.arange(0.05, 0.2, 0.02)).ravel())
    running = pd.DataFrame({"start_time": shown["start_time"], "velocity": np.arange(len(shown)) % 2 * 10.0})
    session = SessionResponses(shown, {1: spikes, 2: spikes[:9]}, running=running)
    released = compute_unit_analysis_metrics(session, "release", n_shuffles=99)
    corrected = compute_unit_analysis_metrics(session, "corrected", n_shuffles=99)
    assert released.loc[1, "p_value_rf"] == 0
    assert corrected.loc[1, "p_value_rf"] == 1 / 100
    assert (corrected["p_run_mod_rf"] != 0).all()
    for table in (released, corrected):
        assert (table.loc[1, "azimuth_rf"], table.loc[1, "elevation_rf"]) == (60, -10)
        assert table.loc[2, ["p_value_rf", "azimuth_rf", "area_rf", "width_rf"]].isna().all()
        assert not table.loc[2, "on_screen_rf"]
    field = receptive_field(session, 1, definition="corrected", n_shuffles=99)
    assert field.contour().shape == (100, 2)
    np.testing.assert_allclose(field.contour().mean(axis=0), (60, -10), atol=0.5)
    with pytest.raises(MissingDataError, match="9 spikes"):
        receptive_field(session, 2)
    with pytest.raises(ValueError, match="level"):
        field.contour(level=1)


def test_unsorted_spikes_are_sorted() -> None:
    spikes = poisson(5, 1100)
    shuffled = np.random.default_rng(0).permutation(spikes)
    tables = [compute_unit_analysis_metrics(SessionResponses(gratings(), {1: train})) for train in (spikes, shuffled)]
    pd.testing.assert_frame_equal(*tables)


def test_wrong_requests_say_what_is_right(sessions: dict[str, Path]) -> None:
    session = SessionResponses(gratings(), {1: poisson(5, 1100)})
    with pytest.raises(UnknownNameError, match="did you mean 'release'"):
        compute_unit_analysis_metrics(session, "relaese")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="documented"):
        compute_unit_analysis_metrics(session, names="csv")  # type: ignore[arg-type]
    with pytest.raises(UnknownIdError, match="unit 7"):
        compute_unit_analysis_metrics(session, unit_ids=[7])
    with pytest.raises(MissingDataError, match="did not show gabors; it showed drifting_gratings"):
        receptive_field(session, 1)
    with pytest.raises(UnknownNameError, match="did you mean 'static_gratings'"):
        session.responses("static_grating")
    with pytest.raises(InvalidTypeError, match=r"named by text.*got DataFrame.*take a table"):
        tuning_curves(session, pd.DataFrame({"start_time": [1.0]}))  # type: ignore[arg-type]


def test_metrics_of_ones_own_join_the_table() -> None:
    @metric("peak_count_dg", stimulus="drifting_gratings")
    def peak_count(responses):
        return responses.condition_means.max(axis=1)

    @metric("low_dg", "is_low_dg", stimulus="drifting_gratings", flags=["is_low_dg"])
    def lowest(responses):
        low = responses.condition_means.min(axis=1)
        return low, low < 1

    session = SessionResponses(gratings(), {unit: poisson(unit, 1100, unit) for unit in range(1, 150)})
    try:
        table = compute_unit_analysis_metrics(session)
        assert list(table)[-3:] == ["peak_count_dg", "low_dg", "is_low_dg"]
        assert table["is_low_dg"].dtype == bool
        assert peak_count(session.responses("drifting_gratings", [5]))[0] == table.loc[5, "peak_count_dg"]
        with pytest.raises(ValueError, match="already"):
            metric("fano_dg", stimulus="drifting_gratings")
        with pytest.raises(UnknownNameError, match="did you mean 'natural_scenes'"):
            metric("x_ns", stimulus="natural_scene")
        remove_metric("low_dg")
        wrong = metric("wrong_dg", stimulus="drifting_gratings")
        wrong(lambda responses: np.zeros(3))
        with pytest.raises(ValueError, match="one value for each of the"):
            compute_unit_analysis_metrics(session)
        remove_metric("wrong_dg")

        @metric("wrong_dg", stimulus="drifting_gratings")
        def divides(responses):
            return [1 / 0]

        with pytest.raises(
            ValueError, match=r"metric divides \(wrong_dg\) failed: ZeroDivisionError: division by zero"
        ):
            compute_unit_analysis_metrics(session)
        remove_metric("wrong_dg")
    finally:
        for column in ("peak_count_dg", "low_dg", "wrong_dg"):
            if column in metric_columns():
                remove_metric(column)
    with pytest.raises(UnknownNameError, match="no added metric"):
        remove_metric("fano_dg")
    assert all(found.built_in for found in registered_metrics())


def test_many_sessions_on_dask_equal_one_after_the_other(sessions: dict[str, Path]) -> None:
    from distributed import Client, LocalCluster

    paths = list(sessions.values())
    options = {"unit_filter": UnitFilter.none(), "n_shuffles": 50}
    metric("peak_count_fl", stimulus="flashes")(lambda responses: responses.condition_means.max(axis=1))
    try:
        serial = compute_for_sessions(paths, **options)
        with (
            LocalCluster(
                n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0"
            ) as cluster,
            Client(cluster) as client,
        ):
            parallel = compute_for_sessions(paths, client=client, **options)
    finally:
        remove_metric("peak_count_fl")
    pd.testing.assert_frame_equal(serial, parallel, check_exact=True)
    assert serial["ecephys_session_id"].nunique() == 2
    assert serial["peak_count_fl"].notna().all()
    assert not len(compute_for_sessions([]))


def test_tuning_curves_are_means_and_errors_of_trials() -> None:
    shown, spikes = gratings(), {4: poisson(8, 1100, 4), 9: poisson(3, 1100, 9)}
    shown.loc[::11, ["orientation", "temporal_frequency"]] = np.nan
    curves = tuning_curves(SessionResponses(shown, spikes))
    assert curves["rate"].dims == ("unit_id", "orientation", "temporal_frequency")
    trials = shown[(shown["orientation"] == 90) & (shown["temporal_frequency"] == 2)]
    rates = [((spikes[9] >= a) & (spikes[9] < b)).sum() / 2 for a, b in trials[["start_time", "stop_time"]].to_numpy()]
    cell = curves.sel(unit_id=9, orientation=90, temporal_frequency=2)
    assert float(cell["rate"]) == pytest.approx(np.mean(rates))
    assert float(cell["sem"]) == pytest.approx(np.std(rates, ddof=1) / np.sqrt(len(rates)))
    assert int(cell["presentations"]) == len(rates)
    assert np.isfinite(curves["blank_rate"]).all()
    pooled = tuning_curves(SessionResponses(shown, spikes), parameters=["orientation"])
    assert pooled["rate"].dims == ("unit_id", "orientation")
    with pytest.raises(UnknownNameError, match="orientation"):
        tuning_curves(SessionResponses(shown, spikes), parameters=["orientatoin"])
    with pytest.raises(MissingDataError):
        tuning_curves(SessionResponses(shown, spikes), "gabors")


def test_plots_draw_what_they_say(sessions: dict[str, Path]) -> None:
    with mpl.rc_context({"backend": "agg"}), EcephysSession(sessions["brain_observatory_1.1"]) as session:
        import matplotlib.pyplot as plt

        unit = int(session.units.index[0])
        curves = tuning_curves(session, "static_gratings", unit_ids=[unit])
        assert isinstance(curves, xr.Dataset)
        axes = plot_tuning_curve(curves, unit, "orientation")
        assert len(axes.containers) == curves.sizes["spatial_frequency"]
        assert axes.get_ylabel() == "firing rate (Hz), mean and SEM"
        sem = curves["sem"].sel(unit_id=unit).isel(spatial_frequency=0, orientation=0).to_numpy()
        drawn = (
            axes.containers[0].lines[2][0].get_segments()[0][:, 1]
        )  # phases are averaged: so are their errors, as means
        assert np.ptp(drawn) / 2 == pytest.approx(np.sqrt((sem**2).sum()) / len(sem))
        with pytest.raises(UnknownIdError):
            plot_tuning_curve(curves, -1)
        with pytest.raises(InvalidTypeError, match=f"one whole number, such as {unit}, as in these tuning curves"):
            plot_tuning_curve(curves, str(unit))  # type: ignore[arg-type]
        field = receptive_field(session, unit, definition="corrected")
        axes = field.plot()
        np.testing.assert_array_equal(axes.images[0].get_array(), field.response)
        plt.close("all")


def test_the_command_writes_a_table_that_a_cache_can_serve(sessions: dict[str, Path], tmp_path: Path) -> None:
    from click.testing import CliRunner

    from allen_ecephys.cli.metrics import metrics

    output = tmp_path / "metrics.csv"
    arguments = [str(sessions["functional_connectivity"]), "--output", str(output), "--shuffles", "20"]
    result = CliRunner().invoke(metrics, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "40 of 40 units, 45 metrics" in result.output
    table = pd.read_csv(output, index_col="ecephys_unit_id")
    with EcephysSession(sessions["functional_connectivity"], unit_filter=UnitFilter.none()) as session:
        computed = compute_unit_analysis_metrics(session, n_shuffles=20, names="release")
    pd.testing.assert_frame_equal(table, computed, check_dtype=False)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]
    filtered = [*arguments[:1], "--output", str(tmp_path / "filtered.csv"), "--shuffles", "20", "--filtered-units"]
    result = CliRunner().invoke(metrics, filtered, catch_exceptions=False)
    n_filtered = len(pd.read_csv(tmp_path / "filtered.csv"))
    assert n_filtered < 40
    assert f"{n_filtered} of 40 units" in result.output
    again = CliRunner().invoke(metrics, arguments)
    assert again.exit_code == 1
    assert "--overwrite" in again.output


def test_published_metrics_include_presentations_that_were_marked_invalid_later() -> None:
    """Session 719161530 has 49 such gabors, and its published rates are those of the whole span."""
    starts = np.arange(8) * 0.25
    shown = pd.DataFrame(
        {
            "stimulus_name": "flashes",
            "start_time": starts,
            "stop_time": starts + 0.25,
            "color": [-1.0, 1.0] * 4,
            "stimulus_condition_id": [0, 1] * 4,
        }
    )
    masked = shown.astype({"stimulus_condition_id": float})
    masked.loc[6:, ["color", "stimulus_condition_id"]] = np.nan
    masked.loc[6:, "stimulus_name"] = "invalid_presentation"
    spikes = {1: np.array([0.1, 0.3, 1.6, 1.65, 1.9])}
    session = SessionResponses(masked, spikes, with_invalid=shown)
    for definition, presentations, rate in (("release", 8, 2.5), ("allensdk", 6, 2 / 1.5), ("corrected", 6, 2 / 1.5)):
        responses = session.responses("flashes", definition=definition)
        assert len(responses.design.start) == presentations
        table = compute_unit_analysis_metrics(session, definition)
        assert table.loc[1, "firing_rate_fl"] == pytest.approx(rate)


def test_a_session_tells_what_was_shown_in_invalid_times(tmp_path: Path) -> None:
    write_session(tmp_path / "session.nwb", "brain_observatory_1.1", scale=0.02, n_units=3, seed=2)
    with h5py.File(tmp_path / "session.nwb", "a") as file:
        start = file["intervals/gabors_presentations/start_time"][:2]
        if "invalid_times" in file["intervals"]:
            del file["intervals/invalid_times"]
        table = file.create_group("intervals/invalid_times")
        table.attrs["neurodata_type"] = "TimeIntervals"
        table.attrs["colnames"] = ["start_time", "stop_time", "tags"]
        table["id"] = np.arange(1)
        table["start_time"], table["stop_time"] = [start[0] + 0.01], [start[1] - 0.01]
        text = h5py.string_dtype()
        table.create_dataset("tags", data=np.array(["EcephysSession", "1", "stimulus"], dtype=object), dtype=text)
        table["tags_index"] = [3]
    with EcephysSession(tmp_path / "session.nwb", unit_filter=UnitFilter.none()) as session:
        shown = session.get_stimulus_table("gabors", mask_invalid_intervals=False)
        valid = session.get_stimulus_table("gabors")
        assert len(shown) == len(valid) + 1
        assert session.stimulus_names.count("invalid_presentation") == 1
        source = SessionResponses.from_session(session)
        assert len(source.design("gabors", "release").start) == len(shown)
        assert len(source.design("gabors", "allensdk").start) == len(valid)


def test_presentations_that_overlap_are_counted_each_for_itself() -> None:
    """AllenSDK looks spikes up in a list of starts and stops, which is not sorted where presentations overlap.

    That search gives exactly the image selectivity of AllenSDK's own test, whose presentations overlap; the windows
    that it means give what is computed here. Presentations of the release do not overlap.
    """
    start, stop = np.linspace(0.5, 29.5, 119), np.linspace(0.75, 39.75, 119)
    scenes = pd.DataFrame(
        {"stimulus_name": "natural_scenes", "start_time": start, "stop_time": stop, "frame": np.arange(-1.0, 118)}
    )
    spikes = np.array([1.0, 2.0, 3.0, 4.0])
    searched = np.searchsorted(np.column_stack([start, stop]).ravel(), spikes) - 1
    theirs = np.bincount(searched[searched % 2 == 0] // 2, minlength=119)[1:]
    meant = ((spikes[:, None] > start) & (spikes[:, None] <= stop)).sum(axis=0)[1:]
    assert theirs.sum() < meant.sum()  # spikes of overlaps are lost

    def selectivity(counts: np.ndarray) -> float:
        low, high = counts.min(), counts.max()
        thresholds = low + np.arange(1000) * (high - low) / 1000
        return float(1 - 2 * np.mean([(counts > threshold).mean() for threshold in thresholds]))

    assert selectivity(theirs) == pytest.approx(0.93220339)  # AllenSDK's test_natural_scenes
    found = compute_unit_analysis_metrics(SessionResponses(scenes, {0: spikes}), "allensdk")
    assert found.loc[0, "image_selectivity_ns"] == pytest.approx(selectivity(meant))
