"""A session file and an LFP file with a bit of everything, small enough to be damaged thousands of times."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

PROBE = 100


def _writer() -> Any:
    """Return the module that writes small sessions for the tests of the reading room."""
    path = Path(__file__).parents[1] / "allen_ecephys" / "conftest.py"
    spec = spec_from_file_location("small_sessions", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_small_session(path: Path) -> Path:
    """Write spikes, presentations, invalid times, running, eye tracking, light pulses and the rig."""
    rng = np.random.default_rng(0)
    writer = _writer()
    starts = np.arange(40) * 0.5
    writer.write_minimal_session(
        path,
        spike_times=[np.sort(rng.uniform(0, 20, n)) for n in (300, 0, 1, 700)],
        presentations=pd.DataFrame(
            {
                "start_time": starts,
                "stop_time": starts + 0.25,
                "stimulus_name": ["drifting_gratings"] * 20 + ["natural_scenes"] * 20,
                "stimulus_block": [0.0] * 20 + [1.0] * 20,
                "orientation": [float(45 * (i % 4)) for i in range(20)] + [np.nan] * 20,
                "phase": ["[0.1, 0.2]"] * 20 + [None] * 20,
                "frame": [np.nan] * 20 + [float(i % 5) for i in range(20)],
            }
        ),
        invalid_times=pd.DataFrame(
            {"start_time": [3.1], "stop_time": [3.2], "tags": [["EcephysProbe", "100", "stimulus"]]}
        ),
    )
    with h5py.File(path, "a") as file:
        times = np.arange(30) / 30
        for table in ("cr_ellipse_fits", "pupil_ellipse_fits", "eye_ellipse_fits"):
            for column in ("center_x", "center_y", "height", "width", "phi"):
                file[f"processing/eye_tracking/{table}/{column}"] = rng.normal(size=30)
        for module in ("raw_gaze_mapping", "filtered_gaze_mapping"):
            for series, width in (("eye_area", 1), ("pupil_area", 1), ("screen_coordinates", 2),
                                  ("screen_coordinates_spherical", 2)):  # fmt: skip
                values = rng.normal(size=(30, width) if width > 1 else 30)
                file[f"processing/{module}/{series}/data"] = values
                file[f"processing/{module}/{series}/timestamps"] = times
        writer.write_table(
            file.create_group("processing/optotagging/optogenetic_stimulation"),
            pd.DataFrame(
                {
                    "start_time": [5.0, 6.0],
                    "stop_time": [5.1, 6.1],
                    "condition": ["a pulse"] * 2,
                    "level": [1.0, 2.0],
                    "stimulus_name": ["pulse"] * 2,
                    "duration": [0.1, 0.1],
                }
            ),
        )
        rig = file.create_group("processing/eye_tracking_rig_metadata/eye_tracking_rig_metadata")
        rig.attrs["equipment"] = "NP.1"
        for vector in ("monitor_position", "camera_position", "led_position", "monitor_rotation", "camera_rotation"):
            rig[vector] = [1.0, 2.0, 3.0]
            rig[vector].attrs["unit"] = "mm"
    return path


def write_small_lfp(path: Path) -> Path:
    """Write LFP in compressed chunks, its timestamps likewise, and a current source density."""
    rng = np.random.default_rng(1)
    with h5py.File(path, "w") as file:
        file.attrs["nwb_version"] = "2.2.2"
        series = file.create_group(f"acquisition/probe_{PROBE}_lfp/probe_{PROBE}_lfp_data")
        values = rng.normal(0, 1e-4, (1000, 6)).astype(np.float32)
        series.create_dataset("data", data=values, chunks=(300, 2), compression="gzip")
        series["data"].attrs["conversion"] = 1.0
        series.create_dataset("timestamps", data=5 + np.arange(1000) / 1250, chunks=(256,), compression="gzip")
        series["electrodes"] = np.arange(6)
        series["channel_conversion"] = np.ones(6)
        file["general/extracellular_ephys/electrodes/id"] = 1000 + 4 * np.arange(6)
        density = "processing/current_source_density/ecephys_csd"
        file[f"{density}/current_source_density/data"] = rng.normal(size=(20, 8))
        file[f"{density}/current_source_density/timestamps"] = np.arange(20) / 1250
        file[f"{density}/virtual_electrode_x_positions"] = np.zeros(8)
        file[f"{density}/virtual_electrode_y_positions"] = np.arange(8) * 40.0
    return path
