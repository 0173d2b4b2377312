"""AllenSDK's figures, called as its notebooks call them: a Figure comes back, and shows the numbers given."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from allen_ecephys.visualization import plot_mean_waveforms, plot_running_speed, plot_spike_counts, raster_plot

mpl.use("agg")


@pytest.fixture(autouse=True)
def drawn() -> Any:
    import matplotlib.pyplot as plt

    yield
    for number in plt.get_fignums():
        plt.figure(number).canvas.draw()  # what cannot be drawn fails here
    plt.close("all")


def test_raster() -> None:
    """Three spikes of two units are two line collections; the figure is returned, with the title asked for."""
    spikes = pd.DataFrame(
        {"stimulus_presentation_id": [4, 4, 9], "unit_id": [30, 10, 30]},
        index=pd.Index([1.1, 1.2, 2.3], name="spike_time"),
    )
    figure = raster_plot(spikes, title="spikes of two units", cycle_colors=True)
    (ax,) = figure.axes
    assert isinstance(figure, mpl.figure.Figure)
    assert [[s[0][0] for s in c.get_segments()] for c in ax.collections] == [[1.2], [1.1, 2.3]]
    assert (ax.get_title(), ax.get_xlabel(), ax.get_ylabel()) == (
        "spikes of two units",
        "time (s)",
        "unit with spikes",
    )
    assert len({tuple(c.get_colors()[0]) for c in ax.collections}) == 2
    assert len(raster_plot(spikes.iloc[:0]).axes[0].collections) == 0
    asked = raster_plot(spikes, unit_ids=[10, 20, 30]).axes[0]  # unit 20 was silent: its row stays empty
    assert (asked.get_ylim(), asked.get_ylabel()) == ((0, 3), "unit")
    assert [s[:, 1].tolist() for c in asked.collections for s in c.get_segments()] == [[0, 1], [2, 3], [2, 3]]


def test_spike_counts_of_units_by_time() -> None:
    counts = xr.DataArray(np.arange(12.0).reshape(4, 3), dims=("time_relative_to_stimulus_onset", "unit_id"))
    times = np.linspace(0, 1, 4)
    figure = plot_spike_counts(counts.T, times, "mean spike count", "flashes", xtick_step=2)
    ax, colorbar = figure.axes
    np.testing.assert_array_equal(ax.images[0].get_array(), counts.T)
    assert (ax.get_title(), ax.get_ylabel(), colorbar.get_ylabel()) == ("flashes", "unit", "mean spike count")
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0.000", "0.667"]
    # Time first, as the mean over presentations has it and AllenSDK asks for it.
    ax = plot_spike_counts(counts, times, "mean spike count", "flashes").axes[0]
    np.testing.assert_array_equal(ax.images[0].get_array(), counts.T)
    square = counts[:3]
    ax = plot_spike_counts(square, times[:3], "mean spike count", "flashes").axes[0]
    np.testing.assert_array_equal(ax.images[0].get_array(), square.T)
    with pytest.raises(ValueError, match=r"rows x 4 times; they have the shape \(4, 3\)"):
        plot_spike_counts(counts.to_numpy(), times, "mean spike count", "flashes")


def test_running_speed_between_two_samples() -> None:
    figure = plot_running_speed(np.arange(10.0), np.arange(10.0) ** 2, start_index=2, stop_index=6)
    (line,) = figure.axes[0].lines
    assert line.get_xdata().tolist() == [2, 3, 4, 5]
    assert line.get_ydata().tolist() == [4, 9, 16, 25]
    assert figure.axes[0].get_title() == "running speed from 2.00 to 5.00 seconds"


def test_mean_waveforms_on_the_peak_channel() -> None:
    waveform = xr.DataArray(
        np.arange(10.0).reshape(2, 5),
        dims=("channel_id", "time"),
        coords={"channel_id": [1, 2], "time": np.arange(5) / 1000},
    )
    figure = plot_mean_waveforms({7: waveform}, [7], {7: 2})
    assert figure.axes[0].lines[0].get_ydata().tolist() == [5, 6, 7, 8, 9]
