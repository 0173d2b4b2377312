"""A session as objects of other libraries: pynapple, SpikeInterface, pynwb.

Each library is imported only here and only when asked for; one that is not installed is named with its extra.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import numpy as np

from .errors import MissingDataError, UnknownIdError, missing_extra

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    import pynapple as nap
    import xarray as xr
    from probeinterface import Probe
    from spikeinterface.core import BaseSorting, SortingAnalyzer, Templates

#: Library, extra that brings it, and what needs it.
PYNAPPLE = ("pynapple", "interop", "session.to_pynapple()")
SPIKEINTERFACE = ("spikeinterface", "spikeinterface", "session.to_spikeinterface()")

#: Samples of a released mean waveform before the spike (of 82): ecephys_spike_sorting's ``pre_samples``.
SAMPLES_BEFORE_SPIKE = 20

#: pynapple's intervals may not touch; it takes a microsecond off, and so do we, without its warning.
INTERVAL_GAP = 1e-6

#: Side of a Neuropixels 1.0 contact (um).
CONTACT_SIDE = 12.0

#: Columns of the units table that are not metadata of a unit but of the file.
NOT_METADATA = ("cluster_id", "local_index", "filtering", "location", "quality", "valid_data")

#: Numbers of the units table that say where a unit is, not how good.
NOT_METRICS = (
    "peak_channel_id", "probe_id", "probe_channel_number", "probe_horizontal_position", "probe_vertical_position",
    "ecephys_structure_id", "anterior_posterior_ccf_coordinate", "dorsal_ventral_ccf_coordinate",
    "left_right_ccf_coordinate", "probe_sampling_rate", "probe_lfp_sampling_rate",
)  # fmt: skip

#: Names that pynapple keeps for itself.
PYNAPPLE_NAMES = ("rate", "index", "start", "end")


class ConvertibleSession(Protocol):
    """What is converted of a session: :class:`~allen_ecephys.EcephysSession` has it all."""

    @property
    def units(self) -> pd.DataFrame:
        """The units shown."""

    @property
    def channels(self) -> pd.DataFrame:
        """The channels shown."""

    @property
    def probes(self) -> pd.DataFrame:
        """The probes."""

    @property
    def spike_times(self) -> Mapping[int, Any]:
        """Unit id -> spike times (s)."""

    @property
    def mean_waveforms(self) -> Mapping[int, xr.DataArray]:
        """Unit id -> mean waveform (uV)."""

    @property
    def running_speed(self) -> pd.DataFrame:
        """Running speed (cm/s)."""

    @property
    def optogenetic_stimulation_epochs(self) -> pd.DataFrame:
        """Each pulse of light."""

    @property
    def has_running_speed(self) -> bool:
        """Whether there is a running speed."""

    @property
    def has_eye_tracking(self) -> bool:
        """Whether there is a pupil."""

    @property
    def has_optotagging(self) -> bool:
        """Whether there are pulses of light."""

    def get_stimulus_epochs(self) -> pd.DataFrame:
        """Return the contiguous runs of one stimulus and block."""

    def get_pupil_data(self) -> pd.DataFrame | None:
        """Return the ellipses of pupil, corneal reflection and eye."""


def to_pynapple(
    session: ConvertibleSession, unit_ids: Sequence[int] | None = None
) -> dict[str, nap.TsGroup | nap.IntervalSet | nap.Tsd | nap.TsdFrame]:
    """Return the session as pynapple objects.

    Parameters
    ----------
    session
        The session.
    unit_ids
        Units; by default all that it shows.

    Returns
    -------
    dict
        ``units``: TsGroup of the units, keyed by unit id, the columns of ``session.units`` as metadata;
        ``epochs``: IntervalSet of :meth:`~.EcephysSession.get_stimulus_epochs`, with ``stimulus_name`` and
        ``stimulus_block``; ``optogenetic_stimulation``: IntervalSet of light pulses with their parameters;
        ``running_speed``: Tsd (cm/s) at the middle of each interval; ``pupil``: TsdFrame of the pupil's ellipse.
        Parts that the session does not have are left out.

    Raises
    ------
    MissingExtraError
        If pynapple is not installed.
    UnknownIdError
        If the session does not show one of the units.

    Notes
    -----
    All spikes of the units are read. Epochs that touch lose a microsecond at their end, as pynapple's intervals
    may not touch. The time support of the units is that of the epochs and spikes together.
    """
    try:
        import pynapple as nap
    except ImportError as error:
        raise missing_extra(*PYNAPPLE) from error
    out: dict[str, Any] = {}
    epochs = session.get_stimulus_epochs()
    out["epochs"] = _intervals(epochs, ["stimulus_name", "stimulus_block"])
    units = session.units if unit_ids is None else session.units.loc[_shown(session, unit_ids)]
    times = {int(unit): np.array(session.spike_times[unit]) for unit in units.index}
    ends = [t[[0, -1]] for t in times.values() if len(t)] + [epochs[["start_time", "stop_time"]].to_numpy().ravel()]
    known = np.concatenate(ends)
    support = nap.IntervalSet(known.min(), known.max()) if len(known) else None
    # Built once from sorted arrays; pynapple sorts and checks again what it does not know to be sorted.
    group = {unit: nap.Ts(t, time_support=support) for unit, t in times.items()}
    out["units"] = nap.TsGroup(group, time_support=support, metadata=_metadata(units))
    if session.has_optotagging:
        pulses = session.optogenetic_stimulation_epochs
        out["optogenetic_stimulation"] = _intervals(
            pulses, [str(c) for c in pulses if c not in ("start_time", "stop_time")]
        )
    if session.has_running_speed:
        speed = session.running_speed
        middle = (speed["start_time"].to_numpy() + speed["end_time"].to_numpy()) / 2
        out["running_speed"] = nap.Tsd(middle, speed["velocity"].to_numpy())
    ellipses = session.get_pupil_data() if session.has_eye_tracking else None
    if ellipses is not None:
        pupil = ellipses.filter(regex="^pupil_")
        out["pupil"] = nap.TsdFrame(pupil.index.to_numpy(), pupil.to_numpy(), columns=list(pupil.columns))
    return out


def _shown(session: ConvertibleSession, unit_ids: Sequence[int]) -> list[int]:
    wanted = [int(unit) for unit in unit_ids]
    lacking = [unit for unit in wanted if unit not in session.units.index]
    if lacking:
        msg = f"the session shows no unit {', '.join(map(str, lacking[:5]))}: see session.units.index"
        raise UnknownIdError(msg)
    return wanted


def _intervals(table: pd.DataFrame, columns: list[str]) -> nap.IntervalSet:
    import pynapple as nap

    table = table.sort_values("start_time", kind="stable")
    starts, stops = table["start_time"].to_numpy(np.float64), table["stop_time"].to_numpy(np.float64)
    touching = np.flatnonzero(stops[:-1] >= starts[1:])
    stops = stops.copy()
    stops[touching] = starts[touching + 1] - INTERVAL_GAP
    return nap.IntervalSet(starts, stops, metadata={str(c): _values(table[c]) for c in columns})


def _metadata(units: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    kept = [c for c in units if c not in NOT_METADATA and c not in PYNAPPLE_NAMES]
    return pd.DataFrame({str(c): _values(units[c]) for c in kept}, index=units.index)


def _values(column: pd.Series[Any]) -> np.ndarray[Any, Any]:
    """Return a column without nullable dtypes, which other libraries do not know."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        whole = pd.api.types.is_integer_dtype(column.dtype) and not column.isna().any()
        return column.to_numpy(np.int64) if whole else column.to_numpy(np.float64, na_value=np.nan)
    if pd.api.types.is_bool_dtype(column.dtype):
        return column.to_numpy(bool, na_value=False)
    return np.array(["" if value != value else str(value) for value in column.to_numpy(object, na_value=np.nan)])


class SpikeInterfaceUnits(NamedTuple):
    """A probe's units as SpikeInterface sees them.

    Attributes
    ----------
    sorting
        Spike trains in samples, ``round(t * sampling rate)`` on the session clock, with the units' metrics as
        properties.
    templates
        Mean waveforms (uV, units x samples x channels) with the probe's geometry.
    """

    sorting: BaseSorting
    templates: Templates


def to_spikeinterface(session: ConvertibleSession, probe_id: int) -> SpikeInterfaceUnits:
    """Return the units shown of one probe as a SpikeInterface sorting and its templates.

    Parameters
    ----------
    session
        The session.
    probe_id
        The probe; each has a clock rate of its own, so each is a sorting of its own.

    Raises
    ------
    MissingExtraError
        If SpikeInterface is not installed.
    UnknownIdError
        For a probe that the session does not have.

    Notes
    -----
    SpikeInterface counts samples: a spike's time is rounded to its probe's nearest sample (17 us). Sample 0 is time 0
    of the session clock, not the first sample of the probe's raw data (:meth:`~.EcephysSession.spike_sample_indices`).
    """
    try:
        from spikeinterface.core import NumpySorting, Templates
    except ImportError as error:
        raise missing_extra(*SPIKEINTERFACE) from error
    probes = session.probes
    if probe_id not in probes.index:
        msg = f"this session has no probe {probe_id!r}; its probes are {', '.join(map(str, probes.index))}"
        raise UnknownIdError(msg)
    units = session.units
    units = units[units["probe_id"] == probe_id]
    rate = float(probes["sampling_rate"].loc[probe_id])
    trains = {int(unit): np.rint(session.spike_times[int(unit)] * rate).astype(np.int64) for unit in units.index}
    sorting = NumpySorting.from_unit_dict([trains], sampling_frequency=rate)
    if len(units):  # SpikeInterface sorts unit ids; the properties follow its order
        for name, values in _metadata(units.loc[list(sorting.unit_ids)]).items():
            sorting.set_property(str(name), values.to_numpy())
    waveforms = {int(unit): session.mean_waveforms[int(unit)] for unit in sorting.unit_ids}
    channels = session.channels
    channels = channels[channels["probe_id"] == probe_id].sort_values("probe_channel_number", kind="stable")
    ids = next(iter(waveforms.values()))["channel_id"].to_numpy() if waveforms else channels.index.to_numpy()
    samples = next(iter(waveforms.values())).sizes["time"] if waveforms else 2 * SAMPLES_BEFORE_SPIKE
    array = np.zeros((len(waveforms), samples, len(ids)), dtype=np.float32)
    for row, waveform in enumerate(waveforms.values()):
        array[row] = waveform.to_numpy().T
    templates = Templates(
        templates_array=array,
        sampling_frequency=rate,
        nbefore=SAMPLES_BEFORE_SPIKE,
        channel_ids=ids,
        unit_ids=np.asarray(sorting.unit_ids),
        probe=_probe(channels.loc[ids]),
    )
    return SpikeInterfaceUnits(sorting, templates)


def to_sorting_analyzer(session: ConvertibleSession, probe_id: int) -> SortingAnalyzer:
    """Return the units shown of one probe as a SpikeInterface SortingAnalyzer, which its viewers and curation open.

    Parameters
    ----------
    session
        The session.
    probe_id
        The probe.

    Returns
    -------
    SortingAnalyzer
        In memory, without a recording, with the extensions ``random_spikes`` (500 a unit), ``templates`` (the published
        mean waveforms, uV), ``unit_locations`` (centre of mass of the templates) and ``quality_metrics`` (the
        numbers of the units table). ``analyzer.save_as(format="binary_folder", folder=...)`` keeps it.

    Raises
    ------
    MissingExtraError
        If SpikeInterface is not installed.
    UnknownIdError
        For a probe that the session does not have.
    MissingDataError
        If the session shows no unit of it.

    Notes
    -----
    Samples are counted from time 0 of the session clock, as in :func:`to_spikeinterface`.
    """
    sorting, templates = to_spikeinterface(session, probe_id)
    if not len(templates.unit_ids):
        msg = f"the session shows no unit of probe {probe_id}: with_units(UnitFilter.none()) shows all"
        raise MissingDataError(msg)
    from spikeinterface.core import NumpyRecording, create_sorting_analyzer
    from spikeinterface.core.sortinganalyzer import get_extension_class

    rate = float(sorting.sampling_frequency)
    last = max(int(sorting.get_unit_spike_train(unit)[-1:].sum()) for unit in sorting.unit_ids)
    # SpikeInterface makes no analyzer without a recording: it is given one of zeros that take no memory, and loses it.
    zeros = np.broadcast_to(np.float32(0), (last + round(rate), len(templates.channel_ids)))
    silent = NumpyRecording([zeros], rate, channel_ids=[str(channel) for channel in templates.channel_ids])
    silent = silent.set_probe(templates.probe) or silent  # in place, from SpikeInterface 0.105 on
    array = np.asarray(templates.templates_array)
    options: dict[str, Any] = {"sparse": False, "format": "memory"}
    if "main_channel_indices" in inspect.signature(create_sorting_analyzer).parameters:
        options["main_channel_indices"] = np.ptp(array, axis=1).argmax(axis=1)
    analyzer = create_sorting_analyzer(sorting, silent, **options)
    analyzer.compute("random_spikes", seed=0)
    before, after = (n / rate * 1e3 for n in (templates.nbefore, templates.nafter))
    _given(
        analyzer,
        get_extension_class("templates"),
        {"average": array},
        ms_before=before,
        ms_after=after,
        operators=["average"],
    )
    analyzer.compute("unit_locations", method="center_of_mass")
    numbers = _metadata(session.units.loc[list(sorting.unit_ids)]).select_dtypes("number")
    names = [str(name) for name in numbers.columns if name not in NOT_METRICS]
    metrics = numbers[names].astype(np.float64).set_axis(np.asarray(analyzer.unit_ids), axis=0)
    _given(analyzer, get_extension_class("quality_metrics"), {"metrics": metrics}, metric_names=[], metric_params={})
    analyzer._recording = None  # noqa: SLF001 - as SpikeInterface does where it makes one of a phy folder
    return cast("SortingAnalyzer", analyzer)


def _given(analyzer: Any, kind: Any, data: dict[str, Any], **params: Any) -> None:
    """Put an extension into an analyzer whose values are known already."""
    extension = kind(analyzer)
    extension.params = params
    extension.data.update(data)
    extension.run_info = {"run_completed": True, "runtime_s": 0.0}
    analyzer.extensions[extension.extension_name] = extension


def _probe(channels: pd.DataFrame) -> Probe:
    from probeinterface import Probe

    probe = Probe(ndim=2, si_units="um")
    positions = channels[["probe_horizontal_position", "probe_vertical_position"]].to_numpy(np.float64)
    probe.set_contacts(positions, shapes="square", shape_params={"width": CONTACT_SIDE})
    probe.set_device_channel_indices(np.arange(len(channels)))
    probe.set_contact_ids([str(channel) for channel in channels.index])
    return probe
