"""AllenSDK and this package read the same files through every public call; every difference left is named here.

AllenSDK runs in its own environment, whose interpreter ``ALLEN_ECEPHYS_ALLENSDK_PYTHON`` names. It cannot read current
NWB, so the simulated sessions are written again there, with pynwb 2.8, from the same arrays; both packages read that.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from allen_ecephys.processing.simulation import write_lfp, write_session

pytestmark = pytest.mark.peers

HERE = Path(__file__).parent
SOURCES = ("replica", "excerpt", "brain_observatory_1.1", "functional_connectivity")

#: What may differ, as a pattern of ``call: where: what``, and the correction or decision it is.
PARAMETERS = r"(stimulus_conditions|get_stimulus_epochs|get_(stimulus_)?parameter_values.*)"
SPIKES_OF_NO_ONE = r"(index: (name: None|dtype: object)|only (ours|theirs): |\[.*\] dtype: object)"
ABSENT = r"(rig_geometry_data|rig_equipment_name|get_pupil_data|get_screen_gaze_data)"
CORRECTIONS = {
    # D9: counts do not wrap at 65,536 (binarized ones are uint8 in both).
    r"presentationwise_spike_counts\(.*dtype: uint16 \| int32": "D9",
    # D10: empty results keep their columns.
    r"(get_)?invalid_times: (index: (name|dtype): .*|only ours: (start_time|stop_time|tags))": "D10",
    r"units: index: dtype: object \| int64": "D10: no unit of the replica passes the filter",
    rf"presentationwise_spike_times\(.*: {SPIKES_OF_NO_ONE}.*": "D10",
    # D13: typed stimulus tables; the values themselves are compared.
    rf"{PARAMETERS}: \[.*\] dtype: (object|bool|float64) \| .*": "D13",
    rf"{PARAMETERS}: \[.*\] shape: .*": "D13: pairs instead of their text, no axis of length one",
    r"stimulus_conditions: only ours: is_blank": "D13: blank sweeps are marked",
    r"get_stimulus_table\(.*: \[.*\] dtype: (object|bool) \| float64": "D13: a column of numbers is one of numbers",
    # Section 2.4: AllenSDK reports the NaN of masked presentations, and 0.08 next to its text.
    r"get_stimulus_parameter_values.*: \[.*\] same distinct values: .*": "D13",
    # D15: waveform_halfwidth is in the file, and in the table.
    r"units: only ours: waveform_halfwidth": "D15",
    # D16: amplitudes are those of the units shown.
    r"spike_amplitudes: only theirs: key \d+": "D16",
    # D24: what a session lacks is an error that says so, not None and a print.
    rf"{ABSENT}: error: a result \| MissingDataError: .*": "D24",
    # Ids are integers even where AllenSDK's merging made them floats; indices carry their names.
    r"mean_waveforms: \[\d+\] \(channel_id\) dtype: float64 \| int64": "ids are integers",
    r"conditionwise_spike_statistics\(.*: index: dtype: float64 \| int64": "ids are integers beside masked ones",
    r"structurewise_unit_counts: index: name: None \| ecephys_structure_acronym": "indices carry their names",
    # AllenSDK's column order follows the hash of names; ours is fixed. Mappings are equal whatever their order.
    r"(stimulus_presentations|stimulus_conditions|get_stimulus_table.*|units|channels): order of columns: .*": "fixed",
    r"(spike_times|spike_amplitudes|mean_waveforms|get_.*parameter_values.*): order of keys": "mappings",
    # The comparison itself gives AllenSDK placeholders for the ids of structures, which a project cache would know.
    r"(units|channels): \[ecephys_structure_id\] (dtype|values): .*": "placeholders",
    # Sums in another order.
    r"conditionwise_spike_statistics\(.*: \[spike_(mean|std|sem)\] rounding: .*": "rounding below 1e-9",
}


def load(name):
    """Import a module that lies beside this file (pytest's importlib mode knows no siblings)."""
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def allensdk():
    python = os.environ.get("ALLEN_ECEPHYS_ALLENSDK_PYTHON")
    if not python:
        pytest.skip("ALLEN_ECEPHYS_ALLENSDK_PYTHON names no interpreter that has AllenSDK 2.16.2")
    return python


def run(python, script, *arguments):
    done = subprocess.run([python, HERE / script, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def files(source, folder, allensdk, shared_data):
    """Return the session file of a source and its LFP files by probe."""
    if source == "replica":
        replica = shared_data / "replica"
        lfp = {int(path.name.split("_")[1]): path for path in sorted(replica.glob("probe_*_lfp.nwb"))}
        return replica / "session_715093703.nwb", lfp
    if source == "excerpt":
        return shared_data / "ecephys-cache" / "session_732592105" / "session_732592105.nwb", {}
    truth = write_session(folder / "ours.nwb", source, scale=0.01, n_units=60, n_probes=3, seed=1, has_lfp=True)
    probe = int(truth.probes.index[0])
    write_lfp(folder / "ours_lfp.nwb", truth, probe, stop=30.0)
    for name in ("ours", "ours_lfp"):
        run(allensdk, "write_with_allensdk.py", folder / f"{name}.nwb", folder / f"{name}_pynwb2.nwb")
    return folder / "ours_pynwb2.nwb", {probe: folder / "ours_lfp_pynwb2.nwb"}


@pytest.fixture(scope="module", params=SOURCES)
def answers(request, tmp_path_factory, allensdk, shared_data):
    """Return what AllenSDK and this package answer to every call on one source."""
    folder = tmp_path_factory.mktemp(request.param)
    session, lfp = files(request.param, folder, allensdk, shared_data)
    named = [f"{probe}={path}" for probe, path in lfp.items()]
    run(allensdk, "session_calls.py", "allensdk", folder / "theirs", session, *named)
    run(sys.executable, "session_calls.py", "ours", folder / "ours", session, *named)
    results = load("compare_results").Results
    return results(folder / "theirs"), results(folder / "ours")


def test_every_difference_is_a_named_correction(answers):
    theirs, ours = answers
    assert set(theirs.calls) == set(ours.calls)
    found = load("compare_results").differences(theirs, ours)
    unnamed = [line for line in found if not any(re.fullmatch(pattern, line) for pattern in CORRECTIONS)]
    assert not unnamed, "\n".join(unnamed)


def test_hardly_any_call_fails_and_spikes_are_compared(answers):
    """The comparison is about answers: a call that fails in both packages proves nothing."""
    theirs, ours = answers
    failed = {name for name in ours.calls if "error" in ours.calls[name] and "error" in theirs.calls[name]}
    # The excerpt of a released session holds neither running nor light pulses.
    assert failed <= {"running_speed", "optogenetic_stimulation_epochs"}
    assert len(ours.calls) > 60


def test_the_comparison_sees_a_wrong_number(answers):
    theirs, ours = answers
    key = ours.calls["stimulus_presentations"]["value"]["index"]["values"]["key"]
    spoiled = dict(ours.arrays)
    spoiled[key] = spoiled[key] + 1
    changed = load("compare_results").Results.__new__(type(ours))
    changed.calls, changed.arrays = ours.calls, spoiled
    found = load("compare_results").differences(theirs, changed)
    assert any(line.startswith("stimulus_presentations: index: values:") for line in found)
