"""What the native sorter can be told, under Kilosort 2's names."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from allen_ecephys.errors import InvalidValueError, explains_unknown_names

from ..spike_band.adc_phase import Definition, check_definition

#: Fewest samples of a batch: eight templates.
LEAST_BATCH: Final = 488


@explains_unknown_names
@dataclass(frozen=True)
class SortingParameters:
    """Parameters of the native sorter; defaults are those the release was sorted with, where it had them.

    Norms and thresholds are in units of the noise: after whitening each channel's noise has an SD of 1.

    Attributes
    ----------
    fshigh
        Corner of the high-pass filter, Hz.
    minfr_goodchannels
        In recordings of five minutes or more, channels with fewer spikes a second than this, and none beside them with
        more, are left out; 0 keeps all.
    Th
        Detection thresholds on the root of the explained energy: while learning templates, and at the final extraction.
    lam
        How strongly a spike's amplitude is held near its template's (Gaussian prior; 0 is no prior).
    AUCsplit
        Least purity of both halves for a unit to be split.
    minFR
        Templates that find fewer spikes a second than this are dropped.
    momentum
        Spikes that a template remembers, at the beginning and at the end of learning.
    spkTh
        Threshold of isolated spikes that the prototypes are learned from, noise SDs (negative).
    nPCs
        Principal components of a channel's waveform in the features written for each spike.
    n_basis
        Waveform components that templates are made of.
    whitening_range
        Channels that are whitened together, and that one template spans; more on probes so dense that these reach
        less than 48 um from the middle of a spike.
    NT
        Samples of a batch: templates are learned from some batches of a long recording, and updated after each.
    nskip
        Prototypes are learned from every `nskip`-th batch (at least 24 batches where there are as many).
    nblocks
        Depth blocks of the drift estimate: 0 no drift correction, 1 rigid, more for non-rigid.
    sig
        Length over which samples are interpolated when drift is undone, um.
    fcontam
        Largest contamination of a unit labelled good.
    definition
        ``"corrected"``: channels are aligned as if their converters had digitised them at the same instant, where the
        recording tells when they did. ``"release"``: as they were digitised, as the release was sorted.
    cut_off
        Whether units that are clean above some threshold lose their spikes below it. Kilosort 2 cuts all units.
    seed
        Seed of everything random. Equal seeds give equal bytes, whatever the number of threads.

    Examples
    --------
    >>> SortingParameters(Th=(9, 4)).Th
    (9, 4)
    """

    fshigh: float = 150.0
    minfr_goodchannels: float = 0.1
    Th: tuple[float, float] = (10.0, 4.0)
    lam: float = 10.0
    AUCsplit: float = 0.9
    minFR: float = 1 / 50
    momentum: tuple[float, float] = (20.0, 400.0)
    spkTh: float = -6.0
    nPCs: int = 3
    n_basis: int = 6
    whitening_range: int = 32
    NT: int = 65_536
    nskip: int = 25
    nblocks: int = 5
    sig: float = 20.0
    fcontam: float = 0.1
    definition: Definition = "corrected"
    cut_off: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that describe no sorter.

        Raises
        ------
        InvalidValueError
            If a value is out of range; the message names it.
        UnknownNameError
            If there is no such definition.
        """
        check_definition(self.definition)
        positive = ("fshigh", "spkTh", "nPCs", "n_basis", "whitening_range", "NT", "nskip", "sig", "fcontam")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in positive and not (-value if field.name == "spkTh" else value) > 0:
                side = "below" if field.name == "spkTh" else "above"
                msg = f"{field.name} is {value!r}; it must be {side} 0"
                raise InvalidValueError(msg)
            if field.name in {"lam", "minFR", "minfr_goodchannels", "nblocks", "seed"} and not value >= 0:
                msg = f"{field.name} is {value!r}; it must not be negative"
                raise InvalidValueError(msg)
        if not 0 < self.Th[1] <= self.Th[0]:
            msg = f"Th is {self.Th!r}; give (learning, extraction), both above 0, the first not less"
            raise InvalidValueError(msg)
        if not 0 < self.momentum[0] <= self.momentum[1]:
            msg = f"momentum is {self.momentum!r}; give (first, last), both above 0, the first not more"
            raise InvalidValueError(msg)
        if self.nPCs > self.n_basis:
            msg = f"nPCs is {self.nPCs}, more than the {self.n_basis} components of n_basis"
            raise InvalidValueError(msg)
        if self.NT < LEAST_BATCH:
            msg = f"NT is {self.NT}; a batch holds at least {LEAST_BATCH} samples"
            raise InvalidValueError(msg)
        if not 0 < self.AUCsplit <= 1:
            msg = f"AUCsplit is {self.AUCsplit}; it is a share between 0 and 1"
            raise InvalidValueError(msg)
