"""LFP files: the LFP of one probe and its current source density, in the layout of the release and in current NWB."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from allen_ecephys.errors import InvalidContentsError, InvalidValueError
from allen_ecephys.nwb import layout
from allen_ecephys.progress import progress_bar

from .files import add_probes, name_objects, new_file, published, write_with_pynwb

if TYPE_CHECKING:
    import h5py
    import numpy.typing as npt
    import pandas as pd

    from .contents import SessionMetadata

    Floats = npt.NDArray[np.float64]

#: Samples of one channel in a chunk, as in the released files: 186 kB before compression.
CHUNK_SAMPLES = 46_485


class Traces(Protocol):
    """Traces that are read block by block: an array, a memory map, an HDF5 dataset or anything like them."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Samples x channels."""

    def __getitem__(self, samples: slice) -> npt.NDArray[np.floating]:
        """Return a block of samples of all channels."""


@dataclass(frozen=True)
class CurrentSourceDensity:
    """Flash-triggered current source density of one probe, uncalibrated.

    Attributes
    ----------
    density
        (times, virtual electrodes); named V/cm^2 in the release, in fact in arbitrary units.
    times
        Time of each row from the flash (s).
    x_positions, y_positions
        Position of each virtual electrode across and along the probe (um).
    """

    density: Floats = field(repr=False)
    times: Floats = field(repr=False)
    x_positions: Floats = field(repr=False)
    y_positions: Floats = field(repr=False)


@dataclass(frozen=True)
class LfpContents:
    """The LFP of one probe.

    Attributes
    ----------
    metadata
        Of the session.
    probes
        One row, indexed by the probe's id; columns as in
        :class:`~allen_ecephys.processing.packaging.contents.SessionContents`.
    channels
        The channels of `traces`, in their order; columns as in ``SessionContents``.
    traces
        (samples, channels), volts; written as float32. May be larger than memory.
    timestamps
        Time of every sample (s, ascending).
    csd
        Current source density, if there is one.
    """

    metadata: SessionMetadata
    probes: pd.DataFrame
    channels: pd.DataFrame
    traces: Traces
    timestamps: Floats
    csd: CurrentSourceDensity | None = None


def write_lfp_nwb(
    path: str | os.PathLike[str], contents: LfpContents, *, compression_level: int = 9, overwrite: bool = False
) -> Path:
    """Write the LFP of one probe as an NWB file laid out as the released ones.

    Parameters
    ----------
    path
        File to write (``.nwb``); it appears, complete, when this function returns.
    contents
        Traces, times, channels and current source density.
    compression_level
        Of gzip, 0 to 9. The release has 9; 4 takes half the time for files a few per cent larger.
    overwrite
        Whether an existing file may be replaced.

    Returns
    -------
    Path
        The file. Chunks hold one channel each, so that reading a few channels costs no more than they hold.

    Raises
    ------
    InvalidContentsError
        If traces, timestamps, channels and probe disagree, or timestamps are not finite and ascending.
    FileExistsError, DiskFullError
        As :func:`allen_ecephys.processing.packaging.session.write_session_nwb`.
    """
    if compression_level not in range(10):
        msg = f"compression_level is {compression_level}; gzip knows 0 (none) to 9 (smallest)"
        raise InvalidValueError(msg)
    _check(contents)
    probe_id = int(contents.probes.index[0])
    needs = 4 * int(np.prod(contents.traces.shape)) + 8 * len(contents.timestamps)
    with published(path, overwrite=overwrite, needs=needs // 2 + 5_000_000) as part:
        nwbfile = new_file(contents.metadata, str(probe_id), layout.LFP_DESCRIPTION)
        add_probes(nwbfile, contents.probes, contents.channels)
        _add_traces(nwbfile, contents, probe_id, compression_level)
        if contents.csd is not None:
            _add_csd(nwbfile, contents.csd)
        write_with_pynwb(nwbfile, part)
        import h5py

        with h5py.File(part, "r+") as file:
            _fill(file[f"{layout.lfp_series(probe_id)}/data"], contents.traces)
            name_objects(file)
    return Path(path)


def _check(contents: LfpContents) -> None:
    shape = contents.traces.shape
    if len(contents.probes) != 1:
        msg = f"an LFP file holds one probe, not {len(contents.probes)}; write one file a probe"
        raise InvalidContentsError(msg)
    if len(shape) != 2 or shape != (len(contents.timestamps), len(contents.channels)):
        msg = (
            f"traces have the shape {shape}, but there are {len(contents.timestamps):,} timestamps and "
            f"{len(contents.channels)} channels; traces are samples x channels"
        )
        raise InvalidContentsError(msg)
    probe_id = int(contents.probes.index[0])
    if not (contents.channels["probe_id"] == probe_id).all() or not contents.channels.index.is_unique:
        msg = f"channels repeat, or some are not of probe {probe_id}; give the channels of the traces, each once"
        raise InvalidContentsError(msg)
    times = np.asarray(contents.timestamps)
    if not np.isfinite(times).all() or not (np.diff(times) > 0).all():
        msg = "timestamps are not finite and ascending; cut the samples that could not be synchronized"
        raise InvalidContentsError(msg)
    csd = contents.csd
    if csd is not None and csd.density.shape != (len(csd.times), len(csd.y_positions)):
        msg = (
            f"the current source density has the shape {csd.density.shape}, but {len(csd.times)} times and "
            f"{len(csd.y_positions)} virtual electrodes"
        )
        raise InvalidContentsError(msg)


def _add_traces(nwbfile: Any, contents: LfpContents, probe_id: int, compression_level: int) -> None:
    from hdmf.backends.hdf5 import H5DataIO
    from pynwb.ecephys import LFP, ElectricalSeries

    n_samples, n_channels = contents.traces.shape
    gzip = {"compression": "gzip", "compression_opts": compression_level}
    rows = max(1, min(CHUNK_SAMPLES, n_samples))
    empty = H5DataIO(shape=(n_samples, n_channels), dtype=np.dtype("f4"), chunks=(rows, 1), **gzip)
    times = H5DataIO(data=np.asarray(contents.timestamps, dtype=np.float64), chunks=(rows,), **gzip)
    region = nwbfile.create_electrode_table_region(
        region=list(range(n_channels)), description=f"lfp channels on probe {probe_id}"
    )
    group, name = layout.lfp_series(probe_id).split("/")[1:]
    series = ElectricalSeries(name=name, data=empty, timestamps=times, electrodes=region, description="LFP (V)")
    lfp = LFP(name=group)
    nwbfile.add_acquisition(lfp)
    lfp.add_electrical_series(series)
    # The series belongs to the LFP; here pynwb makes the soft link that released files have.
    nwbfile.add_acquisition(series)


def _add_csd(nwbfile: Any, csd: CurrentSourceDensity) -> None:
    from .extension import extension_class
    from .tables import time_series

    module_name, name = layout.CSD.split("/")[1:]
    module = nwbfile.create_processing_module(module_name, "current source density at interpolated channel positions")
    series = time_series(
        "current_source_density", csd.density, csd.times, "V/cm^2", "uncalibrated: proportional to the current density"
    )
    module.add(
        extension_class("EcephysCSD")(
            name=name,
            time_series=series,
            virtual_electrode_x_positions=np.asarray(csd.x_positions, dtype=np.float64),
            virtual_electrode_x_positions__unit="um",
            virtual_electrode_y_positions=np.asarray(csd.y_positions, dtype=np.float64),
            virtual_electrode_y_positions__unit="um",
        )
    )


def _fill(dataset: h5py.Dataset, traces: Traces) -> None:
    """Write the traces one row of chunks at a time."""
    step = dataset.chunks[0]
    blocks = range(0, dataset.shape[0], step)
    for start in progress_bar(blocks, total=len(blocks), desc="Writing LFP", unit="block"):
        stop = min(start + step, dataset.shape[0])
        # One channel at a time: each is a chunk, compressed once.
        block = np.asarray(traces[start:stop], dtype=np.float32)
        for channel in range(dataset.shape[1]):
            dataset[start:stop, channel] = block[:, channel]
