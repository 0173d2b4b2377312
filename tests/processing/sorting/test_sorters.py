"""The door to all sorters: parameters, sorters in a process of their own, and what is measured of spikes alone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from allen_ecephys.errors import InvalidValueError, MissingExtraError, SortingError, SpikeTrainError, UnknownNameError
from allen_ecephys.processing.readers.phy import read_phy
from allen_ecephys.processing.simulation.raw.recording import RawGroundTruth, write_recording
from allen_ecephys.processing.simulation.raw.trains import TrainModel
from allen_ecephys.processing.simulation.scoring import score_sorting
from allen_ecephys.processing.sorting import sorters
from allen_ecephys.processing.sorting.parameters import SortingParameters
from allen_ecephys.processing.sorting.phy_output import check_result, write_phy
from allen_ecephys.processing.sorting.preparing.registration import prepare_recording
from allen_ecephys.processing.sorting.result import SortingResult
from allen_ecephys.processing.sorting.sorters import available_sorters, native_parameters, run_sorter
from allen_ecephys.processing.sorting.spikes_to_result import result_from_spikes, template_similarity
from allen_ecephys.processing.spike_band.depth_estimation import estimate_depth
from allen_ecephys.processing.spike_band.median_subtraction import MedianSubtractedRecording

#: Interpreter with SpikeInterface and the dependencies of its own sorters, for the comparisons.
SORTER_PYTHON = os.environ.get("ALLEN_ECEPHYS_SORTER_PYTHON")


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> RawGroundTruth:
    """Ten seconds of 32 channels with six units that are easy to find."""
    return write_recording(
        tmp_path_factory.mktemp("raw") / "probe",
        duration=10.0,
        n_units=6,
        n_channels=32,
        amplitude_range=(120.0, 300.0),
        trains=TrainModel(rate_range=(10.0, 25.0)),
        seed=4,
        lfp=False,
    )


# --- parameters --------------------------------------------------------------------------------------------------


def test_native_parameters_from_names_and_values() -> None:
    assert native_parameters(None) == SortingParameters()
    assert native_parameters({}) == SortingParameters()
    given = native_parameters({"Th": [9, 4.5], "nblocks": 0, "lam": 5, "fshigh": np.float64(300)})
    assert given == SortingParameters(Th=(9.0, 4.5), nblocks=0, lam=5.0, fshigh=300.0)
    assert isinstance(given.lam, float)
    assert native_parameters(given) is given
    assert native_parameters({"definition": "release"}).definition == "release"
    for word in ("releases", 3):
        with pytest.raises(UnknownNameError, match="'release' or 'corrected'"):
            native_parameters({"definition": word})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"Th": 3}, r"takes 2 numbers, as in Th=10.0,4.0"),
        ({"Th": ("a", 4)}, "takes a number"),
        ({"Th": (0, 4)}, "Th is .* both above 0"),
        ({"nblocks": 1.5}, "whole number"),
        ({"lam": "high"}, "takes a number"),
        ({"seed": True}, "whole number"),
        ({"seed": -1}, "seed .* not be negative"),
        ({"lam": -1}, "must not be negative"),
    ],
)
def test_values_that_no_parameter_takes(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        native_parameters(given)


def test_a_parameter_that_is_none() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'Th'"):
        native_parameters({"Thh": 3})


def test_run_sorter_hands_everything_to_the_sorter_of_that_name(
    truth: RawGroundTruth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []
    recording = truth.recording()
    found = result_from_spikes(recording, [], [], 0, tmp_path)

    def mine(*given: Any) -> SortingResult:
        calls.append(given)
        return found

    monkeypatch.setitem(sorters.SORTERS, "mine", mine)
    assert run_sorter(recording, tmp_path / "new" / "work", "mine", {"a": 1}) is found
    assert calls == [(recording, tmp_path / "new" / "work", {"a": 1})]
    assert (tmp_path / "new" / "work").is_dir()


# --- spikes alone ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def described(truth: RawGroundTruth, tmp_path_factory: pytest.TempPathFactory) -> tuple[SortingResult, Path]:
    folder = tmp_path_factory.mktemp("described")
    shuffled = np.random.default_rng(0).permutation(len(truth.spike_times))
    result = result_from_spikes(truth.recording(), truth.spike_times[shuffled], truth.spike_units[shuffled], 7, folder)
    return result, folder


def test_templates_are_mean_whitened_waveforms(truth: RawGroundTruth, described: tuple[SortingResult, Path]) -> None:
    result, _ = described
    check_result(result, truth.recording())
    np.testing.assert_array_equal(result.samples, truth.spike_times)
    prepared = prepare_recording(truth.recording())
    white = prepared.counts() / 200.0
    for unit in range(6):
        train = result.samples[result.units == unit]
        train = train[(train >= 20) & (train < truth.n_samples - 62)]
        mean = np.mean([white[t - 20 : t + 41] for t in train], axis=0)
        assert result.template_norms[unit] == pytest.approx(np.linalg.norm(mean), rel=1e-6)
        np.testing.assert_allclose(result.templates[unit], mean / np.linalg.norm(mean), atol=1e-6)
        # The trough of the largest channel lies at sample 20, where the spike is.
        peak = np.ptp(result.templates[unit], axis=0).argmax()
        assert abs(int(result.templates[unit][:, peak].argmin()) - 20) <= 2
    assert result.template_norms[6] == 0
    assert not result.templates[6].any()
    assert result.details == {}


def test_amplitudes_are_projections_on_the_template(
    truth: RawGroundTruth, described: tuple[SortingResult, Path]
) -> None:
    """x0 of Kilosort: on the 25 channels that features cover, which hold nearly all of a template."""
    result, _ = described
    white = prepare_recording(truth.recording()).counts() / 200.0
    inside = np.flatnonzero((result.samples >= 20) & (result.samples < truth.n_samples - 62))[::5]
    direct = np.array(
        [
            (white[result.samples[i] - 20 : result.samples[i] + 41] * result.templates[result.units[i]]).sum()
            for i in inside
        ]
    )
    np.testing.assert_allclose(result.amplitudes[inside], direct, atol=0.15 * result.template_norms[:6].min())
    assert np.corrcoef(result.amplitudes[inside], direct)[0, 1] > 0.99
    for unit in range(6):
        assert result.amplitudes[result.units == unit].mean() == pytest.approx(result.template_norms[unit], rel=0.03)


def test_features_find_the_units_apart(described: tuple[SortingResult, Path]) -> None:
    """Energy of the features is most on the unit's own main channel, and about that of the template."""
    result, folder = described
    assert result.pc_features.shape == (len(result.samples), 3, 25)
    assert Path(result.pc_features.filename) == folder / "pc_features.npy"
    for unit in range(6):
        rows = result.units == unit
        energy = np.square(result.pc_features[rows].mean(axis=0)).sum(axis=0)
        peak = np.square(result.templates[unit]).sum(axis=0).argmax()
        assert result.pc_feature_ind[unit, energy.argmax()] == peak
        share = np.square(result.templates[unit][:, peak]).sum() * result.template_norms[unit] ** 2
        assert energy.max() == pytest.approx(share, rel=0.25)


def test_labels_follow_the_refractory_period(truth: RawGroundTruth) -> None:
    """Two units taken for one are contaminated; one with no spikes cannot be told."""
    from allen_ecephys.processing.sorting.units.cutoff import refractory_labels

    rng = np.random.default_rng(1)
    trains = [np.cumsum(90 + rng.exponential(900, 4000)).astype(np.int64) for _ in range(3)]
    times = np.concatenate([trains[0], trains[1], trains[2]])
    units = np.repeat([0, 1, 1], 4000)
    good, contamination = refractory_labels(times / 30_000.0, units, 3, fcontam=0.1)
    assert good.tolist() == [True, False, False]
    assert contamination[0] == 0
    assert contamination[1] == pytest.approx(0.5, abs=0.1)
    assert contamination[2] == 1


def test_similarity_equals_a_sliding_correlation() -> None:
    rng = np.random.default_rng(2)
    templates = rng.normal(size=(5, 61, 4)).astype(np.float32)
    templates[3] = np.roll(templates[1], 7, axis=0)
    templates /= np.sqrt((templates**2).sum(axis=(1, 2), keepdims=True))
    found = template_similarity(templates)
    padded = np.zeros((5, 61 + 20, 4))
    padded[:, 10:71] = templates
    for i in range(5):
        for j in range(5):
            best = max((np.roll(padded[i], d, axis=0) * padded[j]).sum() for d in range(-10, 11))
            assert found[i, j] == pytest.approx(1.0 if i == j else max(best, 0), abs=1e-5)
    assert found[1, 3] > 0.85
    assert template_similarity(templates[:0]).shape == (0, 0)


@pytest.mark.parametrize("n_units", [0, 2])
def test_no_spikes_make_an_empty_sorting(truth: RawGroundTruth, tmp_path: Path, n_units: int) -> None:
    result = result_from_spikes(truth.recording(), [], [], n_units, tmp_path)
    assert result.n_units == n_units
    phy = read_phy(write_phy(tmp_path / "phy", result, truth.recording()))
    assert len(phy.spikes) == 0


def test_spikes_that_do_not_fit_are_refused(truth: RawGroundTruth, tmp_path: Path) -> None:
    with pytest.raises(SpikeTrainError, match="past the end"):
        result_from_spikes(truth.recording(), [truth.n_samples], [0], 1, tmp_path)
    with pytest.raises(SpikeTrainError, match="unit 1"):
        result_from_spikes(truth.recording(), [5], [1], 1, tmp_path)


# --- sorters out of process --------------------------------------------------------------------------------------

#: A SpikeInterface of 40 lines, for the interpreter that sorters are started with: its one sorter that works finds
#: every sample below a threshold. The program that runs it is the real one.
FAKE = {
    "probeinterface/__init__.py": """
class Probe:
    def __init__(self, ndim, si_units): assert (ndim, si_units) == (2, "um")
    def set_contacts(self, positions, shapes, shape_params): self.positions = positions
    def set_device_channel_indices(self, indices): assert list(indices) == list(range(len(self.positions)))
""",
    "spikeinterface/__init__.py": """
import numpy as np
__version__ = "0.0"
def set_global_job_kwargs(n_jobs): assert n_jobs >= 1
class Recording:
    def __init__(self, samples): self.samples = samples; self.channel_ids = list(range(samples.shape[1]))
    def frame_slice(self, start, stop): return Recording(self.samples[start:stop])
    def select_channels(self, ids): return Recording(self.samples[:, ids])
    def set_channel_gains(self, gains): assert len(gains) == self.samples.shape[1]
    def set_channel_offsets(self, offset): assert offset == 0
    def set_probe(self, probe): self.probe = probe
def read_binary(file, sampling_frequency, dtype, num_channels, file_offset, is_filtered):
    return Recording(np.fromfile(file, dtype, offset=file_offset).reshape(-1, num_channels))
""",
    "spikeinterface/sorters.py": """
import os, sys, time
import numpy as np
class Sorter:
    installation_mesg = "pip install\\n  something"
    def __init__(self, installed): self.installed = installed
    def is_installed(self): return self.installed
    def get_sorter_version(self): return "1.2"
sorter_dict = {"threshold": Sorter(True), "crashing": Sorter(True), "slow": Sorter(True), "absent": Sorter(False)}
def available_sorters(): return list(sorter_dict)
def installed_sorters(): return [name for name in sorter_dict if sorter_dict[name].installed]
def get_default_sorter_params(name): return {"level": -400, "late": 0}
class Sorting:
    unit_ids = ["7", "9"]
    def __init__(self, times):
        self.vector = np.zeros(len(times), [("sample_index", "i8"), ("unit_index", "i8")])
        self.vector["sample_index"], self.vector["unit_index"] = times, np.arange(len(times)) % 2
    def to_spike_vector(self): return self.vector
def run_sorter(name, recording, folder, verbose, level=-400, late=0):
    os.makedirs(folder)
    print("sorting", recording.samples.shape, "at", recording.probe.positions.shape, flush=True)
    if name == "crashing": raise RuntimeError("out of luck")
    if name == "slow":
        open(os.path.join(folder, "pid"), "w").write(str(os.getpid()))
        time.sleep(60)
    below = recording.samples.min(axis=1) < level
    return Sorting(np.r_[np.flatnonzero(below[1:] & ~below[:-1]) + 1, [len(below) + 5] * late])
""",
}


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the fake SpikeInterface in front of a real one for processes that tests start."""
    folder = tmp_path / "fake"
    for name, text in FAKE.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


def test_sorters_of_the_other_interpreter_are_listed(fake: Path) -> None:
    assert available_sorters() == ["native", "threshold", "crashing", "slow"]
    assert available_sorters(sys.executable) == available_sorters()


def test_a_sorter_out_of_process_gives_a_sorting(
    fake: Path, truth: RawGroundTruth, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recording = truth.recording()
    recording.reference_channels = np.array([3])
    result = run_sorter(recording, tmp_path / "work", "threshold", {"level": -500, "late": 2})
    samples = recording.read(0, recording.n_samples)[:, result.channel_map]
    below = samples.min(axis=1) < -500
    np.testing.assert_array_equal(result.samples, np.flatnonzero(below[1:] & ~below[:-1]) + 1)
    assert len(result.samples) > 50
    assert 3 not in result.channel_map
    assert result.n_units == 2
    assert "2 spikes outside the recording" in caplog.text
    assert result.details["unit_ids"] == ["7", "9"]
    assert result.details["version"] == "1.2"
    assert result.details["parameters"] == {"level": -500, "late": 2}
    assert "sorting (300000, 31) at (31, 2)" in (tmp_path / "work" / "sorter.log").read_text()
    write_phy(tmp_path / "phy", result, recording)


def test_a_recording_that_is_no_file_is_handed_over_as_one(fake: Path, truth: RawGroundTruth, tmp_path: Path) -> None:
    recording = truth.recording()
    view = MedianSubtractedRecording(recording, estimate_depth(recording))
    result = run_sorter(view, tmp_path / "work", "threshold", {"level": -500})  # type: ignore[arg-type]
    below = view.read(0, view.n_samples)[:, result.channel_map].min(axis=1) < -500
    np.testing.assert_array_equal(result.samples, np.flatnonzero(below[1:] & ~below[:-1]) + 1)


def test_the_same_job_is_not_sorted_again(fake: Path, truth: RawGroundTruth, tmp_path: Path) -> None:
    recording, log = truth.recording(), tmp_path / "work" / "sorter.log"
    first = run_sorter(recording, tmp_path / "work", "threshold")
    log.unlink()
    again = run_sorter(recording, tmp_path / "work", "threshold")
    assert not log.exists()
    np.testing.assert_array_equal(again.samples, first.samples)
    assert again.details == first.details
    other = run_sorter(recording, tmp_path / "work", "threshold", {"level": -800})
    assert log.exists()
    assert len(other.samples) < len(first.samples)


@pytest.mark.parametrize(
    ("sorter", "parameters", "error", "message"),
    [
        ("treshold", {}, UnknownNameError, "did you mean 'threshold'.*there are native, threshold"),
        ("nativ", {}, UnknownNameError, "did you mean 'native'"),
        ("absent", {}, SortingError, "not installed for .*SORTER_PYTHON.*pip install something"),
        ("threshold", {"levle": 3}, UnknownNameError, "'levle'; did you mean 'level'"),
        ("crashing", {}, SortingError, r"(?s)crashing failed with status 1; .*RuntimeError: out of luck"),
        ("threshold", SortingParameters(), InvalidValueError, "native sorter's"),
    ],
)
def test_what_cannot_be_sorted_is_said(
    fake: Path, truth: RawGroundTruth, tmp_path: Path, sorter: str, parameters: Any, error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        run_sorter(truth.recording(), tmp_path / "work", sorter, parameters)


def test_without_spikeinterface_the_extra_is_named(fake: Path, truth: RawGroundTruth, tmp_path: Path) -> None:
    (fake / "spikeinterface" / "__init__.py").write_text("raise ImportError('no such module')")
    assert available_sorters() == ["native"]
    with pytest.raises(MissingExtraError, match=r"allen-ecephys\[spikeinterface\]"):
        run_sorter(truth.recording(), tmp_path / "work", "kilosort4")
    with pytest.raises(UnknownNameError, match="did you mean 'native'"):
        run_sorter(truth.recording(), tmp_path / "work", "nativ")


def test_an_interpreter_that_is_none(truth: RawGroundTruth, tmp_path: Path) -> None:
    with pytest.raises(SortingError, match="cannot be started"):
        run_sorter(truth.recording(), tmp_path / "work", "simple", python=tmp_path / "python")


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT])
def test_the_sorter_ends_with_the_process_that_started_it(
    fake: Path, truth: RawGroundTruth, tmp_path: Path, kind: signal.Signals
) -> None:
    script = f"""
from allen_ecephys.processing.simulation.raw import read_ground_truth
from allen_ecephys.processing.sorting.sorters import run_sorter
run_sorter(read_ground_truth({str(truth.folder)!r}).recording(), {str(tmp_path / "work")!r}, "slow")
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        stderr=subprocess.DEVNULL,
        # A shell starts what runs in its background with SIGINT ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    note = tmp_path / "work" / "sorter" / "pid"
    try:
        for _ in range(600):
            if note.exists() and note.read_text():
                break
            time.sleep(0.1)
        child = int(note.read_text())
        parent.send_signal(kind)
        parent.wait(timeout=60)
        for _ in range(200):
            if not _running(child):
                break
            time.sleep(0.05)
        assert not _running(child)
    finally:
        parent.kill()
        parent.wait()


def _running(pid: int) -> bool:
    """Tell whether a process runs; one that is dead but not yet waited for does not."""
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# --- real ones ---------------------------------------------------------------------------------------------------


@pytest.mark.peers
@pytest.mark.parametrize("sorter", ["simple", "spykingcircus2"])
def test_sorters_of_spikeinterface_find_the_units(truth: RawGroundTruth, tmp_path: Path, sorter: str) -> None:
    if not SORTER_PYTHON:
        pytest.skip("ALLEN_ECEPHYS_SORTER_PYTHON names no interpreter with SpikeInterface and its sorters")
    names = available_sorters(SORTER_PYTHON)
    assert sorter in names
    result = run_sorter(truth.recording(), tmp_path / "work", sorter, python=SORTER_PYTHON)
    score = score_sorting(
        truth.spike_times, truth.spike_units, result.samples, result.units, sampling_rate=truth.sampling_rate
    )
    assert score.n_well_found >= (4 if sorter == "spykingcircus2" else 2)
    write_phy(tmp_path / "phy", result, truth.recording())
    shutil.rmtree(tmp_path / "work")


@pytest.mark.peers
def test_kilosort4_is_started_where_it_is_installed(truth: RawGroundTruth, tmp_path: Path) -> None:
    """On a processor it takes minutes for seconds: here it is given a device that there is not, and says so."""
    if not SORTER_PYTHON or "kilosort4" not in available_sorters(SORTER_PYTHON):
        pytest.skip("ALLEN_ECEPHYS_SORTER_PYTHON names no interpreter with Kilosort4")
    with pytest.raises(SortingError, match=r"(?s)kilosort4 failed.*abacus"):
        run_sorter(truth.recording(), tmp_path / "work", "kilosort4", {"torch_device": "abacus"}, python=SORTER_PYTHON)
