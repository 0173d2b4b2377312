"""Run AllenSDK's producing modules on a rig's folder and save what they make; started by AllenSDK's interpreter."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from allensdk.brain_observatory.ecephys.align_timestamps.__main__ import align_timestamps
from allensdk.brain_observatory.ecephys.current_source_density import _current_source_density as csd
from allensdk.brain_observatory.ecephys.current_source_density._filter_utils import filter_lfp_channels
from allensdk.brain_observatory.ecephys.file_io.ecephys_sync_dataset import EcephysSyncDataset
from allensdk.brain_observatory.ecephys.lfp_subsampling import subsampling
from allensdk.brain_observatory.ecephys.optotagging_table.__main__ import build_opto_table
from allensdk.brain_observatory.ecephys.stimulus_table import _schemas as table_schemas
from allensdk.brain_observatory.ecephys.stimulus_table.__main__ import build_stimulus_table
from allensdk.brain_observatory.ecephys.stimulus_table.stimulus_parameter_extraction import DROP_PARAMS
from allensdk.brain_observatory.extract_running_speed.__main__ import extract_running_speeds, running_from_stim_file
from allensdk.brain_observatory.gaze_mapping.__main__ import load_ellipse_fit_params, run_gaze_mapping

LIGHTS = {
    "1": {"duration": 0.005, "name": "pulse", "condition": "a single square pulse"},
    "2": {"duration": 0.01, "name": "pulse", "condition": "a single square pulse"},
    "3": {"duration": 1.0, "name": "raised_cosine", "condition": "half-period of a cosine wave"},
}


def main(rig: Path, out: Path) -> None:
    sync = EcephysSyncDataset.factory(str(rig / "rig.sync"))
    events = next(iter(sorted((rig / "probeA").rglob("channel_states.npy")))).parent
    np.save(out / "samples.npy", np.arange(0, 1_500_000, 997))
    aligned = align_timestamps(
        {
            "sync_h5_path": str(rig / "rig.sync"),
            "probes": [
                {
                    "name": "probeA",
                    "sampling_rate": 30000.0,
                    "lfp_sampling_rate": 2500.0,
                    "start_index": 0,
                    "barcode_channel_states_path": str(events / "channel_states.npy"),
                    "barcode_timestamps_path": str(events / "event_timestamps.npy"),
                    "mappable_timestamp_files": [
                        {"name": "s", "input_path": str(out / "samples.npy"), "output_path": str(out / "aligned.npy")}
                    ],
                }
            ],
        }
    )["probe_outputs"][0]
    names = ("total_time_shift", "global_probe_sampling_rate", "global_probe_lfp_sampling_rate")
    (out / "clock.json").write_text(json.dumps({name: float(aligned[name]) for name in names}))

    build_stimulus_table(
        stimulus_pkl_path=str(rig / "stimulus.pkl"),
        sync_h5_path=str(rig / "rig.sync"),
        frame_time_strategy="use_photodiode",
        minimum_spontaneous_activity_duration=sys.float_info.epsilon,
        extract_const_params_from_repr=True,
        drop_const_params=[*DROP_PARAMS, "maskParams"],
        maximum_expected_spontanous_activity_duration=1225.02541,
        stimulus_name_map=table_schemas.default_stimulus_renames,
        column_name_map=table_schemas.default_column_renames,
        output_stimulus_table_path=str(out / "stimulus_table.csv"),
        output_frame_times_path=str(out / "frame_times.npy"),
        fail_on_negative_duration=False,
    )

    pickle = pd.read_pickle(rig / "stimulus.pkl")
    times = sync.get_edges("rising", ("frames", "stim_vsync", "vsync_stim"), units="seconds")
    dx = running_from_stim_file(pickle, "dx", len(times))
    extract_running_speeds(times, dx, dx, dx, 8.255, 2 / 3, use_median_duration=True).to_csv(out / "running.csv")

    build_opto_table(
        {
            "opto_pickle_path": str(rig / "optotagging.pkl"),
            "sync_h5_path": str(rig / "rig.sync"),
            "conditions": LIGHTS,
            "output_opto_table_path": str(out / "lights.csv"),
        }
    )

    described = json.loads((rig / "session.json").read_text())["rig"]
    fits = load_ellipse_fit_params(rig / "eye_ellipses.h5")
    gaze = run_gaze_mapping(
        pupil_parameters=fits["pupil_params"],
        cr_parameters=fits["cr_params"],
        eye_parameters=fits["eye_params"],
        monitor_position=np.array(described["monitor_position"]) / 10,
        monitor_rotations=np.radians(described["monitor_rotation"]),
        camera_position=np.array(described["camera_position"]) / 10,
        camera_rotations=np.radians(described["camera_rotation"]),
        led_position=np.array(described["led_position"]) / 10,
        eye_radius_cm=0.1682,
        cm_per_pixel=10.2 / 10000,
    )
    np.savez(out / "gaze.npz", **{name: np.asarray(values) for name, values in gaze.items()})

    raw = np.load(out / "lfp_raw.npy")
    surface = int(np.load(out / "surface.npy"))
    chosen, numbers = subsampling.select_channels(
        raw.shape[1], surface, 40, 2, 4, np.arange(raw.shape[1]), [], False, np.array([], int), False
    )
    lfp = subsampling.subsample_lfp(raw, chosen, 2)
    lfp = subsampling.remove_lfp_offset(lfp, 1250.0, 0.1, 1)
    np.save(out / "lfp_channels.npy", numbers)
    np.save(out / "lfp.npy", subsampling.remove_lfp_noise(lfp, surface, numbers))
    trial = np.load(out / "trial.npy")
    filtered = filter_lfp_channels(trial[None], 2500.0, [5.0, 150.0], 5)
    np.save(out / "filtered.npy", filtered[0])
    density, _ = csd.compute_csd(filtered.mean(axis=0), 0.01)
    np.save(out / "density.npy", density)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
