"""What a population answers is what its sessions answer, bit for bit."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from allen_ecephys import EcephysSession, UnitFilter
from allen_ecephys.cache import EcephysProjectCache
from allen_ecephys.errors import (
    InvalidTypeError,
    InvalidValueError,
    MissingDataError,
    MissingFileError,
    UnknownIdError,
    UnknownNameError,
)
from allen_ecephys.processing.simulation import write_session

pytestmark = pytest.mark.filterwarnings("ignore:.*time windows overlap")

NONE = UnitFilter.none()
EDGES = np.arange(-0.1, 0.4, 0.025)
BRAIN_OBSERVATORY = [900000001, 900000003]


@pytest.fixture
def cache(population_project: Path) -> EcephysProjectCache:
    return EcephysProjectCache.fixed(population_project)


@pytest.fixture(scope="module")
def sessions(population_project: Path):
    """All sessions, opened as a user would and unfiltered."""
    cache = EcephysProjectCache.fixed(population_project)
    return {
        session_id: cache.get_session_data(session_id, unit_filter=NONE)
        for session_id in cache.get_session_table().index
    }


def units_of(population, session_id: int) -> np.ndarray:
    units = population.units
    return units.index[units["ecephys_session_id"] == session_id].to_numpy()


def shared(session, population) -> pd.DataFrame:
    """The units of both: the tables leave out those whose peak channel holds no valid data."""
    units = session.units
    return units[units.index.isin(population.units.index)]


def valid_presentations(session, stimulus: str, probe: str, before: float, after: float | None) -> np.ndarray:
    """Which presentations are clear of a probe's invalid times, told anew."""
    shown = session.get_stimulus_table(stimulus)
    begins = shown["start_time"] + before
    ends = shown["stop_time"] if after is None else shown["start_time"] + after
    keep = np.ones(len(shown), dtype=bool)
    for row in session.invalid_times.itertuples():
        if probe in row.tags or "all_probes" in row.tags:
            keep &= ~((begins <= row.stop_time) & (ends >= row.start_time)).to_numpy()
    return shown.index[keep].to_numpy()


def test_spike_times_are_those_of_the_sessions(cache, sessions) -> None:
    population = cache.population(unit_filter=NONE)
    assert len(population.spike_times) == len(population) == len(cache.get_units(unit_filter=NONE))
    read = dict(population.spike_times.items())
    assert list(read) == population.units.index.tolist()
    for session_id in population.sessions.index:
        session = sessions[session_id]
        for unit in units_of(population, session_id):
            np.testing.assert_array_equal(population.spike_times[unit], session.spike_times[unit])
            np.testing.assert_array_equal(read[unit], session.spike_times[unit])
    assert not read[unit].flags.writeable
    some = population.units.index[[30, 3]]
    assert list(population.spike_times[some]) == some.tolist()


@pytest.mark.filterwarnings("ignore:.*not in this answer")
@pytest.mark.parametrize(("stimulus", "smoothing"), [("flashes", None), ("natural_movie_one", 0.05), ("gabors", None)])
def test_psth_is_that_of_the_sessions(cache, sessions, stimulus: str, smoothing: float | None) -> None:
    population = cache.population(unit_filter=NONE)
    found = population.psth(stimulus, EDGES, smoothing=smoothing)
    assert found["unit_id"].to_numpy().tolist() == [
        unit for unit in population.units.index if unit in set(found["unit_id"].to_numpy())
    ]
    for session_id in np.unique(found["ecephys_session_id"]):
        session = sessions[session_id]
        for probe, units in shared(session, population).groupby("probe_description"):
            trials = valid_presentations(session, stimulus, probe, EDGES[0], EDGES[-1])
            expected = session.psth(EDGES, trials, units.index, smoothing=smoothing)
            mine = found.sel(unit_id=units.index)
            np.testing.assert_array_equal(mine["rate"], expected["rate"])
            np.testing.assert_array_equal(mine["sem"], expected["sem"])
            assert (mine["presentation_count"] == len(trials)).all()
    unmasked = population.psth(stimulus, EDGES, smoothing=smoothing, mask_invalid_intervals=False)
    for session_id in np.unique(unmasked["ecephys_session_id"]):
        session = sessions[session_id]
        ids = units_of(population, session_id)
        expected = session.psth(EDGES, stimulus, ids, smoothing=smoothing)
        np.testing.assert_array_equal(unmasked["rate"].sel(unit_id=ids), expected["rate"])


@pytest.mark.filterwarnings("ignore:.*not in this answer")
def test_what_is_invalid_for_one_probe_is_left_out_for_it_alone(cache, sessions) -> None:
    population = cache.population(unit_filter=NONE)
    differ = 0
    for stimulus in set(sessions[900000001].stimulus_names) - {"invalid_presentation"}:
        found = population.psth(stimulus, EDGES)
        of_first = found["presentation_count"][(found["ecephys_session_id"] == 900000001).to_numpy()].to_series()
        by_probe = of_first.groupby(population.units["probe_name"].loc[of_first.index])
        counts = by_probe.first()
        assert (by_probe.last() == counts).all()
        differ += counts["probeA"] > counts["probeB"]
    assert differ == 1  # the simulated sessions have one interval that is invalid for probeB


def test_one_unit_is_averaged_as_it_is_among_others(cache, sessions) -> None:
    population = cache.population(unit_filter=NONE)
    wide = np.array([0.0, 0.123])
    every = population.psth("gabors", wide)
    unit = int(every["unit_id"][17])
    alone = cache.population([unit]).psth("gabors", wide)
    np.testing.assert_array_equal(alone["rate"][0], every["rate"].sel(unit_id=unit))
    np.testing.assert_array_equal(alone["sem"][0], every["sem"].sel(unit_id=unit))


def test_psth_by_a_parameter_joins_its_values(cache, sessions) -> None:
    population = cache.population(unit_filter=NONE)
    found = population.psth("flashes", EDGES, by="color")
    assert found["rate"].dims[:2] == ("color", "unit_id")
    assert found["color"].to_numpy().tolist() == [-1.0, 1.0]
    session = sessions[900000002]
    units = shared(session, population)
    ids = units.index[units["probe_description"] == "probeA"]
    trials = valid_presentations(session, "flashes", "probeA", EDGES[0], EDGES[-1])
    expected = session.psth(EDGES, trials, ids, by="color")
    np.testing.assert_array_equal(found["rate"].sel(unit_id=ids), expected["rate"])
    assert (expected["presentation_count"].to_numpy() == found["presentation_count"].sel(unit_id=ids).T).all()


@pytest.mark.parametrize("use_rates", [False, True])
def test_statistics_are_those_of_the_sessions_matched_by_parameters(cache, sessions, use_rates: bool) -> None:
    population = cache.population(unit_filter=NONE)
    with pytest.warns(UserWarning, match=r"1 of 3 sessions.*do not show 'drifting_gratings' \(900000002\)") as told:
        found = population.conditionwise_spike_statistics("drifting_gratings", use_rates=use_rates)
    assert told[0].filename == __file__  # the line that asked
    assert found.sizes["condition"] == 41  # 8 directions x 5 frequencies, and grey
    assert ("spike_count" in found) is not use_rates
    keys = list(zip(found["orientation"].to_numpy(), found["temporal_frequency"].to_numpy(), strict=True))
    numbers = []
    for session_id in BRAIN_OBSERVATORY:
        session = sessions[session_id]
        conditions = session.stimulus_conditions
        for probe, units in shared(session, population).groupby("probe_description"):
            trials = valid_presentations(session, "drifting_gratings", probe, 0.0, None)
            expected = session.conditionwise_spike_statistics(trials, units.index, use_rates)
            for condition, of_one in expected.groupby("stimulus_condition_id"):
                orientation, frequency = conditions.loc[condition, ["orientation", "temporal_frequency"]]
                at = [
                    position
                    for position, (o, f) in enumerate(keys)
                    if (o == orientation and f == frequency) or (np.isnan(o) and np.isnan(orientation))
                ]
                assert len(at) == 1
                numbers.append((session_id, condition, at[0]))
                of_one = of_one.droplevel("stimulus_condition_id")
                for name, column in of_one.items():
                    mine = found[name].isel(condition=at[0]).sel(unit_id=of_one.index)
                    np.testing.assert_array_equal(mine, column)
    of_first = {at: condition for session_id, condition, at in numbers if session_id == 900000001}
    of_third = {at: condition for session_id, condition, at in numbers if session_id == 900000003}
    assert of_first != of_third  # equal parameters have other numbers in the other session


def test_responses_and_counts_are_those_of_the_sessions(cache, sessions) -> None:
    population = cache.population(unit_filter=NONE)
    with pytest.warns(UserWarning, match="do not show 'natural_scenes'"):
        responses = population.responses("natural_scenes")
    with pytest.warns(UserWarning, match="do not show 'natural_scenes'"):
        windowed = population.responses("natural_scenes", (0.0, 0.2))
    counts = population.presentationwise_spike_counts("flashes", EDGES)
    assert list(responses) == BRAIN_OBSERVATORY
    assert list(counts) == list(population.sessions.index)
    for session_id in population.sessions.index:
        ids = units_of(population, session_id)
        session = sessions[session_id]
        expected = session.presentationwise_spike_counts(EDGES, "flashes", ids)
        xr.testing.assert_identical(counts[session_id].drop_vars("valid"), expected)
        for found, window in ((responses, None), (windowed, (0.0, 0.2))):
            if session_id not in found:
                continue
            mine, of_session = found[session_id], session.responses("natural_scenes", window, ids)
            xr.testing.assert_identical(mine.drop_vars("valid"), of_session)
            assert mine["valid"].shape == mine["rate"].shape
    tree = counts.to_datatree()
    assert set(tree.children) == {f"session_{session_id}" for session_id in population.sessions.index}


def test_validity_tells_of_each_probe(cache, sessions) -> None:
    population = cache.population(unit_filter=NONE)
    told = {}
    for stimulus in ("flashes", "gabors", "spontaneous"):
        for session_id, counts in population.presentationwise_spike_counts(stimulus, EDGES).items():
            probes = population.units["probe_name"].loc[counts["unit_id"].to_numpy()]
            for probe in ("probeA", "probeB"):
                valid = counts["valid"].to_numpy()[:, (probes == probe).to_numpy()]
                assert (valid == valid[:, :1]).all()
                told[stimulus, session_id, probe] = valid[:, 0].sum()
                session = sessions[session_id]
                expected = valid_presentations(session, stimulus, probe, EDGES[0], EDGES[-1])
                assert valid[:, 0].sum() == len(expected)


def test_behaviour_stands_beside(cache, sessions) -> None:
    population = cache.population(unit_filter=NONE)
    speeds = population.presentationwise_running_speed("flashes", EDGES)
    session = sessions[900000002]
    pd.testing.assert_frame_equal(population.running_speed[900000002], session.running_speed)
    xr.testing.assert_identical(speeds[900000002], session.presentationwise_running_speed(EDGES, "flashes"))
    session = sessions[900000001]
    pd.testing.assert_frame_equal(population.pupil_data[900000001], session.get_pupil_data())
    pupil = population.presentationwise_pupil("flashes", EDGES)[900000001]
    xr.testing.assert_identical(pupil, session.presentationwise_pupil(EDGES, "flashes"))
    with pytest.warns(UserWarning, match="None is returned"):
        assert population.pupil_data[900000002] is None


# Both come from the library's own imports of what it uses, on every first import.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
def test_pynapple_has_the_units_of_the_population(cache, sessions) -> None:
    pytest.importorskip("pynapple", reason="pynapple is an extra")
    population = cache.population("snr > 1", unit_filter=NONE)
    made = population.to_pynapple()
    assert list(made) == population.sessions.index.tolist()
    group = made[900000002]["units"]
    assert sorted(group.keys()) == sorted(units_of(population, 900000002))
    for unit in group.keys()[:3]:
        np.testing.assert_allclose(group[unit].t, sessions[900000002].spike_times[unit], atol=1e-9)
    assert "running_speed" in made[900000002]
    with pytest.raises(UnknownIdError, match="shows no unit 1: see"):
        sessions[900000002].to_pynapple([1])


def test_threads_and_dask_give_what_one_after_the_other_gives(cache, sessions) -> None:
    expected = cache.population(unit_filter=NONE).psth("flashes", EDGES)
    with ThreadPoolExecutor(3) as pool:
        population = cache.population(unit_filter=NONE, executor=pool)
        xr.testing.assert_identical(population.psth("flashes", EDGES), expected)
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(1, threads_per_worker=2, processes=False, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        population = cache.population(unit_filter=NONE, executor=client.get_executor())
        xr.testing.assert_identical(population.psth("flashes", EDGES), expected)


def test_tasks_can_be_sent_to_another_process(cache, sessions) -> None:
    from allen_ecephys.cache.population.answers import Stimulus, psth_of

    population = cache.population(unit_filter=NONE)
    population.psth("flashes", EDGES)
    arguments = (
        population._project,
        900000001,
        population._units_of[900000001],
        Stimulus("flashes"),
        EDGES,
        None,
        None,
    )
    sent = pickle.loads(pickle.dumps((psth_of, arguments)))
    answer = sent[0](*sent[1])
    expected = psth_of(*arguments)
    assert len(pickle.dumps(arguments)) < 100_000  # the index is read where the task arrives
    for mine, other in zip(answer.value, expected.value, strict=True):
        xr.testing.assert_identical(mine, other)


# --- which units --------------------------------------------------------------------------------------------------


def test_units_by_condition_by_ids_by_a_table_and_by_filter(cache, sessions) -> None:
    units = cache.get_units()
    structure = units["ecephys_structure_acronym"].mode()[0]
    deep = units[(units["snr"] > 0.5) & (units["ecephys_structure_acronym"] == structure)]
    assert 0 < len(deep) < len(units)
    by_condition = cache.population(f"snr > 0.5 and ecephys_structure_acronym == {structure!r}")
    assert set(by_condition.units.index) == set(deep.index)
    assert set(cache.population(deep).units.index) == set(deep.index)
    assert set(cache.population(deep.index).units.index) == set(deep.index)
    assert len(cache.population()) == len(units)
    assert len(cache.population(presence_ratio_minimum=None)) == len(cache.get_units(presence_ratio_minimum=None))
    hidden = cache.get_units(unit_filter=NONE).index.difference(units.index)
    assert len(cache.population(hidden)) == len(hidden)  # who names a unit means it
    with pytest.raises(MissingDataError, match=r"none of the .* units .* passes the filter"):
        cache.population(hidden, unit_filter=UnitFilter(in_brain_only=False))


def test_what_cannot_be_chosen_is_told(cache, sessions) -> None:
    with pytest.raises(MissingDataError, match=r"none of the .* units of the project passes.*and 'snr > 1e9'"):
        cache.population("snr > 1e9")
    with pytest.raises(MissingDataError, match="presence_ratio >= 2"):
        cache.population(unit_filter=UnitFilter(presence_ratio_minimum=2.0))
    with pytest.raises(UnknownIdError, match=r"no unit.s. 17"):
        cache.population([17])
    with pytest.raises(UnknownNameError, match=r"is no condition on units.*snr"):
        cache.population("snr >")
    with pytest.raises(InvalidTypeError, match='units="snr > 3"'):
        cache.population([1.5])
    with pytest.raises(UnknownIdError, match="not in this population"):
        cache.population("snr > 2").spike_times[17]
    with pytest.raises(UnknownIdError, match="no unit of this population is of session 5"):
        cache.population().session(5)
    with pytest.raises(InvalidValueError, match="bin_edges must ascend"):
        cache.population().psth("flashes", [0.2, 0.1])
    with pytest.raises(UnknownNameError, match=r"none of the sessions.*shows 'flashs'; did you mean 'flashes'"):
        cache.population().psth("flashs", EDGES)


def test_truth_values_choose_the_units_that_are_true(cache) -> None:
    units = cache.population(unit_filter=NONE).units
    chosen = cache.population(units["snr"] > 2)
    assert sorted(chosen.units.index) == sorted(units.index[units["snr"] > 2])
    assert len(chosen.units) < len(units)
    assert set(chosen.spike_times[chosen.units.iloc[:2]]) == set(chosen.units.index[:2])


def test_wrong_types_are_told(cache) -> None:
    with pytest.raises(MissingDataError, match="no unit is named"):
        cache.population([])
    with pytest.raises(InvalidTypeError, match="executor takes tasks by its `submit`"):
        cache.population(executor=4)
    population = cache.population(unit_filter=NONE)
    unit = population.units.index[0]
    with pytest.raises(UnknownIdError, match="ids are whole numbers, not text"):
        population.spike_times[str(unit)]
    np.testing.assert_array_equal(population.spike_times[np.int64(unit)], population.spike_times[int(unit)])
    for nothing in ("", [], None, 3):
        with pytest.raises(InvalidTypeError, match="a stimulus is named by text"):
            population.psth(nothing, EDGES)
    with pytest.raises(InvalidTypeError, match="arguments swapped"):
        population.psth(EDGES, "flashes")
    for swapped in (EDGES, EDGES.tolist()):
        with pytest.raises(InvalidTypeError, match=r"swapped\?.* population.*\(stimulus, bin_edges\)"):
            population.presentationwise_spike_counts(swapped, "flashes")
    for call in (population.psth, population.presentationwise_spike_counts):
        with pytest.raises(InvalidTypeError, match=r"got a table: moments differ.*session.psth\(bin_edges, table\)"):
            call(pd.DataFrame({"start_time": [1.0]}), EDGES)
    with pytest.warns(UserWarning, match="Are they milliseconds"):
        population.psth("flashes", np.array([0.0, 600.0, 1200.0]))
    for window in ((0.0, 0.1, 0.2), "ab", (0.0, np.nan), 3):
        with pytest.raises(InvalidValueError, match="window must be two times"):
            population.responses("flashes", window)


def test_a_condition_on_metrics_that_the_project_has_not_is_told(own_project: Path) -> None:
    cache = EcephysProjectCache.fixed(own_project)
    for table in own_project.glob("*analysis_metrics.csv"):
        table.unlink()
    with pytest.raises(UnknownNameError, match=r"'g_osi_dg > 0.5' is no condition.*metrics of units are not at hand"):
        cache.population("g_osi_dg > 0.5")


def test_a_file_that_is_replaced_while_the_population_is_open_is_read_anew(own_project: Path, tmp_path: Path) -> None:
    population = EcephysProjectCache.fixed(own_project).population(unit_filter=NONE)
    unit = int(units_of(population, 900000002)[0])
    before = population.spike_times[unit]
    other = tmp_path / "other.nwb"
    write_session(
        other, "functional_connectivity", 0.01, 77, n_units=12, n_probes=2, session_id=900000002, eye_tracking=False
    )  # fmt: skip
    other.replace(own_project / "session_900000002" / "session_900000002.nwb")
    after = population.spike_times[unit]
    assert not np.array_equal(before, after)
    with EcephysSession(own_project / "session_900000002" / "session_900000002.nwb", unit_filter=NONE) as session:
        np.testing.assert_array_equal(after, session.spike_times[unit])


def test_a_unit_whose_channel_no_table_has_is_of_no_session(own_project: Path) -> None:
    units = pd.read_csv(own_project / "units.csv", index_col=0)
    lost = units.index[5]
    units.loc[lost, "ecephys_channel_id"] = 3
    units.to_csv(own_project / "units.csv")
    cache = EcephysProjectCache.fixed(own_project)
    with pytest.raises(UnknownIdError, match=rf"of no session of the project: {lost}"):
        cache.population([lost])


def test_a_unit_that_the_file_does_not_hold_is_named(own_project: Path) -> None:
    path = own_project / "units.csv"
    units = pd.read_csv(path, index_col=0)
    invented = pd.concat([units, units.iloc[[0]].set_axis([77], axis=0).rename_axis("id")])
    invented.to_csv(path)
    population = EcephysProjectCache.fixed(own_project).population(unit_filter=NONE)
    with pytest.warns(UserWarning, match="do not hold.*77 of session 900000001"):
        found = population.psth("flashes", EDGES)
    assert 77 not in found["unit_id"]
    with pytest.raises(UnknownIdError, match="77"):
        population.spike_times[77]


def test_what_several_sessions_warn_of_is_said_once(cache) -> None:
    edges = np.arange(-0.1, 3.0, 0.05)  # longer than flashes are apart, in all three sessions
    population = cache.population(unit_filter=NONE)
    counts = population.presentationwise_spike_counts("flashes", edges)
    with pytest.warns(UserWarning, match=r"session 900000001: \d+ of \d+ time windows overlap") as told:
        answers = list(counts.items())
    assert len(answers) == 3
    assert len(told) == 1
    assert told[0].filename == __file__  # the line that asked
    counts = population.presentationwise_spike_counts("flashes", EDGES, binarize=True)
    with pytest.warns(UserWarning, match="session 900000002: binarizing bins") as told:
        _ = counts[900000002], counts[900000003], counts[900000002]
    assert len(told) == 1


# --- files that are missing, damaged, replaced ---------------------------------------------------------------------


def test_a_missing_session_is_named_and_left_out(own_project: Path) -> None:
    (own_project / "session_900000002" / "session_900000002.nwb").unlink()
    population = EcephysProjectCache.fixed(own_project).population(unit_filter=NONE)
    assert population.sessions["file"].to_dict() == {900000001: "present", 900000002: "missing", 900000003: "present"}
    assert "2 present, 1 missing" in repr(population)
    with pytest.warns(UserWarning, match=r"1 of 3 sessions, with \d+ of \d+ units, are not in.*900000002 is not in"):
        found = population.psth("flashes", EDGES)
    assert set(found["ecephys_session_id"].to_numpy()) == set(BRAIN_OBSERVATORY)
    with pytest.raises(MissingFileError, match="session 900000002 is not in this cache"):
        population.spike_times[units_of(population, 900000002)[0]]


def test_a_cut_session_is_named_and_never_answers(own_project: Path) -> None:
    path = own_project / "session_900000003" / "session_900000003.nwb"
    whole = path.read_bytes()
    cache = EcephysProjectCache.fixed(own_project)
    population = cache.population(unit_filter=NONE)
    population.psth("flashes", EDGES)  # its index is that of the whole file
    path.write_bytes(whole[: len(whole) // 2])
    for asked in (population, cache.population(unit_filter=NONE)):
        with pytest.warns(UserWarning, match="could not be read. 900000003: .*truncated"):
            found = asked.psth("flashes", EDGES)
        assert 900000003 not in found["ecephys_session_id"]
    for other in (1, 2):
        (own_project / f"session_90000000{other}" / f"session_90000000{other}.nwb").write_bytes(b"no hdf5")
    with pytest.raises(MissingDataError, match="none of the 3 sessions of this population could be read"):
        cache.population(unit_filter=NONE).psth("flashes", EDGES)


def test_a_file_of_another_session_is_refused(own_project: Path) -> None:
    first = own_project / "session_900000001" / "session_900000001.nwb"
    first.write_bytes((own_project / "session_900000003" / "session_900000003.nwb").read_bytes())
    population = EcephysProjectCache.fixed(own_project).population(unit_filter=NONE)
    with pytest.warns(UserWarning, match="is the file of session 900000003, not of 900000001"):
        population.psth("flashes", EDGES)
