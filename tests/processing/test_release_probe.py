"""On a probe like the release's, rules in um give what rules in channel numbers gave.

``golden_release_probe.json`` holds what one simulated 3A probe of 384 channels, ten of them references, measured when
all distances were still differences of channel numbers, 10 um a channel.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from allen_ecephys.processing.quality_metrics import QualitySettings
from allen_ecephys.processing.simulation.raw.recording import write_recording
from allen_ecephys.processing.simulation.raw.signal import DriftModel
from allen_ecephys.processing.simulation.raw.trains import TrainModel
from allen_ecephys.processing.spike_band.probe_info import read_probe_info
from allen_ecephys.processing.stages.opening import open_probe
from allen_ecephys.processing.stages.units import UnitParameters, measure_units
from allen_ecephys.processing.unit_cleaning import NoiseThresholds

#: Columns of the noise rules that count in um what the release counted in channels.
IN_CHANNELS = ("smoothed_spread", "spread", "foci_sd")


def test_a_release_like_probe_measures_as_it_did(tmp_path: Path) -> None:
    golden = json.loads((Path(__file__).parent / "golden_release_probe.json").read_text())
    truth = write_recording(
        tmp_path / "raw", duration=3.0, n_units=12, seed=11, drift=DriftModel(linear_um=25.0),
        trains=TrainModel(rate_range=(20.0, 60.0)), amplitude_range=(90.0, 400.0),
    )  # fmt: skip
    probe = open_probe(tmp_path / "raw", spikes=truth.sorted_spikes())
    parameters = UnitParameters(
        quality=QualitySettings(drift_interval=0.5), noise=NoiseThresholds(definition="release")
    )
    table = measure_units(probe, tmp_path / "u", parameters)
    info = read_probe_info(next((tmp_path / "u").glob("*/probe_info.json")))
    assert (info.surface_channel, info.air_channel) == (golden["surface_channel"], golden["air_channel"])
    assert np.flatnonzero(~info.mask).tolist() == golden["masked"]
    for name, values in golden["metrics"].items():
        expected = pd.Series(values, index=table.index, name=name)
        pd.testing.assert_series_equal(table[name], expected, check_dtype=False, rtol=1e-6, atol=1e-9)
    noise = pd.read_csv(next((tmp_path / "u").glob("*/noise_units.csv")), index_col="cluster_id")
    for name, values in golden["noise"].items():
        expected = pd.Series(values, index=noise.index, name=name)
        if name == "reasons":  # two wide templates lost the sites that are exactly zero, whatever the distances
            assert noise[name].str.replace("fails_spread,", "").tolist() == values
            continue
        expected = 10.0 * expected if name in IN_CHANNELS else expected
        pd.testing.assert_series_equal(noise[name], expected, check_dtype=False, rtol=1e-6)
