"""One recording session: :class:`EcephysSession`, a lazy view of its NWB file.

The session says here what each call gives; what it does stands where the call leads: to the session's four parts
(:mod:`.tables`, :mod:`.stimuli`, :mod:`.spikes`, :mod:`.signals`), and to the functions that relate one to another.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack, overload

from ..compatibility import Compatibility, is_compatible
from ..errors import AllenEcephysError, FileFormatError, InvalidValueError, MissingDataError, in_words
from ..nwb import layout
from ..units.filter import UnitBounds, UnitFilter, checked_filter
from .file import SessionCompanions, SessionFile
from .signals import SessionSignals
from .spikes import SessionSpikes
from .stimuli import SessionStimuli
from .summary import as_html, as_text, ending
from .tables import SessionTables, handed_out

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    import numpy as np
    import pandas as pd
    import pynapple as nap
    import xarray as xr
    from numpy.typing import ArrayLike, DTypeLike
    from pynwb import NWBFile
    from spikeinterface.core import SortingAnalyzer

    from ..interop import SpikeInterfaceUnits
    from ..nwb.opening import BinaryFile
    from ..spikes.raw_windows import RawProbe
    from ..spikes.sparse_counts import SparseCounts
    from ..spikes.store import MeanWaveforms, SpikeAmplitudes, SpikeTimes
    from ..stimulus.trials import Trials

    TimeDomainCallback = Callable[[np.ndarray[Any, Any]], ArrayLike]

__all__ = ["EcephysSession", "SessionCompanions"]

Held = TypeVar("Held")


class EcephysSession:
    """One session of the release, or of any file in its layout, read lazily.

    Opening reads nothing. Tables are read when they are first asked for, spikes and waveforms unit by unit; what was
    read is kept. Frames that are returned are the caller's to change. A session can be pickled (it reopens by path),
    is a context manager, and closes its one file handle.

    Parameters
    ----------
    path
        Path of a session NWB file, an fsspec URL, or an open binary file.
    unit_filter
        Which units are shown; by default those of the release's quality thresholds. ``UnitFilter.none()`` shows all.
    companions
        What a project cache knows beyond the file: true CCF coordinates, analysis metrics, where LFP files are.
    compat
        ``"allensdk"`` answers as AllenSDK does, for code written for it: the text ``'null'`` for a missing stimulus
        parameter and text for numbers in every table of stimuli, all epochs, bins closed at both ends and spikes in
        ``(start, stop]``. ``docs/differences_from_allensdk.md`` lists what it changes.

    Raises
    ------
    MissingFileError
        If a local path does not exist; other faults of a file show when it is first read.
    UnknownNameError
        For a structure in the filter that neither the tree of structures has (so that the file is asked) nor the file.

    Examples
    --------
    >>> with EcephysSession("session.nwb") as session:
    ...     print(session.num_units, session.units["snr"].median().round(2))
    40 2.51
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | BinaryFile,
        *,
        unit_filter: UnitFilter | None = None,
        companions: SessionCompanions | None = None,
        compat: Compatibility = None,
    ) -> None:
        self._compat: Compatibility = "allensdk" if is_compatible(compat) else None
        self._unit_filter = checked_filter(UnitFilter() if unit_filter is None else unit_filter)
        self._file = SessionFile(path, SessionCompanions() if companions is None else companions)
        self._unit_filter.check_names(lambda: self._file.units)

    @classmethod
    def from_nwb_path(
        cls,
        path: str | os.PathLike[str] | BinaryFile,
        nwb_version: int = 2,
        api_kwargs: Mapping[str, Any] | None = None,
        *,
        unit_filter: UnitFilter | None = None,
        companions: SessionCompanions | None = None,
        compat: Compatibility = None,
    ) -> Self:
        """Return the session of an NWB file; AllenSDK's way to open one.

        Parameters
        ----------
        path
            Path, fsspec URL or open binary file of a session NWB file.
        nwb_version
            Must be 2: files of NWB 1 are not read.
        api_kwargs
            Unit filter under AllenSDK's names, such as ``{"presence_ratio_minimum": None}``.
        unit_filter
            The same as a :class:`UnitFilter`; not both.
        companions
            What a project cache knows beyond the file.
        compat
            As of the class.

        Raises
        ------
        InvalidValueError
            For another NWB version.
        UnknownNameError
            For a name in `api_kwargs` that is no filter, or a filter given twice.

        Examples
        --------
        >>> session = EcephysSession.from_nwb_path("session.nwb", unit_filter=UnitFilter.none())
        >>> session.num_units
        150
        """
        if nwb_version != 2:
            msg = f"only NWB 2 files are read; got nwb_version={nwb_version!r}"
            raise InvalidValueError(msg)
        chosen = UnitFilter.chosen(unit_filter, api_kwargs or {})
        return cls(path, unit_filter=chosen, companions=companions, compat=compat)

    # --- the file, and what is known of it: each part knows the file, none another -------------------------------

    @cached_property
    def _tables(self) -> SessionTables:
        return SessionTables(self._file, self._unit_filter)

    @cached_property
    def _stimuli(self) -> SessionStimuli:
        return SessionStimuli(self._file, legacy=self._compat is not None)

    @cached_property
    def _spikes(self) -> SessionSpikes:
        return SessionSpikes(self._file, self._tables.units, self._tables.channels, self._tables.why_hidden)

    @cached_property
    def _signals(self) -> SessionSignals:
        return SessionSignals(self._file)

    @property
    def path(self) -> str:
        """Path or URL of the session's file.

        Examples
        --------
        >>> Path(session.path).name
        'session_700000001.nwb'
        """
        return self._file.reader.name

    def close(self) -> None:
        """Close the file, for all views of it. What was read stays usable; more raises ClosedSessionError.

        Examples
        --------
        >>> session = EcephysSession("session.nwb")
        >>> session.num_probes
        3
        >>> session.close()
        >>> session.spike_times[session.units.index[0]]
        Traceback (most recent call last):
            ...
        allen_ecephys.errors.ClosedSessionError: ...session.nwb was closed; open it again to read more from it
        """
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        # What was read is read again: a pickle holds the path, not the data.
        return {"_file": self._file, "_unit_filter": self._unit_filter, "_compat": self._compat}

    @property
    def nwbfile(self) -> NWBFile:
        """The file as pynwb reads it, opened on first use and closed with the session.

        Examples
        --------
        >>> session.nwbfile.identifier, sorted(session.nwbfile.processing)[:2]
        ('700000001', ['eye_tracking', 'eye_tracking_rig_metadata'])
        """
        return self._file.nwbfile

    # --- identity ------------------------------------------------------------------------------------------------

    @cached_property
    def ecephys_session_id(self) -> int:
        """Id of the session.

        Examples
        --------
        >>> session.ecephys_session_id
        700000001
        """
        text = self._file.reader.text(layout.IDENTIFIER)
        try:
            return int(text)
        except ValueError as error:
            msg = f"{layout.IDENTIFIER} of {self.path} is {text!r:.60}; expected the session's id, a whole number"
            raise FileFormatError(msg) from error

    @cached_property
    def session_start_time(self) -> datetime:
        """Start of the session as the file says, with time zone; in released files, when the file was packaged.

        Examples
        --------
        >>> session.session_start_time.isoformat()
        '2019-01-02T09:00:00+00:00'
        """
        from datetime import datetime

        text = self._file.reader.text(layout.SESSION_START_TIME)
        try:
            return datetime.fromisoformat(text)
        except ValueError as error:
            msg = f"{layout.SESSION_START_TIME} of {self.path} is {text!r:.60}; expected a date and time (ISO 8601)"
            raise FileFormatError(msg) from error

    @cached_property
    def session_type(self) -> str | None:
        """Stimulus set: ``brain_observatory_1.1`` or ``functional_connectivity``.

        Examples
        --------
        >>> session.session_type
        'brain_observatory_1.1'
        """
        return self._file.optional_text(layout.STIMULUS_NOTES)

    @property
    def specimen_name(self) -> str | None:
        """Name of the mouse.

        Examples
        --------
        >>> session.specimen_name
        'Sst-IRES-Cre;Ai32-400001'
        """
        name = self._file.subject_attribute("specimen_name")
        return None if name is None else str(name)

    @property
    def age_in_days(self) -> float | None:
        """Age of the mouse at the recording (days).

        Examples
        --------
        >>> session.age_in_days
        118.0
        """
        age = self._file.subject_attribute("age_in_days")
        try:
            return None if age is None else float(age)
        except (TypeError, ValueError) as error:
            msg = f"'age_in_days' of {layout.SUBJECT} in {self.path} is {age!r:.60}; expected a number of days"
            raise FileFormatError(msg) from error

    @property
    def sex(self) -> str | None:
        """Sex of the mouse: M or F.

        Examples
        --------
        >>> session.sex
        'F'
        """
        return self._file.optional_text(f"{layout.SUBJECT}/sex")

    @property
    def full_genotype(self) -> str | None:
        """Genotype of the mouse.

        Examples
        --------
        >>> session.full_genotype
        'Sst-IRES-Cre/wt;Ai32(RCL-ChR2(H134R)_EYFP)/wt'
        """
        return self._file.optional_text(f"{layout.SUBJECT}/genotype")

    @property
    def subject_id(self) -> str | None:
        """Id of the donor.

        Examples
        --------
        >>> session.subject_id
        '600000001'
        """
        return self._file.optional_text(f"{layout.SUBJECT}/subject_id")

    @property
    def species(self) -> str | None:
        """Species of the subject.

        Examples
        --------
        >>> session.species
        'Mus musculus'
        """
        return self._file.optional_text(f"{layout.SUBJECT}/species")

    @property
    def metadata(self) -> dict[str, Any]:
        """The session in a dictionary: identity, subject, rig, counts, structures and stimuli. None where unknown.

        Examples
        --------
        >>> session.metadata["sex"], session.metadata["num_probes"]
        ('F', 3)
        """
        from ..signals.behavior import read_rig_equipment_name

        try:
            rig: str | None = read_rig_equipment_name(self._file.reader)
        except MissingDataError:
            rig = None
        return {
            "specimen_name": self.specimen_name,
            "session_type": self.session_type,
            "full_genotype": self.full_genotype,
            "sex": self.sex,
            "age_in_days": self.age_in_days,
            "rig_equipment_name": rig,
            "num_units": self.num_units,
            "num_channels": self.num_channels,
            "num_probes": self.num_probes,
            "num_stimulus_presentations": self.num_stimulus_presentations,
            "session_start_time": self.session_start_time,
            "ecephys_session_id": self.ecephys_session_id,
            "structure_acronyms": self.structure_acronyms,
            "stimulus_names": self.stimulus_names,
        }

    # --- units, channels, probes ---------------------------------------------------------------------------------

    @property
    def unit_filter(self) -> UnitFilter:
        """The filter that decides which units are shown.

        Examples
        --------
        >>> session.unit_filter.describe()
        'presence_ratio >= 0.95, isi_violations <= 0.5, amplitude_cutoff <= 0.1, valid, in brain'
        """
        return self._unit_filter

    def with_units(self, unit_filter: UnitFilter | None = None, **bounds: Unpack[UnitBounds]) -> Self:
        """Return a view of the same open file that shows the units passing another filter.

        Views share the file handle and everything read from it; closing one closes all.

        Parameters
        ----------
        unit_filter
            The filter.
        bounds
            Instead of a filter, single bounds that differ from the present one: ``presence_ratio_minimum=0.9``,
            ``structures="VISp"``.

        Raises
        ------
        UnknownArgumentError
            For a name that is no bound, or where a filter and bounds are given.

        Examples
        --------
        >>> session.num_units, session.with_units(UnitFilter.none()).num_units
        (40, 150)
        >>> session.with_units(presence_ratio_minimum=0.9, isi_violations_maximum=None).num_units
        50
        >>> session.with_units(structures=["VISp", "VISam"]).num_units
        10
        """
        if unit_filter is not None:
            checked_filter(unit_filter)
        chosen = UnitFilter.chosen(unit_filter, bounds, default=self._unit_filter)
        if chosen.structures is not None:
            chosen.mask(self._file.units)  # so that a structure that there is not is told here
        return self._view(_unit_filter=chosen, _compat=self._compat, _stimuli=self._stimuli)

    def with_compat(self, compat: Compatibility) -> Self:
        """Return a view of the same open file that answers as AllenSDK does (``"allensdk"``), or as usual (None).

        Examples
        --------
        >>> table = session.with_compat("allensdk").get_stimulus_table("drifting_gratings")
        >>> "null" in table["orientation"].tolist()  # the blank sweeps, which are NaN otherwise
        True
        """
        return self._view(_unit_filter=self._unit_filter, _compat="allensdk" if is_compatible(compat) else None)

    def _binned_trials(self, bin_edges: ArrayLike, chosen: Trials, counted: bool = True) -> pd.DataFrame:
        """Return the trials to align to; where spikes are `counted` there, tell of windows outside the recording."""
        from ..spikes.aligned import checked_edges, refuse_swapped, warn_of_long_edges, warn_of_windows_outside

        refuse_swapped(bin_edges)  # before what stands in the stimulus' place is looked at
        trials = self._stimuli.trials(chosen)
        if counted:
            edges, starts = checked_edges(bin_edges), trials["start_time"].to_numpy(dtype="float64")
            warn_of_long_edges(edges, starts, stacklevel=4)
            shown = self._file.presentation_table
            begins, ends = starts + edges[0], starts + edges[-1]
            warn_of_windows_outside(begins, ends, shown, lambda: self._file.spikes.span, stacklevel=4)
        return trials

    def _view(self, **own: Any) -> Self:
        view = object.__new__(type(self))
        view.__dict__.update({"_file": self._file, "_signals": self._signals}, **own)
        return view

    @property
    def units(self) -> pd.DataFrame:
        """Units that pass the filter, by probe and position on it; index ``unit_id``.

        Columns, as far as the file has them (``docs/file_layout.md`` says what each is, ``docs/methods.md`` how it is
        computed):

        * quality: ``firing_rate`` (Hz), ``snr``, ``isi_violations`` (relative to the unit's own rate),
          ``presence_ratio`` (0 to 0.99), ``amplitude_cutoff`` (fraction, at most 0.5), ``isolation_distance``,
          ``L_ratio``, ``d_prime``, ``nn_hit_rate``, ``nn_miss_rate``, ``silhouette_score``, ``max_drift`` and
          ``cumulative_drift`` (um);
        * of the mean waveform on the peak channel: ``waveform_duration``, ``waveform_halfwidth`` (ms),
          ``waveform_PT_ratio``, ``waveform_repolarization_slope``, ``waveform_recovery_slope`` (V/s),
          ``waveform_amplitude`` (uV), ``waveform_spread`` (um), ``waveform_velocity_above``,
          ``waveform_velocity_below`` (s/m);
        * ``peak_channel_id`` and what :attr:`channels` says of it, ``ecephys_structure_acronym`` and
          ``probe_vertical_position`` (um) among it; ``local_index`` and ``cluster_id``, its numbers on the probe;
        * of the probe: ``probe_description`` (``probeA``, ...), ``location``, ``probe_sampling_rate``,
          ``probe_lfp_sampling_rate`` (Hz), ``probe_has_lfp_data``.

        ``quality`` and ``valid_data`` only where the filter has ``valid_only=False``. Columns are the same however the
        session was opened: :attr:`unit_analysis_metrics` are joined on request.

        Examples
        --------
        >>> session.units[["ecephys_structure_acronym", "snr", "firing_rate"]].head(3).round(2)
                        ecephys_structure_acronym   snr  firing_rate
        unit_id
        700000001000067                        TH  1.09         1.66
        700000001000079                        TH  2.07         5.24
        700000001000013                        TH  0.78         1.98
        >>> v1 = session.units[session.units["ecephys_structure_acronym"] == "VISp"]
        >>> len(v1)
        6
        """
        return handed_out(self._tables.units)

    @property
    def unit_analysis_metrics(self) -> pd.DataFrame:
        """The published stimulus metrics of the units shown; index ``unit_id``, in the order of :attr:`units`.

        ``session.units.join(session.unit_analysis_metrics)`` puts them beside the units. They come from a project
        cache, or from the file where its units table holds them (the release's Zarr copies); else there are no columns.

        Examples
        --------
        >>> units = session.units.join(session.unit_analysis_metrics)
        >>> units.loc[units["g_osi_dg"] > 0.3, ["ecephys_structure_acronym", "g_osi_dg", "pref_ori_dg"]].round(2)
                        ecephys_structure_acronym  g_osi_dg  pref_ori_dg
        unit_id
        700000001000065                     VISam      0.36        225.0
        700000001000017                     VISam      0.31        180.0
        700000001100087                     VISpm      0.52          0.0
        700000001100000                     VISpm      0.39        180.0
        700000001200025                       LGd      0.34          0.0
        700000001200053                       LGd      0.60        315.0
        700000001200071                      VISp      0.37        225.0
        """
        return handed_out(self._file.unit_metrics.reindex(self._tables.units.index))

    @property
    def channels(self) -> pd.DataFrame:
        """Recording channels; index ``id``. Those without valid data only where the filter has ``valid_only=False``.

        Columns: ``filtering``; ``probe_channel_number`` (0 to 383), ``probe_horizontal_position`` and
        ``probe_vertical_position`` (um), ``probe_id``; ``structure_acronym`` (of the file, without the substructure),
        ``ecephys_structure_id`` and ``ecephys_structure_acronym`` (of the project cache, else of the file; missing
        outside the brain), and the CCF coordinates (um, NaN where not registered). Released NWB files repeat the
        dorsal-ventral coordinate as the left-right one; it is NaN then, unless a project cache knows it.

        Examples
        --------
        >>> session.channels[["probe_id", "probe_vertical_position", "ecephys_structure_acronym"]].head(3)
                         probe_id  probe_vertical_position ecephys_structure_acronym
        id
        7000000010000  7000000010                       20                        MB
        7000000010001  7000000010                       20                        MB
        7000000010002  7000000010                       40                        MB
        """
        return handed_out(self._tables.channels)

    @property
    def probes(self) -> pd.DataFrame:
        """Probes; index ``id``; description, location, sampling_rate and lfp_sampling_rate (Hz), has_lfp_data.

        Examples
        --------
        >>> session.probes[["description", "sampling_rate", "lfp_sampling_rate", "has_lfp_data"]]
                   description  sampling_rate  lfp_sampling_rate  has_lfp_data
        id
        7000000010      probeA      29999.950           1249.998          True
        7000000011      probeB      29999.955           1249.998          True
        7000000012      probeC      29999.960           1249.998          True
        """
        return handed_out(self._file.probes)

    @property
    def num_units(self) -> int:
        """Number of units shown.

        Examples
        --------
        >>> session.num_units
        40
        """
        return len(self._tables.units)

    @property
    def num_channels(self) -> int:
        """Number of channels shown.

        Examples
        --------
        >>> session.num_channels
        1113
        """
        return len(self._tables.channels)

    @property
    def num_probes(self) -> int:
        """Number of probes.

        Examples
        --------
        >>> session.num_probes
        3
        """
        return len(self._file.probes)

    @property
    def structure_acronyms(self) -> list[Any]:
        """Structures of the channels in order of appearance; NaN stands for channels outside the brain.

        Examples
        --------
        >>> session.structure_acronyms[:4]
        ['MB', 'TH', 'DG', 'CA1']
        """
        return self._tables.structure_acronyms

    @property
    def structurewise_unit_counts(self) -> pd.Series[int]:
        """Number of units shown in each structure, most first; units outside the brain are not counted.

        Examples
        --------
        >>> session.structurewise_unit_counts.head(3)
        ecephys_structure_acronym
        TH     6
        DG     6
        LGd    6
        Name: count, dtype: int64
        """
        return self._tables.structurewise_unit_counts

    def hidden_units(self) -> pd.Series[int]:
        """Return how many units of the file fail each bound of the filter; a unit can fail several.

        Examples
        --------
        >>> session.hidden_units()
        presence_ratio_minimum      31
        isi_violations_maximum      29
        amplitude_cutoff_maximum    52
        valid_only                  52
        in_brain_only                8
        Name: units, dtype: int64
        """
        return self._tables.hidden_units()

    def channel_structure_intervals(
        self, channel_ids: Any
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, np.dtype[np.int64]]]:
        """Return runs of equal structure along channels, in the order in which they are given.

        Parameters
        ----------
        channel_ids
            Ids of channels, usually along one probe; a UserWarning says so where they are of several.

        Returns
        -------
        labels
            Acronym of each run, NaN outside the brain.
        intervals
            Where each run begins, from 0, and the number of channels: one longer than `labels`.

        Examples
        --------
        >>> of_probe = session.channels[session.channels["probe_id"] == probe_id]
        >>> upwards = of_probe.sort_values("probe_vertical_position").index
        >>> labels, intervals = session.channel_structure_intervals(upwards)
        >>> labels
        array(['MB', 'TH', 'DG', 'CA1', 'VISam', nan], dtype=object)
        >>> intervals
        array([  0,  63, 121, 170, 228, 316, 374])
        """
        return self._tables.channel_structure_intervals(channel_ids)

    # --- stimuli -------------------------------------------------------------------------------------------------

    @property
    def stimulus_presentations(self) -> pd.DataFrame:
        """All presentations in order of their start; index ``stimulus_presentation_id`` from 0.

        Columns: ``start_time``, ``stop_time``, ``duration`` (s), ``stimulus_name``, ``stimulus_block``,
        the parameters of the stimuli, ``stimulus_condition_id`` (presentations of equal stimulus and parameters share
        it) and ``is_blank``: a grey sweep between others of its stimulus (in natural scenes, ``frame`` is -1 there).

        Numbers are numbers (float64), and a parameter that does not apply is missing (NaN): comparing a column with
        AllenSDK's text ``'null'`` means ``isna()`` and warns. The same along both axes is one number; where the file
        holds two (``size`` of a movie, 1920 by 1080) the column holds pairs, and the table of a stimulus without such
        a pair numbers. Presentations that touch an invalid time of the stimulus are named ``invalid_presentation``
        and keep only their start and stop. Parameters of drawing, such as ``mask``, are in
        :meth:`get_stimulus_table`.

        Examples
        --------
        >>> table = session.stimulus_presentations
        >>> table[["start_time", "stimulus_name", "orientation", "is_blank"]].iloc[[0, 300]]
                                  start_time stimulus_name  orientation  is_blank
        stimulus_presentation_id
        0                          24.429000   spontaneous          NaN     False
        300                       100.225692        gabors         45.0     False
        >>> table["stimulus_name"].value_counts().head(3)
        stimulus_name
        gabors                 474
        natural_movie_three    360
        static_gratings        240
        Name: count, dtype: int64
        """
        return self._stimuli.presentations

    @property
    def num_stimulus_presentations(self) -> int:
        """Number of presentations.

        Examples
        --------
        >>> session.num_stimulus_presentations
        1613
        """
        return len(self._file.presentations)

    @property
    def stimulus_names(self) -> list[str]:
        """Names of the stimuli in order of their first presentation, ``spontaneous`` among them.

        Examples
        --------
        >>> session.stimulus_names[:4]
        ['spontaneous', 'gabors', 'invalid_presentation', 'flashes']
        """
        return self._stimuli.names

    @property
    def stimulus_conditions(self) -> pd.DataFrame:
        """One row for each distinct stimulus with its parameters; index ``stimulus_condition_id`` from 0.

        Examples
        --------
        >>> conditions = session.stimulus_conditions
        >>> conditions.loc[conditions["stimulus_name"] == "flashes", ["stimulus_name", "color"]]
                              stimulus_name  color
        stimulus_condition_id
        244                         flashes   -1.0
        245                         flashes    1.0
        """
        return self._stimuli.conditions

    @property
    def inter_presentation_intervals(self) -> pd.DataFrame:
        """Time (s) from each presentation's stop to the next one's start.

        Index (from_presentation_id, to_presentation_id), column ``interval``.

        Examples
        --------
        >>> session.inter_presentation_intervals["interval"].describe()[["min", "max"]].round(3)
        min    0.000
        max    1.751
        Name: interval, dtype: float64
        """
        return self._stimuli.inter_presentation_intervals()

    @property
    def invalid_times(self) -> pd.DataFrame:
        """Intervals in which data are invalid; index ``id``; start_time, stop_time (s), tags.

        ``tags`` is a list [scope, id of the scope, label]; the label is ``stimulus``, ``all_probes``, ``optotagging``
        or a probe's name. Spikes are not masked. No such interval gives an empty frame with the same columns.

        Examples
        --------
        >>> session.invalid_times
            start_time   stop_time                                      tags
        id
        0   569.020065  571.020065        [EcephysProbe, 7000000012, probeC]
        1    86.313979   89.066280     [EcephysSession, 700000001, stimulus]
        2     5.000000    7.500000   [EcephysSession, 700000001, all_probes]
        3   152.652431  153.052431     [EcephysSession, 700000001, stimulus]
        4   580.770826  581.970826  [EcephysSession, 700000001, optotagging]
        """
        return self._file.invalid_times.copy()

    def get_invalid_times(self) -> pd.DataFrame:
        """Return :attr:`invalid_times`.

        Examples
        --------
        >>> session.get_invalid_times().equals(session.invalid_times)
        True
        """
        return self.invalid_times

    def get_stimulus_table(
        self,
        stimulus_names: str | Iterable[str] | None = None,
        include_detailed_parameters: bool = False,
        include_unused_parameters: bool = False,
        *,
        legacy: bool = False,
        mask_invalid_intervals: bool = True,
    ) -> pd.DataFrame:
        """Return the presentations of some stimuli.

        Parameters
        ----------
        stimulus_names
            One name or several; None for all.
        include_detailed_parameters
            Include parameters of drawing, such as ``mask``, ``opacity`` and ``units``.
        include_unused_parameters
            Keep columns that are missing in every row.
        legacy
            Give AllenSDK's form: text as the file holds it (``'0.08'``, ``'[20.0, 20.0]'``), the text ``'null'``
            for a missing parameter, no ``is_blank``.
        mask_invalid_intervals
            Name presentations in invalid times of the stimulus ``invalid_presentation``, without parameters; if False,
            they are what they were shown as.

        Returns
        -------
        DataFrame
            Rows of :attr:`stimulus_presentations`.

        Raises
        ------
        UnknownNameError
            If the session does not show such a stimulus.

        Examples
        --------
        >>> gratings = session.get_stimulus_table("drifting_gratings")
        >>> gratings[["start_time", "orientation", "temporal_frequency"]].head(3)
                                  start_time  orientation  temporal_frequency
        stimulus_presentation_id
        499                       169.166653        180.0                 8.0
        500                       172.169163         45.0                 8.0
        501                       175.171673        135.0                 2.0
        >>> int(gratings["is_blank"].sum())
        4
        """
        return self._stimuli.table(
            stimulus_names, include_detailed_parameters, include_unused_parameters, legacy, mask_invalid_intervals
        )

    def get_stimulus_epochs(self, duration_thresholds: Mapping[str, float] | None = None) -> pd.DataFrame:
        """Return the contiguous runs of one stimulus and block.

        Parameters
        ----------
        duration_thresholds
            Stimulus name -> seconds: shorter epochs of that stimulus are left out. Default: ``{"spontaneous": 90}``,
            which leaves the grey between blocks out; ``{}`` keeps all.

        Returns
        -------
        DataFrame
            start_time, stop_time, duration (s), stimulus_name, stimulus_block (NaN: none). The index counts all epochs.

        Examples
        --------
        >>> session.get_stimulus_epochs()[["start_time", "duration", "stimulus_name"]].head(3)
           start_time   duration         stimulus_name
        1   25.429837  60.784143                gabors
        2   86.213979   3.002510  invalid_presentation
        3   89.216489  57.798314                gabors
        """
        return self._stimuli.epochs(duration_thresholds)

    def get_inter_presentation_intervals_for_stimulus(self, stimulus_names: str | Iterable[str]) -> pd.DataFrame:
        """Return those :attr:`inter_presentation_intervals` that lie between two presentations of some stimuli.

        Examples
        --------
        >>> gaps = session.get_inter_presentation_intervals_for_stimulus("flashes")
        >>> float(gaps["interval"].median().round(2))
        1.75
        """
        return self._stimuli.inter_presentation_intervals(stimulus_names)

    def get_parameter_values_for_stimulus(
        self, stimulus_name: str, drop_nulls: bool = True
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Return the distinct values of each parameter of a stimulus, in order of appearance.

        Parameters
        ----------
        stimulus_name
            Name of one stimulus.
        drop_nulls
            Leave missing values out; else NaN stands last where a presentation has no value.

        Returns
        -------
        dict
            Parameter -> its values; parameters missing in every presentation are left out.

        Examples
        --------
        >>> session.get_parameter_values_for_stimulus("drifting_gratings")["orientation"]
        array([180.,  45., 135., 225., 270.,   0., 315.,  90.])
        """
        return self._stimuli.parameter_values_of(stimulus_name, drop_nulls)

    def get_stimulus_parameter_values(
        self, stimulus_presentation_ids: ArrayLike | None = None, drop_nulls: bool = True
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Return the distinct values of each parameter over some presentations (None: all), in order of appearance.

        See :meth:`get_parameter_values_for_stimulus` for `drop_nulls` and the result.

        Examples
        --------
        >>> flashes = session.get_stimulus_table("flashes")
        >>> session.get_stimulus_parameter_values(flashes.index)["color"]
        array([-1.,  1.])
        """
        return self._stimuli.parameter_values_in(stimulus_presentation_ids, drop_nulls)

    # --- spikes --------------------------------------------------------------------------------------------------

    @property
    def spike_times(self) -> SpikeTimes:
        """Mapping unit id -> spike times (float64 s, ascending, read-only), read unit by unit on demand.

        Spikes within invalid times are not removed; a line in the log says so, once.

        Examples
        --------
        >>> unit = session.units["firing_rate"].idxmax()
        >>> session.spike_times[unit][:3]
        array([0.03942157, 0.0457319 , 0.05796658])
        >>> several = session.spike_times[session.units.index[:2]]
        >>> {unit: len(times) for unit, times in several.items()}
        {700000001000067: 1051, 700000001000079: 3319}
        """
        return self._spikes.times

    @property
    def spike_amplitudes(self) -> SpikeAmplitudes:
        """Mapping unit id -> amplitude of each spike (float64 V), for the same units and spikes as `spike_times`.

        Examples
        --------
        >>> unit = session.units["firing_rate"].idxmax()
        >>> round(1e6 * float(np.median(session.spike_amplitudes[unit])))  # microvolts
        62
        """
        return self._spikes.amplitudes

    @property
    def mean_waveforms(self) -> MeanWaveforms:
        """Mapping unit id -> mean waveform: DataArray (channel_id, time), microvolts and seconds, read on demand.

        Examples
        --------
        >>> unit = session.units["firing_rate"].idxmax()
        >>> waveform = session.mean_waveforms[unit]
        >>> waveform.dims, waveform.shape
        (('channel_id', 'time'), (374, 82))
        >>> int(waveform.min("time").idxmin("channel_id")) == int(session.units.loc[unit, "peak_channel_id"])
        True
        """
        return self._spikes.mean_waveforms

    @overload
    def presentationwise_spike_counts(
        self,
        bin_edges: ArrayLike,
        stimulus_presentation_ids: Trials = ...,
        unit_ids: ArrayLike | None = ...,
        binarize: bool = ...,
        dtype: DTypeLike | None = ...,
        large_bin_size_threshold: float = ...,
        time_domain_callback: TimeDomainCallback | None = ...,
        *,
        sparse: Literal[False] = ...,
        compat: Compatibility = ...,
    ) -> xr.DataArray: ...

    @overload
    def presentationwise_spike_counts(
        self,
        bin_edges: ArrayLike,
        stimulus_presentation_ids: Trials = ...,
        unit_ids: ArrayLike | None = ...,
        *,
        time_domain_callback: TimeDomainCallback | None = ...,
        sparse: Literal[True],
        compat: Compatibility = ...,
    ) -> SparseCounts: ...

    def presentationwise_spike_counts(
        self,
        bin_edges: ArrayLike,
        stimulus_presentation_ids: Trials = None,
        unit_ids: ArrayLike | None = None,
        binarize: bool = False,
        dtype: DTypeLike | None = None,
        large_bin_size_threshold: float = 0.001,
        time_domain_callback: TimeDomainCallback | None = None,
        *,
        sparse: bool = False,
        compat: Compatibility = None,
    ) -> xr.DataArray | SparseCounts:
        """Count spikes in time bins around the onset of presentations.

        Parameters
        ----------
        bin_edges
            Ascending edges (s from the onset). A spike belongs to a bin if ``edge <= t < next edge``, compared with
            ``start_time + edge`` exactly.
        stimulus_presentation_ids
            Presentations in any order, repeated or not; None for all, a scalar for one, the name of a stimulus for
            its own; or a table with ``start_time``,
            such as :attr:`optogenetic_stimulation_epochs` (the dimension is then called ``trial_id``).
        unit_ids
            Units likewise.
        binarize
            Give 1 for one spike or more (uint8); warns where bins are wider than `large_bin_size_threshold`.
        dtype
            Type of the counts; one that does not hold a count exactly is an error. Default int32.
        large_bin_size_threshold
            Seconds; see `binarize`.
        time_domain_callback
            Takes the edges of all presentations on the session clock, shape (presentations, edges), and returns edges
            of the same shape to count in. The result's coordinates stay those of `bin_edges`.
        sparse
            Return :class:`~allen_ecephys.spikes.sparse_counts.SparseCounts`: one scipy CSR matrix a unit.
        compat
            ``"allensdk"`` closes bins at both ends: a spike on an inner edge counts in both bins.

        Returns
        -------
        DataArray
            Dimensions (stimulus_presentation_id, time_relative_to_stimulus_onset, unit_id), in the given order; the
            time coordinate holds bin centres (s).

        Raises
        ------
        UnknownIdError
            For a presentation or unit that is not in the session, or is hidden by its filter.
        InvalidValueError
            For edges that are fewer than two, not finite or not ascending, or a `dtype` too small.

        Warns
        -----
        UserWarning
            Once, with numbers, where time windows overlap.

        Examples
        --------
        >>> v1 = session.units.query("ecephys_structure_acronym == 'VISp'").index
        >>> counts = session.presentationwise_spike_counts(np.arange(0, 0.26, 0.05), "flashes", v1)
        >>> counts.dims, counts.shape
        (('stimulus_presentation_id', 'time_relative_to_stimulus_onset', 'unit_id'), (10, 5, 6))
        >>> counts.mean("stimulus_presentation_id").sel(unit_id=v1[0]).to_numpy()  # spikes in each 50 ms
        array([0.1, 0.4, 0.9, 0.6, 1. ])
        """
        from ..spikes.aligned import spike_counts

        trials = self._binned_trials(bin_edges, stimulus_presentation_ids, counted=time_domain_callback is None)
        return spike_counts(
            self.spike_times,
            self._spikes.selected(unit_ids),
            trials,
            bin_edges,
            binarize=binarize,
            dtype=dtype,
            large_bin_size_threshold=large_bin_size_threshold,
            time_domain_callback=time_domain_callback,
            compat=compat or self._compat,
            sparse=sparse,
        )

    def presentationwise_spike_times(
        self,
        stimulus_presentation_ids: Trials = None,
        unit_ids: ArrayLike | None = None,
        *,
        start_offset: float = 0.0,
        stop_offset: float = 0.0,
        compat: Compatibility = None,
    ) -> pd.DataFrame:
        """List the spikes that units fired during presentations.

        Parameters
        ----------
        stimulus_presentation_ids
            Presentations in any order, repeated or not; None for all, a scalar for one, the name of a stimulus for
            its own; or a table with ``start_time``
            and ``stop_time`` (the column is then called ``trial_id``).
        unit_ids
            Units likewise.
        start_offset, stop_offset
            Shift the begin and end of each window (s): ``start_offset=-0.1`` begins 0.1 s before the onset.
        compat
            ``"allensdk"`` gives a presentation the spikes in ``(start, stop]``; the default is ``[start, stop)``.

        Returns
        -------
        DataFrame
            Index ``spike_time`` (s), ascending; columns ``stimulus_presentation_id`` and ``unit_id`` (int64) and
            ``time_since_stimulus_presentation_onset`` (s). A spike in several windows comes as often; no spikes give
            no rows, with the same columns.

        Raises
        ------
        UnknownIdError
            For a presentation or unit that is not in the session, or is hidden by its filter.

        Examples
        --------
        >>> spikes = session.presentationwise_spike_times("flashes", session.units.index[:3], start_offset=-0.1)
        >>> spikes.iloc[:2, :2]
                    stimulus_presentation_id          unit_id
        spike_time
        150.080141                       488  700000001000079
        150.088156                       488  700000001000067
        >>> spikes.columns[2]
        'time_since_stimulus_presentation_onset'
        """
        from ..spikes.aligned import presentation_spike_times, warn_of_windows_outside

        trials = self._stimuli.trials(stimulus_presentation_ids)
        listed = presentation_spike_times(
            self.spike_times,
            self._spikes.selected(unit_ids),
            trials,
            start_offset=start_offset,
            stop_offset=stop_offset,
            compat=compat or self._compat,
        )
        begins, ends = trials["start_time"].to_numpy() + start_offset, trials["stop_time"].to_numpy() + stop_offset
        warn_of_windows_outside(begins, ends, self._file.presentation_table, lambda: self._file.spikes.span)
        return listed

    def conditionwise_spike_statistics(
        self,
        stimulus_presentation_ids: ArrayLike | None = None,
        unit_ids: ArrayLike | None = None,
        use_rates: bool = False,
        *,
        compat: Compatibility = None,
    ) -> pd.DataFrame:
        """Summarise the spike counts of units in each stimulus condition.

        Parameters
        ----------
        stimulus_presentation_ids
            Presentations; None for all, a scalar for one. Those in invalid times have no condition and are left out.
        unit_ids
            Units; None for all, those without a spike among them.
        use_rates
            Use counts divided by each presentation's duration (Hz) instead of counts.
        compat
            ``"allensdk"`` gives a presentation the spikes in ``(start, stop]``; the default is ``[start, stop)``.

        Returns
        -------
        DataFrame
            Index (unit_id, stimulus_condition_id), by condition, then unit id. Columns:
            ``spike_count`` (absent with rates), ``stimulus_presentation_count``, ``spike_mean``, ``spike_std``
            (n - 1 in the denominator; NaN for a single presentation), ``spike_sem``. Presentations without a spike
            count as 0.

        Raises
        ------
        UnknownIdError
            For a presentation or unit that is not in the session, or is hidden by its filter.

        Examples
        --------
        >>> flashes = session.get_stimulus_table("flashes").index
        >>> statistics = session.conditionwise_spike_statistics(flashes, session.units.index[:2], use_rates=True)
        >>> statistics[["spike_mean", "spike_sem"]].round(2)
                                               spike_mean  spike_sem
        unit_id         stimulus_condition_id
        700000001000067 244                          2.40       1.60
        700000001000079 244                          6.39       2.40
        700000001000067 245                          2.40       0.98
        700000001000079 245                          9.59       2.99
        """
        from ..spikes.aligned import condition_spike_statistics

        units = self._spikes.selected(unit_ids)
        trials = self._stimuli.trials(stimulus_presentation_ids)
        compat = compat or self._compat
        return condition_spike_statistics(self.spike_times, units, trials, use_rates=use_rates, compat=compat)

    def psth(
        self,
        bin_edges: ArrayLike,
        stimulus_presentation_ids: Trials = None,
        unit_ids: ArrayLike | None = None,
        *,
        smoothing: float | None = None,
        by: str | None = None,
    ) -> xr.Dataset:
        """Return firing rates around stimulus onset, averaged over trials, with their standard error.

        Parameters
        ----------
        bin_edges
            Ascending times (s) from onset; bins are half-open, ``[a, b)``.
        stimulus_presentation_ids
            Ids in any order, the name of a stimulus, a table with ``start_time`` (as
            ``optogenetic_stimulation_epochs``), or None for all.
        unit_ids
            Units, in the order wanted; default all shown.
        smoothing
            Standard deviation (s) of a Gaussian that smooths each trial; spikes outside the window are counted in.
        by
            Column of the presentations or of the table: one average for each of its values.

        Returns
        -------
        Dataset
            ``rate`` and ``sem`` (Hz; dims ``unit_id`` x time, before it the dimension named by `by`) and
            ``presentation_count``; structure, probe and depth are coordinates of the units. The standard error is the
            standard deviation over trials (n - 1) over the root of their number, NaN for a single trial.

        Examples
        --------
        >>> v1 = session.units.query("ecephys_structure_acronym == 'VISp'").index
        >>> psth = session.psth(np.arange(-0.1, 0.4, 0.01), "flashes", v1, smoothing=0.01, by="color")
        >>> psth["rate"].dims
        ('color', 'unit_id', 'time_relative_to_stimulus_onset')
        >>> psth["rate"].mean(["color", "unit_id"]).idxmax().item() > 0  # the mean rate peaks after the onset
        True
        """
        from ..spikes.responses import located, psth

        trials = self._binned_trials(bin_edges, stimulus_presentation_ids)
        units = self._spikes.selected(unit_ids)
        return located(psth(self.spike_times, units, trials, bin_edges, smoothing, by), self._tables.units)

    def responses(
        self,
        stimulus_name: str | pd.DataFrame,
        window: tuple[float, float] | None = None,
        unit_ids: ArrayLike | None = None,
    ) -> xr.Dataset:
        """Return counts and rates of one stimulus, trials x units, with its parameters as coordinates.

        Parameters
        ----------
        stimulus_name
            A name of :attr:`stimulus_names`; or a table with ``start_time``, and ``stop_time`` without a window.
        window
            Begin and end (s) from onset, ``[begin, end)``; default: each presentation from start to stop.
        unit_ids
            Units, in the order wanted; default all shown.

        Returns
        -------
        Dataset
            ``spike_count`` (int32) and ``rate`` (Hz), dims ``stimulus_presentation_id`` x ``unit_id``, trials in order
            of time. Each parameter of the stimulus, ``is_blank``, ``stimulus_block`` and ``stimulus_condition_id`` is a
            coordinate of the trials (NaN where a trial has none; colours of three numbers as text); structure, probe
            and depth are coordinates of the units. Trials of a table keep its order and are called ``trial_id``; its
            columns are their coordinates.

        Examples
        --------
        >>> answers = session.responses("drifting_gratings")
        >>> X, y = answers["rate"].to_numpy(), answers["orientation"].to_numpy()  # as scikit-learn takes them
        >>> X.shape, y.shape
        ((84, 40), (84,))
        >>> answers["rate"].groupby("orientation").mean().shape
        (8, 40)
        """
        from ..spikes.aligned import warn_of_windows_outside
        from ..spikes.responses import responses

        units = self._tables.units.loc[self._spikes.selected(unit_ids)]
        answers = responses(self.spike_times, units, self._file.presentation_table, stimulus_name, window)
        if not isinstance(stimulus_name, str):
            starts = answers["start_time"].to_numpy()
            begins, ends = (
                (starts, answers["stop_time"].to_numpy())
                if window is None
                else (starts + window[0], starts + window[1])
            )
            warn_of_windows_outside(begins, ends, self._file.presentation_table, lambda: self._file.spikes.span)
        return answers

    def spike_sample_indices(
        self, unit_id: int, probe_start_time: float | None = None
    ) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return where a unit's spikes lie in its probe's raw spike band (``spike_band.dat``).

        Parameters
        ----------
        unit_id
            The unit.
        probe_start_time
            Time (s, session clock) of the probe's first sample. Default: the first timestamp of the probe's LFP, which
            was made from the same samples.

        Returns
        -------
        ndarray of int64
            ``round((t - probe_start_time) * probe_sampling_rate)`` for each spike time: samples from 0 at the start of
            the recording, at the probe's own rate (30 kHz).

        Raises
        ------
        UnknownIdError
            For a unit that the session does not show.
        MissingDataError
            If no `probe_start_time` is given and the probe has no LFP to take it from.

        Notes
        -----
        As good as the first LFP timestamp: within one LFP sample (0.4 ms or 12 samples) if the LFP was not cut, in a
        recording without pauses. ``open_released_probe`` is exact, from the barcodes. Spike times are those of the
        sorter's template; the trough lies 0.6 to 0.8 ms later.

        Examples
        --------
        >>> unit = session.units.query("probe_description == 'probeA'").index[0]
        >>> samples = session.spike_sample_indices(unit)
        >>> len(samples) == len(session.spike_times[unit])
        True
        """
        from ..spikes.responses import spike_sample_indices

        unmasked_lfp = partial(self.get_lfp, mask_invalid_intervals=False)
        return spike_sample_indices(self.spike_times, self._tables.units, unmasked_lfp, unit_id, probe_start_time)

    def raw_snippets(
        self,
        unit_id: int,
        raw: RawProbe,
        n: int = 100,
        *,
        channel_ids: ArrayLike | None = None,
        seed: int = 0,
    ) -> xr.DataArray:
        """Return the raw data around some of a unit's spikes.

        Parameters
        ----------
        unit_id
            The unit.
        raw
            Its probe's raw data on the session's clock:
            ``open_released_probe(cache.get_raw_data(session_id, probe_id))``.
        n
            How many spikes, drawn without regard to their time; all if the unit has fewer.
        channel_ids
            Channels of its probe; by default all.
        seed
            Decides the draw.

        Returns
        -------
        DataArray
            ``raw`` (uV, float32), dims ``spike_time`` (s) x ``channel_id`` x ``time`` (s around the spike): 82 samples,
            20 of them before, as in :attr:`mean_waveforms`.

        Raises
        ------
        UnknownIdError
            For a unit that is not shown, or a channel of another probe.
        SampleRangeError
            If none of its spikes lies in the raw data. Some that do not are left out, and the log says so.

        Examples
        --------
        >>> from allen_ecephys.processing.readers import open_bands
        >>> from allen_ecephys.processing.synchronization import ReleasedProbe, fit_clock
        >>> clock = fit_clock([0, 180_000], [0.0, 6.0], 30_000)  # samples of the probe, and when they were taken (s)
        >>> raw = ReleasedProbe(open_bands("recording").spike_band, None, clock)
        >>> unit = session.units.query("probe_description == 'probeA'")["firing_rate"].idxmax()
        >>> channels = session.channels.query("probe_id == @probe_id").index[:10]
        >>> session.raw_snippets(unit, raw, n=5, channel_ids=channels).shape
        (5, 10, 82)
        """
        from ..spikes.raw_windows import channels_of, raw_snippets

        times = self.spike_times[unit_id]
        probe = int(self._tables.units["probe_id"].loc[unit_id])
        channels = channels_of(self._file.channels, probe, channel_ids)
        return raw_snippets(unit_id, times, raw, channels, n, seed)

    def raw_traces(
        self,
        probe_id: int | str,
        raw: RawProbe,
        times: ArrayLike,
        window: tuple[float, float] = (-0.05, 0.25),
        *,
        channel_ids: ArrayLike | None = None,
    ) -> xr.DataArray:
        """Return a probe's raw data around times, such as the starts of presentations.

        Parameters
        ----------
        probe_id
            Id or name of the probe.
        raw
            Its raw data on the session's clock, as for :meth:`raw_snippets`.
        times
            Session times (s).
        window
            Seconds around each.
        channel_ids
            Channels of the probe; by default all.

        Returns
        -------
        DataArray
            ``raw`` (uV, float32), dims ``event_time`` (s) x ``channel_id`` x ``time`` (s). Windows that do not lie
            wholly in the raw data are NaN, and the log says how many.

        Raises
        ------
        UnknownIdError
            For another session's probe, or a channel of another probe.
        SampleRangeError
            If no window lies in the raw data.

        Examples
        --------
        >>> from allen_ecephys.processing.readers import open_bands
        >>> from allen_ecephys.processing.synchronization import ReleasedProbe, fit_clock
        >>> raw = ReleasedProbe(open_bands("recording").spike_band, None, fit_clock([0, 180_000], [0.0, 6.0], 30_000))
        >>> channels = session.channels.query("probe_id == @probe_id").index[:10]
        >>> session.raw_traces("probeA", raw, [1.0, 2.0, 3.0], window=(-0.05, 0.25), channel_ids=channels).shape
        (3, 10, 9000)
        """
        from ..spikes.raw_windows import channels_of, raw_traces

        channels = channels_of(self._file.channels, self._file.probe_id(probe_id), channel_ids)
        return raw_traces(raw, times, window, channels)

    # --- behaviour -----------------------------------------------------------------------------------------------

    @property
    def has_running_speed(self) -> bool:
        """Whether the file holds a running speed.

        Examples
        --------
        >>> session.has_running_speed
        True
        """
        return self._signals.has_running_speed

    @property
    def has_eye_tracking(self) -> bool:
        """Whether the file holds pupil and gaze (some sessions were released without).

        Examples
        --------
        >>> session.has_eye_tracking
        True
        """
        return self._signals.has_eye_tracking

    @property
    def has_optotagging(self) -> bool:
        """Whether the file holds optogenetic stimulation.

        Examples
        --------
        >>> session.has_optotagging
        True
        """
        return self._signals.has_optotagging

    @property
    def running_speed(self) -> pd.DataFrame:
        """Running speed: ``start_time``, ``end_time`` (s), ``velocity`` (cm/s); MissingDataError without one.

        Examples
        --------
        >>> session.running_speed.head(2)
           start_time   end_time  velocity
        0   24.429000  24.445681  0.504417
        1   24.445681  24.462361 -0.041686
        """
        return handed_out(self._signals.running_speed)

    def get_running_speed(self, include_rotation: bool = False) -> pd.DataFrame:
        """Return the running speed, with the turn of the wheel on demand.

        Parameters
        ----------
        include_rotation
            Add ``net_rotation``, the turn of the wheel in each interval (radians as the file says).

        Returns
        -------
        DataFrame
            One row a sample: ``start_time``, ``end_time`` (s) of the interval and ``velocity`` in it (cm/s, forward is
            positive).

        Raises
        ------
        MissingDataError
            If the file has no running data: :attr:`has_running_speed` tells beforehand.

        Examples
        --------
        >>> session.get_running_speed(include_rotation=True).columns.tolist()
        ['start_time', 'end_time', 'velocity', 'net_rotation']
        """
        return self._signals.read_running_speed(include_rotation)

    def get_raw_running_data(self) -> pd.DataFrame:
        """Return what the running wheel's encoder measured at each frame of the stimulus.

        Returns
        -------
        DataFrame
            ``frame_time`` (s), ``net_rotation`` (turn since the frame before; the file says radians),
            ``signal_voltage`` and ``supply_voltage`` (V) of the encoder.

        Raises
        ------
        MissingDataError
            If the file has no raw running data.

        Examples
        --------
        >>> session.get_raw_running_data().head(2)
           frame_time  net_rotation  signal_voltage  supply_voltage
        0   24.429000      0.087595        0.001217        5.002907
        1   24.445681     -0.007239        0.001116        4.999973
        """
        return self._signals.read_raw_running_data()

    def get_pupil_data(self) -> pd.DataFrame | None:
        """Return the ellipses fitted to pupil, corneal reflection and eye in each frame of the eye camera.

        Returns
        -------
        DataFrame
            Index ``Time (s)``. For each of ``pupil_``, ``corneal_reflection_`` and ``eye_``: ``center_x``,
            ``center_y``, ``height``, ``width`` (pixels; whole axes, twice the half-axes that the file holds) and
            ``phi`` (rotation, radians). NaN where no ellipse was found. None, with a warning, where the file holds no
            eye tracking: :attr:`has_eye_tracking` tells beforehand.

        Notes
        -----
        Seen from the side, a round pupil is an ellipse whose longer axis is its diameter. The area of the ellipse is
        ``pi / 4 * pupil_width * pupil_height``; in cm^2 it is in :meth:`get_screen_gaze_data`.

        Examples
        --------
        >>> pupil = session.get_pupil_data()
        >>> pupil[["pupil_width", "pupil_height", "pupil_center_x"]].head(2)
                  pupil_width  pupil_height  pupil_center_x
        Time (s)
        0.500000    29.800969     29.163128      320.831459
        0.533367    28.958097     29.226653      322.329913
        >>> diameter = pupil[["pupil_width", "pupil_height"]].max(axis=1)  # pixels
        >>> area = np.pi / 4 * pupil["pupil_width"] * pupil["pupil_height"]  # pixels^2
        """
        pupil = _or_none(lambda: self._signals.pupil)
        return None if pupil is None else handed_out(pupil)

    def get_screen_gaze_data(self, include_filtered_data: bool = False) -> pd.DataFrame | None:
        """Return where on the screen the mouse looked, and the areas of its eye and pupil.

        Parameters
        ----------
        include_filtered_data
            Add ``filtered_*`` columns: the same without frames judged to be blinks or failed fits (NaN).

        Returns
        -------
        DataFrame
            Index ``Time (s)``. ``raw_eye_area``, ``raw_pupil_area`` (the file says pixels^2; the values are cm^2),
            ``raw_screen_coordinates_x_cm``, ``_y_cm`` from the centre of the screen, and
            ``raw_screen_coordinates_spherical_x_deg``, ``_y_deg``, the same as angles. None, with a warning, where the
            file holds no eye tracking: :attr:`has_eye_tracking` tells beforehand.

        Examples
        --------
        >>> gaze = session.get_screen_gaze_data()
        >>> gaze[["raw_pupil_area", "raw_screen_coordinates_x_cm"]].head(2)
                  raw_pupil_area  raw_screen_coordinates_x_cm
        Time (s)
        0.500000        0.008706                     0.072559
        0.533367        0.008479                     0.203336
        """
        return _or_none(lambda: self._signals.read_screen_gaze(include_filtered_data))

    @property
    def optogenetic_stimulation_epochs(self) -> pd.DataFrame:
        """Each pulse of light; index ``id``, in the order of the file.

        Columns: ``start_time``, ``stop_time``, ``duration`` (s), ``condition`` (the waveform in words), ``level`` (V of
        the control signal) and ``stimulus_name`` (``pulse``, ``fast_pulses``, ``raised_cosine``). MissingDataError
        without optotagging: :attr:`has_optotagging` tells beforehand.

        Examples
        --------
        >>> session.optogenetic_stimulation_epochs[["start_time", "duration", "stimulus_name", "level"]].head(2)
            start_time  duration stimulus_name  level
        id
        0   578.893639     0.005         pulse    2.5
        1   580.870826     1.000   fast_pulses    1.0
        """
        return self._signals.read_optogenetic_stimulation_epochs()

    @property
    def rig_geometry_data(self) -> pd.DataFrame | None:
        """Positions (mm) and rotations (degrees) of monitor, camera and light (index x, y, z); None if not known.

        Examples
        --------
        >>> session.rig_geometry_data[["monitor_position_mm", "monitor_rotation_deg"]]
           monitor_position_mm  monitor_rotation_deg
        x                118.6                   0.0
        y                 86.2                   0.0
        z                 31.6                   0.0
        """
        return _or_none(self._signals.read_rig_geometry)

    @property
    def rig_equipment_name(self) -> str | None:
        """Name of the rig, as ``NP.1``; None if not known.

        Examples
        --------
        >>> session.rig_equipment_name
        'NP.1'
        """
        return _or_none(self._signals.read_rig_equipment_name)

    def presentationwise_running_speed(
        self, bin_edges: Any, stimulus_presentation_ids: Trials = None, *, max_gap: float = 0.25
    ) -> xr.DataArray:
        """Return the running speed around stimulus onset, in the bins of the spike counts.

        Parameters
        ----------
        bin_edges
            Ascending times (s) from onset.
        stimulus_presentation_ids
            Ids in any order, the name of a stimulus, a table with ``start_time`` (as
            ``optogenetic_stimulation_epochs``), or None for all.
        max_gap
            Samples further apart (s) are not joined: bins between them are NaN.

        Returns
        -------
        DataArray
            cm/s, dims presentation x time; each bin is the time average of the lines between samples
            (:mod:`.aligned_signals` states the rule).

        Examples
        --------
        >>> speed = session.presentationwise_running_speed(np.arange(0, 2.1, 0.5), "drifting_gratings")
        >>> running = speed.mean("time_relative_to_stimulus_onset") > 1  # cm/s
        >>> int(running.sum()), running.sizes["stimulus_presentation_id"]
        (39, 84)
        """
        trials = self._binned_trials(bin_edges, stimulus_presentation_ids, counted=False)
        return self._signals.running_speed_around(trials, bin_edges, max_gap)

    def presentationwise_pupil(
        self,
        bin_edges: Any,
        stimulus_presentation_ids: Trials = None,
        *,
        columns: Sequence[str] | None = None,
        max_gap: float = 0.25,
    ) -> xr.Dataset:
        """Return the pupil around stimulus onset: one variable for each of `columns` of :meth:`get_pupil_data`.

        Default columns: those of the pupil itself. The other parameters, the bins and the rule are those of
        :meth:`presentationwise_running_speed`; bins that need a frame without a fit (a blink) are NaN.

        Examples
        --------
        >>> pupil = session.presentationwise_pupil(np.arange(0, 2.1, 0.5), "drifting_gratings")
        >>> list(pupil)
        ['pupil_center_x', 'pupil_center_y', 'pupil_height', 'pupil_width', 'pupil_phi']
        >>> pupil["pupil_width"].shape
        (84, 4)
        """
        trials = self._binned_trials(bin_edges, stimulus_presentation_ids, counted=False)
        return self._signals.pupil_around(trials, bin_edges, columns, max_gap)

    # --- LFP -----------------------------------------------------------------------------------------------------

    def get_lfp(self, probe_id: int | str, mask_invalid_intervals: bool = True) -> xr.DataArray:
        """Return a probe's LFP, lazily: a selection reads the chunks it needs and nothing else.

        Parameters
        ----------
        probe_id
            A probe of ``session.probes`` with ``has_lfp_data``: its id, or its name such as ``"probeA"``.
        mask_invalid_intervals
            Give NaN for samples (of all channels) within ``session.invalid_times`` tagged ``all_probes`` or with the
            probe's name, ends included.

        Returns
        -------
        DataArray
            ``LFP`` (V, float32), dims ``time`` (s, session clock) x ``channel`` (channel ids). ``.sel(time=slice(a,
            b))`` finds its samples without reading the other timestamps; ``.sel(channel=id, method="nearest")`` takes
            the closest of the recorded channels (every fourth). ``.load()`` brings what was selected into memory.
            Whatever was selected aligns with other arrays as usual; the whole recording, whose times stay in the file,
            does so after ``lfp.assign_coords(time=lfp["time"].values)``.

        Raises
        ------
        UnknownIdError
            For a probe that this session does not have.
        MissingDataError
            For a probe whose LFP was not published.
        MissingFileError
            If the LFP file is not there; the message says how to get it.

        Examples
        --------
        >>> lfp = session.get_lfp("probeA")
        >>> lfp.dims
        ('time', 'channel')
        >>> lfp.sel(time=slice(150, 151)).shape  # one second of 81 channels, and nothing else, is read
        (1250, 81)
        """
        return self._signals.lfp(self._file.probe_id(probe_id), mask_invalid_intervals)

    def local_lfp_probes(self) -> list[int]:
        """Return the ids of the probes whose LFP file lies beside the session's: their LFP is read, never fetched.

        Examples
        --------
        >>> session.local_lfp_probes()
        [7000000010]
        """
        return self._file.local_lfp_probes()

    def get_current_source_density(self, probe_id: int | str) -> xr.DataArray:
        """Return a probe's flash-triggered current source density, as its LFP file holds it.

        Parameters
        ----------
        probe_id
            A probe of ``session.probes`` with ``has_lfp_data``: its id, or its name.

        Returns
        -------
        DataArray
            ``CSD`` (float64, uncalibrated: released files say V/cm^2, but their values are in units of their own; a
            sink is negative), dims ``virtual_channel_index`` x ``time`` (s after flash onset), coordinates
            ``vertical_position`` and ``horizontal_position`` (um) of each virtual channel.

        Raises
        ------
        MissingDataError
            If the file holds none.
        MissingFileError
            If the LFP file is not there; the message says how to get it.

        Examples
        --------
        >>> csd = session.get_current_source_density("probeA")
        >>> csd.dims, csd.shape
        (('virtual_channel_index', 'time'), (384, 875))
        >>> csd["vertical_position"].attrs["units"], csd["time"].attrs["units"]
        ('um', 's')
        """
        return self._signals.current_source_density(self._file.probe_id(probe_id))

    def presentationwise_lfp(
        self,
        probe_id: int | str,
        bin_edges: Any,
        stimulus_presentation_ids: Trials = None,
        *,
        channel_ids: Sequence[int] | None = None,
        mask_invalid_intervals: bool = True,
        max_gap: float = 0.01,
    ) -> xr.DataArray:
        """Return a probe's LFP around stimulus onset.

        Parameters
        ----------
        probe_id
            As in :meth:`get_lfp`.
        bin_edges, stimulus_presentation_ids, max_gap
            As in :meth:`presentationwise_running_speed`. Bins wider than a sample (0.8 ms) average, and so lower the
            rate without aliasing.
        channel_ids
            Channels, in the order wanted; default all of the probe's LFP.
        mask_invalid_intervals
            As in :meth:`get_lfp`; bins that need a masked sample are NaN.

        Returns
        -------
        DataArray
            V, float32, dims presentation x time x channel.

        Raises
        ------
        UnknownIdError
            For a probe, presentation or channel that is not there.

        Examples
        --------
        >>> lfp = session.presentationwise_lfp("probeA", np.arange(-0.05, 0.25, 0.005), "flashes")
        >>> evoked = 1e6 * lfp.mean("stimulus_presentation_id")  # microvolts
        >>> evoked.dims, evoked.shape
        (('time_relative_to_stimulus_onset', 'channel'), (59, 81))
        """
        trials = self._binned_trials(bin_edges, stimulus_presentation_ids, counted=False)
        return self._signals.lfp_around(
            trials, self._file.probe_id(probe_id), bin_edges, channel_ids, mask_invalid_intervals, max_gap
        )

    # --- other libraries, a report, a glance ---------------------------------------------------------------------

    def to_pynapple(
        self, unit_ids: Sequence[int] | None = None
    ) -> dict[str, nap.TsGroup | nap.IntervalSet | nap.Tsd | nap.TsdFrame]:
        """Return the session as pynapple objects (extra ``interop``).

        Parameters
        ----------
        unit_ids
            Units; by default all that are shown.

        Returns
        -------
        dict
            ``units``: TsGroup of the units, keyed by unit id, the columns of :attr:`units` as metadata;
            ``epochs``: IntervalSet of :meth:`get_stimulus_epochs`, with ``stimulus_name`` and ``stimulus_block``;
            ``optogenetic_stimulation``: IntervalSet of light pulses with their parameters; ``running_speed``: Tsd
            (cm/s) at the middle of each interval; ``pupil``: TsdFrame of the pupil's ellipse (pixels, radians). Times
            are seconds of the session clock. Parts that the session does not have are left out.

        Raises
        ------
        MissingExtraError
            If pynapple is not installed.
        UnknownIdError
            If the session does not show one of the units.

        Notes
        -----
        All spikes of the units are read. Epochs that touch lose a microsecond at their end, as pynapple's
        intervals may not touch.

        Examples
        --------
        >>> objects = session.to_pynapple()  # extra "interop"
        >>> sorted(objects)
        ['epochs', 'optogenetic_stimulation', 'pupil', 'running_speed', 'units']
        """
        from ..interop import to_pynapple

        return to_pynapple(self, unit_ids)

    def to_spikeinterface(self, probe_id: int | str) -> SpikeInterfaceUnits:
        """Return a probe's units as a SpikeInterface sorting and its templates (extra ``spikeinterface``).

        Parameters
        ----------
        probe_id
            Id or name of the probe; each has a clock rate of its own, so each is a sorting of its own.

        Returns
        -------
        SpikeInterfaceUnits
            ``sorting`` (spikes as samples of the probe's rate, sample 0 at time 0 of the session clock; the columns of
            :attr:`units` as properties) and ``templates`` (the published mean waveforms, uV).

        Raises
        ------
        MissingExtraError
            If SpikeInterface is not installed.
        UnknownIdError
            For a probe that the session does not have.

        Examples
        --------
        >>> units = session.to_spikeinterface("probeA")  # extra "spikeinterface"
        >>> units.sorting.get_num_units(), units.templates.templates_array.shape
        (11, (11, 82, 374))
        """
        from ..interop import to_spikeinterface

        return to_spikeinterface(self, self._file.probe_id(probe_id))

    def to_sorting_analyzer(self, probe_id: int | str) -> SortingAnalyzer:
        """Return a probe's units as a SpikeInterface SortingAnalyzer, which its viewers and curation open.

        Parameters
        ----------
        probe_id
            Id or name of the probe.

        Returns
        -------
        SortingAnalyzer
            In memory, without a recording, with the extensions ``random_spikes`` (500 a unit), ``templates`` (the
            published mean waveforms, uV), ``unit_locations`` (centre of mass of the templates) and
            ``quality_metrics``. ``analyzer.save_as(format="binary_folder", folder=...)`` keeps it.

        Raises
        ------
        MissingExtraError
            If SpikeInterface is not installed.
        UnknownIdError
            For a probe that the session does not have.
        MissingDataError
            If the session shows no unit of it.

        Examples
        --------
        >>> analyzer = session.to_sorting_analyzer("probeA")  # extra "spikeinterface"
        >>> analyzer.get_extension("quality_metrics").get_data().shape[0] == analyzer.get_num_units()
        True
        """
        from ..interop import to_sorting_analyzer

        return to_sorting_analyzer(self, self._file.probe_id(probe_id))

    def report(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write an HTML page that shows what the session holds; it needs no other file and no network.

        Identity; stimuli, running and pupil over time; a table of all units that sorts and filters, where a click opens
        a unit's waveform, autocorrelogram, rate and amplitudes over time, receptive field, tuning and responses; units
        by structure and depth; quality metrics with the bounds of the filter; some responding units; field potential of
        the probes whose LFP file is there (none is fetched); light. What the session lacks is said. Each unit's spikes,
        amplitudes and waveform are read once, and not kept. Needs the extra ``report``.

        Parameters
        ----------
        path
            The file to write, ``*.html``.
        overwrite
            Replace an existing file.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        AlreadyPresentError
            If the file exists and `overwrite` is False.
        MissingFileError
            If its folder does not exist.
        MissingExtraError
            If jinja2 or matplotlib is not installed.

        Examples
        --------
        >>> session.report("report.html").name  # extra "report"
        'report.html'
        """
        from ..report.page import write_report

        return write_report(self, path, overwrite=overwrite)

    def __repr__(self) -> str:
        return as_text(self._summary())

    def _repr_html_(self) -> str:
        return as_html(self._summary())

    def _summary(self) -> list[tuple[str, str]]:
        """Return what a notebook shows: label and text of each line; never an error, whatever the file."""
        lines = [("file", ending(self.path, 66))]
        try:
            lines += [
                ("session", f"{self.ecephys_session_id}, {self.session_type}"),
                ("units", f"{self.num_units} of {len(self._file.units)} shown ({self.unit_filter.describe()})"),
            ]
            hidden = self.hidden_units()
            if hidden.any():
                named = ", ".join(f"{bound} {n}" for bound, n in hidden[hidden > 0].items())
                lines.append(("hidden by", named))
            lines += [
                ("probes", ", ".join(str(name) for name in self.probes["description"])),
                ("structures", f"{self.structurewise_unit_counts.size} with units"),
            ]
        except (AllenEcephysError, OSError) as error:
            lines.append(("unreadable", in_words(error)))
        return lines


def _or_none(read: Callable[[], Held]) -> Held | None:
    """Return what a part of the file holds, or None where the file lacks it, with a warning that says so.

    Loops over all sessions of the release ask ``if gaze is None``: some were released without eye tracking.
    """
    try:
        return read()
    except MissingDataError as error:
        warnings.warn(f"{error}: None is returned", UserWarning, stacklevel=3)
        return None
