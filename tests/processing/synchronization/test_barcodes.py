"""Barcodes against the published decoder's values, and what is not a barcode."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from allen_ecephys.errors import FileFormatError
from allen_ecephys.processing.synchronization import ProbeEvents, decode_barcodes


def code_line(starts: npt.ArrayLike, codes: list[int]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Rising and falling edges: 10 ms high, 10 ms low, then 32 bits of 30 ms, least significant first."""
    edges: list[float] = []
    for start, code in zip(np.asarray(starts), codes, strict=True):
        level, times = 1, [start, start + 0.01]
        level = 0
        for k in range(33):
            bit = (code >> k) & 1 if k < 32 else 0
            if bit != level:
                times.append(start + 0.02 + 0.03 * k)
                level = bit
        edges += times
    line = np.array(edges)
    return line[::2], line[1::2]


def test_published_values() -> None:
    up, down = code_line(5 + 30.0 * np.arange(6), list(range(123456789, 123456795)))
    theirs = decode_barcodes(up, down, keep_first=False)
    assert np.allclose(theirs.starts, [35, 65, 95, 125, 155])
    assert theirs.codes.tolist() == [21521875, 21521873, 21521871, 21521869, 21521867]
    ours = decode_barcodes(up, down)
    assert np.allclose(ours.starts, [5, 35, 65, 95, 125, 155])
    assert ours.codes[1:].tolist() == theirs.codes.tolist()


@pytest.mark.parametrize(
    ("up", "down", "options", "starts", "codes"),
    [
        ([11, 14, 30, 32, 34], [13, 15, 31, 33, 35], {"bit_duration": 1.0, "longest": 7, "n_bits": 4}, [30], [5]),
        ([30, 50, 50.08], [31, 50.04, 50.12], {}, [50], [3]),
    ],
)
def test_decoder_cases(
    up: list[float], down: list[float], options: dict[str, float], starts: list[float], codes: list[int]
) -> None:
    found = decode_barcodes(up, down, keep_first=False, **options)  # type: ignore[arg-type]
    assert found.starts.tolist() == starts
    assert found.codes.tolist() == codes


def test_first_code_counts_only_where_it_is_whole() -> None:
    up, down = code_line(5 + 30.0 * np.arange(6), list(range(90, 96)))
    whole = decode_barcodes(up, down)
    cut = decode_barcodes(up[up > 5.05], down[down > 5.05])  # the recording began within the first code
    assert len(whole) == 6
    assert np.allclose(cut.starts, whole.starts[1:])
    assert cut.codes.tolist() == whole.codes[1:].tolist()


def test_a_start_without_falling_edge_is_no_code() -> None:
    up, down = code_line([5, 35, 65], [7, 8, 9])
    late = np.append(up, 95.0)  # the recording ends in a start pulse
    assert decode_barcodes(late, down).codes.tolist() == decode_barcodes(up, down).codes.tolist()
    assert len(decode_barcodes([], [])) == 0


def test_probe_events() -> None:
    up, down = code_line(5 + 30.0 * np.arange(4), [1, 2, 3, 4])
    samples = np.rint(np.concatenate([up, down, [12.0]]) * 30_000)
    states = np.concatenate([np.ones(len(up)), -np.ones(len(down)), [0]])
    order = np.argsort(samples, kind="stable")
    events = ProbeEvents.from_arrays(samples[order], states[order])
    assert events.breaks.tolist() == [360_000]
    assert events.barcodes(30_000.0).codes.tolist() == decode_barcodes(up, down).codes.tolist()
    with pytest.raises(FileFormatError, match="started again"):
        ProbeEvents.from_arrays([10, 500, 20], [1, -1, 1], "probeA")
    with pytest.raises(FileFormatError, match="3 event times, but 2 states"):
        ProbeEvents.from_arrays([10, 20, 30], [1, -1], "probeA")


def test_first_code_counts_where_samples_were_lost_soon_after() -> None:
    up, down = code_line([5, 35, 63, 93], [1, 2, 3, 4])
    assert decode_barcodes(up, down).starts.tolist() == [5, 35, 63, 93]
