"""LFP files: the LFP of one probe and its current source density, in the layout of the release and in current NWB."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from allen_ecephys.errors import InvalidContentsError, InvalidValueError, explains_unknown_names
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
#: Samples and channels of a chunk of counts: two seconds of a millimetre of probe, 120 kB. Measured on 5 minutes of 90
#: channels: 10 s of all channels 98 times as fast as from the released layout, one channel at all times four times as
#: slow (7 ms), and the file, uncompressed, from 3 % smaller to 15 % larger, as the signal is loud or quiet.
COUNT_CHUNK = (2_500, 24)


class Traces(Protocol):
    """Traces that are read block by block: an array, a memory map, an HDF5 dataset or anything like them."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Samples x channels."""

    def __getitem__(self, samples: slice) -> npt.NDArray[np.floating | np.signedinteger]:
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


@explains_unknown_names
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
        (samples, channels): volts, written as float32, or whole counts, written as int16 where `volts_per_count` says
        what they are. May be larger than memory.
    timestamps
        Time of every sample (s, ascending).
    csd
        Current source density, if there is one.
    volts_per_count
        Volts of one count on each channel; None where traces are volts. (AllenSDK takes counts for volts; NWB's own
        rule, ``volts = counts * conversion``, is what every other reader follows.)
    calibrated_csd
        The same in A/m^3.
    """

    metadata: SessionMetadata
    probes: pd.DataFrame
    channels: pd.DataFrame
    traces: Traces
    timestamps: Floats
    csd: CurrentSourceDensity | None = None
    volts_per_count: Floats | None = None
    calibrated_csd: CurrentSourceDensity | None = None


def write_lfp_nwb(
    path: str | os.PathLike[str],
    contents: LfpContents,
    *,
    compression_level: int | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the LFP of one probe as an NWB file laid out as the released ones.

    Parameters
    ----------
    path
        File to write (``.nwb``); it appears, complete, when this function returns.
    contents
        Traces, times, channels and current source density.
    compression_level
        Of gzip, 0 to 9. Volts have 9 by default, as in the release; 4 takes half the time for files a few per cent
        larger. Counts have 0: 1 makes their file a third smaller, and reading a slice of it ten times slower.
    overwrite
        Whether an existing file may be replaced.

    Returns
    -------
    Path
        The file. Volts are laid out as in the release, in chunks of one channel each, so that a slice of time inflates
        all there is. Chunks of counts are two seconds long and 24 channels wide: both ways of reading touch few.

    Raises
    ------
    InvalidContentsError
        If traces, timestamps, channels and probe disagree, or timestamps are not finite and ascending.
    MissingFileError, FileExistsError, DiskFullError
        As :func:`allen_ecephys.processing.packaging.session.write_session_nwb`.
    """
    counts = contents.volts_per_count is not None
    compression_level = (0 if counts else 9) if compression_level is None else compression_level
    if compression_level not in range(10):
        msg = f"compression_level is {compression_level}; gzip knows 0 (none) to 9 (smallest)"
        raise InvalidValueError(msg)
    _check(contents)
    probe_id = int(contents.probes.index[0])
    needs = (2 if counts else 4) * int(np.prod(contents.traces.shape)) + 8 * len(contents.timestamps)
    with published(path, overwrite=overwrite, needs=needs // (2 if compression_level else 1) + 5_000_000) as part:
        nwbfile = new_file(contents.metadata, str(probe_id), layout.LFP_DESCRIPTION)
        add_probes(nwbfile, contents.probes, contents.channels)
        _add_traces(nwbfile, contents, probe_id, compression_level)
        _add_csd(nwbfile, contents.csd, contents.calibrated_csd)
        write_with_pynwb(nwbfile, part)
        import h5py

        # Chunks lie where they were written, as in write_with_pynwb: each is written once, whole.
        with h5py.File(part, "r+", rdcc_nbytes=0) as file:
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
    if contents.volts_per_count is not None and np.shape(contents.volts_per_count) != (shape[1],):
        msg = (
            f"volts_per_count has the shape {np.shape(contents.volts_per_count)}, not one number a channel ({shape[1]})"
        )
        raise InvalidContentsError(msg)
    for csd in (contents.csd, contents.calibrated_csd):
        _check_csd(csd)


def _check_csd(csd: CurrentSourceDensity | None) -> None:
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
    gzip = {"compression": "gzip", "compression_opts": compression_level} if compression_level else {}
    scale: dict[str, Any] = {}
    if contents.volts_per_count is None:
        dtype, rows, width = "f4", max(1, min(CHUNK_SAMPLES, n_samples)), 1
    else:
        dtype, rows, width = "i2", max(1, min(COUNT_CHUNK[0], n_samples)), min(COUNT_CHUNK[1], n_channels)
        gzip |= {"shuffle": True} if gzip else {}
        scale = _conversion(np.asarray(contents.volts_per_count, dtype=np.float64))
    empty = H5DataIO(shape=(n_samples, n_channels), dtype=np.dtype(dtype), chunks=(rows, width), **gzip)
    at_once = max(1, min(CHUNK_SAMPLES, n_samples))
    times = H5DataIO(
        data=np.asarray(contents.timestamps, dtype=np.float64), chunks=(at_once,), compression="gzip",
        compression_opts=compression_level or 4, shuffle=bool(scale),
    )  # fmt: skip
    region = nwbfile.create_electrode_table_region(
        region=list(range(n_channels)), description=f"lfp channels on probe {probe_id}"
    )
    group, name = layout.lfp_series(probe_id).split("/")[1:]
    series = ElectricalSeries(
        name=name, data=empty, timestamps=times, electrodes=region, description="LFP (V)", **scale
    )
    lfp = LFP(name=group)
    nwbfile.add_acquisition(lfp)
    lfp.add_electrical_series(series)
    # The series belongs to the LFP; here pynwb makes the soft link that released files have.
    nwbfile.add_acquisition(series)


def _conversion(volts_per_count: Floats) -> dict[str, Any]:
    """Return how NWB says what a count is: one number, or one and a factor a channel."""
    first = float(volts_per_count[0])
    if (volts_per_count == first).all():
        return {"conversion": first}
    return {"conversion": 1.0, "channel_conversion": volts_per_count}


def _add_csd(nwbfile: Any, csd: CurrentSourceDensity | None, calibrated: CurrentSourceDensity | None) -> None:
    from .extension import extension_class
    from .tables import time_series

    if csd is None and calibrated is None:
        return
    module_name, name = layout.CSD.split("/")[1:]
    module = nwbfile.create_processing_module(module_name, "current source density at interpolated channel positions")
    if calibrated is not None:
        depths = ", ".join(f"{y:g}" for y in calibrated.y_positions)
        series = time_series(
            "calibrated_current_source_density", calibrated.density, calibrated.times, "A/m^3",
            f"after a flash, times x depths; sinks are negative. Depths from the tip (um): {depths}",
        )  # fmt: skip
        module.add(series)
    if csd is None:
        return
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
    """Write the traces some rows of chunks at a time."""
    rows, width = dataset.chunks
    # Counts are filtered as they are read, two minutes at once; their chunks are short.
    step = rows if width == 1 else rows * max(1, 150_000 // rows)
    blocks = range(0, dataset.shape[0], step)
    for start in progress_bar(blocks, total=len(blocks), desc="Writing LFP", unit="block"):
        stop = min(start + step, dataset.shape[0])
        block = np.asarray(traces[start:stop], dtype=dataset.dtype)
        for channel in range(0, dataset.shape[1], width):
            # The columns of a chunk at once: each is compressed only once.
            dataset[start:stop, channel : channel + width] = block[:, channel : channel + width]
