"""What the stages left of one probe, read for a page: as far as they came, and in little memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from allen_ecephys.files import read_json

from ..pipeline.manifest import read_manifest
from ..recording import chunk_bounds
from ..shanks import shanks_by_position
from ..sorting.phy_output import DETAILS_FILE, DRIFT_FILE
from ..spike_band.probe_info import ProbeInfo, read_probe_info
from . import depth_estimation, median_subtraction, probe_lfp, sorting, units
from .units import read_unit_table

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: Spikes that are looked at together.
CHUNK_SPIKES: Final = 2**20


@dataclass(frozen=True, eq=False)
class Movement:
    """How far the tissue moved along a probe, as its sorter saw it.

    Attributes
    ----------
    seconds
        float64 (n_batches,): middle of each batch, s of recording.
    shift_um
        float64 (n_batches, n_blocks), positive towards the surface.
    depths_um
        float64 (n_blocks,): middle of each block of depths, um from the tip; None where the sorting does not say.
    """

    seconds: Floats
    shift_um: Floats
    depths_um: Floats | None

    @property
    def range_um(self) -> float:
        """How far it went from one end to the other, at the depth where it went farthest."""
        return float(np.ptp(self.shift_um, axis=0).max(initial=0.0)) if len(self.shift_um) else 0.0


@dataclass(frozen=True, eq=False)
class SpikeMap:
    """How many spikes were seen when, and where along a shank.

    Attributes
    ----------
    counts
        int64 (n_shanks, n_times, n_depths).
    time_edges, depth_edges
        s of recording, and um from the tip.
    """

    counts: NDArray[np.int64]
    time_edges: Floats
    depth_edges: Floats


@dataclass(frozen=True)
class ProbeOutputs:
    """What the stages left of a probe.

    Attributes
    ----------
    folder, name
        Of the probe.
    """

    folder: Path
    name: str

    @cached_property
    def info(self) -> ProbeInfo | None:
        """What the first look found."""
        file = depth_estimation.STAGE.file(self.folder, depth_estimation.INFO_FILE)
        return read_probe_info(file) if file.is_file() else None

    @cached_property
    def spike_band(self) -> dict[str, Any]:
        """What the headers say of the spike band."""
        file = depth_estimation.STAGE.file(self.folder, depth_estimation.BANDS_FILE)
        return dict(read_json(file)["spike_band"]) if file.is_file() else {}

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return float(self.spike_band["n_samples"] / self.spike_band["sampling_rate"])

    @cached_property
    def positions(self) -> Floats:
        """Where the channels are, um, (n_channels, 2)."""
        return np.asarray(self.spike_band["geometry"], dtype=np.float64)

    @property
    def extent(self) -> tuple[float, float]:
        """From where to where there are channels, and a row beyond, um from the tip."""
        return float(self.positions[:, 1].min()) - 20.0, float(self.positions[:, 1].max()) + 20.0

    @cached_property
    def shanks(self) -> NDArray[np.int64]:
        """Shank of each channel, from 0 on."""
        told = self.spike_band.get("shanks")
        numbers = shanks_by_position(self.positions) if told is None else np.asarray(told)
        return np.unique(numbers, return_inverse=True)[1].astype(np.int64)

    @property
    def n_shanks(self) -> int:
        """Number of shanks with channels."""
        return int(self.shanks.max(initial=0)) + 1

    def surface(self, shank: int = 0) -> float | None:
        """Return where on a shank the brain ends, um from the tip; None where all of it is in the brain."""
        mine = np.flatnonzero(self.shanks == shank)
        if self.info is None or self.info.in_brain[mine].all():
            return None
        # Heights are counted from the surface, along lines of sites that share a row's extent.
        return float(np.median(self.positions[mine, 1] - self.info.heights[mine]))

    @cached_property
    def saturated_share(self) -> float | None:
        """Share of the samples at which the probe was saturated."""
        report = report_of(median_subtraction.STAGE.folder(self.folder))
        n_samples = self.spike_band.get("n_samples", 0)
        return report["n_saturated"] / n_samples if report and n_samples else None

    @cached_property
    def sorted(self) -> dict[str, Any]:
        """What the sorting counted; empty if it is not done."""
        return report_of(sorting.STAGE.folder(self.folder))

    @cached_property
    def lfp(self) -> dict[str, Any]:
        """What the LFP file holds; empty if there is none."""
        return report_of(probe_lfp.STAGE.folder(self.folder))

    @cached_property
    def table(self) -> pd.DataFrame | None:
        """Measured units."""
        file = units.STAGE.file(self.folder, units.TABLE)
        return read_unit_table(file) if file.is_file() else None

    @property
    def neurons(self) -> NDArray[np.bool_]:
        """Which units are a neuron's by the shape of their waveform."""
        return np.empty(0, np.bool_) if self.table is None else (self.table["quality"] == "good").to_numpy(np.bool_)

    @property
    def passing(self) -> NDArray[np.bool_]:
        """Which units pass the default filter."""
        if self.table is None:
            return np.empty(0, np.bool_)
        return self.neurons & (self.table["fails_bounds"] == "").to_numpy(np.bool_)

    @cached_property
    def movement(self) -> Movement | None:
        """How far the tissue moved, where the sorter estimated it."""
        file = sorting.STAGE.file(self.folder, DRIFT_FILE)
        if not self.sorted or not self.spike_band or not file.is_file():
            return None
        told = read_json(sorting.STAGE.file(self.folder, DETAILS_FILE)).get("drift", {})
        shift = np.load(file, allow_pickle=False)
        # Batches are of one length, the last aside.
        batch = float(told["batch_samples"]) if told else self.spike_band["n_samples"] / max(len(shift), 1)
        middles = (np.arange(len(shift)) + 0.5) * batch / self.spike_band["sampling_rate"]
        depths = np.asarray(told["block_depths_um"], dtype=np.float64) if told else None
        return Movement(np.minimum(middles, self.seconds), shift, depths)

    def spike_map(self, n_times: int, n_depths: int) -> SpikeMap | None:
        """Count the spikes of a sorting in bins of time and depth, a part at a time; None where it has no places."""
        times, places = (sorting.STAGE.file(self.folder, f"spike_{name}.npy") for name in ("times", "positions"))
        if not self.sorted or not self.spike_band or not (times.is_file() and places.is_file()):
            return None
        samples, where = (np.load(file, mmap_mode="r", allow_pickle=False) for file in (times, places))
        samples = samples.reshape(-1)
        low, high = self.extent
        across, borders = self._across()
        counts = np.zeros(self.n_shanks * n_times * n_depths, np.int64)
        for start, stop in chunk_bounds(len(samples), CHUNK_SPIKES):
            share = samples[start:stop] / self.spike_band["n_samples"]
            along = (where[start:stop, 1] - low) / (high - low)
            row = np.clip(share * n_times, 0, n_times - 1).astype(np.int64)
            column = np.clip(along * n_depths, 0, n_depths - 1).astype(np.int64)
            shank = across[np.searchsorted(borders, where[start:stop, 0])]
            counts += np.bincount((shank * n_times + row) * n_depths + column, minlength=len(counts))
        return SpikeMap(
            counts.reshape(self.n_shanks, n_times, n_depths),
            np.linspace(0.0, self.seconds, n_times + 1),
            np.linspace(low, high, n_depths + 1),
        )

    def _across(self) -> tuple[NDArray[np.int64], Floats]:
        """Return the shanks in their order across the probe, and the middles between neighbours, um."""
        sites = [self.positions[self.shanks == shank, 0] for shank in range(self.n_shanks)]
        order = np.argsort([x.mean() for x in sites]).astype(np.int64)
        pairs = pairwise([sites[shank] for shank in order])
        return order, np.array([(left.max() + right.min()) / 2 for left, right in pairs], dtype=np.float64)


def report_of(folder: Path) -> dict[str, Any]:
    """Return what a stage counted; empty if it is not done."""
    return dict((read_manifest(folder) or {}).get("report", {}))
