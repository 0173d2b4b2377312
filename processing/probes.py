"""Neuropixels probes: where sites are, which channels are references, and when each channel is digitised."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import GeometryError, UnknownNameError, in_words, missing_extra, suggest

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

N_CHANNELS: Final = 384
#: x of the four columns of a Neuropixels 3A or 1.0 probe, in um, repeating with the channel number modulo 4.
COLUMN_X: Final = (43.0, 11.0, 59.0, 27.0)
ROW_PITCH: Final = 20.0
#: Channels wired to a reference on 3A option 3 probes (the released recordings) and on 1.0 probes.
REFERENCE_CHANNELS_3A: Final = (36, 75, 112, 151, 188, 227, 264, 303, 340, 379)
REFERENCE_CHANNELS_1_0: Final = (191,)
#: On the first 2.0 probes; later ones have none among their channels.
REFERENCE_CHANNELS_2_0: Final = (127,)
#: Neuropixels 1.0: 32 converters, each serving 12 channels of the spike band and one slot of the LFP band in turn.
ADC_CHANNELS: Final = 24
ADC_SLOTS: Final = 13
#: Neuropixels 2.0: 24 converters, each serving 16 channels in turn; there is no LFP band.
ADC_CHANNELS_2_0: Final = 32
ADC_SLOTS_2_0: Final = 16
#: Beginnings of the part numbers of probes with the converters of 1.0 and of 2.0 probes.
WIRED_AS_1_0: Final = ("NP10", "NP11", "NP13", "NP14", "PRB_1_")
WIRED_AS_2_0: Final = ("NP20", "NP23", "NP301", "NP302", "PRB2_")


@dataclass(frozen=True, eq=False)
class AdcWiring:
    """Which channels are digitised together, and when within a sample.

    Attributes
    ----------
    turns
        int64 (n_channels,): place of each channel in the turn of its converter.
    n_turns
        Places in a turn, of which each takes an equal part of a sample.
    groups
        int64 (n_channels,): channels of one group are digitised at the same instant and share what the converters add.
        On 1.0 probes, as in the release, even and odd channels of an instant are two groups.
    """

    turns: Int64
    n_turns: int
    groups: Int64

    @property
    def delays(self) -> Float64:
        """How much later than the sample's start each channel is digitised, as a fraction of a sample."""
        return self.turns / self.n_turns

    def of(self, channels: npt.ArrayLike) -> AdcWiring:
        """Return the wiring of some of these channels."""
        chosen = np.asarray(channels)
        return AdcWiring(self.turns[chosen], self.n_turns, self.groups[chosen])

    def as_facts(self) -> dict[str, Any]:
        """Return the wiring as it is written to a JSON file."""
        return {"turns": self.turns.tolist(), "n_turns": self.n_turns, "groups": self.groups.tolist()}

    @classmethod
    def of_facts(cls, facts: dict[str, Any] | None) -> AdcWiring | None:
        """Return the wiring that was written, or None for none."""
        if facts is None:
            return None
        turns, groups = (np.asarray(facts[name], dtype=np.int64) for name in ("turns", "groups"))
        return cls(turns, int(facts["n_turns"]), groups)


def neuropixels_1_wiring(channels: int | npt.ArrayLike = N_CHANNELS) -> AdcWiring:
    """Return the wiring of the channels (their numbers on the probe, or how many) of a 3A or 1.0 probe."""
    number = _numbers(channels)
    return AdcWiring((number % ADC_CHANNELS) // 2, ADC_SLOTS, number % ADC_CHANNELS)


def neuropixels_2_wiring(channels: int | npt.ArrayLike = N_CHANNELS) -> AdcWiring:
    """Return the wiring of the channels (their numbers on the probe, or how many) of a 2.0 probe."""
    turn = (_numbers(channels) % ADC_CHANNELS_2_0) // 2
    return AdcWiring(turn, ADC_SLOTS_2_0, turn)


def adc_wiring(part_number: str, channels: int | npt.ArrayLike = N_CHANNELS) -> AdcWiring | None:
    """Return when each channel of a probe is digitised, or None where that is not known.

    Parameters
    ----------
    part_number
        As metadata give it, such as ``"NP1000"``, ``"NP2013"`` or ``"PRB_1_4_0480_1"``.
    channels
        Numbers of the readout channels (not of the sites they record from), or how many there are.

    Notes
    -----
    Tables of converters: B. Karsh, ProbeTable (github.com/billkarsh/ProbeTable), which probeinterface carries; those of
    1.0 and 2.0 probes are given here as formulas.

    Examples
    --------
    >>> adc_wiring("NP2013", [0, 1, 2, 32]).delays.tolist()
    [0.0, 0.0, 0.0625, 0.0]
    """
    if part_number.startswith(WIRED_AS_1_0):
        return neuropixels_1_wiring(channels)
    if part_number.startswith(WIRED_AS_2_0):
        return neuropixels_2_wiring(channels)
    from importlib.util import find_spec

    if find_spec("probeinterface") is None or part_number not in _catalogue():
        return None
    return wiring_of_table(_full_probe(part_number).annotations.get("adc_sampling_table"), _numbers(channels))


def wiring_of_table(table: str | None, channels: Int64) -> AdcWiring | None:
    """Read ``(converters,turns)(channels of the first turn)(...)...``; numbers beyond the channels are empty places."""
    if table is None:
        return None
    _, *rows = table.strip("()").split(")(")
    turn_of = {int(channel): turn for turn, row in enumerate(rows) for channel in row.split()}
    if not set(channels.tolist()) <= set(turn_of):
        return None
    turns = np.array([turn_of[channel] for channel in channels.tolist()], dtype=np.int64)
    # Converters with twelve channels have a thirteenth place, which digitises the LFP band.
    n_turns = ADC_SLOTS if len(rows) == ADC_SLOTS - 1 else len(rows)
    return AdcWiring(turns, n_turns, turns)


def _numbers(channels: int | npt.ArrayLike) -> Int64:
    numbers = np.asarray(channels, dtype=np.int64)
    return np.arange(int(numbers), dtype=np.int64) if numbers.ndim == 0 else numbers


@dataclass(frozen=True, eq=False)
class ProbeModel:
    """A kind of probe: all its sites, and how its channels are digitised.

    Attributes
    ----------
    part_number
        Of the kind.
    positions
        float64 (n_sites, 2): x and y of every site, um, numbered as the manufacturer does, shank after shank.
    shanks
        int64 (n_sites,): the shank of each site.
    n_channels
        Sites that can be recorded at a time.
    reference_sites
        int64: sites that are references.
    bits, range_uv
        Of the converter: bits, and the span (uV) of its input before any gain.
    gains
        Usual gains of the spike and of the LFP band; the second is None where the probe has no such band.
    """

    part_number: str
    positions: Float64
    shanks: Int64
    n_channels: int
    reference_sites: Int64
    bits: int
    range_uv: float
    gains: tuple[float, float | None]

    @property
    def sites_per_shank(self) -> int:
        """Number of sites of each shank."""
        return int((self.shanks == 0).sum())


def probe_model(part_number: str) -> ProbeModel:
    """Return a kind of probe by its part number, from probeinterface's catalogue.

    Sites of 1.0 probes, ``"NP1000"``, have the positions that sorters and NWB files know them by
    (:func:`neuropixels_1_geometry`); those of the others have probeinterface's.

    Raises
    ------
    UnknownNameError
        If the catalogue holds no such probe.
    MissingExtraError
        If probeinterface is not installed (1.0 probes do without).
    """
    if part_number == "NP1000":
        positions = neuropixels_1_geometry(960)
        references = np.arange(191, 960, N_CHANNELS)
        return ProbeModel(
            part_number, positions, np.zeros(960, np.int64), N_CHANNELS, references, 10, 1.2e6, (500.0, 250.0)
        )
    catalogue = _catalogue()
    if part_number not in catalogue:
        near = suggest(part_number, catalogue) or "; name a part number such as NP2013"
        msg = f"no catalogue lists a probe {part_number!r}{near}"
        raise UnknownNameError(msg)
    facts, probe = catalogue[part_number], _full_probe(part_number)
    positions = np.asarray(probe.contact_positions, dtype=np.float64)
    per_shank = int(facts["cols_per_shank"]) * int(facts["rows_per_shank"])
    site = np.arange(len(positions))
    n_channels, reference = min(int(facts["num_readout_channels"]), len(site)), int(facts["on_shank_ref_chan"])
    listed = np.flatnonzero((site % per_shank) % n_channels == reference) if reference >= 0 else site[:0]
    has_lfp = float(facts["lf_sample_frequency_hz"]) > 0
    fixed = [float(gain) for gain in facts["ap_gain_list"].split(",")]
    return ProbeModel(
        part_number, positions, site // per_shank, n_channels, listed.astype(np.int64),
        int(facts["adc_bit_depth"]), 1e6 * float(facts["adc_range_vpp"]),
        (fixed[0] if len(fixed) == 1 else 500.0, 250.0 if has_lfp else None),
    )  # fmt: skip


#: Neuropixels 2.0, four shanks: channels 48 i to 48 i + 47 record one block of sites; for each shank, i of its blocks
#: from the tip up, repeating every 384 sites (as the site tables of real recordings have it).
BLOCKS_2_0: Final = (
    (0, 2, 4, 6, 5, 7, 1, 3), (1, 3, 5, 7, 4, 6, 0, 2), (4, 6, 0, 2, 1, 3, 5, 7), (5, 7, 1, 3, 0, 2, 4, 6),
)  # fmt: skip
BLOCK_SITES: Final = 48


def wired_channels(model: ProbeModel, sites: Int64) -> Int64:
    """Return the channel that each of these sites is wired to; several sites share each channel.

    On four-shank 2.0 probes channels are wired to blocks of 48 sites; on others to every 384th site of a shank (the
    wiring of single-shank 2.0 probes and of Ultra probes with switches is known here for their first 384 sites).
    """
    on_shank = sites % model.sites_per_shank
    if model.shanks[-1] == len(BLOCKS_2_0) - 1 and model.n_channels == N_CHANNELS:
        blocks = np.array(BLOCKS_2_0)[model.shanks[sites], (on_shank % N_CHANNELS) // BLOCK_SITES]
        return np.asarray(BLOCK_SITES * blocks + on_shank % BLOCK_SITES, dtype=np.int64)
    if model.shanks[-1] and model.n_channels > N_CHANNELS:  # each shank has a base of its own
        return np.asarray(N_CHANNELS * model.shanks[sites] + on_shank % N_CHANNELS, dtype=np.int64)
    return np.asarray(sites % model.n_channels, dtype=np.int64)


def readout_channels(model: ProbeModel, sites: npt.ArrayLike) -> Int64:
    """Return the channel that records each of these sites: int64, in the order of the sites.

    Raises
    ------
    GeometryError
        If two of the sites share a channel, so that no recording can have both.
    """
    chosen = np.asarray(sites, dtype=np.int64)
    if chosen.size and not (chosen.min() >= 0 and chosen.max() < len(model.positions)):
        msg = f"{model.part_number} has sites 0 to {len(model.positions) - 1}, not {chosen.min()} to {chosen.max()}"
        raise GeometryError(msg)
    channels = wired_channels(model, chosen)
    taken, first = np.unique(channels, return_index=True)
    if taken.size < channels.size:
        other = int(np.setdiff1d(np.arange(chosen.size), first)[0])
        twin = int(np.flatnonzero(channels == channels[other])[0])
        msg = (
            f"sites {chosen[twin]} and {chosen[other]} of {model.part_number} share channel {channels[other]}, which "
            "records one of them at a time; choose other sites"
        )
        raise GeometryError(msg)
    return channels


def default_sites(model: ProbeModel, n_channels: int) -> Int64:
    """Return the lowest sites of a probe, equally many on each shank, that `n_channels` can record."""
    n_shanks = int(model.shanks[-1]) + 1
    each = -(-n_channels // n_shanks)
    lowest = np.concatenate([shank * model.sites_per_shank + np.arange(each) for shank in range(n_shanks)])
    return lowest[:n_channels].astype(np.int64)


def part_numbers() -> list[str]:
    """Return the part numbers of the kinds of probes that the catalogue lists."""
    return list(_catalogue())


def _catalogue() -> dict[str, dict[str, str]]:
    """Return probeinterface's table of kinds of probes, by part number."""
    import json

    place = Path(_probeinterface().__file__).parent / "resources" / "neuropixels_probe_features.json"
    kinds: dict[str, dict[str, str]] = json.loads(place.read_text(encoding="utf-8"))["neuropixels_probes"]
    return kinds


def _full_probe(part_number: str) -> Any:
    from probeinterface.neuropixels_tools import build_neuropixels_probe

    return build_neuropixels_probe(part_number)


def hardware_filters(part_number: str) -> str | None:
    """Return what the filters of a probe's amplifiers pass, in words; None where no catalogue says it.

    Notes
    -----
    Bands: ProbeTable, as :func:`adc_wiring`. Those of 1.0 probes' spike band can be switched off.

    Examples
    --------
    >>> hardware_filters("NP2013")
    'one wide band: 0.5 to 10000 Hz; no AP and LFP bands'
    >>> hardware_filters("NP1000")
    'AP band: 300 to 10000 Hz; LFP band: 0.5 to 500 Hz'
    """
    from importlib.util import find_spec

    facts = None if find_spec("probeinterface") is None else _catalogue().get(part_number)
    if facts is None:
        return None
    spikes, slow = (" to ".join(facts[f"{band}_band_list_hz"].split(",")) for band in ("ap", "lf"))
    if float(facts["lf_sample_frequency_hz"]) > 0:
        return f"AP band: {spikes} Hz; LFP band: {slow} Hz"
    return f"one wide band: {spikes} Hz; no AP and LFP bands"


def neuropixels_1_geometry(n_channels: int = N_CHANNELS) -> npt.NDArray[np.float64]:
    """Return channel positions of a Neuropixels 3A or 1.0 probe, bank 0, in the convention of sorters and NWB files.

    Two sites a row, rows 20 um apart, staggered: x = 43, 11, 59, 27 um by channel number modulo 4, y = 20 um times the
    row counted from 1; channel 0 is nearest the tip.

    Returns
    -------
    ndarray
        float64 (n_channels, 2), um.
    """
    channel = np.arange(n_channels)
    x = np.asarray(COLUMN_X)[channel % 4]
    return np.column_stack([x, ROW_PITCH * (channel // 2 + 1)])


def lfp_order_3a(n_channels: int = N_CHANNELS) -> npt.NDArray[np.int64]:
    """Return where channels are in LFP files extracted from 3A ``.npx`` files: channel i is column ``order[i]``.

    Within each block of 48, channels 0-11 and 12-23 alternate, then 24-35 and 36-47. Newer files are in order already.
    """
    half = np.column_stack([np.arange(12), np.arange(12, 24)]).ravel()
    block = np.concatenate([half, half + 24])
    return np.asarray(np.concatenate([block + 48 * i for i in range(-(-n_channels // 48))])[:n_channels])


def read_spikeglx_probe(meta_path: Path) -> tuple[Float64, Int64]:
    """Return positions (n_channels, 2) in um and shanks of the channels that a SpikeGLX ``.meta`` says were saved.

    Raises
    ------
    GeometryError
        If the tables in the file name no sites.
    """
    library = _probeinterface()
    try:
        probe = library.read_spikeglx(meta_path)
    except Exception as error:  # what probeinterface raises is whatever its parsing stumbles over
        msg = f"{meta_path} gives no channel positions: {in_words(error)}"
        raise GeometryError(msg) from error
    positions = np.asarray(probe.contact_positions, dtype=np.float64)
    shanks = probe.shank_ids
    numbers = [0] * len(positions) if shanks is None else [int(shank or 0) for shank in shanks]
    return positions, np.array(numbers, dtype=np.int64)


def _probeinterface() -> Any:
    try:
        import probeinterface
    except ImportError as error:
        library, purpose = "probeinterface", "reading a probe's geometry from its metadata"
        raise missing_extra(library, "raw", purpose) from error
    return probeinterface
