"""The NI card of a SpikeGLX rig: digital lines, analog inputs, the square wave, and metadata that do not fit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from allen_ecephys.errors import (
    CorruptFileError,
    FileFormatError,
    MissingDataError,
    MissingFileError,
    UnknownNameError,
)
from allen_ecephys.processing.readers.compressed import CompressedFile
from allen_ecephys.processing.synchronization import ni_daq, open_sync_file

RATE = 25_000.25
#: Two multiplexed inputs, two plain ones and two words of lines; the wave is on the plain input 1.
LINES = {
    "typeThis": "nidq", "acqMnMaXaDw": "1,1,2,2", "snsMnMaXaDw": "1,1,2,2", "nSavedChans": "6",
    "niSampRate": f"{RATE}", "niAiRangeMax": "5", "niMNGain": "200", "niMAGain": "2", "snsSaveChanSubset": "all",
    "syncNiChan": "3", "syncNiChanType": "1", "syncNiThresh": "1.1", "syncSourceIdx": "2",
}  # fmt: skip


def columns(n: int = 50_000) -> np.ndarray:
    """Give samples in which line 3 goes up at 1,000, line 17 at 2,000; the wave (0.1 to 4 V) at 10,000 and 30,000."""
    rng = np.random.default_rng(0)
    samples = np.zeros((n, 6), np.int16)
    samples[1_000:1_500, 4] = 1 << 3
    samples[2_000:2_500, 5] = 1 << 1
    samples[1_200:, 4] |= np.uint16(1 << 15).astype(np.int16)  # the line in the place of the sign
    high = ((np.arange(n) + 10_000) // 10_000) % 2 == 0
    volts = np.where(high, 4.0, 0.1) + rng.normal(0, 0.005, n)
    volts[9_990:10_010] = np.linspace(0.1, 4.0, 20) + rng.normal(0, 0.02, 20)  # a slow edge in noise
    samples[:, 3] = np.rint(volts / 5 * 32768)
    samples[:, 1] = np.where(np.arange(n) >= 5_000, np.rint(1.0 * 2 / 5 * 32768), 0)  # 1 V at a gain of 2
    return samples


def write_ni(folder: Path, samples: np.ndarray, **changed: Any) -> Path:
    path = folder / "run_g0_t0.nidq.bin"
    samples.tofile(path)
    told = LINES | {"fileSizeBytes": str(path.stat().st_size)} | changed
    text = "".join(f"{key}={value}\n" for key, value in told.items() if value is not None)
    path.with_suffix(".meta").write_text(text)
    return path


def test_lines_and_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = columns()
    path = write_ni(tmp_path, samples)
    sync = open_sync_file(path, {"frames": "XD3", "barcode": 17, "photodiode": "MA0 > 0.5", "optotagging": "xa1>3"})
    assert sync.rising("frames").tolist() == [1_000 / RATE]
    assert sync.falling("frames").tolist() == [1_500 / RATE]
    assert sync.edges("barcode").tolist() == [2_000 / RATE, 2_500 / RATE]
    assert sync.rising("XD15").tolist() == [1_200 / RATE]
    assert sync.rising("photodiode").tolist() == [5_000 / RATE]
    assert np.abs(sync.rising("square_wave") - np.array([10_000, 30_000]) / RATE).max() < 10 / RATE
    assert np.abs(sync.rising("optotagging") - np.array([10_000, 30_000]) / RATE).max() < 10 / RATE
    assert sync.seconds[[0, -1]].tolist() == [0.0, 49_999 / RATE]
    assert (sync.has("frames"), sync.has("eye_camera"), sync.frequency, sync.n_wraps) == (True, False, RATE, 0)
    # However it is read: in blocks that end anywhere, by the .meta, or compressed.
    monkeypatch.setattr(ni_daq, "_SAMPLES_AT_ONCE", 777)
    other = open_sync_file(path.with_suffix(".meta"), {"photodiode": "MA0 > 0.5", "optotagging": "XA1 > 3"})
    assert other.seconds.tolist() == sync.seconds.tolist()
    assert other.words.tolist() == sync.words.tolist()
    path.unlink()
    with CompressedFile(path.with_suffix(".cbin"), 6, RATE) as file:
        file.append(samples)
    packed = open_sync_file(path.with_suffix(".cbin"), {"photodiode": "MA0 > 0.5", "optotagging": "XA1 > 3"})
    assert packed.words.tolist() == sync.words.tolist()


def test_a_wave_on_a_digital_line_and_none_at_all(tmp_path: Path) -> None:
    path = write_ni(tmp_path, columns(), syncNiChanType="0", syncNiChan="17")
    assert open_sync_file(path).rising("square_wave").tolist() == [2_000 / RATE]
    assert open_sync_file(path, {"square_wave": "XA1"}).rising("square_wave").size == 2
    for changed in ({"syncSourceIdx": "0"}, {"syncNiChanType": "0", "syncNiChan": "40"}, {"syncNiChan": None}):
        sync = open_sync_file(write_ni(tmp_path, columns(), **changed))
        with pytest.raises(MissingDataError, match=r"no square_wave line.*lines = \{square_wave = \.\.\.\}"):
            sync.rising("square_wave")


def test_saved_channels_keep_their_names(tmp_path: Path) -> None:
    """Of the inputs only the second plain one was saved, and one word of lines."""
    path = write_ni(tmp_path, columns()[:, [3, 5]], snsMnMaXaDw="0,0,1,1", nSavedChans="2", snsSaveChanSubset="3,5")
    sync = open_sync_file(path, {"barcode": "XD17"})
    assert len(sync.rising("square_wave")) == 2
    assert sync.rising("barcode").tolist() == [2_000 / RATE]
    with pytest.raises(UnknownNameError, match=r"no line 'XD3'.*there are XD16"):
        open_sync_file(path, {"barcode": "XD3"})


def test_real_metadata(shared_data: Path, tmp_path: Path) -> None:
    """A run of the International Brain Laboratory: a plain input and eight lines, the wave on line 3."""
    real = shared_data / "neuropixels_meta" / "ibl_fixtures" / "sample3B_g0_t0.nidq.meta"
    text = re.sub(r"fileSizeBytes=\d+", "fileSizeBytes=400", real.read_text())
    (tmp_path / real.name).write_text(text)
    samples = np.zeros((100, 2), np.int16)
    samples[30:, 1] = 8
    samples.tofile(tmp_path / "sample3B_g0_t0.nidq.bin")
    sync = open_sync_file(tmp_path / "sample3B_g0_t0.nidq.bin")
    assert sync.frequency == 30003.0003
    assert sync.rising("square_wave").tolist() == [30 / 30003.0003]


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"typeThis": "imec"}, FileFormatError, "describes a imec, not a NI card"),
        ({"acqMnMaXaDw": None}, FileFormatError, "acqMnMaXaDw"),
        ({"acqMnMaXaDw": "1,1,2"}, FileFormatError, ".meta"),
        ({"snsMnMaXaDw": "1,1,1,3"}, FileFormatError, "contradicts itself"),
        ({"snsMnMaXaDw": "-1,1,4,2"}, FileFormatError, "contradicts itself"),
        ({"nSavedChans": "7"}, FileFormatError, "contradicts itself"),
        ({"niSampRate": "nan"}, FileFormatError, "niSampRate=nan"),
        ({"niSampRate": "0"}, FileFormatError, "niSampRate=0"),
        ({"niSampRate": "fast"}, FileFormatError, "fast"),
        ({"snsSaveChanSubset": "0:9"}, FileFormatError, "snsSaveChanSubset=0:9"),
        ({"snsSaveChanSubset": "0:3"}, FileFormatError, "contradicts itself"),
        ({"fileSizeBytes": "600012"}, CorruptFileError, "says 600012: it was cut"),
        ({"niAiRangeMax": "0"}, FileFormatError, "what a count of XA1 is in volts"),
        ({"niAiRangeMax": None}, FileFormatError, "what a count of XA1 is in volts"),
        ({"niMaxInt": "x"}, FileFormatError, "what a count of XA1 is in volts"),
        ({"niAiRangeMax": "1"}, FileFormatError, "XA1 is never above 1.1 V"),
    ],
)  # fmt: skip
def test_metadata_that_do_not_fit_are_named(
    tmp_path: Path, changed: dict[str, Any], error: type[Exception], said: str
) -> None:
    path = write_ni(tmp_path, columns(), **changed)
    with pytest.raises(error, match=re.escape(said)) as raised:
        open_sync_file(path)
    assert "run_g0_t0.nidq" in str(raised.value)


@pytest.mark.parametrize("line", ["XD3 > 2", "XA7", "XQ1", "", "XD32", -1, 99, "XA0 > x"])
def test_lines_that_are_not_there_are_named(tmp_path: Path, line: str | int) -> None:
    with pytest.raises(UnknownNameError, match="there are XD0"):
        open_sync_file(write_ni(tmp_path, columns()), {"frames": line})


def test_half_of_a_pair_or_nothing_in_it(tmp_path: Path) -> None:
    path = write_ni(tmp_path, columns()[:0])
    with pytest.raises(FileFormatError, match="holds no sample"):
        open_sync_file(path)
    path.unlink()
    with pytest.raises(MissingFileError, match="there is no"):
        open_sync_file(path)
    write_ni(tmp_path, columns()).with_suffix(".meta").unlink()
    with pytest.raises(MissingFileError, match=r"has no run_g0_t0\.nidq\.meta beside it"):
        open_sync_file(path)


def test_lines_of_another_sync_file_are_told_by_name_or_bit(tmp_path: Path) -> None:
    from allen_ecephys.processing.simulation.rig.lines import LINES as BITS
    from allen_ecephys.processing.simulation.rig.lines import write_sync_file

    write_sync_file(tmp_path / "a.sync", {"barcode": (np.array([1.0]), np.array([2.0]))})
    for line in ("barcode", BITS["barcode"]):
        assert open_sync_file(tmp_path / "a.sync", {"photodiode": line}).rising("photodiode").tolist() == [1.0]
    for line in ("nothing", 32, -1, True):
        with pytest.raises(UnknownNameError, match="no line"):
            open_sync_file(tmp_path / "a.sync", {"photodiode": line})
