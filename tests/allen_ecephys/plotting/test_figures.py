"""Figures show the numbers they are given, with their units, on the axes of the caller."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from allen_ecephys import UnitFilter, plotting
from allen_ecephys.errors import (
    InvalidTypeError,
    InvalidValueError,
    MissingExtraError,
    UnknownIdError,
    UnknownNameError,
)

mpl.use("agg")
TIME = "time_relative_to_stimulus_onset"


@pytest.fixture
def ax() -> Any:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    yield axes
    figure.canvas.draw()  # what cannot be drawn fails here
    plt.close("all")


def histogram(**dims: Any) -> xr.Dataset:
    centres = np.array([-0.05, 0.05, 0.15])
    coords = {**dims, TIME: centres}
    shape = [len(v) for v in coords.values()]
    rate = np.arange(np.prod(shape), dtype=float).reshape(shape)
    return xr.Dataset({"rate": (list(coords), rate, {"units": "Hz"}), "sem": (list(coords), rate / 10)}, coords=coords)


def test_raster(ax: Any) -> None:
    spikes = pd.DataFrame(
        {
            "stimulus_presentation_id": [4, 4, 9],
            "unit_id": [30, 10, 30],
            "time_since_stimulus_presentation_onset": [0.1, 0.2, 0.3],
        },
        index=pd.Index([1.1, 1.2, 2.3], name="spike_time"),
    )
    assert plotting.plot_raster(spikes, ax) is ax
    segments = ax.collections[0].get_segments()
    assert [(s[0][0], s[:, 1].mean()) for s in segments] == [(1.1, 1), (1.2, 0), (2.3, 1)]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["10", "30"]
    assert ax.get_xlabel() == "time (s)"
    other = plotting.plot_raster(spikes, rows="stimulus_presentation_id")
    assert other is not ax
    assert (other.get_xlabel(), other.get_ylabel()) == ("time from stimulus onset (s)", "trial with spikes")
    assert other.collections[0].get_segments()[2][0][0] == 0.3
    assert plotting.plot_raster(spikes.iloc[:0]).get_ylim() == (-0.5, 0.5)


def test_raster_has_a_row_for_each_trial_and_unit_asked_for() -> None:
    """A row without a tick tells that nothing fired; without it, the trial below would stand in its place."""
    onset = "time_since_stimulus_presentation_onset"
    spikes = pd.DataFrame(
        {"stimulus_presentation_id": [4, 4, 9], "unit_id": [30, 10, 30], onset: [0.1, 0.2, 0.3]},
        index=pd.Index([1.1, 1.2, 2.3], name="spike_time"),
    )
    trials = plotting.plot_raster(spikes, rows="stimulus_presentation_id", row_ids=[3, 4, 5, 9, 11])
    assert (trials.get_ylim(), trials.get_ylabel()) == ((-0.5, 4.5), "trial")
    segments = trials.collections[0].get_segments()
    assert [(s[0][0], s[:, 1].mean()) for s in segments] == [(0.1, 1), (0.2, 1), (0.3, 3)]
    assert all(np.ptp(s[:, 1]) < 1 for s in segments)  # ticks of neighbouring rows do not touch
    units = plotting.plot_raster(spikes, row_ids=pd.Index([20, 10]))  # the order asked for; unit 30 was not
    assert [t.get_text() for t in units.get_yticklabels()] == ["20", "10"]
    assert [s[:, 1].mean() for s in units.collections[0].get_segments()] == [1]
    silent = plotting.plot_raster(spikes.iloc[:0], row_ids=[20, 10, 30])
    assert silent.get_ylim() == (-0.5, 2.5)
    assert plotting.plot_raster(spikes).get_ylabel() == "unit with spikes"
    with pytest.raises(ValueError, match="asked for twice: 4"):
        plotting.plot_raster(spikes, rows="stimulus_presentation_id", row_ids=[4, 4])
    with pytest.raises(ValueError, match="none of the 2 rows asked for has a spike here; the spikes are of 10, 30"):
        plotting.plot_raster(spikes, row_ids=[4, 9])


def test_psth(ax: Any) -> None:
    plotting.plot_psth(histogram(unit_id=[7]), ax)
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[-0.05, 0], [0.05, 1], [0.15, 2]])
    assert (ax.get_ylabel(), ax.get_ylim()[0]) == ("firing rate (Hz)", 0)
    grouped = histogram(color=[-1.0, 1.0], unit_id=[7, 8])
    other = plotting.plot_psth(grouped, unit_id=8)
    np.testing.assert_array_equal(other.lines[1].get_ydata(), grouped["rate"].sel(color=1.0, unit_id=8))
    assert [t.get_text() for t in other.get_legend().get_texts()] == ["-1", "1"]
    assert len(plotting.plot_psth(histogram(unit_id=[7, 8])).get_legend().get_texts()) == 2
    with pytest.raises(ValueError, match="choose one unit: this histogram has 2 units and groups of color"):
        plotting.plot_psth(grouped)
    with pytest.raises(UnknownIdError, match="unit 9 is not in this histogram"):
        plotting.plot_psth(grouped, unit_id=9)


def areas(count: int, **others: Any) -> xr.Dataset:
    return histogram(**others, ecephys_structure_acronym=[f"area{i}" for i in range(count)])


def test_rows_of_an_image_have_the_names_of_their_areas() -> None:
    of_areas = plotting.plot_psth(areas(17))
    assert [t.get_text() for t in of_areas.get_yticklabels()] == [f"area{i}" for i in range(17)]
    np.testing.assert_array_equal(of_areas.get_yticks(), range(17))
    assert of_areas.get_ylabel() == "ecephys structure acronym"
    assert [t.get_text() for t in plotting.plot_psth(areas(200)).get_yticklabels()][:3] == ["area0", "area5", "area10"]
    levels = plotting.plot_psth(histogram(level=np.linspace(0, 1.5, 16)))
    assert [t.get_text() for t in levels.get_yticklabels()][:3] == ["0", "0.1", "0.2"]
    assert plotting.plot_psth(histogram(unit_id=np.arange(20))).get_ylabel() == "unit (row)"
    plain = histogram(repeat=np.arange(20))["rate"].drop_vars("repeat")
    assert plotting.plot_spike_counts(plain).get_ylabel() == "repeat (row)"


def test_lines_are_told_apart_in_each_figure() -> None:
    lines = plotting.plot_psth(areas(12)).lines[:12]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 12
    units = list(range(12))
    waveform = xr.DataArray([[0.0, 1.0]], dims=("channel_id", "time"), coords={"channel_id": [1], "time": [0.0, 0.001]})
    drawn = plotting.plot_mean_waveforms(dict.fromkeys(units, waveform), units, dict.fromkeys(units, 1)).lines
    assert len({(line.get_color(), line.get_linestyle()) for line in drawn}) == 12


def test_the_average_of_standard_errors_is_not_drawn_as_one() -> None:
    """Of nine units that scatter alike, the average rate is three times as certain as each; their mean SEM is not."""
    units = histogram(unit_id=[7, 8, 9]).assign_coords(ecephys_structure_acronym=("unit_id", ["VISp", "VISp", "LGd"]))
    units["presentation_count"] = 10
    averages = units.groupby("ecephys_structure_acronym").mean(), units.mean("unit_id"), units.groupby("unit_id").mean()
    for averaged in averages[:2]:
        with pytest.warns(UserWarning, match="no band is drawn: the sem .* average of the standard errors of units"):
            assert not plotting.plot_psth(averaged).collections
    assert len(plotting.plot_psth(averages[2]).collections) == 3  # of each unit its own
    assert len(plotting.plot_psth(units.isel(unit_id=0)).collections) == 1
    rates = units["rate"].groupby("ecephys_structure_acronym")
    over_units = xr.Dataset({"rate": rates.mean(), "sem": rates.std(ddof=1) / rates.count() ** 0.5})
    assert len(plotting.plot_psth(over_units).collections) == 2
    assert not plotting.plot_psth(over_units.drop_vars("sem")).collections


def test_psth_that_cannot_be_drawn_is_refused_by_what_it_holds() -> None:
    import matplotlib.pyplot as plt

    plt.close("all")
    with pytest.raises(InvalidValueError, match="nothing to draw: this histogram holds 0 unit_id, 3 time"):
        plotting.plot_psth(histogram(unit_id=[]))
    with pytest.raises(InvalidValueError, match="nothing to draw"):
        plotting.plot_spike_counts(histogram(unit_id=[])["rate"])
    with pytest.raises(
        InvalidValueError, match=r"choose one color with \.sel: this histogram has groups of color and of"
    ):
        plotting.plot_psth(areas(3, color=[-1.0, 1.0]))
    for text in ("7", [7], 7.5, True, np.nan):
        with pytest.raises(
            InvalidTypeError, match="the id of a unit is one whole number, such as 7, as in this histogram"
        ):
            plotting.plot_psth(histogram(unit_id=[7, 8]), unit_id=text)  # type: ignore[arg-type]
    with pytest.raises(UnknownIdError, match="unit 7: there are no units to choose from in this histogram"):
        plotting.plot_psth(areas(3), unit_id=7)
    with pytest.raises(
        InvalidTypeError, match="must be a Dataset that holds rate, as the call returned it; got a DataA"
    ):
        plotting.plot_psth(areas(3)["rate"])  # type: ignore[arg-type]
    assert not plt.get_fignums()  # nor is an empty figure left behind


def test_tuning_curve_says_what_it_lacks() -> None:
    responses = xr.Dataset(
        {"rate": (("stimulus_presentation_id", "unit_id"), np.ones((4, 2)))},
        {
            "stimulus_presentation_id": range(4),
            "unit_id": [7, 8],
            "snr": ("unit_id", [1.0, 2.0]),
            "orientation": ("stimulus_presentation_id", [0.0, 45, 0, 45]),
        },
    )
    with pytest.raises(UnknownNameError, match="no parameter 'orient'; did you mean 'orientation'"):
        plotting.plot_tuning_curve(responses, "orient", 7)
    with pytest.raises(UnknownNameError, match=r"no parameter 'snr'\. They have: orientation"):
        plotting.plot_tuning_curve(responses, "snr", 7)
    with pytest.raises(InvalidTypeError, match="one whole number, such as 7, as in these responses; got '7'"):
        plotting.plot_tuning_curve(responses, "orientation", "7")  # type: ignore[arg-type]
    with pytest.raises(UnknownIdError, match="unit 9 is not in these responses, of 2 units"):
        plotting.plot_tuning_curve(responses, "orientation", 9)
    with pytest.raises(UnknownIdError, match="no units to choose from in these responses"):
        plotting.plot_tuning_curve(responses.mean("unit_id"), "orientation", 7)
    for chosen in (
        responses,
        responses.sel(unit_id=7),
    ):  # a unit that is selected already, an id as a coordinate has it
        (drawn,) = plotting.plot_tuning_curve(chosen, "orientation", responses["unit_id"][0]).containers
        np.testing.assert_array_equal(drawn.lines[0].get_xydata(), [[0, 1], [45, 1]])


def test_mean_waveforms(ax: Any) -> None:
    waveform = xr.DataArray(
        [[0.0, 1.0], [0.0, -50.0]], dims=("channel_id", "time"), coords={"channel_id": [1, 2], "time": [0.0, 0.001]}
    )
    plotting.plot_mean_waveforms({5: waveform}, [5], {5: 2}, ax)
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[0, 0], [1, -50]])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (ms)", "mean waveform (µV)")


def test_spike_counts(ax: Any) -> None:
    counts = histogram(unit_id=[7, 8])["rate"]
    plotting.plot_spike_counts(counts, ax)
    np.testing.assert_array_equal(ax.collections[0].get_array(), counts)
    np.testing.assert_allclose(ax.get_xlim(), (-0.1, 0.2))
    assert ax.figure.axes[1].get_ylabel() == "rate (Hz)"
    with pytest.raises(ValueError, match="one other; they have color, unit_id"):
        plotting.plot_spike_counts(histogram(color=[1.0], unit_id=[7])["rate"])


def test_running_speed(ax: Any) -> None:
    speed = pd.DataFrame({"start_time": np.arange(50_000.0), "end_time": np.arange(50_000.0) + 1, "velocity": 2.0})
    plotting.plot_running_speed(speed, ax)
    assert ax.lines[0].get_xdata()[0] == 0.5
    assert len(ax.lines[0].get_xdata()) <= 25_000
    assert ax.get_ylabel() == "running speed (cm/s)"


def test_tuning_curve(ax: Any) -> None:
    trials = "stimulus_presentation_id"
    responses = xr.Dataset(
        {"rate": ((trials, "unit_id"), np.array([[1.0], [3.0], [10.0], [0.5]]))},
        coords={
            "unit_id": [7],
            "orientation": (trials, [0.0, 0.0, 90.0, np.nan]),
            "is_blank": (trials, [False, False, False, True]),
        },
    )
    plotting.plot_tuning_curve(responses, "orientation", 7, ax)
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[0, 2], [90, 10]])
    assert ax.get_xlabel() == "orientation (degrees)"
    assert ax.get_legend().get_texts()[0].get_text() == "blank"
    with pytest.raises(UnknownIdError, match="unit 8 is not in these responses"):
        plotting.plot_tuning_curve(responses, "orientation", 8)


def test_receptive_field_has_its_top_row_on_top(ax: Any) -> None:
    field = np.zeros((9, 9))
    field[0, 8] = 5
    plotting.plot_receptive_field(field, ax)
    mesh = ax.collections[0]
    row, column = np.unravel_index(np.argmax(mesh.get_array()), (9, 9))
    corners = mesh.get_coordinates()
    np.testing.assert_allclose(corners[row : row + 2, column : column + 2].mean((0, 1)), [40, 40])
    assert ax.get_ylim()[0] < ax.get_ylim()[1]


def test_lfp_and_current_source_density(ax: Any) -> None:
    lfp = xr.DataArray(
        np.array([[1e-3, 2e-3], [1e-3, 2e-3]]), dims=("time", "channel"), coords={"time": [0.0, 1.0], "channel": [3, 7]}
    )
    plotting.plot_lfp(lfp, ax, spacing=10.0)
    assert [line.get_ydata()[0] for line in ax.lines] == [1.0, 12.0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["3", "7"]
    assert "10 mV between traces" in ax.get_title(loc="right")
    assert plotting.plot_lfp(lfp * np.nan).lines
    csd = xr.DataArray(
        np.arange(12.0).reshape(3, 4),
        dims=("virtual_channel_index", "time"),
        coords={"time": [-0.1, 0.0, 0.1, 0.2], "vertical_position": ("virtual_channel_index", [0.0, 10, 20])},
    )
    drawn = plotting.plot_current_source_density(csd, smoothing=0)
    np.testing.assert_array_equal(drawn.collections[0].get_array(), csd)
    assert drawn.figure.axes[1].get_ylabel() == "current source density\n(uncalibrated; sinks are positive)"


def test_real_arrays_are_drawn(simulated_project: tuple[Path, Any], ax: Any) -> None:
    from allen_ecephys import EcephysProjectCache, UnitFilter

    folder, truth = simulated_project
    session = EcephysProjectCache.fixed(folder).get_session_data(truth.session_id, unit_filter=UnitFilter.none())
    flashes = session.get_stimulus_table("flashes").index
    psth = session.psth(np.arange(-0.1, 0.3, 0.01), flashes, session.units.index[:1], smoothing=0.02, by="color")
    plotting.plot_psth(psth, ax)
    assert len(ax.get_legend().get_texts()) == 2


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(MissingExtraError, match=r"allen-ecephys\[plot\]"):
        plotting.plot_psth(histogram(unit_id=[7]))


def test_figures_of_units_say_what_they_cannot_draw() -> None:
    units = pd.DataFrame(
        {
            "probe_id": [1, 2],
            "ecephys_structure_acronym": ["VISp", np.nan],
            "probe_vertical_position": [20, 40],
            "firing_rate": [1.0, np.nan],
        }
    )
    with pytest.raises(ValueError, match="choose one probe with probe_id: these units are of 1, 2"):
        plotting.plot_units_on_probe(units)
    with pytest.raises(UnknownIdError, match="none of these 2 units is of probe 3"):
        plotting.plot_units_on_probe(units, probe_id=3)
    with pytest.raises(ValueError, match="no column 'fire_rate'; did you mean 'firing_rate'"):
        plotting.plot_units_on_probe(units, probe_id=1, against="fire_rate")
    assert plotting.plot_units_on_probe(units, probe_id=2).get_legend().get_texts()[0].get_text() == (
        "outside the brain (1)"
    )
    drawn = plotting.plot_quality_metric(units, "firing_rate", unit_filter=UnitFilter.none())
    assert drawn.get_xlabel() == "firing rate (Hz)\n1 unit without"
    with pytest.raises(ValueError, match="2 times and 1 amplitudes"):
        plotting.plot_spike_amplitudes([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="there are 2, 1 and 2"):
        plotting.plot_drift_map([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="above 0; got 0"):
        plotting.plot_firing_rate([1.0], bin_size=0)


def test_units_that_a_filter_hides_are_drawn_grey() -> None:
    units = pd.DataFrame(
        {
            "probe_id": [1, 1, 1],
            "ecephys_structure_acronym": ["VISp", "VISp", "CA1"],
            "probe_vertical_position": [200, 180, 40],
            "firing_rate": [1.0, 2.0, 3.0],
            "isi_violations": [0.1, 0.9, 0.9],
        }
    )
    only_isi = UnitFilter(
        presence_ratio_minimum=None, amplitude_cutoff_maximum=None, valid_only=False, in_brain_only=False
    )
    drawn = plotting.plot_units_on_probe(units, unit_filter=only_isi)
    assert [text.get_text() for text in drawn.get_legend().get_texts()] == ["hidden (2)", "VISp (1)"]
    none_passes = plotting.plot_units_on_probe(units.iloc[1:], unit_filter=only_isi)
    assert [text.get_text() for text in none_passes.get_legend().get_texts()] == ["hidden (2)"]


def test_a_rate_does_not_fall_where_the_spikes_end() -> None:
    """A steady unit of 10 Hz, recorded for 130 s: the last bin of a minute would be ten seconds long."""
    drawn = plotting.plot_firing_rate(np.arange(0.05, 130, 0.1), bin_size=60.0)
    np.testing.assert_allclose(drawn.patches[0].get_data().values, 10.0, rtol=0.01)


def test_the_last_bar_of_a_metric_says_that_it_holds_all_beyond() -> None:
    units = pd.DataFrame({"isi_violations": [0.1, 0.2, 7.0]})
    drawn = plotting.plot_quality_metric(units, "isi_violations", unit_filter=UnitFilter.none())
    assert drawn.get_xlabel() == "ISI violations\nlast bar: 2 and more"


@pytest.mark.parametrize("times", [[], [3.0]])
def test_units_without_spikes_are_drawn(times: list[float]) -> None:
    assert plotting.plot_firing_rate(times).get_ylabel() == "firing rate (Hz)"
    assert plotting.plot_spike_amplitudes(times, times).get_ylabel() == "spike amplitude (µV)"
    assert plotting.plot_autocorrelogram(times).get_xlabel() == "time from a spike (ms)"
    assert plotting.plot_drift_map(times, times, times).get_xlabel() == "time (s)"


def test_the_contacts_nearest_to_the_peak_are_drawn() -> None:
    """Distance decides, not the number of a channel: on two shanks the neighbour by number lies 250 um away."""
    channels = pd.DataFrame(
        {"probe_horizontal_position": [0, 250, 0, 250], "probe_vertical_position": [0, 0, 15, 15]}, index=[5, 6, 7, 8]
    )
    waveform = xr.DataArray(
        np.outer([9.0, 1, 2, 3], [0, -1, 0]),
        dims=("channel_id", "time"),
        coords={"channel_id": [5, 6, 7, 8], "time": [0.0, 0.001, 0.002]},
    )
    ax = plotting.plot_waveform_on_probe(waveform, channels, n_channels=2)
    assert [line.get_ydata()[0] for line in ax.lines[:2]] == [0, 15]
    with pytest.raises(UnknownIdError, match="channel 6 of the waveform is not among the 1 channels given"):
        plotting.plot_waveform_on_probe(waveform, channels.iloc[:1])
