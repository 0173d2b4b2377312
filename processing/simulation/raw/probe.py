"""The probe of a simulated recording: its recorded sites, its converters, and how it is described."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ...probes import (
    REFERENCE_CHANNELS_3A,
    AdcWiring,
    adc_wiring,
    default_sites,
    neuropixels_1_geometry,
    neuropixels_1_wiring,
    probe_model,
    readout_channels,
)
from ...ranges import check_whole
from ...recording import checked_geometry
from ...shanks import shanks_by_position

NEUROPIXELS_1: Final = "NP1000"


@dataclass(frozen=True, eq=False)
class RecordedProbe:
    """The channels of a simulated probe, in the order of their numbers.

    Attributes
    ----------
    part_number
        Of the probe; empty for channels at positions of no particular probe.
    sites
        int64 (n_channels,): the site that each channel records from.
    geometry, shanks
        Positions (um) and shank of each channel.
    adc
        When each channel is digitised.
    references
        Channels that are references.
    bits, ap_gain, ap_step_uv, lfp_step_uv
        Of the converter: bits, the gain before it, and one step of each band in uV; None where there is no LFP band.
    channels
        int64 (n_channels,): number of each channel on the probe.
    n_acquired, n_groups
        Channels that the probe can record, and groups of channels digitised together among them.
    """

    part_number: str
    sites: npt.NDArray[np.int64]
    geometry: npt.NDArray[np.float64]
    shanks: npt.NDArray[np.int64]
    adc: AdcWiring
    references: tuple[int, ...]
    bits: int
    ap_gain: float
    ap_step_uv: float
    lfp_step_uv: float | None
    channels: npt.NDArray[np.int64]
    n_acquired: int
    n_groups: int


def recorded_probe(
    part_number: str = NEUROPIXELS_1,
    n_channels: int = 384,
    *,
    sites: npt.ArrayLike | None = None,
    geometry: npt.ArrayLike | None = None,
    multiplexed: bool = True,
) -> RecordedProbe:
    """Return a probe's recorded channels.

    Parameters
    ----------
    part_number
        Of the probe.
    n_channels
        How many of its lowest sites are recorded, where neither sites nor positions are given.
    sites
        Sites to record from, in any order: channels are numbered as the probe's wiring has it.
    geometry
        Positions (n_channels, 2) of no particular probe, digitised like a 1.0 probe.
    multiplexed
        Whether channels are digitised one after the other or at the same instant.

    Raises
    ------
    GeometryError
        If two sites share a channel, or positions are wrong.
    UnknownNameError
        If there is no such probe.
    """
    model = probe_model(NEUROPIXELS_1 if geometry is not None else part_number)
    if geometry is not None:
        places = checked_geometry(geometry, n_channels, "probe")
        at_1_0 = np.array_equal(places, neuropixels_1_geometry(n_channels))
        part_number, recorded = NEUROPIXELS_1 if at_1_0 else "", np.arange(n_channels)
        shanks, numbers = shanks_by_position(places), np.arange(n_channels)
        wiring = neuropixels_1_wiring(n_channels)
    else:
        if sites is None:
            check_whole("n_channels", n_channels, least=1, most=model.n_channels)
        recorded = default_sites(model, n_channels) if sites is None else np.asarray(sites, dtype=np.int64)
        channels = readout_channels(model, recorded)
        order = np.argsort(channels)
        recorded, numbers = recorded[order], channels[order]
        places, shanks = model.positions[recorded], model.shanks[recorded]
        found = adc_wiring(part_number, numbers)
        wiring = neuropixels_1_wiring(numbers) if found is None else found
    whole = adc_wiring(model.part_number, model.n_channels) or wiring
    if not multiplexed:
        wiring = AdcWiring(np.zeros_like(wiring.turns), wiring.n_turns, wiring.groups)
    listed = numbers[np.isin(recorded, model.reference_sites)]
    if part_number in {NEUROPIXELS_1, ""}:  # as in the release, whose probes were 3A
        listed = np.array(REFERENCE_CHANNELS_3A)
    ap_gain, lfp_gain = model.gains
    return RecordedProbe(
        part_number, recorded, places, shanks, wiring,
        tuple(int(c) for c in np.flatnonzero(np.isin(numbers, listed))),
        model.bits, ap_gain, model.range_uv / 2**model.bits / ap_gain,
        None if lfp_gain is None else model.range_uv / 2**model.bits / lfp_gain,
        np.asarray(numbers, dtype=np.int64), model.n_channels, int(whole.groups.max()) + 1,
    )  # fmt: skip
