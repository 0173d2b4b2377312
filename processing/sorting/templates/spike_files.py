"""Spikes of the final pass on the disk: written batch by batch, kept by a run that is stopped, never all in memory."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.files import naming_a_full_disk

from .searching import Found

#: What is known of each spike; its features lie in a file of their own, in the same order.
SPIKE: Final = np.dtype([("start", "<i8"), ("template", "<i4"), ("amplitude", "<f4"), ("explained", "<f4")])


class SpikeFiles:
    """Two growing files: one row a spike (:data:`SPIKE`), and its features, float32 (n_pcs, n_local).

    Parameters
    ----------
    folder
        Where they are: ``spikes.dat`` and ``features.dat``.
    n_pcs, n_local
        Components and channels of the features.
    """

    def __init__(self, folder: Path, n_pcs: int, n_local: int) -> None:
        self._spikes, self._features = folder / "spikes.dat", folder / "features.dat"
        self._shape = n_pcs, n_local

    @property
    def _row_bytes(self) -> tuple[int, int]:
        return SPIKE.itemsize, 4 * self._shape[0] * self._shape[1]

    def hold(self, n_spikes: int) -> bool:
        """Tell whether so many spikes are there."""
        paths = self._spikes, self._features
        return all(
            path.exists() and path.stat().st_size >= n_spikes * size
            for path, size in zip(paths, self._row_bytes, strict=True)
        )

    def after(self, n_spikes: int) -> SpikeWriter:
        """Return what appends to the first `n_spikes` spikes; those behind them are cut off."""
        return SpikeWriter((self._spikes, self._features), self._row_bytes, n_spikes, self._shape[0])

    def spikes(self, n_spikes: int) -> npt.NDArray[np.void]:
        """Return the first `n_spikes` rows."""
        return np.fromfile(self._spikes, SPIKE, n_spikes)

    def features(self, n_spikes: int) -> npt.NDArray[np.float32]:
        """Return the features of the first `n_spikes` spikes as a memory map, float32 (n_spikes, n_pcs, n_local)."""
        shape = n_spikes, *self._shape
        return np.memmap(self._features, np.float32, "r", shape=shape) if n_spikes else np.empty(shape, np.float32)


class SpikeWriter:
    """Appends spikes to both files."""

    def __init__(self, paths: tuple[Path, Path], row_bytes: tuple[int, int], n_spikes: int, n_pcs: int) -> None:
        self.n_spikes, self._n_pcs, self._folder = n_spikes, n_pcs, paths[0].parent
        self._files = [path.open("r+b" if path.exists() else "w+b") for path in paths]
        for file, size in zip(self._files, row_bytes, strict=True):
            file.truncate(n_spikes * size)
            file.seek(0, os.SEEK_END)

    def __enter__(self) -> SpikeWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for file in self._files:
            file.close()

    def append(self, found: Found) -> None:
        """Add the spikes of a batch."""
        rows = np.empty(len(found), SPIKE)
        for name in ("start", "template", "amplitude", "explained"):
            rows[name] = getattr(found, name)
        features = np.ascontiguousarray(found.weights[:, :, : self._n_pcs].transpose(0, 2, 1))
        with naming_a_full_disk(self._folder):
            for file, values in zip(self._files, (rows, features), strict=True):
                file.write(values.data if len(values) else b"")
        self.n_spikes += len(found)

    def flush(self) -> None:
        """Return when what was appended is on the disk.

        Raises
        ------
        DiskFullError
            If there is no room for it.
        """
        with naming_a_full_disk(self._folder):
            for file in self._files:
                file.flush()
                os.fsync(file.fileno())
