"""What the newest pynwb writes, the oldest supported one reads.

``ALLEN_ECEPHYS_OLDEST_PYNWB_PYTHON`` names the interpreter of an environment with ``pynwb==3.1.*`` and ``hdmf==4.2.*``.
"""

from __future__ import annotations

import json
import os
import subprocess

import h5py
import numpy as np
import pytest

from allen_ecephys.processing.simulation import write_lfp, write_session

pytestmark = pytest.mark.peers

SESSION = """
import json, sys, pynwb
with pynwb.NWBHDF5IO(sys.argv[1], "r") as io:
    file = io.read()
    units = file.units.to_dataframe()
    print(json.dumps({
        "pynwb": pynwb.__version__,
        "subject": file.subject.specimen_name,
        "probes": sorted(int(device.probe_id) for device in file.devices.values()),
        "electrodes": len(file.electrodes),
        "quality": units["quality"].tolist(),
        "spikes": [float(times.sum()) for times in units["spike_times"]],
        "waveform": list(units["waveform_mean"].iloc[0].shape),
        "presentations": {name: len(table) for name, table in file.intervals.items()},
        "speed": float(file.processing["running"]["running_speed"].data[:].sum()),
        "rig": file.processing["eye_tracking_rig_metadata"]["eye_tracking_rig_metadata"].equipment,
    }))
"""
LFP = """
import json, sys, pynwb
with pynwb.NWBHDF5IO(sys.argv[1], "r") as io:
    file = io.read()
    series = next(v for k, v in file.acquisition.items() if k.endswith("_lfp_data"))
    csd = file.processing["current_source_density"]["ecephys_csd"]
    print(json.dumps({"shape": list(series.data.shape), "sum": float(series.data[:, 3].sum(dtype="f8")),
                      "electrodes": series.electrodes.to_dataframe().index.tolist(),
                      "csd": list(csd.time_series.data.shape)}))
"""


@pytest.fixture(scope="module")
def read():
    """Return what runs a script on a file under the oldest pynwb."""
    python = os.environ.get("ALLEN_ECEPHYS_OLDEST_PYNWB_PYTHON")
    if not python:
        pytest.skip("ALLEN_ECEPHYS_OLDEST_PYNWB_PYTHON names no interpreter that has pynwb 3.1 and hdmf 4.2")

    def run(script, path):
        command = [python, "-c", script, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    path = tmp_path_factory.mktemp("oldest") / "session.nwb"
    return write_session(path, scale=0.005, n_units=12, n_probes=2, has_lfp=True)


def test_oldest_pynwb_reads_a_session(read, truth):
    answer = read(SESSION, truth.path)
    assert answer["pynwb"].startswith("3.1")
    assert answer["probes"] == truth.probes.index.tolist()
    assert answer["electrodes"] == len(truth.channels)
    assert answer["quality"] == truth.units["quality"].tolist()
    assert answer["waveform"] == [384, 82]
    assert answer["subject"].startswith("Sst-IRES-Cre")
    assert answer["rig"] == "NP.1"
    counts = truth.stimulus_presentations["stimulus_name"].value_counts()
    assert {f"{name}_presentations": n for name, n in counts.items()}.items() <= answer["presentations"].items()
    with h5py.File(truth.path) as file:
        times = np.split(file["units/spike_times"][()], file["units/spike_times_index"][()][:-1].astype(int))
        speed = file["processing/running/running_speed/data"][()].sum()
    np.testing.assert_allclose(answer["spikes"], [t.sum() for t in times], rtol=1e-12)
    assert answer["speed"] == pytest.approx(speed)


def test_oldest_pynwb_reads_an_lfp_file(read, truth, tmp_path):
    probe = int(truth.probes.index[1])
    lfp = write_lfp(tmp_path / "lfp.nwb", truth, probe, stop=10.0)
    answer = read(LFP, tmp_path / "lfp.nwb")
    assert answer["shape"] == list(lfp.traces.shape)
    assert answer["electrodes"] == lfp.channels.index.tolist()
    assert answer["csd"] == [875, 384]
    assert answer["sum"] == pytest.approx(float(lfp.traces[0 : lfp.traces.shape[0]][:, 3].sum(dtype="f8")))
