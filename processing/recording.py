"""The one way in which every processing step sees raw probe data.

A :class:`Recording` is a matrix ``samples[time, channel]`` with what is known about it: sampling rate, microvolts per
count, positions and shanks of channels, when each is digitised, unusable (reference) channels and dtype. Readers for
Open Ephys, SpikeGLX and plain binary files return one, and so does the simulator; steps take any of them.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import ChannelCountError, GeometryError, InvalidTypeError, InvalidValueError, SampleRangeError

if TYPE_CHECKING:
    from .probes import AdcWiring
    from .timeline import Timeline

Channels = Sequence[int] | npt.NDArray[np.integer[Any]] | slice | None


@runtime_checkable
class Recording(Protocol):
    """Raw samples of one band of one probe.

    Attributes
    ----------
    n_samples, n_channels
        Size of the matrix. Sample numbers are Python integers or int64: 384 channels overflow an int32 flat index
        after 186 s.
    sampling_rate
        Hz (nominal clock of the probe).
    uv_per_bit
        float64 (n_channels,): microvolts per count; 1.0 where samples are microvolts already.
    geometry
        float64 (n_channels, 2): x (across) and y (along the probe, from the tip up) in um.
    shanks
        int64 (n_channels,): the shank that each channel is on, from 0.
    adc
        Which channels are digitised together, and when within a sample; None where that is not known.
    timeline
        Where gaps are: samples that the recorder numbered but that are not in the file.
    reference_channels
        int64: channels that carry no signal (references), as indices into this recording's channels.
    dtype
        Of the samples as stored.

    Examples
    --------
    >>> band = bands.spike_band
    >>> band.n_samples, band.n_channels, band.sampling_rate, band.dtype
    (180000, 32, 30000.0, dtype('int16'))
    >>> band.geometry[:3].tolist()
    [[43.0, 20.0], [11.0, 20.0], [59.0, 40.0]]
    """

    @property
    def n_samples(self) -> int: ...  # noqa: D102
    @property
    def n_channels(self) -> int: ...  # noqa: D102
    @property
    def sampling_rate(self) -> float: ...  # noqa: D102
    @property
    def uv_per_bit(self) -> npt.NDArray[np.float64]: ...  # noqa: D102
    @property
    def geometry(self) -> npt.NDArray[np.float64]: ...  # noqa: D102
    @property
    def shanks(self) -> npt.NDArray[np.int64]: ...  # noqa: D102
    @property
    def adc(self) -> AdcWiring | None: ...  # noqa: D102
    @property
    def timeline(self) -> Timeline: ...  # noqa: D102
    @property
    def reference_channels(self) -> npt.NDArray[np.int64]: ...  # noqa: D102
    @property
    def dtype(self) -> np.dtype[Any]: ...  # noqa: D102

    def read(self, start: int, stop: int, channels: Channels = None) -> npt.NDArray[Any]:
        """Return samples ``[start, stop)`` as stored, shape (stop - start, channels); only these bytes are read.

        Examples
        --------
        >>> bands.spike_band.read(0, 2, channels=[0, 1])
        array([[-120, -180],
               [ -24, -108]], dtype=int16)
        """
        ...

    def read_uv(self, start: int, stop: int, channels: Channels = None) -> npt.NDArray[np.float32]:
        """Return samples ``[start, stop)`` in microvolts, float32.

        Examples
        --------
        >>> stored, microvolts = bands.spike_band.read(0, 3, [0]), bands.spike_band.read_uv(0, 3, [0])
        >>> bool(np.allclose(stored * bands.spike_band.uv_per_bit[0], microvolts))
        True
        """
        ...


def duration(recording: Recording) -> float:
    """Return the length of what was recorded in seconds (nominal clock), gaps left out."""
    return recording.n_samples / recording.sampling_rate


def header_facts(recording: Recording) -> dict[str, Any]:
    """Return what is known about a recording, its samples apart, as JSON can hold it: what its headers said."""
    adc = recording.adc
    return {
        "n_channels": recording.n_channels,
        "n_samples": recording.n_samples,
        "sampling_rate": recording.sampling_rate,
        "uv_per_bit": recording.uv_per_bit.tolist(),
        "geometry": recording.geometry.tolist(),
        "shanks": recording.shanks.tolist(),
        "adc": None if adc is None else adc.as_facts(),
        "timeline": recording.timeline.as_facts(),
        "reference_channels": recording.reference_channels.tolist(),
    }


def chunk_bounds(n_samples: int, chunk_samples: int, start: int = 0) -> Iterator[tuple[int, int]]:
    """Yield ``(start, stop)`` of consecutive chunks that cover ``[start, n_samples)``; the last may be shorter.

    Raises
    ------
    InvalidValueError
        If `chunk_samples` is not at least 1.
    """
    if chunk_samples < 1:
        msg = f"chunk_samples is {chunk_samples}; a chunk holds at least one sample"
        raise InvalidValueError(msg)
    for first in range(start, n_samples, chunk_samples):
        yield first, min(first + chunk_samples, n_samples)


def checked_bounds(start: Any, stop: Any, n_samples: int, where: str) -> tuple[int, int]:
    """Return the bounds of a window as whole numbers.

    Raises
    ------
    InvalidTypeError
        If they are no numbers, or none that are whole.
    SampleRangeError
        Unless ``0 <= start <= stop <= n_samples``.
    """
    for bound in (start, stop):
        if not isinstance(bound, numbers.Real) or not float(bound).is_integer():
            msg = (
                f"samples [{start!r}, {stop!r}) of {where} were asked for; samples are whole numbers, counted from 0: "
                "round(seconds * sampling_rate)"
            )
            raise InvalidTypeError(msg)
    start, stop = int(start), int(stop)
    if not 0 <= start <= stop <= n_samples:
        msg = (
            f"samples [{start}, {stop}) of {where} were asked for, which holds [0, {n_samples}); clip the window first"
        )
        raise SampleRangeError(msg)
    return start, stop


def checked_geometry(geometry: npt.ArrayLike | None, n_channels: int, where: str) -> npt.NDArray[np.float64]:
    """Return channel positions as float64 (n_channels, 2), or raise for missing, wrongly counted or repeated positions.

    Raises
    ------
    GeometryError
        If positions are missing, not (n_channels, 2), not finite, or two channels share one.
    """
    if geometry is None:
        msg = (
            f"{where} has no channel positions: pass geometry, an array ({n_channels}, 2) of x and y in um "
            "(allen_ecephys.processing.probes.neuropixels_1_geometry() for a Neuropixels 3A or 1.0 probe)"
        )
        raise GeometryError(msg)
    positions = np.array(geometry, dtype=np.float64)
    if positions.shape != (n_channels, 2):
        msg = f"geometry of {where} has shape {positions.shape}; {n_channels} channels need ({n_channels}, 2)"
        raise GeometryError(msg)
    if not np.isfinite(positions).all():
        bad = np.flatnonzero(~np.isfinite(positions).all(axis=1)).tolist()
        msg = f"geometry of {where} is not finite for channels {bad[:10]}; give every channel x and y in um"
        raise GeometryError(msg)
    _, first, counts = np.unique(positions, axis=0, return_index=True, return_counts=True)
    if (counts > 1).any():
        position = positions[first[np.argmax(counts > 1)]]
        twins = np.flatnonzero((positions == position).all(axis=1)).tolist()
        msg = (
            f"geometry of {where} puts channels {twins[:10]} at the same place "
            f"(x {position[0]:g}, y {position[1]:g} um); distances between channels would be wrong. "
            "Check the channel map, or whether two probes were mixed."
        )
        raise GeometryError(msg)
    return positions


def check_channel_count(recording: Recording, *, seconds: float = 1.0) -> None:
    """Raise if the samples look as if each held one channel more or less than the recording says.

    A file of 385 columns opened with 384 shifts by one channel a sample. Its size may not show it (every 384th number
    of samples fits both), but its values do: with the right number, a value is most alike the next one of its own
    channel. The correlation of values one sample apart is compared with that for other numbers of columns.

    Raises
    ------
    ChannelCountError
        If another number of columns fits clearly better; the message names both.
    """
    n_columns = int(getattr(recording, "n_columns", recording.n_channels))
    read = getattr(recording, "read_columns", recording.read)
    length = min(round(seconds * recording.sampling_rate), recording.n_samples)
    if length < 2:
        return
    start = (recording.n_samples - length) // 2
    values = np.asarray(read(start, start + length), dtype=np.float64).ravel()
    values -= values.mean()
    power = float(values @ values)
    if power == 0:
        return
    candidates = sorted({n_columns - 1, n_columns, n_columns + 1, 384, 385} - {0})
    alike = {n: float(values[:-n] @ values[n:]) / power for n in candidates if n < len(values)}
    best = max(alike, key=lambda n: alike[n])
    if alike[best] > alike[n_columns] + 0.1:
        msg = (
            f"the recording was opened with {n_columns} columns, but its values repeat after {best} "
            f"(correlation {alike[best]:.2f} against {alike[n_columns]:.2f}); open it with {best} columns"
        )
        raise ChannelCountError(msg)
