"""AllenSDK's classes of one stimulus: a session's tables, metrics of AllenSDK's definition, nothing swallowed.

That their numbers are AllenSDK's is shown beside it: ``tests/peers/test_classes_against_allensdk.py``.
"""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from allen_ecephys import stimulus_analysis
from allen_ecephys.errors import InvalidValueError, MissingDataError, UnknownArgumentError, UnknownIdError
from allen_ecephys.processing.simulation import write_session
from allen_ecephys.processing.stimulus_metrics import compute_unit_analysis_metrics
from allen_ecephys.session.session import EcephysSession
from allen_ecephys.stimulus_analysis import (
    DotMotion,
    DriftingGratings,
    Flashes,
    NaturalMovies,
    NaturalScenes,
    ReceptiveFieldMapping,
    StaticGratings,
    StimulusAnalysis,
)
from allen_ecephys.stimulus_analysis.receptive_field_mapping import fit_2d_gaussian, threshold_rf
from allen_ecephys.units.filter import UnitFilter

mpl.use("agg")
CLASSES = (DriftingGratings, StaticGratings, NaturalScenes, Flashes, ReceptiveFieldMapping)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EcephysSession]:
    path = tmp_path_factory.mktemp("session") / "session.nwb"
    write_session(path, "brain_observatory_1.1", scale=0.02, n_units=4, seed=3)
    with EcephysSession(path, unit_filter=UnitFilter.none()) as opened:
        yield opened


@pytest.mark.filterwarnings("ignore:.*time windows overlap:UserWarning")  # nominal durations, as in AllenSDK
@pytest.mark.parametrize("kind", CLASSES)
def test_tables_and_metrics(session: EcephysSession, kind: type[StimulusAnalysis]) -> None:
    analysis = kind(session)
    table = analysis.stim_table
    assert len(table) == analysis.total_presentations > 0
    assert analysis.stimulus_conditions.index.isin(table["stimulus_condition_id"]).all()
    n = len(table) * analysis.unit_count
    assert analysis.presentationwise_statistics.shape == (n, 3)
    statistics = analysis.conditionwise_statistics
    assert statistics["stimulus_presentation_count"].groupby(level="unit_id").sum().eq(len(table)).all()
    assert list(analysis.spikes) == analysis.unit_ids.tolist()
    expected = compute_unit_analysis_metrics(session, "allensdk", names="release")
    pd.testing.assert_frame_equal(
        analysis.metrics, expected[list(analysis.metrics)].rename_axis("unit_id"), check_dtype=False, check_exact=True
    )
    assert analysis.metrics_names == list(analysis.metrics)
    assert analysis.name


def test_values_and_blanks(session: EcephysSession) -> None:
    drifting = DriftingGratings(session)
    assert drifting.orivals.tolist() == [0, 45, 90, 135, 180, 225, 270, 315]
    assert (drifting.number_ori, drifting.number_contrast) == (8, 1)
    assert drifting.stim_table_contrast.empty
    assert len(drifting.conditionwise_statistics_contrast) == len(drifting.stimulus_conditions_contrast) == 0
    assert (StaticGratings(session).stim_table["orientation"] == "null").any()  # AllenSDK's text
    scenes = NaturalScenes(session)
    assert scenes.images[0] == -1
    assert scenes.number_nonblank == scenes.number_images - 1
    assert scenes.stimulus_conditions.loc[scenes.null_condition, "frame"].tolist() == [-1]
    assert Flashes(session).colors.tolist() == [-1, 1]
    assert Flashes(session).null_condition == -1
    assert Flashes.known_stimulus_keys() == ["flash"]


def test_units_bins_and_duration_are_the_callers(session: EcephysSession) -> None:
    units = session.units
    some = units.index[1:3].tolist()
    flashes = Flashes(session, trial_duration=0.1, filter=some, psth_resolution=0.01)
    assert flashes.unit_ids.tolist() == some
    assert flashes.conditionwise_psth.sizes["time_relative_to_stimulus_onset"] == 9
    assert flashes.trial_duration == 0.1
    structure = units["ecephys_structure_acronym"].iloc[0]
    chosen = Flashes(session, filter={"ecephys_structure_acronym": structure}).unit_ids
    assert chosen.tolist() == units.index[units["ecephys_structure_acronym"] == structure].tolist()
    assert Flashes(session.path).total_presentations == flashes.total_presentations


def test_receptive_fields(session: EcephysSession) -> None:
    mapping = ReceptiveFieldMapping(session)
    unit = int(mapping.unit_ids[0])
    field = mapping.get_receptive_field(unit)
    fields = mapping.receptive_fields["spike_counts"]
    assert field.shape == (9, 9)
    np.testing.assert_array_equal(fields.sel(unit_id=unit), field)
    top = mapping.stim_table[mapping.stim_table["y_position"] == 40]
    spikes = session.spike_times[unit]
    by_hand = sum(((spikes >= start) & (spikes <= start + 0.249)).sum() for start in top["start_time"])
    assert abs(int(field[0].sum()) - by_hand) <= 1  # row 0 is the top of the screen
    assert mapping._get_rf_stats(unit)[0] == pytest.approx(mapping.metrics.loc[unit, "azimuth_rf"], nan_ok=True)
    mapping.plot_rf(unit)
    condition = int(mapping.stim_table["stimulus_condition_id"].iloc[0])
    shown = int((mapping.stim_table["stimulus_condition_id"] == condition).sum())
    assert mapping.plot_raster(condition, unit).get_ylim() == (-0.5, shown - 0.5)  # silent presentations too
    with pytest.raises(UnknownIdError, match="unit 5"):
        mapping.get_receptive_field(5)
    wide = ReceptiveFieldMapping(session, mask_threshold=1.0).metrics["area_rf"]
    assert (wide.dropna() >= mapping.metrics["area_rf"].dropna()).all()


def test_functions_of_one_map() -> None:
    """Values of AllenSDK's own tests."""
    y, x = np.mgrid[-1:1:9j, -1:1:9j]
    spot = np.exp(-(x**2 + y**2) / 2)
    mask, column, row, area = threshold_rf(spot, 0.5)
    assert (column, row, area, int(mask.sum())) == (4, 4, 9, 9)
    parameters, converged = fit_2d_gaussian(spot)
    np.testing.assert_allclose(parameters, [1, 4, 4, 4, 4], rtol=1e-6)
    assert converged


def test_natural_movies_have_what_allensdks_class_lacks(session: EcephysSession) -> None:
    one, three = NaturalMovies(session), NaturalMovies(session, stimulus_key="natural_movie_three")
    assert one.metrics.columns.tolist() == [
        *("pref_frame_nm1", "reliability_nm1", "lifetime_sparseness_nm1", "firing_rate_nm1")
    ]
    assert three.stim_table["stimulus_name"].unique().tolist() == ["natural_movie_three"]
    assert three.metrics["firing_rate_nm3"].notna().all()


def test_what_is_not_offered_is_said(session: EcephysSession) -> None:
    with pytest.raises(MissingDataError, match="did not show dot_motion; it showed"):
        _ = DotMotion(session).stim_table
    with pytest.raises(MissingDataError, match="did not show gabor"):
        _ = Flashes(session, stimulus_key="gabor").stim_table
    with pytest.raises(UnknownArgumentError, match="takes no 'psth_resolutoin'"):
        Flashes(session, psth_resolutoin=0.1)
    with pytest.raises(UnknownArgumentError, match="col_ori must be 'orientation'"):
        DriftingGratings(session, "Ori")
    with pytest.raises(InvalidValueError, match="minimum_spike_count is 10"):
        ReceptiveFieldMapping(session, minimum_spike_count=1)
    with pytest.warns(DeprecationWarning, match="params"):
        Flashes(session, params={})
    with pytest.raises(AttributeError, match=r"make_fan_plot.*plot_tuning_curve"):
        StaticGratings(session).make_fan_plot(1)
    assert set(stimulus_analysis.__all__) >= {kind.__name__ for kind in CLASSES}
