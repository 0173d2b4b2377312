"""Kinds of probes as metadata name them: in the catalogue or not, and in the frame that recorders' positions have."""

from __future__ import annotations

import functools

from allen_ecephys.errors import UnknownNameError

from ..probes import ProbeModel, probe_model

#: The catalogue's entry for 1.0 probes has the positions of sorters; this one has the same sites in imec's frame.
SAME_AS_1_0 = "NP1001"


@functools.cache
def catalogue_probe(part_number: str) -> ProbeModel | None:
    """Return a kind of probe, its lowest row at y = 0 and its first column at x = 0, or None if no catalogue lists it.

    Raises
    ------
    MissingExtraError
        If probeinterface is not installed.
    """
    try:
        return probe_model(SAME_AS_1_0 if part_number == "NP1000" else part_number)
    except UnknownNameError:
        return None


def part_number_called(name: str) -> str:
    """Return the part number that is meant, in any case and without its ``NP``; as it is where no catalogue lists it.

    Examples
    --------
    >>> part_number_called("np2013"), part_number_called("2013"), part_number_called("NP9999")
    ('NP2013', 'NP2013', 'NP9999')
    """
    told = str(name).strip()
    meant = (told, told.upper(), f"NP{told.upper()}")
    return next((part for part in meant if catalogue_probe(part) is not None), told)


def shank_pitch(probe: ProbeModel) -> float:
    """Return the distance between shanks in um, 0 for a single one."""
    second = probe.positions[probe.shanks == 1, 0]
    return float(second.min() - probe.positions[probe.shanks == 0, 0].min()) if len(second) else 0.0


def reference_channel(probe: ProbeModel) -> int | None:
    """Return the readout channel that is wired to a reference on each bank, or None."""
    return int(probe.reference_sites[0]) % probe.n_channels if len(probe.reference_sites) else None
