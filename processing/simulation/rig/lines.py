"""The lines of a simulated rig: barcodes, and the sync file that records every change of every line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from ...readers.compressed import CompressedFile, is_compressed

Floats = npt.NDArray[np.float64]

COUNTER_RATE: Final = 100_000.0
#: Bits of the lines, as on the rigs.
LINES: Final = {"barcode": 0, "stim_vsync": 2, "stim_photodiode": 4, "cam2_exposure": 9, "LED_sync": 18}
#: Lines of a NI card of SpikeGLX, of one word.
NI_LINES: Final = {"stim_vsync": 2, "stim_photodiode": 4, "cam2_exposure": 9, "LED_sync": 10}
NI_RATE: Final = 25_000.0
#: Volts of the square wave on its analog input, low and high, and the range of the card.
NI_WAVE_V: Final = (0.1, 3.3)
NI_RANGE_V: Final = 5.0
_NI_BLOCK: Final = 250_000
_HEADER: Final = 0.01
_BIT: Final = 0.03


def barcode_edges(starts: npt.ArrayLike, codes: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return rising and falling edges of codes: 10 ms high, 10 ms low, then 32 bits of 30 ms, lowest first."""
    rising: list[float] = []
    falling: list[float] = []
    for start, code in zip(np.asarray(starts, np.float64), np.asarray(codes, np.int64), strict=True):
        rising.append(start)
        falling.append(start + _HEADER)
        bits = np.concatenate([[0], (code >> np.arange(32)) & 1, [0]])
        times = start + 2 * _HEADER + _BIT * np.arange(33)
        rising += times[np.flatnonzero(np.diff(bits) == 1)].tolist()
        falling += times[np.flatnonzero(np.diff(bits) == -1)].tolist()
    return np.array(rising), np.array(falling)


def write_sync_file(
    path: Path, lines: Mapping[str, tuple[Floats, Floats]], *, first_count: int = 0, seconds: float | None = None
) -> None:
    """Write the edges of lines as the DAQ does: a row for every change, on a counter of 100 kHz and 32 bits.

    Parameters
    ----------
    path
        The file.
    lines
        Name of a line (of :data:`LINES`) -> rising and falling edges (s).
    first_count
        What the counter shows at 0 s; it wraps after 2**32.
    seconds
        Time of the last row, if it is to be later than the last edge.
    """
    import h5py

    labels = [""] * 32
    ticks, bits = [np.zeros(1, np.int64)], [np.zeros(1, np.int64)]
    for name, edges in lines.items():
        labels[LINES[name]] = name
        for times in edges:
            ticks.append(np.floor(times * COUNTER_RATE).astype(np.int64))
            bits.append(np.full(len(times), 1 << LINES[name], np.int64))
    if seconds is not None:
        ticks.append(np.array([int(seconds * COUNTER_RATE)]))
        bits.append(np.zeros(1, np.int64))
    tick, bit = np.concatenate(ticks), np.concatenate(bits)
    order = np.argsort(tick, kind="stable")
    tick, words = tick[order], np.bitwise_xor.accumulate(bit[order])
    last = np.append(np.diff(tick) > 0, True)  # lines that change within one tick share a row
    rows = np.column_stack([(tick[last] + first_count) % 2**32, words[last]]).astype(np.uint32)
    meta = {
        "ni_daq": {"counter_output_freq": COUNTER_RATE, "counter_bits": 32, "event_bits": 32},
        "line_labels": labels,
    }
    with h5py.File(path, "w") as file:
        file["data"] = rows
        file["meta"] = np.bytes_(json.dumps(meta))


def write_ni_file(path: Path, lines: Mapping[str, tuple[Floats, Floats]], *, seconds: float) -> None:
    """Write what SpikeGLX records with a NI card: the square wave on an analog input, and a word of digital lines.

    Parameters
    ----------
    path
        ``.nidq.bin``, or ``.nidq.cbin`` to have it compressed; the ``.meta`` is written beside it.
    lines
        Name of a line (of :data:`NI_LINES`) -> rising and falling edges (s).
    seconds
        Length; the card's first sample is taken at 0 s.
    """
    n_samples = int(seconds * NI_RATE)
    edges = {
        NI_LINES[name]: np.sort(np.ceil(np.concatenate(both) * NI_RATE).astype(np.int64))
        for name, both in lines.items()
    }
    rng = np.random.default_rng(12)
    volts = np.array(NI_WAVE_V)
    with CompressedFile(path, 2, NI_RATE) if is_compressed(path) else path.open("xb") as file:
        for start in range(0, n_samples, _NI_BLOCK):
            samples = np.arange(start, min(start + _NI_BLOCK, n_samples))
            counts = np.zeros((len(samples), 2), "<i2")
            high = np.floor(2.0 * samples / NI_RATE).astype(np.int64) % 2
            counts[:, 0] = np.rint((volts[high] + rng.normal(0.0, 0.005, len(samples))) * 32768 / NI_RANGE_V)
            for bit, changes in edges.items():
                counts[:, 1] |= ((np.searchsorted(changes, samples, side="right") & 1) << bit).astype(np.int16)
            if isinstance(file, CompressedFile):
                file.append(counts)
            else:
                file.write(counts.tobytes())
    facts = {
        "acqMnMaXaDw": "0,0,1,1", "fileName": path.with_suffix(".bin").name, "fileSizeBytes": 4 * n_samples,
        "fileTimeSecs": n_samples / NI_RATE, "firstSample": 0, "nSavedChans": 2, "niAiRangeMax": NI_RANGE_V,
        "niAiRangeMin": -NI_RANGE_V, "niSampRate": NI_RATE, "snsMnMaXaDw": "0,0,1,1", "snsSaveChanSubset": "all",
        "syncNiChan": 0, "syncNiChanType": 1, "syncNiThresh": 1.1, "syncSourceIdx": 1, "syncSourcePeriod": 1,
        "typeThis": "nidq",
    }  # fmt: skip
    path.with_suffix(".meta").write_text("".join(f"{key}={value}\n" for key, value in facts.items()))
