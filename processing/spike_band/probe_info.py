"""What the first look at a probe found, and with which parameters: the file ``probe_info.json``."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import FileFormatError, explains_unknown_names, in_words
from allen_ecephys.files import read_json

#: Microvolts per count of the release; thresholds of power are in counts squared of this size.
COUNT_UV: Final = 0.195
#: Distance of channels (um) that the release's counts of channels stand for.
RELEASED_PITCH: Final = 10.0


@explains_unknown_names
@dataclass(frozen=True)
class DepthParameters:
    """Parameters of the estimate; defaults are those of the release.

    Attributes
    ----------
    high_noise_uv, low_noise_uv
        Channels with a larger or smaller RMS are masked.
    n_passes, start_s, skip_s, interval_s
        Windows ``[start + skip * i, + interval)`` of the spike band.
    n_fft, max_frequency
        Length of the padded spectrum of the LFP; power is averaged from 0 Hz to `max_frequency`.
    reference_share
        Share of the channels, the uppermost ones, that are in saline or agar and whose median is subtracted from the
        LFP: 10 of 384.
    smoothing_um
        SD of the Gaussian along each shank: 5 channels of a 1.0 probe.
    power_threshold, step_threshold
        The surface is the last channel with less log10 power than the one and a step of power, for each 10 um, to the
        next below the other.
    air_gap_um
        Height of the air above the surface: 100 channels of a 1.0 probe.
    reorder_lfp
        Whether LFP channels are in the order of files extracted from 3A recordings.

    Examples
    --------
    >>> info = estimate_depth(bands.spike_band, bands.lfp, DepthParameters(high_noise_uv=30.0))
    >>> info.parameters.high_noise_uv
    30.0
    """

    high_noise_uv: float = 50.0
    low_noise_uv: float = 3.0
    n_passes: int = 10
    start_s: float = 150.0
    skip_s: float = 100.0
    interval_s: float = 5.0
    n_fft: int = 4096
    max_frequency: float = 10.0
    reference_share: float = 10 / 384
    smoothing_um: float = 50.0
    power_threshold: float = 2.5
    step_threshold: float = -0.06
    air_gap_um: float = 1000.0
    reorder_lfp: bool = False


@dataclass(frozen=True)
class ProbeInfo:
    """What the first look found.

    Attributes
    ----------
    offsets
        int64 (n_channels,): median of each channel, counts.
    mask
        bool (n_channels,): channels that take part in medians and whitening.
    rms_uv
        float64 (n_channels,): RMS of each channel around its offset, median over windows.
    surface_channel, air_channel
        Channels at which the brain ends and the air begins, on the first shank; the number of channels if the whole
        probe is in the brain.
    heights_um
        float64 (n_channels,): place of each channel along its shank, above (positive) or below the brain's surface, um.
        By default channels are 10 um apart in the order of their numbers, as on a 1.0 probe's lowest sites.
    air_um
        Height of the air above the surface, um. By default 10 um for each channel between the two.
    lfp_log_power
        float64 (n_channels,): what tells the surface, log10 of each channel's LFP power up to `max_frequency` (counts
        of 0.195 uV squared / Hz, less the reference and smoothed along the shank); None without an LFP.

    Examples
    --------
    >>> info = estimate_depth(bands.spike_band, bands.lfp)
    >>> info.offsets.shape, int(info.mask.sum())
    ((32,), 32)
    """

    offsets: npt.NDArray[np.int64]
    mask: npt.NDArray[np.bool_]
    rms_uv: npt.NDArray[np.float64]
    surface_channel: float
    air_channel: float
    parameters: DepthParameters = field(default_factory=DepthParameters)
    heights_um: npt.NDArray[np.float64] | None = None
    air_um: float | None = None
    lfp_log_power: npt.NDArray[np.float64] | None = None

    @property
    def heights(self) -> npt.NDArray[np.float64]:
        """Height of each channel above the brain's surface, um (see `heights_um`).

        Examples
        --------
        >>> info = ProbeInfo(np.zeros(4), np.ones(4, dtype=bool), np.ones(4), surface_channel=2, air_channel=4)
        >>> info.heights
        array([-20., -10.,   0.,  10.])
        """
        if self.heights_um is None:
            return np.asarray(RELEASED_PITCH * (np.arange(len(self.mask)) - self.surface_channel), dtype=np.float64)
        return self.heights_um

    @property
    def in_brain(self) -> npt.NDArray[np.bool_]:
        """Which channels are below the brain's surface, bool (n_channels,).

        Examples
        --------
        >>> info = ProbeInfo(np.zeros(4), np.ones(4, dtype=bool), np.ones(4), surface_channel=2, air_channel=4)
        >>> info.in_brain
        array([ True,  True, False, False])
        """
        return np.asarray(self.heights < 0)

    def below(self, height_um: float) -> npt.NDArray[np.bool_]:
        """Return which channels are less than so high above the surface, in whole channels of the released probes.

        The release counted channels from the surface's number, cut to a whole one where the median over passes was
        half way between two.

        Examples
        --------
        >>> info = ProbeInfo(np.zeros(4), np.ones(4, dtype=bool), np.ones(4), surface_channel=2, air_channel=4)
        >>> info.below(10.0)
        array([ True,  True,  True, False])
        """
        return np.asarray(self.heights + RELEASED_PITCH / 2 < height_um)

    @property
    def below_air(self) -> npt.NDArray[np.bool_]:
        """Which channels are below the air, bool (n_channels,).

        Examples
        --------
        >>> info = ProbeInfo(np.zeros(4), np.ones(4, dtype=bool), np.ones(4), surface_channel=1, air_channel=3)
        >>> info.below_air
        array([ True,  True,  True, False])
        """
        gap = RELEASED_PITCH * (self.air_channel - self.surface_channel) if self.air_um is None else self.air_um
        return self.below(gap)

    def save(self, path: str | os.PathLike[str], geometry: npt.NDArray[np.float64]) -> None:
        """Write ``probe_info.json`` with the keys of the released pipeline, and RMS and parameters.

        Examples
        --------
        >>> info = estimate_depth(bands.spike_band, bands.lfp)
        >>> info.save("saved_info.json", bands.spike_band.geometry)
        """
        n_channels = len(self.offsets)
        contents: dict[str, Any] = {
            "channel": list(range(n_channels)),
            "mask": self.mask.tolist(),
            "scaling": [1.0] * n_channels,
            "offset": self.offsets.tolist(),
            "vertical_pos": geometry[:, 1].tolist(),
            "horizontal_pos": geometry[:, 0].tolist(),
            "surface_channel": self.surface_channel,
            "air_channel": self.air_channel,
            "rms_uv": self.rms_uv.tolist(),
            "height_um": self.heights.tolist(),
            "air_um": self.air_um,
            "lfp_log_power": None if self.lfp_log_power is None else np.round(self.lfp_log_power, 4).tolist(),
            "parameters": asdict(self.parameters),
        }
        Path(path).write_text(json.dumps(contents, indent=1), encoding="utf-8")


def read_probe_info(path: str | os.PathLike[str]) -> ProbeInfo:
    """Read a ``probe_info.json``, ours or the released pipeline's.

    Raises
    ------
    FileFormatError
        If it lacks offsets, mask or the channels of surface and air.

    Examples
    --------
    >>> info = estimate_depth(bands.spike_band, bands.lfp)
    >>> info.save("probe_info.json", bands.spike_band.geometry)
    >>> read_probe_info("probe_info.json").surface_channel == info.surface_channel
    True
    """
    contents = read_json(Path(path))
    try:
        heights, power = contents.get("height_um"), contents.get("lfp_log_power")
        return ProbeInfo(
            offsets=np.asarray(contents["offset"], dtype=np.int64),
            mask=np.asarray(contents["mask"], dtype=bool),
            rms_uv=np.asarray(contents.get("rms_uv", [np.nan] * len(contents["mask"])), dtype=np.float64),
            surface_channel=float(contents["surface_channel"]),
            air_channel=float(contents["air_channel"]),
            parameters=DepthParameters(**contents.get("parameters", {})),
            heights_um=None if heights is None else np.asarray(heights, dtype=np.float64),
            air_um=contents.get("air_um"),
            lfp_log_power=None if power is None else np.asarray(power, dtype=np.float64),
        )
    except (KeyError, TypeError, ValueError) as error:
        msg = f"{path} is no probe_info.json: {in_words(error)}; run the depth estimation again"
        raise FileFormatError(msg) from error
