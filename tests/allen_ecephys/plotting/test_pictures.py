"""Each figure looks as it did when it was last looked at: compared with a picture, text left out, with a tolerance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from allen_ecephys import plotting

mpl.use("agg")
TIME = "time_relative_to_stimulus_onset"
PICTURES = Path(__file__).parent / "pictures"
#: Root mean square difference of grey values (0 to 255): other versions of matplotlib draw lines a little otherwise.
TOLERANCE = 4.0


def train(seed: int = 0, rate: float = 20.0, duration: float = 300.0) -> np.ndarray:
    """Spikes with a refractory period of 3 ms."""
    gaps = np.random.default_rng(seed).exponential(1 / rate, int(2 * rate * duration)) + 0.003
    times = np.cumsum(gaps)
    return times[times < duration]


def channels() -> pd.DataFrame:
    number = np.arange(24)
    return pd.DataFrame(
        {
            "probe_horizontal_position": np.array([43, 11, 59, 27])[number % 4],
            "probe_vertical_position": 20 * (number // 2) + 20,
        },
        index=100 + number,
    )


def waveform() -> xr.DataArray:
    place, time = channels(), np.arange(82) / 30_000
    apart = np.hypot(place["probe_horizontal_position"] - 43, place["probe_vertical_position"] - 140).to_numpy()
    ms = time * 1000 - 0.7
    shape = -120 * np.exp(-((ms / 0.12) ** 2)) + 35 * np.exp(-(((ms - 0.5) / 0.25) ** 2))
    data = np.exp(-apart / 30)[:, None] * shape
    return xr.DataArray(data, dims=("channel_id", "time"), coords={"channel_id": place.index, "time": time})


def units() -> pd.DataFrame:
    draw = np.random.default_rng(1)
    n = 200
    depth = np.sort(draw.uniform(20, 3800, n))
    structure = np.array(["TH", "LP", "CA1", "VISp", None], dtype=object)[np.minimum(depth // 800, 4).astype(int)]
    return pd.DataFrame(
        {
            "probe_id": 7,
            "ecephys_structure_acronym": structure,
            "probe_vertical_position": depth,
            "firing_rate": draw.lognormal(1, 1.2, n),
            "presence_ratio": np.minimum(draw.exponential(1, n), 0.99),
            "isi_violations": draw.exponential(0.3, n),
            "amplitude_cutoff": draw.uniform(0, 0.3, n),
        }
    )


def histogram(n_units: int) -> xr.Dataset:
    time = np.arange(-0.1, 0.4, 0.01) + 0.005
    peak = np.linspace(0.04, 0.3, n_units)[:, None]
    rate = 5 + 30 * np.exp(-(((time - peak) / 0.03) ** 2))
    coords = {"unit_id": np.arange(n_units), TIME: time}
    return xr.Dataset({"rate": (tuple(coords), rate, {"units": "Hz"}), "sem": (tuple(coords), rate / 10)}, coords)


def gratings() -> xr.Dataset:
    direction = np.repeat(np.arange(0.0, 360, 45), 10)
    rate = 3 + 20 * np.exp(np.cos(np.deg2rad(direction - 90)) * 2) / np.e**2
    rate = rate + np.random.default_rng(2).normal(0, 2, len(rate))
    trial = "stimulus_presentation_id"
    return xr.Dataset(
        {"rate": ((trial, "unit_id"), rate[:, None])}, {"unit_id": [7], "orientation": (trial, direction)}
    )


def epochs() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "start_time": [0.0, 300.0, 1200.0, 1300.0, 2200.0],
            "stop_time": [300.0, 1200.0, 1300.0, 2200.0, 2500.0],
            "stimulus_name": ["gabors", "drifting_gratings", "spontaneous", "natural_scenes", "gabors"],
        }
    )


def lfp() -> xr.DataArray:
    time = np.arange(0, 1, 0.0008)
    waves = np.sin(2 * np.pi * 6 * time[:, None] + np.arange(8) / 3) * np.linspace(0.3, 1, 8) * 2e-4
    return xr.DataArray(waves, dims=("time", "channel"), coords={"time": time, "channel": 850_000 + 4 * np.arange(8)})


def csd() -> xr.DataArray:
    time, depth = np.arange(-0.05, 0.2, 0.002), np.arange(0, 1000, 20.0)
    bump = (
        np.exp(-(((time - 0.06) / 0.02) ** 2))
        * np.cos((depth[:, None] - 500) / 120)
        * np.exp(-(((depth[:, None] - 500) / 200) ** 2))
    )
    return xr.DataArray(
        bump,
        dims=("virtual_channel_index", "time"),
        coords={"time": time, "vertical_position": ("virtual_channel_index", depth)},
    )


def raster(ax: Any) -> Any:
    draw = np.random.default_rng(3)
    spikes = pd.DataFrame(
        {
            "stimulus_presentation_id": draw.integers(0, 30, 200),
            "unit_id": 1,
            "time_since_stimulus_presentation_onset": draw.uniform(-0.1, 0.4, 200),
        },
        index=pd.Index(np.arange(200.0), name="spike_time"),
    )
    return plotting.plot_raster(spikes, ax, row_ids=np.arange(34), rows="stimulus_presentation_id")


def running(ax: Any) -> Any:
    time = np.arange(0, 2500.0)
    speed = pd.DataFrame({"start_time": time, "end_time": time + 1, "velocity": 20 * np.maximum(0, np.sin(time / 150))})
    return plotting.plot_stimulus_blocks(epochs(), plotting.plot_running_speed(speed, ax))


def pupil(ax: Any) -> Any:
    time = np.arange(0, 100, 0.1)
    size = 60 + 10 * np.sin(time / 9)
    size[200:260] = np.nan
    table = pd.DataFrame({"pupil_width": size * 1.1, "pupil_height": size / 1.1}, index=time)
    return plotting.plot_pupil(table, ax)


def drift(ax: Any) -> Any:
    draw = np.random.default_rng(4)
    time, which = draw.uniform(0, 600, 4000), draw.integers(0, 12, 4000)
    depth = 300 * which + 25 * np.sin(time / 100) + draw.normal(0, 6, 4000)
    return plotting.plot_drift_map(time, depth, 40 + 20.0 * which, ax)


def amplitudes(ax: Any) -> Any:
    times = train()
    heights = (90 - 0.1 * times + np.random.default_rng(5).normal(0, 8, len(times))) * 1e-6
    return plotting.plot_spike_amplitudes(times, heights, ax, bin_size=20)


INVALID = pd.DataFrame({"start_time": [700.0], "stop_time": [760.0]})
FIELD = np.exp(-(((np.arange(9) - 2)[:, None] / 1.5) ** 2) - ((np.arange(9) - 6) / 2) ** 2)
FIGURES: dict[str, Callable[[Any], Any]] = {
    "raster": raster,
    "psth_lines": lambda ax: plotting.plot_psth(histogram(3), ax),
    "psth_image": lambda ax: plotting.plot_psth(histogram(40), ax),
    "psth_levels": lambda ax: plotting.plot_psth(histogram(5).rename(unit_id="contrast"), ax),
    "tuning": lambda ax: plotting.plot_tuning_curve(gratings(), "orientation", 7, ax),
    "receptive_field": lambda ax: plotting.plot_receptive_field(FIELD, ax),
    "waveform_on_probe": lambda ax: plotting.plot_waveform_on_probe(waveform(), channels(), ax),
    "units_on_probe": lambda ax: plotting.plot_units_on_probe(units(), ax),
    "quality_metric": lambda ax: plotting.plot_quality_metric(units(), "isi_violations", ax),
    "firing_rate": lambda ax: plotting.plot_firing_rate(train(), ax, bin_size=10),
    "spike_amplitudes": amplitudes,
    "autocorrelogram": lambda ax: plotting.plot_autocorrelogram(train(), ax),
    "drift_map": drift,
    "lfp": lambda ax: plotting.plot_lfp(lfp(), ax),
    "csd": lambda ax: plotting.plot_current_source_density(csd(), ax),
    "running_with_blocks": running,
    "pupil": pupil,
    "timeline": lambda ax: plotting.plot_session_timeline(epochs(), ax, invalid_times=INVALID),
}


def draw_figure(name: str, path: Path, *, text: bool) -> None:
    import matplotlib.pyplot as plt
    from matplotlib.testing.decorators import remove_ticks_and_titles

    with mpl.rc_context(mpl.rcParamsDefault):
        figure, ax = plt.subplots(figsize=(4, 3), layout="constrained")
        assert FIGURES[name](ax) is ax
        assert ax.get_xlabel()
        if not text:
            remove_ticks_and_titles(figure)
            for axes in figure.axes:
                axes.set(xlabel="", ylabel="")
                if axes.get_legend() is not None:
                    axes.get_legend().remove()
        figure.savefig(path, dpi=100 if text else 60)
        plt.close(figure)


@pytest.mark.parametrize("name", FIGURES)
def test_picture(name: str, tmp_path: Path) -> None:
    from matplotlib.testing.compare import compare_images

    made, kept = tmp_path / f"{name}.png", PICTURES / f"{name}.png"
    draw_figure(name, made, text=False)
    assert kept.is_file(), f"look at {made}, and copy it to {kept}"
    difference = compare_images(str(kept), str(made), TOLERANCE)
    assert difference is None, f"{difference}\nif the change is meant: cp {made} {kept}"


def test_every_figure_has_a_picture() -> None:
    drawn = {function for name in FIGURES for function in [FIGURES[name]]}
    assert len(drawn) == len(FIGURES)
    source = Path(__file__).read_text(encoding="utf-8")
    without = {"plot_mean_waveforms", "plot_spike_counts"}  # lines of one kind; psth_image draws the other
    assert [n for n in plotting.__all__ if n.startswith("plot") and f".{n}(" not in source and n not in without] == []
