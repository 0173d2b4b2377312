"""Plain binary files: a matrix of samples, sample-major, without a header."""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import CorruptFileError, FileFormatError, GeometryError, MissingDataError

from ..probes import AdcWiring, neuropixels_1_geometry, neuropixels_1_wiring
from ..recording import Channels, checked_bounds, checked_geometry
from ..shanks import shanks_by_position
from ..timeline import Timeline
from .compressed import CompressedSamples, is_compressed

logger = logging.getLogger(__name__)


class BinaryRecording:
    """Samples in a flat file, value(t, column) at ``offset + itemsize * (t * n_columns + column)``.

    Each read asks the operating system for exactly the bytes of its window (``pread``): memory stays bounded by
    the window for files of any size, a file cut while it is read is an error instead of a killed process, and
    several threads may read at once. :meth:`memory_map` gives the whole file as an array for random access.
    A ``.cbin`` file, which has a ``.ch`` beside it, is inflated chunk by chunk while it is read.

    Parameters
    ----------
    path
        The file.
    n_columns
        Values per sample in the file, synchronization columns included.
    sampling_rate
        Hz.
    uv_per_bit
        Microvolts per count: one number, or one per channel.
    geometry
        (n_channels, 2) positions in um.
    channels
        Columns that are channels, in order; all by default.
    shanks
        Shank of each channel; by default told by gaps of more than 120 um across the probe.
    adc
        When each channel is digitised. By default that of a 1.0 probe for channels at the positions of one
        (:func:`~allen_ecephys.processing.probes.neuropixels_1_geometry`), and unknown for others.
    reference_channels
        Channels without signal, as indices into the channels.
    dtype
        Of the file: int16 (the default), any other integer, or float32/float64.
    offset
        Bytes before the first sample.
    n_samples
        Samples to use; by default as many as the file holds.
    timeline
        Where gaps are; by default there is none.
    full_scale_uv
        Largest voltage that the converter could measure, where it is known; samples at it are saturated.
    compressed
        What inflates the file, by default told by its name.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    MissingFileError, CorruptFileError
        If the description of a compressed file is missing, or of another file.
    FileFormatError
        If the file cannot hold a sample, or a parameter makes no sense.
    GeometryError
        If positions are missing, wrongly counted or repeated.

    Notes
    -----
    A file whose size is not a whole number of samples is read up to the last whole one; the rest is logged and
    counted in :attr:`dropped_bytes`.

    Examples
    --------
    >>> samples = np.random.default_rng(0).normal(0, 50, (30_000, 4)).astype(np.int16)
    >>> samples.tofile("four.dat")
    >>> places = [[0, 0], [0, 20], [0, 40], [0, 60]]  # um
    >>> recording = BinaryRecording("four.dat", n_columns=4, sampling_rate=3e4, uv_per_bit=0.195, geometry=places)
    >>> recording.n_samples, recording.n_channels
    (30000, 4)
    """

    #: What the recorder calls the probe, and its kind; empty where it does not say.
    probe_name: str = ""
    part_number: str = ""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        n_columns: int,
        sampling_rate: float,
        uv_per_bit: float | npt.ArrayLike,
        geometry: npt.ArrayLike | None,
        shanks: npt.ArrayLike | None = None,
        adc: AdcWiring | None = None,
        channels: npt.ArrayLike | None = None,
        reference_channels: npt.ArrayLike = (),
        dtype: npt.DTypeLike = np.int16,
        offset: int = 0,
        n_samples: int | None = None,
        timeline: Timeline | None = None,
        full_scale_uv: float | None = None,
        compressed: CompressedSamples | None = None,
    ) -> None:
        self.path = Path(path)
        if compressed is None and is_compressed(self.path):
            compressed = CompressedSamples(self.path)
        self.compressed = compressed
        self.n_columns = int(n_columns)
        self.sampling_rate = float(sampling_rate)
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.offset = int(offset)
        self.full_scale_uv = full_scale_uv
        where = str(self.path)
        usable = self.n_columns >= 1 and math.isfinite(self.sampling_rate) and self.sampling_rate > 0
        if not usable or self.dtype.kind not in "iuf":
            msg = (
                f"{where}: {n_columns} columns at {sampling_rate} Hz of dtype {self.dtype} is no recording; "
                "columns and rate are positive, the dtype is a number"
            )
            raise FileFormatError(msg)
        if compressed is not None:
            self._check_compressed(compressed, n_samples)
        self.columns = self._checked_columns(channels, where)
        self.n_channels = len(self.columns)
        self.uv_per_bit: npt.NDArray[np.float64] = self._checked_gains(uv_per_bit, where)
        self.geometry = checked_geometry(geometry, self.n_channels, where)
        self.shanks = self._checked_shanks(shanks, where)
        self.adc = self._wiring(adc, where)
        self.reference_channels: npt.NDArray[np.int64] = np.unique(np.asarray(reference_channels, dtype=np.int64))
        if len(self.reference_channels) and not (
            self.reference_channels[0] >= 0 and self.reference_channels[-1] < self.n_channels
        ):
            listed = self.reference_channels.tolist()
            msg = f"{where}: reference channels {listed} are not all in 0..{self.n_channels - 1}; number them from 0"
            raise FileFormatError(msg)
        self.n_samples, self.dropped_bytes = self._count_samples(n_samples)
        self.timeline = Timeline.unbroken(self.n_samples) if timeline is None else timeline
        if self.timeline.n_samples != self.n_samples:
            msg = f"{where} holds {self.n_samples} samples, its timeline describes {self.timeline.n_samples}"
            raise FileFormatError(msg)
        self._descriptor: int | None = None
        self._opening = Lock()

    def _check_compressed(self, compressed: CompressedSamples, n_samples: int | None) -> None:
        if (compressed.n_columns, compressed.dtype, 0) != (self.n_columns, self.dtype, self.offset):
            msg = (
                f"{self.path} holds {compressed.n_columns} columns of {compressed.dtype} by "
                f"{compressed.description.name}, not {self.n_columns} of {self.dtype} from byte {self.offset}: one of "
                "the files is of another recording"
            )
            raise CorruptFileError(msg)
        if n_samples is None:
            compressed.check_whole()

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the samples are in: one, or a compressed one and its description.

        Examples
        --------
        >>> [path.name for path in open_bands("recording").spike_band.files]
        ['continuous.dat']
        """
        return (self.path,) if self.compressed is None else (self.path, self.compressed.description)

    @property
    def sample_bytes(self) -> int:
        """Bytes that the samples in the file take, or would if they were not compressed.

        Examples
        --------
        >>> open_bands("recording").spike_band.sample_bytes
        11520000
        """
        if self.compressed is None:
            return self.path.stat().st_size - self.offset
        return self.compressed.n_held * self.n_columns * self.dtype.itemsize

    def _checked_columns(self, channels: npt.ArrayLike | None, where: str) -> npt.NDArray[np.int64]:
        columns = np.arange(self.n_columns) if channels is None else np.asarray(channels, dtype=np.int64).ravel()
        inside = (columns >= 0) & (columns < self.n_columns)
        if not len(columns) or not inside.all() or len(np.unique(columns)) < len(columns):
            msg = (
                f"{where}: channel columns {columns[:10].tolist()}... are not distinct columns in "
                f"0..{self.n_columns - 1}; compare the channel list with the file's metadata"
            )
            raise FileFormatError(msg)
        return columns.astype(np.int64)

    def _checked_gains(self, uv_per_bit: float | npt.ArrayLike, where: str) -> npt.NDArray[np.float64]:
        gains = np.asarray(uv_per_bit, dtype=np.float64)
        if gains.shape not in {(), (self.n_channels,)} or not (np.isfinite(gains) & (gains > 0)).all():
            found = f"{uv_per_bit!r:.80}"
            msg = f"{where}: uv_per_bit is one positive number or one per channel ({self.n_channels}), not {found}"
            raise FileFormatError(msg)
        return np.array(np.broadcast_to(gains, self.n_channels))

    def _checked_shanks(self, shanks: npt.ArrayLike | None, where: str) -> npt.NDArray[np.int64]:
        if shanks is None:
            return shanks_by_position(self.geometry)
        given = np.asarray(shanks, dtype=np.int64)
        if given.shape != (self.n_channels,):
            msg = f"{where}: shanks has shape {given.shape}; {self.n_channels} channels need one shank each"
            raise GeometryError(msg)
        return given

    def _wiring(self, adc: AdcWiring | None, where: str) -> AdcWiring | None:
        if adc is None:
            at_1_0 = np.array_equal(self.geometry, neuropixels_1_geometry(self.n_channels))
            return neuropixels_1_wiring(self.n_channels) if at_1_0 else None
        if not len(adc.turns) == len(adc.groups) == self.n_channels:
            msg = f"{where}: adc describes {len(adc.turns)} channels, the recording has {self.n_channels}"
            raise GeometryError(msg)
        return adc

    def _count_samples(self, n_samples: int | None) -> tuple[int, int]:
        held, rest = divmod(max(self.sample_bytes, 0), self.n_columns * self.dtype.itemsize)
        if n_samples is not None:
            if not 0 <= n_samples <= held:
                msg = (
                    f"{self.path} holds {held} samples of {self.n_columns} columns, not {n_samples}; "
                    "it was cut, or is another file than its metadata describes"
                )
                raise CorruptFileError(msg)
            return int(n_samples), 0
        if rest:
            logger.warning(
                "%s: %d bytes after the last whole sample are left out (%d samples of %d columns x %d bytes)",
                self.path, rest, held, self.n_columns, self.dtype.itemsize,
            )  # fmt: skip
        return int(held), int(rest)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.path.name!r}, {self.n_channels} channels, "
            f"{self.n_samples / self.sampling_rate:.1f} s at {self.sampling_rate:g} Hz, {self.dtype})"
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in {"_descriptor", "_opening"}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _descriptor=None, _opening=Lock())

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a later read opens it again.

        Examples
        --------
        >>> band = open_bands("recording").spike_band
        >>> band.close()
        """
        descriptor = self.__dict__.get("_descriptor")
        if descriptor is not None:
            self._descriptor = None
            os.close(descriptor)
        compressed: CompressedSamples | None = self.__dict__.get("compressed")
        if compressed is not None:
            compressed.close()

    def memory_map(self) -> np.memmap[Any, np.dtype[Any]]:
        """Return the whole file as a read-only memory map (n_samples, n_columns).

        Raises
        ------
        MissingDataError
            If the file holds no sample (an empty file cannot be mapped), or is compressed.

        Examples
        --------
        >>> band = open_bands("recording").spike_band
        >>> band.memory_map().shape
        (180000, 32)
        """
        if not self.n_samples:
            msg = f"{self.path} holds no samples, so there is nothing to map"
            raise MissingDataError(msg)
        if self.compressed is not None:
            msg = f"{self.path} is compressed and cannot be mapped; read windows of it, or expand it with mtsdecomp"
            raise MissingDataError(msg)
        shape = (self.n_samples, self.n_columns)
        return np.memmap(self.path, dtype=self.dtype, mode="r", offset=self.offset, shape=shape)

    def read_columns(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return all columns of samples ``[start, stop)``, synchronization columns included.

        Raises
        ------
        IndexError
            If the window leaves the recording.
        CorruptFileError
            If the file has become shorter than it was when it was opened, or compressed samples are damaged.

        Examples
        --------
        >>> band = open_bands("recording").spike_band
        >>> band.read_columns(0, 300).shape  # every column of the file, channels or not
        (300, 32)
        """
        start, stop = checked_bounds(start, stop, self.n_samples, str(self.path))
        if self.compressed is not None:
            return self.compressed.read(start, stop)
        samples = np.empty((stop - start, self.n_columns), self.dtype)
        if not samples.size:
            return samples
        with self._opening:
            if self._descriptor is None:
                self._descriptor = os.open(self.path, os.O_RDONLY)
        view = samples.reshape(-1).view(np.uint8).data
        position = self.offset + start * self.n_columns * self.dtype.itemsize
        while len(view):
            count = os.preadv(self._descriptor, [view], position)
            if count == 0:
                msg = f"{self.path} ends at byte {position}, before sample {stop}: it was cut after it was opened"
                raise CorruptFileError(msg)
            view, position = view[count:], position + count
        return samples

    def read(self, start: int, stop: int, channels: Channels = None) -> npt.NDArray[Any]:
        """Return samples ``[start, stop)`` of `channels` (all by default) as stored, (stop - start, channels).

        Examples
        --------
        >>> band = open_bands("recording").spike_band
        >>> band.read(0, 300).shape, band.read(0, 300).dtype  # counts of the converter
        ((300, 32), dtype('int16'))
        """
        samples = self.read_columns(start, stop)
        if channels is None:
            return samples if self._all_columns else samples[:, self.columns]
        return samples[:, self.columns[channels]]

    @property
    def _all_columns(self) -> bool:
        return self.n_channels == self.n_columns and bool((np.diff(self.columns) == 1).all())

    def read_uv(self, start: int, stop: int, channels: Channels = None) -> npt.NDArray[np.float32]:
        """Return samples ``[start, stop)`` of `channels` (all by default) in microvolts, float32.

        Examples
        --------
        >>> band = open_bands("recording").spike_band
        >>> band.read_uv(0, 300, [3, 4]).shape  # microvolts of two channels
        (300, 2)
        """
        samples = self.read(start, stop, channels)
        gains = self.uv_per_bit if channels is None else self.uv_per_bit[channels]
        scaled: npt.NDArray[np.float32] = np.multiply(samples, gains.astype(np.float32), dtype=np.float32)
        return scaled


def open_binary(
    path: str | os.PathLike[str],
    n_channels: int = 384,
    *,
    sampling_rate: float = 30_000.0,
    uv_per_bit: float | npt.ArrayLike = 0.195,
    geometry: npt.ArrayLike | None = None,
    reference_channels: npt.ArrayLike = (),
    dtype: npt.DTypeLike = np.int16,
) -> BinaryRecording:
    """Open a headerless file whose columns are all channels.

    The defaults are those of the released recordings: 384 channels, 30 kHz, 0.195 uV per count; 384 channels without
    `geometry` get the Neuropixels 3A / 1.0 staggered layout.

    Raises
    ------
    GeometryError
        If `geometry` is left out for another number of channels.

    Examples
    --------
    >>> band = open_bands("recording").spike_band
    >>> band.read(0, 30_000).tofile("flat.dat")
    >>> flat = open_binary("flat.dat", n_channels=32, sampling_rate=30_000.0, geometry=band.geometry)
    >>> flat.n_samples
    30000
    """
    from ..probes import neuropixels_1_geometry

    if geometry is None and n_channels == 384:
        geometry = neuropixels_1_geometry()
    return BinaryRecording(
        path,
        n_columns=n_channels,
        sampling_rate=sampling_rate,
        uv_per_bit=uv_per_bit,
        geometry=geometry,
        reference_channels=reference_channels,
        dtype=dtype,
    )
